"""How much smaller KV would have to be where no request of the shortest context limit fits, and what is confirmed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from planner.candidates.physics import usable_preset
from planner.candidates.settings import batch_sizes, chunk_budgets, memory_of
from planner.candidates.types import Setting, Shape
from planner.catalog.types import BF16_KV, KvStorage, ModelFacts, Refusal
from planner.compression.policy import Usable
from planner.compression.table import load_presets
from planner.memory.kv import kv_bytes_per_token
from planner.scenario.types import CompressionPolicy, ModelSpec, Scenario

PROBE_TOKENS = 1_024
"""A context that fits wherever the engine starts at all: it shows what is left for KV."""


def shortfall(scenario: Scenario, name: str) -> str:
    """`needs 17x KV compression; the best confirmed is 3.8x`, over GPUs, shapes and weights; "" if memory does.

    The ratio needed is 16-bit KV of one request of the shortest context limit over what a GPU has left for KV, where
    that is least; the best confirmed one is over all presets that run there, offered by the scenario or not.
    """
    model = scenario.models[name]
    facts = model.memory_facts
    if facts is None or facts.is_windowed or facts.has_state:
        return ""
    limit = min(model.context_limits_tokens)
    found = [(limit * token_bytes, left, shape) for shape, token_bytes, left in _room(scenario, model)]
    if not found:
        return ""
    wanted, left, shape = min(found, key=lambda row: (Fraction(row[0], row[1]), str(row[2])))
    if wanted <= left:
        return ""
    needed = Fraction(wanted, left)
    best, ratio = _best(model, facts, shape)
    where = f"one request of {limit:,} tokens on {shape.gpu.id} {shape.parallel} {shape.weights}"
    return f"{where} needs {float(needed):.1f}x KV compression; the best confirmed is {float(ratio):.1f}x ({best})"


def _room(scenario: Scenario, model: ModelSpec) -> Iterator[tuple[Shape, int, int]]:
    """(shape, 16-bit bytes of a token, bytes left for KV) of one GPU, wherever the engine starts."""
    nodes = {pool.gpu.id: pool for pool in sorted(scenario.inventory.values(), key=lambda pool: pool.gpus_per_node)}
    for pool in nodes.values():
        for parallel in model.parallel:
            for weights in model.weights if parallel.gpus <= pool.gpus_per_node else ():
                shape = Shape(pool.gpu, weights, parallel, "bf16")
                usable = Usable("bf16", BF16_KV, "auto", Fraction(1), False, ())
                setting = Setting(chunk_budgets(model, pool.gpu)[0], PROBE_TOKENS)
                memory = memory_of(model, shape, usable, setting, batch_sizes(model, pool.gpu)[0])
                if not isinstance(memory, Refusal):
                    yield shape, memory.kv_bytes_per_token, memory.usable_blocks * memory.block_bytes


def _best(model: ModelSpec, facts: ModelFacts, shape: Shape) -> tuple[str, Fraction]:
    """The preset of the largest confirmed ratio that this engine and GPU run, and the ratio on this model."""
    plain = _token_bytes(model, facts, shape, BF16_KV)
    best = ("bf16", Fraction(1))
    for preset in load_presets().values():
        usable = usable_preset(model, replace(shape, preset=preset.id), CompressionPolicy())
        if not isinstance(usable, Refusal):
            ratio = Fraction(plain, _token_bytes(model, facts, shape, usable.storage))
            best = max(best, (preset.name, ratio), key=lambda row: row[1])
    return best


def _token_bytes(model: ModelSpec, facts: ModelFacts, shape: Shape, storage: KvStorage) -> int:
    assert model.engine is not None
    return kv_bytes_per_token(facts, storage, shape.parallel, engine_name=model.engine.name)
