"""The fleet that runs, as rows of the program: columns that may stay, what must stay, and what moving costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from planner.candidates import fleet as running
from planner.candidates.fleet import (
    KEPT_FIELDS,
    Where,
    entries_by_start,
    kept_values,
    replicas_by_start,
    running_start,
    unnamed,
    where,
)
from planner.scenario.fleet import Kept
from planner.scenario.types import Pool, Scenario
from planner.solver.fleet import MOVED, Fleet, Start
from planner.solver.packing import fits
from planner.solver.program import PoolNodes, Program
from planner.solver.purchases import exact_limit, whole_unit

MOVES = "change.replicas"
"""The quantity that counts moves, where they are limited or cost money."""

Key = running.Start


@dataclass(frozen=True)
class Today:
    """What runs today and of the plan to stay near, by start; how many replicas of a start there must and may be; and
    what replicas of a model on a group must have."""

    current: Mapping[Key, int]
    near: Mapping[Key, int]
    bounds: Mapping[Key, tuple[int, int | None]]
    kept: Mapping[Where, Mapping[Kept, set[object]]]
    only: bool

    def offers(self, key: Key) -> bool:
        """Whether replicas of a start may run at all."""
        kept = self.kept.get(where(key), {})
        same = all(getattr(key, KEPT_FIELDS[word]) in values for word, values in kept.items())
        return same and (key in self.current or not self.only)

    def runs(self, key: Key) -> bool:
        """Whether replicas of a start run: they may stay even where they serve nothing."""
        return key in self.current or key in self.near

    def replicas(self, key: Key) -> int:
        """The most replicas of a start that run in either fleet: a plan may keep them even where it needs fewer."""
        return max(self.current.get(key, 0), self.near.get(key, 0))


def today(scenario: Scenario) -> Today:
    """The fleets of a scenario, and what `keep` and the model's own choices say of them."""
    return Today(
        replicas_by_start(scenario, scenario.current.values()),
        replicas_by_start(scenario, scenario.near.values()),
        _bounds(scenario),
        {} if scenario.as_is else kept_values(scenario),
        scenario.as_is,
    )


def _bounds(scenario: Scenario) -> dict[Key, tuple[int, int | None]]:
    """Replicas of a start at least and at most: all of them as it is, those that `keep` pins, and no more than run of
    what the model does not name."""
    found: dict[Key, tuple[int, int | None]] = {}
    entries = entries_by_start(scenario)
    before = replicas_by_start(scenario, scenario.near.values())
    for each in (*scenario.current.values(), *scenario.near.values()):
        key = running_start(scenario, each)
        own = entries.get(key, [])
        kept = [entry.replicas for entry in own if "replicas" in entry.keep]
        count = max(sum(entry.replicas for entry in own), before.get(key, 0))
        if scenario.as_is:
            found[key] = (count, count)
        elif kept and len(kept) == len(own):
            found[key] = (sum(kept), sum(kept))
        elif unnamed(scenario.models[each.model], scenario.inventory[each.pool].gpu, each):
            found[key] = (sum(kept), count)
        elif kept:
            found[key] = (sum(kept), None)
    return found


def with_today(program: Program, scenario: Scenario, now: Today, keys: Sequence[Key]) -> Program:
    """The program with its fleets; `keys` says what each column's replicas are started with."""
    if not now.current and not now.near:
        return program
    columns: dict[Key, list[int]] = {key: [] for key in (*now.current, *now.near)}
    for c, key in enumerate(keys):
        if key in columns:
            columns[key].append(c)
    names = _names(scenario)
    order = [key for key in columns if columns[key] or now.bounds.get(key, (0, None))[0]]
    places = {key: index for index, key in enumerate(order)}
    starts = tuple(Start(names[key], tuple(columns[key]), *now.bounds.get(key, (0, None))) for key in order)
    program = replace(program, starts=starts)
    if scenario.as_is:
        return replace(program, pools=tuple(_holding(scenario, pool) for pool in program.pools))
    program = replace(
        program,
        fleets=tuple(
            Fleet(
                tuple((places[key], count) for key, count in fleet.items() if key in places),
                sum(count for key, count in fleet.items() if key not in places),
            )
            for fleet in (now.current, now.near)
            if fleet
        ),
        objective=(*program.objective, MOVED),
        near=1 if now.current and now.near else 0,
    )
    return _with_change(program, scenario) if now.current else program


def _names(scenario: Scenario) -> dict[Key, str]:
    """Entries of `current` that are the same start, by name; what only the plan to stay near runs."""
    found: dict[Key, str] = {}
    for word, fleet in (("", scenario.current), ("near ", scenario.near)):
        own: dict[Key, list[str]] = {}
        for name, each in fleet.items():
            own.setdefault(running_start(scenario, each), []).append(name)
        found = {key: f"{word}{'+'.join(sorted(each))}" for key, each in own.items()} | found
    return found


def _holding(scenario: Scenario, pool: PoolNodes) -> PoolNodes:
    """A pool with at least the nodes that its replicas stand on."""
    if pool.group is None:
        return pool
    known = scenario.inventory[pool.name]
    return replace(pool, lower=min(pool.upper, max(pool.lower, nodes_taken(scenario, known))))


def nodes_taken(scenario: Scenario, pool: Pool) -> int:
    """The least nodes that hold the replicas that run in a pool; exact."""
    sizes = [
        (1 if scenario.models[each.model].facts is None else each.parallel.gpus, each.replicas)
        for each in scenario.current.values()
        if each.pool == pool.name
    ]
    nodes = -(-sum(size * count for size, count in sizes) // pool.gpus_per_node)
    if any(size > pool.gpus_per_node for size, _ in sizes):
        return sum(count for _, count in sizes)
    while not fits(sizes, pool.gpus_per_node, nodes):
        nodes += 1
    return nodes


def _with_change(program: Program, scenario: Scenario) -> Program:
    """Moves as a quantity that is limited and paid once; costs are then those of the whole horizon.

    A node costs price * hours of the horizon, a move what the scenario says, both in the largest unit in which all of
    them are whole. `budget.total` is of both.
    """
    change = scenario.change
    if change.max_replicas_moved is None and not change.micro_per_replica:
        return program
    most = program.fleets[0].gone + sum(column.upper for column in program.columns)
    most += sum(count for _, count in program.fleets[0].today)
    if change.max_replicas_moved is not None:
        most = min(most, change.max_replicas_moved)
    costs = [pool.cost * scenario.horizon_h for pool in program.pools]
    unit = whole_unit([*costs, Fraction(change.micro_per_replica)]) if change.micro_per_replica else None
    pools = (
        program.pools
        if unit is None
        else tuple(replace(pool, cost=int(cost / unit)) for pool, cost in zip(program.pools, costs, strict=True))
    )
    each = 0 if unit is None else int(change.micro_per_replica / unit)
    total = [*enumerate(costs), (len(pools), Fraction(change.micro_per_replica))]
    limits = tuple(
        exact_limit(limit.name, Fraction(scenario.budget.total_micro or 0), total)
        if limit.name == "budget.total"
        else limit
        for limit in program.node_limits
    )
    return replace(
        program,
        node_limits=limits,
        pools=(*pools, PoolNodes(MOVES, None, 0, most, each)),
        fleets=(replace(program.fleets[0], quantity=len(pools)), *program.fleets[1:]),
        cost_unit=program.cost_unit if unit is None else unit,
    )
