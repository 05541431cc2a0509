"""Bytes of the weights on one rank, tensor by tensor as the engine shards them.

Linear layers are split over the ranks; norms, routers, low-rank down projections and position tables are held
by each. With fp8 weights the linear layers take one byte and carry scales; embeddings, norms, routers and
vision towers stay 16-bit. mxfp4 (gpt-oss) stores 4.25 bits per expert weight on padded shapes, the rest in 16
bits.
Source: vLLM 0.19 to 0.33 model definitions and `vocab_parallel_embedding.py`; start-up logs ("Model loading
took").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from planner.catalog.types import Bottleneck, ModelFacts, Refusal
from planner.memory.kv import ceil_div

WeightDtype = Literal["bf16", "fp8", "mxfp4"]

_VOCABULARY_PADDING = 64
_FP8_BLOCK = 128
_FOUR_NORMS = frozenset({"gemma2", "gemma3_text"})
_BIAS_ON_INPUT_ONLY = frozenset({"qwen2", "qwen2_moe"})
_NORMED_HEADS = frozenset({"qwen3", "qwen3_moe", "gemma3_text"})


@dataclass(frozen=True)
class Linear:
    """`copies` matrices of one shape on one rank. `fp8` tells whether fp8 checkpoints quantize them."""

    inputs: int
    outputs: int
    copies: int = 1
    bias: bool = False
    fp8: bool = True
    expert: bool = False

    def bytes(self, dtype: WeightDtype) -> int:
        """Bytes of all copies: weights, scales, biases (16-bit)."""
        return self.copies * (self._matrix_bytes(dtype) + (2 * self.outputs if self.bias else 0))

    def _matrix_bytes(self, dtype: WeightDtype) -> int:
        """One matrix. fp8 scales are fp32, per output channel or per 128 x 128 block: the larger."""
        if dtype == "fp8" and self.fp8:
            blocks = ceil_div(self.inputs, _FP8_BLOCK) * ceil_div(self.outputs, _FP8_BLOCK)
            return self.inputs * self.outputs + 4 * max(self.outputs, blocks)
        if dtype == "mxfp4" and self.expert:
            return ceil_div(self.inputs * self.outputs * 17, 32)
        return 2 * self.inputs * self.outputs


def weight_bytes(model: ModelFacts, dtype: WeightDtype, tp: int) -> int | Refusal:
    """Bytes of the weights on one rank, or why the model cannot be loaded so.

    embeddings + layers * (attention + feed-forward + norms) + rotary tables + latent copies + vision tower.
    Source: vLLM model definitions; within 1 % of logged sizes (MLA at tp 4: 1.4 % below).

    >>> from pathlib import Path
    >>> from planner.catalog import load_model
    >>> weight_bytes(load_model("llama-3.1-8b", Path()), "bf16", 1)  # log: 14.9888 GiB
    16094076928
    """
    refusal = _dtype_refusal(model, dtype) or shard_refusal(model, dtype, tp)
    if refusal is not None:
        return refusal
    linears = (*_attention(model, tp), *_feed_forward(model, dtype, tp))
    return (
        _embedding_bytes(model, tp)
        + sum(linear.bytes(dtype) for linear in linears)
        + _norm_bytes(model)
        + _rotary_bytes(model)
        + _latent_copy_bytes(model, tp)
        + 2 * model.vision_params
    )


def shard_refusal(model: ModelFacts, dtype: WeightDtype, tp: int) -> Refusal | None:
    """Why tensor parallelism over `tp` ranks does not divide the model, or None; engines assert the same."""
    reason = _indivisible(model, dtype, tp)
    if not reason:
        return None
    smaller = next((n for n in range(tp - 1, 0, -1) if not _indivisible(model, dtype, n)), None)
    nearest = None if smaller is None else f"tp{smaller}"
    return Refusal(Bottleneck.PARALLEL, f"tp{tp} does not divide {model.id}: {reason}", nearest)


def _indivisible(model: ModelFacts, dtype: WeightDtype, tp: int) -> str:
    if model.heads % tp:
        return f"{model.heads} attention heads"
    if not model.is_mla and model.kv_heads % tp and tp % model.kv_heads:
        return f"{model.kv_heads} KV heads can be neither split nor repeated evenly"
    if model.ffn_size % tp:
        return f"feed-forward width {model.ffn_size:,}"
    if model.expert_ffn_size % tp:
        return f"expert width {model.expert_ffn_size:,}"
    if dtype == "fp8" and model.native_weights == "fp8" and (model.expert_ffn_size // tp) % _FP8_BLOCK:
        return f"expert width {model.expert_ffn_size:,} over {tp} ranks breaks the fp8 blocks of {_FP8_BLOCK}"
    return ""


def _dtype_refusal(model: ModelFacts, dtype: WeightDtype) -> Refusal | None:
    if model.unsupported:
        reason = ", ".join(model.unsupported)
        return Refusal(Bottleneck.ARCHITECTURE, f"{model.id}: memory is not understood yet: {reason}")
    if model.native_weights != "bf16" and dtype != model.native_weights:
        message = f"{model.id} ships with {model.native_weights} weights, so {dtype} cannot be loaded"
        return Refusal(Bottleneck.ENGINE, message, model.native_weights)
    if dtype == "mxfp4" and model.native_weights != "mxfp4":
        return Refusal(Bottleneck.ENGINE, f"{model.id} has no mxfp4 weights", model.native_weights)
    return None


def _embedding_bytes(model: ModelFacts, tp: int) -> int:
    """Token embedding and output head (one when tied), vocabulary padded to 64 and split; OPT's positions."""
    padded = ceil_div(model.vocab_size, _VOCABULARY_PADDING) * _VOCABULARY_PADDING
    tensors = 1 if model.tied_embeddings else 2
    positions = (model.max_context_tokens + 2) * model.hidden_size if model.model_type == "opt" else 0
    return 2 * (tensors * ceil_div(padded, tp) * model.hidden_size + positions)


def _attention(model: ModelFacts, tp: int) -> tuple[Linear, ...]:
    """Projections of all layers. K and V heads are repeated when there are more ranks than heads."""
    hidden, layers, bias = model.hidden_size, model.layers, model.attention_bias
    heads = model.heads // tp
    if model.is_mla:
        return _latent_attention(model, heads)
    kv_heads = max(1, model.kv_heads // tp)
    fused = heads * model.head_dim + kv_heads * (model.head_dim + model.v_head_dim)
    return (
        Linear(hidden, fused, layers, bias),
        Linear(heads * model.v_head_dim, hidden, layers, bias and model.model_type not in _BIAS_ON_INPUT_ONLY),
    )


def _latent_attention(model: ModelFacts, heads: int) -> tuple[Linear, ...]:
    """Latent attention: the down projections are held by every rank, the rest is split by heads."""
    hidden, layers = model.hidden_size, model.layers
    queries = heads * (model.qk_nope_head_dim + model.qk_rope_head_dim)
    down = model.kv_lora_rank + model.qk_rope_head_dim
    query = (
        (Linear(hidden, model.q_lora_rank, layers), Linear(model.q_lora_rank, queries, layers))
        if model.q_lora_rank
        else (Linear(hidden, queries, layers),)
    )
    return (
        *query,
        Linear(hidden, down, layers),
        Linear(model.kv_lora_rank, heads * (model.qk_nope_head_dim + model.v_head_dim), layers),
        Linear(heads * model.v_head_dim, hidden, layers),
    )


def _feed_forward(model: ModelFacts, dtype: WeightDtype, tp: int) -> tuple[Linear, ...]:
    """Feed-forward matrices of all layers: dense, or router, shared and routed experts."""
    hidden, bias = model.hidden_size, model.ffn_bias
    sides = 2 if model.gated_ffn else 1
    dense = model.ffn_size // tp
    dense_layers = model.dense_layers if model.is_moe else model.layers
    matrices = [
        Linear(hidden, sides * dense, dense_layers, bias),
        Linear(dense, hidden, dense_layers, bias),
    ]
    if not model.is_moe:
        return tuple(matrices)
    layers = model.layers - model.dense_layers
    width, wide = model.expert_ffn_size // tp, hidden
    shared = model.shared_experts * width
    copies = layers * model.experts
    if dtype == "mxfp4":
        # Kernels for mxfp4 experts need widths in multiples of 128 and hidden sizes in multiples of 256.
        width, wide = ceil_div(width, 128) * 128, ceil_div(hidden, 256) * 256
    matrices += [
        Linear(hidden, model.experts, layers, bias, fp8=False),
        Linear(hidden, 1, layers if model.model_type == "qwen2_moe" else 0, fp8=False),
        Linear(hidden, sides * shared, layers),
        Linear(shared, hidden, layers),
        Linear(wide, sides * width, copies, bias, expert=True),
        Linear(width, wide, copies, bias, expert=True),
    ]
    return tuple(matrices)


def _norm_bytes(model: ModelFacts) -> int:
    """Norm weights, held by every rank: two a layer (four in Gemma-2 and 3), and the last one."""
    per_layer = (4 if model.model_type in _FOUR_NORMS else 2) * model.hidden_size
    if model.model_type == "opt":
        per_layer *= 2
    if model.model_type in _NORMED_HEADS:
        per_layer += 2 * model.head_dim
    if model.model_type == "olmo2":
        per_layer += (model.heads + model.kv_heads) * model.head_dim
    if model.is_mla:
        per_layer += model.q_lora_rank + model.kv_lora_rank
    last = model.hidden_size * (2 if model.model_type == "opt" else 1)
    return 2 * (model.layers * per_layer + last)


def _rotary_bytes(model: ModelFacts) -> int:
    """Tables of cosines and sines, one for all layers: positions * rotary size * 2 bytes; built while
    loading.

    Source: vLLM `rotary_embedding/base.py` (`cos_sin_cache`); it explains the 0.03 GiB that logs show above
    the parameters.
    """
    return 2 * model.rope_positions * (model.qk_rope_head_dim or model.head_dim)


def _latent_copy_bytes(model: ModelFacts, tp: int) -> int:
    """The two 16-bit matrices that MLA decoding derives from the up projection and keeps beside it.

    Source: vLLM `mla_attention.py`, `process_weights_after_loading` (W_UK_T and W_UV).
    """
    if not model.is_mla:
        return 0
    heads = model.heads // tp
    return 2 * model.layers * heads * (model.qk_nope_head_dim + model.v_head_dim) * model.kv_lora_rank
