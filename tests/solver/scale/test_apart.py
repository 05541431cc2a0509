"""Models priced apart: bounds below the optimum whatever the prices, and plans that fit together."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from planner.solver.exact import FarkasCut, Routing, broken_integer_rows, route
from planner.solver.objective import solve
from planner.solver.program import Column, Group, Item, Load, PoolNodes, Program
from planner.solver.scale.adopt import Adopter
from planner.solver.scale.apart import models_apart, next_gpu, own_plan
from planner.solver.scale.dominance import stand_ins
from planner.solver.scale.flat import flatten
from planner.solver.scale.models import ModelBounds
from planner.solver.scale.prices import Prices, lower_bound, slacks
from planner.solver.scale.search import Search
from planner.solver.scale.start import first_plan
from planner.solver.session import node_weights

Draw = Callable[[int], Program]
SEEDS = range(8)


def twins(stock: int) -> Program:
    """One configuration in a cheap and a dear region, with `stock` nodes of two GPUs in the cheap one."""
    load = (Load("load", 10, ((0, 25),)),)
    columns = tuple(Column(f"c@{r}", "m", "c", g, 1, 4, load, ((0, Fraction(0)),)) for g, r in enumerate("xy"))
    pools = (PoolNodes("x", 0, 0, stock, 10), PoolNodes("y", 1, 0, 3, 30))
    groups = (Group("x", 2, 0, "x"), Group("y", 2, 0, "y"))
    return Program((Item("i", "m"),), columns, groups, pools, (), (), (), 0, ("cost",))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("factor", [0.3, 1.0, 2.0])
def test_bounds_of_models_priced_apart_hold_at_any_prices(drawn: Draw, seed: int, factor: float) -> None:
    """Tests that the bound never passes the optimum, whether prices are too low, as guessed, or too high."""
    program = drawn(seed)
    solution = solve(program)
    if solution.status != "optimal":
        return
    flat, weights = flatten(program), node_weights(program, "cost")
    groups = factor * next_gpu(program, weights, solution.nodes)
    prices, few = models_apart(program, flat, groups, time.monotonic() + 30)
    assert lower_bound(program, weights, prices) <= solution.stages[0].value
    assert set(few) == {column.model for column in program.columns}


def test_without_time_the_bound_is_weak_and_holds(drawn: Draw) -> None:
    """Tests that models that were not priced count for nothing."""
    program = drawn(0)
    weights = node_weights(program, "cost")
    groups = next_gpu(program, weights, [0] * len(program.pools))
    prices, few = models_apart(program, flatten(program), groups, time.monotonic() - 1)
    assert few == {} and not prices.demands.any()
    assert lower_bound(program, weights, prices) <= solve(program).stages[0].value


@pytest.mark.parametrize("seed", SEEDS)
def test_a_model_alone_needs_no_column_that_another_stands_in_for(drawn: Draw, seed: int) -> None:
    """Tests that the least a model pays for GPUs at prices is the same without the columns that fell away."""
    program = drawn(seed)
    program = replace(program, node_limits=(), models=())
    flat = flatten(program)
    groups = np.array([3.0, 2.0, 4.0])
    for place, model in enumerate(flat.models):
        columns = np.flatnonzero((flat.model == place) & (flat.upper > 0))
        kept = np.unique(stand_ins(program, flat, columns, groups))
        costs = []
        for chosen in (columns, kept):
            plan = own_plan(program, chosen.tolist(), groups, 5.0)
            costs.append(sum(n * program.columns[c].gpus * groups[program.columns[c].group] for c, n in plan.items()))
        assert costs[1] <= costs[0] * 1.01 + 1e-9, model


def test_a_twin_falls_away_only_where_the_cheaper_one_has_stock_for_all() -> None:
    """Tests the stock condition on one configuration in two regions: 2.5 replicas need three GPUs, two nodes."""
    prices = np.array([5.0, 15.0])
    for stock, by in ((2, [0, 0]), (1, [0, 1])):
        program = twins(stock)
        assert stand_ins(program, flatten(program), np.array([0, 1]), prices).tolist() == by


def test_a_stand_in_may_not_be_crowded_out_by_a_third_column() -> None:
    """Tests a bound where the cheap group has two GPUs, the stand-in needs both, and another item needs one of them."""

    def column(name: str, group: int, item: int, load: int) -> Column:
        return Column(name, "m", name, group, 1, 2, (Load("load", 10, ((item, load),)),), ((item, Fraction(0)),))

    program = Program(
        items=(Item("a", "m"), Item("b", "m")),
        columns=(column("a on x", 0, 0, 15), column("b on x", 0, 1, 10), column("a on y", 1, 0, 10)),
        groups=(Group("x", 1, 0), Group("y", 1, 0)),
        pools=(PoolNodes("x", 0, 0, 2, 1), PoolNodes("y", 1, 0, 2, 3)),
        node_limits=(), share_limits=(), models=(), spare_replicas=0, objective=("cost",),
    )  # fmt: skip
    weights, flat = node_weights(program, "cost"), flatten(program)
    assert solve(program).stages[0].value == 4
    groups, mix = np.array([1.0, 3.0]), np.ones((3, 1))
    prices = Prices(np.zeros(2), groups, np.zeros(0), slacks(flat, np.zeros(2), groups, mix), mix, 0.0, complete=False)
    bounds = ModelBounds(program, flat, weights, prices)
    bounds.sharpen("m", (0, 1, 2), 5.0)  # a plan of 7 is known
    assert bounds.value <= 4


def test_a_gpu_is_worth_the_next_one_or_its_twin() -> None:
    """Tests that an exhausted group's GPUs are worth those of the region that runs the same."""
    program = twins(1)
    assert next_gpu(program, (10, 30), (0, 0)).tolist() == [5.0, 15.0]
    assert next_gpu(program, (10, 30), (1, 0)).tolist() == [15.0, 15.0]


def test_a_wish_beyond_the_stock_of_a_region_moves_to_its_twin() -> None:
    """Tests that three replicas wanted in the cheap region become two there and one in the other."""
    program = twins(1)
    adopter = Adopter(program, node_weights(program, "cost"))
    found = adopter.exchanged(((0, 3), (0, 2)), {"m": {0: 3}})
    assert found is not None
    part, (replicas, nodes) = found
    assert part.merged(replicas, nodes, ((0, 3), (0, 2))) == ((2, 1), (1, 1))
    assert adopter.exchanged(((0, 3), (0, 2)), {"m": {0: 9}}) is None


@pytest.mark.parametrize("seed", SEEDS)
def test_wishes_fit_together_or_are_refused(drawn: Draw, seed: int) -> None:
    """Tests that what all models want at common prices is a plan once it is placed."""
    program = drawn(seed)
    flat, weights = flatten(program), node_weights(program, "cost")
    start = first_plan(program, flat, weights)
    if start is None or program.models:
        return
    groups = next_gpu(program, weights, start[1])
    _, few = models_apart(program, flat, groups, time.monotonic() + 30)
    wanted = {model: own_plan(program, columns, groups, 5.0) for model, columns in few.items()}
    found = Adopter(program, weights).exchanged(start, {model: own for model, own in wanted.items() if own})
    if found is not None:
        replicas, nodes = found[0].merged(*found[1], start)
        assert broken_integer_rows(replace(program, node_limits=()), replicas, nodes) == []
        assert isinstance(route(program, replicas, minimize_loss=False), Routing)


def test_a_search_that_prices_apart_ends_like_any_other(drawn: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests plan and bound of a search whose relaxation counts as too large for one."""
    monkeypatch.setattr("planner.solver.scale.search.APART_PAIRS", 0)
    monkeypatch.setattr("planner.solver.scale.worker._cores", lambda: 1)
    program = drawn(0)
    least = solve(program).stages[0].value
    search = Search(program, node_weights(program, "cost"), "cost", time.monotonic() + 1.5, lambda _: None)
    search.run()
    assert search.value is not None and search.bound is not None
    assert search.bound <= least <= search.value <= 1.2 * least


@pytest.mark.parametrize("seed", SEEDS)
def test_any_routing_will_do_where_none_must_be_smallest(drawn: Draw, seed: int) -> None:
    """Tests that a routing exists or not, whichever is asked for."""
    program = drawn(seed)
    for count in (0, 1, 2, 8):
        replicas = (count,) * len(program.columns)
        found = [route(program, replicas, minimize_loss=False, smallest=one) for one in (True, False)]
        assert isinstance(found[0], FarkasCut) == isinstance(found[1], FarkasCut)
