"""Models: what runs, and what may be chosen for it."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict

from planner.scenario.blocks.base import Block
from planner.scenario.fields import (
    ONE_OR_MANY,
    BatchTokens,
    Count,
    DraftMethod,
    DraftTokens,
    EngineId,
    Flag,
    MemoryPerGpu,
    MemoryUtilization,
    ModelRef,
    ParallelShape,
    PathText,
    PositiveCount,
    PresetId,
    Share,
    Slowdown,
    Text,
    Tokens,
    TokensPerStep,
    Weights,
)


class BatchRange(Block):
    """How many sequences of one replica may run at once."""

    min: PositiveCount = 1
    """Smallest batch size that the planner considers; the default is 1."""
    max: PositiveCount | None = None
    """Largest batch size that the planner considers; without it the engine's default."""


class ReplicaRange(Block):
    """How many replicas of a model may run, over all its configurations."""

    min: Count = 0
    """At least so many replicas; the default is 0."""
    max: PositiveCount | None = None
    """At most so many replicas; the default is unlimited."""


class EngineArgsBlock(Block):
    """Settings of the engine; without them the engine's own defaults hold."""

    gpu_memory_utilization: MemoryUtilization | None = None
    """Share of the GPU's memory that the engine may use, as a plain number, as the engine writes it."""
    max_num_batched_tokens: Annotated[tuple[BatchTokens, ...], *ONE_OR_MANY] | None = None
    """Tokens of one engine step, prefill chunks included: a list is a choice. Larger chunks serve prompts sooner, and
    take activation memory from KV."""


class AdjustBlock(Block):
    """What the user knows and the formulas do not: at least one of `memory` and `decode_time`, with its source."""

    memory: MemoryPerGpu | None = None
    """Memory that something else takes on every GPU of a replica, such as adapters; KV gets that much less."""
    decode_time: Slowdown | None = None
    """How much longer every decode step takes; it never takes less than predicted."""
    source: Text
    """Where the figures come from: a measurement and its date."""


class SpeculativeBlock(Block):
    """Speculative decoding with the figures of a measurement: how many tokens a step yields is never predicted."""

    draft: DraftMethod
    """Who drafts: `mtp` the model's own prediction layers, whose weights and KV are counted; `eagle` a head of one more
    layer, whose KV is counted and whose weights are `memory`; `ngram` the prompt itself."""
    draft_tokens: DraftTokens
    """Tokens that are drafted before each step, which checks them all."""
    accepted_tokens: TokensPerStep
    """Tokens that a step yields on average, its own included: above 1, at most one more than are drafted."""
    step_overhead: Share
    """How much longer a step takes because of the draft."""
    memory: MemoryPerGpu | None = None
    """Weights of an EAGLE head on every GPU of a replica."""
    source: Text
    """Where the figures come from: a measurement and its date."""


class ModelBlock(Block):
    """One model: what is fixed (a scalar) and what the planner may choose (a list).

    With `capacity_table` a replica is one GPU and the table says how many requests it serves; the keys from
    `ref` to `adjust` are then left out. Without it `ref`, `engine`, `weights`, `parallel`,
    `context_limit` and `kv_presets` are required.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["capacity_table"]},
                {"required": ["ref", "engine", "weights", "parallel", "context_limit", "kv_presets"]},
            ]
        }
    )

    ref: ModelRef | None = None
    """Catalog id of the model, or the path of its `config.json`."""
    bound: Flag = False
    """Whether a model whose architecture is not understood is planned all the same, at the most KV that it may keep,
    and once more at the least: the plan says whether that changes it; the default is false."""
    engine: EngineId | None = None
    """Engine and version; memory accounting and defaults follow the newest rule set that is not newer."""
    weights: Annotated[tuple[Weights, ...], *ONE_OR_MANY] | None = None
    """Number format of the weights; what the engine, the GPU or the latency cannot do with it is refused by name."""
    parallel: Annotated[tuple[ParallelShape, ...], *ONE_OR_MANY] | None = None
    """Parallel shape of one replica, `tpN[-ppN][-dpN][-dcpN][-ep]`: N ways of tensor, pipeline, data and decode context
    parallelism, whole experts with `ep`. Its tp x pp x dp GPUs stand in one node. All shapes have memory; those
    without a latency yet are refused by name."""
    context_limit: Annotated[tuple[Tokens, ...], *ONE_OR_MANY] | None = None
    """Prompt and output together may have so many tokens."""
    max_batch: BatchRange | None = None
    """Bounds on the batch size; the default is the whole grid up to the engine's default."""
    kv_presets: Annotated[tuple[PresetId, ...], *ONE_OR_MANY] | None = None
    """Ids of the preset table: how the KV cache is stored."""
    engine_args: EngineArgsBlock | None = None
    """Engine settings in place of the engine's defaults."""
    speculative: SpeculativeBlock | None = None
    """Speculative decoding; the default is none."""
    adjust: AdjustBlock | None = None
    """Corrections to the prediction; shown in the plan as assumptions."""
    capacity_table: PathText | None = None
    """CSV file with the columns gpu, class, requests_per_s: measured capacity instead of physics."""
    replicas: ReplicaRange = ReplicaRange()
    """Bounds on the number of replicas."""
    max_configurations: PositiveCount | None = None
    """How many different replica configurations may run side by side; the default is unlimited."""
