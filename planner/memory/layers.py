"""Bytes that each layer of a model keeps on one GPU, stage by stage.

Source: vLLM 0.11 to 0.33, `v1/kv_cache_interface.py`; SGLang 0.5, `pool_configurator.py`; TensorRT-LLM,
`resource_manager.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from planner.catalog.parallel import Parallel
from planner.catalog.types import BF16_KV, AttentionKv, EngineName, KvLayer, KvStorage, ModelFacts
from planner.memory.stages import ceil_div, stage_layers
from planner.memory.state import state_bytes

LayerReach = Literal["full", "sliding", "chunked", "state"]

INDEX_GROUP_ELEMENTS = 128
"""The keys of a sparse-attention indexer are fp8 with one fp32 scale per 128 elements."""


@dataclass(frozen=True)
class LayerKv:
    """What one layer keeps on one GPU: `token_bytes` of each token in reach, or `state_bytes` of a sequence."""

    reach: LayerReach
    window_tokens: int
    token_bytes: int
    state_bytes: int = 0


class Same:
    """Makes a large frozen record a cheap cache key: equal to itself alone, hashed by identity."""

    __slots__ = ("value",)

    def __init__(self, value: ModelFacts) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value


def vector_bytes(elements: int, bits: int, storage: KvStorage) -> int:
    """Bytes of one stored K or V vector of one head and token.

    ceil(elements * bits / 8) + ceil(elements / group) * scale_bytes + vector_bytes (group 0: no group
    scales).
    Source: vLLM `kv_cache_interface.py` (per-token-head scales: 4 bytes a vector; NVFP4: one fp8 scale per
    16).

    >>> vector_bytes(128, 4, KvStorage(4, 4, group=16, scale_bytes=1))  # NVFP4: 64 + 8
    72
    """
    scales = ceil_div(elements, storage.group) * storage.scale_bytes if storage.group else 0
    return ceil_div(elements * bits, 8) + scales + storage.vector_bytes


def layer_bytes_per_token(layer: AttentionKv, storage: KvStorage, tp: int, engine_name: EngineName = "vllm") -> int:
    """Bytes that one token takes in one attention layer, on one GPU.

    GQA: max(1, kv_heads // tp) * (K vector + V vector); heads are repeated when tp exceeds them. MLA: one
    vector, the same on every rank. A sparse-attention indexer adds its keys, not divided either.
    Source: vLLM `AttentionSpec` and `MLAAttentionSpec`; TensorRT-LLM rounds heads up instead.

    >>> layer_bytes_per_token(AttentionKv(8, 128, 128), BF16_KV, 4)  # 2 heads * (128 + 128) * 2
    1024
    >>> glm_5 = AttentionKv(1, 576, 0, rope_dim=64, index_dim=128)
    >>> layer_bytes_per_token(glm_5, KvStorage(8, 8), 8)  # 656 + 132
    788
    """
    if layer.is_latent:
        return _latent_bytes(layer, storage, engine_name) + index_bytes(layer.index_dim)
    key = vector_bytes(layer.key_dim, storage.k_bits, storage)
    value = vector_bytes(layer.value_dim, storage.v_bits, storage)
    heads = ceil_div(layer.kv_heads, tp) if engine_name == "tensorrt-llm" else max(1, layer.kv_heads // tp)
    return heads * (key + value) + index_bytes(layer.index_dim)


def index_bytes(index_dim: int) -> int:
    """Bytes of one indexer key: index_dim fp8 elements and a 4-byte scale per 128 of them.

    Source: vLLM `deepseek_v2.py` (`DeepseekV32IndexerCache`): 132 for 128 elements.
    """
    return index_dim + 4 * ceil_div(index_dim, INDEX_GROUP_ELEMENTS) if index_dim else 0


def _latent_bytes(layer: AttentionKv, storage: KvStorage, engine_name: EngineName) -> int:
    """One latent vector. Sparse attention packs fp8 as 512 fp8 + 4 fp32 scales + 64 16-bit rotary elements."""
    if storage.latent_bytes:
        return storage.latent_bytes
    if layer.index_dim and storage.k_bits == 8 and engine_name != "tensorrt-llm":
        latent = layer.key_dim - layer.rope_dim
        return latent + 4 * ceil_div(latent, INDEX_GROUP_ELEMENTS) + 2 * layer.rope_dim
    return vector_bytes(layer.key_dim, storage.k_bits, storage)


def stages_of(
    model: ModelFacts, storage: KvStorage, shape: Parallel, engine_name: EngineName, speculative_tokens: int = 0
) -> tuple[tuple[LayerKv, ...], ...]:
    """What each layer of each stage keeps on one GPU; layers that keep nothing are left out.

    Layers of multi-token prediction stand on the last stage, and only while the engine speculates.
    """
    return _stages(Same(model), storage, shape.tp, shape.pp, engine_name, speculative_tokens)


@lru_cache(maxsize=1024)
def _stages(
    same: Same, storage: KvStorage, tp: int, pp: int, engine_name: EngineName, speculative_tokens: int
) -> tuple[tuple[LayerKv, ...], ...]:
    model = same.value
    layers = model.kv_layers
    edge = min(storage.skip_layers, len(layers))
    kept = [
        _layer(
            layer,
            BF16_KV if place < edge or place >= len(layers) - edge else storage,
            tp,
            engine_name,
            speculative_tokens,
        )
        for place, layer in enumerate(layers)
    ]
    stages = [[kept[place] for place in stage] for stage in stage_layers(len(layers), pp, engine_name)]
    if speculative_tokens:
        stages[-1] += [_layer(layer, storage, tp, engine_name, speculative_tokens) for layer in model.draft_layers]
    return tuple(tuple(layer for layer in stage if layer is not None) for stage in stages)


def _layer(
    layer: KvLayer, storage: KvStorage, tp: int, engine_name: EngineName, speculative_tokens: int
) -> LayerKv | None:
    if layer is None:
        return None
    if isinstance(layer, AttentionKv):
        window = 0 if layer.reach == "full" else layer.window_tokens
        return LayerKv(layer.reach, window, layer_bytes_per_token(layer, storage, tp, engine_name))
    size = state_bytes(layer, tp, engine_name=engine_name, speculative_tokens=speculative_tokens)
    return LayerKv("state", 0, 0, size)
