"""Cuts for the master: what the duals of an exact routing program say about every choice of replicas.

With duals of the demand rows (u[k] their sum over the demands of item k) and w[r] >= 0 of the share rows, every choice
of serving replicas s satisfies

    loss(s)  >=  sum of the demands' duals - sum_r w[r] * max[r] - sum_c p[c] * s[c]

as soon as p[c] pays for column c: there are multipliers v >= 0 on its load rows and t >= 0 on the rows
`f[k,c] <= s[c]` (true because nothing is served without a replica) with `sum_i amount[i,k] * v[i] + t[k] >=
u[k] - sum_r w[r] * amount[r,k,c] - loss[k,c]` for each of its items, and p[c] = sum_i capacity[i] * v[i] + sum_k t[k].
With all losses 0 the left side is 0: a Farkas cut (Benders, "Partitioning procedures", Numer. Math. 4, 1962).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, lcm

from planner.solver.program import Column, Load, Program

COEFFICIENT_MAX = 10**4
"""Coefficients of cuts are first scaled to this size: it keeps float solvers safe from their own tolerances."""


@dataclass(frozen=True)
class ServingCut:
    """`loss * quality_loss + sum coefficient[c] * serving[c] >= bound`, in integers; `loss` is 0 in a Farkas cut."""

    coefficients: tuple[tuple[int, int], ...]
    bound: int
    loss: int = 0

    def holds(self, serving: Mapping[int, int], quality_loss: int = 0) -> bool:
        """Whether a choice of serving replicas (and a quality loss) satisfies the cut."""
        left = self.loss * quality_loss
        return left + sum(c * serving.get(column, 0) for column, c in self.coefficients) >= self.bound


@dataclass(frozen=True)
class Duals:
    """Multipliers of a routing program: demands, share limits, and what used columns paid for their capacity."""

    demands: Mapping[int, Fraction]
    shares: Mapping[int, Fraction]
    paid: Mapping[int, Fraction]


def column_price(column: Column, needs: Mapping[int, Fraction]) -> Fraction:
    """A small p[c] that covers `needs` (item -> what is left of u[k] after losses and share rows).

    For one load row and the rows `f <= s` the least p[c] is what a replica can earn at most: its capacity filled with
    the items that bring most for their amount, the last one in part. That is found row by row; the cheapest wins.
    """
    positive = {item: need for item, need in needs.items() if need > 0}
    best = sum(positive.values(), Fraction(0))
    for load in column.loads if best else ():
        best = min(best, _earned(load, positive))
    return best


def _earned(load: Load, needs: Mapping[int, Fraction]) -> Fraction:
    """The fractional knapsack of one load row."""
    amounts = dict(load.use)
    earned, room = Fraction(0), load.capacity
    heavy = []
    for item, need in needs.items():
        if amounts.get(item, 0) > 0:
            heavy.append((need / amounts[item], item))
        else:
            earned += need
    for _, item in sorted(heavy, reverse=True):
        if amounts[item] > room:
            return earned + needs[item] * Fraction(room, amounts[item])
        earned += needs[item]
        room -= amounts[item]
    return earned


def serving_cut(program: Program, duals: Duals, serving: Mapping[int, int], *, with_loss: bool) -> ServingCut:
    """The cut of a set of duals in integers, still cutting off (or, with a loss, pricing) `serving`."""
    bound = sum(duals.demands.values(), Fraction(0))
    worth: dict[int, Fraction] = {}
    for d, multiplier in duals.demands.items():
        for item in program.demand_rows[d].items:
            worth[item] = worth.get(item, Fraction(0)) + multiplier
    bound -= sum((w * program.share_limits[r].max for r, w in duals.shares.items()), Fraction(0))
    taxes = _share_taxes(program, duals)
    prices: dict[int, Fraction] = {}
    for index, column in enumerate(program.columns):
        needs = {
            item: worth[item] - (loss if with_loss else 0) - taxes.get((item, index), 0)
            for item, loss in column.losses
            if item in worth
        }
        price = column_price(column, needs)
        price = min(price, duals.paid.get(index, price))
        if price > 0:
            prices[index] = price if with_loss else min(price, bound)
    return _in_integers(prices, bound, serving, with_loss=with_loss)


def _share_taxes(program: Program, duals: Duals) -> dict[tuple[int, int], Fraction]:
    """What the share limits add to the cost of an (item, column) pair."""
    taxes: dict[tuple[int, int], Fraction] = {}
    for row, multiplier in duals.shares.items():
        if not multiplier:
            continue
        for item, column, amount in program.share_limits[row].use:
            taxes[item, column] = taxes.get((item, column), Fraction(0)) + multiplier * amount
    return taxes


def _in_integers(
    prices: Mapping[int, Fraction], bound: Fraction, serving: Mapping[int, int], *, with_loss: bool
) -> ServingCut:
    """Scales a cut to integers: both sides up (it stays valid), small first, exact at the latest."""
    goal = ceil(bound - sum(price * serving.get(c, 0) for c, price in prices.items())) if with_loss else 0
    exact = lcm(bound.denominator, *(price.denominator for price in prices.values()))
    largest = max([abs(bound), *prices.values()])
    for size in (COEFFICIENT_MAX, COEFFICIENT_MAX**2, COEFFICIENT_MAX**3):
        scale = min(Fraction(size) / largest, Fraction(exact)) if largest else Fraction(1)
        if with_loss:
            scale = Fraction(max(1, floor(scale)))
        cut = _scaled(prices, bound, scale, with_loss=with_loss)
        if not cut.holds(serving, goal - 1):
            return cut
    return _scaled(prices, bound, Fraction(exact), with_loss=with_loss)


def _scaled(prices: Mapping[int, Fraction], bound: Fraction, scale: Fraction, *, with_loss: bool) -> ServingCut:
    """One rounding of a cut: prices up; then the left side is whole, so the bound may go up too."""
    coefficients = tuple((c, ceil(price * scale)) for c, price in sorted(prices.items()))
    return ServingCut(coefficients, ceil(bound * scale), int(scale) if with_loss else 0)
