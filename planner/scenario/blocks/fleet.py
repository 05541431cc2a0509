"""The fleet that runs today, and what may be done to it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from planner.scenario.blocks.base import Block
from planner.scenario.fields import (
    BatchTokens,
    Count,
    KeptField,
    Name,
    ParallelShape,
    PositiveCount,
    PresetId,
    ReplicaMoney,
    Tokens,
    Weights,
)


class RunningBlock(Block):
    """Replicas of one configuration that run today on the nodes of one pool.

    With a capacity table a replica is one GPU: `weights`, `parallel`, `context_limit`, `max_batch`, `kv_preset` and
    `max_num_batched_tokens` are then left out. Without it the first five are required. Whatever else the engine is
    started with is that of the model.
    """

    model: Name
    """Name of the model, a key of `models`."""
    pool: Name
    """Name of the pool, a key of `inventory`."""
    replicas: PositiveCount
    """How many replicas run."""
    weights: Weights | None = None
    """Number format of their weights."""
    parallel: ParallelShape | None = None
    """Their parallel shape."""
    context_limit: Tokens | None = None
    """Prompt and output together may have so many tokens."""
    max_batch: PositiveCount | None = None
    """How many sequences of one replica may run at once (`max_num_seqs`)."""
    kv_preset: PresetId | None = None
    """How their KV cache is stored."""
    max_num_batched_tokens: BatchTokens | None = None
    """Tokens of one engine step; needed where the model's `engine_args` leave a choice."""
    keep: Annotated[tuple[KeptField, ...], Field(min_length=1)] | None = None
    """What must stay: with `replicas` exactly so many replicas of this configuration run; with `weights`, `parallel`,
    `context_limit`, `max_batch` or `kv_preset` all replicas of this model on pools of this kind (GPU, region and node
    size) have the value that stands here, or in another entry that keeps it; the default is nothing."""


class ChangeBlock(Block):
    """What may be done to the running fleet. A replica that starts and one that stops is a move each; another
    configuration is a stop and a start. Pools of the same GPU, region and node size are one place."""

    max_replicas_moved: Count | None = None
    """At most so many moves; the default is no limit."""
    cost: ReplicaMoney | None = None
    """What a move costs, once. It weighs against the money of the whole horizon; the default is nothing."""
