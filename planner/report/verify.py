"""A look back as text, Markdown and JSON: what differs, by what factor, and why."""

from __future__ import annotations

import json
from dataclasses import asdict

from planner.report import columns
from planner.report.columns import Align
from planner.verify.types import Cause, Row, Unit, Verification

QUANTITIES = {
    "rate": "peak rate, req/s",
    "input_tokens": "prompt tokens",
    "output_tokens": "answer tokens",
    "prefix_hits": "prefix hits",
    "ttft_mean": "TTFT mean, ms",
    "ttft_p50": "TTFT p50, ms",
    "ttft_p95": "TTFT p95, ms",
    "tpot_mean": "TPOT mean, ms",
    "tpot_p95": "TPOT p95, ms",
    "decode_step": "decode step, ms",
    "replicas": "replicas",
    "running": "running",
    "waiting": "waiting",
    "kv_tokens": "KV tokens",
    "kv_use": "KV use",
    "kv_pool": "KV pool, tokens",
    "preemptions": "preempted/1000",
}

HEADINGS: tuple[tuple[str, Align], ...] = (
    ("of", "left"), ("", "left"), ("plan", "right"), ("replayed", "right"), ("actual", "right"), ("x", "right"),
    ("band", "right"), ("explained", "right"), ("", "left"),
)  # fmt: skip


def verification_text(found: Verification, width: int = 100) -> str:
    """Everything on one page of a terminal."""
    parts = [columns.paragraph(headline(found), width), "\n"]
    if found.causes:
        parts += [" likely causes\n", *(columns.labeled(_factor(one), [_words(one)], width, 7) for one in found.causes)]
        parts.append("\n")
    parts += [columns.table(HEADINGS, [_row(row) for row in found.rows], width), "\n"]
    parts.append(columns.labeled("notes", notes(found), width))
    return "".join(parts).rstrip("\n") + "\n"


def verification_markdown(found: Verification) -> str:
    """The same as Markdown."""
    marks = ["---:" if align == "right" else "---" for _, align in HEADINGS]
    lines = [[name for name, _ in HEADINGS], marks, *(_row(row) for row in found.rows)]
    parts = [f"## {headline(found)}\n"]
    if found.causes:
        causes = "".join(f"- {_factor(one)} **{one.text}** ({one.subject}): {one.evidence}\n" for one in found.causes)
        parts.append(f"### Likely causes\n\n{causes}")
    parts.append("### Figures\n\n" + "".join("| " + " | ".join(line) + " |\n" for line in lines))
    parts.append("".join(f"- {note}\n" for note in notes(found)))
    return "\n".join(parts)


def verification_json(found: Verification) -> str:
    """One document, keys sorted; `outside` says whether any figure is."""
    tree = asdict(found)
    tree["outside"] = found.is_outside
    for shown, row in zip(tree["rows"], found.rows, strict=True):
        shown |= {"predicted": row.predicted, "factor": row.factor, "outside": row.is_outside, "broken": row.is_broken}
    return json.dumps(tree, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def headline(found: Verification) -> str:
    """What came of it in one sentence."""
    off = sum(row.is_off for row in found.rows)
    broken = sum(row.is_broken for row in found.rows)
    where = f"{found.plan}: {found.requests:,} requests in {found.duration_s / 60:,.3g} min"
    if not found.is_outside:
        less = f"; {len(found.causes)} smaller differences have a cause" if found.causes else ""
        return f"{where}: all {len(found.rows)} figures within their bands{less}"
    parts = [f"{off} of {len(found.rows)} figures OUTSIDE their bands"] if off else []
    parts += [f"{broken} promise{'' if broken == 1 else 's'} BROKEN"] if broken else []
    return f"{where}: {', '.join(parts)}"


def notes(found: Verification) -> list[str]:
    """How to read it, and what was not compared."""
    how = [
        "replayed: the plan's own fleet with the requests of the log; rates, lengths and hits are held against the "
        "plan, everything else against the replay",
    ]
    if found.causes:
        explained = "brings" if found.is_explained else "does NOT bring"
        how.append(f"explained: the same replay with the causes put in; it {explained} all figures into their bands")
    return [*how, *found.notes]


def _factor(cause: Cause) -> str:
    return f"x {cause.factor:.2f}" if cause.factor is not None else "-"


def _words(cause: Cause) -> str:
    return f"{cause.text} ({cause.subject}): {cause.evidence}"


def _row(row: Row) -> tuple[str, ...]:
    values = [_value(value, row.unit) for value in (row.planned, row.replayed, row.actual)]
    limit = f" (limit {1e3 * row.limit:g})" if row.limit is not None else ""
    word = "BROKEN" if row.is_broken else "OFF" if row.is_off else "ok"
    return (
        row.subject,
        QUANTITIES[row.quantity],
        *values,
        f"{row.factor:.2f}" if row.factor is not None else "-",
        f"{row.low:.2f}-{row.high:.2f}" if row.low else f"to {row.high:.2f}",
        _value(row.corrected, row.unit),
        word + limit,
    )


def _value(value: float | None, unit: Unit) -> str:
    if value is None:
        return "-"
    if unit == "s":
        return f"{value * 1e3:,.0f}" if value >= 0.1 else f"{value * 1e3:.1f}"
    if unit == "share":
        return f"{value:.1%}"
    if unit == "tokens":
        return f"{value:,.0f}"
    return f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"
