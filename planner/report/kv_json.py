"""The calculator's answer as JSON: sizes in bytes, lengths in tokens, keys as docs/kv.md lists them."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import TypeAlias

from planner.calculator.types import Budget, Figures, KvAnswer, Pool, Row
from planner.catalog.types import Refusal

Tree: TypeAlias = "dict[str, Tree] | list[Tree] | str | int | float | bool | None"

FORMAT_VERSION = 1

COMPONENTS = ("weights_bytes", "activation_bytes", "non_torch_bytes", "cuda_graph_bytes", "other_bytes")
"""What the budget pays for besides KV; 0 where the engine has no such part, or keeps it outside its budget."""


def kv_json(answer: KvAnswer) -> str:
    """The whole answer as one JSON document; keys are always there, null where nothing is known."""
    return dumped(kv_tree(answer))


def dumped(tree: Tree) -> str:
    """A document: sorted keys, two blanks of indentation."""
    return json.dumps(tree, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def kv_tree(answer: KvAnswer) -> dict[str, Tree]:
    """The answer as plain JSON values. Under `--bound` the figures are the upper end, and `bound` has both."""
    engine, gpu = answer.engine, answer.gpu
    tree: dict[str, Tree] = {
        "format_version": FORMAT_VERSION,
        "model": {
            "id": answer.model.id,
            "type": answer.model.model_type,
            "layers": answer.model.layers,
            "max_context_tokens": answer.model.max_context_tokens or None,
            "source": answer.model.source,
            "note": answer.model.note,
        },
        "engine": {
            "requested": engine.requested,
            "rules": f"{engine.name}@{engine.version}",
            "inferred": engine.is_inferred,
            "source": engine.source,
        },
        "gpu": None if gpu is None else {"id": gpu.id, "memory_bytes": gpu.memory_bytes, "source": gpu.source},
        "parallel": str(answer.shape),
        "gpus": answer.shape.gpus,
        "kv_dtype": answer.kv_dtype,
        "preset": answer.preset,
        "weights": answer.weights,
        "gpu_memory_utilization": None if answer.utilization_ppm is None else answer.utilization_ppm / 1_000_000,
        "max_model_len": answer.max_model_len,
        "max_num_batched_tokens": answer.max_num_batched_tokens,
        "max_num_seqs": answer.max_num_seqs,
        "defaults": [{"flag": each.flag, "value": each.value, "why": each.why} for each in answer.defaults],
        "warnings": list(answer.warnings),
        **figures_tree(answer.figures),
    }
    if answer.low is not None:
        tree["bound"] = {"low": dict(figures_tree(answer.low)), "high": dict(figures_tree(answer.figures))}
    else:
        tree["bound"] = None
    return tree


def figures_tree(figures: Figures) -> dict[str, Tree]:
    """The figures of one set of facts."""
    budget = figures.budget if isinstance(figures.budget, Budget) else None
    return {
        "bytes_per_token": figures.bytes_per_token,
        "bytes_per_token_replica": figures.distinct_bytes_per_token,
        "bytes_per_token_replica_held": figures.held_bytes_per_token,
        "rows": [_row(row) for row in figures.rows],
        **_pool(figures.pool if isinstance(figures.pool, Pool) else None),
        **_layout(figures),
        "components": None if budget is None else _components(budget),
        "sources": {} if budget is None else {each.name: _source(each.rule, each.source) for each in budget.steps},
        "estimated": list(figures.estimated),
        "refusal": _refusal(figures),
    }


def _row(row: Row) -> dict[str, Tree]:
    return {
        "context": row.context_tokens,
        "batch": row.batch,
        "logical_bytes": row.logical_bytes,
        "reserved_bytes": row.reserved_bytes,
        "sequences_that_fit": row.fitting_sequences,
    }


def _pool(pool: Pool | None) -> dict[str, Tree]:
    return {
        "pool_tokens": None if pool is None else pool.printed_tokens,
        "usable_tokens": None if pool is None else pool.usable_tokens,
        "max_concurrency": None if pool is None else rounded(pool.max_concurrency),
        "max_concurrency_exact": None if pool is None else str(pool.max_concurrency),
        "available_kv_bytes": None if pool is None else pool.available_bytes,
        "num_gpu_blocks": None if pool is None else pool.blocks,
        "stage": None if pool is None else pool.stage,
        "longest_context": None if pool is None else pool.longest_tokens,
    }


def _layout(figures: Figures) -> dict[str, Tree]:
    """Blocks as the engine lays them out, known without any memory; with a pool, of the stage that limits."""
    found = figures.pool if isinstance(figures.pool, Pool) else figures.layout
    return {
        "block_tokens": found.block_tokens,
        "block_bytes": found.block_bytes,
        "groups": found.groups,
        "state_bytes_per_sequence": found.state_bytes_per_sequence,
    }


def rounded(value: Fraction) -> float:
    """Two decimals, rounded as the engine's log does (`%.2f` of the float).

    >>> rounded(Fraction(126256, 8192))
    15.41
    """
    return float(f"{float(value):.2f}")


def _components(budget: Budget) -> dict[str, Tree]:
    sizes = {each.name: each.size_bytes for each in budget.components}
    return {
        "total_bytes": budget.total_bytes,
        "budget_bytes": budget.budget_bytes,
        **{name: sizes.get(name, 0) for name in COMPONENTS},
        "margin_bytes": budget.margin_bytes,
        "available_kv_bytes": budget.available_bytes,
    }


def _source(rule: str, source: str) -> dict[str, Tree]:
    return {"rule": rule, "source": source}


def _refusal(figures: Figures) -> Tree:
    for found in (figures.budget, figures.pool):
        if isinstance(found, Refusal):
            return {"bottleneck": found.bottleneck.value, "message": found.message, "nearest": found.nearest}
    return None
