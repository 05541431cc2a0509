"""How close each plan comes to its promises, floors, free GPUs, budget and limits: the risk beside the price."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from planner.plan.diff_types import Margin
from planner.plan.money import ppm
from planner.plan.types import Plan

What = Literal["slo", "quality", "spare", "budget", "limit"]

EATEN_PPM = 20_000
"""A margin that shrank by 2 points of its limit or more is worth a sentence when the plan became cheaper."""


@dataclass(frozen=True)
class _Row:
    """One side of a margin."""

    what: What
    used: Fraction
    limit: Fraction
    unit: str

    @property
    def slack_ppm(self) -> int:
        if not self.limit:
            return 0 if self.used else 1_000_000
        return ppm((self.limit - self.used) / self.limit) if self.used <= self.limit else 0


def margins(base: Plan, head: Plan) -> tuple[Margin, ...]:
    """Every row of either plan: what lost room first, then by how little is left."""
    old, new = _rows(base), _rows(head)
    both = [_margin(path, old.get(path), new.get(path)) for path in sorted({*old, *new})]
    return tuple(sorted(both, key=_risk))


def eaten(rows: tuple[Margin, ...]) -> tuple[Margin, ...]:
    """Margins of promises, quality and spare room that shrank by 2 points or more."""
    return tuple(
        row
        for row in rows
        if row.what in ("slo", "quality", "spare")
        and row.base_slack_ppm is not None
        and row.head_slack_ppm is not None
        and row.base_slack_ppm - row.head_slack_ppm >= EATEN_PPM
    )


def _risk(row: Margin) -> tuple[bool, bool, int, str]:
    gone = row.head_slack_ppm is None
    return gone, not row.worse, row.head_slack_ppm or 0, row.path


def _margin(path: str, base: _Row | None, head: _Row | None) -> Margin:
    row = head or base
    assert row is not None
    base_slack, head_slack = (side.slack_ppm if side else None for side in (base, head))
    worse = base_slack is not None and head_slack is not None and head_slack < base_slack
    return Margin(
        path=path,
        what=row.what,
        base_used=base.used if base else None,
        head_used=head.used if head else None,
        base_limit=base.limit if base else None,
        head_limit=head.limit if head else None,
        unit=row.unit,
        base_slack_ppm=base_slack,
        head_slack_ppm=head_slack,
        worse=worse,
    )


def _rows(plan: Plan) -> dict[str, _Row]:
    """The rows of one plan by path: its limits table, then quality, free GPUs and the busiest load row a model."""
    rows = {row.path: _Row(_what(row.path), row.used, row.limit, row.unit) for row in plan.limits}
    rows |= _quality_rows(plan)
    if plan.totals is not None and plan.totals.gpus:
        rows["gpus.busy"] = _Row("spare", Fraction(plan.totals.gpus_busy), Fraction(plan.totals.gpus), "GPUs")
    for deployment in plan.deployments.values():
        path = f"models.{deployment.model}.load"
        used = Fraction(max((row.used_ppm for row in deployment.loads), default=0), 10_000)
        if path not in rows or used > rows[path].used:
            rows[path] = _Row("spare", used, Fraction(100), "%")
    return rows


def _what(path: str) -> What:
    block = path.partition(".")[0]
    if block == "budget":
        return "budget"
    return "slo" if block == "traffic" else "limit"


def _quality_rows(plan: Plan) -> dict[str, _Row]:
    """The worst accuracy drop that a class meets on its way, against its floor."""
    worst: dict[str, int] = {}
    for deployment in plan.deployments.values():
        for route in deployment.routing:
            worst[route.class_name] = max(worst.get(route.class_name, 0), route.loss_ppm)
    rows = {}
    for name, loss_ppm in worst.items():
        floor = plan.scenario.traffic[name].quality.max_accuracy_drop_ppm
        if floor is not None:
            path = f"traffic.{name}.quality.max_accuracy_drop"
            rows[path] = _Row("quality", Fraction(loss_ppm, 10_000), Fraction(floor, 10_000), "%")
    return rows
