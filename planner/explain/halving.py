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

Group = tuple[int, ...]
"""Changes that are asked together, by their places."""


@dataclass(frozen=True)
class Halved:
    """The outcome of every change alone, in their order; `together` are sets of changes that only change the cost
    jointly, with the outcome of that."""

    alone: tuple[Outcome, ...]
    together: tuple[tuple[frozenset[int], Outcome], ...]


def halved(
    trials: Trials,
    changes: Sequence[Change],
    direction: Direction,
    kinds: Sequence[int] = (),
) -> Halved:
    """The outcomes of changes of one direction.

    Args:
        trials: What is asked.
        changes: The changes.
        direction: Of all of them; `either` are asked one by one.
        kinds: A kind for each change, which are asked together: those of kind 0 are halved, those of kind 1 are asked
            alone where together they change the cost, those of kind 2 at once. None: all of kind 0.
    """
    alone: dict[int, Outcome] = {}
    asked: dict[frozenset[int], Outcome] = {}
    level = _first_groups(trials, len(changes), direction, kinds)
    while level:
        outcomes = trials.least_of([_ask(trials, changes, group, direction) for group in level])
        later: list[Group] = []
        for group, found in zip(level, outcomes, strict=True):
            if len(group) == 1:
                alone[group[0]] = found
            elif found.cost_per_month == trials.base.cost_per_month:
                alone |= dict.fromkeys(group, trials.base)
            else:
                asked[frozenset(group)] = found
                whole = kinds and kinds[group[0]]
                middle = len(group) // 2
                later += [(index,) for index in group] if whole else [group[:middle], group[middle:]]
        level = later
    moved = {index for index, found in alone.items() if found.cost_per_month != trials.base.cost_per_month}
    sets = [group for group in asked if not moved & group]
    smallest = [group for group in sets if not any(other < group for other in sets)]
    together = tuple((group, asked[group]) for group in sorted(smallest, key=sorted))
    return Halved(tuple(alone[index] for index in range(len(changes))), together)


def _first_groups(trials: Trials, count: int, direction: Direction, kinds: Sequence[int]) -> list[Group]:
    if direction == "either" or trials.scenario.objective[0] != "cost":
        return [(index,) for index in range(count)]
    kinds = kinds or (0,) * count
    groups = [tuple(index for index in range(count) if kinds[index] == kind) for kind in (0, 1)]
    return [group for group in groups if group] + [(index,) for index in range(count) if kinds[index] == 2]


def _ask(trials: Trials, changes: Sequence[Change], group: Group, direction: Direction) -> Ask:
    scenario = trials.scenario
    for index in group:
        scenario = changes[index](scenario)
    return Ask(scenario, direction, same=len(group) > 1)
