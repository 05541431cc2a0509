"""What a plan assumes: what the user put in the place of predictions, and architectures that are only bounded."""

from __future__ import annotations

from collections.abc import Sequence

from planner.plan.robustness import robust_notes
from planner.plan.types import Plan
from planner.report import numbers
from planner.report.assumed import bound_text
from planner.report.band_edge import edge_lines
from planner.report.html.blocks import Align, Cell, Section, Table, table


def assumed(plan: Plan, most: int) -> Section | None:
    """Nothing where a plan rests on predictions and facts alone."""
    tables = [*_adjustments(plan, most), *_bounds(plan, most), *_edge(plan, most)]
    texts = tuple(f"{line[0].upper()}{line[1:]}." for line in robust_notes(plan))
    if not tables and not texts:
        return None
    return Section(
        "assumed",
        "What was assumed",
        texts=texts,
        tables=tuple(tables),
        origin="These are lines of the scenario and the files that they name, in every figure; "
        "bounds and the other edge are second solves.",
    )


def _adjustments(plan: Plan, most: int) -> list[Table]:
    if not plan.assumptions:
        return []
    heads: list[tuple[str, Align]] = [("line", "left"), ("place", "left"), ("what it does", "left"), ("source", "left")]
    places = {row.path: plan.run.places.get(row.path, "").rpartition("/")[2] for row in plan.assumptions}
    rows: list[Sequence[Cell | str]] = [
        (Cell(row.path, code=True), places[row.path] or "-", row.text, row.source) for row in plan.assumptions
    ]
    return [table("What the user put in the place of predictions", heads, rows, most)]


def _edge(plan: Plan, most: int) -> list[Table]:
    """The choices that would change at the other edge of the latency band."""
    edge = plan.band_edge
    if edge is None:
        return []
    heads: list[tuple[str, Align]] = [("model", "left"), ("this plan", "left"), (f"at {edge.confidence}", "left")]
    here = numbers.money(plan.totals.cost_per_month, plan.scenario.currency) if plan.totals else "no plan"
    rows: list[Sequence[Cell | str]] = [("all models, a month", here, edge_lines(plan)[0])]
    rows += [(each.model, each.here or "-", each.there or "-") for each in edge.choices]
    return [table("At the other edge of the latency band", heads, rows, most)]


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
