"""Which node counts are still possible once cost or GPUs are fixed: few, and often one.

Cost and GPUs depend on nodes alone. With their values fixed, listing the solutions of those equations over the pools
gives tight bounds on nodes; groups that no solution uses drop out of the program with all their columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from planner.solver.program import Program

STEPS_MAX = 50_000
"""Search steps before the listing gives up; the bounds then stay as they are, which is always valid."""


def node_plans(program: Program, equations: Sequence[tuple[tuple[int, ...], int]]) -> list[tuple[int, ...]] | None:
    """Every choice of nodes that satisfies the equations and the node limits, or None if there are too many to list.

    Args:
        program: The program; only pools and node limits are read.
        equations: (coefficient per pool, value) pairs with coefficients of at least 0.
    """
    if any(pool.group is None for pool in program.pools):  # Purchases over time: far too many ways to buy the same.
        return None
    rows = [_Row(coefficients, Fraction(value), Fraction(value)) for coefficients, value in equations]
    try:
        return sorted(_choices(program, [*rows, *_limit_rows(program)]))
    except _TooManyError:
        return None


def nodes_reach(program: Program, weights: Sequence[Fraction], least: Fraction) -> bool | None:
    """Whether some choice of nodes within the limits weighs at least so much; None if that takes too long to know.

    Weights are at least 0, one a pool.
    """
    try:
        rows = [_Row(tuple(weights), least, None), *_limit_rows(program)]
        return next(_choices(program, rows), None) is not None
    except _TooManyError:
        return None


@dataclass(frozen=True)
class _Row:
    """low <= sum of coefficient * nodes <= high, coefficients at least 0; None is no bound."""

    coefficients: Sequence[Fraction | int]
    low: Fraction
    high: Fraction | None


class _TooManyError(Exception):
    """The search took more steps than it may."""


def _limit_rows(program: Program) -> list[_Row]:
    """The node limits as rows; one with a negative amount is left out, which leaves more choices, never fewer."""
    rows = []
    for limit in program.node_limits:
        amounts = [0] * len(program.pools)
        for pool, amount in limit.use:
            amounts[pool] += amount
        if min(amounts, default=0) >= 0:
            rows.append(_Row(amounts, Fraction(0), Fraction(limit.max)))
    return rows


def _choices(program: Program, rows: Sequence[_Row]) -> Iterator[tuple[int, ...]]:
    """Every choice of nodes that keeps all rows, largest counts first; raises _TooManyError after STEPS_MAX steps."""
    pools = program.pools
    least = [[Fraction(0)] * (len(pools) + 1) for _ in rows]
    most = [[Fraction(0)] * (len(pools) + 1) for _ in rows]
    for r, row in enumerate(rows):
        for p in reversed(range(len(pools))):
            least[r][p] = least[r][p + 1] + row.coefficients[p] * pools[p].lower
            most[r][p] = most[r][p + 1] + row.coefficients[p] * pools[p].upper
    stack: list[tuple[tuple[int, ...], tuple[Fraction, ...]]] = [((), (Fraction(0),) * len(rows))]
    steps = 0
    while stack:
        steps += 1
        if steps > STEPS_MAX:
            raise _TooManyError
        chosen, sums = stack.pop()
        p = len(chosen)
        if any(
            total + most[r][p] < row.low or (row.high is not None and total + least[r][p] > row.high)
            for r, (row, total) in enumerate(zip(rows, sums, strict=True))
        ):
            continue
        if p == len(pools):
            yield chosen
            continue
        for count in range(pools[p].lower, pools[p].upper + 1):
            after = tuple(total + row.coefficients[p] * count for row, total in zip(rows, sums, strict=True))
            stack.append(((*chosen, count), after))


def tightened(program: Program, plans: Sequence[tuple[int, ...]]) -> Program:
    """The program with each pool bounded by what the listed choices use."""
    pools = tuple(
        replace(pool, lower=min(plan[p] for plan in plans), upper=max(plan[p] for plan in plans))
        for p, pool in enumerate(program.pools)
    )
    return replace(program, pools=pools)
