"""The exact judge: routings, cuts, and the names of broken rows."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from fractions import Fraction

import pytest

from planner.solver.cuts import column_price
from planner.solver.exact import FarkasCut, Routing, loss_cut, route, violations
from planner.solver.program import (
    Column,
    Demand,
    Group,
    Item,
    Load,
    ModelLimit,
    NodeLimit,
    PoolNodes,
    Program,
    ShareLimit,
    Solution,
)


def program() -> Program:
    """Two items on two columns: `a` carries half of both, `b` one item and a half."""
    losses = ((0, Fraction(0)), (1, Fraction(0)))
    first = Column("a", "m", "a", 0, 1, 4, (Load("gpu", 4, ((0, 4), (1, 4))),), losses)
    second = Column("b", "m", "b", 0, 1, 4, (Load("gpu", 6, ((0, 4), (1, 4))),), ((0, Fraction(9)), (1, Fraction(3))))
    return Program(
        items=(Item("x", "m"), Item("y", "m")),
        columns=(first, second),
        groups=(Group("g", 2, 0),),
        pools=(PoolNodes("p", 0, 0, 3, 10),),
        node_limits=(),
        share_limits=(),
        models=(),
        spare_replicas=0,
        objective=("cost",),
    )


def test_the_smallest_routing_comes_first() -> None:
    """Tests that x takes as little of column a as it can: b carries x whole and half of y."""
    found = route(program(), (1, 1), minimize_loss=False)
    half = Fraction(1, 2)
    assert found == Routing(((0, 1, Fraction(1)), (1, 0, half), (1, 1, half)), Fraction(21, 2))


def test_the_least_loss_comes_before_the_smallest() -> None:
    """Tests that x goes to column a, where it loses nothing, and y to b for a loss of 3."""
    found = route(program(), (1, 1), minimize_loss=True)
    assert isinstance(found, Routing)
    assert found.shares == ((0, 0, Fraction(1)), (1, 1, Fraction(1)))
    assert found.loss == 3
    assert not loss_cut(program(), (1, 1), found).holds({0: 1, 1: 1}, 2)


def test_a_loss_cut_needs_its_duals() -> None:
    """Tests the refusal of a routing that was not asked to lose least."""
    found = route(program(), (1, 1), minimize_loss=False)
    assert isinstance(found, Routing)
    with pytest.raises(ValueError, match="least quality loss"):
        loss_cut(program(), (1, 1), found)


def test_runs_of_bands_carry_both_demands() -> None:
    """Tests that a run of two bands may serve both, where the bands alone would need two columns."""
    run = replace(
        program(),
        items=(Item("short", "m"), Item("long", "m"), Item("short-long", "m")),
        demands=(Demand("short", (0, 2)), Demand("long", (1, 2))),
        columns=(Column("a", "m", "a", 0, 1, 4, (Load("gpu", 4, ((2, 3),)),), ((2, Fraction(0)),)),),
    )
    assert route(run, (1,), minimize_loss=False) == Routing(((2, 0, Fraction(1)),), Fraction(0))
    assert isinstance(route(run, (0,), minimize_loss=False), FarkasCut)


def test_a_negative_promise_can_never_hold() -> None:
    """Tests that a share limit below 0 gives a cut that no choice satisfies."""
    found = route(replace(program(), share_limits=(ShareLimit("cut", -1, ()),)), (4, 4), minimize_loss=False)
    assert isinstance(found, FarkasCut)
    assert not found.cut.holds({0: 9, 1: 9})


def test_column_prices_take_the_cheapest_row() -> None:
    """Tests the price of a column against its three alternatives: paying items one by one, or one row for all."""
    rows = (Load("gpu", 10, ((0, 5), (1, 5))), Load("kv", 10, ((0, 1), (1, 10))))
    priced = replace(program().columns[0], loads=rows)
    # One by one: 2. On gpu: capacity 10 x max(1/5, 1/5) = 2. On kv: 10 x 1/10 covers item 1; item 0 keeps 9/10 to pay.
    assert column_price(priced, {0: Fraction(1), 1: Fraction(1)}) == Fraction(19, 10)
    assert column_price(priced, {0: Fraction(-1)}) == 0


GOOD = Solution("optimal", (1, 1), (1,), ((0, 0, Fraction(1)), (1, 1, Fraction(1))))


def test_a_good_solution_breaks_nothing() -> None:
    """Tests that the checker is silent on a plan that holds."""
    assert violations(program(), GOOD) == []


@pytest.mark.parametrize(
    ("change", "solution", "expected"),
    [
        ({}, replace(GOOD, replicas=(1, 5)), "replicas b: 5 not in 0..4"),
        ({}, replace(GOOD, nodes=(4,)), "nodes p: 4 not in 0..3"),
        ({}, replace(GOOD, nodes=(0,)), "packing g: the replicas do not fit into 0 nodes"),
        ({"groups": (Group("g", 2, 1),)}, GOOD, "packing g: the replicas do not fit into 0 nodes"),
        ({"node_limits": (NodeLimit("budget", 9, ((0, 10),)),)}, GOOD, "limit budget: 10 > 9"),
        ({"models": (ModelLimit("m", 3),)}, GOOD, "replicas m: 2 < 3"),
        ({"models": (ModelLimit("m", 0, 1),)}, GOOD, "replicas m: 2 > 1"),
        ({"models": (ModelLimit("m", 0, None, 1),)}, GOOD, "configurations m: 2 > 1"),
        ({"share_limits": (ShareLimit("cut", 1, ((0, 0, 2),)),)}, GOOD, "share limit cut: 2 > 1"),
        ({"spare_replicas": 1}, GOOD, "share x on a: no replica serves"),
        ({}, replace(GOOD, routing=((0, 0, Fraction(1)),)), "demand y: 0 != 1"),
        (
            {},
            replace(GOOD, routing=((0, 0, Fraction(1)), (1, 0, Fraction(1, 10**30)), (1, 1, 1 - Fraction(1, 10**30)))),
            "load a gpu: 1000000000000000000000000000001/250000000000000000000000000000 > 4",
        ),
        (
            {},
            replace(GOOD, routing=((0, 0, Fraction(2)), (0, 1, Fraction(-1)), (1, 1, Fraction(1)))),
            "share x on b: -1 < 0",
        ),
    ],
)
def test_every_broken_row_is_named(change: dict, solution: Solution, expected: str) -> None:
    """Tests one broken row of each family, down to a load that is too high by 1e-30."""
    assert expected in violations(replace(program(), **change), solution)


def test_a_solution_of_the_wrong_shape_is_refused() -> None:
    """Tests that missing replicas are said, not indexed."""
    assert violations(program(), replace(GOOD, replicas=(1,))) == [
        "the solution has the wrong number of replicas or nodes"
    ]


def test_the_exact_routing_is_quick() -> None:
    """Tests that 15 items on 6 columns with three rows each route exactly, with losses, well under 0.2 s."""
    rng = random.Random(5)
    items = tuple(Item(f"i{k:02}", "m") for k in range(15))
    columns = tuple(
        Column(
            f"c{c}",
            "m",
            f"c{c}",
            0,
            1,
            9,
            tuple(Load(n, 10**6, tuple((k, rng.randint(10**4, 10**6)) for k in range(15))) for n in "abc"),
            tuple((k, Fraction(rng.randint(0, 10**9), 7)) for k in range(15)),
        )
        for c in range(6)
    )
    large = replace(program(), items=items, columns=columns)
    start = time.perf_counter()
    found = route(large, (2, 2, 2, 1, 1, 1), minimize_loss=True)
    assert time.perf_counter() - start < 60  # a hang, not a speed
    assert isinstance(found, Routing)
    assert violations(large, Solution("optimal", (2, 2, 2, 1, 1, 1), (3,), found.shares))[1:] == []
