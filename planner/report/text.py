"""The plan as a terminal page: what is bought, what it keeps, what binds, what was not chosen and why."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from rich.text import Text

from planner.plan.robustness import robust_notes
from planner.plan.types import Assumption, Deployment, LimitRow, Plan, Promise, RejectedChoice
from planner.report import numbers
from planner.report.band_edge import edge_lines
from planner.report.certificate import certificate_lines
from planner.report.fleet import JUDGED_HEADS, as_is_line, judged_rows, moves_lines
from planner.report.layout import indented, render, table_of
from planner.report.over_time import TimeTable, time_lines, time_tables
from planner.report.preset_value import debt_lines, value_lines
from planner.report.regions import HEADS as REGION_HEADS
from planner.report.regions import region_rows
from planner.report.step_times import HEADS as STEP_HEADS
from planner.report.step_times import step_rows

ROW_WORDS = {"gpu_time": "time", "sequences": "seqs", "kv": "KV"}
"""The load rows as the deployments table calls them: GPU time, running sequences, KV tokens."""

MOST_REJECTED = 6
MOST_LIMITS = 14
MOST_MOMENTS = 12
"""Rows of a table over time that are shown without -v: a year of months."""
EXPLAINED = "kvplan explain names every conflict, and the least changes that give a plan."
"""Stands below the reasons of a plan document, which are those of single lines."""

FAR_PPM = 500_000
"""Limits with more than half left are shown with -v only."""


def plan_text(plan: Plan, columns: int = 100, *, verbose: bool = False) -> str:
    """The whole page, without color, `columns` wide."""
    parts = [_headline(plan)]
    if plan.totals is None:
        parts += [_conflicts(plan, columns), _not_chosen(plan, columns, verbose) if verbose else ""]
    else:
        parts += [
            _deployments(plan, columns),
            _regions(plan, columns),
            _pools(plan, columns),
            *(_time_table(each, columns, verbose) for each in time_tables(plan)),
            indented("time", time_lines(plan), columns),
            _limits(plan, columns, verbose),
            _not_chosen(plan, columns, verbose),
            _costs(plan, columns),
        ]
    parts.append(indented("moves", moves_lines(plan), columns))
    parts.append(_as_is(plan, columns))
    parts.append(indented("presets", value_lines(plan), columns))
    parts.append(indented("to show", debt_lines(plan), columns))
    parts.append(indented("band", edge_lines(plan), columns))
    parts.append(indented("robust", robust_notes(plan), columns))
    parts.append(indented("assumed", [assumption_text(row) for row in plan.assumptions], columns))
    parts.append(indented("replay", certificate_lines(plan), columns))
    parts.append(_warnings(plan, columns))
    if verbose:
        parts += [_memory(plan, columns), _steps(plan, columns), _evidence(plan, columns)]
    parts.append(_footer(plan, columns))
    return "\n".join(part for part in parts if part)


def _as_is(plan: Plan, columns: int) -> str:
    """The fleet that runs, left as it is: a line, or all that it was held against where that is the plan."""
    standing, currency = plan.as_is, plan.scenario.currency
    if standing is None:
        return ""
    if not plan.scenario.as_is:
        return indented("do nothing", [as_is_line(standing, currency)], columns)
    table = table_of((JUDGED_HEADS[0], "left"), (JUDGED_HEADS[1], "left"), (JUDGED_HEADS[2], "left"), folds=("what",))
    for row in judged_rows(standing, currency):
        table.add_row(*(Text(cell) for cell in row))
    return render(table, columns) + "\n" + indented("as it is", [as_is_line(standing, currency)], columns)


def _headline(plan: Plan) -> str:
    status = {"optimal": "OPTIMAL, proved", "infeasible": "INFEASIBLE, proved"}.get(plan.status, plan.status.upper())
    status = f"AS IT IS: {status}" if plan.scenario.as_is else status
    if plan.totals is None:
        return f"{plan.scenario.name}   {status}\n"
    currency = plan.scenario.currency
    gap = "" if plan.status == "optimal" else _gap(plan)
    gap += ", HYPOTHETICAL" if plan.hypothetical else ""
    gap += {"certified": ", certified", "refuted": ", REFUTED"}.get(plan.certificate.status, "")
    months = plan.scenario.horizon_h / 730
    horizon = f"{float(months):g} mo" if months.denominator <= 12 else f"{float(plan.scenario.horizon_h):g} h"
    total = numbers.money(plan.totals.cost_over_horizon, currency)
    return (
        f"{plan.scenario.name}   {status}{gap}   {numbers.money(plan.totals.cost_per_month, currency)} / month"
        f"   {total} / {horizon}   {plan.totals.gpus} GPU{'' if plan.totals.gpus == 1 else 's'}\n"
    )


def _gap(plan: Plan) -> str:
    first = plan.objective[0]
    if first.bound is None:
        return " (no bound)"
    if first.bound == first.value:
        return f" ({first.name} proved; later objectives not)"
    return f" ({first.name} within {(plan.gap_ppm or 0) / 10_000:.2f}% of the best possible)"


def _deployments(plan: Plan, columns: int) -> str:
    table = table_of(
        ("deployment", "left"), ("pool", "left"), ("replicas", "right"), ("shape", "left"), ("context", "right"),
        ("batch", "right"), ("KV", "left"), ("busiest", "right"), ("TTFT p95", "right"), ("TPOT p95", "right"),
        folds=("pool", "KV"),
    )  # fmt: skip
    for name, deployment in plan.deployments.items():
        used = {row.name: row.used_ppm for row in deployment.loads}
        busiest = max(used, key=lambda name: used[name])
        cells = (
            name, "\n".join(deployment.pools), "\n".join(str(count) for count in deployment.pools.values()),
            f"{deployment.parallel} {deployment.weights}" if deployment.parallel else "1 GPU",
            numbers.tokens(deployment.context_limit_tokens) if deployment.context_limit_tokens else "-",
            str(deployment.max_batch or "-"), _wrapped(deployment.kv_preset or "-"),
            f"{numbers.percent(used[busiest])} {ROW_WORDS[busiest]}", *_latencies(deployment),
        )  # fmt: skip
        table.add_row(*(Text(cell) for cell in cells))
    return render(table, columns)


def assumption_text(row: Assumption) -> str:
    """One adjustment of the user's, with its source."""
    return f"{row.path}: {row.text} ({row.source})"


def _wrapped(name: str, most: int = 10) -> str:
    """A long preset name on several lines, broken behind hyphens."""
    lines = [""]
    for part in name.replace("-", "-\n").split("\n"):
        if lines[-1] and len(lines[-1]) + len(part) > most:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _latencies(deployment: Deployment) -> tuple[str, str]:
    """Tightest promise of each kind; a batch class shows when it is done instead."""
    by_metric: dict[str, Promise] = {}
    for promise in deployment.promises:
        known = by_metric.get(promise.metric)
        if known is None or _tightness(promise) > _tightness(known):
            by_metric[promise.metric] = promise
    shown = {metric: numbers.time_pair(p.predicted_us, p.limit_us) for metric, p in by_metric.items()}
    batch = f"in {shown['finish_within']}" if "finish_within" in shown else "-"
    return shown.get("ttft_p95", batch), shown.get("tpot_p95", "-")


def _tightness(promise: Promise) -> Fraction:
    return Fraction(promise.predicted_us, promise.limit_us)


def _regions(plan: Plan, columns: int) -> str:
    rows = region_rows(plan)
    table = table_of(*REGION_HEADS, folds=("class",))
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return render(table, columns) if rows else ""


def _pools(plan: Plan, columns: int) -> str:
    table = table_of(
        ("pool", "left"), ("GPU", "left"), ("nodes", "right"), ("busy + spare + idle GPUs", "right"),
        ("price/GPU/h", "right"), ("per month", "right"),
    )  # fmt: skip
    currency = plan.scenario.currency
    for name, pool in plan.pools.items():
        used = f"{pool.gpus_busy} + {pool.gpus_spare} + {pool.gpus_idle}" if pool.nodes else "-"
        table.add_row(
            Text(name), Text(f"{pool.gpu} in {pool.zone}" if pool.zone else pool.gpu), numbers.nodes(pool), used,
            numbers.money(pool.price_per_gpu_h, currency, places=max(2, len(pool.price_per_gpu_h.partition(".")[2]))),
            numbers.money(pool.cost_per_month, currency),
        )  # fmt: skip
    return render(table, columns)


def _limits(plan: Plan, columns: int, verbose: bool) -> str:
    rows = sorted(plan.limits, key=lambda row: (row.slack_ppm, row.path))
    near = [row for row in rows if row.used and (row.slack_ppm < FAR_PPM or row.unit == "%")] or [
        row for row in rows if row.used
    ][:3]
    cut = rows if verbose else near[:MOST_LIMITS]
    table = table_of(
        ("limit", "left"), ("used", "right"), ("of", "right"), ("free", "right"), ("", "left"), folds=("limit",)
    )  # fmt: skip
    for row in cut:
        table.add_row(
            Text(row.path), _quantity(row.used, row, plan), _quantity(row.limit, row, plan),
            numbers.percent(max(row.slack_ppm, 0)),
            Text(("* binding   " if row.binding else "            ") + _place(plan, row.path)),
        )  # fmt: skip
    return render(table, columns) if cut else ""


def _time_table(each: TimeTable, columns: int, verbose: bool) -> str:
    """A table over time, cut to its first rows without -v."""
    shown = each.rows if verbose else each.rows[:MOST_MOMENTS]
    table = table_of(*each.heads, folds=("nodes", "replicas", "replicas left", "shed"))
    for row in shown:
        table.add_row(*(Text(cell) for cell in row))
    more = len(each.rows) - len(shown)
    return render(table, columns) + (f" and {more} more (-v shows all)\n" if more else "")


def _place(plan: Plan, path: str) -> str:
    """File name and line of a scenario path."""
    return plan.run.places.get(path, "").rpartition("/")[2]


def _quantity(value: Fraction, row: LimitRow, plan: Plan) -> str:
    return numbers.quantity(value, row.unit, plan.scenario.currency)


def _not_chosen(plan: Plan, columns: int, verbose: bool) -> str:
    lines = [_rejection(r) for r in _spread(plan.rejected, len(plan.rejected) if verbose else MOST_REJECTED)]
    if len(plan.rejected) > len(lines):
        lines.append(f"and {len(plan.rejected) - len(lines)} more (-v shows all)")
    currency = plan.scenario.currency
    for name, pool in plan.pools.items():
        if not pool.nodes and plan.time is None:
            node = plan.scenario.inventory[name].price_micro_per_node_h * 730
            cost = numbers.money(str(node / 1_000_000), currency)
            lines.append(f"{name}: +{cost} / month for each node bought, none is")
    return indented("not chosen", lines, columns)


def _rejection(choice: RejectedChoice) -> str:
    nearest = f"; nearest: {choice.nearest}" if choice.nearest else ""
    times = f" ({choice.count} configurations)" if choice.count > 1 else ""
    return f"{choice.subject}: {choice.message}{nearest}{times}"


def _spread(rejected: Sequence[RejectedChoice], most: int) -> list[RejectedChoice]:
    """The commonest reason of each kind and model first, so that a short list shows every kind."""
    ranked = sorted(rejected, key=lambda r: (-r.count, r.subject, r.message))
    seen: set[tuple[str, str]] = set()
    first: list[RejectedChoice] = []
    rest: list[RejectedChoice] = []
    for choice in ranked:
        key = (choice.model, choice.bottleneck)
        (rest if key in seen else first).append(choice)
        seen.add(key)
    return (first + rest)[:most]


def _costs(plan: Plan, columns: int) -> str:
    currency = plan.scenario.currency
    parts = [
        f"{name} {numbers.money(cost.cost_per_million_tokens, currency)}"
        for name, cost in plan.models.items()
        if cost.cost_per_million_tokens is not None
    ]
    lines = [f"{', '.join(parts)} per million tokens at mean load"] if parts else []
    assert plan.totals is not None
    lines.append(
        f"{numbers.money(plan.totals.cost_per_h, currency)} / h; "
        f"{numbers.quantity(Fraction(plan.totals.power_w), 'W', currency)} TDP; taxes, network and storage not included"
    )
    return indented("cost", lines, columns)


def _conflicts(plan: Plan, columns: int) -> str:
    texts = []
    if (
        len(plan.conflicts) > 1
        and not plan.scenario.as_is
        and not any(conflict.path.startswith("traffic.") for conflict in plan.conflicts)
    ):
        texts.append(indented("", ["Any one of these changes, alone, gives a plan:"], columns))
    for number, conflict in enumerate(plan.conflicts, start=1):
        place = _place(plan, conflict.path)
        word = "nearest" if conflict.path.startswith("traffic.") else "enough"
        repair = [f"{word}: {conflict.repair}"] if conflict.repair else []
        lines = [f"{conflict.path}   {place}".rstrip(), conflict.message, *repair]
        texts.append(indented(f"reason {number}", lines, columns))
    if plan.conflicts and not plan.scenario.as_is:
        texts.append(indented("", [EXPLAINED], columns))
    return "\n".join(texts)


def _warnings(plan: Plan, columns: int) -> str:
    return indented("note", plan.warnings, columns)


def _memory(plan: Plan, columns: int) -> str:
    memory = {name: d.memory for name, d in plan.deployments.items() if d.memory is not None}
    if not memory:
        return ""
    adjusted = any(m.extra_bytes for m in memory.values())
    table = table_of(
        ("memory per GPU", "left"), ("total", "right"), ("weights", "right"), ("activations", "right"),
        ("non-torch", "right"), ("graphs", "right"), *((("adjusted", "right"),) if adjusted else ()),
        ("KV pool", "right"), ("tokens", "right"),
    )  # fmt: skip
    for name, m in memory.items():
        cells = [m.total_bytes, m.weights_bytes, m.activation_bytes, m.non_torch_bytes, m.cuda_graph_bytes]
        cells += [m.extra_bytes, m.available_kv_bytes] if adjusted else [m.available_kv_bytes]
        table.add_row(Text(name), *(numbers.gib(size) for size in cells), f"{m.pool_tokens:,}")
    return render(table, columns)


def _steps(plan: Plan, columns: int) -> str:
    """Step times without their band, which stands among the sources."""
    rows = step_rows(plan)
    table = table_of(*STEP_HEADS[:-1], folds=("fit error",))
    for row in rows:
        table.add_row(*(Text(cell) for cell in row[:-1]))
    return render(table, columns) if rows else ""


def _evidence(plan: Plan, columns: int) -> str:
    lines = [f"{e.kind} {e.id}: {e.text}{' (estimated)' if e.estimated else ''}" for e in plan.evidence]
    return indented("sources", lines, columns)


def _footer(plan: Plan, columns: int) -> str:
    seconds = sum(plan.run.seconds.values())
    counts = plan.candidates
    lines = [
        f"{counts.examined:,} configurations examined, {counts.offered:,} offered to the solver; {seconds:.1f} s; "
        f"kvplan {plan.run.kvplan}; {plan.hash[:19]}"
    ]
    if plan.status in ("feasible", "unknown"):
        proof = f"{plan.run.proof}; a longer --time-limit may prove more"
        lines.insert(0, proof + ("" if plan.run.reproducible else "; another run may give another plan"))
    return indented("run", lines, columns)
