"""Which columns of a file hold arrivals, prompts and outputs: known request logs by their names, others by what
their columns are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from planner.traffic.trace_served import ServedColumns, served_columns

TIME_NAMES = (
    *("arrivals", "arrivaltime", "arrival", "arrivedat", "timestamp", "time", "requeststart", "starttime"),
    *("created", "createdat", "date", "datetime", "ts"),
)
INPUT_NAMES = (
    *("inputtokens", "prompttokens", "contexttokens", "requesttokens", "inputlength", "promptlength", "inputlen"),
    *("promptlen", "numprefilltokens", "promptsize", "inputsequencelength", "numprompttokens", "isl"),
)
OUTPUT_NAMES = (
    *("outputtokens", "completiontokens", "generatedtokens", "responsetokens", "outputlength", "outputlen"),
    *("numdecodetokens", "tokensize", "outputsequencelength", "numgenerationtokens", "numoutputtokens", "osl"),
)
HASH_NAMES = ("hashids", "blockhashes", "prefixhashes")
"""Names are compared in lower case, letters and digits only; an earlier one wins over a later one."""

TIME_UNITS_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "seconds": 10**9, "sec": 10**9, "s": 10**9}
"""Ends of a time column's name, as in `arrival_ms`."""

HASH_BLOCK_TOKENS = 512
"""Tokens that one hash of a Mooncake trace stands for. Source: Qin et al., Mooncake, FAST 2025, section 3 (open
traces)."""

SHOWN_NAMES = 12


@dataclass(frozen=True)
class Columns:
    """Where the values of a row stand. A path is the key of a column, or keys within keys of a JSON object.

    `time_unit_ns` is None where the value itself says what it is: a date, or a number told by its size.
    """

    format: str
    time: tuple[str, ...]
    input: tuple[str, ...]
    output: tuple[str, ...]
    time_unit_ns: int | None = None
    hashes: tuple[str, ...] | None = None
    block_tokens: int = HASH_BLOCK_TOKENS
    error: tuple[str, ...] | None = None
    """What is not empty where the request failed."""
    served: ServedColumns = field(default_factory=ServedColumns)
    """What says how the requests were served."""

    @property
    def words(self) -> str:
        """The columns, for people."""
        paths = (self.time, self.input, self.output, *((self.hashes,) if self.hashes else ()))
        return ", ".join(".".join(path) for path in paths)


AIPERF = Columns(
    "aiperf",
    time=("metadata", "request_start_ns"),
    input=("metrics", "input_sequence_length", "value"),
    output=("metrics", "output_sequence_length", "value"),
    time_unit_ns=1,
    error=("error",),
)
"""A line of AIPerf's `profile_export.jsonl`. Source: AIPerf documentation, Working with Profile Export Files."""


def json_columns(row: dict[str, object]) -> Columns | str:
    """The columns of a JSON Lines file, from its first object; or why there are none."""
    if "metadata" in row and "metrics" in row:
        metrics = row["metrics"]
        inside = list(metrics) if isinstance(metrics, dict) else []
        return replace(AIPERF, served=served_columns({_squash(name): ("metrics", name) for name in inside}, row))
    if {"timestamp", "input_length", "output_length"} <= set(row):
        hashes = ("hash_ids",) if "hash_ids" in row else None
        served = served_columns({_squash(name): (name,) for name in row}, row)
        found = Columns(
            "mooncake", ("timestamp",), ("input_length",), ("output_length",), 1_000_000, hashes, served=served
        )
        return found if not isinstance(row["timestamp"], str) else _named(list(row), (), row=row)
    usage = row.get("usage")
    return _named(
        list(row), ["usage"] if isinstance(usage, dict) else [], usage if isinstance(usage, dict) else (), row
    )


def csv_columns(names: Sequence[str]) -> Columns | str:
    """The columns of a CSV file, from its first line; or why there are none."""
    squashed = {_squash(name): name for name in reversed(names)}
    if {"timestamp", "contexttokens", "generatedtokens"} <= set(squashed):
        return _exactly("azure", squashed, "timestamp", "contexttokens", "generatedtokens", None)
    if {"timestamp", "requesttokens", "responsetokens"} <= set(squashed):
        return _exactly("burstgpt", squashed, "timestamp", "requesttokens", "responsetokens", 10**9)
    return _named(names, ())


def _exactly(kind: str, names: dict[str, str], time: str, prompt: str, output: str, unit_ns: int | None) -> Columns:
    served = served_columns({squashed: (name,) for squashed, name in names.items()})
    return Columns(kind, (names[time],), (names[prompt],), (names[output],), unit_ns, served=served)


def _named(
    names: Sequence[str],
    inside: Sequence[str],
    more: Iterable[str] = (),
    row: Mapping[str, object] | None = None,
) -> Columns | str:
    """Columns by their names; `more` are keys of the object `inside`; `row` is the object itself, where it is JSON."""
    paths = {_squash(name): (*inside, name) for name in reversed(list(more))}
    paths |= {_squash(name): (name,) for name in reversed(names)}
    times = {name: (path, unit) for name, path in paths.items() for name, unit in [_time_name(name)]}
    time = next((times[name] for name in TIME_NAMES if name in times), None)
    prompt = next((paths[name] for name in INPUT_NAMES if name in paths), None)
    output = next((paths[name] for name in OUTPUT_NAMES if name in paths), None)
    hashes = next((paths[name] for name in HASH_NAMES if name in paths), None)
    if time is None or prompt is None or output is None:
        lacks = [
            f"{what} (such as {example})"
            for what, example, found in (
                ("arrival times", "arrival_s", time),
                ("prompt lengths", "input_tokens", prompt),
                ("output lengths", "output_tokens", output),
            )
            if found is None
        ]
        shown = ", ".join(list(names)[:SHOWN_NAMES]) or "nothing"
        return f"no column of {' and of '.join(lacks)} among {shown}"
    served = served_columns({name: path for name, path in paths.items() if path not in (time[0], prompt, output)}, row)
    return Columns("columns", time[0], prompt, output, time[1], hashes, served=served)


def _time_name(name: str) -> tuple[str, int | None]:
    """The name of a column without its unit, and the unit.

    >>> _time_name("arrivalms"), _time_name("timestamp")
    (('arrival', 1000000), ('timestamp', None))
    """
    if name in TIME_NAMES and name != "arrivals":
        return name, None
    for unit, ns in TIME_UNITS_NS.items():
        if name.endswith(unit) and name.removesuffix(unit) in TIME_NAMES:
            return name.removesuffix(unit), ns
    return name, None


def _squash(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())
