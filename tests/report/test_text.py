"""The page of a plan: golden texts at three widths, and what must hold at any width."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from rich.cells import cell_len

from planner.plan.types import ObjectiveStage, Plan
from planner.report.text import plan_text


def _load() -> ModuleType:
    spec = spec_from_file_location("goldens", Path(__file__).with_name("goldens.py"))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


goldens = _load()


@pytest.fixture(scope="module")
def plan() -> Plan:
    """The plan of the page scenario."""
    return goldens.solved()


def test_pages_equal_their_goldens() -> None:
    """Every page equals the committed text, line by line."""
    stored = {path.name: path.read_text(encoding="utf-8") for path in goldens.GOLDEN.iterdir()}
    fresh = dict(goldens.pages())
    assert stored.keys() == fresh.keys()
    for name, text in fresh.items():
        assert text.splitlines() == stored[name].splitlines(), f"{name}: run `python tests/report/goldens.py`"


@pytest.mark.parametrize("columns", [80, 100, 140])
def test_no_line_is_wider_than_the_page(plan: Plan, columns: int) -> None:
    """Pages keep their width, end in a line feed, and no line ends in blanks."""
    for verbose in (False, True):
        text = plan_text(plan, columns, verbose=verbose)
        lines = text.split("\n")
        assert lines[-1] == "" and all(line == line.rstrip() for line in lines)
        assert max(map(cell_len, lines)) <= columns


@pytest.mark.parametrize("columns", [80, 100, 140])
def test_names_and_money_survive_every_width(plan: Plan, columns: int) -> None:
    """Whatever the width, names, node counts and money can be found again: cells fold, they are never cut."""
    text = plan_text(plan, columns)
    joined = re.sub(r"\s+", "", text)
    for name in (*plan.deployments, *plan.pools):
        assert name in joined
    assert plan.totals is not None
    assert f"${float(plan.totals.cost_per_month):,.2f}" in text
    assert "…" not in text


def test_money_adds_up_on_the_page(plan: Plan) -> None:
    """The pools' money adds up to the headline's, and GPUs to their number."""
    text = plan_text(plan, 140)
    head = re.search(r"\$([\d,]+\.\d\d) / month.* (\d+) GPUs", text)
    assert head is not None
    rows = re.findall(r"^\S+ +\S+ +\d+/\d+ +(?:(\d+) \+ (\d+) \+ (\d+)|-) +\$\S+ +\$([\d,]+\.\d\d)$", text, re.M)
    assert len(rows) == len(plan.pools)
    cents = sum(int(row[3].replace(",", "").replace(".", "")) for row in rows)
    assert cents == int(head[1].replace(",", "").replace(".", ""))
    assert sum(int(count or 0) for row in rows for count in row[:3]) == int(head[2])


def test_a_time_limited_plan_says_how_far_it_may_be(plan: Plan) -> None:
    """Without a proof the headline has no `proved`, and states the gap or that there is no bound."""
    stages = (ObjectiveStage("cost", 100, 90, "micro-$/h"), *plan.objective[1:])
    cut_short = plan_text(replace(plan, status="feasible", gap_ppm=100_000, objective=stages)).splitlines()[0]
    assert "FEASIBLE" in cut_short and "10.00%" in cut_short and "proved" not in cut_short
    first, *rest = plan.objective
    unbounded = replace(plan, status="feasible", gap_ppm=None, objective=(replace(first, bound=None), *rest))
    assert "no bound" in plan_text(unbounded).splitlines()[0]
    assert "FEASIBLE (cost proved; later objectives not)" in plan_text(replace(plan, status="feasible"))


def test_a_binding_limit_is_marked_with_its_place(plan: Plan) -> None:
    """Limits with less than 1 % left carry a mark, and every limit the line of the file where it stands."""
    text = plan_text(plan, 140)
    for row in plan.limits:
        line = next((each for each in text.splitlines() if each.startswith(row.path)), None)
        if line is None:
            assert not row.binding
            continue
        assert ("* binding" in line) == row.binding == (Fraction(row.slack_ppm, 1_000_000) < Fraction(1, 100))
        assert re.search(r"page\.yaml:\d+$", line)


def test_an_infeasible_page_names_the_line_and_the_repair() -> None:
    """Without a plan the page has no tables, but the line in the way, its place, and what would do."""
    text = plan_text(goldens.solved(goldens.TOO_POOR))
    assert text.startswith("page   INFEASIBLE, proved\n")
    assert "budget.monthly   --set" in text and "enough: budget.monthly" in text
    assert "replicas" not in text
