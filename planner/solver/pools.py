"""Pools as the program holds them: the nodes that replicas stand on, and for spot pools what is asked for beyond.

    z[p]       nodes of a pool that can be counted on; the nodes of any other pool are all counted on
    extra[j]   0 or 1: whether a j-th node more is asked for, so that z[p] are there often enough
    steps      extra[j] = 1 exactly from z[p] >= step[j] on, see `planner.candidates.spot`

Money, power and quotas count nodes that are asked for: z[p] and its extras.
"""

from __future__ import annotations

from collections.abc import Sequence

from planner.candidates.groups import PoolGroup
from planner.candidates.spot import most_counted, steps
from planner.solver.program import NodeLimit, PoolNodes

_EXTRA = " extra "


def pool_nodes(groups: Sequence[PoolGroup]) -> tuple[tuple[PoolNodes, ...], tuple[NodeLimit, ...]]:
    """The quantities of nodes of all pools, and the rows of spot pools."""
    pools: list[PoolNodes] = []
    rows: list[NodeLimit] = []
    for index, group in enumerate(groups):
        for pool in group.pools:
            place, most = len(pools), most_counted(pool)
            cost = pool.price_micro_per_node_h
            pools.append(PoolNodes(pool.name, index, pool.committed_nodes, most, cost))
            for j, step in enumerate(steps(pool)):
                extra = len(pools)
                pools.append(PoolNodes(f"{pool.name}{_EXTRA}{j:02d}", None, 0, 1, cost, gpus=pool.gpus_per_node))
                name = f"spot.{pool.name}[{j}]"
                rows.append(NodeLimit(f"{name} asked", step - 1, ((place, 1), (extra, step - 1 - most))))
                rows.append(NodeLimit(f"{name} needed", 0, ((extra, step), (place, -1))))
    return tuple(pools), tuple(rows)


def pool_of(name: str) -> str:
    """The pool of a quantity of nodes.

    >>> pool_of("l40s-spot extra 00"), pool_of("l40s-spot")
    ('l40s-spot', 'l40s-spot')
    """
    return name.partition(_EXTRA)[0]
