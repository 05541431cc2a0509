"""Regions of a plan as plain texts, which every page lays out in its way: who is served where, how far away."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from planner.plan.regions import served_in
from planner.plan.types import Plan
from planner.report import numbers

HEADS: tuple[tuple[str, Literal["left", "right"]], ...] = (
    ("class", "left"),
    ("region", "left"),
    ("requests", "right"),
    ("network", "right"),
    ("TTFT p95 at the engine", "right"),
    ("to the user", "right"),
)


def region_rows(plan: Plan) -> list[tuple[str, ...]]:
    """A row a class and region, for classes that say regions or latency; times to the user beside the promise."""
    return [
        (
            each.class_name,
            each.region,
            f"{float(each.share * 100):.3g}%",
            numbers.duration(Fraction(each.network_us, 1000)) if each.network_us else "-",
            "-" if each.engine_us is None else f"{-(-each.engine_us // 1000):,} ms",
            "-"
            if each.engine_us is None or each.limit_us is None
            else numbers.time_pair(each.engine_us + each.network_us, each.limit_us),
        )
        for each in served_in(plan)
    ]
