"""Cost against something else: the cheapest plan, then the cheapest one that is better there, and so on.

Each step asks for a plan that is strictly better on the second axis than the last: whole units of quality loss, whole
GPUs or nodes as a row of the program, promises at the next value of their grid. A plan is on the frontier if the next
one costs more. So all of it is proved, over the declared grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm

from planner.explain.edits import Edit, edited, put
from planner.explain.paths import mistake
from planner.explain.reasons import Frontier, Point
from planner.explain.trials import Outcome, Trials
from planner.explain.words import cents, nodes_text, runs
from planner.scenario.types import Scenario
from planner.solver.least import at_most
from planner.solver.program import Program, ShareLimit
from planner.traffic.queueing import GRID_RATIO, GRID_UNIT_S
from planner.units import MICRO, quote

MOST_POINTS = 12
"""Points of a frontier: more are not read."""

LOOSER = 2
"""How far beyond what is promised today a frontier of promises starts, as a factor."""

AXES = ("quality_loss", "gpus", "spare", "tpot", "ttft")
FLAG = "--frontier"
_UNITS = (("gpus", "GPUs"), ("quality_loss", "ppm x output tokens/s"))


@dataclass(frozen=True)
class Axis:
    """The second axis: its word, and the class that a promise belongs to (all classes without one)."""

    word: str
    class_name: str = ""

    @property
    def text(self) -> str:
        """As the user wrote it."""
        return f"{self.word}:{self.class_name}" if self.class_name else self.word


def parse_axis(text: str, scenario: Scenario) -> Axis:
    """The second axis of `cost,AXIS`.

    Raises:
        InputError: it is not of that form, or names a class that has no such promise.
    """
    first, comma, second = (part.strip() for part in text.partition(","))
    if first != "cost" or not comma:
        raise mistake(FLAG, 1, f"{quote(text)} is no frontier; write cost,AXIS with one of {', '.join(AXES)}")
    word, colon, name = second.partition(":")
    col = text.index(",") + 2
    if word not in AXES or (colon and word not in ("tpot", "ttft")):
        raise mistake(FLAG, col, f"{quote(second)} is no axis; write one of {', '.join(AXES)}, or tpot:CLASS")
    if word in ("tpot", "ttft"):
        able = [each for each in scenario.traffic if _promise(scenario, each, word) is not None]
        if not able or (colon and name not in able):
            who = f"{quote(name)} has no promise" if colon else "no class has a promise"
            known = f"; write one of {', '.join(able)}" if able else f"; write one of {', '.join(AXES[:3])}"
            raise mistake(FLAG, col + (len(word) + 1) * bool(colon), f"{who} {word}_p95{known}")
    return Axis(word, name)


def frontier(trials: Trials, axis: Axis) -> Frontier:
    """The points, cheapest first."""
    if axis.word in ("tpot", "ttft"):
        return _by_values(trials, axis, "ms", _promises(trials, axis), "over the grid of operating promises")
    if axis.word == "spare":
        return _by_values(trials, axis, "nodes", _spares(trials), "")
    return _by_rows(trials, axis)


def _by_rows(trials: Trials, axis: Axis) -> Frontier:
    """Quality loss or GPUs: the value of the last plan, less one, is the most that the next may have."""
    scenario = edited(trials.scenario, [put("objective", value=("cost", axis.word))])
    points: list[Point] = []
    most: int | None = None
    unit = next(unit for word, unit in _UNITS if word == axis.word)
    unit = "GPU-hours" if unit == "GPUs" and scenario.timed else unit
    while len(points) < MOST_POINTS:
        found = trials.best(scenario, rows=_limited(axis.word, most))
        if found.plan is None:
            note = "" if found.status == "infeasible" else "time ended before the next point was known"
            return Frontier(axis.text, unit, tuple(points), found.status == "infeasible", note)
        value = next(stage.value for stage in found.plan.objective if stage.name == axis.word)
        points.append(_point(found, f"{value:,}", float(value), now=_is_now(trials, found, axis.word, value)))
        most = dict(found.stages)[axis.word] - 1
        if value == 0:
            return Frontier(axis.text, unit, tuple(points), True, "")
    return Frontier(axis.text, unit, tuple(points), False, f"only the cheapest {MOST_POINTS} points")


def _limited(word: str, most: int | None) -> Callable[[Program], Program]:
    def rows(program: Program) -> Program:
        if most is None:
            return program
        return loss_at_most(program, most) if word == "quality_loss" else at_most(program, "gpus", most)

    return rows


def loss_at_most(program: Program, most: int) -> Program:
    """One more row over shares: what all of them lose."""
    losses = [(k, c, loss) for c, column in enumerate(program.columns) for k, loss in column.losses if loss]
    scale = lcm(*(loss.denominator for _, _, loss in losses)) if losses else 1
    use = tuple((k, c, int(loss * scale)) for k, c, loss in losses)
    row = ShareLimit("at most quality_loss", most * scale, use)
    return replace(program, share_limits=(*program.share_limits, row))


Version = tuple[str, float, bool, Callable[[], Scenario]]
"""(value as text, as a number, whether it is today's, the scenario): versions, each better than the one before."""


def _by_values(trials: Trials, axis: Axis, unit: str, versions: Iterator[Version], note: str) -> Frontier:
    """Promises or spare nodes: a version of the scenario for each value; those that cost as little as a better one
    are no points."""
    points: list[Point] = []
    for text, number, now, version in versions:
        found = trials.best(version())
        if found.plan is None:
            whole = found.status == "infeasible"
            more = note if whole else "time ended before the next point was known"
            return Frontier(axis.text, unit, tuple(points), whole, more)
        point = _point(found, text, number, now=now)
        while points and Fraction(points[-1].cost_per_month) >= Fraction(point.cost_per_month):
            point = replace(point, now=points.pop().now or point.now)
        if len(points) == MOST_POINTS:
            return Frontier(axis.text, unit, tuple(points), False, f"only the cheapest {MOST_POINTS} points")
        points.append(point)
    return Frontier(axis.text, unit, tuple(points), False, "values beyond these were not asked")


def _spares(trials: Trials) -> Iterator[Version]:
    """No spare node, one, two, ... in every group of pools in use."""
    now = trials.scenario.reserve.spare_nodes
    for count in range(max(now, MOST_POINTS) + MOST_POINTS):
        edit = put("reserve", "spare_nodes", value=count)
        yield f"{count:,}", float(count), count == now, _later(trials.scenario, edit)


def _later(scenario: Scenario, *edits: Edit) -> Callable[[], Scenario]:
    return lambda: edited(scenario, edits)


def _promises(trials: Trials, axis: Axis) -> Iterator[Version]:
    """The promise at the values of the absolute grid, from twice what is promised today, and at today's."""
    scenario = trials.scenario
    names = [axis.class_name] if axis.class_name else list(scenario.traffic)
    own = {name: value for name in names if (value := _promise(scenario, name, axis.word)) is not None}
    today = max(own.values())
    grid = {today}
    point = Fraction(int(GRID_UNIT_S * MICRO))
    ratio = Fraction(str(GRID_RATIO))
    while point <= today * LOOSER:
        grid.add(int(point))
        point *= ratio
    for value in sorted(grid, reverse=True):
        edits = [
            put("traffic", name, "slo", f"{axis.word}_p95_us", value=value if axis.class_name else min(value, most))
            for name, most in own.items()
        ]
        if not axis.class_name and value > today:
            edits = [
                put("traffic", name, "slo", f"{axis.word}_p95_us", value=value if most == today else most)
                for name, most in own.items()
            ]
        yield f"{value / 1000:,.6g}", value / 1000, value == today, _later(scenario, *edits)


def _promise(scenario: Scenario, name: str, word: str) -> int | None:
    slo = scenario.traffic[name].slo
    return slo.tpot_p95_us if word == "tpot" else slo.ttft_p95_us


def _point(found: Outcome, text: str, number: float, *, now: bool) -> Point:
    assert found.plan is not None
    return Point(cents(found.cost_per_month) or "", text, number, now, runs(found.plan), nodes_text(found.nodes))


def _is_now(trials: Trials, found: Outcome, word: str, value: int) -> bool:
    """Whether the plan of the scenario costs the same and has the same value."""
    plan = trials.base.plan
    if plan is None or trials.base.cost_per_month != found.cost_per_month:
        return False
    return any(stage.name == word and stage.value == value for stage in plan.objective)
