"""The running fleet and what may be done to it, from blocks that have passed every check."""

from __future__ import annotations

from typing import cast

from planner.catalog.parallel import Parallel
from planner.scenario.blocks.fleet import ChangeBlock, RunningBlock
from planner.scenario.fleet import Change, Kept, Running


def build_running(name: str, block: RunningBlock) -> Running:
    """Replicas that run; values that a capacity table leaves out are empty."""
    return Running(
        name=name,
        model=block.model,
        pool=block.pool,
        replicas=block.replicas,
        weights=block.weights or "",
        parallel=block.parallel or Parallel(),
        context_limit_tokens=block.context_limit or 0,
        max_batch=block.max_batch or 0,
        kv_preset=block.kv_preset or "",
        max_num_batched_tokens=block.max_num_batched_tokens,
        keep=cast("tuple[Kept, ...]", block.keep or ()),
    )


def build_change(block: ChangeBlock) -> Change:
    """What may be done to the running fleet."""
    return Change(block.max_replicas_moved, block.cost.micro if block.cost else 0)
