"""Diffs as pages: goldens, widths, limits, hostile names, and that every format says the same numbers."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from html import unescape
from html.parser import HTMLParser
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from markdown_it import MarkdownIt
from rich.cells import cell_len

from planner.plan.diff_io import parse_diff
from planner.plan.diff_types import AttributionRow, Diff, Drift, Edit, FieldChange, WhatIf, WhatIfCase
from planner.report import numbers
from planner.report.diff_csv import diff_csv
from planner.report.diff_github import diff_github
from planner.report.diff_markdown import GITHUB_LIMIT, diff_markdown
from planner.report.diff_text import diff_text


def _load() -> ModuleType:
    spec = spec_from_file_location("diff_goldens", Path(__file__).with_name("diff_goldens.py"))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


goldens = _load()

HOSTILE = "<script>x</script>|`@octocat`\n::error::<!--\u202e*#1"
KEYS = {
    "name", "label", "path", "before", "after", "place", "message", "text", "subject", "command", "catalog", "kvplan",
    "gpu", "region", "weights", "parallel", "kv_preset", "model", "notes", "repair", "infeasible",
}  # fmt: skip
"""Keys of the document that hold what a user or a file wrote."""

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def _what_if() -> WhatIf:
    base = goldens.diff("traffic").base
    named = (
        ("more traffic", "traffic"),
        ("no confidence", "cheaper"),
        ("far too much", "infeasible"),
        ("none", "same"),
    )
    cases = tuple(WhatIfCase(name, (name,), goldens.diff(case)) for name, case in named)
    return WhatIf("1.0", base, cases, "kvplan what-if scenarios/prod.yaml --all")


def _hostile(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _hostile(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [_hostile(each, key) for each in value]
    return f"{HOSTILE}{value}" if isinstance(value, str) and key in KEYS else value


def _large(count: int, name: str = "assistant-{}") -> Diff:
    """A diff with `count` deployments, edits, pools, margins, steps and guardrails."""
    diff = goldens.diff("traffic")
    named = [name.format(number) for number in range(count)]
    first = diff.deployments[0]
    deployments = tuple(
        replace(first, name=each, base=replace(first.base, name=each), head=replace(first.head, name=each))
        for each in named
    )
    return replace(
        diff,
        deployments=deployments,
        pools=tuple(replace(diff.pools[0], name=each) for each in named),
        margins=tuple(replace(diff.margins[0], path=f"models.{each}.load") for each in named),
        edits=tuple(Edit(f"traffic.{each}.peak", "1 req/s", "2 req/s", "prod.yaml:3") for each in named),
        attribution=tuple(AttributionRow((f"traffic.{each}.peak",), "1.00", None, True) for each in named),
        rollout=tuple(replace(diff.rollout[0], order=n, text=f"add nodes to {each}") for n, each in enumerate(named)),
        guardrails=tuple(replace(diff.guardrails[0], name=each) for each in named),
        notes=tuple(f"note about {each}" for each in named),
    )


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.depth: list[str] = []
        self.comments = 0
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in ("br", "img", "hr"):
            self.depth.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.depth.pop() == tag

    def handle_comment(self, data: str) -> None:
        self.comments += 1

    def handle_data(self, data: str) -> None:
        self.text += data


def _rendered(markdown: str) -> _Tags:
    page = _Tags()
    page.feed(MARKDOWN.render(markdown))
    page.close()
    assert not page.depth, "an element is not closed"
    return page


def test_pages_equal_their_goldens() -> None:
    """Every page equals the committed text, line by line."""
    stored = {path.name: path.read_text(encoding="utf-8") for path in goldens.GOLDEN.iterdir()}
    fresh = dict(goldens.pages())
    assert stored.keys() == fresh.keys()
    for name, text in fresh.items():
        assert text.splitlines() == stored[name].splitlines(), f"{name}: run `python tests/report/diff_goldens.py`"


@pytest.mark.parametrize("columns", [60, 80, 100, 160])
@pytest.mark.parametrize("case", [*goldens.CASES, "what-if"])
def test_no_line_is_wider_than_the_terminal(case: str, columns: int) -> None:
    """Pages keep their width, names and money survive it, nothing is cut."""
    document = _what_if() if case == "what-if" else goldens.diff(case)
    text = diff_text(document, columns)
    lines = text.split("\n")
    assert lines[-1] == "" and all(line == line.rstrip() for line in lines) and "\x1b" not in text
    assert max(map(cell_len, lines)) <= columns and "…" not in text
    squeezed = re.sub(r"\s+", "", text)
    for each in document.deployments if isinstance(document, Diff) else ():
        assert each.name in squeezed
    for edit in document.edits if isinstance(document, Diff) else ():
        assert edit.path in squeezed


@pytest.mark.parametrize("write", [diff_text, diff_markdown, diff_github])
def test_equal_plans_are_one_line_or_nothing(write: Callable[..., str]) -> None:
    """No phantom difference: one visible line without a single amount, and nothing at all when that is asked for."""
    text = write(goldens.diff("same"))
    visible = [line for line in text.splitlines() if not line.startswith("<!--")]
    assert len(visible) == 1 and "no change in cost, GPUs or SLO margins" in visible[0]
    assert "$" not in text and "0.00" not in text
    assert write(goldens.diff("same"), skip_no_diff=True) == ""
    assert write(goldens.diff("traffic"), skip_no_diff=True) == write(goldens.diff("traffic"))


def test_an_equal_plan_tells_what_was_edited_or_drifted() -> None:
    """The one line still says that edits, a newer catalog or an old crossing are there, without an effect."""
    drift = Drift("catalog", "catalog", "2026-08", "2026-11", "0.00")
    over = replace(goldens.diff("traffic").guardrails[0], crossed="already")
    same = replace(goldens.diff("same"), edits=(Edit("a", "1", "2", ""),), drift=(drift,), guardrails=(over,))
    text = diff_text(same)
    assert "1 edit without effect" in text and "other inputs changed without effect: catalog" in text
    assert "already above before: ceiling" in text and text.count("\n") == 1


def test_the_comment_opens_as_a_reviewer_reads() -> None:
    """Marker, sentence with direction, amount, percent, old and new; budget; guardrail with its action; table; causes;
    production; risk; folds; footer: in this order."""
    text = diff_markdown(goldens.diff("traffic"))
    order = [
        "<!-- kvplan:prod-eu -->\n### kvplan: prod-eu costs **+$19,388.80 / month (+39.2%)**: ",
        "$49,523.20 → $68,912.00\n",
        "Budget $75,000: 66% → 92% used.", "step, change above 10% (39.2%): ask finance", "| committed per month |",
        "**What caused it**", "| `traffic.chat.peak` `18 req/s` → `30 req/s` | prod.yaml:30 | +$17,228.00 |",
        "**What changes in production**", "Rollout: ", "**What it risks**", "<details><summary>Rollout",
        "<details><summary>Full plan diff", "<sub>optimal, proved",
        "<code>kvplan diff main:scenarios/prod.yaml scenarios/prod.yaml</code></sub>",
    ]  # fmt: skip
    places = [text.find(each) for each in order]
    assert -1 not in places and places == sorted(places) and places[0] == 0


def test_a_cheaper_plan_that_ate_its_margins_says_so_at_once() -> None:
    """Before any table, the page says which margins shrank."""
    for text in (diff_markdown(goldens.diff("cheaper")), diff_text(goldens.diff("cheaper"))):
        assert 0 < text.index("cheaper, with less room: models.assistant.load") < text.index("committed per month")


def test_moves_that_net_to_the_same_total_are_shown() -> None:
    """Costs that stay while deployments move are a change, and there is no `$0.00` in the sentence."""
    diff = goldens.diff("traffic")
    cost = replace(diff.cost_per_month, head=diff.cost_per_month.base, change="0.00", percent_ppm=0)
    text = diff_markdown(replace(diff, cost_per_month=cost))
    assert "costs **the same**, $49,523.20 / month; what runs" in text and "replicas 3 → 5" in text


def test_a_head_without_a_plan_names_what_is_in_the_way() -> None:
    """Infeasible and unknown heads say so first, with the conflicts, in every format."""
    diff = goldens.diff("infeasible")
    for text in (diff_text(diff), diff_markdown(diff)):
        assert re.search(r"prod-eu has \**no plan\** \(infeasible, proved\)", text)
        assert "the base costs $49,523.20 / month" in text and "no single line stands in the way" in text
    cost = replace(diff.cost_per_month, base=None, head="49523.20")
    back = replace(diff, base=diff.head, head=diff.base, cost_per_month=cost, new_conflicts=())
    assert "has a plan again: **$49,523.20 / month**; the base had none" in diff_markdown(back)


@pytest.mark.parametrize("count", [300, 3000])
def test_a_huge_diff_stays_under_the_limit(count: int) -> None:
    """With 300 deployments, edits, pools and steps the comment fits, renders whole, and says what is missing."""
    text = diff_markdown(_large(count))
    assert len(text) < GITHUB_LIMIT and len(text.encode()) < GITHUB_LIMIT
    page = _rendered(text)
    assert page.tags <= {"h3", "p", "strong", "ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td", "code",
                         "details", "summary", "sub", "pre"}  # fmt: skip
    left = re.search(r"… and ([\d,]+) more deployments and pools: too long for a comment", text)
    assert left is not None
    shown = len(re.findall(r"^ assistant-\d+$", text, re.M))
    assert shown + int(left[1].replace(",", "")) == 2 * count, "whole rows only"
    assert text.rstrip().endswith("</sub>") and "<code>kvplan diff " in text


@pytest.mark.parametrize("limit", [8_000, 12_345, 30_000])
def test_long_and_wide_names_fit_any_limit(limit: int) -> None:
    """Names of 2,000 characters, or of four bytes each, are cut visibly and the comment still fits."""
    for name in ("x" * 2000 + "{}", "\N{ROCKET}" * 300 + "{}", "|" * 500 + "{}"):
        text = diff_markdown(_large(300, name), limit=limit)
        assert len(text.encode()) < limit
        assert _rendered(text)


def test_a_large_what_if_fits_too() -> None:
    """Many large cases share the room: the table stays, details go."""
    cases = tuple(WhatIfCase(f"case-{n}", (), _large(300)) for n in range(12))
    text = diff_markdown(replace(_what_if(), cases=cases))
    assert len(text.encode()) < GITHUB_LIMIT and text.count("| case-") == 12
    assert _rendered(text)


def test_a_what_if_has_a_row_for_each_case() -> None:
    """One row a case with money, change, GPUs and budget, infeasible ones included; details only where something
    differs."""
    rows = [line for line in diff_markdown(_what_if()).splitlines() if line.startswith("| ")]
    assert "| more traffic | $68,912.00 | +$19,388.80 (+39.2%) | 32 | 92% |" in " ".join(rows[:6])
    assert "| far too much | INFEASIBLE | - | - | - | - |" in rows
    assert any(row.startswith("| none | $49,523.20 | same | 32 | 66% |") for row in rows)
    assert diff_markdown(_what_if()).count("<details><summary>none") == 0
    text = diff_text(_what_if(), 120)
    assert "+$19,388.80 (+39.2%)" in text and "INFEASIBLE" in text


@pytest.mark.parametrize("case", goldens.CASES)
def test_hostile_names_stay_text(case: str) -> None:
    """Names with tags, pipes, backticks, mentions, comments, line breaks and direction overrides act nowhere."""
    diff = parse_diff(_hostile(goldens.tree(case)), case)
    assert isinstance(diff, Diff)
    text = diff_markdown(diff)
    page = _rendered(text)
    assert "script" not in page.tags and page.comments == 1 and "\u202e" not in text
    plain = re.sub(r"<(code|pre)>.*?</\1>", "", MARKDOWN.render(text), flags=re.S)
    assert not re.search(r"@\w", unescape(re.sub(r"<[^>]*>", "", plain)))
    for line in diff_github(diff).splitlines():
        assert re.match(r"::(error|warning|notice) ", line)
    shown = diff_text(diff, 100)
    assert "\u202e" not in shown and "\x1b" not in shown
    rows = list(csv.reader(io.StringIO(diff_csv(diff))))
    assert {len(row) for row in rows} == {9}


def test_every_table_row_has_its_columns() -> None:
    """Each rendered row has as many cells as its heading."""
    for document in (*map(goldens.diff, goldens.CASES), _what_if()):
        html = MARKDOWN.render(diff_markdown(document))
        for table in re.findall(r"<table>.*?</table>", html, re.S):
            rows = re.findall(r"<tr>.*?</tr>", table, re.S)
            assert len({len(re.findall(r"<t[hd]", row)) for row in rows}) == 1


@pytest.mark.parametrize("case", ["traffic", "cheaper"])
def test_every_format_says_the_same_numbers(case: str) -> None:
    """Each figure of the overview, each effect and each margin stands in the terminal page and in Markdown alike, and
    the CSV holds the amounts behind them."""
    diff = goldens.diff(case)
    terminal = re.sub(r"\s+", "", diff_text(diff, 160, verbose=True))
    markdown = re.sub(r"\s+", "", _rendered(diff_markdown(diff)).text.replace("→", "->"))
    figures = [
        numbers.money(amount, "$")
        for row in (diff.cost_per_month, diff.committed_per_month, diff.usage_per_month, diff.cost_over_horizon)
        for amount in (row.base, row.head)
        if amount is not None
    ]
    figures += [numbers.signed_money(row.effect_per_month or "0", "$") for row in diff.attribution]
    figures += [numbers.money(unit.cost.head or "0", "$") for unit in diff.unit_costs]
    figures += [numbers.quantity(Fraction(diff.power_w.head or "0"), "W", "$")]
    figures += [numbers.points(row.head_slack_ppm - row.base_slack_ppm) for row in diff.margins if row.worse]
    for each in figures:
        squeezed = each.replace(" ", "")
        assert squeezed in terminal and squeezed in markdown, each
    rows = list(csv.DictReader(io.StringIO(diff_csv(diff))))
    total = next(row for row in rows if row["name"] == "cost per month")
    assert (total["base"], total["head"], total["change"]) == (
        diff.cost_per_month.base, diff.cost_per_month.head, diff.cost_per_month.change,
    )  # fmt: skip
    effects = sum(Decimal(row["change"]) for row in rows if row["section"] == "effect" and row["change"])
    assert effects == Decimal(total["change"])
    pools = [row for row in rows if row["name"].startswith("pool ")]
    assert sum(Decimal(row["change"]) for row in pools) == Decimal(total["change"])


def test_drift_interaction_and_groups_have_their_own_lines() -> None:
    """What edits do together, what the scenario did not do, what was not proved, and grouped edits are told apart."""
    diff = replace(
        goldens.diff("traffic"),
        attribution=(
            AttributionRow(("traffic.chat.peak", "traffic.agents.slo.tpot_p95"), "10.00", None, False),
            AttributionRow(("traffic.search.mean",), None, "budget.monthly: too low", True),
        ),
        interaction_per_month="-5.50",
        drift=(Drift("catalog", "prices", "2026-08", "2026-11", "19384.30"),),
        drift_per_month="19384.30",
    )
    text = diff_markdown(diff)
    assert "`30 req/s`<br>`traffic.agents.slo.tpot_p95`" in text and "+$10.00 (not proved)" in text
    assert "no plan with it alone: budget.monthly: too low" in text
    assert "| together, beyond the sum of each alone |  | -$5.50 |" in text
    assert "| inputs other than the scenario: catalog prices 2026-08 → 2026-11 |  | +$19,384.30 |" in text
    assert "| `traffic.nightly.requests` `40_000/day` → `55_000/day` | prod.yaml:57 | not solved alone |" in text


def test_loosened_and_unknown_guardrails_are_named() -> None:
    """A guardrail that the change itself removed still counts, and says so."""
    diff = goldens.diff("traffic")
    dropped = replace(diff.guardrails[0], side="base")
    money = replace(diff.guardrails[0], name="cap", kind="cost_above", unit="$", threshold="60000", base="49523.20",
                    head="68912.00", crossed="already")  # fmt: skip
    text = diff_text(replace(diff, guardrails=(dropped, money)), 200)
    assert (
        "guardrail ceiling, budget used above 90% (66.0% -> 91.9%), removed or loosened by this change [needs" in text
    )
    assert "guardrail cap, cost above $60,000.00 ($49,523.20 -> $68,912.00) [already crossed before]" in text


def test_fields_of_a_later_format_are_shown_by_their_name() -> None:
    """A field that this version does not know keeps its own name."""
    diff = goldens.diff("traffic")
    row = replace(diff.deployments[0], fields=(FieldChange("speculative_tokens", 0, 4),))
    assert "speculative_tokens 0 -> 4" in diff_text(replace(diff, deployments=(row,)))


def test_annotations_stand_at_the_edits() -> None:
    """Guardrails are warnings at the head's file; edits are notices at their lines, at most 10 notices in all."""
    lines = diff_github(goldens.diff("traffic")).splitlines()
    assert lines[0].startswith(
        "::warning file=scenarios/prod.yaml,title=guardrail ceiling::ceiling, budget used above 90%25"
    )
    assert "::notice file=scenarios/prod.yaml,line=30,title=kvplan%3A effect on the cost::traffic.chat.peak" in "".join(
        lines
    )
    many = diff_github(_large(300)).splitlines()
    assert sum(line.startswith("::notice") for line in many) == 10 and "and 292 more edits" in many[-1]
    assert diff_github(goldens.diff("infeasible")).startswith("::error file=scenarios/prod.yaml,")


@pytest.mark.parametrize("case", ["traffic", "cheaper"])
def test_the_page_says_the_numbers_of_the_comment(case: str) -> None:
    """The HTML page holds every amount, share and effect of the Markdown comment's overview and causes."""
    pytest.importorskip("altair", reason="pages need the report extra")
    pytest.importorskip("vl_convert", reason="pages need the report extra")
    from planner.report.diff_figures import overview
    from planner.report.diff_words import causes
    from planner.report.html.diff_page import diff_page
    from planner.report.html.render import render

    diff = goldens.diff(case)
    page = unescape(re.sub(r"<[^>]*>", " ", render(lambda most: diff_page(diff, most))))
    figures = [
        cell for row in overview(diff) for cell in (row.base, row.head, row.change) if re.match(r"[+-]?\$", cell)
    ]
    figures += [cause.effect for cause in causes(diff)]
    for each in figures:
        assert each in page, each
