"""Programs whose optimum is known and exactly tight: every load of the best plan is 1.000, with thirds and sevenths.

Each is drawn backwards from its optimum. Shares f[k,g] with small denominators and a worth u[k] of every bucket are
drawn first. GPU type g then costs sum_k u[k] * f[k,g] for the n[g] GPUs that run in the end, and a whole bucket k takes
u[k] / price[g] of a GPU where the plan sends any of it, more elsewhere. Any plan costs at least sum_k u[k], since these
are duals of the loads, and the plan that was drawn costs that: n[g] GPUs full to the last unit. Loads that are rounded
up, or buckets that are split in fixed steps, lose it.
"""

from __future__ import annotations

import random
from fractions import Fraction
from math import lcm

from planner.solver.program import Column, Group, Item, Load, PoolNodes, Program

PARTS = (3, 3, 7, 2, 6)
"""Denominators of shares."""


def tight_program(seed: int) -> tuple[Program, int]:
    """A program and the cost of its optimum."""
    rng = random.Random(seed)
    buckets, types = rng.randint(2, 6), rng.randint(2, 4)
    while True:
        shares = [_shares(rng, types) for _ in range(buckets)]
        worth = [rng.randint(2, 40) for _ in range(buckets)]
        paid = [sum((u * f[g] for u, f in zip(worth, shares, strict=True)), Fraction(0)) for g in range(types)]
        if all(paid):
            break
    counts = [rng.randint(1, 3) for _ in range(types)]
    prices = [money / count for money, count in zip(paid, counts, strict=True)]
    unit = lcm(*(price.denominator for price in prices))
    columns = tuple(_column(rng, g, prices[g], worth, [f[g] for f in shares]) for g in range(types))
    program = Program(
        items=tuple(Item(f"bucket{k}", "model") for k in range(buckets)),
        columns=columns,
        groups=tuple(Group(f"type{g}", 1, 0) for g in range(types)),
        pools=tuple(PoolNodes(f"type{g}", g, 0, 8, int(price * unit)) for g, price in enumerate(prices)),
        node_limits=(),
        share_limits=(),
        models=(),
        spare_replicas=0,
        objective=("cost",),
    )
    return program, sum(worth) * unit


def _shares(rng: random.Random, types: int) -> list[Fraction]:
    """How a bucket is split over GPU types; most go to one or two of them."""
    parts = rng.choice(PARTS)
    places = rng.sample(range(types), min(types, rng.choice((1, 2, 2, 3))))
    found = [Fraction(0)] * types
    for _ in range(parts):
        found[rng.choice(places)] += Fraction(1, parts)
    return found


def _column(rng: random.Random, g: int, price: Fraction, worth: list[int], shares: list[Fraction]) -> Column:
    """A GPU type: what a whole bucket takes of one, in the units in which all of that is whole."""
    loads = [u / price * (1 if f else 1 + Fraction(rng.randint(0, 9), 7)) for u, f in zip(worth, shares, strict=True)]
    capacity = lcm(*(load.denominator for load in loads))
    use = tuple((k, int(load * capacity)) for k, load in enumerate(loads))
    losses = tuple((k, Fraction(0)) for k in range(len(worth)))
    return Column(f"type{g}", "model", f"type{g}", g, 1, 8, (Load("gpu", capacity, use),), losses)
