"""The figures of a diff in rows of what was, is and changed: the overview, and the room under every limit.

Like the sentences of `diff_words`, rows are plain texts: whoever shows them escapes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from planner.plan.diff_types import CountChange, DecimalChange, Diff, Margin, MoneyChange, WhatIf
from planner.plan.margins import EATEN_PPM
from planner.report import numbers
from planner.report.diff_words import NONE

SAME = "same"
FAR_PPM = 500_000
"""Limits with more than half left are of no concern, whatever they lost, unless a reader asks for all of them."""
NEAR_PPM = 100_000
"""A limit with less than this left counts as a risk as soon as it lost anything."""


@dataclass(frozen=True)
class Row:
    """One line of the overview: what it was, is, and how it changed."""

    name: str
    base: str
    head: str
    change: str


def overview(document: Diff, most_models: int = 4) -> list[Row]:
    """The small table: money by kind, GPUs, power, unit costs, and the tightest promise and floor."""
    currency = document.currency
    rows = [
        _money_row("committed per month", document.committed_per_month, currency),
        _money_row("usage-driven per month", document.usage_per_month, currency),
        _money_row(f"cost over {numbers.horizon(document.horizon_h)}", document.cost_over_horizon, currency),
        _gpu_row(document),
        _power_row(document.power_w, currency),
    ]
    changed = [row for row in document.unit_costs if row.model is not None and row.cost.base != row.cost.head]
    whole = [row for row in document.unit_costs if row.model is None]
    for unit in (*changed[:most_models], *whole):
        rows.append(_unit_row(unit.model, unit.cost, currency))
    for name, what in (("tightest promise", "slo"), ("tightest quality floor", "quality")):
        rows += _tightest_row(document, name, what)
    return rows


def _money_row(name: str, row: MoneyChange, currency: str) -> Row:
    base, head = (NONE if each is None else numbers.money(each, currency) for each in (row.base, row.head))
    change = NONE if row.change is None else numbers.signed_money(row.change, currency)
    return Row(name, base, head, SAME if row.change is not None and Fraction(row.change) == 0 else change)


def _gpu_row(document: Diff) -> Row:
    parts = (document.gpus.busy, document.gpus.spare, document.gpus.idle)
    cells = [
        NONE if getattr(document.gpus.total, side) is None else " + ".join(f"{getattr(part, side):,}" for part in parts)
        for side in ("base", "head")
    ]
    return Row("GPUs (busy + spare + idle)", cells[0], cells[1], _gpu_change(document.gpus.total, parts))


def _gpu_change(total: CountChange, parts: Sequence[CountChange]) -> str:
    if total.change is None:
        return NONE
    if total.change:
        return numbers.signed_count(total.change)
    moved = [
        f"{numbers.signed_count(part.change)} {word}"
        for part, word in zip(parts, ("busy", "spare", "idle"), strict=True)
        if part.change
    ]
    return ", ".join(moved) or SAME


def _power_row(row: DecimalChange, currency: str) -> Row:
    base, head = (
        NONE if each is None else numbers.quantity(Fraction(each), "W", currency) for each in (row.base, row.head)
    )
    if row.change is None:
        return Row("power", base, head, NONE)
    change = Fraction(row.change)
    return Row("power", base, head, numbers.signed_quantity(change, "W", currency) if change else SAME)


def _unit_row(model: str | None, cost: DecimalChange, currency: str) -> Row:
    base, head = (NONE if each is None else numbers.money(each, currency) for each in (cost.base, cost.head))
    name = f"per million tokens, {model if model is not None else 'all models'}"
    if cost.base is None or cost.head is None:
        return Row(name, base, head, "new" if cost.base is None else "gone")
    change = SAME if cost.base == cost.head else numbers.unit_cost_change(cost.base, cost.head, currency)
    return Row(name, base, head, change)


def _tightest_row(document: Diff, name: str, what: str) -> list[Row]:
    own = [row for row in document.margins if row.what == what]
    base = min(
        (row for row in own if row.base_slack_ppm is not None), key=lambda r: r.base_slack_ppm or 0, default=None
    )
    head = min(
        (row for row in own if row.head_slack_ppm is not None), key=lambda r: r.head_slack_ppm or 0, default=None
    )
    if base is None and head is None:
        return []
    cells = [
        f"{short_path(row.path)} {used(row, side, document.currency)}" if row else NONE
        for row, side in ((base, "base"), (head, "head"))
    ]
    change = NONE
    if base is not None and head is not None:
        change = points((head.head_slack_ppm or 0) - (base.base_slack_ppm or 0))
    return [Row(name, cells[0], cells[1], change)]


def points(ppm: int) -> str:
    """A change of free room."""
    return numbers.points(ppm) if ppm else SAME


def short_path(path: str) -> str:
    """A promise by its class and metric.

    >>> short_path("traffic.chat.slo.tpot_p95"), short_path("traffic.chat.rejected_at_most"), short_path("budget.power")
    ('chat tpot_p95', 'chat rejected_at_most', 'budget.power')
    """
    block, *inner = path.split(".")
    if block != "traffic" or len(inner) < 2:
        return path
    owner = inner[:-2] if inner[-2] in ("slo", "quality") and len(inner) > 2 else inner[:-1]
    return f"{'.'.join(owner)} {inner[-1]}"


def used(row: Margin, side: str, currency: str) -> str:
    """What one side uses of a limit."""
    amount: Fraction | None = getattr(row, f"{side}_used")
    limit: Fraction | None = getattr(row, f"{side}_limit")
    if amount is None or limit is None:
        return NONE
    shown, of = numbers.quantity(amount, row.unit, currency), numbers.quantity(limit, row.unit, currency)
    figure, _, unit = shown.rpartition(" ")
    return f"{figure if figure and of.endswith(f' {unit}') else shown} of {of}"


def margin_row(row: Margin, currency: str) -> Row:
    """A margin with the free share of both sides."""
    cells = []
    for side, slack in (("base", row.base_slack_ppm), ("head", row.head_slack_ppm)):
        free = "" if slack is None else f" ({numbers.percent(max(slack, 0))} free)"
        cells.append(f"{used(row, side, currency)}{free}")
    if row.base_slack_ppm is None or row.head_slack_ppm is None:
        return Row(row.path, cells[0], cells[1], "new" if row.base_slack_ppm is None else "gone")
    return Row(row.path, cells[0], cells[1], points(row.head_slack_ppm - row.base_slack_ppm))


def risks(document: Diff) -> list[Margin]:
    """Margins that lost room and have not much left, or lost 2 points or more and are less than half free."""
    return [row for row in document.margins if _is_risk(row)]


def _is_risk(row: Margin) -> bool:
    if row.head_slack_ppm is None or row.head_slack_ppm >= FAR_PPM:
        return False
    if row.base_slack_ppm is None:
        return True
    return row.worse and (row.head_slack_ppm < NEAR_PPM or row.base_slack_ppm - row.head_slack_ppm >= EATEN_PPM)


def moved_margins(document: Diff) -> list[Margin]:
    """Every margin that is not as it was."""
    return [
        row
        for row in document.margins
        if (row.base_used, row.base_limit, row.base_slack_ppm) != (row.head_used, row.head_limit, row.head_slack_ppm)
    ]


def case_rows(document: WhatIf) -> list[tuple[str, ...]]:
    """One row a case: name, cost per month, change, GPUs, budget used, tightest promise."""
    return [(case.name, *_case_cells(case.diff)) for case in document.cases]


def _case_cells(diff: Diff) -> tuple[str, ...]:
    cost, currency = diff.cost_per_month, diff.currency
    if cost.head is None:
        return (diff.head.status.upper(), NONE, NONE, NONE, NONE)
    change = NONE
    if cost.change is not None:
        percent = f" ({numbers.signed_percent(cost.percent_ppm)})" if cost.percent_ppm else ""
        change = f"{numbers.signed_money(cost.change, currency)}{percent}" if Fraction(cost.change) else SAME
    share = diff.budget.head_share_ppm
    tightest = [row for row in overview(diff) if row.name == "tightest promise"]
    return (
        numbers.money(cost.head, currency),
        change,
        f"{diff.gpus.total.head:,}" if diff.gpus.total.head is not None else NONE,
        numbers.percent(share) if share is not None else NONE,
        "as before" if diff.equal else tightest[0].head if tightest else NONE,
    )
