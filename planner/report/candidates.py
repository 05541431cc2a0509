"""The candidate table for eyes and tools: what the solver may choose from, and why the rest is not in it."""

from __future__ import annotations

import json
from collections.abc import Iterable

from planner.candidates import Candidate, CandidateTable
from planner.report import numbers
from planner.report.layout import heading, indented, render, table_of
from planner.scenario.types import Scenario


def candidates_text(scenario: Scenario, table: CandidateTable, columns: int = 100) -> str:
    """A table a model, then the rejections."""
    parts = [f"{scenario.name}   {table.examined:,} configurations examined, {len(table.candidates):,} offered\n"]
    for name in sorted(scenario.models):
        own = [candidate for candidate in table.candidates if candidate.config.model == name]
        parts.append(heading(f"{name}: {len(own)} candidates; max req/s of each band alone on one replica"))
        parts.append(_model_table(table, own, columns))
    lines = [
        f"{r.subject}: {r.message}" + (f"; nearest: {r.nearest}" if r.nearest else "") + f" ({r.count})"
        for r in table.rejections
    ]
    parts.append(indented("refused", lines, columns))
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
            config.gpu, f"tp{config.gpus}" if config.weights else "-", config.weights or "-", config.kv_preset or "-",
            numbers.tokens(config.context_limit_tokens) if config.weights else "-", str(config.max_batch or "-"),
            f"{config.tpot_limit_ns / 1e6:.1f}" if config.tpot_limit_ns else "-",
            f"{config.ttft_limit_ns / 1e6:.0f}" if config.ttft_limit_ns else "-",
            f"{candidate.memory.pool_tokens:,}" if candidate.memory else "-", rates,
        )  # fmt: skip
    return render(rows, max(columns, 140))


def candidates_json(table: CandidateTable) -> str:
    """The same as a JSON document: items, candidates with integer loads and memory in bytes, rejections."""
    from pydantic import TypeAdapter

    tree = TypeAdapter(CandidateTable).dump_python(table, mode="json")
    return json.dumps(tree, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
