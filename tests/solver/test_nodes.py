"""Node counts that equations and limits leave."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import product

from planner.solver import nodes as nodes_module
from planner.solver.nodes import node_plans, nodes_reach, tightened
from planner.solver.program import Group, NodeLimit, PoolNodes, Program


def stock(pools: tuple[PoolNodes, ...], limits: tuple[NodeLimit, ...] = ()) -> Program:
    """A program of pools alone."""
    return Program((), (), (Group("g", 8, 0),), pools, limits, (), (), 0, ("cost",))


def test_plans_agree_with_trying_everything() -> None:
    """Tests the listing against the product of all ranges on random pools."""
    rng = random.Random(11)
    for _ in range(100):
        pools = tuple(
            PoolNodes(f"p{i}", 0, lower := rng.randint(0, 2), lower + rng.randint(0, 3), rng.randint(0, 5))
            for i in range(rng.randint(1, 4))
        )
        limit = NodeLimit("power", rng.randint(0, 20), tuple((i, rng.randint(0, 3)) for i in range(len(pools))))
        costs = tuple(pool.cost for pool in pools)
        value = rng.randint(0, 25)
        expected = [
            choice
            for choice in product(*(range(pool.lower, pool.upper + 1) for pool in pools))
            if sum(a * b for a, b in zip(costs, choice, strict=True)) == value
            and sum(a * choice[p] for p, a in limit.use) <= limit.max
        ]
        assert node_plans(stock(pools, (limit,)), [(costs, value)]) == expected


def test_bounds_shrink_to_what_is_used() -> None:
    """Tests that a pool that no plan uses is closed: $4.68 is one node of each, the third pool stays empty."""
    pools = (
        PoolNodes("a100", 0, 0, 20, 3_670_000),
        PoolNodes("a10g", 0, 0, 20, 1_010_000),
        PoolNodes("h100", 0, 0, 20, 5_000_000),
    )
    plans = node_plans(stock(pools), [((3_670_000, 1_010_000, 5_000_000), 4_680_000)])
    assert plans == [(1, 1, 0)]
    assert [(p.lower, p.upper) for p in tightened(stock(pools), plans).pools] == [(1, 1), (1, 1), (0, 0)]


def test_reach_agrees_with_trying_everything() -> None:
    """Tests whether some choice weighs enough, against the heaviest choice within the limit."""
    rng = random.Random(12)
    for _ in range(100):
        pools = tuple(PoolNodes(f"p{i}", 0, rng.randint(0, 1), rng.randint(1, 4), 1) for i in range(3))
        limit = NodeLimit("power", rng.randint(0, 15), tuple((i, rng.randint(0, 3)) for i in range(3)))
        weights = [Fraction(rng.randint(0, 9), rng.randint(1, 3)) for _ in pools]
        weighed = [
            sum(a * b for a, b in zip(weights, choice, strict=True))
            for choice in product(*(range(pool.lower, pool.upper + 1) for pool in pools))
            if sum(a * choice[p] for p, a in limit.use) <= limit.max
        ]
        least = Fraction(rng.randint(0, 40), 2)
        assert nodes_reach(stock(pools, (limit,)), weights, least) == any(weight >= least for weight in weighed)


def test_too_many_plans_are_not_listed(monkeypatch) -> None:
    """Tests that a listing that would take too long gives up instead."""
    monkeypatch.setattr(nodes_module, "STEPS_MAX", 50)
    pools = tuple(PoolNodes(f"p{i}", 0, 0, 9, 1) for i in range(6))
    assert node_plans(stock(pools), [((1,) * 6, 27)]) is None
    assert nodes_reach(stock(pools), [Fraction(0)] * 6, Fraction(1)) is False
