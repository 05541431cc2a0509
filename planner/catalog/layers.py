"""What each layer of a model keeps, by its kind: heads, sizes, windows, states.

Source: vLLM 0.33 model definitions; configuration classes of transformers 5.23.0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from planner.catalog.families import Family
from planner.catalog.fields import MAX_LAYERS, MAX_WIDTH, Fields
from planner.catalog.files import Json
from planner.catalog.kinds import Kind, Kinds, draft_count, group_size
from planner.catalog.recurrent import state_layer
from planner.catalog.types import AttentionKv, KvLayer, Reach


@dataclass(frozen=True)
class Sizes:
    """Sizes of the common attention layer of a model, and the counts that the others derive from."""

    hidden: int
    heads: int
    kv_heads: int
    key_dim: int
    value_dim: int
    context: int
    latent_rank: int = 0
    rope_dim: int = 0
    index_dim: int = 0

    @property
    def attention(self) -> AttentionKv:
        """A layer with full attention."""
        if self.latent_rank:
            latent = self.latent_rank + self.rope_dim
            return AttentionKv(1, latent, 0, rope_dim=self.rope_dim, index_dim=self.index_dim)
        return AttentionKv(self.kv_heads, self.key_dim, self.value_dim, index_dim=self.index_dim)


def kv_layers(
    fields: Fields, family: Family, kinds: Kinds, sizes: Sizes, unsupported: list[str]
) -> tuple[KvLayer, ...]:
    """What each layer keeps. A layer with attention and a state gives two entries, attention first."""
    full = _full(fields, sizes)
    reaches: dict[Kind, KvLayer] = {"full": full, "none": None}
    if "sliding" in kinds:
        window = fields.count("sliding_window", "sliding_window_size")
        reaches["sliding"] = _within(_narrow(fields, sizes), "sliding", window, sizes.context)
    if "chunked" in kinds:
        chunk = fields.count("attention_chunk_size")
        reaches["chunked"] = _within(sizes.attention, "chunked", chunk, sizes.context)
    if "recurrent" in kinds or "both" in kinds:
        if family.recurrent:
            reaches["recurrent"] = state_layer(fields, family.recurrent, sizes.hidden, sizes.heads, sizes.key_dim)
        else:
            unsupported.append("recurrent layers, which this model type is not known to have")
    found: list[KvLayer] = []
    for layer, kind in enumerate(kinds):
        if family.layout == "blocks" and kind == "full":
            found.append(_block_layer(fields, fields.items("block_configs")[layer], sizes))
        elif kind == "both":
            found += [full, reaches.get("recurrent")]
        else:
            found.append(reaches.get(kind))
    return _without_shared(fields, tuple(found))


def draft_layers(fields: Fields, layers: tuple[KvLayer, ...], kinds: Kinds, sizes: Sizes) -> tuple[KvLayer, ...]:
    """The attention layers of multi-token prediction: full attention, of the model's own kind.

    Source: vLLM 0.33 (one decoder layer for each prediction layer).
    """
    own = [layer for layer in layers if isinstance(layer, AttentionKv) and layer.reach == "full"]
    layer = own[-1] if own else sizes.attention
    return (layer,) * draft_count(fields)


def _full(fields: Fields, sizes: Sizes) -> AttentionKv:
    """A layer with full attention; Gemma-4 gives its global layers larger heads, and fewer of them.

    `num_global_key_value_heads` counts only under `attention_k_eq_v`; engines store both K and V even so.
    Source: transformers 5.23.0 Gemma4TextConfig.
    """
    if sizes.latent_rank:
        return sizes.attention
    head_dim = fields.count("global_head_dim", default=0, most=MAX_WIDTH)
    heads = fields.count("num_global_key_value_heads", default=0, most=MAX_LAYERS)
    if not fields.flag("attention_k_eq_v", False):
        heads = 0
    layer = replace(sizes.attention, kv_heads=heads or sizes.kv_heads)
    return replace(layer, key_dim=head_dim, value_dim=head_dim) if head_dim else layer


def _narrow(fields: Fields, sizes: Sizes) -> AttentionKv:
    """A layer with a window; some models give these other heads (`swa_*`, `attention_other_setting`)."""
    if sizes.latent_rank:
        return sizes.attention
    other = fields.inside("attention_other_setting")
    groups = other.count("num_attention_groups", default=0, most=MAX_LAYERS)
    width = other.count("head_dim", default=0, most=MAX_WIDTH)
    key_dim = fields.count("swa_head_dim", default=width or sizes.key_dim, most=MAX_WIDTH)
    return AttentionKv(
        fields.count("swa_num_key_value_heads", default=groups or sizes.kv_heads, most=MAX_LAYERS),
        key_dim,
        fields.count("swa_v_head_dim", default=width or sizes.value_dim, most=MAX_WIDTH),
    )


def _within(layer: AttentionKv, reach: Reach, window_tokens: int, context: int) -> AttentionKv:
    """The layer with its window; one that covers the whole context is full attention."""
    if context and window_tokens >= context:
        return layer
    return replace(layer, reach=reach, window_tokens=window_tokens)


def _without_shared(fields: Fields, layers: tuple[KvLayer, ...]) -> tuple[KvLayer, ...]:
    """The last `num_kv_shared_layers` read the cache of earlier layers and own none.

    Source: transformers Gemma3nTextConfig; vLLM `kv_sharing_target_layer_name`.
    """
    shared = fields.count("num_kv_shared_layers", default=0, most=MAX_LAYERS)
    if shared >= len(layers) > 0:
        fields.problems.append(f"num_kv_shared_layers {shared} leaves none of {len(layers)} layers")
        return layers
    return layers[: len(layers) - shared] + (None,) * shared


def _block_layer(fields: Fields, block: Json, sizes: Sizes) -> KvLayer:
    """A block of its own shape: num_attention_heads // n_heads_in_group KV heads."""
    return replace(sizes.attention, kv_heads=max(1, sizes.heads // group_size(block)))
