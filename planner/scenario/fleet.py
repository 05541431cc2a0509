"""The fleet that runs today, as the scenario says it, and what changing it takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from planner.catalog.parallel import Parallel

Kept = Literal["replicas", "weights", "parallel", "context_limit", "max_batch", "kv_preset"]
"""What an entry of `current` may pin."""


@dataclass(frozen=True)
class Running:
    """Replicas of one configuration on the nodes of one pool, as they run.

    With a capacity table a replica is one GPU: only `model`, `pool`, `replicas` and `keep` carry meaning. Without
    `max_num_batched_tokens` and `gpu_memory_utilization_ppm` the replicas run with those of the model.
    """

    name: str
    model: str
    pool: str
    replicas: int
    weights: str = ""
    parallel: Parallel = field(default_factory=Parallel)
    context_limit_tokens: int = 0
    max_batch: int = 0
    kv_preset: str = ""
    max_num_batched_tokens: int | None = None
    gpu_memory_utilization_ppm: int | None = None
    keep: tuple[Kept, ...] = ()


@dataclass(frozen=True)
class Change:
    """What may be done to the fleet that runs, and what it costs: once for every replica that starts or stops."""

    max_replicas_moved: int | None = None
    micro_per_replica: int = 0
