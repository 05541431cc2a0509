"""The tables of docs/memory.md, computed from the memory room's own functions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from planner.catalog import load_engine, load_gpu, load_model
from planner.catalog.engines import engine_ids
from planner.catalog.parallel import Parallel
from planner.catalog.types import BF16_KV, EngineRules, GpuFacts, ModelFacts
from planner.memory.block_pool import KvPool, kv_pool
from planner.memory.budget import KvBudget, kv_budget
from planner.memory.kv import KvSetup, kv_bytes_per_token, logical_bytes, reserved_bytes
from planner.memory.sglang import STATE_SLOTS
from planner.memory.weights import weight_bytes

GIB = 2**30
ENGINE, CONTEXT_TOKENS, BATCHED_TOKENS, SEQUENCES = "vllm@0.24", 32_768, 8_192, 256
CASES = (
    ("gemma-3-27b", "h100-sxm-80gb", 1),
    ("qwen3.6-35b-a3b", "h100-sxm-80gb", 1),
    ("deepseek-v3", "h200-sxm-141gb", 8),
    ("gpt-oss-120b", "h100-sxm-80gb", 1),
)


class Example(NamedTuple):
    """One model on one shape, and everything that the memory room says of it."""

    model: ModelFacts
    gpu: GpuFacts
    engine: EngineRules
    setup: KvSetup
    budget: KvBudget
    pool: KvPool
    planned: KvPool
    margin_bytes: int


def example(model_id: str, gpu_id: str, tp: int) -> Example:
    """Budget and pool of one GPU; `planned` is the pool that is left when the margin stays free."""
    model, gpu, engine = load_model(model_id, Path()), load_gpu(gpu_id), load_engine(ENGINE)
    assert isinstance(model, ModelFacts) and gpu is not None and isinstance(engine, EngineRules)
    shape = Parallel(tp)
    setup = KvSetup(model, engine, BF16_KV, shape, CONTEXT_TOKENS, BATCHED_TOKENS, gpu=gpu)
    weights = weight_bytes(model, model.native_weights, shape)
    assert isinstance(weights, int)
    found: list[KvBudget] = []
    pools: list[KvPool] = []
    for keep_margin in (False, True):
        budget = kv_budget(
            model,
            gpu,
            engine,
            shape,
            0,
            weights_bytes=weights,
            max_num_seqs=SEQUENCES,
            max_num_batched_tokens=BATCHED_TOKENS,
            keep_margin=keep_margin,
        )
        assert isinstance(budget, KvBudget)
        pool = kv_pool(setup, budget.available_bytes)
        assert isinstance(pool, KvPool)
        found.append(budget)
        pools.append(pool)
    return Example(model, gpu, engine, setup, found[0], pools[0], pools[1], found[1].margin_bytes)


def rows() -> list[tuple[str, ...]]:
    """A quantity and its value for each model, in the order of the page."""
    columns = [_column(example(*case)) for case in CASES]
    return [(name, *(column[name] for column in columns)) for name in columns[0]]


def _column(e: Example) -> dict[str, str]:
    model, pool, budget, steps = e.model, e.pool, e.budget, {label: text for label, text, _ in e.pool.steps}
    kept = Counter("state" if not hasattr(layer, "reach") else layer.reach for layer in model.kv_layers if layer)
    sizes = {label: value for label, _, value in pool.steps}
    return {
        "GPU, shape, weights": f"{e.gpu.id}, {e.setup.shape}, {model.native_weights}",
        "layers that keep something": ", ".join(f"{count} {reach}" for reach, count in sorted(kept.items())),
        "bytes a token": f"{kv_bytes_per_token(model, BF16_KV, e.setup.shape):,}",
        "state of a layer": f"{sizes['state of one recurrent layer']:,}" if model.has_state else "-",
        "tokens of a block": f"{pool.block_tokens:,}" + (f" = {steps['block tokens']}" if model.has_state else ""),
        "layers of a group": str(sizes.get("layers per group", len(model.kv_layers))),
        "groups": f"{pool.groups} = {steps['groups']}" if "groups" in steps else "1",
        "bytes of a block": f"{pool.block_bytes:,} = {steps['block']}",
        "logical, 32Ki": _gib(logical_bytes(e.setup, CONTEXT_TOKENS)),
        "reserved, 32Ki": _gib(reserved_bytes(e.setup, CONTEXT_TOKENS)),
        "blocks of a request of 32Ki": f"{pool.blocks_per_max_sequence:,}",
        "GPU memory": _gib(budget.total_bytes),
        "budget": _gib(budget.budget_bytes),
        "- weights": _gib(budget.weights_bytes),
        "- activation peak": _gib(budget.activation_bytes),
        "- non-torch": _gib(budget.non_torch_bytes),
        "- CUDA graphs": _gib(budget.cuda_graph_bytes),
        "= available": _gib(budget.available_bytes),
        "blocks": f"{pool.blocks:,}",
        "printed concurrency": f"{float(pool.max_concurrency):.2f}",
        "printed tokens": f"{pool.printed_tokens:,}",
        "margin that plans keep": _gib(e.margin_bytes),
        "pool tokens of plans": f"{e.planned.pool_tokens:,}",
    }


def table() -> str:
    """The rows as a Markdown table."""
    names = [name for name, _, _ in CASES]
    lines = [f"| quantity | {' | '.join(names)} |", "| --- |" + " ---: |" * len(names)]
    lines += [f"| {' | '.join(row)} |" for row in rows()]
    return "\n".join(lines) + "\n"


def rules() -> str:
    """What differs between rule sets, as a Markdown table."""
    lines = [
        "| rules | share | c | graphs in budget | steps in flight | state blocks | non-torch GiB, NVLink | block |",
        "| --- | ---: | ---: | --- | ---: | ---: | --- | ---: |",
    ]
    for name in engine_ids():
        engine = load_engine(name)
        assert isinstance(engine, EngineRules)
        share = f"{engine.utilization_ppm / 10_000:g} %" if engine.utilization_ppm else "by rule"
        sizes = next(row.bytes_by_tp for row in engine.non_torch if row.where == "nvlink")
        buffers = ", ".join(f"tp{tp} {size / GIB:.2f}" for tp, size in sizes)
        graphs = "yes" if engine.graphs_in_budget else "no"
        states = STATE_SLOTS if engine.name == "sglang" else engine.recurrent_blocks
        cells = (name, share, engine.sampler_bytes_per_logit or "-", graphs, engine.in_flight_steps, states, buffers)
        lines.append(f"| {' | '.join(map(str, cells))} | {engine.block_tokens} |")
    return "\n".join(lines) + "\n"


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / GIB:.2f} GiB"
