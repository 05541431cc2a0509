"""Which of many changes of a scenario change the cost of its plan: all at once first, then by halves.

Changes of one direction are asked together: where cost is the first objective, loosening more lines never makes a plan
dearer, and tightening more never makes it cheaper. Where all of them together leave the cost, each of them does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from planner.explain.trials import Ask, Direction, Outcome, Trials
from planner.scenario.types import Scenario

Change = Callable[[Scenario], Scenario]


@dataclass(frozen=True)
class Halved:
    """The outcome of every change alone, in their order; `together` are sets of changes that only change the cost
    jointly, with the outcome of that."""

    alone: tuple[Outcome, ...]
    together: tuple[tuple[frozenset[int], Outcome], ...]


def halved(
    trials: Trials, changes: Sequence[Change], direction: Direction, single: frozenset[int] = frozenset()
) -> Halved:
    """The outcomes of changes of one direction; those of `single` are asked alone from the start."""
    base = trials.base
    if direction == "either" or trials.scenario.objective[0] != "cost":
        single = frozenset(range(len(changes)))
    alone: dict[int, Outcome] = {}
    asked: dict[frozenset[int], Outcome] = {}
    grouped = tuple(index for index in range(len(changes)) if index not in single)
    level = [group for group in (grouped, *((index,) for index in sorted(single))) if group]
    while level:
        outcomes = trials.least_of([Ask(_changed(trials.scenario, changes, group), direction) for group in level])
        later = []
        for group, found in zip(level, outcomes, strict=True):
            if len(group) == 1:
                alone[group[0]] = found
            elif found.cost_per_month == base.cost_per_month:
                alone |= dict.fromkeys(group, base)
            else:
                asked[frozenset(group)] = found
                later += [group[: len(group) // 2], group[len(group) // 2 :]]
        level = later
    moved = {index for index, found in alone.items() if found.cost_per_month != base.cost_per_month}
    sets = [group for group in asked if not moved & group]
    smallest = [group for group in sets if not any(other < group for other in sets)]
    together = tuple((group, asked[group]) for group in sorted(smallest, key=sorted))
    return Halved(tuple(alone[index] for index in range(len(changes))), together)


def _changed(scenario: Scenario, changes: Sequence[Change], group: Sequence[int]) -> Scenario:
    for index in group:
        scenario = changes[index](scenario)
    return scenario
