"""A plan as Markdown and CSV: the numbers of the terminal page, and text that acts nowhere."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from decimal import Decimal
from html import unescape
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from planner import pipeline
from planner.plan.types import Plan, RejectedChoice
from planner.report import numbers
from planner.report.plan_csv import money, plan_csv
from planner.report.plan_markdown import plan_markdown
from planner.report.text import plan_text


def _load() -> ModuleType:
    spec = spec_from_file_location("goldens", Path(__file__).with_name("goldens.py"))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


goldens = _load()

HOSTILE = "=cmd|'/c x'!A1<script>`@octocat`\n|\u202e"


@pytest.fixture(scope="module")
def plan() -> Plan:
    """The plan of the page scenario."""
    return goldens.solved()


def _html(markdown: str) -> str:
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)


def _rows(plan: Plan, section: str) -> list[dict[str, str]]:
    return [row for row in csv.DictReader(io.StringIO(plan_csv(plan))) if row["section"] == section]


def _column(row: dict[str, str], name: str) -> str:
    """A column whose heading names its currency."""
    return next(value for head, value in row.items() if head.split(" [")[0] == name)


def test_terminal_markdown_and_csv_say_the_same_numbers(plan: Plan) -> None:
    """Money, GPUs, prices, limits and promises of the terminal page stand in Markdown, and CSV cells formatted the same
    way give the same texts."""
    terminal, markdown = (
        plan_text(plan, 160, verbose=True),
        unescape(re.sub(r"<[^>]*>", "", _html(plan_markdown(plan)))),
    )
    assert plan.totals is not None
    shown = [numbers.money(plan.totals.cost_per_month, "$"), numbers.money(plan.totals.cost_over_horizon, "$")]
    (total,) = _rows(plan, "total")
    assert numbers.money(_column(total, "cost_per_month"), "$") == shown[0]
    for name, pool in plan.pools.items():
        shown += [name, numbers.money(pool.cost_per_month, "$"), numbers.price(pool.price_per_gpu_h, "$")]
        (row,) = (row for row in _rows(plan, "pool") if row["name"] == name)
        assert numbers.money(_column(row, "cost_per_month"), "$") == shown[-2]
        assert numbers.price(_column(row, "price_per_gpu_h"), "$") == shown[-1]
        assert (
            f"{row['nodes']}/{row['nodes_offered']}" in terminal
            and f"{row['nodes']}/{row['nodes_offered']}" in markdown
        )
    for limit in plan.limits:
        shown += [
            limit.path,
            numbers.quantity(limit.used, limit.unit, "$"),
            numbers.quantity(limit.limit, limit.unit, "$"),
        ]
        (row,) = (row for row in _rows(plan, "limit") if row["name"] == limit.path)
        assert Decimal(row["used"]) == round(Decimal(limit.used.numerator) / limit.used.denominator, 6)
    for deployment in plan.deployments.values():
        tpot = [p for p in deployment.promises if p.metric == "tpot_p95"]
        tightest = max(tpot, key=lambda p: p.predicted_us / p.limit_us, default=None)
        shown += [numbers.time_pair(tightest.predicted_us, tightest.limit_us)] if tightest else []
        shown.append(numbers.tokens(deployment.context_limit_tokens))
    for cost in plan.models.values():
        shown.append(numbers.money(cost.cost_per_million_tokens or "0", "$"))
    for each in shown:
        assert each in terminal and each in markdown, each


@given(st.decimals(-10_000, 10_000, places=4))
def test_csv_rounds_money_as_the_page_does(amount: Decimal) -> None:
    """An amount below the cent is rounded once, in the same direction as on the page."""
    assert numbers.money(str(money(str(amount))), "$") == numbers.money(str(amount), "$")


def test_csv_adds_up_and_is_one_rectangle(plan: Plan) -> None:
    """Every row has the columns of the heading; pools add up to the total in money and GPUs."""
    rows = list(csv.reader(io.StringIO(plan_csv(plan))))
    assert {len(row) for row in rows} == {len(rows[0])} and len(set(rows[0])) == len(rows[0])
    assert "cost_per_month [$]" in rows[0] and "power_W" in rows[0] and "context_tokens" in rows[0]
    (total,) = _rows(plan, "total")
    for name in ("cost_per_month", "committed_per_month", "gpus", "gpus_busy", "gpus_spare", "gpus_idle"):
        assert sum(Decimal(_column(row, name)) for row in _rows(plan, "pool")) == Decimal(_column(total, name))
    replicas = sum(int(row["replicas"]) for row in _rows(plan, "deployment"))
    assert replicas == sum(deployment.replicas for deployment in plan.deployments.values()) > 1
    assert len(_rows(plan, "limit")) == len(plan.limits)


def test_markdown_tables_render_whole(plan: Plan) -> None:
    """Each table has as many cells in every row as in its heading, and each section of the plan has one."""
    html = _html(plan_markdown(plan))
    tables = re.findall(r"<table>.*?</table>", html, re.S)
    assert len(tables) == html.count("<h2>") - 1 == 8, "notes are a list"
    for table in tables:
        counts = {len(re.findall(r"<t[hd]", row)) for row in re.findall(r"<tr>.*?</tr>", table, re.S)}
        assert len(counts) == 1


def test_a_plan_without_a_plan_says_why() -> None:
    """An infeasible plan names the line, the reason and what would do, in both formats."""
    poor = goldens.solved(goldens.TOO_POOR)
    text = plan_markdown(poor)
    assert text.startswith("# page: infeasible, proved\n") and "## Deployments" not in text
    assert "| `budget.monthly` | --set | any plan needs at least" in text
    (row,) = _rows(poor, "conflict")
    assert row["name"] == "budget.monthly" and "any plan needs at least" in row["note"]
    assert _rows(poor, "total")[0]["note"] == "infeasible"


def test_what_a_plan_assumes_stands_in_both() -> None:
    """Corrections with their source, and bounds with both costs, as the terminal says them."""
    plan = pipeline.plan(pipeline.load(goldens.ROOT / "tests/data/scenarios/bounded.yaml"))
    text = unescape(re.sub(r"<[^>]*>", "", _html(plan_markdown(plan))))
    assert plan.assumptions and plan.bounds
    for row, cells in zip(plan.assumptions, _rows(plan, "assumption"), strict=True):
        assert row.path in text and row.text in text and row.source in text
        assert (cells["name"], cells["note"]) == (row.path, f"{row.text} ({row.source})")
    for (name, bound), cells in zip(plan.bounds.items(), _rows(plan, "bound"), strict=True):
        assert cells["name"] == name
        for column, amount in (("used", bound.low_cost_per_month), ("limit", bound.high_cost_per_month)):
            assert amount is not None and Decimal(cells[column]) == money(amount)
            assert numbers.money(amount, "$") in text


def test_hostile_names_stay_text_in_documents(plan: Plan) -> None:
    """Names that are formulas, tags, mentions or line breaks act neither in Markdown nor in a spreadsheet."""
    first = next(iter(plan.deployments.values()))
    hostile = replace(
        plan,
        deployments={HOSTILE: replace(first, model=HOSTILE, pools={HOSTILE: 1})},
        pools={HOSTILE: next(iter(plan.pools.values()))},
        models={HOSTILE: next(iter(plan.models.values()))},
        limits=(replace(plan.limits[0], path=HOSTILE),),
        rejected=(RejectedChoice(HOSTILE, HOSTILE, "x", HOSTILE, HOSTILE, None, 1),),
        warnings=(HOSTILE,),
        scenario=replace(plan.scenario, name=HOSTILE, currency="=1"),
    )
    html = _html(plan_markdown(hostile))
    assert "<script" not in html and "\u202e" not in html
    plain = unescape(re.sub(r"<[^>]*>", "", re.sub(r"<code>.*?</code>", "", html, flags=re.S)))
    assert "@octocat" not in plain
    rows = list(csv.reader(io.StringIO(plan_csv(hostile))))
    assert {len(row) for row in rows} == {len(rows[0])}
    numeric = re.compile(r"-?\d+(\.\d+)?")
    for row in rows:
        for cell in row:
            assert cell[:1] not in tuple("=+-@") or numeric.fullmatch(cell)
            assert "\n" not in cell
