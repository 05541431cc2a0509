"""What stands on a page, read from its source: the terminal's numbers, structure, escaping, size."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from planner.plan.diff_types import Diff
from planner.plan.types import Plan
from planner.report.html import render as render_room
from planner.report.html.blocks import Chart, Page
from planner.report.html.diff_page import diff_page, sentence
from planner.report.html.plan_page import View, plan_page
from planner.report.html.plan_presets import Alternative, request_ratio
from planner.report.html.render import MOST_BYTES, document, render
from planner.report.printable import printable
from planner.report.text import plan_text

pytest.importorskip("altair", reason="needs the report extra")

ROOT = Path(__file__).parents[3]
NAMES = (
    "plan", "impossible", "capacity-table", "hostile-plan", "diff", "diff-same", "diff-infeasible", "hostile-diff",
    "what-if",
)  # fmt: skip
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Reader(HTMLParser):
    """Collects text, tags, ids and links, and notices tags that are not closed in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.headings: list[str] = []
        self.scripts: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        values = dict(attrs)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.links += [values["href"] or ""] if "href" in values else []
        self.headings += [tag] if re.fullmatch("h[1-6]", tag) else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.text.append(data)


def read(path: Path) -> Reader:
    """The page as a parser sees it."""
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert reader.open == []
    return reader


def words(page: Page) -> str:
    """All texts of a page in a row."""
    cells = [cell.text for s in page.sections for t in s.tables for row in t.rows for cell in row]
    figures = [text for figure in page.figures for text in (figure.label, figure.value, figure.detail)]
    texts = [text for s in page.sections for text in (s.title, *s.texts, *s.points, s.origin)]
    return "\n".join((page.title, page.badge, page.sentence, *figures, *texts, *cells, *page.footer))


def drawn(chart: Chart) -> list[dict[str, Any]]:
    """The data of a plot."""
    spec = json.loads(json.dumps(chart.spec))
    data: list[dict[str, Any]] = spec["datasets"][spec["data"]["name"]]
    return data


@pytest.fixture(scope="module")
def view(pages: dict[str, Path]) -> View:
    """How the committed pages are made."""
    from datetime import date

    return View(date(2026, 12, 1), 400)


@pytest.mark.parametrize("which", ["plan", "bounded_plan"])
def test_the_page_says_what_the_terminal_says(which: str, request: pytest.FixtureRequest, view: View) -> None:
    """Every amount, size, time, share and count of the terminal's page stands on the HTML page as it is written."""
    plan: Plan = request.getfixturevalue(which)
    said = words(plan_page(plan, view))
    shown = plan_text(plan, 160, verbose=True)
    patterns = (
        r"-?\$[\d,]+\.\d\d+", r"[\d.,]+ GiB", r"[\d.]+/[\d.]+ (?:ms|s|h|min)", r"[\d.,]+ kW", r"\d+Ki",
        r"\d+ \+ \d+ \+ \d+", r"\d+%", r"[\d,.]+ (?:ms|s|h)\b(?!; kvplan)",
    )  # fmt: skip
    for pattern in patterns:
        found = set(re.findall(pattern, shown)) - {"0.00 GiB"}  # parts that no GPU has are left out
        assert found, pattern
        assert {text for text in found if text not in said} == set()
    for row in plan.limits:
        assert row.path in said
    for warning in plan.warnings:
        assert warning in said


def test_what_a_plan_assumes_stands_on_the_page(plan: Plan, bounded_plan: Plan, view: View) -> None:
    """Corrections with line, place, effect and source, bounds with both costs, and memory kept free by its name; a plan
    without them has no such section."""
    page = plan_page(bounded_plan, view)
    (section,) = (s for s in page.sections if s.id == "assumed")
    corrections, bounds = ([[cell.text for cell in row] for row in t.rows] for t in section.tables)
    assert corrections == [
        ["models.assistant.adjust.memory", "bounded.yaml:13", "1.50 GiB less for KV on each GPU (1,610,612,736 B)",
         "bench 2026-11"],
        ["models.assistant.adjust.decode_time", "bounded.yaml:13", "decode steps take 5% longer than predicted",
         "bench 2026-11"],
    ]  # fmt: skip
    bound = bounded_plan.bounds["assistant"]
    assert bound.low_cost_per_month is not None and bound.high_cost_per_month is not None
    assert bounds[0][:3] == [
        "assistant",
        *(f"${float(c):,.2f}" for c in (bound.low_cost_per_month, bound.high_cost_per_month)),
    ]
    (memory,) = (s for s in page.sections if s.id == "memory")
    heads = [head for head, _ in memory.tables[0].heads]
    assert memory.tables[0].rows[0][heads.index("adjusted")].text == "1.50 GiB" and "other" not in heads
    assert sum(row["value"] for row in drawn(memory.charts[0])) == pytest.approx(
        sum(d.memory.total_bytes for d in bounded_plan.deployments.values() if d.memory) / 2**30
    )
    assert "assumed" not in {s.id for s in plan_page(plan, view).sections}


def test_the_sentence_of_a_diff_adds_up() -> None:
    """Direction, amount, percent, old and new cost of the committed diff, which were computed by hand."""
    from decimal import Decimal

    diff = _diff("traffic")
    base, head = Decimal("49523.20"), Decimal("68912.00")
    percent = ((head - base) / base * 100).quantize(Decimal("0.1"))
    assert sentence(diff) == f"prod-eu costs +${head - base:,} / month (+{percent}%): ${base:,} -> ${head:,}."
    assert "no change in cost, GPUs or SLO margins" in sentence(_diff("same"))
    assert "no plan (infeasible, proved)" in sentence(_diff("infeasible"))


def test_the_page_says_what_the_comment_says() -> None:
    """Every amount, percentage and power of the pull-request comment and the terminal's diff stands on the page."""
    from planner.report.diff_markdown import diff_markdown
    from planner.report.diff_text import diff_text

    diff = _diff("traffic")
    said = words(diff_page(diff, 400))
    for shown in (diff_markdown(diff), diff_text(diff, 160, verbose=True)):
        plain = shown.replace("\\", "")
        for pattern in (r"[+-]?\$[\d,]+\.\d\d+", r"[+-]\d+\.\d%", r"[\d.,]+ kW"):
            found = set(re.findall(pattern, plain))
            assert found, pattern
            assert {text for text in found if text not in said} == set()


def test_an_equal_diff_shows_no_change() -> None:
    """Equal plans give a page without figures, amounts or plots."""
    page = diff_page(_diff("same"), 400)
    assert page.figures == () and not any(section.charts for section in page.sections)
    assert "$" not in words(page)


@pytest.mark.parametrize("name", NAMES)
def test_documents_are_well_formed(pages: dict[str, Path], name: str) -> None:
    """Tags close in order, ids are unique, links lead to them, headings do not jump, every table has a caption."""
    reader = read(pages[name])
    assert [tag for tag, count in Counter(reader.ids).items() if count > 1] == []
    assert {link.removeprefix("#") for link in reader.links} <= set(reader.ids)
    assert all(link.startswith("#") for link in reader.links)
    assert reader.headings[0] == "h1" and set(reader.headings[1:]) == {"h2"}
    assert reader.tags["caption"] == reader.tags["table"] >= 1
    assert reader.tags["main"] == reader.tags["nav"] == reader.tags["h1"] == 1
    assert reader.tags["figure"] == reader.tags["figcaption"] == len(json.loads(reader.scripts[0]))


@pytest.mark.parametrize("name", ["hostile-plan", "hostile-diff"])
def test_hostile_names_stay_texts(pages: dict[str, Path], name: str) -> None:
    """Names with tags, quotes and direction marks appear as they are written and open no element."""
    reader = read(pages[name])
    assert reader.tags["img"] == 0
    assert reader.tags["script"] == 3
    assert any("<img src=x onerror=window.hacked=2>\\u202eevil" in text for text in reader.text)
    assert not set("<>&") & set(reader.scripts[0])
    source = pages[name].read_text(encoding="utf-8")
    assert "\u202e" not in source
    assert "<img" not in source.split('id="plots"')[0]
    assert printable(source) == source


@pytest.mark.parametrize("name", ["plan", "diff", "hostile-plan"])
def test_pages_name_no_address(pages: dict[str, Path], name: str) -> None:
    """Outside the plot library, which draws SVG by its namespace, a page holds no address at all."""
    text = unescape(pages[name].read_text(encoding="utf-8").replace(render_room._bundle(), ""))
    assert re.findall(r"(?:https?:)?//[a-z]", text) == []
    assert "@import" not in text and "url(" not in text
    assert "default-src 'none'" in text and "unsafe-eval" not in text


def test_pages_are_the_same_twice(plan: Plan, view: View) -> None:
    """A plan and a day give the same bytes."""
    assert document(plan_page(plan, view)) == document(plan_page(plan, view))


def test_a_plan_of_300_deployments_stays_under_the_limit(plan: Plan, view: View) -> None:
    """Large plans are cut to whole rows, say so, and fit."""
    first = next(iter(plan.deployments.values()))
    many = {f"deployment-{'x' * 40}-{i}": replace(first, notes=("estimated " * 20,)) for i in range(300)}
    limits = tuple(replace(plan.limits[0], path=f"limits.{'y' * 60}-{i}") for i in range(3_000))
    rejected = tuple(replace(plan.rejected[0], message="z" * 300, subject=f"choice {i}") for i in range(5_000))
    large = replace(plan, deployments=many, limits=limits, rejected=rejected)
    text = render(lambda most: plan_page(large, View(view.as_of, most)))
    assert len(text.encode()) <= MOST_BYTES
    assert re.search(r"[\d,]+ more rows in the document", text)


def test_a_diff_of_300_deployments_stays_under_the_limit() -> None:
    """The same for diffs."""
    diff = _diff("traffic")
    large = replace(
        diff,
        deployments=tuple(replace(diff.deployments[0], name=f"{'x' * 60}-{i}") for i in range(300)),
        margins=tuple(replace(diff.margins[0], path=f"{'y' * 60}-{i}") for i in range(3_000)),
    )
    text = render(lambda most: diff_page(large, most))
    assert len(text.encode()) <= MOST_BYTES


def test_pages_say_what_the_plan_does_not_know(table_plan: Plan, impossible_plan: Plan, plan: Plan, view: View) -> None:
    """Capacity tables: no memory, no latency; infeasible: the reasons; presets: only one cost; discounts: unknown."""
    said = words(plan_page(table_plan, view))
    assert "This plan holds no memory" in said and "This plan holds no latency" in said
    page = plan_page(impossible_plan, view)
    assert page.badge == "INFEASIBLE, proved"
    assert all(conflict.message in words(page) for conflict in impossible_plan.conflicts)
    said = words(plan_page(plan, view))
    assert "is not in this plan" in said and "Taxes, network, storage and people are not included." in said
    assert "730 hours" in said and "not in this plan" in said


def test_estimates_are_marked(plan: Plan, view: View) -> None:
    """Every source of the plan stands on the page; those that are estimated are marked, the others are not."""
    table = next(t for s in plan_page(plan, view).sections for t in s.tables if t.caption == "Sources")
    marked = {(row[0].text, row[1].text, row[2].text): row[3].text == "estimated" for row in table.rows}
    assert marked == {(e.kind, e.id, e.text): e.estimated for e in plan.evidence}


def test_memory_parts_add_up_to_the_gpu(plan: Plan, view: View) -> None:
    """In the data of the plot the parts of every bar add up to the GPU's total."""
    page = plan_page(plan, view)
    chart = next(c for s in page.sections for c in s.charts if c.id == "chart-memory")
    values = drawn(chart)
    for name, deployment in plan.deployments.items():
        assert deployment.memory is not None
        total = sum(row["value"] for row in values if row["row"] == name)
        assert total * 2**30 == pytest.approx(deployment.memory.total_bytes, rel=1e-12)


def test_solved_presets_are_drawn_beside_the_plan(plan: Plan, view: View) -> None:
    """Points that coincide are one; presets without a plan are in the table only, with their reason."""
    assert plan.totals is not None
    rows = (
        Alternative("bf16", "optimal", plan.totals.cost_per_month, 4, 0, ""),
        Alternative("fp8", "optimal", "9999.50", 8, 30_000, ""),
        Alternative("nvfp4", "infeasible", None, None, None, "no GPU runs it"),
    )
    page = plan_page(plan, replace(view, alternatives=rows))
    section = next(s for s in page.sections if s.id == "presets")
    values = drawn(section.charts[0])
    assert {(row["name"], row["x"]) for row in values} >= {("fp8", 3.0)}
    assert len(values) == len({(row["x"], row["y"]) for row in values})
    said = words(page)
    assert "$9,999.50" in said and "no GPU runs it" in said and "nvfp4" in said


def test_ratios_follow_from_the_bytes(plan: Plan) -> None:
    """fp8 halves 16-bit KV; one fp32 scale a vector of 128 gives 256 / 132; skipped layers stay 16-bit."""
    from fractions import Fraction

    from planner.catalog.types import KvStorage

    model = next(m for m in plan.scenario.models.values() if m.facts is not None)
    facts = model.facts
    assert facts is not None and facts.head_dim == 128 and not facts.is_mla
    assert request_ratio(model, KvStorage(8, 8), 4096) == 2
    assert request_ratio(model, KvStorage(8, 8, vector_bytes=4), 4096) == Fraction(256, 132)
    layers = len(facts.kv_layers)
    edge = KvStorage(8, 8, skip_layers=2)
    assert request_ratio(model, edge, 4096) == Fraction(2 * layers, 2 * 4 + layers - 4)


def _diff(name: str) -> Diff:
    from planner.plan.diff_io import parse_diff
    from planner.plan.io import read_tree

    path = str(ROOT / f"tests/report/data/diff-{name}.json")
    found = parse_diff(read_tree(path), path)
    assert isinstance(found, Diff)
    return found
