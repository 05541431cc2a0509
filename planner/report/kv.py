"""The calculator's answer as a terminal page: the table, the sum component by component, what was assumed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from planner.calculator.types import Budget, Figures, KvAnswer, Pool, Row
from planner.catalog.types import Refusal
from planner.report import numbers
from planner.report.columns import Align, labeled, paragraph, table

MOST_PERCENT = 1_000
"""Shares of the pool beyond this are only said to be beyond it."""

NO_MEMORY = (
    "not asked: --gpu ID counts what a GPU has left for KV, --available-kv 61.66GiB takes the figure of a log",
)


def kv_text(answer: KvAnswer, columns: int = 100) -> str:
    """The whole page, as wide as `columns` allows."""
    parts = [
        headline(answer, columns),
        rows_table(answer, columns),
        budget_table(answer.figures, columns),
        pool_table(answer, columns),
        notes(answer, columns),
    ]
    return "\n".join(part for part in parts if part)


def headline(answer: KvAnswer, columns: int) -> str:
    """What is counted, on what, and the bytes of one token."""
    gpus = answer.shape.gpus
    place = f"{gpus} x {answer.gpu.id}" if answer.gpu else f"{gpus} GPU{'s' if gpus > 1 else ''}"
    rules = f" (rules of {answer.engine.version})" if answer.engine.is_inferred else ""
    title = (answer.model.id, f"{answer.engine.requested}{rules}", place, str(answer.shape), f"KV {kv_name(answer)}")
    lines = ["   ".join(title), *_token_lines(answer)]
    return "".join(paragraph(line, columns) for line in lines)


def kv_name(answer: KvAnswer) -> str:
    """The preset, or the engine's flag; `auto` is 16 bits."""
    return answer.preset or ("bf16" if answer.kv_dtype == "auto" else answer.kv_dtype)


def _token_lines(answer: KvAnswer) -> list[str]:
    """Bytes a token on one GPU, over the replica where that differs, and the state of recurrent layers."""
    figures = answer.figures
    kib = "" if answer.low else f" = {figures.bytes_per_token / 1024:,.2f} KiB"
    lines = [f"{span(answer, lambda each: each.bytes_per_token)} B{kib} of KV a token on one GPU"]
    if answer.shape.gpus > 1:
        whole = span(answer, lambda each: each.distinct_bytes_per_token)
        copies = figures.held_bytes_per_token != figures.distinct_bytes_per_token
        held = span(answer, lambda each: each.held_bytes_per_token)
        tail = f"; its ranks hold {held} B of a token, copies included" if copies else ""
        lines.append(f"{whole} B a token over the replica, each byte once{tail}")
    state = (figures.pool if isinstance(figures.pool, Pool) else figures.layout).state_bytes_per_sequence
    if state:
        lines.append(f"{size(state)} of state that the pool charges a sequence, however long it is")
    return lines


def span(answer: KvAnswer, pick: Callable[[Figures], int]) -> str:
    """A figure, or `low .. high` where the architecture is bounded only."""
    high = f"{pick(answer.figures):,}"
    return high if answer.low is None else f"{pick(answer.low):,} .. {high}"


def rows_table(answer: KvAnswer, columns: int) -> str:
    """Context x batch: logical, reserved, and how many such sequences fit."""
    figures = answer.figures
    has_pool = isinstance(figures.pool, Pool)
    heads: list[tuple[str, Align]] = [
        ("context", "right"),
        ("batch", "right"),
        ("logical", "right"),
        ("reserved", "right"),
    ]
    if has_pool:
        heads += [("of the pool", "right"), ("sequences that fit", "right")]
    lows: Sequence[Row | None] = answer.low.rows if answer.low else [None] * len(figures.rows)
    cells = [_row(row, low, figures) for row, low in zip(figures.rows, lows, strict=True)]
    return table(heads, cells, columns)


def _row(row: Row, low: Row | None, figures: Figures) -> list[str]:
    cells = [
        numbers.tokens(row.context_tokens),
        f"{row.batch:,}",
        _bounded_gib(row.logical_bytes, low.logical_bytes if low else None),
        _bounded_gib(row.reserved_bytes, low.reserved_bytes if low else None),
    ]
    if isinstance(figures.pool, Pool):
        share = 100 * row.reserved_bytes / figures.pool.available_bytes
        part = f"{share:,.1f}%" if share < MOST_PERCENT else f"> {MOST_PERCENT:,}%"
        fit = f"{row.fitting_sequences:,}"
        if low is not None and low.fitting_sequences != row.fitting_sequences:
            fit = f"{fit} .. {low.fitting_sequences:,}"
        cells += [part, fit]
    return cells


def _bounded_gib(size_bytes: int, low_bytes: int | None) -> str:
    high = size(size_bytes)
    return high if low_bytes in (None, size_bytes) else f"{size(low_bytes or 0)} .. {high}"


def size(size_bytes: int) -> str:
    """GiB with two decimals; small sizes in MiB or KiB, so that no figure reads as nothing.

    >>> size(3 * 2**29), size(3 * 2**20), size(512)
    ('1.50 GiB', '3.00 MiB', '0.50 KiB')
    """
    for unit, bits in (("GiB", 30), ("MiB", 20)):
        if size_bytes * 10 >= 2**bits:
            return f"{size_bytes / 2**bits:,.2f} {unit}"
    return f"{size_bytes / 2**10:,.2f} KiB"


def budget_table(figures: Figures, columns: int) -> str:
    """The sum of one GPU's memory: exact in bytes, rounded in GiB."""
    budget = figures.budget
    if not isinstance(budget, Budget):
        return ""
    doubts = _marks(budget)
    rows = [["GPU memory", numbers.gib(budget.total_bytes), f"{budget.total_bytes:,}", ""]]
    outside = budget.total_bytes - budget.budget_bytes
    rows.append(["- outside the budget", numbers.gib(outside), f"{outside:,}", ""])
    rows.append(
        ["= budget", numbers.gib(budget.budget_bytes), f"{budget.budget_bytes:,}", _rule(budget, "budget_bytes")]
    )
    for part in budget.components:
        mark = " *" if part.name in doubts else ""
        rows.append([f"- {part.label}{mark}", numbers.gib(part.size_bytes), f"{part.size_bytes:,}", part.rule])
    rows.append(["= available for KV", numbers.gib(budget.available_bytes), f"{budget.available_bytes:,}", ""])
    if budget.margin_bytes:
        rule = "plans keep it free, since nothing was measured here; the engine does not"
        rows.append(["  margin in it", numbers.gib(budget.margin_bytes), f"{budget.margin_bytes:,}", rule])
    heads: list[tuple[str, Align]] = [
        ("memory of one GPU", "left"),
        ("GiB", "right"),
        ("bytes", "right"),
        ("rule", "left"),
    ]
    return table(heads, [[row[0], row[1].removesuffix(" GiB"), row[2], row[3]] for row in rows], columns)


def _marks(budget: Budget) -> set[str]:
    """Components of which an estimate speaks."""
    words = {"GPU memory": "total_bytes", "overheads": "non_torch_bytes", "non-torch": "non_torch_bytes"}
    words |= {"CUDA graphs": "cuda_graph_bytes", "activation": "activation_bytes", "peak": "activation_bytes"}
    words |= {"weights": "weights_bytes"}
    return {name for line in budget.estimated for word, name in words.items() if line.startswith(word)}


def _rule(budget: Budget, name: str) -> str:
    return next((step.rule for step in budget.steps if step.name == name), "")


def pool_table(answer: KvAnswer, columns: int) -> str:
    """From bytes to blocks to tokens to sequences."""
    figures, pool = answer.figures, answer.figures.pool
    if isinstance(figures.budget, Refusal):
        return labeled("KV pool", [_refusal(figures.budget)], columns)
    if isinstance(pool, Refusal):
        return labeled("KV pool", [_refusal(pool)], columns)
    if pool is None:
        return labeled("KV pool", NO_MEMORY, columns)
    groups = f", {pool.groups} groups of layers share them" if pool.groups > 1 else ""
    best = answer.low.pool if answer.low is not None else None
    best = best if isinstance(best, Pool) else pool
    printed = _between(f"{pool.printed_tokens:,}", f"{best.printed_tokens:,}")
    times = _between(f"{float(pool.max_concurrency):.2f}", f"{float(best.max_concurrency):.2f}")
    usable = _between(f"{pool.usable_tokens:,}", f"{best.usable_tokens:,}")
    lines = [
        f"{pool.blocks:,} blocks of {_tokens_of(pool.block_tokens)}, {pool.block_bytes:,} B each{groups}",
        f"{printed} tokens: what {answer.engine.requested} prints as its KV cache size",
        f"{times} times a sequence of {numbers.tokens(answer.max_model_len)}"
        + (", its maximum concurrency" if answer.engine.name == "vllm" else ""),
        f"{usable} tokens usable by plans: whole blocks, no help from windows"
        + (", margin left free" if _has_margin(figures) else ""),
        _longest(pool) + (", margin left free" if _has_margin(figures) else ""),
    ]
    if answer.shape.dp > 1:
        lines.append(f"each of the {answer.shape.dp} data-parallel ranks has such a pool of its own")
    if answer.shape.pp > 1:
        lines.append(f"stage {pool.stage + 1} of {answer.shape.pp} limits the others")
    return labeled("KV pool", lines, columns)


def _tokens_of(count: int) -> str:
    return "1 token" if count == 1 else f"{count:,} tokens"


def _between(worst: str, best: str) -> str:
    return worst if worst == best else f"{worst} .. {best}"


def _has_margin(figures: Figures) -> bool:
    return isinstance(figures.budget, Budget) and figures.budget.margin_bytes > 0


def _longest(pool: Pool) -> str:
    if pool.longest_tokens >= pool.longest_asked_tokens:
        return f"one sequence of {numbers.tokens(pool.longest_asked_tokens)} fits"
    return f"longest context of one sequence: {pool.longest_tokens:,} tokens"


def _refusal(refusal: Refusal) -> str:
    return f"none: {refusal.message}" + (f"; nearest: {refusal.nearest}" if refusal.nearest else "")


def notes(answer: KvAnswer, columns: int) -> str:
    """Warnings, estimates, and every default that was taken."""
    figures, pool = answer.figures, answer.figures.pool
    warnings = list(answer.warnings)
    if isinstance(pool, Pool) and not pool.longest_starts:
        length = numbers.tokens(answer.max_model_len)
        would = f"; {pool.longest_tokens:,} would" if pool.longest_tokens else ""
        words = f"one sequence of --max-model-len {length} does not fit: the engine refuses to start{would}"
        warnings.insert(0, words)
    if isinstance(figures.budget, Budget) and figures.budget.planned_refusal:
        warnings.append(f"a plan refuses it: {figures.budget.planned_refusal}")
    if answer.model.note:
        warnings.append(f"{answer.model.id}: {answer.model.note}")
    defaults = ["; ".join(f"{each.flag} {each.value} ({each.why})" for each in answer.defaults)]
    return "".join(
        (
            labeled("note", warnings, columns),
            labeled("estimated", [f"* {line}" for line in figures.estimated], columns),
            labeled("defaults", defaults if answer.defaults else [], columns),
        )
    )
