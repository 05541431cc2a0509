"""Bytes of a checkpoint's tensors on one GPU, sharded by the well-known names of their modules.

Works for safetensors names (`model.layers.0.self_attn.q_proj.weight`) and GGUF names (`blk.0.attn_q.weight`).
What no pattern knows is taken as held by every rank, which never under-counts.
Source: vLLM model definitions (column, row and vocabulary parallel layers); llama.cpp `gguf-py/constants.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from planner.catalog.checkpoint_types import TensorInfo
from planner.catalog.parallel import Parallel
from planner.catalog.tensors import model_tensors
from planner.catalog.types import Bottleneck, ModelFacts, Refusal
from planner.memory.shards import shard_refusal
from planner.memory.stages import stage_layers

Split = Literal["column", "kv", "row", "expert", "vocabulary", "vision", "replicated"]

_LAYER = re.compile(r"(?:^|\.)(?:layers|blk|h|blocks)\.(\d+)\.")
_VISION = re.compile(r"(?:^|\.)(?:vision|visual|vision_tower|vision_model|multi_modal_projector|mm_projector|v|mm)\.")
_DRAFT = re.compile(r"(?:^|\.)mtp\.")
_EXPERT = re.compile(r"\.experts\.|_exps\b")
_EMBEDDING = re.compile(r"(?:^|\.)(?:embed_tokens|wte|word_embeddings|token_embd)\.")
_HEAD = re.compile(r"(?:^|\.)(?:lm_head|embed_out)\.|^output\.")
_KEY_VALUE = frozenset({"k_proj", "v_proj", "attn_k", "attn_v"})
_COLUMN = re.compile(
    r"(?:q|qkv|gate|up|gate_up|q_b|kv_b|in|f_b|g_b|b)_proj|in_proj_(?:qkvz|qkv|ba|z)|query_key_value|w[13]|fc1|c_attn|"
    r"c_fc|output_gate|conv1d|A_log|dense_h_to_4h|attn_(?:q|qkv|q_b|kv_b|k_b|v_b)|ffn_(?:gate|up)(?:_shexp)?|ssm_in"
)
_ROW = re.compile(r"(?:o|out|down|c)_proj|w2|fc2|dense|dense_4h_to_h|attn_output|ffn_down(?:_shexp)?|ssm_out")
_SMALL_SCALE = re.compile(r"scale|zero_point|zeros")


def weight_bytes_of_tensors(
    tensors: Sequence[TensorInfo], model: ModelFacts, shape: Parallel, stage: int | None = None
) -> int | Refusal:
    """Bytes of stored tensors on one GPU of a stage (None: the heaviest), with what the engine derives from them.

    Tensors of multi-token prediction are left out: engines load them only while they speculate.

    >>> from pathlib import Path
    >>> from planner.catalog import load_model
    >>> model = load_model("llama-3.1-8b", Path())
    >>> name = "model.layers.0.self_attn.q_proj.weight"
    >>> tables = 2 * model.rope_positions * model.head_dim
    >>> tensor = TensorInfo(name, "BF16", (4096, 4096), 33_554_432)
    >>> weight_bytes_of_tensors([tensor], model, Parallel(tp=4)) - tables
    8388608
    """
    if not tensors:
        return Refusal(Bottleneck.ARCHITECTURE, f"the checkpoint of {model.id} lists no tensors")
    refusal = None if model.missing else shard_refusal(model, model.native_weights, shape)
    if refusal is not None:
        return refusal
    owner = {layer: index for index, layers in enumerate(stage_layers(model.layers, shape.pp)) for layer in layers}
    has_head = any(_HEAD.search(tensor.name) for tensor in tensors)
    sizes = [_derived_bytes(model, shape)] * shape.pp
    for tensor in tensors:
        size = _local_bytes(tensor, model, shape)
        for home in _homes(tensor.name, owner, shape.pp - 1, has_head=has_head, tied=model.tied_embeddings):
            sizes[home] += size
    return max(sizes) if stage is None else sizes[stage]


def _homes(name: str, owner: dict[int, int], last: int, *, has_head: bool, tied: bool) -> tuple[int, ...]:
    """The stages that hold a tensor; none for those of multi-token prediction and a stored copy of a tied head."""
    if _DRAFT.search(name):
        return ()
    if _VISION.search(name):
        return tuple(range(last + 1))
    layer = _LAYER.search(name)
    if layer is not None:
        index = int(layer.group(1))
        return (owner[index],) if index in owner else ()
    if _EMBEDDING.search(name):
        return (0, last) if last and (tied or not has_head) else (0,)
    if _HEAD.search(name):
        return () if tied else (last,)
    return (last,) if "norm" in name else tuple(range(last + 1))


def tensor_split(name: str) -> Split:
    """How engines split the tensor of this name.

    >>> tensor_split("model.layers.3.mlp.experts.7.down_proj.weight"), tensor_split("blk.3.attn_norm.weight")
    ('expert', 'replicated')
    """
    if _VISION.search(name):
        return "vision"
    if _EXPERT.search(name):
        return "expert"
    if _EMBEDDING.search(name) or _HEAD.search(name):
        return "vocabulary"
    parts = name.split(".")
    modules = {re.sub(r"_(?:blocks|scales|bias)$", "", part) for part in parts[-2:]}
    if modules & _KEY_VALUE:
        return "kv"
    if any(_COLUMN.fullmatch(module) for module in modules):
        return "column"
    return "row" if any(_ROW.fullmatch(module) for module in modules) else "replicated"


def _local_bytes(tensor: TensorInfo, model: ModelFacts, shape: Parallel) -> int:
    split, size, ranks = tensor_split(tensor.name), _loaded_bytes(tensor), shape.tp
    if split == "replicated" or len(tensor.shape) == 0 or tensor.shape == (1,):
        return size
    if split == "row" and (len(tensor.shape) < 2 or (tensor.shape[-1] == 1 and _SMALL_SCALE.search(tensor.name))):
        return size  # biases and per-row scales of row-parallel layers are whole on every rank
    if split == "kv" and not model.is_mla:
        heads = max(1, model.kv_heads)
        return -(-size * max(1, -(-heads // shape.tp)) // heads)
    if split == "expert":
        ranks = shape.expert_ranks
        if shape.ep and model.experts:
            return -(-size * -(-model.experts // ranks) // model.experts)
    return -(-size // ranks)


def _loaded_bytes(tensor: TensorInfo) -> int:
    """Bytes once loaded: matrices stored in 32-bit floats are loaded in 16 bits."""
    is_matrix = tensor.name.endswith(".weight") and len(tensor.shape) >= 2
    return tensor.size_bytes // 2 if is_matrix and tensor.dtype == "F32" else tensor.size_bytes


def _derived_bytes(model: ModelFacts, shape: Parallel) -> int:
    """Rotary tables and the copies of latent attention, which no checkpoint stores."""
    derived = (tensor for tensor in model_tensors(model) if tensor.name in ("rotary", "kv_b_copy"))
    parts = (tensor.local(shape) for tensor in derived)
    return sum(2 * rows * cols * copies for rows, cols, copies in parts)
