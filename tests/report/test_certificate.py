"""Every page says what a replay said."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from planner import pipeline
from planner.plan.certificate import Certificate, Margin, Round
from planner.plan.types import Plan
from planner.report.certificate import certificate_lines
from planner.report.diff_text import diff_text
from planner.report.html.plan_page import View, plan_page
from planner.report.plan_markdown import plan_markdown
from planner.report.text import plan_text

SCENARIO = Path(__file__).parents[1] / "data/scenarios/page.yaml"

CERTIFICATE = Certificate(
    status="refuted",
    reason="in replay more replicas do not help: TTFT p95 of questions 3 times its limit",
    sources={"questions": "log.csv", "documents": "Poisson arrivals at 2 requests/s, declared lengths"},
    traces={"questions": "ab" * 32},
    seeds=(1, 2),
    router="by_length",
    margins=(
        Margin("questions", "ttft_p95", 2_400_000, 800_000, -2_000_000, False),
        Margin("questions", "rejected", 0, 1_000, 1_000_000, True),
    ),
    rounds=(
        Round("optimal", "2153.50", 1, ("TTFT p95 of questions 3 times its limit",), ("questions may not run here",)),
        Round("infeasible", None, 0, (), ()),
    ),
)


@pytest.fixture(scope="module")
def plan() -> Plan:
    """A plan, and what a replay said of it."""
    return replace(pipeline.plan(pipeline.load(SCENARIO)), certificate=CERTIFICATE)


def test_lines_name_everything(plan: Plan) -> None:
    """Verdict, each promise with its margin, each source with its hash or seeds, each round."""
    lines = certificate_lines(plan)
    assert lines[0].startswith("REFUTED; in replay more replicas do not help")
    assert "TTFT p95 of questions 2.4/0.8 s" in " ".join(lines) or "2400/800 ms" in " ".join(lines)
    assert any("rejected of questions 0%/0.1%, +100.0% left" in line for line in lines)
    assert any("log.csv, SHA-256 abababababab" in line for line in lines)
    assert any("declared lengths, seeds 1, 2" in line for line in lines)
    assert any(line.startswith("round 1: $2,153.50 / month, failed TTFT") for line in lines)
    assert "round 2: infeasible" in lines


def test_every_page_shows_them(plan: Plan) -> None:
    """Terminal, Markdown and HTML; nothing of it without a replay."""
    bare = replace(plan, certificate=Certificate("not_simulated", "no replay"))
    assert "REFUTED" in plan_text(plan) and "SHA-256 abababababab" in " ".join(plan_text(plan).split())
    assert "## Replay" in plan_markdown(plan) and "## Replay" not in plan_markdown(bare)
    page = plan_page(plan, View(date(2026, 11, 22), 100, ()))
    points = [point for section in page.sections for point in section.points]
    assert any("REFUTED" in str(point) for point in points)
    assert (page.badge, page.tone) == ("OPTIMAL, proved, REFUTED", "bad")
    assert certificate_lines(bare) == []


def test_a_diff_says_which_side_was_replayed(plan: Plan) -> None:
    """The words for how far a side is proved carry the replay's verdict."""
    bare = replace(plan, certificate=Certificate("not_simulated", "no replay"), hash="another")
    document = pipeline.diff(bare, plan)
    assert (document.base.certificate, document.head.certificate) == ("not_simulated", "refuted")
    assert "refuted in replay" in diff_text(document, 100)
