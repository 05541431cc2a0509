"""Which weight formats a model has, and which parallel shapes divide it."""

from __future__ import annotations

from planner.catalog.parallel import Parallel
from planner.catalog.types import Bottleneck, ModelFacts, Refusal, StateKv
from planner.memory.formats import is_gguf, weight_formats

_FP8_BLOCK = 128
_PER_LAYER_INPUTS = frozenset({"gemma3n", "gemma3n_text"})


def weight_refusal(model: ModelFacts, dtype: str) -> Refusal | None:
    """Why the model has no weights of this format, or none that are understood; None: it has."""
    if model.unsupported:
        reason = ", ".join(model.unsupported)
        return Refusal(Bottleneck.ARCHITECTURE, f"{model.id}: memory is not understood yet: {reason}")
    missing = model.missing
    if not missing and model.model_type in _PER_LAYER_INPUTS:
        missing = ("per-layer embeddings (hidden_size_per_layer_input)",)
    if missing:
        message = (
            f"weights of {model.id} need fields that its config does not give: {', '.join(missing)}; "
            "give the safetensors index, or --weights-gib"
        )
        return Refusal(Bottleneck.ARCHITECTURE, message)
    if dtype not in weight_formats():
        message = f"weight format '{dtype}' is not known; known are {', '.join(weight_formats())}"
        return Refusal(Bottleneck.ENGINE, message, model.native_weights)
    if model.native_weights != "bf16" and dtype != model.native_weights and not is_gguf(dtype):
        message = f"{model.id} ships with {model.native_weights} weights, so {dtype} cannot be loaded"
        return Refusal(Bottleneck.ENGINE, message, model.native_weights)
    if dtype == "mxfp4" and model.native_weights != "mxfp4":
        return Refusal(Bottleneck.ENGINE, f"{model.id} has no mxfp4 weights", model.native_weights)
    return None


def shard_refusal(model: ModelFacts, dtype: str, shape: Parallel) -> Refusal | None:
    """Why a parallel shape does not divide the model, or None; engines assert the same."""
    reason = _indivisible(model, dtype, shape)
    if not reason:
        return None
    smaller = (Parallel(n, shape.pp, shape.dp, 1, shape.ep) for n in range(shape.tp - 1, 0, -1))
    fitting = next((each for each in smaller if not _indivisible(model, dtype, each)), None)
    nearest = None if fitting is None else str(fitting)
    return Refusal(Bottleneck.PARALLEL, f"{shape} does not divide {model.id}: {reason}", nearest)


def _indivisible(model: ModelFacts, dtype: str, shape: Parallel) -> str:
    tp = shape.tp
    if shape.pp > model.layers:
        return f"{model.layers} layers"
    if model.heads % tp:
        return f"{model.heads} attention heads"
    if not model.is_mla and model.kv_heads % tp and tp % max(1, model.kv_heads):
        return f"{model.kv_heads} KV heads can be neither split nor repeated evenly"
    state = next((layer for layer in model.kv_layers if isinstance(layer, StateKv) and layer.heads % tp), None)
    if state is not None and state.heads > 1:
        return f"{state.heads} heads of its recurrent layers"
    if model.ffn_size % tp:
        return f"feed-forward width {model.ffn_size:,}"
    if shape.ep and model.is_moe:
        return "" if shape.expert_ranks <= model.experts else f"{model.experts} experts"
    ranks = shape.expert_ranks if model.is_moe else 1
    width = model.expert_ffn_size
    if width % ranks:
        return f"expert width {width:,}"
    if dtype == "fp8" and model.native_weights == "fp8" and (width // ranks) % _FP8_BLOCK:
        return f"expert width {width:,} over {ranks} ranks breaks the fp8 blocks of {_FP8_BLOCK}"
    return ""
