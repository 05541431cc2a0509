"""The other edge of the latency band: a second solve, the choices that change, and what check holds of it."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from planner import pipeline
from planner.plan.check import check_tree
from planner.plan.edge import choices_of
from planner.plan.io import to_json
from planner.plan.types import Plan
from planner.report.plan_csv import plan_csv
from planner.report.plan_markdown import plan_markdown
from planner.report.text import plan_text

SCENARIO = Path(__file__).parents[1] / "data/scenarios/page.yaml"


@cache
def solved(confidence: str, edge: bool = True) -> Plan:
    """The page scenario at a confidence."""
    scenario = pipeline.load(SCENARIO, [f"reserve.confidence={confidence}"])
    return pipeline.plan(scenario, pipeline.Options(band_edge=edge))


def test_the_edge_of_p50_is_the_plan_at_p90() -> None:
    """Cost, GPUs and every choice are those of the scenario solved at p90 by itself."""
    plan, there = solved("p50"), solved("p90")
    edge = plan.band_edge
    assert edge is not None and there.totals is not None and plan.totals is not None
    assert (edge.confidence, edge.status, edge.gpus) == ("p90", there.status, there.totals.gpus)
    assert edge.cost_per_month == there.totals.cost_per_month
    assert float(edge.more_per_month or 0) == pytest.approx(
        float(there.totals.cost_per_month) - float(plan.totals.cost_per_month)
    )
    here, other = choices_of(plan.deployments), choices_of(there.deployments)
    changed = [name for name in sorted(here) if here[name] != other[name]]
    assert [(c.model, c.here, c.there) for c in edge.choices] == [(n, here[n], other[n]) for n in changed]


def test_the_edge_of_p90_is_never_dearer() -> None:
    """At p10 promises are looser, and a looser promise keeps every choice."""
    plan = solved("p90")
    assert plan.band_edge is not None and plan.band_edge.confidence == "p10"
    assert float(plan.band_edge.more_per_month or 0) <= 0


def test_a_plan_without_the_option_has_no_edge_and_is_otherwise_the_same() -> None:
    """The second solve changes nothing of the first."""
    with_edge, without = (json.loads(to_json(solved("p90", edge))) for edge in (True, False))
    assert without["band_edge"] is None
    for tree in (with_edge, without):
        for key in ("band_edge", "hash", "run"):
            tree.pop(key)
    assert with_edge == without


def test_every_page_shows_it() -> None:
    """Terminal, Markdown and CSV name the edge and its cost."""
    plan = solved("p90")
    for page in (plan_text(plan, 200), plan_markdown(plan), plan_csv(plan)):
        assert "p10, the fast edge of the band" in page


@pytest.mark.parametrize(
    ("path", "value", "row"),
    [
        (("confidence",), "p90", "band_edge.confidence"),
        (("cost_per_month",), None, "band_edge.cost_per_month"),
        (("cost_per_month",), "cheap", "band_edge"),
        (("more_per_month",), "1.00", "band_edge.more_per_month"),
        (("gpus",), None, "band_edge.gpus"),
        (("choices",), [{"model": "nobody", "here": "", "there": "1 x h100"}], "band_edge.choices.nobody"),
    ],
)
def test_check_finds_what_no_second_solve_can_say(path: tuple[str, ...], value: Any, row: str) -> None:
    """An edge that is not the other one, a plan without a cost, a wrong difference, a model that is none."""
    tree = copy.deepcopy(json.loads(to_json(solved("p90"))))
    assert check_tree(tree, "plan.json")[1] == []
    tree["band_edge"][path[0]] = value
    found = [finding.row for finding in check_tree(tree, "plan.json", use_hash=False)[1]]
    assert any(name.startswith(row) or name == "scenario" for name in found), found
