"""Plans as CSV: one table, one row a thing, units in the header, numbers that a spreadsheet can add up.

Money has the places of the page, without currency sign or thousands separators; text that a spreadsheet would run as a
formula is quoted by an apostrophe. Columns that do not apply to a row are empty.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

from planner.plan.regions import served_in
from planner.plan.robustness import robust_notes
from planner.plan.types import Plan
from planner.report import numbers
from planner.report.assumed import bound_text
from planner.report.band_edge import edge_lines
from planner.report.escape import inert
from planner.report.fleet import moves_rows

Value = str | int | Decimal | Fraction | None
Row = Mapping[str, Value]

PLAN_COLUMNS = (
    "section", "name", "model", "gpu", "region", "pools", "weights", "shape", "kv_preset", "context_tokens",
    "batch_sequences", "chunk_tokens", "replicas", "nodes", "nodes_offered", "gpus", "gpus_busy", "gpus_spare",
    "gpus_idle", "price_per_gpu_h", "cost_per_month", "committed_per_month", "tokens_per_month",
    "cost_per_million_tokens", "power_W", "used", "limit", "unit", "free_percent", "binding", "note",
)  # fmt: skip

MONEY = ("price_per_gpu_h", "cost_per_month", "committed_per_month", "cost_per_million_tokens")
"""Columns whose header names the currency."""


def plan_csv(plan: Plan) -> str:
    """The plan: a row of totals, then deployments, pools, models, promises, regions, limits, what runs and costs when,
    what losses leave, adjustments of the user, bounds of architectures that are not understood, conflicts, refusals."""
    currency = plan.scenario.currency
    heads = [f"{name} [{currency}]" if name in MONEY else name for name in PLAN_COLUMNS]
    rows = [
        *_total(plan),
        *_deployments(plan),
        *_pools(plan),
        *_models(plan),
        *_promises(plan),
        *_regions(plan),
        *_limits(plan),
    ]
    rows += [*_time(plan), *_losses(plan), *_assumed(plan), *_bounds(plan)]
    rows += [{"section": "band edge", "name": "band edge", "note": line} for line in edge_lines(plan)]
    rows += [*_robust(plan)]
    rows += [*_moves(plan), *_as_is(plan)]
    rows += [
        {"section": "conflict", "name": each.path, "note": "; ".join(filter(None, (each.message, each.repair)))}
        for each in plan.conflicts
    ]
    rows += [
        {"section": "not chosen", "name": each.subject, "model": each.model, "note": each.message}
        for each in plan.rejected
    ]
    return written(heads, PLAN_COLUMNS, rows)


def _moves(plan: Plan) -> Iterable[Row]:
    """Replicas that start and stop: `used` are those planned, `limit` those that run."""
    for words, before, after, since in moves_rows(plan):
        used, limit = (int(count.replace(",", "")) for count in (after, before))
        note = f"from {since}"
        yield {"section": "moves", "name": words, "used": used, "limit": limit, "unit": "replicas", "note": note}


def _as_is(plan: Plan) -> Iterable[Row]:
    for row in plan.as_is.rows if plan.as_is is not None else ():
        note = "; ".join(filter(None, ("kept" if row.holds else "broken", row.text)))
        yield {
            "section": "as it is",
            "name": row.path,
            "used": row.used,
            "limit": row.limit,
            "unit": row.unit,
            "note": note,
        }


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
            "region": each.kind.place,
            "pools": "; ".join(f"{pool} {count}" for pool, count in each.pools.items()),
            "weights": each.weights,
            "shape": each.parallel,
            "kv_preset": each.kv_preset,
            "context_tokens": each.context_limit_tokens or None,
            "batch_sequences": each.max_batch or None,
            "chunk_tokens": each.max_num_batched_tokens or None,
            "replicas": each.replicas,
            "gpus": each.gpus,
            "free_percent": None if busiest is None else Fraction(max(0, 1_000_000 - busiest), 10_000),
            "note": each.provider or None,
        }


def _pools(plan: Plan) -> Iterable[Row]:
    for name, pool in plan.pools.items():
        yield {
            "section": "pool",
            "name": name,
            "gpu": pool.gpu,
            "region": pool.place,
            "nodes": pool.nodes,
            "nodes_offered": pool.nodes_offered,
            "gpus": pool.gpus_busy + pool.gpus_spare + pool.gpus_idle,
            "gpus_busy": pool.gpus_busy,
            "gpus_spare": pool.gpus_spare,
            "gpus_idle": pool.gpus_idle,
            "price_per_gpu_h": Decimal(pool.price_per_gpu_h),
            "cost_per_month": money(pool.cost_per_month),
            "committed_per_month": money(pool.committed_per_month),
            "note": None if pool.nodes_counted is None else f"{pool.nodes_counted} nodes counted on",
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


def _regions(plan: Plan) -> Iterable[Row]:
    """The part of a class's requests that a region serves; the note has the network's part of TTFT."""
    for each in served_in(plan):
        yield {
            "section": "region",
            "name": f"{each.class_name} {each.region}",
            "model": plan.scenario.traffic[each.class_name].model,
            "region": each.region,
            "used": each.share * 100,
            "unit": "%",
            "note": f"network {numbers.duration(Fraction(each.network_us, 1000))}" if each.network_us else None,
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


def _time(plan: Plan) -> Iterable[Row]:
    """Deployments and pools of every situation, named `WHEN NAME`, and the money of every month."""
    if plan.time is None:
        return
    for when, part in plan.time.situations.items():
        for name, each in part.deployments.items():
            row: Row = {"section": "situation deployment", "name": f"{when} {name}", "model": each.model}
            yield {**row, "gpu": each.gpu, "region": each.kind.place, "replicas": each.replicas, "gpus": each.gpus}
        for name, pool in part.pools.items():
            row = {"section": "situation pool", "name": f"{when} {name}", "gpu": pool.gpu, "region": pool.place}
            yield {**row, "nodes": pool.nodes, "gpus_busy": pool.gpus_busy, "gpus_idle": pool.gpus_idle}
        for name, rate in part.batches.items():
            yield {"section": "situation batch", "name": f"{when} {name}", "used": rate, "unit": "req/s"}
    for when, spent in (plan.time.months or {"horizon": plan.time.spent}).items():
        for word in ("total", "committed", "rented", "started", "stranded"):
            used = money(getattr(spent, word))
            yield {"section": "spent", "name": f"{when} {word}", "used": used, "unit": plan.scenario.currency}


def _losses(plan: Plan) -> Iterable[Row]:
    """Replicas that losses leave of each deployment, and what is shed of each class, in the situation shown; over time
    in every situation, named `WHEN NAME`."""
    parts = [("", "", plan.losses)]
    for when, part in plan.time.situations.items() if plan.time is not None else ():
        parts.append(("situation ", f"{when} ", part.losses))
    for section, when, after in ((section, when, after) for section, when, losses in parts for after in losses):
        for name, left in after.deployments.items():
            row: Row = {"section": f"{section}after loss", "name": f"{when}{name}", "replicas": left.replicas}
            yield {**row, "note": after.lost}
        for name, share in after.shed.items():
            row = {"section": f"{section}shed", "name": f"{when}{name}", "unit": "%", "note": after.lost}
            yield {**row, "used": share * 100}


def _assumed(plan: Plan) -> Iterable[Row]:
    for row in plan.assumptions:
        yield {"section": "assumption", "name": row.path, "note": f"{row.text} ({row.source})"}


def _bounds(plan: Plan) -> Iterable[Row]:
    """The plan stands at `limit`, the cost at the most KV that the model may keep; `used` is that at the least."""
    for name, bound in plan.bounds.items():
        yield {
            "section": "bound",
            "name": name,
            "model": name,
            "used": money(bound.low_cost_per_month),
            "limit": money(bound.high_cost_per_month),
            "unit": f"{plan.scenario.currency}/month",
            "note": bound_text(bound),
        }


def _robust(plan: Plan) -> Iterable[Row]:
    """The plan stands at `limit`, the cost in the whole band; `used` is that of the traffic as written."""
    if plan.robustness is not None:
        yield {
            "section": "robust",
            "name": "robust",
            "used": money(plan.robustness.cost_per_month),
            "limit": money(plan.totals.cost_per_month if plan.totals else None),
            "unit": f"{plan.scenario.currency}/month",
            "note": "; ".join(robust_notes(plan)),
        }


def money(amount: str | None) -> Decimal | None:
    """An amount to the cent, rounded as the page rounds it.

    >>> money("69379.2"), money(None)
    (Decimal('69379.20'), None)
    """
    return None if amount is None else Decimal(amount).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)


def written(heads: Sequence[str], columns: Sequence[str], rows: Iterable[Row]) -> str:
    """The table: headings, and of every row its columns."""
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
