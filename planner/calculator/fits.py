"""Which GPUs of the catalog hold a model, with which shape, up to which context and how many sequences."""

from __future__ import annotations

from dataclasses import dataclass, replace

from planner.calculator.inputs import Inputs
from planner.calculator.kv import answer
from planner.calculator.types import Budget, KvAnswer, Pool
from planner.catalog.gpus import gpu_ids, load_gpu
from planner.catalog.parallel import Parallel
from planner.catalog.types import GpuFacts, Refusal
from planner.errors import InputError

TP_SIZES = (1, 2, 4, 8)


@dataclass(frozen=True)
class Fit:
    """One GPU and shape: what it holds, or why it does not."""

    gpu: GpuFacts
    shape: Parallel
    fits: bool
    reason: str
    weights_bytes: int | None = None
    available_kv_bytes: int | None = None
    pool_tokens: int | None = None
    longest_context: int | None = None
    longest_asked: int | None = None
    sequences: tuple[tuple[int, int], ...] = ()
    """(context, sequences of that length at once)."""
    margin_bytes: int = 0
    estimated: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fits:
    """The table: GPUs of NVIDIA first, small ones first, narrow shapes first."""

    subject: KvAnswer
    rows: tuple[Fit, ...]


def fits(inputs: Inputs) -> Fits:
    """Tries the shapes tp1 to tp8 that divide the model on every GPU, or on the one that was named.

    Raises:
        InputError: the model or the storage cannot be counted at all.
    """
    query = replace(inputs.query, gpu=None, available_kv_bytes=None)
    subject = answer(replace(inputs, query=query, gpu=None))
    gpus = [inputs.gpu] if inputs.gpu else [gpu for gpu in map(load_gpu, gpu_ids()) if gpu is not None]
    gpus.sort(key=lambda gpu: (gpu.vendor != "nvidia", gpu.vendor, gpu.memory_bytes, gpu.id))
    shapes = (inputs.shape,) if query.shape else tuple(Parallel(tp) for tp in TP_SIZES)
    rows = tuple(_fit(replace(inputs, query=query, gpu=gpu, shape=shape)) for gpu in gpus for shape in shapes)
    return Fits(subject, rows)


def _fit(inputs: Inputs) -> Fit:
    """One GPU and shape."""
    assert inputs.gpu is not None
    try:
        found = answer(inputs)
    except InputError as error:
        return Fit(inputs.gpu, inputs.shape, False, error.diagnostics[0].message)
    budget, pool = found.figures.budget, found.figures.pool
    if isinstance(budget, Refusal) or not isinstance(budget, Budget) or not isinstance(pool, Pool):
        reason = budget.message if isinstance(budget, Refusal) else "nothing is known of its memory"
        return Fit(inputs.gpu, inputs.shape, False, reason)
    least = min(row.context_tokens for row in found.figures.rows)
    weights = next(part.size_bytes for part in budget.components if part.name == "weights_bytes")
    holds = pool.longest_tokens >= least
    return Fit(
        gpu=inputs.gpu,
        shape=inputs.shape,
        fits=holds,
        reason="" if holds else f"longest context {pool.longest_tokens:,} tokens, {least:,} asked",
        weights_bytes=weights,
        available_kv_bytes=pool.available_bytes,
        pool_tokens=pool.usable_tokens,
        longest_context=pool.longest_tokens,
        longest_asked=pool.longest_asked_tokens,
        sequences=tuple(dict.fromkeys((row.context_tokens, row.fitting_sequences or 0) for row in found.figures.rows)),
        margin_bytes=budget.margin_bytes,
        estimated=found.figures.estimated,
    )
