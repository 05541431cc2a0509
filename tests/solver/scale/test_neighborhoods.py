"""Neighborhoods: what they free, and how they learn."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np

from planner.solver.program import Program
from planner.solver.scale.flat import flatten
from planner.solver.scale.neighborhoods import LEAST_PAIRS, MOST_PAIRS, PAIRS, Neighborhoods
from planner.solver.scale.prices import PriceLp
from planner.solver.session import node_weights


def around(program: Program) -> Neighborhoods:
    """Neighborhoods at the prices of a program."""
    flat = flatten(program)
    prices = PriceLp(program, flat, node_weights(program, "cost")).solve(10)
    assert prices is not None
    return Neighborhoods(program, flat, prices, random.Random(1))


def test_what_runs_is_always_free(drawn: Callable[[int], Program]) -> None:
    """Tests that a neighborhood holds the running columns of its models or regions, and only usable ones."""
    program = drawn(0)
    drawer = around(program)
    replicas = np.zeros(len(program.columns), dtype=np.int64)
    replicas[[0, 1]] = 1
    for _ in range(len(drawer.kinds) + 3):
        kind, free = drawer.draw(replicas)
        drawer.learn(kind, 0.0, 1.0, solved=False)
        name, _ = drawer.kinds[kind]
        inside = {program.columns[c].model for c in free}
        if name == "models":
            assert {c for c in (0, 1) if program.columns[c].model in inside} <= set(free)
        assert all(drawer.flat.upper[c] > 0 for c in free)


def test_sizes_follow_what_was_solved(drawn: Callable[[int], Program]) -> None:
    """Tests that a solved neighborhood grows, one cut short for nothing shrinks, and one that earned stays."""
    drawer = around(drawn(0))
    drawer.learn(0, 0.0, 1.0, solved=True)
    drawer.learn(1, 0.0, 1.0, solved=False)
    drawer.learn(2, 5.0, 1.0, solved=False)
    assert drawer.sizes[0] > PAIRS > drawer.sizes[1]
    assert drawer.sizes[2] == PAIRS
    for _ in range(20):
        drawer.learn(0, 0.0, 1.0, solved=True)
        drawer.learn(1, 0.0, 1.0, solved=False)
    assert (drawer.sizes[0], drawer.sizes[1]) == (MOST_PAIRS, LEAST_PAIRS)
