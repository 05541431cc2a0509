"""Moves and the fleet as it is on every page: Markdown, CSV and HTML of a plan, and all pages of a diff."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import date
from functools import cache
from pathlib import Path

import pytest

from planner import pipeline
from planner.plan.diff_types import Diff
from planner.plan.types import Plan
from planner.report.diff_csv import diff_csv
from planner.report.diff_markdown import diff_markdown
from planner.report.diff_text import diff_text
from planner.report.html.diff_page import diff_page
from planner.report.html.plan_page import View, plan_page
from planner.report.plan_csv import plan_csv
from planner.report.plan_markdown import plan_markdown

FLEET = Path(__file__).parents[1] / "data" / "scenarios" / "fleet.yaml"
BROKEN = "it breaks 1 of 1: traffic.chat.peak: 244.1% of what the replicas of assistant carry"


@cache
def solved(peak: str) -> Plan:
    sets = (f"traffic.chat.peak={peak} req/s", "change.cost=$5/replica")
    return pipeline.plan(pipeline.load(FLEET, sets))


@cache
def compared() -> Diff:
    return pipeline.diff(solved("6"), solved("12"))


def test_the_markdown_of_a_plan_has_moves_and_the_judgement() -> None:
    """A table of what starts and stops with its cost, and one of every promise as it is."""
    page = plan_markdown(solved("12"))
    assert "## What moves" in page and "2 start, 0 stop, $10.00 once" in page
    assert "## Doing nothing" in page and "| `traffic.chat.peak` | broken, 2.44x |" in page


def test_the_csv_of_a_plan_has_a_row_for_each() -> None:
    """Planned and running replicas of every start that changes, and used and limit of every promise."""
    rows = list(csv.DictReader(io.StringIO(plan_csv(solved("12")))))
    moves = [row for row in rows if row["section"] == "moves"]
    assert [(row["used"], row["limit"], row["note"]) for row in moves] == [("2", "0", "from current")]
    (judged,) = [row for row in rows if row["section"] == "as it is"]
    assert (judged["name"], judged["limit"], judged["note"].partition(";")[0]) == ("traffic.chat.peak", "100", "broken")


def test_the_page_of_a_plan_has_two_sections() -> None:
    """What moves, and doing nothing with a row in the tone of what is broken."""
    sections = {section.id: section for section in plan_page(solved("12"), View(date(2026, 11, 22), 20)).sections}
    assert "once" in sections["moves"].texts[0]
    ((path, state, _),) = sections["as-is"].tables[0].rows
    assert (path.text, state.tone) == ("traffic.chat.peak", "bad")


@pytest.mark.parametrize(
    "page",
    [
        lambda diff: " ".join(diff_text(diff).split()),
        lambda diff: diff_markdown(diff).replace("\\", ""),
        lambda diff: " ".join(text for section in diff_page(diff, 20).sections for text in section.texts),
    ],
)
def test_every_diff_says_what_doing_nothing_means(page: Callable[[Diff], str]) -> None:
    """The fleet that runs, left as it is under the head, stands in the terminal, the comment and the page."""
    assert BROKEN in page(compared())
    assert "as it is,traffic.chat.peak,broken" in diff_csv(compared())
