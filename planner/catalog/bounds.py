"""The least and the most that a model of an unknown type may keep, from the standard fields of its config.

The upper bound is full attention in every layer at the largest sizes that the config names. The lower bound counts
only the layers that the config marks as attention, windows capped, at the smallest sizes. Recurrent states, which
do not grow with the context, are in neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from planner.catalog.architectures import language_model, text_facts
from planner.catalog.families import UNSETTLED, Family, Layout
from planner.catalog.fields import MAX_LAYERS, MAX_WIDTH, Fields
from planner.catalog.files import Json
from planner.catalog.kinds import Kind, layer_kinds
from planner.catalog.types import AttentionKv, KvLayer, ModelFacts

_PLAIN = Family(experts="own", experts_optional=True, latent=True, indexer=True)
_LAYOUT_OF: tuple[tuple[str, Layout], ...] = (
    ("hybrid_override_pattern", "pattern_string"),
    ("attn_type_list", "attention_flags"),
    ("linear_attn_config", "linear_attn"),
    ("full_attention_interval", "interval"),
    ("attn_layer_period", "period"),
    ("hybrid_layer_pattern", "window_flags"),
    ("attention_chunk_size", "chunks"),
    ("block_configs", "blocks"),
)
_PATTERNS = frozenset(
    {key for key, _ in (*_LAYOUT_OF, *UNSETTLED)} | {"layer_types", "layers_block_type", "num_kv_shared_layers"}
)
_COMMON_KV_HEADS = ("n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num", "num_attention_groups")
_KV_HEADS = ("swa_num_key_value_heads", "num_global_key_value_heads")
_KEY_DIMS = ("swa_head_dim", "global_head_dim")
_VALUE_DIMS = ("swa_v_head_dim", "global_head_dim")
_ATTENTION_KINDS = ("full", "sliding", "chunked", "both")

_NOTE = {
    "low": "not understood, bounded: only layers that the config marks as attention, windows capped, no states",
    "high": "not understood, bounded: full attention in every layer, no recurrent states",
}


def bounded_facts(model_id: str, tree: Mapping[str, Json], source: str) -> tuple[ModelFacts, ModelFacts] | str:
    """(low, high) facts of a model whose architecture is not understood, or why it cannot be bounded either."""
    model_type, inner = language_model(tree)
    fields = Fields(inner)
    kinds = _kinds(fields, inner)
    if fields.problems:
        return f"model_type '{model_type}' cannot be bounded: {'; '.join(dict.fromkeys(fields.problems))}"
    plain = {key: value for key, value in inner.items() if key not in _PATTERNS.union(_KV_HEADS, _KEY_DIMS)}
    plain["num_hidden_layers"] = len(kinds)
    facts = text_facts(model_id, model_type, _PLAIN, plain, source, "")
    if isinstance(facts, str):
        return f"model_type '{model_type}' cannot be bounded: {facts}"
    wide, narrow = _extremes(fields, facts)
    if fields.problems:
        return f"model_type '{model_type}' cannot be bounded: {'; '.join(dict.fromkeys(fields.problems))}"
    low = tuple(_least(fields, kind, narrow) for kind in kinds)
    shared = fields.count("num_kv_shared_layers", default=0, most=len(kinds))
    low = low[: len(low) - shared] + (None,) * shared
    if fields.problems:
        return f"model_type '{model_type}' cannot be bounded: {'; '.join(dict.fromkeys(fields.problems))}"
    return _with(facts, narrow, low, "low"), _with(facts, wide, (wide,) * len(kinds), "high")


def _kinds(fields: Fields, tree: Mapping[str, Json]) -> tuple[Kind, ...]:
    """The kind of each layer as far as the config tells; words of `layer_types` that are unknown count as none."""
    layout: Layout = next((layout for key, layout in _LAYOUT_OF if tree.get(key)), "plain")
    layers = fields.count(
        "num_hidden_layers",
        "n_layer",
        "n_layers",
        "num_layers",
        default=min(len(fields.text("hybrid_override_pattern")), MAX_LAYERS) or None,
        most=MAX_LAYERS,
    )
    family = replace(_PLAIN, layout=layout, recurrent="" if layout == "plain" else "linear", windows="all")
    unknown: list[str] = []
    kinds = layer_kinds(fields, family, layers, unknown)
    names = fields.items("layer_types", "layers_block_type")
    strange = {f"layers of type '{name}'" for name in names} & set(unknown)
    if not strange:
        return kinds
    return tuple(
        "none" if f"layers of type '{name}'" in strange else kind for name, kind in zip(names, kinds, strict=False)
    )


def _extremes(fields: Fields, facts: ModelFacts) -> tuple[AttentionKv, AttentionKv]:
    """The largest and the smallest attention layer that the sizes of the config allow.

    Where no field names the KV heads, there is at least one and at most one for each attention head.
    """
    common = next(layer for layer in facts.kv_layers if isinstance(layer, AttentionKv))
    index = _index_dim(fields) or common.index_dim
    if common.is_latent:
        return replace(common, index_dim=index), replace(common, index_dim=0)
    heads = [common.kv_heads, *_present(fields, _KV_HEADS, MAX_LAYERS)]
    named = any(fields.value(name) is not None for name in _COMMON_KV_HEADS)
    fewest = min(heads) if named and fields.value("multi_query") is not True else 1
    keys = [common.key_dim, *_present(fields, _KEY_DIMS, MAX_WIDTH)]
    values = [common.value_dim, *_present(fields, _VALUE_DIMS, MAX_WIDTH)]
    wide = AttentionKv(max(heads), max(keys), max(values), index_dim=index)
    if fields.value("compress_ratios") is not None:  # One vector stands for key and value there.
        return wide, AttentionKv(1, min(keys), 0)
    return wide, AttentionKv(fewest, min(keys), min(values))


def _index_dim(fields: Fields) -> int:
    """A sparse index at most: the keys of every index head in 16 bits, that is twice as many bytes."""
    inside = fields.inside("sparse_attention_config")
    size = inside.count("sparse_index_dim", default=0, most=MAX_WIDTH)
    return 2 * size * inside.count("sparse_num_index_heads", default=1, most=MAX_LAYERS)


def _present(fields: Fields, names: tuple[str, ...], most: int) -> list[int]:
    found = (fields.count(name, default=0, most=most) for name in names)
    return [size for size in found if size]


def _least(fields: Fields, kind: Kind, narrow: AttentionKv) -> KvLayer:
    if kind == "sliding":
        window = fields.count("sliding_window", "sliding_window_size")
        return replace(narrow, reach="sliding", window_tokens=window)
    if kind == "chunked":
        return replace(narrow, reach="chunked", window_tokens=fields.count("attention_chunk_size"))
    return narrow if kind in _ATTENTION_KINDS else None


def _with(facts: ModelFacts, layer: AttentionKv, kept: tuple[KvLayer, ...], bound: str) -> ModelFacts:
    return replace(
        facts,
        kv_heads=layer.kv_heads,
        head_dim=layer.key_dim,
        v_head_dim=facts.v_head_dim if facts.is_mla else layer.value_dim,
        kv_layers=kept,
        draft_layers=tuple(layer for _ in facts.draft_layers),
        unsupported=(),
        bound="low" if bound == "low" else "high",
        note=f"model_type '{facts.model_type}' is {_NOTE[bound]}",
    )
