"""What one rank of a replica multiplies: the matrices of a model, cut to a parallel shape."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from planner.catalog.parallel import Parallel
from planner.catalog.tensors import Tensor, model_tensors
from planner.catalog.types import ModelFacts

Rows = Literal["all", "decode", "prompt", "sampled"]
"""Tokens that a matrix multiplies: all of the step; decoded ones (the absorbed halves of latent attention); new ones
with those cached before them (latents that a prefill expands); those whose logits are wanted."""

_IN_FEED_FORWARD = frozenset({"router", "shared_gate", "gate_proj", "up_proj", "down_proj"})
_NOT_MULTIPLIED = frozenset(
    {"norms", "norm", "conv", "decay", "state_norm", "rotary", "embedding", "positions", "vision"}
)
_LATENT = frozenset({"q_proj", "q_a_proj", "q_b_proj", "kv_a_proj", "kv_b_proj", "o_proj", "index_q", "index_k"})


@dataclass(frozen=True)
class Matrix:
    """A matrix of one rank. `plain` ones stay 16-bit in quantized checkpoints, `latent` ones in some."""

    columns: int
    inner: int
    rows: Rows = "all"
    plain: bool = False
    latent: bool = False


@lru_cache(maxsize=512)
def rank_matrices(model: ModelFacts, shape: Parallel) -> dict[Matrix, int]:
    """How often each matrix of one rank is multiplied in a step, over all layers; experts are not among them.

    Matrices of one layer that multiply the same inputs are one: engines fuse Q, K and V, and gate and up.
    """
    counts: Counter[Matrix] = Counter()
    fused: dict[tuple[int, bool, str, int, Rows, bool], Matrix] = {}
    for tensor in model_tensors(model):
        if tensor.name in _NOT_MULTIPLIED or tensor.shard in ("expert_column", "expert_row"):
            continue
        columns, inner, _ = tensor.local(shape)
        rows = _rows(tensor, model)
        layer = tensor.layer if tensor.where == "layer" else -1
        key = (layer, tensor.name in _IN_FEED_FORWARD, tensor.shard, inner, rows, tensor.plain)
        before = fused.get(key)
        latent = model.is_mla and tensor.name in _LATENT
        fused[key] = Matrix(columns + (before.columns if before else 0), inner, rows, tensor.plain, latent)
    counts.update(fused.values())
    return dict(counts)


def _rows(tensor: Tensor, model: ModelFacts) -> Rows:
    if tensor.name == "head":
        return "sampled"
    if tensor.name == "kv_b_copy":
        return "decode"
    return "prompt" if model.is_mla and tensor.name == "kv_b_proj" else "all"
