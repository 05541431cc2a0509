"""The least cost alone: the first stages of the whole solve, whatever short cuts it takes."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from fractions import Fraction

import pytest

from planner.solver.least import at_most, least_cost
from planner.solver.objective import solve
from planner.solver.program import Column, Group, Item, Load, ModelLimit, PoolNodes, Program


def drawn(seed: int) -> Program:
    """Three items on six columns of two groups, with a limit on configurations that often matters."""
    rng = random.Random(seed)
    columns = tuple(
        Column(
            name=f"c{c}",
            model="m",
            config=f"k{c % 4}",
            group=c % 2,
            gpus=rng.choice((1, 2)),
            upper=6,
            loads=(Load("gpu", 10, tuple((k, rng.randint(2, 30)) for k in range(3))),),
            losses=tuple((k, Fraction(rng.randint(0, 9), 2)) for k in range(3) if rng.random() < 0.8),
        )
        for c in range(6)
    )
    return Program(
        items=tuple(Item(f"i{k}", "m") for k in range(3)),
        columns=columns,
        groups=(Group("a", 2, 0), Group("b", 2, rng.choice((0, 1)))),
        pools=(PoolNodes("cheap", 0, 0, rng.randint(1, 3), 70), PoolNodes("dear", 1, 0, rng.choice((0, 5)), 90)),
        node_limits=(),
        share_limits=(),
        models=(ModelLimit("m", replicas_min=rng.choice((0, 2)), max_configurations=rng.choice((None, 1, 2))),),
        spare_replicas=rng.choice((0, 0, 1)),
        objective=("cost", "gpus", "quality_loss"),
    )


def least(program: Program) -> int | None:
    """The least cost, None where there is no plan; proved either way."""
    found = least_cost(program, deadline=time.monotonic() + 60)
    assert found.status in ("optimal", "infeasible")
    return found.stages[-1].value if found.status == "optimal" else None


def test_it_is_the_cost_of_the_whole_solve() -> None:
    """Tests costs against the lexicographic solve on drawn programs, some without a plan, for each first objective."""
    seen = set()
    for seed in range(12):
        order = (("cost", "gpus"), ("gpus", "cost"), ("quality_loss", "cost"))[seed % 3]
        program = replace(drawn(seed), objective=order)
        whole = solve(program)
        cost = next((stage.value for stage in whole.stages if stage.name == "cost"), None)
        assert least(program) == cost, seed
        seen.add(cost is None)
    assert seen == {True, False}


def test_cost_comes_last_where_it_is_no_objective() -> None:
    """Tests that GPUs alone as the objective leave the cheapest of the plans with the fewest GPUs."""
    program = replace(drawn(1), objective=("gpus",))
    assert least(program) == least(replace(program, objective=("gpus", "cost")))


def test_a_bound_on_gpus_is_a_row() -> None:
    """Tests that the least cost with at most one GPU fewer is higher or nothing."""
    program = replace(drawn(3), objective=("cost", "gpus"))
    whole = {stage.name: stage.value for stage in solve(program).stages}
    assert whole
    fewer = least(at_most(program, "gpus", whole["gpus"] - 1))
    assert fewer is None or fewer > whole["cost"]


@pytest.mark.parametrize("limit_s", [-1.0])
def test_no_time_is_no_cost(limit_s: float) -> None:
    """Tests that a deadline that has passed gives no number."""
    found = least_cost(drawn(0), deadline=time.monotonic() + limit_s)
    assert found.status == "unknown" and not found.stages
