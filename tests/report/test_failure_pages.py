"""Spot nodes, zones and batches that wait reach every page, and a value of theirs that was changed is found."""

from __future__ import annotations

import copy
import csv
import io
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from planner import pipeline
from planner.plan.check import check_tree
from planner.plan.diff_time import time_notes
from planner.plan.io import to_tree
from planner.plan.time_view import shown_alone
from planner.plan.types import Plan
from planner.report.html.plan_page import View, plan_page
from planner.report.over_time import time_tables
from planner.report.plan_csv import plan_csv
from planner.report.plan_markdown import plan_markdown
from planner.report.text import plan_text

EXAMPLE = Path(__file__).parents[2] / "examples/14-spot-and-zones/scenario.yaml"


@pytest.fixture(scope="module")
def plan() -> Plan:
    """The plan of the example."""
    return pipeline.plan(pipeline.load(EXAMPLE))


def test_every_page_shows_zones_spot_nodes_and_batches(plan: Plan) -> None:
    """Tests the cells of the new tables and columns on the terminal page, in Markdown and in HTML."""
    tables = {table.title: table for table in time_tables(plan)}
    text, markdown = plan_text(plan, 160, verbose=True), plan_markdown(plan)
    page = plan_page(plan, View(date(2026, 11, 22), 500))
    shown = {str(cell) for s in page.sections for t in s.tables for row in t.rows for cell in row}
    shown |= {getattr(cell, "text", "") for s in page.sections for t in s.tables for row in t.rows for cell in row}
    for row in (*tables["Daily batches"].rows, *tables["After a loss"].rows):
        assert all(cell in text and cell in markdown and cell in shown for cell in row), row
    assert "6/10, 4 sure" in text and "6/10, 4 sure" in markdown and "6/10, 4 sure" in shown
    assert "in eu-west-a" in text and "eu-west/eu-west-a" in markdown and "eu-west/eu-west-a" in shown


def test_the_csv_says_where_when_and_what_is_shed(plan: Plan) -> None:
    """Tests the rows of zones, of spot nodes, of batches and of losses in every situation."""
    rows = list(csv.DictReader(io.StringIO(plan_csv(plan))))
    spot = next(row for row in rows if row["section"] == "pool" and row["name"] == "spot-a")
    assert (spot["region"], spot["note"]) == ("eu-west/eu-west-a", "4 nodes counted on")
    (night,) = (row for row in rows if row["section"] == "situation batch" and row["name"] == "night digest")
    assert float(night["used"]) == pytest.approx(11.574, abs=1e-3)
    assert {"situation after loss", "situation shed"} <= {row["section"] for row in rows}


def test_a_diff_says_that_a_batch_runs_at_another_rate(plan: Plan) -> None:
    """Tests the sentence of a batch that moved from one period to another."""
    assert plan.time is not None
    parts = dict(plan.time.situations)
    parts["night"] = replace(parts["night"], batches={"digest": Fraction(3)})
    moved = replace(plan, time=replace(plan.time, situations=parts))
    assert time_notes(plan, moved) == ("night: digest runs at 11.57 -> 3 requests/s",)


def test_the_situation_shown_alone_routes_what_runs_then(plan: Plan) -> None:
    """Tests that a batch that waits is no part of the moment that is replayed, and that its routing is whole."""
    assert plan.time is not None and plan.time.shown == "work"
    assert set(shown_alone(plan).scenario.traffic) == {"chat"}
    night = replace(plan, deployments=plan.time.situations["night"].deployments)
    alone = shown_alone(replace(night, time=replace(plan.time, shown="night")))
    for name in alone.scenario.traffic:
        routes = [route for each in alone.deployments.values() for route in each.routing if route.class_name == name]
        assert sum(route.share for route in routes) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree["time"]["situations"]["night"]["waiting"].update({"digest": "1/2"}),
        lambda tree: tree["time"]["situations"]["work"]["waiting"].clear(),
        lambda tree: tree["time"]["situations"]["night"]["batches"].update({"digest": "20"}),
        lambda tree: tree["time"]["situations"]["work"]["losses"][0]["waiting"].update({"digest": "0"}),
        lambda tree: tree["pools"]["spot-a"].update({"nodes_counted": 5}),
        lambda tree: tree["pools"]["spot-a"].update({"zone": "eu-west-b"}),
        lambda tree: tree["deployments"]["helper-1"].update({"zone": "eu-west-b"}),
        lambda tree: tree["scenario"]["inventory"]["spot-a"]["terms"].update({"availability_ppm": 900_000}),
        lambda tree: tree["scenario"]["inventory"]["spot-a"]["terms"].update({"reclaim_nodes": 6}),
        lambda tree: tree["scenario"]["traffic"]["digest"].update({"arrives_minute": 600}),
        lambda tree: tree["scenario"]["reserve"].update({"spare_zones": 0}),
    ],
    ids=[
        "a batch that waits too long", "a batch that waits not", "another pace", "a batch after a loss",
        "more counted nodes", "another zone of a pool", "another zone of a deployment", "another availability",
        "another reclaim", "another arrival", "no spare zone",
    ],
)  # fmt: skip
def test_a_changed_value_is_found(plan: Plan, change: Callable[[dict[str, Any]], None]) -> None:
    """Tests that the check disproves the example with one value changed, without the hash."""
    tree = copy.deepcopy(to_tree(plan))
    assert not check_tree(copy.deepcopy(tree), "plan.json", use_hash=False)[1]
    change(tree)
    assert check_tree(tree, "plan.json", use_hash=False)[1]
