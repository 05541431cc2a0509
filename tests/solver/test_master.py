"""The master: its rows on the grid, which rows it drops, and what cuts become."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.solver.cuts import ServingCut
from planner.solver.describe import describe
from planner.solver.fleet import Fleet, Start
from planner.solver.master import GRID, ROW_TOTAL, Master, Row, binding_loads, build, in_grid, usable_replicas
from planner.solver.program import (
    Column,
    Group,
    Item,
    Load,
    ModelLimit,
    NodeLimit,
    PoolNodes,
    Program,
    ShareLimit,
)
from planner.solver.situations import Failure, Shed, joined, struck

GOLDEN = Path(__file__).parent.parent / "golden" / "solver"


def column(name: str, group: int = 0, gpus: int = 1, upper: int = 4, loads: tuple[Load, ...] | None = None) -> Column:
    """A column that serves item 0: one and a half replicas carry it."""
    own = loads or (Load("gpu", 10, ((0, 15),)),)
    return Column(name, "m", name, group, gpus, upper, own, ((0, Fraction(7, 2)),))


BASE = Program(
    items=(Item("chat", "m"),),
    columns=(column("a"),),
    groups=(Group("g", 4, 0),),
    pools=(PoolNodes("p", 0, 0, 3, 50),),
    node_limits=(),
    share_limits=(),
    models=(),
    spare_replicas=0,
    objective=("cost",),
)

FAMILIES = {
    "demand_load_packing": BASE,
    "replica_strong_row": replace(BASE, columns=(column("a", loads=(Load("gpu", 10, ((0, 6),)),)),)),
    "node_totals": replace(BASE, pools=(PoolNodes("own", 0, 1, 1, 40), PoolNodes("rented", 0, 0, 3, 60))),
    "patterns": replace(BASE, columns=(column("three", gpus=3), column("one"))),
    "node_limit": replace(BASE, node_limits=(NodeLimit("budget", 100, ((0, 50),)),)),
    "promised_share": replace(
        BASE, columns=(column("a"), column("b")), share_limits=(ShareLimit("cut_short", 2, ((0, 0, 5),)),)
    ),
    "spare_nodes": replace(BASE, groups=(Group("g", 4, 1),)),
    "spare_replicas": replace(BASE, spare_replicas=1),
    "running_fleet": replace(
        BASE,
        columns=(column("a"), column("b"), column("c")),
        pools=(*BASE.pools, PoolNodes("moves", None, 0, 4, 7)),
        starts=(Start("kept", (0,), 2, 2), Start("may-stay", (1,), 0, 3)),
        fleets=(Fleet(((0, 2), (1, 3)), gone=1, quantity=1),),
        near=0,
    ),
    "regions": replace(
        BASE,
        items=(Item("chat", "m"), Item("pinned", "m")),
        columns=(
            Column(
                "a@near", "m", "a", 0, 1, 4, (Load("gpu", 10, ((0, 15), (1, 4))),), ((0, Fraction(0)), (1, Fraction(0)))
            ),
            Column("a@far", "m", "a", 1, 1, 4, (Load("gpu", 10, ((0, 15),)),), ((0, Fraction(0)),)),
        ),
        groups=(Group("near", 4, 0, "eu"), Group("far", 4, 0, "us")),
        pools=(PoolNodes("p", 0, 0, 3, 50), PoolNodes("q", 1, 0, 3, 40)),
    ),
    "model_limits": replace(BASE, columns=(column("a"), column("b")), models=(ModelLimit("m", 2, 3, 1),)),
    "quality_loss": replace(BASE, objective=("cost", "quality_loss")),
    "periods": replace(
        (both := joined([("day", BASE), ("night", BASE)])),
        pools=(*both.pools, PoolNodes("bought", None, 0, 3, 70)),
        node_limits=(NodeLimit("stands|day", 0, ((0, 1), (2, -1))), NodeLimit("stands|night", 0, ((1, 1), (2, -1)))),
    ),
    "failure": struck(BASE, [Failure("lost", {0: 2}, (Shed("chat", ((0, 1_000_000),), 300_000, -1),))]),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_are_as_committed(family: str) -> None:
    """Tests the dump of each constraint family against its golden file."""
    assert describe(FAMILIES[family]) == (GOLDEN / f"{family}.txt").read_text()


shares = st.lists(st.fractions(0, 1, max_denominator=50), min_size=1, max_size=4)


@given(shares, st.data())
@settings(max_examples=150, deadline=None)
def test_every_routing_has_a_grid_point(given_shares: list[Fraction], data: st.DataObject) -> None:
    """Tests that shares rounded up or down at will still satisfy a widened row that holds for the shares themselves."""
    master = Master()
    y = master.variable("y", 0, 50)
    terms, amounts = [], []
    for index in range(len(given_shares)):
        amounts.append(data.draw(st.integers(0, 10**9)))
        terms.append((master.variable(f"f{index}", 0, 1, share=True), amounts[-1]))
    capacity = data.draw(st.integers(1, 10**9))
    used = sum(a * f for a, f in zip(amounts, given_shares, strict=True))
    replicas = -(-used // capacity)
    row = in_grid(master, Row("load", (*terms, (y, -capacity)), upper=0, widen=True))
    points = [int(f * GRID) + (data.draw(st.booleans()) if f * GRID % 1 else 0) for f in given_shares]
    values = {y: replicas, **{v: point for (v, _), point in zip(terms, points, strict=True)}}
    assert sum(a * values[v] for v, a in row.terms) <= row.upper
    bounds = [GRID if master.variables[v].share else master.variables[v].upper for v, _ in row.terms]
    assert sum(abs(a) * most for (_, a), most in zip(row.terms, bounds, strict=True)) <= max(ROW_TOTAL, 1 << 53)


def test_demand_rows_stay_exact() -> None:
    """Tests that shares of an item add up to exactly one, in grid units."""
    master = build(BASE, with_loss=False)
    row = in_grid(master, next(row for row in master.rows if row.name == "demand[chat]"))
    assert (row.lower, row.upper) == (GRID, GRID)


def test_implied_load_rows_are_dropped() -> None:
    """Tests that the row that asks less of every item per unit of capacity goes, and that one of two equals stays."""
    tight, loose = Load("gpu", 10, ((0, 6), (1, 3))), Load("kv", 100, ((0, 59), (1, 30)))
    crossing = Load("seq", 10, ((0, 5), (1, 4)))
    assert binding_loads(column("a", loads=(loose, tight))) == [tight]
    assert binding_loads(column("a", loads=(tight, crossing))) == [tight, crossing]
    assert binding_loads(column("a", loads=(tight, replace(tight, name="twin")))) == [tight]


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (BASE, 4),  # the column's own bound
        (replace(BASE, columns=(column("a", upper=99),)), 12),  # 3 nodes of 4 GPUs
        (replace(BASE, columns=(column("a", gpus=3, upper=99),)), 3),  # one replica of 3 a node
        (replace(BASE, columns=(column("a", gpus=8),)), 0),  # larger than a node
        (replace(BASE, groups=(Group("g", 4, 3),)), 0),  # all nodes are spare
        (replace(BASE, models=(ModelLimit("m", 0, 2),)), 2),
    ],
)
def test_replicas_are_bounded_by_stock(program: Program, expected: int) -> None:
    """Tests the bound on replicas of a column."""
    assert usable_replicas(program)[0] == expected


def test_a_cut_names_serving_replicas() -> None:
    """Tests that a cut speaks of replicas that serve, not of those that are spared."""
    master = build(replace(BASE, spare_replicas=1), with_loss=False)
    row = master.cut_row(ServingCut(((0, 3),), 5), "cut")
    assert [master.variables[v].name for v, _ in row.terms] == ["serving[a]"]
    assert (row.lower, row.upper) == (5, None)
