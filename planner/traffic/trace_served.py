"""What a request log says of how its requests were served: latencies, cached tokens, class, and who answered.

Everything here is optional. A time without its unit, in the name of the column or beside the value, is no time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Path = tuple[str, ...]

Figure = Literal["ttft", "tpot", "e2e", "queue", "cached", "preemptions", "refused"]
Label = Literal["class", "deployment", "replica"]

TIMES: dict[Figure, tuple[str, ...]] = {
    "ttft": ("ttft", "timetofirsttoken", "firsttokenlatency", "firsttoken"),
    "tpot": ("tpot", "timeperoutputtoken", "intertokenlatency", "meanitl", "itl"),
    "e2e": ("e2e", "e2elatency", "endtoendlatency", "requestlatency", "latency", "elapsedtime", "duration"),
    "queue": ("queue", "queuetime", "waitingtime", "timeinqueue"),
}
COUNTS: dict[Figure, tuple[str, ...]] = {
    "cached": ("cachedtokens", "numcachedtokens", "cachedprompttokens", "prefixhittokens"),
    "preemptions": ("preemptions", "numpreemptions"),
    "refused": ("refused", "rejected"),
}
LABELS: dict[Label, tuple[str, ...]] = {
    "class": ("class", "trafficclass"),
    "deployment": ("deployment",),
    "replica": ("replica", "instance", "pod"),
}
"""Names of columns in lower case, letters and digits only; an earlier one wins over a later one."""

UNITS_S = {"seconds": 1.0, "sec": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "s": 1.0}
"""Ends of a column's name, as in `ttft_ms`."""

BURSTGPT_SECONDS = "elapsedtime"
"""BurstGPT's own name of the whole time, in seconds. Source: BurstGPT, README of its data."""


@dataclass(frozen=True)
class ServedColumns:
    """Where such values stand in a row. `factors` make seconds of times; `unitless` are times that say no unit."""

    paths: Mapping[Figure | Label, Path] = field(default_factory=dict)
    factors: Mapping[Figure | Label, float] = field(default_factory=dict)
    unitless: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Served:
    """A value for every request of a log; NaN and empty texts where nothing is said.

    `unread` counts values by column that are no numbers, `unitless` names columns of times without a unit.
    """

    figures: Mapping[Figure, FloatArray]
    labels: Mapping[Label, NDArray[np.str_]]
    unread: Mapping[str, int]
    unitless: tuple[str, ...]

    def taken(self, rows: NDArray[np.int64]) -> Served:
        """Of some rows, in their order."""
        return Served(
            {name: values[rows] for name, values in self.figures.items()},
            {name: values[rows] for name, values in self.labels.items()},
            self.unread,
            self.unitless,
        )


def served_columns(named: Mapping[str, Path], row: Mapping[str, object] | None = None) -> ServedColumns:
    """The columns of a file by their names without blanks and signs, and how to reach each of them.

    A JSON object `row` may say units beside values, as AIPerf does: {"value": 12.5, "unit": "ms"}.
    """
    paths: dict[Figure | Label, Path] = {}
    factors: dict[Figure | Label, float] = {}
    unitless = []
    for figure, names in TIMES.items():
        for plain, path, unit in _timed(named, names):
            beside, path = _beside(row, path)
            factor = beside if beside is not None else UNITS_S.get(unit)
            factor = 1.0 if factor is None and plain == BURSTGPT_SECONDS else factor
            if factor is not None:
                paths[figure], factors[figure] = path, factor
                break
            unitless.append(".".join(path))
    others: Iterator[tuple[Figure | Label, tuple[str, ...]]] = iter([*COUNTS.items(), *LABELS.items()])
    for role, names in others:
        found = next((named[name] for name in names if name in named), None)
        if found is not None:
            paths[role] = found
    return ServedColumns(paths, factors, tuple(unitless))


def _timed(named: Mapping[str, Path], names: Iterable[str]) -> Iterator[tuple[str, Path, str]]:
    """Columns with one of some names, with a unit or without."""
    for name in names:
        for unit in (*UNITS_S, ""):
            if name + unit in named:
                yield name, named[name + unit], unit


def _beside(row: Mapping[str, object] | None, path: Path) -> tuple[float | None, Path]:
    """The factor to seconds that a JSON object says beside a value, and the path of the value."""
    value: object = row
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, Mapping) and "value" in value:
        return UNITS_S.get(str(value.get("unit", "")).lower()), (*path, "value")
    return None, path


class ServedRows:
    """Collects values batch by batch."""

    def __init__(self, columns: ServedColumns) -> None:
        self._columns = columns
        self._figures: dict[Figure, list[FloatArray]] = {
            name: [] for name in (*TIMES, *COUNTS) if name in columns.paths
        }
        self._labels: dict[Label, list[str]] = {name: [] for name in LABELS if name in columns.paths}
        self._unread: dict[str, int] = {}

    def add(self, values: Mapping[Figure | Label, Sequence[object]], keep: Sequence[int] | None) -> None:
        """The good rows of a batch; None is all of them."""
        for figure, parts in self._figures.items():
            column = values[figure]
            kept = column if keep is None else [column[index] for index in keep]
            parts.append(self._numbers(figure, kept))
        for label, texts in self._labels.items():
            column = values[label]
            kept = column if keep is None else [column[index] for index in keep]
            texts += ["" if value is None else str(value) for value in kept]

    def _numbers(self, figure: Figure, values: Sequence[object]) -> FloatArray:
        found = np.array([_number(value) for value in values], dtype=np.float64)
        wrong = int(np.isinf(found).sum())
        if wrong:
            name = ".".join(self._columns.paths[figure])
            self._unread[name] = self._unread.get(name, 0) + wrong
            found[np.isinf(found)] = np.nan
        return found * self._columns.factors.get(figure, 1.0)

    def served(self) -> Served:
        """Everything so far, in the order in which it came."""
        figures = {name: np.concatenate(parts) for name, parts in self._figures.items() if parts}
        labels = {name: np.array(texts, dtype=np.str_) for name, texts in self._labels.items() if texts}
        return Served(figures, labels, self._unread, self._columns.unitless)


def _number(value: object) -> float:
    """A number from 0; NaN for nothing, infinite for what is none.

    >>> _number("0.5"), _number(""), _number("fast"), _number(-1)
    (0.5, nan, inf, inf)
    """
    if value is None or value == "":
        return float("nan")
    try:
        number = float(value) if isinstance(value, str | int | float) else float("inf")
    except ValueError:
        return float("inf")
    return number if 0 <= number < float("inf") else float("inf")
