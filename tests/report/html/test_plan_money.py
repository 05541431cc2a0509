"""The money of a budget round: it adds up, and break-even hours are where both ways to pay cost the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.catalog import load_gpu
from planner.plan.types import Plan
from planner.report.html.plan_money import break_even_hours, budget_round, price_date, split
from planner.scenario.types import Pool

H100 = load_gpu("h100-sxm-80gb")


def pool(committed: int, available: int, price_micro: int = 2_100_000) -> Pool:
    """A pool of H100 nodes."""
    return Pool("pool", H100, "eu", 8, committed, available, price_micro, "contract, 2026-09-01")


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 10**8), st.data())
def test_the_parts_of_a_pool_add_up(committed: int, more: int, price_micro: int, data: st.DataObject) -> None:
    """Used, stranded, on demand and idle money add up to what is bought, and none is negative."""
    nodes = committed + data.draw(st.integers(0, more))
    used = data.draw(st.integers(0, nodes * 8))
    parts = split(pool(committed, more, price_micro), nodes, used)
    values = (parts.committed_used, parts.committed_stranded, parts.on_demand_used, parts.on_demand_idle)
    assert min(values) >= 0
    assert sum(values) == nodes * 8 * price_micro * 730
    assert parts.committed_used + parts.committed_stranded == committed * 8 * price_micro * 730
    assert parts.committed_used + parts.on_demand_used == used * price_micro * 730
    assert parts.committed_stranded == 0 or parts.on_demand_used == 0


def test_stranded_money_of_a_half_used_commitment() -> None:
    """Five committed nodes of which 12 GPUs run: 28 GPUs at $2.10 for 730 h are stranded, $42,924."""
    parts = split(pool(5, 0), 5, 12)
    assert parts.committed_stranded == 42_924_000_000
    assert parts.on_demand_used == parts.on_demand_idle == 0


@given(st.integers(1, 10**8), st.integers(1, 10**8))
def test_both_ways_cost_the_same_at_break_even(committed_micro: int, on_demand_micro: int) -> None:
    """Hours of use times the on-demand price is the commitment's whole month, or there are no such hours."""
    hours = break_even_hours(pool(1, 0, committed_micro), pool(0, 1, on_demand_micro))
    if hours is None:
        assert committed_micro >= on_demand_micro
    else:
        assert hours * on_demand_micro == 730 * committed_micro
        assert hours < 730


def test_break_even_of_a_known_pair() -> None:
    """$2.10 committed against $3.29 on demand: 465.96 hours a month."""
    hours = break_even_hours(pool(1, 0, 2_100_000), pool(0, 1, 3_290_000))
    assert hours is not None and hours == Fraction(730 * 210, 329)
    assert round(float(hours), 1) == 466.0


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("provider price page, 2026-11-03", date(2026, 11, 3)),
        ("signed 2025-01-31, read 2026-02-01", date(2026, 2, 1)),
        ("read 2026-02-01, signed 2025-01-31", date(2026, 2, 1)),
        ("contract EU-114", None),
        ("2026-13-40", None),
        ("12026-11-030", None),
    ],
)
def test_the_last_date_of_a_source_counts(source: str, expected: date | None) -> None:
    """Dates are ISO dates that exist; the last one in time is when the price was read."""
    assert price_date(source) == expected


@pytest.mark.parametrize(
    ("day", "age"),
    [
        (date(2026, 11, 4), "1 day"),
        (date(2027, 2, 1), "90 days"),
        (date(2027, 2, 2), "91 days, old"),
        (date(2026, 11, 2), "dated 2026-11-03, after this page"),
    ],
)
def test_prices_are_aged_to_the_day(plan: Plan, day: date, age: str) -> None:
    """Ages count days, and more than 90 are marked."""
    inventory = {n: replace(p, source="price page, 2026-11-03") for n, p in plan.scenario.inventory.items()}
    dated = replace(plan, scenario=replace(plan.scenario, inventory=inventory))
    table = next(t for t in budget_round(dated, day, 400).tables if t.caption.startswith("List"))
    assert {row[4].text for row in table.rows} == {age}


def test_the_table_of_money_adds_up_to_the_bill(plan: Plan) -> None:
    """The last row of the money table is the sum of the others, column by column, and of the plan."""
    table = next(t for t in budget_round(plan, date(2026, 12, 1), 400).tables if t.caption.startswith("Committed"))
    amounts = [[Fraction(cell.text.replace("$", "").replace(",", "")) for cell in row[1:]] for row in table.rows]
    assert plan.totals is not None
    assert amounts[-1] == [sum(column) for column in zip(*amounts[:-1], strict=True)]
    assert sum(amounts[-1][:-1]) == amounts[-1][-1] == Fraction(plan.totals.cost_per_month)
