"""The plan over time and after losses: what runs when, and where the money of the horizon goes."""

from __future__ import annotations

from planner.plan.types import Plan
from planner.report.html.blocks import Section, table
from planner.report.over_time import time_lines, time_tables


def over_time(plan: Plan, most: int) -> Section | None:
    """Nothing where the plan is the same at every hour and no loss is planned for."""
    tables = time_tables(plan)
    if not tables:
        return None
    return Section(
        "time",
        "Over time and after losses" if plan.time is not None else "After losses",
        texts=tuple(f"{line[0].upper()}{line[1:]}." for line in time_lines(plan)),
        tables=tuple(table(each.title, list(each.heads), list(each.rows), most) for each in tables),
        origin="Derived from the nodes and routing of each situation; `kvplan check` derives every value again.",
    )
