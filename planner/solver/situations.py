"""Several situations in one program: periods and months side by side, failures on top of what runs.

`joined` sets whole programs beside each other; what ties them (purchases that last, start-ups between periods) are
rows over their nodes, see `planner.solver.purchases`. `struck` adds to one program the demand that must still be served
after a failure, on the replicas that are left. Both only copy rows: every solver, cut and check works on the result as
on any program.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from planner.solver.fleet import Fleet, Start
from planner.solver.program import Column, Demand, Item, Load, NodeLimit, Program, ShareLimit


@dataclass(frozen=True)
class Shed:
    """Traffic that a failure may leave unserved: at most `max_ppm` of the requests of these items.

    `weights` has (item, its part of the class in ppm). Lower ranks are shed least.
    """

    name: str
    weights: tuple[tuple[int, int], ...]
    max_ppm: int
    rank: int


@dataclass(frozen=True)
class Failure:
    """Replicas that each column loses, and what may be shed then."""

    name: str
    lost: Mapping[int, int]
    shed: tuple[Shed, ...] = ()


def at(name: str, situation: str) -> str:
    """A row's or column's name in a situation; the plain name where there is only one.

    >>> at("chat", "night"), at("chat", "")
    ('chat|night', 'chat')
    """
    return f"{name}|{situation}" if situation else name


def plain(name: str) -> str:
    """A name without its situation and failure.

    >>> plain(at(at("chat", "lost hourly"), "night"))
    'chat'
    """
    return name.partition("|")[0]


def shed_name(what: str) -> str:
    """The column of what goes unserved."""
    return f"shed {what}"


def waiting_name(what: str) -> str:
    """The column of what waits for another period."""
    return f"wait {what}"


def joined(programs: Sequence[tuple[str, Program]]) -> Program:
    """Programs side by side under one set of objectives; nothing ties them yet."""
    items: list[Item] = []
    demands: list[Demand] = []
    result = replace(
        programs[0][1],
        items=(),
        columns=(),
        groups=(),
        pools=(),
        node_limits=(),
        share_limits=(),
        models=(),
        starts=(),
        fleets=(),
    )
    for name, program in programs:
        k, c, g, p = (len(part) for part in (items, result.columns, result.groups, result.pools))
        items += [Item(at(item.name, name), at(item.model, name)) for item in program.items]
        demands += [Demand(at(d.name, name), tuple(k + i for i in d.items)) for d in program.demand_rows]
        pools = [
            replace(pool, name=at(pool.name, name), group=None if pool.group is None else pool.group + g)
            for pool in program.pools
        ]
        limits = [NodeLimit(at(n.name, name), n.max, tuple((p + i, a) for i, a in n.use)) for n in program.node_limits]
        result = replace(
            result,
            columns=(*result.columns, *(_moved(column, name, k, c, g) for column in program.columns)),
            groups=(*result.groups, *(replace(group, name=at(group.name, name)) for group in program.groups)),
            pools=(*result.pools, *pools),
            node_limits=(*result.node_limits, *limits),
            share_limits=(*result.share_limits, *(_share(limit, name, k, c) for limit in program.share_limits)),
            models=(*result.models, *(replace(m, model=at(m.model, name)) for m in program.models)),
            starts=(*result.starts, *(_start(start, name, c) for start in program.starts)),
            fleets=_side_by_side(result.fleets, program.fleets, len(result.starts)),
        )
    return replace(result, items=tuple(items), demands=tuple(demands))


def _start(start: Start, name: str, c: int) -> Start:
    return replace(start, name=at(start.name, name), columns=tuple(c + column for column in start.columns))


def _side_by_side(first: tuple[Fleet, ...], more: tuple[Fleet, ...], starts: int) -> tuple[Fleet, ...]:
    """Fleets of one more situation beside those of the others: moves add up. `starts` come before its own."""
    moved = [replace(fleet, today=tuple((starts + i, count) for i, count in fleet.today)) for fleet in more]
    if not first:
        return tuple(moved)
    return tuple(
        replace(one, today=(*one.today, *other.today), gone=one.gone + other.gone)
        for one, other in zip(first, moved, strict=True)
    )


def struck(program: Program, failures: Sequence[Failure]) -> Program:
    """The program with the demand of its own situation to be served once more after each failure."""
    base = program
    for failure in failures:
        k, c = len(program.items), len(program.columns)
        items = tuple(Item(at(item.name, failure.name), item.model) for item in base.items)
        demands = [Demand(at(d.name, failure.name), tuple(k + i for i in d.items)) for d in base.demand_rows]
        left = [_left(column, index, failure, k) for index, column in enumerate(base.columns)]
        shares = [_share(limit, failure.name, k, c) for limit in base.share_limits]
        shed = [_shed_column(part, failure, k) for part in failure.shed]
        limits = [
            ShareLimit(
                at(shed_name(part.name), failure.name),
                part.max_ppm,
                tuple((k + i, c + len(left) + index, weight) for i, weight in part.weights),
            )
            for index, part in enumerate(failure.shed)
        ]
        program = replace(
            program,
            items=(*program.items, *items),
            demands=(*program.demand_rows, *demands),
            columns=(*program.columns, *left, *shed),
            share_limits=(*program.share_limits, *shares, *limits),
        )
    return program


def _left(column: Column, index: int, failure: Failure, k: int) -> Column:
    """What a failure leaves of a column."""
    moved = _moved(column, failure.name, k, 0, 0)
    losses = tuple((i, Fraction(0)) for i, _ in moved.losses)
    return replace(moved, model=column.model, upper=0, losses=losses, of=index, lost=failure.lost.get(index, 0))


def _shed_column(part: Shed, failure: Failure, k: int) -> Column:
    name = at(shed_name(part.name), failure.name)
    losses = tuple((k + i, Fraction(0)) for i, _ in part.weights)
    return Column(name, "", name, 0, 1, 0, (), losses, always=True, rank=part.rank)


def _moved(column: Column, name: str, k: int, c: int, g: int) -> Column:
    """A column under its situation's name, its items, base column and group moved by the given offsets."""
    return replace(
        column,
        name=at(column.name, name),
        model=at(column.model, name),
        config=at(column.config, name),
        group=column.group + g,
        loads=tuple(Load(load.name, load.capacity, tuple((k + i, a) for i, a in load.use)) for load in column.loads),
        losses=tuple((k + i, loss) for i, loss in column.losses),
        of=None if column.of is None else column.of + c,
    )


def _share(limit: ShareLimit, name: str, k: int, c: int) -> ShareLimit:
    return ShareLimit(at(limit.name, name), limit.max, tuple((k + i, c + j, a) for i, j, a in limit.use))
