"""The latency calculator's answer as a terminal page: a row for each batch, where the step's time goes, the band."""

from __future__ import annotations

from fractions import Fraction

from planner.calculator.latency import LatencyAnswer, LatencyRow
from planner.performance.provider import PARTS, LatencyBand, Part
from planner.report import numbers
from planner.report.columns import Align, labeled, paragraph, table

PART_NAMES: dict[Part, str] = {"all_reduce": "all-reduce"}
"""Words for parts of a step; the others are named as they are."""


def latency_text(answer: LatencyAnswer, columns: int = 100) -> str:
    """The whole page, as wide as `columns` allows."""
    parts = [_headline(answer, columns), _rows(answer, columns), _breakdown(answer, columns), _notes(answer, columns)]
    return "\n".join(part for part in parts if part)


def title(answer: LatencyAnswer) -> str:
    """What is timed, on what."""
    place = f"{answer.shape.gpus} x {answer.gpu.id}"
    kv = answer.preset or ("bf16" if answer.kv_dtype == "auto" else answer.kv_dtype)
    names = (answer.model.id, answer.engine.requested, place, str(answer.shape), answer.weights, f"KV {kv}")
    return "   ".join(names)


def question(answer: LatencyAnswer) -> str:
    """What the users ask for, in words."""
    users = answer.users
    words = f"prompts of {users.input_tokens:,} tokens, answers of {users.output_tokens:,}"
    if users.cached_tokens:
        words += f", {users.cached_tokens:,} of the prompt cached"
    speculation = users.speculation
    if speculation.drafted_tokens:
        words += f", {speculation.accepted_tokens:g} of {speculation.drafted_tokens + 1} tokens accepted a step"
    return words


def _headline(answer: LatencyAnswer, columns: int) -> str:
    loop = f"{question(answer)}; as many users as the batch, each asks again at once"
    return paragraph(title(answer), columns) + paragraph(loop, columns)


def _rows(answer: LatencyAnswer, columns: int) -> str:
    """One line a batch; what breaks a promise is marked."""
    heads: list[tuple[str, Align]] = [
        (name, "right")
        for name in ("batch", "running", "prefill ms", "step ms", "TPOT ms", "TTFT ms", "tokens/s", "a user")
    ]
    if any(row.uncalibrated for row in answer.rows):
        heads += [("(TPOT,", "right"), ("TTFT)", "right")]
    return table([*heads, ("", "left")], [_row(answer, row) for row in answer.rows], columns)


def _row(answer: LatencyAnswer, row: LatencyRow) -> list[str]:
    loop = row.loop
    return [
        f"{loop.users:,}",
        f"{loop.running:,}",
        ms(loop.prefill_s),
        ms(loop.decode_step_s),
        ms(row.tpot_s) + ("*" if is_above(row.tpot_s, answer.slo_tpot_us) else ""),
        ms(row.ttft_s) + ("*" if is_above(row.ttft_s, answer.slo_ttft_us) else ""),
        f"{row.output_tokens_per_s:,.0f}",
        f"{row.output_tokens_per_s / loop.users:,.1f}",
        *([f"({ms(row.uncalibrated.tpot_s)},", f"{ms(row.uncalibrated.ttft_s)})"] if row.uncalibrated else []),
        _remark(answer, row),
    ]


def _remark(answer: LatencyAnswer, row: LatencyRow) -> str:
    """Whether the figures were measured, and who waits for what."""
    words = ["measured"] if row.measured else []
    return ", ".join([*words, f"{row.waiting:,} wait: {held_back_by(answer)}"] if row.waiting else words)


def is_above(seconds: float, slo_us: int | None) -> bool:
    """Whether a time breaks its promise; without a promise it never does."""
    return slo_us is not None and seconds * 1e6 > slo_us


def held_back_by(answer: LatencyAnswer) -> str:
    """Which limit keeps requests waiting, as a flag or the pool."""
    limits = answer.limits
    pool, sequences = limits.pool_sequences, limits.max_num_seqs
    if pool is not None and pool < min(sequences or pool + 1, limits.max_num_batched_tokens):
        return f"the KV pool holds {pool:,}"
    if sequences is not None and sequences <= limits.max_num_batched_tokens:
        return f"--max-num-seqs {sequences:,}"
    return f"--max-num-batched-tokens {limits.max_num_batched_tokens:,}"


def ms(seconds: float) -> str:
    """Seconds as milliseconds, with three digits or more.

    >>> ms(0.006401), ms(0.0459), ms(1.2345)
    ('6.40', '45.9', '1,234')
    """
    value = seconds * 1000
    return f"{value:,.2f}" if value < 10 else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _breakdown(answer: LatencyAnswer, columns: int) -> str:
    """Parts of the decode step, which add up to it."""
    used = [part for part in PARTS if any(row.loop.breakdown_s.get(part) for row in answer.rows)]
    heads: list[tuple[str, Align]] = [("decode step, ms", "right")]
    heads += [(PART_NAMES.get(part, part), "right") for part in used]
    cells = [
        [f"batch {row.loop.running:,}", *(ms(row.loop.breakdown_s.get(part, 0.0)) for part in used)]
        for row in {row.loop.running: row for row in answer.rows}.values()
    ]
    return table(heads, cells, columns)


def band_words(band: LatencyBand) -> str:
    """The band in words: between which factors measured latencies lie."""
    tpot = f"TPOT x {float(band.tpot_p10):.2f} to {float(band.tpot_p90):.2f}"
    ttft = f"TTFT x {float(band.ttft_p10):.2f} to {float(band.ttft_p90):.2f}"
    return f"{tpot}, {ttft} in 8 of 10 cases ({band.source})"


def _notes(answer: LatencyAnswer, columns: int) -> str:
    """Promises, provider, band, warnings, estimates, defaults."""
    promises = []
    for name, slo_us in (("TPOT", answer.slo_tpot_us), ("TTFT", answer.slo_ttft_us)):
        if slo_us is not None:
            promises.append(f"{name} {numbers.duration(Fraction(slo_us, 1000))}: {_kept(answer, name, slo_us)}")
    misfit = [f"this replica cannot start: {answer.misfit}; the figures are of a pool without limit"]
    alone = ["what the provider predicts without the measured runs"]
    defaults = ["; ".join(f"{each.flag} {each.value} ({each.why})" for each in answer.defaults)]
    return "".join(
        (
            labeled("promise", promises, columns),
            labeled("provider", list(dict.fromkeys(row.provider for row in answer.rows)), columns),
            labeled("(...)", alone if any(row.uncalibrated for row in answer.rows) else [], columns),
            labeled("band", list(dict.fromkeys(band_words(row.band) for row in answer.rows)), columns),
            labeled("note", [*(misfit if answer.misfit else []), *answer.warnings], columns),
            labeled("estimated", answer.estimated, columns),
            labeled("defaults", defaults if answer.defaults else [], columns),
        )
    )


def _kept(answer: LatencyAnswer, name: str, slo_us: int) -> str:
    """The largest batch of the table that keeps a promise."""
    times = [(row.loop.users, row.tpot_s if name == "TPOT" else row.ttft_s) for row in answer.rows]
    kept = [users for users, seconds in times if not is_above(seconds, slo_us)]
    if len(kept) == len(times):
        return "kept by every batch asked"
    return f"kept up to batch {max(kept):,}; * breaks it" if kept else "broken by every batch asked (*)"
