"""Builds the candidate table: every declared choice is evaluated, refused with a reason, dominated, or offered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from planner.candidates.block import Evaluated, evaluate
from planner.candidates.capacity import capacity_candidates
from planner.candidates.dominance import frontier
from planner.candidates.grid import Block
from planner.candidates.items import demand_items, mean_contexts
from planner.candidates.memory_only import memory_only
from planner.candidates.physics import shape_physics, usable_preset
from planner.candidates.rejections import Rejections
from planner.candidates.settings import configurations
from planner.candidates.types import Candidate, CandidateTable, DemandItem, MemoryRow, Rejection, Shape
from planner.catalog.types import Bottleneck, GpuFacts, Refusal
from planner.scenario.types import ModelSpec, Scenario


@dataclass
class _Counts:
    examined: int = 0
    dominated: int = 0


def build_table(scenario: Scenario) -> CandidateTable:
    """The finite table that the constraint program chooses from."""
    items, demands = demand_items(scenario)
    candidates: list[Candidate] = []
    rejections: list[Rejection] = []
    counts = _Counts()
    without_latency: list[MemoryRow] = []
    for name in sorted(scenario.models):
        model = scenario.models[name]
        own = [k for k, item in enumerate(items) if item.model == name]
        reasons = Rejections()
        if model.facts is None:
            found = capacity_candidates(scenario, model, items, own, reasons)
            counts.examined += len(found)
        else:
            found = _physical(scenario, model, items, own, reasons, counts, without_latency)
        candidates += found
        rejections += reasons.rows({name: _choices(model)})
        counts.examined += sum(r.count for r in rejections if r.model == name and r.class_name is None)
    return CandidateTable(
        items,
        demands,
        tuple(candidates),
        tuple(rejections),
        counts.examined,
        counts.dominated,
        tuple(without_latency),
    )


def _choices(model: ModelSpec) -> dict[str, tuple[str, ...]]:
    """What the scenario lets the planner choose, as rejections name it."""
    return {
        "chunk": tuple(f"chunk{budget}" for budget in model.engine_args.chunk_budgets),
        "context": tuple(f"ctx{limit}" for limit in model.context_limits_tokens),
        "parallel": tuple(str(shape) for shape in model.parallel),
        "preset": model.kv_presets,
        "weights": model.weights,
    }


def _physical(
    scenario: Scenario,
    model: ModelSpec,
    items: tuple[DemandItem, ...],
    own: list[int],
    reasons: Rejections,
    counts: _Counts,
    without_latency: list[MemoryRow],
) -> list[Candidate]:
    found: list[Candidate] = []
    contexts = mean_contexts(model, [items[k] for k in own])
    for gpu in _gpus(scenario):
        blocks = [
            part
            for shape in _shapes(scenario, model, gpu, reasons)
            for part in _blocks(scenario, model, items, own, shape, contexts, reasons, without_latency)
        ]
        counts.examined += sum(block.points for block in blocks)
        kept = _undominated(scenario, model, blocks)
        counts.dominated += sum(block.points for block in blocks) - len(kept)
        found += kept
    return found


def _gpus(scenario: Scenario) -> list[GpuFacts]:
    gpus = {pool.gpu.id: pool.gpu for pool in scenario.inventory.values()}
    return [gpus[name] for name in sorted(gpus)]


def _shapes(scenario: Scenario, model: ModelSpec, gpu: GpuFacts, reasons: Rejections) -> Iterator[Shape]:
    """Shapes that fit into some node of this GPU."""
    largest = max(pool.gpus_per_node for pool in scenario.inventory.values() if pool.gpu.id == gpu.id)
    for parallel in model.parallel:
        if parallel.gpus <= largest:
            for weights, preset in product(model.weights, model.kv_presets):
                yield Shape(gpu, weights, parallel, preset)
            continue
        message = f"{parallel} needs {parallel.gpus} GPUs in one node; the largest node has {largest}"
        each = len(model.weights) * len(model.kv_presets)
        reasons.add(
            model.name,
            Refusal(Bottleneck.PARALLEL, message, f"tp{largest}"),
            subject=f"on {gpu.id} {parallel}",
            count=each * configurations(model, gpu),
        )


def _blocks(
    scenario: Scenario,
    model: ModelSpec,
    items: tuple[DemandItem, ...],
    own: list[int],
    shape: Shape,
    contexts_tokens: tuple[float, ...],
    reasons: Rejections,
    without_latency: list[MemoryRow],
) -> list[Evaluated]:
    usable = usable_preset(model, shape, scenario.compression)
    if isinstance(usable, Refusal):
        per_preset = usable.bottleneck in (Bottleneck.POLICY, Bottleneck.ENGINE)
        reasons.add(
            model.name,
            usable,
            subject=shape.preset if per_preset else f"on {shape.gpu.id}",
            kind=usable.message,
            count=configurations(model, shape.gpu),
            choices={"weights": shape.weights, "parallel": str(shape.parallel), "preset": shape.preset},
        )
        return []
    physics = shape_physics(model, shape, usable, scenario.performance, contexts_tokens)
    if isinstance(physics, Refusal):
        without_latency += memory_only(model, shape, usable, physics, reasons)
        return []
    return evaluate(Block(scenario, model, items, tuple(own), shape, physics), reasons)


def _undominated(scenario: Scenario, model: ModelSpec, blocks: list[Evaluated]) -> list[Candidate]:
    """The candidates of one model and GPU that no other one replaces."""
    if not blocks:
        return []
    rows = np.concatenate([block.rows for block in blocks])
    extras = np.concatenate([block.extras for block in blocks])
    gpus = np.concatenate([np.full(len(block.rows), block.shape.parallel.gpus, dtype=np.int64) for block in blocks])
    counts_replicas = (
        scenario.reserve.spare_replicas > 0
        or bool(scenario.reserve.survive)
        or model.replicas.min > 0
        or model.replicas.max is not None
        or model.max_configurations is not None
    )
    starts = np.cumsum([0] + [len(block.rows) for block in blocks])
    kept = []
    for index in frontier(rows, extras, gpus, counts_replicas=counts_replicas):
        block = int(np.searchsorted(starts, index, side="right")) - 1
        kept.append(blocks[block].candidate(int(index - starts[block])))
    return kept
