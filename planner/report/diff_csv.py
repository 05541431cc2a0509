"""Diffs as CSV: one table, one row a change, in the manner of plans."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction

from planner.plan.diff_types import Diff, WhatIf
from planner.report.plan_csv import Row, Value, money, written

DIFF_COLUMNS = ("case", "section", "name", "field", "base", "head", "change", "unit", "note")


def diff_csv(document: Diff | WhatIf) -> str:
    """A diff: one row a figure, field, margin, edit effect, rollout step or guardrail; a what-if, its cases below each
    other. Effects add up to the change of the cost."""
    if isinstance(document, WhatIf):
        rows = [{"case": case.name, **row} for case in document.cases for row in _diff_rows(case.diff)]
    else:
        rows = [{"case": document.head.label, **row} for row in _diff_rows(document)]
    return written(DIFF_COLUMNS, DIFF_COLUMNS, rows)


def _diff_rows(document: Diff) -> Iterable[Row]:
    yield from _figures(document)
    for deployment in document.deployments:
        for field in deployment.fields:
            yield _change("deployment", deployment.name, field.field, field.base, field.head, deployment.kind)
    for pool in document.pools:
        for field in pool.fields:
            yield _change("pool", pool.name, field.field, field.base, field.head, pool.kind)
    yield from _margins(document)
    yield from _effects(document)
    for step in document.rollout:
        yield {
            "section": "rollout",
            "name": f"{step.order}",
            "field": step.action,
            "head": step.count,
            "note": step.text,
        }
    yield from _as_is(document)
    for row in document.guardrails:
        known = {"base": _number(row.base), "head": _number(row.head), "unit": row.unit}
        note = f"above {row.threshold}: {row.crossed}" + (f"; {row.message}" if row.message else "")
        yield {"section": "guardrail", "name": row.name, "field": row.kind, **known, "note": note}


def _as_is(document: Diff) -> Iterable[Row]:
    """What the fleet that runs keeps and breaks of the head: `base` is the limit."""
    for row in document.as_is.rows if document.as_is is not None else ():
        state = "kept" if row.holds else "broken"
        yield {
            "section": "as it is",
            "name": row.path,
            "field": state,
            "base": row.limit,
            "head": row.used,
            "unit": row.unit,
            "note": row.text,
        }


def _figures(document: Diff) -> Iterable[Row]:
    """Money, GPUs, power and unit costs."""
    currency = document.currency
    for name, amount in (
        ("cost per month", document.cost_per_month),
        ("committed per month", document.committed_per_month),
        ("usage-driven per month", document.usage_per_month),
        ("cost over the horizon", document.cost_over_horizon),
        *((f"pool {pool.name} per month", pool.cost) for pool in document.pools),
    ):
        yield _figure(name, money(amount.base), money(amount.head), money(amount.change), currency)
    gpus = document.gpus
    for name, count in (("busy", gpus.busy), ("spare", gpus.spare), ("idle", gpus.idle), ("total", gpus.total)):
        yield _figure(f"GPUs {name}", count.base, count.head, count.change, "GPUs")
    power = document.power_w
    yield _figure("power", _number(power.base), _number(power.head), _number(power.change), "W")
    for unit in document.unit_costs:
        name = f"cost per million tokens, {'all models' if unit.model is None else unit.model}"
        cost = unit.cost
        yield _figure(name, _number(cost.base), _number(cost.head), _number(cost.change), currency)


def _figure(name: str, base: Value, head: Value, change: Value, unit: str) -> Row:
    return {"section": "total", "name": name, "base": base, "head": head, "change": change, "unit": unit}


def _change(section: str, name: str, field: str, base: Value, head: Value, note: str) -> Row:
    change = head - base if isinstance(base, int) and isinstance(head, int) else None
    return {
        "section": section,
        "name": name,
        "field": field,
        "base": base,
        "head": head,
        "change": change,
        "note": note,
    }


def _margins(document: Diff) -> Iterable[Row]:
    for row in document.margins:
        yield _change_of(row.path, "used", row.base_used, row.head_used, row.unit)
        yield _change_of(row.path, "limit", row.base_limit, row.head_limit, row.unit)
        slack = [None if ppm is None else Fraction(ppm, 10_000) for ppm in (row.base_slack_ppm, row.head_slack_ppm)]
        yield _change_of(row.path, "free", slack[0], slack[1], "%")


def _change_of(path: str, field: str, base: Fraction | None, head: Fraction | None, unit: str) -> Row:
    change = None if base is None or head is None else head - base
    known = {"base": base, "head": head, "change": change, "unit": unit}
    return {"section": "margin", "name": path, "field": field, **known}


def _effects(document: Diff) -> Iterable[Row]:
    edits = {edit.path: edit for edit in document.edits}
    for row in document.attribution:
        first = edits.get(row.paths[0]) if len(row.paths) == 1 else None
        yield {
            "section": "effect",
            "name": "; ".join(row.paths),
            "base": first.before if first else None,
            "head": first.after if first else None,
            "change": money(row.effect_per_month),
            "unit": document.currency,
            "note": row.infeasible or ("" if row.proved else "not proved"),
        }
    for name, amount in (
        ("interaction of the edits", document.interaction_per_month),
        ("inputs other than the scenario", document.drift_per_month),
    ):
        if amount is not None:
            yield {"section": "effect", "name": name, "change": money(amount), "unit": document.currency}


def _number(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
