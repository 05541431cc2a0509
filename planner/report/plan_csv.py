"""Plans and diffs as CSV: one table, one row a thing, units in the header, numbers that a spreadsheet can add up.

Money has the places of the page, without currency sign or thousands separators; text that a spreadsheet would run as a
formula is quoted by an apostrophe. Columns that do not apply to a row are empty.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

from planner.plan.diff_types import Diff, WhatIf
from planner.plan.types import Plan
from planner.report.escape import inert

Value = str | int | Decimal | Fraction | None
Row = Mapping[str, Value]

PLAN_COLUMNS = (
    "section", "name", "model", "gpu", "region", "pools", "weights", "shape", "kv_preset", "context_tokens",
    "batch_sequences", "replicas", "nodes", "nodes_offered", "gpus", "gpus_busy", "gpus_spare", "gpus_idle",
    "price_per_gpu_h", "cost_per_month", "committed_per_month", "tokens_per_month", "cost_per_million_tokens",
    "power_W", "used", "limit", "unit", "free_percent", "binding", "note",
)  # fmt: skip

MONEY = ("price_per_gpu_h", "cost_per_month", "committed_per_month", "cost_per_million_tokens")
"""Columns whose header names the currency."""


def plan_csv(plan: Plan) -> str:
    """The plan: a row of totals, then deployments, pools, models, promises, limits, conflicts, rejected choices."""
    currency = plan.scenario.currency
    heads = [f"{name} [{currency}]" if name in MONEY else name for name in PLAN_COLUMNS]
    rows = [*_total(plan), *_deployments(plan), *_pools(plan), *_models(plan), *_promises(plan), *_limits(plan)]
    rows += [
        {"section": "conflict", "name": each.path, "note": "; ".join(filter(None, (each.message, each.repair)))}
        for each in plan.conflicts
    ]
    rows += [
        {"section": "not chosen", "name": each.subject, "model": each.model, "note": each.message}
        for each in plan.rejected
    ]
    return _written(heads, PLAN_COLUMNS, rows)


def _total(plan: Plan) -> Iterable[Row]:
    totals = plan.totals
    if totals is None:
        yield {"section": "total", "name": plan.scenario.name, "note": plan.status}
        return
    yield {
        "section": "total",
        "name": plan.scenario.name,
        "note": plan.status,
        "gpus": totals.gpus,
        "gpus_busy": totals.gpus_busy,
        "gpus_spare": totals.gpus_spare,
        "gpus_idle": totals.gpus_idle,
        "cost_per_month": money(totals.cost_per_month),
        "committed_per_month": money(str(sum(Decimal(pool.committed_per_month) for pool in plan.pools.values()))),
        "cost_per_million_tokens": money(totals.cost_per_million_tokens),
        "power_W": Fraction(totals.power_w),
    }


def _deployments(plan: Plan) -> Iterable[Row]:
    for name, each in plan.deployments.items():
        busiest = max((row.used_ppm for row in each.loads), default=None)
        yield {
            "section": "deployment",
            "name": name,
            "model": each.model,
            "gpu": each.gpu,
            "region": each.region,
            "pools": "; ".join(f"{pool} {count}" for pool, count in each.pools.items()),
            "weights": each.weights,
            "shape": each.parallel,
            "kv_preset": each.kv_preset,
            "context_tokens": each.context_limit_tokens or None,
            "batch_sequences": each.max_batch or None,
            "replicas": each.replicas,
            "gpus": each.gpus,
            "free_percent": None if busiest is None else Fraction(max(0, 1_000_000 - busiest), 10_000),
        }


def _pools(plan: Plan) -> Iterable[Row]:
    for name, pool in plan.pools.items():
        yield {
            "section": "pool",
            "name": name,
            "gpu": pool.gpu,
            "region": pool.region,
            "nodes": pool.nodes,
            "nodes_offered": pool.nodes_offered,
            "gpus": pool.gpus_busy + pool.gpus_spare + pool.gpus_idle,
            "gpus_busy": pool.gpus_busy,
            "gpus_spare": pool.gpus_spare,
            "gpus_idle": pool.gpus_idle,
            "price_per_gpu_h": Decimal(pool.price_per_gpu_h),
            "cost_per_month": money(pool.cost_per_month),
            "committed_per_month": money(pool.committed_per_month),
        }


def _models(plan: Plan) -> Iterable[Row]:
    for name, cost in plan.models.items():
        yield {
            "section": "model",
            "name": name,
            "model": name,
            "cost_per_month": money(cost.cost_per_month),
            "tokens_per_month": round(Fraction(cost.tokens_per_month)),
            "cost_per_million_tokens": money(cost.cost_per_million_tokens),
        }


def _promises(plan: Plan) -> Iterable[Row]:
    for name, deployment in plan.deployments.items():
        for each in deployment.promises:
            yield {
                "section": "promise",
                "name": f"{name} {each.class_name} {each.metric}",
                "model": deployment.model,
                "used": Fraction(each.predicted_us, 1000),
                "limit": Fraction(each.limit_us, 1000),
                "unit": "ms",
                "free_percent": 100 - Fraction(100 * each.predicted_us, each.limit_us),
                "note": f"{each.provider}, {each.band}",
            }


def _limits(plan: Plan) -> Iterable[Row]:
    for row in plan.limits:
        yield {
            "section": "limit",
            "name": row.path,
            "used": row.used,
            "limit": row.limit,
            "unit": row.unit,
            "free_percent": Fraction(row.slack_ppm, 10_000),
            "binding": "yes" if row.binding else "no",
        }


DIFF_COLUMNS = ("case", "section", "name", "field", "base", "head", "change", "unit", "note")


def diff_csv(document: Diff | WhatIf) -> str:
    """A diff: one row a figure, field, margin, edit effect, rollout step or guardrail; a what-if, its cases below each
    other. Effects add up to the change of the cost."""
    if isinstance(document, WhatIf):
        rows = [{"case": case.name, **row} for case in document.cases for row in _diff_rows(case.diff)]
    else:
        rows = [{"case": document.head.label, **row} for row in _diff_rows(document)]
    return _written(DIFF_COLUMNS, DIFF_COLUMNS, rows)


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
    for row in document.guardrails:
        known = {"base": _number(row.base), "head": _number(row.head), "unit": row.unit}
        note = f"above {row.threshold}: {row.crossed}" + (f"; {row.message}" if row.message else "")
        yield {"section": "guardrail", "name": row.name, "field": row.kind, **known, "note": note}


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


def money(amount: str | None) -> Decimal | None:
    """An amount to the cent, rounded as the page rounds it.

    >>> money("69379.2"), money(None)
    (Decimal('69379.20'), None)
    """
    return None if amount is None else Decimal(amount).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)


def _number(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _written(heads: Sequence[str], columns: Sequence[str], rows: Iterable[Row]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([inert(head) for head in heads])
    for row in rows:
        writer.writerow([cell(row.get(column)) for column in columns])
    return stream.getvalue()


def cell(value: Value) -> str:
    """A cell: numbers plain, text inert.

    >>> cell(Fraction(1, 3)), cell(Decimal("1234.50")), cell(-4), cell("-4+1"), cell(None)
    ('0.333333', '1234.50', '-4', "'-4+1", '')
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return inert(value)
    if isinstance(value, Fraction):
        from planner.plan.money import decimal

        return decimal(value, at_least=0)
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
