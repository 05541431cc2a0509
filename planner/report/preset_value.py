"""What compression saves and what an unproved preset owes, as lines of the plan's page."""

from __future__ import annotations

from planner.plan.types import Plan
from planner.plan.value import PresetValue
from planner.report import numbers
from planner.report.columns import labeled


def value_lines(plan: Plan) -> list[str]:
    """One line a model that compresses: with, without, and where it stops paying."""
    return [_value(plan, each) for each in plan.preset_value]


def _value(plan: Plan, each: PresetValue) -> str:
    currency = plan.scenario.currency
    name = f"{each.model} with {', '.join(each.presets)}"
    if each.cost_without_per_month is None or each.saves_per_month is None:
        return f"{name}: with 16-bit KV there is no plan ({each.status_without})"
    saves, without = (numbers.money(text, currency) for text in (each.saves_per_month, each.cost_without_per_month))
    text = f"{name}: saves {saves} / month; with 16-bit KV the plan costs {without}"
    if each.status_without != "optimal" or plan.status != "optimal":
        text += " (not both proved)"
    if each.stops_paying_ppm is None:
        return text
    counted = f"the plan counts {share(each.loss_ppm)}"
    return f"{text}; stops paying at a quality loss of {share(each.stops_paying_ppm)}, {counted}"


def share(ppm: int) -> str:
    """Parts per million as a percentage of one decimal.

    >>> share(333_333), share(30_000)
    ('33.3%', '3.0%')
    """
    return f"{ppm / 10_000:.1f}%"


def debt_lines(plan: Plan) -> list[str]:
    """What would have to be shown, and what it costs if it cannot be."""
    return [*plan.evidence_debt, *([_if_wrong(plan)] if plan.if_wrong else [])]


def _if_wrong(plan: Plan) -> str:
    wrong, currency = plan.if_wrong, plan.scenario.currency
    assert wrong is not None
    if wrong.cost_per_month is None or wrong.more_per_month is None:
        return f"if it does not hold there is no plan ({wrong.status} without it)"
    cost, more = (numbers.money(text, currency) for text in (wrong.cost_per_month, wrong.more_per_month))
    return f"if it does not hold: {cost} / month with the best supported preset, {more} more than this plan"


def value_text(plan: Plan, columns: int = 100) -> str:
    """The lines behind their labels, or a sentence where nothing is compressed."""
    lines = value_lines(plan)
    if not lines:
        lines = ["the plan compresses nothing: 16-bit KV is the cheapest" if plan.totals else "there is no plan"]
    return labeled("preset value", lines, columns, 12) + labeled("to be shown", debt_lines(plan), columns, 12)
