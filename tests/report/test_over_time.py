"""Periods, months, commitments and losses on every page of a plan."""

from __future__ import annotations

import csv
import io
from datetime import date
from pathlib import Path

import pytest

from planner import pipeline
from planner.plan.types import Plan
from planner.report.html.plan_page import View, plan_page
from planner.report.over_time import time_lines, time_tables
from planner.report.plan_csv import plan_csv
from planner.report.plan_markdown import plan_markdown
from planner.report.text import plan_text

EXAMPLE = Path(__file__).parents[2] / "examples/07-calendar/scenario.yaml"


@pytest.fixture(scope="module")
def plan() -> Plan:
    """The plan of the calendar example."""
    return pipeline.plan(pipeline.load(EXAMPLE))


def test_every_page_shows_every_table(plan: Plan) -> None:
    """Tests that the cells of each table over time stand on the terminal page, in Markdown and in HTML."""
    tables = time_tables(plan)
    assert [table.title for table in tables] == [
        "Periods and months", "Commitments", "Money by the month", "After a loss",
    ]  # fmt: skip
    text, markdown = plan_text(plan, 140, verbose=True), plan_markdown(plan)
    (section,) = (s for s in plan_page(plan, View(date(2026, 11, 22), 500)).sections if s.id == "time")
    shown = {cell.text for table in section.tables for row in table.rows for cell in row}
    for table in tables:
        for row in table.rows:
            assert all(cell in text and cell in markdown for cell in row), row
            assert set(row) <= shown
    for line in time_lines(plan):
        assert line.split(",")[0] in text and line.split("$")[0] in markdown


def test_the_csv_has_situations_money_and_losses(plan: Plan) -> None:
    """Tests the CSV rows of time: nodes of every situation add up, money of a month is that of the document."""
    rows = list(csv.DictReader(io.StringIO(plan_csv(plan))))
    assert plan.time is not None
    nodes = sum(int(row["nodes"]) for row in rows if row["section"] == "situation pool")
    assert nodes == sum(pool.nodes for part in plan.time.situations.values() for pool in part.pools.values())
    (month,) = (row for row in rows if row["name"] == "m03 total")
    assert f"{float(month['used']):.2f}" == f"{float(plan.time.months['m03'].total):.2f}"
    assert {row["section"] for row in rows} >= {"situation deployment", "after loss", "shed"}


def test_a_short_page_says_how_much_it_leaves_out(plan: Plan) -> None:
    """Tests that a plan of many situations is cut on the terminal, with the number of rows that are left out."""
    assert plan.time is not None
    more = {f"{name}x": part for name, part in plan.time.situations.items()}
    from dataclasses import replace

    long = replace(plan, time=replace(plan.time, situations={**plan.time.situations, **more}))
    assert "and 12 more (-v shows all)" in plan_text(long, 140)
