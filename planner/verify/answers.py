"""Requests and how they were answered, as arrays: of a log, or of a replay of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.errors import Diagnostic, InputError
from planner.plan.types import Plan
from planner.simulate.replay import Run
from planner.traffic.lengths import TPOT_MIN_OUTPUT_TOKENS
from planner.traffic.trace import Trace, read_trace
from planner.traffic.trace_served import Figure, Label

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

TO = " to "
"""Between a class and the deployment that its requests go to, in the name of a stream; no name of a scenario has it."""

LONGEST_S = 3_600.0
"""A mean time to the first token of more than an hour is a wrong unit; so is one below ten microseconds."""
SHORTEST_S = 1e-5

DISAGREE = 1.2
"""Where TTFT + (output - 1) x TPOT is so far from the whole time, columns have different units."""


@dataclass(frozen=True, eq=False)
class Answers:
    """A row a request, in no order. Times are seconds from the first arrival; NaN where nothing is said.

    `class_of` is an index into `classes`; `deployment` and `replica` are texts, empty where nobody says them.
    """

    classes: tuple[str, ...]
    class_of: IntArray
    arrival_s: FloatArray
    input_tokens: IntArray
    output_tokens: IntArray
    first_s: FloatArray
    end_s: FloatArray
    cached_tokens: FloatArray
    preemptions: FloatArray
    deployment: NDArray[np.str_]
    replica: NDArray[np.str_]

    def where(self, keep: NDArray[np.bool_]) -> Answers:
        """Some of the requests."""
        arrays = {name: getattr(self, name)[keep] for name in _ARRAYS}
        return Answers(classes=self.classes, **arrays)

    def of_class(self, name: str) -> Answers:
        """The requests of a class."""
        return self.where(self.class_of == self.classes.index(name))

    @property
    def count(self) -> int:
        """How many requests."""
        return len(self.arrival_s)

    @property
    def ttft_s(self) -> FloatArray:
        """Time to the first token."""
        return self.first_s - self.arrival_s

    @property
    def tpot_s(self) -> FloatArray:
        """Time per output token; NaN of answers that are too short to have one."""
        gaps = np.maximum(self.output_tokens - 1, 1)
        found = (self.end_s - self.first_s) / gaps
        return np.where(self.output_tokens >= TPOT_MIN_OUTPUT_TOKENS, found, np.nan)

    @property
    def has_times(self) -> bool:
        """Whether it says when answers began and ended."""
        return bool(np.isfinite(self.first_s + self.end_s).any())


_ARRAYS = (
    *("class_of", "arrival_s", "input_tokens", "output_tokens", "first_s", "end_s", "cached_tokens", "preemptions"),
    *("deployment", "replica"),
)


@dataclass(frozen=True, eq=False)
class Log:
    """The requests of all files, their hashes by name, and what there is to say of them."""

    answers: Answers
    sha256: dict[str, str]
    notes: tuple[str, ...]


def read_log(plan: Plan, files: Mapping[str, str], source: str) -> Log:
    """Request logs by class; the class "" is of a file that names the class of each row, or of a plan of one class.

    Raises:
        InputError: a file cannot be read (KV711 to KV713), its times cannot be right (KV733), or its classes are not
            the plan's (KV734).
    """
    traces = {name: read_trace(path, with_served=True) for name, path in sorted(files.items())}
    known = sorted(plan.scenario.traffic)
    problems = [problem for name, trace in traces.items() for problem in _problems(name, trace, known)]
    if problems:
        raise InputError(problems)
    began_ns = min(trace.began_ns for trace in traces.values())
    parts = [_answers(name, trace, known, (trace.began_ns - began_ns) / 1e9) for name, trace in traces.items()]
    joined = {field: np.concatenate([getattr(part, field) for part in parts]) for field in _ARRAYS}
    answers = Answers(classes=tuple(known), **joined)
    longest = max(trace.duration_s for trace in traces.values())
    if float(np.ptp(answers.arrival_s)) > 2 * longest + 60:
        text = "these logs are not of the same time; compare them one after another"
        raise InputError([Diagnostic(source, 0, 0, "KV734", text)])
    notes = tuple(note for trace in traces.values() for note in _notes(trace))
    return Log(answers, {trace.path: trace.sha256 for trace in traces.values()}, notes)


def _problems(name: str, trace: Trace, known: Sequence[str]) -> list[Diagnostic]:
    """What makes a log useless, or misleading."""
    served = trace.served
    assert served is not None
    labels = served.labels.get("class")
    found = []
    if name and name not in known:
        found.append(("KV734", f"the plan has no traffic class {name!r}; it has {', '.join(known)}"))
    if not name and labels is None and len(known) > 1:
        found.append(("KV734", f"of which class is this log? Write --log CLASS={trace.path}, or name the class of each "
                               f"row in a column `class`; the plan has {', '.join(known)}"))  # fmt: skip
    if not name and labels is not None:
        others = sorted(set(np.unique(labels).tolist()) - set(known))
        if others and len(known) > 1:
            shown = ", ".join(repr(one) for one in others[:3])
            found.append(("KV734", f"the plan has no traffic class {shown}; it has {', '.join(known)}"))
    for figure, words in (
        ("ttft", "time to the first token"),
        ("tpot", "time per token"),
        ("e2e", "time of a request"),
    ):
        values = served.figures.get(figure)  # type: ignore[call-overload]
        if values is None or not np.isfinite(values).any():
            continue
        middle = float(np.nanmedian(values))
        if not SHORTEST_S <= middle <= LONGEST_S:
            found.append(("KV733", f"a median {words} of {middle:,.6g} s cannot be; is the column in another unit?"))
    if not found and (ratio := _disagreement(trace)) is not None:
        found.append(("KV733", f"TTFT + (output - 1) x TPOT is {ratio:.3g} times the time of a request; is one of the "
                               "columns in another unit?"))  # fmt: skip
    return [Diagnostic(trace.path, 0, 0, code, text) for code, text in found]


def _disagreement(trace: Trace) -> float | None:
    """TTFT + (output - 1) x TPOT over the whole time, where they do not agree at all."""
    assert trace.served is not None
    ttft, tpot, e2e = (trace.served.figures.get(name) for name in _TIMES)
    if e2e is None or ttft is None:
        return None
    whole = ttft if tpot is None else ttft + (trace.output_tokens - 1) * np.nan_to_num(tpot)
    both = np.isfinite(whole + e2e) & (e2e > 0)
    if not both.any():
        return None
    ratio = float(np.median(whole[both] / e2e[both]))
    return ratio if ratio > DISAGREE or (tpot is not None and ratio < 1 / DISAGREE) else None


_TIMES: tuple[Figure, ...] = ("ttft", "tpot", "e2e")


def _answers(name: str, trace: Trace, known: Sequence[str], offset_s: float) -> Answers:
    served = trace.served
    assert served is not None
    nothing = np.full(trace.requests, np.nan)
    ttft, tpot, e2e = (served.figures.get(figure, nothing) for figure in _TIMES)
    steps = trace.output_tokens - 1
    e2e = np.where(np.isfinite(e2e), e2e, ttft + steps * np.where(steps > 0, tpot, 0.0))
    ttft = np.where(np.isfinite(ttft), ttft, e2e - steps * tpot)
    refused = np.nan_to_num(served.figures.get("refused", nothing)) > 0
    arrival_s = trace.arrival_s + offset_s
    return Answers(
        classes=tuple(known),
        class_of=_class_of(name, trace, known),
        arrival_s=arrival_s,
        input_tokens=trace.input_tokens,
        output_tokens=trace.output_tokens,
        first_s=np.where(refused, np.nan, arrival_s + ttft),
        end_s=np.where(refused, np.nan, arrival_s + e2e),
        cached_tokens=served.figures.get("cached", nothing),
        preemptions=served.figures.get("preemptions", nothing),
        deployment=_texts(trace, "deployment"),
        replica=_texts(trace, "replica"),
    )


def _class_of(name: str, trace: Trace, known: Sequence[str]) -> IntArray:
    assert trace.served is not None
    labels = trace.served.labels.get("class")
    if name or labels is None or len(known) == 1:
        return np.full(trace.requests, list(known).index(name or known[0]), dtype=np.int64)
    return np.array([list(known).index(label) for label in labels.tolist()], dtype=np.int64)


def _texts(trace: Trace, label: Label) -> NDArray[np.str_]:
    assert trace.served is not None
    found = trace.served.labels.get(label)
    return np.full(trace.requests, "", dtype=np.str_) if found is None else found


def _notes(trace: Trace) -> list[str]:
    served = trace.served
    assert served is not None
    found = []
    if trace.bad_rows:
        found.append(f"{trace.path}: {trace.bad_rows:,} rows are wrong and not counted")
    found += [f"{trace.path}: {count:,} values of {name} are no numbers" for name, count in served.unread.items()]
    if served.unitless:
        names = ", ".join(served.unitless)
        found.append(f"{trace.path}: {names} not read: it says no unit; name it with one, such as ttft_ms")
    if not {"ttft", "e2e", "tpot"} & set(served.figures):
        found.append(f"{trace.path}: no latencies of requests; they are compared as far as the metrics have them")
    return found


def answers_of(run: Run, like: Answers) -> Answers:
    """The requests of a replay, known as far as those of a log are: who answered only where the log says it."""
    requests = [one for own in run.requests for one in own]
    class_of = [like.classes.index(stream.class_name.partition(TO)[0]) for stream in run.streams]
    served = np.array([not one.refused for one in requests], dtype=np.bool_)

    def times(values: Sequence[float]) -> FloatArray:
        return np.where(served, np.array(values, dtype=np.float64), np.nan)

    def texts(values: Sequence[str], said: NDArray[np.str_]) -> NDArray[np.str_]:
        known = bool((said != "").any())
        return np.array(values if known else [""] * len(values), dtype=np.str_)

    return Answers(
        classes=like.classes,
        class_of=np.array([class_of[one.class_index] for one in requests], dtype=np.int64),
        arrival_s=np.array([one.arrival_s for one in requests], dtype=np.float64),
        input_tokens=np.array([one.prompt_tokens for one in requests], dtype=np.int64),
        output_tokens=np.array([one.output_tokens for one in requests], dtype=np.int64),
        first_s=times([one.first_s for one in requests]),
        end_s=times([one.end_s for one in requests]),
        cached_tokens=times([one.first_cached_tokens for one in requests]),
        preemptions=times([one.preemptions for one in requests]),
        deployment=texts([run.sites[one.site] if one.site >= 0 else "" for one in requests], like.deployment),
        replica=texts([str(one.place) for one in requests], like.replica),
    )
