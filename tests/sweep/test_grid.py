"""Grids: how axes are read, how points are ordered, and which mistakes stop a sweep."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner import pipeline
from planner.errors import InputError
from planner.plan.types import LimitRow
from planner.sweep import grid
from planner.sweep.grid import check_grid, parse_axes, parse_axis, plans, points
from planner.sweep.types import Axis

FIRST = str(Path(__file__).parents[2] / "examples/01-first-plan/scenario.yaml")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a.b=1", ("1",)),
        ("a.b=18 req/s, 24 req/s", ("18 req/s", "24 req/s")),
        ("a.b=[bf16, fp8],bf16", ("[bf16, fp8]", "bf16")),
        ("a.b={p50: 1, max: [2, 3]},{p50: 2}", ("{p50: 1, max: [2, 3]}", "{p50: 2}")),
        ('a.b="x, y",z', ('"x, y"', "z")),
        ("a.b='[',z", ("'['", "z")),
        ("a.b=x=1,y=2", ("x=1", "y=2")),
    ],
)
def test_commas_inside_a_value_stay(text: str, values: tuple[str, ...]) -> None:
    """Values are split at commas outside brackets, braces and quotes."""
    assert parse_axis(text) == Axis("a.b", values)


@pytest.mark.parametrize("text", ["a.b", "=1,2", "a.b=", "a.b=1,,2", "a.b=1,2,", "a.b=1,2,1", " =1"])
def test_a_malformed_axis_is_refused(text: str) -> None:
    """No path, no values, an empty value, or the same value twice is KV415 at --vary."""
    with pytest.raises(InputError, match=r"^--vary: error: .* \[KV415\]$"):
        parse_axis(text)


def test_a_path_is_varied_once() -> None:
    """Two axes of one path would override each other."""
    with pytest.raises(InputError, match="varied twice"):
        parse_axes(["a=1", "b=2", "a=3"])


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_points_are_the_product_in_order(sizes: list[int]) -> None:
    """Every combination once, the last axis fastest, numbered from 0."""
    axes = [Axis(f"a{i}", tuple(f"v{n}" for n in range(size))) for i, size in enumerate(sizes)]
    found = points(axes)
    assert [point.values for point in found] == list(product(*(axis.values for axis in axes)))
    assert [point.index for point in found] == list(range(plans(axes)))


def test_a_value_that_is_always_wrong_stops_the_sweep() -> None:
    """A value without its unit is a mistake of the command line, reported once and at --vary."""
    axes = (Axis("traffic.questions.peak", ("12", "13 req/s")), Axis("models.helpdesk.context_limit", ("8Ki", "16Ki")))
    with pytest.raises(InputError) as raised:
        check_grid(FIRST, axes, (), ())
    (problem,) = raised.value.diagnostics
    assert (problem.file, problem.code) == ("--vary", "KV204")


def test_a_value_that_breaks_another_line_says_so() -> None:
    """A peak below the mean is a mistake of another line: the message names the value that brought it about."""
    with pytest.raises(InputError, match=r"mean 4 req/s is above peak 3 req/s.*\(with --vary traffic.questions.peak=3"):
        check_grid(FIRST, (Axis("traffic.questions.peak", ("3 req/s", "12 req/s")),), (), ())


def test_a_combination_that_is_sometimes_wrong_is_a_row() -> None:
    """A peak below the mean is invalid beside that mean only, and the row says why."""
    axes = (
        Axis("traffic.questions.peak", ("6 req/s", "12 req/s")),
        Axis("traffic.questions.mean", ("4 req/s", "8 req/s")),
    )
    broken = check_grid(FIRST, axes, (), ())
    assert list(broken) == [1]
    assert "mean 8 req/s is above peak 6 req/s" in broken[1]


def test_the_tightest_limit_is_not_a_contract() -> None:
    """What a contract or a cap on replicas fixes has no room by intent; the least room of the others is shown."""
    rows = [
        LimitRow("inventory.a.committed", Fraction(2), Fraction(2), "nodes", 0, True),
        LimitRow("models.a.replicas.max", Fraction(2), Fraction(2), "replicas", 0, True),
        LimitRow("budget.monthly", Fraction(90), Fraction(100), "$", 100_000, False),
        LimitRow("traffic.x.slo.tpot_p95", Fraction(95), Fraction(100), "ms", 50_000, False),
    ]
    tight = grid._tightest(rows)
    assert tight is not None and (tight.path, tight.slack_ppm) == ("traffic.x.slo.tpot_p95", 50_000)
    assert grid._tightest(rows[:2]) is None


def test_rows_say_what_the_plan_says() -> None:
    """Status, cost, GPUs and hash are the plan's own; an infeasible plan says what stands in the way."""
    plan = pipeline.plan(pipeline.load(FIRST))
    row = grid.row_of(("x",), plan)
    assert plan.totals is not None
    assert (row.status, row.cost_per_month, row.gpus, row.hash) == ("optimal", "2153.50", 1, plan.hash)
    none = grid.row_of(("x",), pipeline.plan(pipeline.load(FIRST, ["traffic.questions.slo.tpot_p95=2ms"])))
    assert (none.status, none.cost_per_month, none.tightest) == ("infeasible", None, None)
    assert none.note.startswith("traffic.questions: no configuration of helpdesk serves")
