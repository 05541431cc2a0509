"""What was not chosen and why, and where every number of the plan comes from."""

from __future__ import annotations

from collections.abc import Sequence

from planner.plan.types import Plan
from planner.report import numbers
from planner.report.html.blocks import Align, Cell, Section, Table, plural, table


def rejected(plan: Plan, most: int) -> Section:
    """Every choice of the scenario that is not in the plan, commonest first, and pools of which nothing is bought."""
    heads: list[tuple[str, Align]] = [
        ("choice", "left"), ("limit that it meets", "left"), ("why", "left"), ("nearest value that would do", "left"),
        ("configurations", "right"),
    ]  # fmt: skip
    ranked = sorted(plan.rejected, key=lambda row: (-row.count, row.subject, row.message))
    rows: list[Sequence[Cell | str]] = [
        (row.subject, row.bottleneck, row.message, Cell(row.nearest or "-", code=bool(row.nearest)), f"{row.count:,}")
        for row in ranked
    ]
    tables = [table("Choices that are not in the candidate table", heads, rows, most)]
    unused = _unused(plan)
    if unused:
        pool_heads: list[tuple[str, Align]] = [("pool", "left"), ("one more node a month", "right")]
        tables.append(table("Pools of which nothing is bought", pool_heads, unused, most))
    counts = plan.candidates
    text = (
        f"{counts.examined:,} configurations examined: {counts.refused:,} refused, {counts.dominated:,} no better than "
        f"another, {counts.offered:,} offered to the solver."
    )
    return Section("rejected", "What was not chosen, and why", texts=(text,), tables=tuple(tables))


def _unused(plan: Plan) -> list[Sequence[Cell | str]]:
    currency = plan.scenario.currency
    return [
        (name, numbers.money(str(plan.scenario.inventory[name].price_micro_per_node_h * 730 / 1_000_000), currency))
        for name, pool in plan.pools.items()
        if not pool.nodes
    ]


def origin(plan: Plan, most: int) -> Section:
    """Sources, defaults that were taken, the objective's bounds, and the run."""
    estimated = sum(1 for row in plan.evidence if row.estimated)
    lead = (
        f"{plural(len(plan.evidence), 'source')}, {estimated} of them estimated or not checked. Catalog "
        f"{plan.run.catalog}."
    )
    heads: list[tuple[str, Align]] = [("what", "left"), ("of", "left"), ("source", "left"), ("how sure", "left")]
    rows: list[Sequence[Cell | str]] = [
        (row.kind, row.id, row.text, Cell("estimated", "warn") if row.estimated else "as published")
        for row in plan.evidence
    ]
    tables = [table("Sources", heads, rows, most)]
    if plan.objective:
        tables.append(_objective(plan, most))
    if plan.scenario.defaults:
        default_heads: list[tuple[str, Align]] = [("line", "left"), ("taken", "left")]
        defaults: list[Sequence[Cell | str]] = [(Cell(path, code=True), text) for path, text in plan.scenario.defaults]
        tables.append(table("Defaults that were taken", default_heads, defaults, most))
    return Section("origin", "Where the numbers come from", texts=(lead,), tables=tuple(tables))


def _objective(plan: Plan, most: int) -> Table:
    heads: list[tuple[str, Align]] = [
        ("objective", "left"), ("value", "right"), ("best possible, proved", "right"), ("unit", "left"),
    ]  # fmt: skip
    rows: list[Sequence[Cell | str]] = [
        (stage.name, f"{stage.value:,}", f"{stage.bound:,}" if stage.bound is not None else "no bound", stage.unit)
        for stage in plan.objective
    ]
    return table("Objectives, in their order, and how far they are proved", heads, rows, most)
