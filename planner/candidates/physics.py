"""The physics of one shape (GPU, weights, parallelism, preset): timing, memory, and what bands ask of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from planner.candidates.types import DemandItem
from planner.catalog.parallel import Parallel
from planner.catalog.types import Bottleneck, GpuFacts, Refusal
from planner.compression.policy import FloorVerdict, Usable, floor, judge
from planner.compression.requests import codec_shape, mean_block_tokens, request_blocks
from planner.compression.table import load_presets
from planner.memory.overhead import default_max_num_batched_tokens, default_max_num_seqs
from planner.memory.pool import ReplicaMemory, beside_prefill, replica_memory
from planner.performance.fit import AffineFit, affine_fit, prefill_cost
from planner.performance.provider import StepModel, StepRequest
from planner.performance.step_model import step_model
from planner.scenario.types import CompressionPolicy, ModelSpec, QualityFloor, Reserve, Scenario
from planner.traffic.lengths import served
from planner.traffic.queueing import (
    ReplicaTiming,
    Workload,
    capacity_of,
    load_of,
    p95_tpot_of,
    p95_ttft_of,
    stack,
    workload,
)
from planner.traffic.workload import BLOCK_SLACK_TOKENS

FloatArray = NDArray[np.float64]

SEQUENCE_MARGIN = 1.2
"""Running sequences swing above their mean; with the TPOT limit in the formula 1.2 covers it (docs/model.md)."""

BATCH_GRID = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""max_num_seqs that are offered inside the scenario's range; its ends are offered too."""

CONFIDENCE: dict[str, tuple[Fraction, Fraction]] = {
    "p50": (Fraction(1), Fraction(1)),
    "p90": (Fraction(6, 5), Fraction(3, 2)),
}
"""Measured over predicted p95 TPOT and TTFT at the quantile; applied once, to the promises."""

CONFIDENCE_SOURCE = {
    "p50": "latencies are taken as predicted",
    "p90": "TPOT x 1.2 and TTFT x 1.5 over the prediction; a judgement until measured bands exist",
}


@dataclass(frozen=True)
class Shape:
    """What decides a replica's speed and its bytes a token."""

    gpu: GpuFacts
    weights: str
    parallel: Parallel
    preset: str


@dataclass(frozen=True)
class ShapePhysics:
    """Everything about a shape that does not depend on context limit, batch size or promise."""

    timing: ReplicaTiming
    fit: AffineFit
    usable: Usable
    provider: str
    estimated: tuple[str, ...]


def confidence_factors(confidence: Literal["p50", "p90"]) -> tuple[float, float]:
    """(TPOT, TTFT) factors of measured over predicted."""
    tpot, ttft = CONFIDENCE[confidence]
    return float(tpot), float(ttft)


def provider_band(confidence: Literal["p50", "p90"]) -> str:
    """How the promise's prediction was widened, in words."""
    tpot, ttft = confidence_factors(confidence)
    return f"{confidence}: TPOT x {tpot:g}, TTFT x {ttft:g} (judgement)" if confidence != "p50" else "p50: as predicted"


def operating_ns(limit_us: int, factor: Fraction) -> int:
    """The promise in nanoseconds after confidence, rounded down."""
    return int(Fraction(limit_us * 1_000) / factor)


def chunk_tokens(model: ModelSpec, gpu: GpuFacts) -> int:
    """max_num_batched_tokens: the scenario's, or the engine's default for the GPU."""
    assert model.engine is not None
    return model.engine_args.max_num_batched_tokens or default_max_num_batched_tokens(gpu, model.engine)


def utilization_ppm(model: ModelSpec) -> int:
    """gpu_memory_utilization: the scenario's, or the engine release's default (0 where a rule of its own decides)."""
    assert model.engine is not None
    return model.engine_args.gpu_memory_utilization_ppm or model.engine.utilization_ppm


def batch_sizes(model: ModelSpec, gpu: GpuFacts) -> tuple[int, ...]:
    """The max_num_seqs to try, small to large."""
    assert model.engine is not None
    most = model.max_batch_max or default_max_num_seqs(gpu, model.engine)
    least = min(model.max_batch_min, most)
    grid = {size for size in BATCH_GRID if least <= size <= most}
    ends = {most} | ({least} if model.max_batch_min > 1 else set())
    return tuple(sorted(grid | ends))


def usable_preset(model: ModelSpec, shape: Shape, policy: CompressionPolicy) -> Usable | Refusal:
    """How a shape stores KV, or why the engine, the GPU or the policy does not have its preset."""
    assert model.facts is not None and model.engine is not None
    preset = load_presets()[shape.preset]
    return judge(preset, engine=model.engine, gpu=shape.gpu, model=model.facts, policy=policy, weights=shape.weights)


def timed_steps(model: ModelSpec, shape: Shape, usable: Usable) -> StepModel | Refusal:
    """The steps of a shape, or why there is no latency for it. `adjust.decode_time` makes every decode step longer."""
    assert model.facts is not None and model.engine is not None
    adjusted_ppm = model.adjust.decode_time_ppm if model.adjust else 0
    # Whoever writes `bound: true` asks for the upper bound as it stands; the roofline itself refuses bounds.
    facts = replace(model.facts, bound="", unsupported=()) if model.facts.bound else model.facts
    # Kernels that were not measured are timed as 16-bit ones: a gain in decode time is never credited unpublished.
    return step_model(
        StepRequest(
            facts,
            shape.gpu,
            model.engine,
            shape.parallel,
            shape.weights,
            kv_dtype=usable.flag,
            kv_bytes_per_element=Fraction(2),
            decode_time_factor=usable.decode_time_factor * (1 + Fraction(adjusted_ppm, 1_000_000)),
        )
    )


def shape_physics(model: ModelSpec, shape: Shape, usable: Usable) -> ShapePhysics | Refusal:
    """What the queueing forms need of a shape's steps, or why there is no latency for it."""
    assert model.facts is not None
    step = timed_steps(model, shape, usable)
    if isinstance(step, Refusal):
        return step
    fit = affine_fit(step)
    budget = chunk_tokens(model, shape.gpu)
    cost = prefill_cost(step, budget)
    timing = ReplicaTiming(
        alpha_s=fit.alpha_s,
        beta_s=fit.beta_s,
        gamma_s_per_token=fit.gamma_s_per_token,
        sigma_s_per_token=cost.sigma_s_per_token,
        attention_fixed_s=cost.attention.fixed_s,
        attention_s_per_token2=cost.attention.s_per_token2,
        attention_ramp_tokens=cost.attention.ramp_tokens,
        chunk_tokens=budget,
    )
    doubt = (
        (f"{model.facts.model_type} is not understood: timed as dense layers with full attention",)
        if model.facts.bound
        else ()
    )
    return ShapePhysics(timing, fit, usable, step.provider, (*step.estimated, *doubt))


def memory_of(
    model: ModelSpec, shape: Shape, usable: Usable, context_tokens: int, batch: int
) -> ReplicaMemory | Refusal:
    """Memory of one GPU of a replica at a context limit and batch size.

    KV that is compressed after the prefill lies in the engine's 16-bit pool, with room for one such prefill.
    """
    assert model.memory_facts is not None and model.engine is not None
    memory = replica_memory(
        model.memory_facts,
        shape.gpu,
        model.engine,
        shape=shape.parallel,
        weights=shape.weights,
        storage=usable.storage,
        kv_dtype=usable.flag,
        context_limit_tokens=context_tokens,
        max_num_seqs=batch,
        max_num_batched_tokens=chunk_tokens(model, shape.gpu),
        utilization_ppm=model.engine_args.gpu_memory_utilization_ppm,
        extra_bytes=model.adjust.memory_bytes_per_gpu if model.adjust else 0,
    )
    if isinstance(memory, Refusal) or not usable.codec:
        return memory
    kv_shape = codec_shape(usable.codec, model.memory_facts)
    if isinstance(kv_shape, Refusal):
        return kv_shape
    if shape.parallel.dcp > 1 or shape.parallel.pp > 1:
        message = (
            f"{usable.preset}: compressed requests are counted on tensor-parallel shapes only, not {shape.parallel}"
        )
        return Refusal(Bottleneck.PARALLEL, message, f"tp{shape.parallel.tp}")
    longest = request_blocks(usable.codec, *kv_shape, context_tokens, 0, memory.block_tokens)
    return beside_prefill(memory, longest)


def kv_margin(reserve: Reserve) -> float:
    """The larger of the swing factor 1.2 and 1 / (1 - kv_headroom), not their product."""
    return max(SEQUENCE_MARGIN, float(1 / (1 - Fraction(reserve.kv_headroom_ppm, 1_000_000))))


@dataclass(frozen=True)
class Demand:
    """Many (context limit, item) pairs on one shape: rates that a replica carries and what they hold.

    Axes: pair, operating TPOT, operating TTFT. `sequences` and `kv_tokens` are for one request/s, with margins.
    """

    capacity_rps: FloatArray
    sequences: FloatArray
    kv_tokens: FloatArray
    idle_tpot_s: FloatArray
    idle_ttft_s: FloatArray


def workloads(
    timing: ReplicaTiming,
    pairs: list[tuple[int, DemandItem]],
    reusable_ppm: dict[str, int],
    compressed: Compressed | None = None,
) -> Workload:
    """Moments of (context limit, item) pairs as columns; only pairs of which some prompt fits may be asked."""
    return stack([_moments(timing, limit, item, reusable_ppm, compressed) for limit, item in pairs])


@dataclass(frozen=True)
class Compressed:
    """KV that is compressed after the prefill: which composition, on which shape, in blocks of how many tokens."""

    codec: str
    layers: int
    head_dim: int
    block_tokens: int


def compressed_of(model: ModelSpec, usable: Usable) -> Compressed | None:
    """How requests are compressed; None where every token takes the same bytes from the start."""
    if not usable.codec or model.memory_facts is None or model.engine is None:
        return None
    shape = codec_shape(usable.codec, model.memory_facts)
    return None if isinstance(shape, Refusal) else Compressed(usable.codec, *shape, model.engine.block_tokens)


def _moments(
    timing: ReplicaTiming,
    limit: int,
    item: DemandItem,
    reusable_ppm: dict[str, int],
    compressed: Compressed | None,
) -> Workload:
    """Moments of one pair. A compressed request holds fewer tokens of the pool once it decodes, and as many before;
    the time of its steps is that of all its tokens, since no kernel was measured that reads fewer."""
    work = workload(served(item.lengths, limit, reusable_ppm[item.class_name]), timing)
    if compressed is None:
        return work
    band, shape = item.lengths, (compressed.layers, compressed.head_dim)
    tokens = mean_block_tokens(compressed.codec, shape, band.prompts, band.outputs, limit, compressed.block_tokens)
    return replace(work, resident_tokens=tokens - BLOCK_SLACK_TOKENS)


def demand(work: Workload, tpot_s: FloatArray, ttft_s: FloatArray, reserve: Reserve) -> Demand:
    """Capacity and holdings of every pair at every operating promise (infinite TTFT: no promise)."""
    by_tpot = capacity_of(work, tpot_s[None, :], np.inf).tpot_rps
    by_ttft = capacity_of(work, np.inf, ttft_s[None, :]).ttft_rps
    rates = np.minimum(by_tpot[:, :, None], by_ttft[:, None, :])
    # Held at the rate that TPOT alone allows: a looser TTFT then never holds more (docs/decisions/0008).
    bounded = np.where(np.asarray(work.decode_steps) > 0, by_tpot, rates.min(axis=2))
    held = load_of(work, tpot_s[None, :], bounded)
    sequences = np.broadcast_to(held.sequences[:, :, None], rates.shape)
    kv_tokens = np.broadcast_to(held.kv_tokens[:, :, None], rates.shape)
    none = np.zeros((rates.shape[0], 1))
    return Demand(
        rates,
        sequences * SEQUENCE_MARGIN,
        kv_tokens * kv_margin(reserve),
        p95_tpot_of(work, none)[:, 0],
        p95_ttft_of(work, none)[:, 0],
    )


def predicted(
    timing: ReplicaTiming, item: DemandItem, context_tokens: int, reusable_ppm: int, rate_rps: float
) -> tuple[float, float]:
    """p95 TPOT and TTFT in seconds of one item alone at a rate on one replica."""
    work = workload(served(item.lengths, context_tokens, reusable_ppm), timing)
    return float(p95_tpot_of(work, rate_rps)), float(p95_ttft_of(work, rate_rps))


def quality_of(scenario: Scenario, model: ModelSpec, preset: str, wanted: QualityFloor) -> FloorVerdict:
    """The verdict of a preset on a class's floor."""
    assert model.facts is not None
    return floor(load_presets()[preset], wanted, model_id=model.facts.id, policy=scenario.compression)


def preset_evidence(preset: str, wanted: QualityFloor, model_id: str, policy: CompressionPolicy) -> tuple[str, ...]:
    """What a preset's quality rests on for a class."""
    row = load_presets()[preset]
    return (*floor(row, wanted, model_id=model_id, policy=policy).evidence, f"bytes: {row.ratio_evidence}")
