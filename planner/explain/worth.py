"""What a little more or less of everything is worth: the change of the least cost, by solving again."""

from __future__ import annotations

from functools import partial

from planner.explain.edits import Edit, edited
from planner.explain.halving import Change, halved
from planner.explain.reasons import Worth
from planner.explain.steps import Step, steps
from planner.explain.trials import Direction, Outcome, Trials
from planner.explain.words import bought, effect
from planner.scenario.types import Scenario

MOST_CLASSES = 4
"""Classes whose traffic is asked about unless all are: those that ask the most."""


def worth(trials: Trials, *, every: bool) -> tuple[Worth, ...]:
    """The worth of every step; without `every`, of those that `usual` names."""
    scenario, base = trials.scenario, trials.base
    busiest = sorted(scenario.traffic.values(), key=lambda each: (-each.peak_rps, each.name))[:MOST_CLASSES]
    names = {each.name for each in busiest}
    asked = [step for step in steps(scenario) if every or _usual(step, base, names)]
    found = {index: base for index, step in enumerate(asked) if _leaves_the_plan(step, base)}
    directions: tuple[Direction, ...] = ("loosen", "tighten", "either")
    for direction in directions:
        own = [index for index, step in enumerate(asked) if step.direction == direction and index not in found]
        kinds = [_kind(asked[index]) for index in own]
        outcomes = halved(trials, [_change(asked[index]) for index in own], direction, kinds).alone
        found |= dict(zip(own, outcomes, strict=True))
    return tuple(_worth(step, base, found[index]) for index, step in enumerate(asked))


def _usual(step: Step, base: Outcome, busiest: set[str]) -> bool:
    """Steps that are asked by themselves: nodes of pools in use, the traffic of the busiest classes, promises by a
    millisecond, floors by a point, and whatever else the scenario limits."""
    block, _, rest = step.path.partition(".")
    if block == "inventory":
        pool = rest.removesuffix(".available").removesuffix(".committed")
        return dict(base.nodes).get(pool, 0) > 0
    if _is_rate(step):
        return rest.rpartition(".")[0] in busiest | {"*"}
    return not step.amount.startswith("10% ")


def _is_rate(step: Step) -> bool:
    return step.path.endswith((".peak", ".requests", ".rate"))


def _kind(step: Step) -> int:
    """How a step is asked: a node fewer of what is used up mostly changes the cost, traffic often does."""
    if step.direction == "tighten" and step.path.startswith("inventory."):
        return 2
    return 1 if _is_rate(step) else 0


def _leaves_the_plan(step: Step, base: Outcome) -> bool:
    """Whether the plan stays a plan when a node fewer is offered, and so stays the cheapest."""
    if step.direction != "tighten" or not step.path.startswith("inventory."):
        return False
    assert base.plan is not None
    row = next((row for row in base.plan.limits if row.path == step.path), None)
    return row is not None and row.used < row.limit


def _change(step: Step) -> Change:
    return partial(_edited, step.edit)


def _edited(edit: Edit, scenario: Scenario) -> Scenario:
    return edited(scenario, (edit,))


def _worth(step: Step, base: Outcome, found: Outcome) -> Worth:
    return Worth(
        step.path, step.amount, step.before, step.after, found.status, effect(base, found), bought(base, found)
    )
