"""vLLM's own records: the document of `vllm bench serve --save-detailed`, and the server's log of requests.

Source: vLLM 0.24, vllm/benchmarks/serve.py (keys of the document) and vllm/entrypoints/logger.py (`RequestLogger`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from planner.traffic.trace_columns import Columns
from planner.traffic.trace_served import Figure, Label

BENCH = Columns("vllm", ("start_times",), ("input_lens",), ("output_lens",), 10**9)
SERVER_LOG = Columns("vllm", ("Received request",), ("prompt_token_ids",), ("output_token_ids",))

BENCH_TIMES: dict[Figure | Label, tuple[str, ...]] = {"ttft": ("ttfts",), "e2e": ("itls",)}
"""Lists of the document, in seconds: time to the first token, and all gaps between tokens."""

_EVENT = re.compile(
    r"\b(Received request|Request|Generated response) (\S+?)(?: details| \((streaming (?:complete|delta))\))?: "
)
_MOMENT = re.compile(r"\b(?:(\d{4})-)?(\d{2}-\d{2})[ T](\d{2}:\d{2}:\d{2}(?:[.,]\d{1,9})?)")
NO_YEAR = "2000"
"""The server's log has no year; differences within a log are all that counts."""

MARK = "Received request "


@dataclass
class Logged:
    """One request of the server's log: its first line, and what its lines say."""

    line: int
    time: str = ""
    input: object = None
    output: object = None


def bench_columns(document: dict[str, object]) -> bool:
    """Whether a JSON object is a benchmark with one entry a request."""
    return all(isinstance(document.get(key), list) for key in ("input_lens", "output_lens"))


def bench_rows(document: dict[str, object]) -> tuple[list[object], list[object], list[object], list[object]] | str:
    """Start times, prompts, outputs and errors of a benchmark; or why they are none."""
    lists = [document.get(key) for key in ("start_times", "input_lens", "output_lens")]
    if not isinstance(lists[0], list):
        return "a vLLM benchmark without start_times; run it with --save-result --save-detailed on a newer vLLM"
    starts, inputs, outputs = (entry if isinstance(entry, list) else [] for entry in lists)
    if not len(starts) == len(inputs) == len(outputs):
        return f"start_times, input_lens and output_lens have {len(starts)}, {len(inputs)} and {len(outputs)} entries"
    errors = document.get("errors")
    return starts, inputs, outputs, errors if isinstance(errors, list) and len(errors) == len(starts) else []


def bench_times(document: dict[str, object], count: int) -> dict[Figure | Label, Sequence[object]]:
    """Time to the first token, and that to the last one: all gaps later. Nothing where it was not streamed."""
    ttfts, gaps = document.get("ttfts"), document.get("itls")
    none: list[object] = [None] * count
    firsts = ttfts if isinstance(ttfts, list) and len(ttfts) == count else none
    lists = gaps if isinstance(gaps, list) and len(gaps) == count else none
    return {"ttft": firsts, "e2e": [_end(first, own) for first, own in zip(firsts, lists, strict=True)]}


def _end(first: object, gaps: object) -> float | None:
    if not isinstance(first, int | float) or not isinstance(gaps, list):
        return None
    return first + sum(gap for gap in gaps if isinstance(gap, int | float))


def logged_requests(lines: Iterable[tuple[int, str]]) -> Iterator[Logged]:
    """Requests of a server's log, in the order in which they were received."""
    found: dict[str, Logged] = {}
    for number, line in lines:
        event = _EVENT.search(line)  # the first in the line: what stands behind it is the user's text
        if event is None or event[3] == "streaming delta":
            continue
        if event[1] == "Generated response":
            if event[2] in found:
                found[event[2]].output = _count(line, "output_token_ids: ")
            continue
        entry = found.setdefault(event[2], Logged(number))
        moment = _MOMENT.search(line[: event.start()])
        if moment and not entry.time:
            entry.time = f"{moment[1] or NO_YEAR}-{moment[2]} {moment[3]}"
        if entry.input is None:
            entry.input = _count(line, "prompt_token_ids: ")
    yield from found.values()


def _count(line: str, word: str) -> object:
    """Entries of the list behind the last such word, which stands behind the text of the user; None without one."""
    _, found, rest = line.rpartition(word)
    ids, end, _ = rest[1:].partition("]") if found and rest.startswith("[") else ("", "", "")
    return ids.count(",") + 1 if end and ids.strip() else None
