"""Choices that have memory and no latency yet: refused, with what the engine would hold of them."""

from __future__ import annotations

from planner.candidates.rejections import Rejections
from planner.candidates.settings import batch_sizes, memory_of, setting_choices, settings
from planner.candidates.types import MemoryRow, Setting, Shape
from planner.catalog.types import Bottleneck, Refusal
from planner.compression.policy import Usable
from planner.memory.pool import ReplicaMemory
from planner.scenario.types import ModelSpec


def memory_only(
    model: ModelSpec, shape: Shape, usable: Usable, latency: Refusal, reasons: Rejections
) -> list[MemoryRow]:
    """Memory at every setting that fits, and the refusals of all of them; the largest pool speaks.

    Context limits that do not fit are refused in a line of their own, which names memory and latency both.
    """
    rows = []
    batches = batch_sizes(model, shape.gpu)
    for setting in settings(model, shape.gpu):
        limit = setting.context_tokens
        found = _largest(model, shape, usable, setting, batches)
        choices = {"weights": shape.weights, "parallel": str(shape.parallel), "preset": shape.preset}
        if isinstance(found, Refusal):
            word = "memory does not fit" if found.bottleneck is Bottleneck.MEMORY else "memory"
            message = f"{word}: {found.message}; latency: {latency.message}"
            spoken = Refusal(latency.bottleneck, message, found.nearest or latency.nearest)
            choices |= setting_choices(model, setting)
            order, kind = float(limit), f"{latency.message} without memory"
        else:
            batch, memory = found
            rows.append(_row(model, shape, setting, batch, memory, latency.message))
            holds = f"{memory.printed_tokens:,} tokens at {_tokens(limit)} on {shape.parallel}"
            message = f"memory fits: {holds}; latency: {latency.message}"
            spoken = Refusal(latency.bottleneck, message, latency.nearest)
            order = -float(memory.printed_tokens) - limit / 2**32  # of equal pools the longer context speaks
            choices |= setting_choices(model, setting)
            kind = latency.message
        subject = f"on {shape.gpu.id}"
        reasons.add(model.name, spoken, subject=subject, kind=kind, count=len(batches), order=order, choices=choices)
    return rows


def _largest(
    model: ModelSpec, shape: Shape, usable: Usable, setting: Setting, batches: tuple[int, ...]
) -> tuple[int, ReplicaMemory] | Refusal:
    """The largest batch size that starts, with its memory; the refusal of the smallest where none does."""
    refusal: Refusal | None = None
    for batch in reversed(batches):
        memory = memory_of(model, shape, usable, setting, batch)
        if not isinstance(memory, Refusal):
            return batch, memory
        refusal = memory
    assert refusal is not None  # there is at least one batch size
    return refusal


def _row(model: ModelSpec, shape: Shape, setting: Setting, batch: int, memory: ReplicaMemory, reason: str) -> MemoryRow:
    return MemoryRow(
        model=model.name,
        gpu=shape.gpu.id,
        parallel=str(shape.parallel),
        weights=shape.weights,
        kv_preset=shape.preset,
        context_limit_tokens=setting.context_tokens,
        max_batch=batch,
        weights_bytes=memory.weights_bytes,
        available_kv_bytes=memory.available_kv_bytes,
        printed_tokens=memory.printed_tokens,
        pool_tokens=memory.pool_tokens,
        max_concurrency=memory.max_concurrency,
        reason=reason,
    )


def _tokens(count: int) -> str:
    return f"{count // 1024}Ki" if count % 1024 == 0 else f"{count:,}"
