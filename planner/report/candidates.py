"""The candidate table for eyes and tools: what the solver may choose from, and why the rest is not in it."""

from __future__ import annotations

import json
from collections.abc import Iterable

from planner.candidates import Candidate, CandidateTable, MemoryRow
from planner.plan.assumptions import assumptions
from planner.plan.evidence import inferred_rules
from planner.report import numbers
from planner.report.layout import heading, indented, render, table_of
from planner.report.text import assumption_text
from planner.scenario.types import Scenario

MOST_MEMORY_ROWS = 16
"""Lines of choices without a latency that a page shows of one model."""


def candidates_text(scenario: Scenario, table: CandidateTable, columns: int = 100) -> str:
    """A table a model, then the rejections."""
    parts = [f"{scenario.name}   {table.examined:,} configurations examined, {len(table.candidates):,} offered\n"]
    for name in sorted(scenario.models):
        own = [candidate for candidate in table.candidates if candidate.config.model == name]
        count = f"{len(own)} candidates; max req/s of each band alone on one replica" if own else "no candidates"
        parts.append(heading(f"{name}: {count}"))
        parts.append(_model_table(table, own, columns) if own else "")
        parts.append(_memory_table(table, name, columns))
    lines = [
        f"{r.subject}: {r.message}" + (f"; nearest: {r.nearest}" if r.nearest else "") + f" ({r.count})"
        for r in table.rejections
    ]
    parts.append(indented("refused", lines, columns))
    parts.append(indented("assumed", [assumption_text(row) for row in assumptions(scenario)], columns))
    parts.append(indented("note", list(inferred_rules(scenario)), columns))
    return "\n".join(part for part in parts if part)


def _model_table(table: CandidateTable, own: Iterable[Candidate], columns: int) -> str:
    rows = table_of(
        ("GPU", "left"), ("shape", "left"), ("weights", "left"), ("KV", "left"), ("context", "right"),
        ("batch", "right"), ("TPOT", "right"), ("TTFT", "right"), ("KV tokens", "right"), ("max req/s", "left"),
    )  # fmt: skip
    for candidate in own:
        config = candidate.config
        rates = ", ".join(
            f"{table.items[k].name} {float(table.items[k].peak_rps * candidate.capacity / max(most, 1)):.3g}"
            for k, load in candidate.loads
            if (most := max(load.gpu_time, load.sequences, load.kv)) is not None
        )
        rows.add_row(
            config.gpu, config.parallel or "-", config.weights or "-", config.kv_preset or "-",
            numbers.tokens(config.context_limit_tokens) if config.weights else "-", str(config.max_batch or "-"),
            f"{config.tpot_limit_ns / 1e6:.1f}" if config.tpot_limit_ns else "-",
            f"{config.ttft_limit_ns / 1e6:.0f}" if config.ttft_limit_ns else "-",
            f"{candidate.memory.pool_tokens:,}" if candidate.memory else "-", rates,
        )  # fmt: skip
    return render(rows, max(columns, 140))


def _memory_table(table: CandidateTable, name: str, columns: int) -> str:
    """What fits into memory and has no latency yet: a line a GPU, shape, weights and preset, capped."""
    groups = _grouped(row for row in table.memory_only if row.model == name)
    if not groups:
        return ""
    rows = table_of(
        ("GPU", "left"), ("shape", "left"), ("weights", "left"), ("KV", "left"), ("batch", "right"),
        ("weights GiB", "right"), ("KV GiB", "right"), ("KV tokens", "right"), ("whole contexts at once", "left"),
    )  # fmt: skip
    for group in groups[:MOST_MEMORY_ROWS]:
        last = group[-1]
        contexts = ", ".join(f"{numbers.tokens(r.context_limit_tokens)} {float(r.max_concurrency):.2f}x" for r in group)
        rows.add_row(
            last.gpu, last.parallel, last.weights, last.kv_preset, str(last.max_batch),
            f"{last.weights_bytes / 2**30:,.2f}", f"{last.available_kv_bytes / 2**30:,.2f}",
            f"{last.printed_tokens:,}", contexts,
        )  # fmt: skip
    head = heading(
        f"{name}: {len(groups)} choices have memory and no latency yet; bytes of one GPU, tokens as printed at the "
        "longest context"
    )
    more = len(groups) - MOST_MEMORY_ROWS
    rest = [heading(f"and {more} more (--format json has all)\n")] if more > 0 else []
    return "\n".join([head, render(rows, max(columns, 140)), *rest])


def _grouped(rows: Iterable[MemoryRow]) -> list[list[MemoryRow]]:
    """Rows that differ in their context limit alone, short contexts first; small shapes first on every GPU."""
    groups: dict[tuple[str, str, str, str], list[MemoryRow]] = {}
    for row in rows:
        groups.setdefault((row.gpu, row.parallel, row.weights, row.kv_preset), []).append(row)
    return [sorted(group, key=lambda row: row.context_limit_tokens) for group in groups.values()]


def candidates_json(table: CandidateTable) -> str:
    """The same as a JSON document: items, candidates with integer loads and memory in bytes, rejections."""
    from pydantic import TypeAdapter

    tree = TypeAdapter(CandidateTable).dump_python(table, mode="json")
    return json.dumps(tree, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
