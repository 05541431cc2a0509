"""Small programs drawn by a seed: two models, three groups in two regions, two load rows, tiers and limited stock."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest

from planner.solver.program import Column, Group, Item, Load, ModelLimit, NodeLimit, PoolNodes, Program


def draw(seed: int) -> Program:
    """A program of this seed; one in three has a node limit, one in three a least number of replicas."""
    rng = random.Random(seed)
    items = tuple(Item(f"i{k}", f"m{k // 3}") for k in range(6))
    groups = (Group("a", 4, 0, "x"), Group("b", 8, 0, "x"), Group("c", 4, 0, "y"))
    columns = []
    for index in range(14):
        model, group, gpus = index % 2, rng.randrange(3), rng.choice((1, 2, 4))
        own = sorted(rng.sample(range(3 * model, 3 * model + 3), rng.randint(1, 3)))
        loads = tuple(Load(name, 1_000, tuple((k, rng.randint(50, 3_000) // gpus) for k in own)) for name in "rs")
        losses = tuple((k, Fraction(0)) for k in own)
        columns.append(Column(f"c{index:02}", f"m{model}", f"c{index:02}", group, gpus, 8, loads, losses))
    pools = tuple(
        PoolNodes(f"p{g}{tier}", g, 0, rng.randint(1, 4), rng.randint(40, 90) * (1 + tier))
        for g in range(3)
        for tier in (0, 1)
    )
    program = Program(items, tuple(columns), groups, pools, (), (), (), 0, ("cost",))
    if seed % 3 == 1:
        program = replace(program, node_limits=(NodeLimit("few", 9, tuple((p, 1) for p in range(6))),))
    if seed % 3 == 2:
        program = replace(program, models=(ModelLimit("m0", replicas_min=3),))
    return program


@pytest.fixture
def drawn() -> Callable[[int], Program]:
    """Draws a program by its seed."""
    return draw
