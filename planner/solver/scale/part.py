"""A part of a program, itself a program: some columns are free, the rest of a plan stands still around them.

Models with a free column route anew, over their free columns and over those that they run already. Replicas of other
models only take up GPUs; nodes of groups in which nothing is free stay as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from planner.solver.master import Master
from planner.solver.program import Column, Demand, NodeLimit, Program, ShareLimit


@dataclass(frozen=True)
class Part:
    """A program with the places of its columns and pools in the whole one; `fixed` counts replicas that stand still."""

    program: Program
    columns: tuple[int, ...]
    pools: tuple[int, ...]
    fixed: Mapping[int, int]

    def settle(self, master: Master) -> None:
        """Fixes what stands still in a master of the part's program."""
        for c, count in self.fixed.items():
            v = master.replicas[c]
            master.variables[v] = replace(master.variables[v], lower=count, upper=count)

    def merged(
        self, replicas: Sequence[int], nodes: Sequence[int], old: tuple[Sequence[int], Sequence[int]]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The whole plan with this part of it exchanged."""
        all_replicas, all_nodes = list(old[0]), list(old[1])
        for c, count in zip(self.columns, replicas, strict=False):
            all_replicas[c] = count
        for p, count in zip(self.pools, nodes, strict=True):
            all_nodes[p] = count
        return tuple(all_replicas), tuple(all_nodes)


def part_of(program: Program, free: Collection[int], replicas: Sequence[int], nodes: Sequence[int]) -> Part:
    """The part in which `free` columns may change, and with them the nodes of their groups.

    Every column of `columns` comes first in the part's program, in order; what other models hold comes after.
    """
    models = {program.columns[c].model for c in free}
    touched = {program.columns[c].group for c in free}
    running = [c for c, count in enumerate(replicas) if count]
    still = [c for c in running if program.columns[c].model in models and c not in free]
    inside = (*sorted(free), *still)
    held: dict[tuple[int, int], int] = {}
    for c in running:
        column = program.columns[c]
        if column.model not in models and column.group in touched:
            held[column.group, column.gpus] = held.get((column.group, column.gpus), 0) + replicas[c]
    columns = [program.columns[c] for c in inside]
    fixed = {len(free) + i: replicas[c] for i, c in enumerate(still)}
    for (group, gpus), count in sorted(held.items()):
        fixed[len(columns)] = count
        columns.append(Column(f"held[{group},{gpus}]", "", "", group, gpus, count, (), ()))
    groups = {column.group for column in columns}
    pools = tuple(p for p, pool in enumerate(program.pools) if pool.group in groups)
    bounded = [
        pool if pool.group in touched else replace(pool, lower=nodes[p], upper=nodes[p])
        for p, pool in enumerate(program.pools)
    ]
    sub = replace(
        program,
        columns=tuple(columns),
        demands=_demands(program, models),
        pools=tuple(bounded[p] for p in pools),
        node_limits=_node_limits(program, pools, nodes),
        share_limits=_share_limits(program, inside),
        models=tuple(limit for limit in program.models if limit.model in models),
    )
    return Part(sub, inside, pools, fixed)


def model_part(program: Program, columns: Sequence[int]) -> Program:
    """The program of these columns of one model alone, without node limits, and with nodes for all of its replicas.

    Only then may one column stand in for another that shares its group with a third one: stock ties them otherwise.
    """
    models = {program.columns[c].model for c in columns}
    most = [group.spare_nodes for group in program.groups]
    for c in columns:
        most[program.columns[c].group] += program.columns[c].upper
    return replace(
        program,
        columns=tuple(program.columns[c] for c in columns),
        pools=tuple(p if p.group is None else replace(p, upper=max(p.upper, most[p.group])) for p in program.pools),
        demands=_demands(program, models),
        node_limits=(),
        share_limits=_share_limits(program, columns),
        models=tuple(limit for limit in program.models if limit.model in models),
    )


def _demands(program: Program, models: Collection[str]) -> tuple[Demand, ...]:
    return tuple(d for d in program.demand_rows if program.items[d.items[0]].model in models)


def _node_limits(program: Program, pools: Sequence[int], nodes: Sequence[int]) -> tuple[NodeLimit, ...]:
    """Node limits of the pools inside, less what the others use."""
    place = {p: i for i, p in enumerate(pools)}
    limits = []
    for limit in program.node_limits:
        outside = sum(amount * nodes[p] for p, amount in limit.use if p not in place)
        use = tuple((place[p], amount) for p, amount in limit.use if p in place)
        limits.append(NodeLimit(limit.name, limit.max - outside, use))
    return tuple(limits)


def _share_limits(program: Program, columns: Iterable[int]) -> tuple[ShareLimit, ...]:
    """Promised shares over the columns inside; those that none of them uses hold anyway."""
    place = {c: i for i, c in enumerate(columns)}
    limits = []
    for limit in program.share_limits:
        use = tuple((k, place[c], amount) for k, c, amount in limit.use if c in place)
        if use:
            limits.append(ShareLimit(limit.name, limit.max, use))
    return tuple(limits)
