"""The latency calculator's rows as JSON, CSV and Markdown. Every row stands alone: it says what it is a row of."""

from __future__ import annotations

import csv
import io

from planner.calculator.latency import LatencyAnswer, LatencyRow
from planner.performance.provider import PARTS, LatencyBand
from planner.report.escape import escape
from planner.report.kv_json import Tree, dumped
from planner.report.latency import band_words, held_back_by, is_above, ms, question, title

DIGITS = 9
"""Decimals of a millisecond in JSON: parts of a step still add up to it."""


def latency_json(answer: LatencyAnswer) -> str:
    """A list of rows, one a batch; times in milliseconds."""
    return dumped(list(latency_rows(answer)))


def latency_rows(answer: LatencyAnswer) -> list[dict[str, Tree]]:
    """The rows as plain values."""
    return [_row(answer, row) for row in answer.rows]


def _row(answer: LatencyAnswer, row: LatencyRow) -> dict[str, Tree]:
    loop, users = row.loop, answer.users
    return {
        "model": answer.model.id,
        "gpu": answer.gpu.id,
        "engine": answer.engine.requested,
        "parallel": str(answer.shape),
        "gpus": answer.shape.gpus,
        "weights": answer.weights,
        "kv_dtype": answer.kv_dtype,
        "input_tokens": users.input_tokens,
        "output_tokens": users.output_tokens,
        "cached_tokens": users.cached_tokens,
        "accepted_tokens": users.speculation.accepted_tokens,
        "max_num_batched_tokens": answer.limits.max_num_batched_tokens,
        "batch": loop.users,
        "running": loop.running,
        "waiting": row.waiting,
        "held_back_by": held_back_by(answer) if row.waiting else None,
        "prefill_ms": _ms(loop.prefill_s),
        "decode_step_ms": _ms(loop.decode_step_s),
        "tpot_ms": _ms(row.tpot_s),
        "ttft_ms": _ms(row.ttft_s),
        "requests_per_s": round(row.output_tokens_per_s / users.output_tokens, DIGITS),
        "output_tokens_per_s": round(row.output_tokens_per_s, DIGITS),
        "provider": row.provider,
        "band": _band(row.band),
        "breakdown": {part: _ms(loop.breakdown_s[part]) for part in PARTS if part in loop.breakdown_s},
        "calibrated": row.uncalibrated is not None and not row.measured,
        "tpot_uncalibrated_ms": None if row.uncalibrated is None else _ms(row.uncalibrated.tpot_s),
        "ttft_uncalibrated_ms": None if row.uncalibrated is None else _ms(row.uncalibrated.ttft_s),
        "measured": [{"source": run.source, "place": run.place} for run in row.measured],
        "keeps_slo": _keeps(answer, row),
        "misfit": answer.misfit or None,
        "estimated": list(answer.estimated),
        "defaults": [{"flag": each.flag, "value": each.value, "why": each.why} for each in answer.defaults],
        "warnings": list(answer.warnings),
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, DIGITS)


def _band(band: LatencyBand) -> dict[str, Tree]:
    return {
        "tpot_p10": float(band.tpot_p10),
        "tpot_p50": float(band.tpot_p50),
        "tpot_p90": float(band.tpot_p90),
        "ttft_p10": float(band.ttft_p10),
        "ttft_p50": float(band.ttft_p50),
        "ttft_p90": float(band.ttft_p90),
        "n": band.n,
        "judgement": band.judgement,
        "source": band.source,
    }


def _keeps(answer: LatencyAnswer, row: LatencyRow) -> bool | None:
    """Whether every promise that was named is kept; None where none was."""
    if answer.slo_tpot_us is None and answer.slo_ttft_us is None:
        return None
    return not (is_above(row.tpot_s, answer.slo_tpot_us) or is_above(row.ttft_s, answer.slo_ttft_us))


CSV_COLUMNS = (
    "model", "gpu", "engine", "parallel", "weights", "kv_dtype", "input_tokens", "output_tokens", "batch", "running",
    "prefill_ms", "decode_step_ms", "tpot_ms", "ttft_ms", "output_tokens_per_s", "provider",
)  # fmt: skip


def latency_csv(answer: LatencyAnswer) -> str:
    """One line a batch under named columns; the parts of the step and the band have columns of their own."""
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    bands = ("tpot_p10", "tpot_p90", "ttft_p10", "ttft_p90")
    lines.writerow([*CSV_COLUMNS, *(f"{part}_ms" for part in PARTS), *(f"band_{name}" for name in bands)])
    for row, tree in zip(answer.rows, latency_rows(answer), strict=True):
        band, parts = _band(row.band), row.loop.breakdown_s
        cells = [tree[column] for column in CSV_COLUMNS] + [_ms(parts.get(part, 0.0)) for part in PARTS]
        lines.writerow([*cells, *(band[name] for name in bands)])
    return out.getvalue()


def latency_markdown(answer: LatencyAnswer) -> str:
    """A table for a review."""
    lines = [
        f"### {escape(title(answer))}",
        "",
        f"{question(answer)}.",
        "",
        "| batch | running | prefill ms | step ms | TPOT ms | TTFT ms | tokens/s |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in answer.rows:
        tpot, ttft = ms(row.tpot_s), ms(row.ttft_s)
        cells = [f"{row.loop.users:,}", f"{row.loop.running:,}", ms(row.loop.prefill_s), ms(row.loop.decode_step_s)]
        cells.append(f"**{tpot}**" if is_above(row.tpot_s, answer.slo_tpot_us) else tpot)
        cells.append(f"**{ttft}**" if is_above(row.ttft_s, answer.slo_ttft_us) else ttft)
        lines.append(f"| {' | '.join([*cells, f'{row.output_tokens_per_s:,.0f}'])} |")
    sources = dict.fromkeys(row.provider for row in answer.rows)
    bands = dict.fromkeys(band_words(row.band) for row in answer.rows)
    lines += ["", f"<sub>{escape('; '.join([*sources, *bands]))}</sub>"]
    return "\n".join(lines) + "\n"
