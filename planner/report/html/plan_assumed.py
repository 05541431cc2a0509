"""What a plan assumes: corrections that the user wrote, and architectures that are bounded instead of understood."""

from __future__ import annotations

from collections.abc import Sequence

from planner.plan.types import Plan
from planner.report import numbers
from planner.report.assumed import bound_text
from planner.report.html.blocks import Align, Cell, Section, Table, table


def assumed(plan: Plan, most: int) -> Section | None:
    """Nothing where a plan rests on predictions and facts alone."""
    tables = [*_adjustments(plan, most), *_bounds(plan, most)]
    if not tables:
        return None
    return Section(
        "assumed",
        "What was assumed",
        tables=tuple(tables),
        origin="Adjustments are lines of the scenario and in every figure here; bounds come from two solved plans.",
    )


def _adjustments(plan: Plan, most: int) -> list[Table]:
    if not plan.assumptions:
        return []
    heads: list[tuple[str, Align]] = [("line", "left"), ("place", "left"), ("what it does", "left"), ("source", "left")]
    places = {row.path: plan.run.places.get(row.path, "").rpartition("/")[2] for row in plan.assumptions}
    rows: list[Sequence[Cell | str]] = [
        (Cell(row.path, code=True), places[row.path] or "-", row.text, row.source) for row in plan.assumptions
    ]
    return [table("Corrections that the user wrote", heads, rows, most)]


def _bounds(plan: Plan, most: int) -> list[Table]:
    if not plan.bounds:
        return []
    heads: list[tuple[str, Align]] = [
        ("model", "left"), ("at the least KV, a month", "right"), ("at the most KV, a month", "right"),
        ("what that means", "left"),
    ]  # fmt: skip
    currency = plan.scenario.currency
    rows: list[Sequence[Cell | str]] = []
    for name, bound in plan.bounds.items():
        low, high = (
            numbers.money(cost, currency) if cost is not None else "no plan"
            for cost in (bound.low_cost_per_month, bound.high_cost_per_month)
        )
        rows.append((name, low, high, Cell(bound_text(bound), "warn" if bound.changes_plan else "")))
    return [table("Architectures that are not understood", heads, rows, most)]
