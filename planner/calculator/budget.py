"""Where the memory of one GPU goes, stage by stage, with the rule and the source of every part."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from planner.calculator.types import Budget, Component
from planner.catalog.checkpoint_types import Checkpoint
from planner.catalog.parallel import Parallel
from planner.catalog.types import EngineRules, GpuFacts, ModelFacts, Refusal
from planner.memory.budget import KvBudget, kv_budget
from planner.memory.checkpoint_weights import weight_bytes_of_tensors
from planner.memory.weights import weight_bytes

NAMES = {
    "GPU memory": "total_bytes",
    "budget": "budget_bytes",
    "weights": "weights_bytes",
    "activations": "activation_bytes",
    "non-torch": "non_torch_bytes",
    "CUDA graphs": "cuda_graph_bytes",
    "other": "other_bytes",
    "available": "available_kv_bytes",
}
"""Line of the memory room's budget -> its key in JSON."""

TOTALS = ("total_bytes", "budget_bytes", "available_kv_bytes")


@dataclass(frozen=True)
class Weights:
    """How the weights are known: given, measured in a checkpoint, or computed from the architecture."""

    dtype: str
    given_bytes: int | None = None
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True)
class Sized:
    """Weights on one GPU of a stage, how that was found, and what of it is an estimate."""

    size_bytes: int
    rule: str
    source: str
    estimated: tuple[str, ...] = ()


def stage_budgets(
    model: ModelFacts,
    gpu: GpuFacts,
    engine: EngineRules,
    shape: Parallel,
    weights: Weights,
    *,
    max_num_seqs: int,
    max_num_batched_tokens: int,
    utilization_ppm: int | None,
    element_bytes: int = 2,
    drafts: bool = False,
) -> tuple[Budget, ...] | Refusal:
    """The budget of one GPU of each pipeline stage as the engine will find it, or what is missing for it.

    The margin that plans keep where nothing was measured is not a part of it; `margin_bytes` says how large
    it is.
    """
    budgets = []
    for stage in range(shape.pp):
        size = weights_of_stage(model, weights, shape, stage, drafts)
        if isinstance(size, Refusal):
            return size

        def budget(keep_margin: bool, stage: int = stage, held: int = size.size_bytes) -> KvBudget | Refusal:
            return kv_budget(
                model,
                gpu,
                engine,
                shape,
                stage,
                weights_bytes=held,
                max_num_seqs=max_num_seqs,
                max_num_batched_tokens=max_num_batched_tokens,
                utilization_ppm=utilization_ppm,
                keep_margin=keep_margin,
                element_bytes=element_bytes,
            )

        found, planned = budget(False), budget(True)
        if isinstance(found, Refusal):
            return found
        kept = found.available_bytes if isinstance(planned, Refusal) else planned.margin_bytes
        budgets.append(_budget(found, size, kept, "" if isinstance(planned, KvBudget) else planned.message))
    return tuple(budgets)


def _budget(found: KvBudget, size: Sized, margin_bytes: int, planned_refusal: str) -> Budget:
    """The memory room's budget with the weights' own rule, every line named."""
    steps = tuple(
        Component("weights_bytes", label, amount, size.rule, size.source)
        if label == "weights"
        else Component(NAMES[label], label, amount, rule, source)
        for label, rule, amount, source in found.steps
    )
    parts = tuple(step for step in steps if step.name not in TOTALS)
    return Budget(
        total_bytes=found.total_bytes,
        budget_bytes=found.budget_bytes,
        components=parts,
        available_bytes=found.available_bytes,
        margin_bytes=margin_bytes,
        steps=steps,
        estimated=(*size.estimated, *found.estimated),
        planned_refusal=planned_refusal,
    )


def weights_of_stage(
    model: ModelFacts, weights: Weights, shape: Parallel, stage: int, drafts: bool = False
) -> Sized | Refusal:
    """Weights on one GPU of a stage: as given, from the tensors of a checkpoint, or from the architecture.

    With `drafts` the architecture's layers of multi-token prediction are counted; a checkpoint's are not.
    """
    if weights.given_bytes is not None:
        doubt = ("weights: the given size stands on every stage of the pipeline",) if shape.pp > 1 else ()
        return Sized(weights.given_bytes, "as given by --weights-gib", "user", doubt)
    if weights.checkpoint is not None and weights.checkpoint.total_bytes:
        return _of_checkpoint(model, weights.checkpoint, weights.dtype, shape, stage)
    size = weight_bytes(model, weights.dtype, shape, stage=stage, drafts=drafts)
    if isinstance(size, Refusal):
        return size
    return Sized(size, f"{weights.dtype}, tensor by tensor at {shape}", "architecture of the config as vLLM loads it")


def _of_checkpoint(
    model: ModelFacts, checkpoint: Checkpoint, dtype: str, shape: Parallel, stage: int
) -> Sized | Refusal:
    """The tensors of a checkpoint as the engine shards them; where only their total is known, in proportion."""
    if checkpoint.tensors:
        size = weight_bytes_of_tensors(checkpoint.tensors, model, shape, stage)
        if isinstance(size, Refusal):
            return size
        return Sized(size, f"{len(checkpoint.tensors):,} tensors of {checkpoint.source} at {shape}", checkpoint.source)
    total, rule = checkpoint.total_bytes, f"total of {checkpoint.source}"
    if shape.tp * shape.pp * shape.dp == 1:
        return Sized(total, rule, checkpoint.source)
    whole, part = weight_bytes(model, dtype, Parallel()), weight_bytes(model, dtype, shape, stage=stage)
    if isinstance(part, Refusal):
        return part
    if isinstance(whole, Refusal):
        return whole
    doubt = "weights: the checkpoint's total, split over the GPUs as its architecture would be"
    return Sized(int(Fraction(total * part, whole)), f"{rule}, split as {shape}", checkpoint.source, (doubt,))
