"""Bytes of the weights on one GPU, tensor by tensor as the engine shards them.

Sums `tensors.model_tensors` over the layers of a pipeline stage in a weight format. Embeddings stand on the
first stage, the output head and the last norm on the last; a tied pair is held by both.
Source: vLLM 0.19 to 0.33 model definitions and `vocab_parallel_embedding.py`; start-up logs ("Model loading
took").
"""

from __future__ import annotations

from functools import lru_cache

from planner.catalog.parallel import Parallel
from planner.catalog.tensors import Tensor, draft_tensors, model_tensors
from planner.catalog.types import ModelFacts, Refusal
from planner.memory.checkpoint_weights import weight_bytes_of_tensors as weight_bytes_of_tensors
from planner.memory.formats import FORMATS, SIXTEEN_BIT, gguf_bytes, is_gguf
from planner.memory.shards import shard_refusal as shard_refusal
from planner.memory.shards import weight_refusal as weight_refusal
from planner.memory.stages import stage_layers

_FUSED = {"k_proj": "q_proj", "v_proj": "q_proj", "up_proj": "gate_proj"}
"""Matrices that engines join into one tensor."""

_LATENT = frozenset(
    {"q_proj", "q_a_proj", "q_b_proj", "kv_a_proj", "kv_b_proj", "o_proj", "index_q", "index_k"},
)
_LARGE_TENSOR_BYTES = 10 * 2**20
_LARGE_STEP_BYTES = 2 * 2**20
_UNSPLIT_BYTES = 2**20


def weight_bytes(
    model: ModelFacts, dtype: str, shape: Parallel, *, stage: int | None = None, drafts: bool = False
) -> int | Refusal:
    """Bytes of the weights on one GPU of a stage, or why the model cannot be loaded so.

    embedding + layers * (attention or state + feed-forward + norms) + head + rotary tables + vision tower.
    Without `stage`: the heaviest one. With `drafts` the layers of multi-token prediction too, on the last stage; they
    share embedding and head with the model, but for the embedding where it stands on another stage.
    Source: vLLM model definitions; within 1 % of logged sizes (latent attention at tp 4: 1.4 % below).

    >>> from pathlib import Path
    >>> from planner.catalog import load_model
    >>> weight_bytes(load_model("llama-3.1-8b", Path()), "bf16", Parallel())  # log: 14.9888 GiB
    16094076928
    """
    refusal = weight_refusal(model, dtype) or shard_refusal(model, dtype, shape)
    if refusal is not None:
        return refusal
    sizes = _stage_bytes(model, dtype, shape, drafts)
    return max(sizes) if stage is None else sizes[stage]


@lru_cache(maxsize=1024)
def _stage_bytes(model: ModelFacts, dtype: str, shape: Parallel, drafts: bool) -> tuple[int, ...]:
    """Bytes on one GPU of each stage, as the allocator counts them."""
    stages = stage_layers(model.layers, shape.pp)
    owner = {layer: stage for stage, layers in enumerate(stages) for layer in layers}
    last = shape.pp - 1
    allocations: dict[tuple[int, int, str, str], int] = {}
    sizes, widest = [0] * shape.pp, [0] * shape.pp
    for tensor in (*model_tensors(model), *(draft_tensors(model) if drafts else ())):
        size, scales = tensor_bytes(tensor, model, dtype, shape)
        for stage in _homes(tensor, model, owner, last, drafts):
            key = (stage, tensor.layer, _FUSED.get(tensor.name, tensor.name), tensor.shard)
            allocations[key] = allocations.get(key, 0) + size
            sizes[stage] += scales
            if not tensor.plain:
                widest[stage] = max(widest[stage], _wide_bytes(tensor, shape))
    for (stage, *_), size in allocations.items():
        sizes[stage] += allocated_bytes(size)
    if dtype in FORMATS and FORMATS[dtype].loads_wide:
        sizes = [size + wide for size, wide in zip(sizes, widest, strict=True)]
    return tuple(sizes)


def allocated_bytes(size_bytes: int) -> int:
    """What PyTorch's allocator counts for one tensor.

    From 10 MiB on it takes whole steps of 2 MiB, and gives the rest back only where that is more than 1 MiB.
    Source: PyTorch `CUDACachingAllocator` (kMinLargeAlloc, kRoundLarge, kSmallSize); it explains 0.03 to 0.08
    GiB of start-up logs.

    >>> allocated_bytes(75 * 2**20) // 2**20, allocated_bytes(32 * 2**20) // 2**20  # Phi-4: 75 MiB for Q, K, V
    (76, 32)
    """
    rest = -size_bytes % _LARGE_STEP_BYTES
    return size_bytes + rest if size_bytes >= _LARGE_TENSOR_BYTES and rest <= _UNSPLIT_BYTES else size_bytes


def _homes(tensor: Tensor, model: ModelFacts, owner: dict[int, int], last: int, drafts: bool) -> tuple[int, ...]:
    """The stages that hold a tensor. A tied head is the embedding itself where both stand on one stage."""
    if tensor.where == "layer":
        return (owner.get(tensor.layer, last),)
    if tensor.where == "every":
        return tuple(range(last + 1))
    if tensor.where == "first":
        shared = drafts and last and tensor.name == "embedding" and not model.tied_embeddings
        return (0, last) if shared else (0,)
    return () if tensor.name == "head" and model.tied_embeddings and last == 0 else (last,)


def _wide_bytes(tensor: Tensor, shape: Parallel) -> int:
    rows, cols, _ = tensor.local(shape)
    return 2 * rows * cols


def tensor_bytes(tensor: Tensor, model: ModelFacts, dtype: str, shape: Parallel) -> tuple[int, int]:
    """Bytes of a tensor on one GPU: of the weights of all its copies, and of their scales and 16-bit biases."""
    rows, cols, copies = tensor.local(shape)
    if not rows or not cols or not copies:
        return 0, 0
    weights, scales = _matrix_bytes(tensor, model, dtype, rows, cols)
    return copies * weights, copies * (scales + (2 * rows if tensor.bias else 0))


def _matrix_bytes(tensor: Tensor, model: ModelFacts, dtype: str, rows: int, cols: int) -> tuple[int, int]:
    if is_gguf(dtype):
        if tensor.plain and tensor.name not in ("embedding", "head"):
            return (4 if tensor.name in ("router", "norms", "norm") else 2) * rows * cols, 0
        role = "head" if tensor.name == "embedding" and model.tied_embeddings else tensor.name
        gqa = model.heads // max(1, model.kv_heads)
        return gguf_bytes(dtype, role, tensor.layer, model.layers, gqa, model.experts, rows, cols), 0
    form = FORMATS[dtype]
    expert = tensor.shard in ("expert_column", "expert_row")
    is_wide_latent = form.wide_latent and model.is_mla and tensor.name in _LATENT
    if tensor.plain or is_wide_latent or (form.experts_only and not expert):
        form = SIXTEEN_BIT if dtype != "fp32" else form
    elif form.experts_only:
        # Kernels for mxfp4 experts need widths in multiples of 128 and hidden sizes in multiples of 256.
        step = (128, 256) if tensor.shard == "expert_column" else (256, 128)
        rows, cols = -(-rows // step[0]) * step[0], -(-cols // step[1]) * step[1]
    return form.weights(rows, cols), form.scales(rows, cols)
