"""What a node of each group is worth when parts are asked for nodes: about its price, in whole numbers."""

from __future__ import annotations

from math import gcd

from planner.solver.program import Program

WEIGHT_MAX = 1 << 30
"""Largest weight of a node in what parts are asked, so that floats hold the lessons. Any above 0 teach the truth."""


def group_weights(program: Program) -> dict[int, int]:
    """What a node of each group costs: its cheapest pool, or the cheapest of what makes its nodes stand.

    The price of a purchase is shared between the situations that it stands in.
    """
    bought: dict[int, list[float]] = {}
    stands: dict[int, int] = {}
    ties = [limit for limit in program.node_limits if sum(a > 0 for _, a in limit.use) == 1 and limit.max == 0]
    for limit in ties:
        for q, amount in limit.use:
            if amount < 0:
                stands[q] = stands.get(q, 0) + 1
    for limit in ties:
        whole = next(p for p, amount in limit.use if amount > 0)
        for q, amount in limit.use:
            if amount < 0 and program.pools[q].cost:
                bought.setdefault(whole, []).append(program.pools[q].cost / stands[q])
    prices: dict[int, float] = {}
    for p, pool in enumerate(program.pools):
        if pool.group is not None and pool.upper:
            price = min([float(pool.cost)] if pool.cost else bought.get(p, [1.0]))
            prices[pool.group] = min(price, prices.get(pool.group, price))
    scale = max(1.0, max(prices.values(), default=1.0) / WEIGHT_MAX)
    rounded = {g: max(1, round(price / scale)) for g, price in prices.items()}
    step = gcd(*rounded.values())
    return {g: rounded.get(g, step) // step for g in range(len(program.groups))}
