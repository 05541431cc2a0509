"""What binds: the lines of the scenario without which the plan would cost less, found by planning without them.

A line can stand at its limit and not bind: the last node of a pool is in use, and one more would not help. And a line
with room left can bind, since replicas and nodes are whole. So nothing is said that was not solved.
"""

from __future__ import annotations

from planner.explain.halving import halved
from planner.explain.lines import Line
from planner.explain.reasons import Binding, Kind
from planner.explain.trials import Outcome, Trials
from planner.explain.words import bought, cents
from planner.plan.types import Plan

LIMITING = ("promises", "stock", "limits", "budget", "reserve")
"""Families of lines that take plans away; models count as far as they limit replicas."""

_COUNTS = (".replicas.min", ".replicas.max", ".max_configurations")
_HELD_BACK = ("reserve.utilization", "reserve.kv_headroom", "reserve.confidence")


def binding(trials: Trials, lines: tuple[Line, ...], *, every: bool) -> tuple[Binding, ...]:
    """Lines that bind or stand at their limit; without `every`, only lines that stand at it are tried."""
    base = trials.base
    assert base.plan is not None
    limiting = [line for line in lines if line.family in LIMITING or line.path.endswith(_COUNTS)]
    asked = [line for line in limiting if every or _usual(line, base.plan)]
    found = halved(trials, [line.loosened for line in asked], "loosen")
    together = {index: outcome for group, outcome in found.together for index in group}
    rows = []
    for index, (line, outcome) in enumerate(zip(asked, found.alone, strict=True)):
        if outcome.cost_per_month != base.cost_per_month:
            rows.append(_binding(line, "binds", base, outcome))
        elif index in together:
            rows.append(_binding(line, "together", base, together[index]))
        elif _stands_at(line, base.plan):
            rows.append(_binding(line, "at_limit", base, base))
    return tuple(rows)


def _usual(line: Line, plan: Plan) -> bool:
    """Lines that are tried unless all are: those that stand at their limit, and floors of quality. What is held back
    of every replica (utilization, headroom, confidence) costs something in every plan."""
    return ".quality." in line.path or (_stands_at(line, plan) and line.path not in _HELD_BACK)


def _stands_at(line: Line, plan: Plan) -> bool:
    """Whether a plan has used a line up; what is kept in reserve always is, and so is a contract: it is paid."""
    if line.family == "reserve" or line.path.endswith(".committed"):
        return True
    own = [each for each in plan.deployments.values() if line.path.startswith(f"models.{each.model}.")]
    if line.path.endswith(".replicas.min"):
        return sum(each.replicas for each in own) <= int(line.value)
    if line.path.endswith(".max_configurations"):
        return len(own) >= int(line.value)
    return any(row.binding and line.path in (row.path, f"{row.path}.max") for row in plan.limits)


def _binding(line: Line, kind: Kind, base: Outcome, outcome: Outcome) -> Binding:
    if outcome.status != "optimal":
        return Binding(line.path, line.value, line.place, "unknown", None, "")
    assert base.cost_per_month is not None and outcome.cost_per_month is not None
    saving = cents(base.cost_per_month - outcome.cost_per_month)
    return Binding(line.path, line.value, line.place, kind, saving, bought(base, outcome))
