"""The arithmetic of the calculator line by line: layers, budget, pool, each with real numbers and its source."""

from __future__ import annotations

from planner.calculator.types import Budget, KvAnswer, Pool, Step
from planner.report import numbers
from planner.report.columns import Align, labeled, table
from planner.report.kv import headline, kv_name, notes, pool_table


def explain_text(answer: KvAnswer, columns: int = 100) -> str:
    """The whole page."""
    parts = [
        headline(answer, columns),
        _layers(answer, columns),
        _rows(answer, columns),
        _budget(answer, columns),
        _pool(answer, columns),
        _sources(answer, columns),
        notes(answer, columns),
    ]
    return "\n".join(part for part in parts if part)


def _steps(title: str, steps: tuple[Step, ...] | list[Step], columns: int) -> str:
    heads: list[tuple[str, Align]] = [(title, "left"), ("result", "right"), ("how", "left")]
    return table(heads, [(step.label, step.value, step.formula) for step in steps], columns) if steps else ""


def _layers(answer: KvAnswer, columns: int) -> str:
    """What the layers keep of a token, and their sum."""
    figures = answer.figures
    ranks = f", shared by {answer.shape.dcp} ranks" if answer.shape.dcp > 1 else ""
    total = Step("a token on one GPU", f"sum of the layers, {kv_name(answer)}{ranks}", f"{figures.bytes_per_token:,} B")
    return _steps("layers of one GPU", [*figures.layer_steps, total], columns)


def _rows(answer: KvAnswer, columns: int) -> str:
    """How each row of the table came about."""
    rows = answer.figures.rows
    steps = []
    for row in rows:
        length = numbers.tokens(row.context_tokens)
        plain = row.context_tokens * answer.figures.bytes_per_token
        saved = plain - row.logical_bytes // row.batch
        one = f"{row.context_tokens:,} x {answer.figures.bytes_per_token:,} B"
        if saved > 0:
            one += f" less {saved:,} B that windows drop"
        elif saved < 0:
            one += f" plus {-saved:,} B of state"
        many = f"{row.batch:,} x ({one})" if row.batch > 1 else one
        steps.append(Step(f"{length}, batch {row.batch:,}: logical", many, f"{row.logical_bytes:,} B"))
        blocks = " + ".join(f"{count:,} blocks x {size:,} B" for count, size in row.blocks)
        rule = f"{row.batch:,} x ({blocks})" if row.batch > 1 else blocks
        steps.append(Step(f"{length}, batch {row.batch:,}: reserved", rule, f"{row.reserved_bytes:,} B"))
    return _steps("rows", steps, columns)


def _budget(answer: KvAnswer, columns: int) -> str:
    budget = answer.figures.budget
    if not isinstance(budget, Budget):
        return ""
    steps = [Step(each.label, each.rule, f"{each.size_bytes:,} B") for each in budget.steps]
    if budget.margin_bytes:
        rule = "kept free by plans alone, since nothing was measured here"
        steps.append(Step("margin", rule, f"{budget.margin_bytes:,} B"))
    return _steps("memory of one GPU", steps, columns)


def _pool(answer: KvAnswer, columns: int) -> str:
    pool = answer.figures.pool
    if not isinstance(pool, Pool):
        return pool_table(answer, columns)
    concurrency = Step(
        "concurrency",
        f"{pool.max_concurrency} at {answer.max_model_len:,} tokens",
        f"{float(pool.max_concurrency):.2f}",
    )
    budget = answer.figures.budget
    margin = ", margin left free" if isinstance(budget, Budget) and budget.margin_bytes else ""
    usable = Step("usable tokens", f"whole blocks, no help from windows{margin}", f"{pool.usable_tokens:,}")
    return _steps("KV pool", [*pool.steps, concurrency, usable], columns)


def _sources(answer: KvAnswer, columns: int) -> str:
    """Where the facts and the rules come from."""
    lines = [f"model: {answer.model.source}", f"engine: {answer.engine.source}"]
    if answer.gpu is not None:
        lines.append(f"GPU: {answer.gpu.source}")
    budget = answer.figures.budget
    if isinstance(budget, Budget):
        known = {answer.engine.source, answer.gpu.source if answer.gpu else ""}
        lines += [f"{each.label}: {each.source}" for each in budget.steps if each.source not in known]
    return labeled("sources", lines, columns)
