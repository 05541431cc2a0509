"""The parts of a program that share nothing but rows over nodes, each as a program of its own that asks for nodes.

Replicas, shares and promises of one situation never meet those of another; money, purchases and start-ups do, and they
are rows over nodes. So a part is asked one question: what more must stand in its groups than is held there already?
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from planner.solver.program import Column, Demand, Load, NodeLimit, PoolNodes, Program


@dataclass(frozen=True)
class Part:
    """A part with the places of its columns and groups in the whole. `program` has no pools yet; see `asking`.

    `most` is what may ever stand in each of its groups; `limits` has (name, max, amount for a node of each group).
    """

    program: Program
    columns: tuple[int, ...]
    groups: tuple[int, ...]
    most: tuple[int, ...]
    limits: tuple[tuple[str, int, tuple[int, ...]], ...]

    def asking(self, held: Mapping[int, int], weights: Mapping[int, int]) -> Program:
        """The part's program where held nodes cost nothing, and each further one of a group its weight.

        Args:
            held: Nodes that stand in each group of the whole.
            weights: Above 0, by group of the whole.
        """
        pools = []
        for index, (g, most) in enumerate(zip(self.groups, self.most, strict=True)):
            name, have = self.program.groups[index].name, min(held[g], most)
            pools.append(PoolNodes(f"held {name}", index, have, have, 0))
            pools.append(PoolNodes(f"more {name}", index, 0, most - have, weights[g]))
        limits = tuple(
            NodeLimit(name, most, tuple((2 * i + more, a) for i, a in enumerate(amounts) if a for more in (0, 1)))
            for name, most, amounts in self.limits
        )
        return replace(self.program, pools=tuple(pools), node_limits=limits)


def parts_of(program: Program) -> tuple[Part, ...]:
    """The parts of a program, in the order of their first groups."""
    leader = _Leaders()
    for c, column in enumerate(program.columns):
        own = column if column.of is None else program.columns[column.of]
        served = [("item", k) for k, _ in column.losses]
        model = ("model", own.model)
        leader.join([("column", c), *served, *([] if column.always else [("group", own.group), model])])
    for demand in program.demand_rows:
        leader.join([("item", k) for k in demand.items])
    for limit in program.share_limits:
        leader.join([("column", c) for _, c, _ in limit.use])
    most = [0] * len(program.groups)
    for pool in program.pools:
        if pool.group is not None:
            most[pool.group] += pool.upper
    found: dict[object, list[int]] = {}
    for c in range(len(program.columns)):
        found.setdefault(leader.of(("column", c)), []).append(c)
    return tuple(_part(program, columns, most) for columns in found.values())


def _part(program: Program, columns: Sequence[int], most: Sequence[int]) -> Part:
    own = [program.columns[c] for c in columns]
    items = sorted({k for column in own for k, _ in column.losses})
    groups = sorted({column.group for column in own if not column.always})
    models = {column.model for column in own if column.own}
    at_item, at_column, at_group = _places(items), _places(columns), _places(groups)
    alone = Program(
        items=tuple(program.items[k] for k in items),
        columns=tuple(_column(column, at_item, at_column, at_group) for column in own),
        groups=tuple(program.groups[g] for g in groups),
        pools=(),
        node_limits=(),
        share_limits=tuple(
            replace(limit, use=tuple((at_item[k], at_column[c], a) for k, c, a in limit.use))
            for limit in program.share_limits
            if limit.use and limit.use[0][1] in at_column
        ),
        models=tuple(limit for limit in program.models if limit.model in models),
        spare_replicas=program.spare_replicas,
        objective=("cost",),
        demands=tuple(
            Demand(demand.name, tuple(at_item[k] for k in demand.items if k in at_item))
            for demand in program.demand_rows
            if any(k in at_item for k in demand.items)
        ),
    )
    return Part(alone, tuple(columns), tuple(groups), tuple(most[g] for g in groups), _limits(program, groups))


def _limits(program: Program, groups: Sequence[int]) -> tuple[tuple[str, int, tuple[int, ...]], ...]:
    """What limits on nodes say of groups: each node counts as the pool of its group that counts least."""
    found = []
    for limit in program.node_limits:
        amounts = dict(limit.use)
        least = tuple(min(amounts.get(p, 0) for p, pool in enumerate(program.pools) if pool.group == g) for g in groups)
        if min(amounts.values(), default=0) >= 0 and any(least):
            found.append((limit.name, limit.max, least))
    return tuple(found)


def _column(column: Column, items: Mapping[int, int], columns: Mapping[int, int], groups: Mapping[int, int]) -> Column:
    loads = (Load(load.name, load.capacity, tuple((items[k], a) for k, a in load.use)) for load in column.loads)
    return replace(
        column,
        group=0 if column.always else groups[column.group],
        loads=tuple(loads),
        losses=tuple((items[k], loss) for k, loss in column.losses),
        of=None if column.of is None else columns[column.of],
    )


def _places(of: Iterable[int]) -> dict[int, int]:
    return {place: index for index, place in enumerate(of)}


class _Leaders:
    """Things that were joined, each set with one leader."""

    def __init__(self) -> None:
        self._above: dict[tuple[str, object], tuple[str, object]] = {}

    def of(self, thing: tuple[str, object]) -> tuple[str, object]:
        """The leader of a thing's set."""
        while (above := self._above.get(thing, thing)) != thing:
            self._above[thing] = self._above.get(above, above)
            thing = above
        return thing

    def join(self, things: Sequence[tuple[str, object]]) -> None:
        """Puts things into one set."""
        for thing in things[1:]:
            self._above[self.of(thing)] = self.of(things[0])
