"""From the blocks of a model to its `ModelSpec`."""

from __future__ import annotations

from typing import cast

from planner.scenario.blocks.models import AdjustBlock, BatchRange, EngineArgsBlock, ModelBlock, SpeculativeBlock
from planner.scenario.checks import Lookup
from planner.scenario.given import given
from planner.scenario.source import MapNode, child_text
from planner.scenario.types import Adjust, DraftKind, EngineArgs, ModelSpec, ReplicaLimits, Speculative
from planner.units import PPM


def build_model(name: str, block: ModelBlock, root: MapNode, lookup: Lookup) -> ModelSpec:
    limits = ReplicaLimits(block.replicas.min, block.replicas.max)
    if block.capacity_table is not None:
        path = lookup.file(given(child_text(root, "models", name, "capacity_table")))
        return ModelSpec(
            name,
            None,
            None,
            replicas=limits,
            max_configurations=block.max_configurations,
            capacity_path=str(path),
        )
    ref = given(child_text(root, "models", name, "ref"))
    facts = lookup.model(ref, bound=block.bound)
    engine = lookup.engine(given(block.engine))
    if isinstance(facts, str) or isinstance(engine, str):
        raise AssertionError(f"models.{name} passed the checks without facts")
    low = lookup.low_facts(ref, facts)
    batch = block.max_batch or BatchRange()
    return ModelSpec(
        name=name,
        facts=facts,
        engine=engine,
        weights=given(block.weights),
        parallel=given(block.parallel),
        context_limits_tokens=given(block.context_limit),
        kv_presets=given(block.kv_presets),
        max_batch_min=batch.min,
        max_batch_max=batch.max,
        engine_args=_engine_args(block.engine_args or EngineArgsBlock()),
        replicas=limits,
        max_configurations=block.max_configurations,
        adjust=_adjust(block.adjust),
        speculative=_speculative(block.speculative),
        low_facts=low,
    )


def _adjust(block: AdjustBlock | None) -> Adjust | None:
    return None if block is None else Adjust(block.memory or 0, block.decode_time or 0, block.source)


def _speculative(block: SpeculativeBlock | None) -> Speculative | None:
    if block is None:
        return None
    return Speculative(
        draft=cast("DraftKind", block.draft),
        draft_tokens=block.draft_tokens,
        accepted_tokens=block.accepted_tokens,
        step_overhead_ppm=block.step_overhead,
        memory_bytes_per_gpu=block.memory or 0,
        source=block.source,
    )


def _engine_args(block: EngineArgsBlock) -> EngineArgs:
    share = block.gpu_memory_utilization
    budgets = block.max_num_batched_tokens or ()
    return EngineArgs(None if share is None else int(share * PPM), budgets[0] if len(budgets) == 1 else budgets or None)
