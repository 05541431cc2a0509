"""Which node counts are still possible once cost or GPUs are fixed: few, and often one.

Cost and GPUs depend on nodes alone. With their values fixed, listing the solutions of those equations over the pools
gives tight bounds on nodes; groups that no solution uses drop out of the program with all their columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from planner.solver.program import Program

STEPS_MAX = 200_000
"""Search steps before the listing gives up; the bounds then stay as they are, which is always valid."""


def node_plans(
    program: Program, equations: Sequence[tuple[tuple[int, ...], int]]
) -> list[tuple[int, ...]] | None:
    """Every choice of nodes that satisfies the equations and the node limits, or None if there are too many.

    Args:
        program: The program; only pools and node limits are read.
        equations: (coefficient per pool, value) pairs with coefficients of at least 0.
    """
    pools = program.pools
    rows = [(coefficients, value, value) for coefficients, value in equations]
    for limit in program.node_limits:
        amounts = [0] * len(pools)
        for pool, amount in limit.use:
            amounts[pool] += amount
        if min(amounts, default=0) >= 0:
            rows.append((tuple(amounts), 0, limit.max))
    least = [[0] * (len(pools) + 1) for _ in rows]
    most = [[0] * (len(pools) + 1) for _ in rows]
    for r, (coefficients, _, _) in enumerate(rows):
        for p in reversed(range(len(pools))):
            least[r][p] = least[r][p + 1] + coefficients[p] * pools[p].lower
            most[r][p] = most[r][p + 1] + coefficients[p] * pools[p].upper
    found: list[tuple[int, ...]] = []
    stack: list[tuple[tuple[int, ...], tuple[int, ...]]] = [((), (0,) * len(rows))]
    steps = 0
    while stack:
        steps += 1
        if steps > STEPS_MAX:
            return None
        chosen, sums = stack.pop()
        p = len(chosen)
        if any(
            total + least[r][p] > high or total + most[r][p] < low
            for r, ((_, low, high), total) in enumerate(zip(rows, sums, strict=True))
        ):
            continue
        if p == len(pools):
            found.append(chosen)
            continue
        for count in range(pools[p].lower, pools[p].upper + 1):
            after = tuple(total + row[0][p] * count for row, total in zip(rows, sums, strict=True))
            stack.append(((*chosen, count), after))
    return sorted(found)


def tightened(program: Program, plans: Sequence[tuple[int, ...]]) -> Program:
    """The program with each pool bounded by what the listed choices use."""
    pools = tuple(
        replace(pool, lower=min(plan[p] for plan in plans), upper=max(plan[p] for plan in plans))
        for p, pool in enumerate(program.pools)
    )
    return replace(program, pools=pools)
