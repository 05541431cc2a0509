"""Grids of scenarios: every combination of some values of some lines, each a plan of its own.

A grid is checked whole before anything is solved: a value that is wrong in every combination is a mistake of the
command line; one that is wrong only beside some others is a row that says so. Rows come in the order of the grid (the
last axis runs fastest), whichever is solved first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from math import prod

from planner import pipeline
from planner.errors import Diagnostic, InputError
from planner.plan.types import LimitRow, Plan
from planner.sweep.types import Axis, Point, Row, Tightest

_FLAG = "--vary"
_CLOSES = {"[": "]", "{": "}", "(": ")"}


def parse_axis(text: str) -> Axis:
    """An axis from `PATH=V1,V2`. Commas inside brackets, braces and quotes belong to a value.

    Raises:
        InputError: it is not of that form, or names a value twice.

    >>> parse_axis("models.*.kv_presets=[bf16, fp8],bf16").values
    ('[bf16, fp8]', 'bf16')
    """
    path, equals, rest = text.partition("=")
    values = tuple(value.strip() for value in _split(rest))
    if not equals or not path.strip() or not all(values):
        raise _mistake(f"{text!r} is no axis; write PATH=V1,V2, like 'traffic.chat.peak=18 req/s,36 req/s'")
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise _mistake(f"{path.strip()}: {twice!r} stands twice; keep one")
    return Axis(path.strip(), values)


def parse_axes(texts: Sequence[str]) -> tuple[Axis, ...]:
    """All axes of a sweep; InputError for a path that two of them vary."""
    axes = tuple(parse_axis(text) for text in texts)
    paths = [axis.path for axis in axes]
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None:
        raise _mistake(f"{twice} is varied twice; write all its values behind one --vary")
    return axes


def plans(axes: Sequence[Axis]) -> int:
    """How many plans a grid holds."""
    return prod(len(axis.values) for axis in axes)


def points(axes: Sequence[Axis]) -> tuple[Point, ...]:
    """The combinations, the last axis running fastest."""
    return tuple(Point(i, values) for i, values in enumerate(product(*(axis.values for axis in axes))))


def check_grid(file: str, axes: Sequence[Axis], sets: Sequence[str], what_if: Sequence[str]) -> dict[int, str]:
    """Loads every combination. Returns what is wrong with those that are no scenario, by index.

    Raises:
        InputError: the file itself is wrong, or a value is wrong wherever it stands.
    """
    pipeline.load(file, sets, what_if)
    broken: dict[int, tuple[Diagnostic, ...]] = {}
    all_points = points(axes)
    for point in all_points:
        try:
            pipeline.load(file, (*sets, *point.sets(axes)), what_if)
        except InputError as error:
            broken[point.index] = error.diagnostics
    always: list[Diagnostic] = []
    for position, axis in enumerate(axes):
        for value in axis.values:
            having = [point.index for point in all_points if point.values[position] == value]
            if all(index in broken for index in having):
                common = set.intersection(*(set(broken[index]) for index in having)) or broken[having[0]]
                always += [_placed(problem, f"{axis.path}={value}") for problem in common]
    if always:
        raise InputError(always)
    return {index: "; ".join(problem.message for problem in found) for index, found in broken.items()}


def row_of(values: tuple[str, ...], plan: Plan) -> Row:
    """The row of a solved combination."""
    totals = plan.totals
    return Row(
        values=values,
        status=plan.status,
        gap_ppm=plan.gap_ppm,
        cost_per_month=totals.cost_per_month if totals else None,
        gpus=totals.gpus if totals else None,
        power_w=totals.power_w if totals else None,
        tightest=_tightest(plan.limits) if totals else None,
        note=_obstacle(plan),
        hash=plan.hash,
        reproducible=plan.run.reproducible,
    )


def invalid_row(values: tuple[str, ...], why: str) -> Row:
    """The row of a combination that is no scenario."""
    return Row(values, "invalid", None, None, None, None, None, why, None, True)


def _tightest(limits: Sequence[LimitRow]) -> Tightest | None:
    """The promise, floor or limit with the least room. What a contract or a cap on replicas fixes is left out."""
    able = [row for row in limits if not row.path.endswith((".committed", ".replicas.max"))]
    if not able:
        return None
    row = min(able, key=lambda row: (row.slack_ppm, row.path))
    return Tightest(row.path, row.used, row.limit, row.unit, row.slack_ppm)


def _obstacle(plan: Plan) -> str:
    if plan.conflicts:
        first = plan.conflicts[0]
        return f"{first.path}: {first.message}"
    return "" if plan.totals else "no plan in the time limit"


def _split(text: str) -> list[str]:
    """The text at its commas, but for those inside brackets, braces and quotes."""
    parts, start, waiting, quoted = [], 0, [], ""
    for position, char in enumerate(text):
        if quoted:
            quoted = "" if char == quoted else quoted
        elif char in "\"'":
            quoted = char
        elif char in _CLOSES:
            waiting.append(_CLOSES[char])
        elif waiting and char == waiting[-1]:
            waiting.pop()
        elif char == "," and not waiting:
            parts.append(text[start:position])
            start = position + 1
    return [*parts, text[start:]]


def _placed(problem: Diagnostic, value: str) -> Diagnostic:
    """A mistake of an override stands at the flag; one that the value brings about elsewhere says so."""
    if problem.file == "--set":
        return replace(problem, file=_FLAG)
    return replace(problem, message=f"{problem.message} (with {_FLAG} {value})")


def _mistake(message: str) -> InputError:
    return InputError([Diagnostic(_FLAG, 0, 0, "KV415", message)])
