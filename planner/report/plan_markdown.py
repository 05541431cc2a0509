"""A plan as a Markdown document: what the terminal page says, in tables that documents and wikis render."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Literal

from planner.plan.robustness import robust_notes
from planner.plan.types import Deployment, Plan, Promise
from planner.report import numbers
from planner.report.assumed import bound_text
from planner.report.band_edge import edge_lines
from planner.report.certificate import certificate_lines
from planner.report.diff_words import short_version
from planner.report.escape import code, escape
from planner.report.fleet import JUDGED_HEADS, MOVES_HEADS, as_is_line, judged_rows, moves_lines, moves_rows
from planner.report.over_time import time_lines, time_tables
from planner.report.regions import HEADS as REGION_HEADS
from planner.report.regions import region_rows
from planner.report.step_times import HEADS, step_rows
from planner.report.text import ROW_WORDS

MOST_CHARACTERS = 1_000
"""Of one cell or sentence: a document has no limit, but a hostile name must not fill it."""

NONE = "-"

Align = Literal["left", "right"]
Heads = Sequence[tuple[str, Align]]


def plan_markdown(plan: Plan) -> str:
    """The document: status and money, deployments, pools, limits, costs, what was refused, sources."""
    parts = [_headline(plan)]
    if plan.totals is None:
        parts.append(_conflicts(plan))
    else:
        parts += [
            _deployments(plan),
            _promises(plan),
            _regions(plan),
            _steps(plan),
            _pools(plan),
            _limits(plan),
            _models(plan),
        ]
        parts += [table(t.title, t.heads, ([_text(cell) for cell in row] for row in t.rows)) for t in time_tables(plan)]
        parts.append("".join(f"- {_text(line)}\n" for line in time_lines(plan)))
    parts += [
        _moves(plan),
        _as_is(plan),
        _certificate(plan),
        _edge(plan),
        _robust(plan),
        _assumed(plan),
        _bounds(plan),
        _rejected(plan),
        _notes(plan),
        _sources(plan),
        _footer(plan),
    ]
    return "\n".join(part for part in parts if part)


def _text(text: str) -> str:
    return escape(text, MOST_CHARACTERS)


def table(title: str, heads: Heads, rows: Iterable[Sequence[str]]) -> str:
    """A section with a table; nothing without rows. Cells are Markdown already."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return ""
    names = " | ".join(name for name, _ in heads)
    rule = " | ".join("---:" if align == "right" else "---" for _, align in heads)
    return "\n".join([f"## {title}\n", f"| {names} |", f"| {rule} |", *lines]) + "\n"


def _headline(plan: Plan) -> str:
    proved = ", proved" if plan.status in ("optimal", "infeasible") else ", not proved"
    title = f"# {_text(plan.scenario.name)}: {plan.status}{proved}\n"
    if plan.totals is None:
        return title
    currency, totals = plan.scenario.currency, plan.totals
    gpus = f"{totals.gpus:,} GPU{'' if totals.gpus == 1 else 's'}"
    split = f"{totals.gpus_busy:,} busy + {totals.gpus_spare:,} spare + {totals.gpus_idle:,} idle"
    horizon = f"{numbers.money(totals.cost_over_horizon, currency)} / {numbers.horizon(plan.scenario.horizon_h)}"
    return (
        f"{title}\n**{_text(numbers.money(totals.cost_per_month, currency))} / month**, {_text(horizon)}, "
        f"{gpus} ({split}), {numbers.quantity(Fraction(totals.power_w), 'W', currency)} TDP. "
        "Taxes, network and storage are not included; a month is 730 hours.\n"
    )


def _deployments(plan: Plan) -> str:
    heads: Heads = [
        ("deployment", "left"), ("model", "left"), ("pools", "left"), ("replicas", "right"), ("GPUs", "right"),
        ("GPU", "left"), ("shape", "left"), ("context", "right"), ("batch", "right"), ("chunk", "right"),
        ("KV", "left"), ("busiest", "right"),
    ]  # fmt: skip
    return table("Deployments", heads, (_deployment(name, each) for name, each in plan.deployments.items()))


def _deployment(name: str, each: Deployment) -> Sequence[str]:
    busiest = max(each.loads, key=lambda row: row.used_ppm, default=None)
    return (
        code(name), _text(each.model), "<br>".join(f"{_text(pool)} {count:,}" for pool, count in each.pools.items()),
        f"{each.replicas:,}", f"{each.gpus:,}", _text(each.gpu),
        _text(f"{each.parallel} {each.weights}") if each.parallel else "1 GPU",
        numbers.tokens(each.context_limit_tokens) if each.context_limit_tokens else NONE,
        str(each.max_batch or NONE), _chunk(each), _text(each.kv_preset or NONE),
        _text(f"{numbers.percent(busiest.used_ppm)} {ROW_WORDS[busiest.name]}") if busiest else NONE,
    )  # fmt: skip


def _chunk(each: Deployment) -> str:
    return numbers.tokens(each.max_num_batched_tokens) if each.max_num_batched_tokens else NONE


def _steps(plan: Plan) -> str:
    return table("Step times", HEADS, ((code(row[0]), *map(_text, row[1:])) for row in step_rows(plan)))


def _regions(plan: Plan) -> str:
    rows = ((code(row[0]), *map(_text, row[1:])) for row in region_rows(plan))
    return table("Regions", REGION_HEADS, rows)


def _moves(plan: Plan) -> str:
    heads: Heads = list(zip(MOVES_HEADS, ("left", "right", "right", "left"), strict=True))
    lines = "".join(f"\n- {_text(line)}\n" for line in moves_lines(plan))
    shown = table("What moves", heads, (tuple(map(_text, row)) for row in moves_rows(plan)))
    return f"{shown}{lines}" if shown else f"## What moves\n{lines}" if lines else ""


def _as_is(plan: Plan) -> str:
    standing, currency = plan.as_is, plan.scenario.currency
    if standing is None:
        return ""
    heads: Heads = [(head, "left") for head in JUDGED_HEADS]
    rows = ((code(path), _text(state), _text(what)) for path, state, what in judged_rows(standing, currency))
    return f"{table('Doing nothing', heads, rows)}\n- {_text(as_is_line(standing, currency))}\n"


def _edge(plan: Plan) -> str:
    lines = [f"- {_text(line)}" for line in edge_lines(plan)]
    return "\n".join(["## At the other edge of the band\n", *lines]) + "\n" if lines else ""


def _robust(plan: Plan) -> str:
    lines = [f"- {_text(line)}" for line in robust_notes(plan)]
    return "\n".join(["## What the band costs\n", *lines]) + "\n" if lines else ""


def _promises(plan: Plan) -> str:
    heads: Heads = [
        ("deployment", "left"), ("class", "left"), ("promise", "left"), ("predicted/limit", "right"),
        ("evidence", "left"),
    ]  # fmt: skip
    rows = [(name, each) for name, deployment in plan.deployments.items() for each in deployment.promises]
    return table("Promises", heads, (_promise(name, each) for name, each in rows))


def _promise(name: str, each: Promise) -> Sequence[str]:
    pair = numbers.time_pair(each.predicted_us, each.limit_us)
    return (
        code(name),
        _text(each.class_name),
        each.metric.replace("_", " "),
        pair,
        _text(f"{each.provider}, {each.band}"),
    )


def _certificate(plan: Plan) -> str:
    lines = [f"- {_text(line)}" for line in certificate_lines(plan)]
    return "\n".join(["## Replay\n", *lines]) + "\n" if lines else ""


def _pools(plan: Plan) -> str:
    heads: Heads = [
        ("pool", "left"), ("GPU", "left"), ("region", "left"), ("nodes", "right"),
        ("busy + spare + idle GPUs", "right"), ("price/GPU/h", "right"), ("committed", "right"), ("per month", "right"),
    ]  # fmt: skip
    currency = plan.scenario.currency
    rows = [
        (
            code(name), _text(pool.gpu), _text(pool.place), numbers.nodes(pool),
            f"{pool.gpus_busy} + {pool.gpus_spare} + {pool.gpus_idle}" if pool.nodes else NONE,
            _text(numbers.price(pool.price_per_gpu_h, currency)),
            _text(numbers.money(pool.committed_per_month, currency)),
            _text(numbers.money(pool.cost_per_month, currency)),
        )
        for name, pool in plan.pools.items()
    ]  # fmt: skip
    return table("Pools", heads, rows)


def _limits(plan: Plan) -> str:
    heads: Heads = [
        ("limit", "left"),
        ("used", "right"),
        ("of", "right"),
        ("free", "right"),
        ("", "left"),
        ("line", "left"),
    ]
    currency = plan.scenario.currency
    rows = [
        (
            code(row.path), _text(numbers.quantity(row.used, row.unit, currency)),
            _text(numbers.quantity(row.limit, row.unit, currency)), _text(numbers.percent(max(row.slack_ppm, 0))),
            "binding" if row.binding else "", _text(plan.run.places.get(row.path, "").rpartition("/")[2]),
        )
        for row in sorted(plan.limits, key=lambda row: (row.slack_ppm, row.path))
    ]  # fmt: skip
    return table("Limits", heads, rows)


def _models(plan: Plan) -> str:
    heads: Heads = [
        ("model", "left"),
        ("per month", "right"),
        ("tokens a month", "right"),
        ("per million tokens", "right"),
    ]
    currency = plan.scenario.currency
    rows = [
        (
            code(name), _text(numbers.money(cost.cost_per_month, currency)),
            f"{round(Fraction(cost.tokens_per_month)):,}",
            _text(numbers.money(cost.cost_per_million_tokens, currency)) if cost.cost_per_million_tokens else NONE,
        )
        for name, cost in plan.models.items()
    ]  # fmt: skip
    return table("Cost by model", heads, rows)


def _conflicts(plan: Plan) -> str:
    heads: Heads = [("in the way", "left"), ("line", "left"), ("why", "left"), ("enough", "left")]
    rows = [
        (
            code(each.path), _text(plan.run.places.get(each.path, "").rpartition("/")[2]), _text(each.message),
            _text(each.repair or NONE),
        )
        for each in plan.conflicts
    ]  # fmt: skip
    return table("Why there is no plan", heads, rows)


def _rejected(plan: Plan) -> str:
    heads: Heads = [
        ("not chosen", "left"),
        ("why", "left"),
        ("nearest that would do", "left"),
        ("configurations", "right"),
    ]
    rows = [
        (code(each.subject), _text(each.message), _text(each.nearest or NONE), f"{each.count:,}")
        for each in sorted(plan.rejected, key=lambda each: (-each.count, each.subject, each.message))
    ]
    return table("Not chosen", heads, rows)


def _assumed(plan: Plan) -> str:
    heads: Heads = [("assumed", "left"), ("line", "left"), ("what it does", "left"), ("source", "left")]
    rows = [
        (
            code(each.path), _text(plan.run.places.get(each.path, "").rpartition("/")[2]), _text(each.text),
            _text(each.source),
        )
        for each in plan.assumptions
    ]  # fmt: skip
    return table("Assumed", heads, rows)


def _bounds(plan: Plan) -> str:
    heads: Heads = [
        ("not understood", "left"), ("at the least KV, per month", "right"), ("at the most KV, per month", "right"),
        ("what that means", "left"),
    ]  # fmt: skip
    rows = []
    for name, each in plan.bounds.items():
        low, high = (
            _text(numbers.money(cost, plan.scenario.currency)) if cost is not None else "no plan"
            for cost in (each.low_cost_per_month, each.high_cost_per_month)
        )
        rows.append((code(name), low, high, bound_text(each)))
    return table("Architectures that are not understood", heads, rows)


def _notes(plan: Plan) -> str:
    lines = [f"- {_text(note)}" for note in plan.warnings]
    return "\n".join(["## Notes\n", *lines]) + "\n" if lines else ""


def _sources(plan: Plan) -> str:
    heads: Heads = [("kind", "left"), ("what", "left"), ("source", "left"), ("", "left")]
    rows = [
        (each.kind.replace("_", " "), code(each.id), _text(each.text), "estimated" if each.estimated else "")
        for each in plan.evidence
    ]
    return table("Sources", heads, rows)


def _footer(plan: Plan) -> str:
    parts = [plan.run.proof, f"catalog {short_version(plan.run.catalog)}", f"kvplan {plan.run.kvplan}", plan.hash[:19]]
    return f"<sub>{' · '.join(_text(part) for part in parts)}</sub>\n"
