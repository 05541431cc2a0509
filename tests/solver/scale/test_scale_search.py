"""The search in parts against the whole master: bounds below the optimum, plans above it, both exact."""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction

import pytest

from planner.solver import objective
from planner.solver.exact import broken_integer_rows, violations
from planner.solver.objective import solve
from planner.solver.program import Program
from planner.solver.progress import Step
from planner.solver.scale import worker
from planner.solver.scale.flat import flatten
from planner.solver.scale.models import ModelBounds
from planner.solver.scale.part import part_of
from planner.solver.scale.prices import PriceLp, lower_bound
from planner.solver.scale.search import Search
from planner.solver.scale.start import first_plan
from planner.solver.session import node_weights

Draw = Callable[[int], Program]
SEEDS = range(9)


def optimum(program: Program) -> int | None:
    """The least cost by the whole master; None without a plan."""
    solution = solve(program)
    assert solution.status in ("optimal", "infeasible")
    return solution.stages[0].value if solution.stages else None


@pytest.mark.parametrize("seed", SEEDS)
def test_bounds_stay_below_the_optimum_and_models_raise_them(drawn: Draw, seed: int) -> None:
    """Tests relaxation <= models at common prices <= optimum, with every model solved."""
    program = drawn(seed)
    least = optimum(program)
    if least is None:
        return
    flat, weights = flatten(program), node_weights(program, "cost")
    pricing = PriceLp(program, flat, weights)
    while not (prices := pricing.solve(10)).complete:
        pass
    relaxed = lower_bound(program, weights, prices)
    bounds = ModelBounds(program, flat, weights, prices)
    replicas = solve(program).replicas
    for model in flat.models:
        bounds.sharpen(model, replicas, 10)
    assert relaxed - 1 <= bounds.value <= least
    assert bounds.closed == set(flat.models)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_first_plan_is_a_plan(drawn: Draw, seed: int) -> None:
    """Tests that what the first plan buys holds what it runs, and is not below the optimum."""
    program = drawn(seed)
    weights = node_weights(program, "cost")
    start = first_plan(program, flatten(program), weights)
    least = optimum(program)
    if start is None or broken_integer_rows(program, *start):
        return
    assert least is not None
    assert sum(n * w for n, w in zip(start[1], weights, strict=True)) >= least


@pytest.mark.parametrize("seed", SEEDS)
def test_the_search_closes_in_on_the_optimum(drawn: Draw, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that a small program, searched in parts and in turn, has its optimum between bound and plan."""
    monkeypatch.setattr(worker, "_cores", lambda: 1)
    program = drawn(seed)
    least = optimum(program)
    steps: list[Step] = []
    search = Search(program, node_weights(program, "cost"), "cost", time.monotonic() + 1.5, steps.append)
    search.run()
    if least is None:
        assert search.plan is None
        return
    assert search.value is not None
    assert (search.bound or 0) <= least <= search.value  # a busy machine may leave no time for a bound
    assert steps[-1] == Step("cost", search.value, search.bound, search.by)


def test_a_large_program_goes_to_the_search(drawn: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests the front door with a size limit of nothing: a verified plan, a bound, and no claim beyond it."""
    monkeypatch.setattr(objective, "WHOLE_PAIRS", 0)
    program = drawn(0)
    solution = solve(program, time_limit_s=3)
    assert (solution.status, solution.unique, solution.reproducible) == ("feasible", False, False)
    assert violations(program, solution) == []
    assert solution.stages[0].bound is not None and solution.stages[0].bound <= solution.stages[0].value


def test_a_part_leaves_the_rest_alone(drawn: Draw) -> None:
    """Tests that a part of one model holds the other's replicas, and that merging it back changes nothing else."""
    program = drawn(0)
    solution = solve(program)
    free = [c for c, column in enumerate(program.columns) if column.model == "m0"]
    part = part_of(program, free, solution.replicas, solution.nodes)
    assert part.columns == tuple(free)
    assert {program.items[d.items[0]].model for d in part.program.demand_rows} == {"m0"}
    inside = [solution.replicas[c] for c in free]
    nodes = [solution.nodes[p] for p in part.pools]
    assert part.merged(inside, nodes, (solution.replicas, solution.nodes)) == (solution.replicas, solution.nodes)
    held = sum(part.program.columns[c].gpus * n for c, n in part.fixed.items())
    groups = {program.columns[c].group for c in free}
    others = [c for c, column in enumerate(program.columns) if column.model != "m0" and column.group in groups]
    assert held == sum(program.columns[c].gpus * solution.replicas[c] for c in others)


def test_a_second_process_sends_its_bound(drawn: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that the bound of the process that sharpens in parallel arrives, and that it ends with the search."""
    monkeypatch.setattr(worker, "_cores", lambda: 2)
    program = drawn(3)
    flat, weights = flatten(program), node_weights(program, "cost")
    prices = PriceLp(program, flat, weights).solve(10)
    assert prices is not None
    solution = solve(program)
    with worker.Sharpener(program, flat, weights, prices, solution.replicas, 30.0) as sharpener:
        until = time.monotonic() + 30
        while not (news := sharpener.news(solution.replicas, 1.0)) and time.monotonic() < until:
            time.sleep(0.05)
        process = sharpener._process
    assert news and news[0].bound <= Fraction(solution.stages[0].value)
    assert process is not None and process.returncode is not None
