"""Bytes of KV cache: per token, per request, per block.

Two accountings exist and are never mixed. `logical` is what the formulas say a request needs: windows capped,
nothing rounded. `reserved` is what the block pool of the engine charges: whole blocks, one more where a
window may start inside one, and padding where layers of several kinds share a pool. Plans use `reserved`.

All figures are for one rank (one GPU) of a tensor-parallel replica.
Source: vLLM 0.11 to 0.33, `v1/core/kv_cache_utils.py` and `v1/kv_cache_interface.py`; checked against
start-up logs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from planner.catalog.types import BF16_KV, KvStorage, ModelFacts

Accounting = Literal["logical", "reserved"]


@dataclass(frozen=True)
class LayerGroup:
    """Layers of one kind: `groups` times `LayerPool.layers_per_group` layers, padding included."""

    window_tokens: int
    groups: int


@dataclass(frozen=True)
class LayerPool:
    """How the engine lays the layers into one pool of blocks.

    A block holds `layers_per_group` layers; whichever group owns it, it costs the same. Where the layers of a
    kind do not fill their last group, padding is charged.
    """

    layers_per_group: int
    kinds: tuple[LayerGroup, ...]

    @property
    def groups(self) -> int:
        """Groups over all kinds: blocks that a first token takes."""
        return sum(kind.groups for kind in self.kinds)


def ceil_div(amount: int, unit: int) -> int:
    """Smallest number of units that hold the amount."""
    return -(-amount // unit)


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


def layer_bytes_per_token(model: ModelFacts, storage: KvStorage, tp: int) -> int:
    """Bytes that one token takes in one layer, on one rank.

    GQA: max(1, kv_heads // tp) * (K vector + V vector); heads are replicated when tp exceeds them.
    MLA: one vector of kv_lora_rank + qk_rope_head_dim elements, the same on every rank.
    Source: vLLM `AttentionSpec` and `MLAAttentionSpec`.

    >>> from pathlib import Path
    >>> from planner.catalog import load_model
    >>> layer_bytes_per_token(load_model("llama-3.1-8b", Path()), BF16_KV, 1)  # 2 * 8 * 128 * 2
    4096
    """
    if model.is_mla:
        return vector_bytes(model.kv_lora_rank + model.qk_rope_head_dim, storage.k_bits, storage)
    key = vector_bytes(model.head_dim, storage.k_bits, storage)
    value = vector_bytes(model.v_head_dim, storage.v_bits, storage)
    return max(1, model.kv_heads // tp) * (key + value)


def layers_bytes_per_token(model: ModelFacts, storage: KvStorage, tp: int) -> tuple[int, ...]:
    """Bytes of one token in each layer that owns KV; the first and last `skip_layers` stay 16-bit."""
    stored = layer_bytes_per_token(model, storage, tp)
    layers = len(model.layer_windows)
    if not storage.skip_layers:
        return (stored,) * layers
    plain = layer_bytes_per_token(model, BF16_KV, tp)
    edge = min(storage.skip_layers, layers)
    return tuple(plain if layer < edge or layer >= layers - edge else stored for layer in range(layers))


def kv_bytes_per_token(model: ModelFacts, storage: KvStorage, tp: int) -> int:
    """Bytes of KV that one token takes over all layers on one rank, were every layer to keep its whole
    context.

    The textbook 2 * layers * kv_heads * head_dim * bytes for a dense model on one GPU.
    Source: PagedAttention (Kwon et al., SOSP 2023); vLLM `v1/kv_cache_interface.py`.

    >>> from pathlib import Path
    >>> from planner.catalog import load_model
    >>> kv_bytes_per_token(load_model("llama-2-7b", Path()), BF16_KV, 1)  # 2 x 32 x (32 x 128) x 2
    524288
    """
    return sum(layers_bytes_per_token(model, storage, tp))


def kv_bytes(
    model: ModelFacts,
    storage: KvStorage,
    tp: int,
    context_tokens: int,
    block_tokens: int,
    *,
    accounting: Accounting,
    max_num_batched_tokens: int,
) -> int:
    """Bytes of KV that one request of `context_tokens` takes on one rank.

    logical: sum over layers of min(context, window) * bytes of a token.
    reserved: sum over groups of blocks * bytes of a block; see `request_blocks`.

    Args:
        max_num_batched_tokens: tokens that may be in flight while a window slides; with releases that keep
        several steps
            in flight, times `EngineRules.in_flight_steps`.

    >>> from pathlib import Path
    >>> from planner.catalog import load_model
    >>> model = load_model("llama-3.1-8b", Path())
    >>> kv_bytes(model, BF16_KV, 1, 100, 16, accounting="reserved", max_num_batched_tokens=8192)  # 7 blocks
    14680064
    """
    if accounting == "logical":
        sizes = layers_bytes_per_token(model, storage, tp)
        return sum(
            size * min(context_tokens, window or context_tokens)
            for size, window in zip(sizes, model.layer_windows, strict=True)
        )
    blocks = request_blocks(model, context_tokens, block_tokens, max_num_batched_tokens)
    return blocks * block_bytes(model, storage, tp, block_tokens)


def request_blocks(model: ModelFacts, context_tokens: int, block_tokens: int, max_num_batched_tokens: int) -> int:
    """Blocks of the pool that one request takes, over all groups.

    full attention: ceil(context / block); sliding: ceil(min(window - 1 + batched, context) / block) + 1,
    since the window may start inside a block. Source: vLLM `FullAttentionSpec` and
    `SlidingWindowSpec.max_memory_usage_bytes`.
    """
    total = 0
    for kind in layer_pool(model).kinds:
        if kind.window_tokens:
            kept = min(kind.window_tokens - 1 + max_num_batched_tokens, context_tokens)
            total += kind.groups * (ceil_div(kept, block_tokens) + 1)
        else:
            total += kind.groups * ceil_div(context_tokens, block_tokens)
    return total


def block_bytes(model: ModelFacts, storage: KvStorage, tp: int, block_tokens: int) -> int:
    """Bytes of one block: `block_tokens` tokens in every layer of a group."""
    pool = layer_pool(model)
    if pool.groups == 1:
        return block_tokens * kv_bytes_per_token(model, storage, tp)
    return block_tokens * pool.layers_per_group * layer_bytes_per_token(model, storage, tp)


def layer_pool(model: ModelFacts) -> LayerPool:
    """Bucket the layers by window; each bucket makes ceil(n / g) groups of g layers.

    g is the smallest bucket, or the largest when it is less than 1.5 times as big (padding is cheaper then).
    Source: vLLM `v1/core/kv_cache_utils.py` (grouping of layers of one page size).

    >>> from pathlib import Path
    >>> from planner.catalog import load_model
    >>> pool = layer_pool(load_model("gemma-3-27b", Path()))  # 10 full and 52 sliding layers
    >>> pool.layers_per_group, pool.groups
    (10, 7)
    """
    buckets = Counter(model.layer_windows)
    smallest, largest = min(buckets.values()), max(buckets.values())
    size = largest if 2 * largest < 3 * smallest else smallest
    kinds = tuple(LayerGroup(window, ceil_div(buckets[window], size)) for window in sorted(buckets))
    return LayerPool(size, kinds)
