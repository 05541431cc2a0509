"""Tests of frontiers as CSV and as a picture: large figures are not rounded."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from planner.explain.hangs import About
from planner.explain.session import Question, explain
from planner.explain.types import Answer
from planner.report.frontier import frontier_csv, frontier_svg

SCENARIO = Path(__file__).parents[2] / "examples/12-running-fleet/scenario.yaml"


@pytest.fixture(scope="module")
def answer() -> Answer:
    """A frontier whose figures have eight digits."""
    return explain(str(SCENARIO), Question(about=About(frontier="cost,quality_loss")))


def test_a_table_has_every_digit_and_a_picture_no_exponent(answer: Answer) -> None:
    """Tests that CSV says what the answer says, to the unit."""
    frontier = answer.frontier
    assert frontier is not None
    rows = list(csv.DictReader(io.StringIO(frontier_csv(frontier, answer))))
    assert [int(row["quality_loss"]) for row in rows] == [round(point.number) for point in frontier.points]
    assert max(point.number for point in frontier.points) > 1_000_000
    assert "e+0" not in frontier_svg(frontier, answer)
