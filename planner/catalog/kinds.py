"""Which layer of a model is of which kind: full attention, windows, chunks, recurrent, none.

`layer_types` wins over every other field; without it the layout of the model type says where to look.
Source: vLLM 0.33 model definitions; configuration classes of transformers 5.23.0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from planner.catalog.families import Family, Layout
from planner.catalog.fields import MAX_LAYERS, Fields
from planner.catalog.files import Json

Kind = Literal["full", "sliding", "chunked", "recurrent", "none", "both"]
Kinds = tuple[Kind, ...]

_FULL: Kind = "full"
_SLIDING: Kind = "sliding"
_CHUNKED: Kind = "chunked"
_RECURRENT: Kind = "recurrent"
_NONE: Kind = "none"
_BOTH: Kind = "both"

_KINDS: Mapping[str, Kind] = {
    "full_attention": "full",
    "attention": "full",
    "deepseek_sparse_attention": "full",
    "sliding_attention": "sliding",
    "chunked_attention": "chunked",
    "linear_attention": "recurrent",
    "mamba": "recurrent",
    "mamba2": "recurrent",
    "conv": "recurrent",
    "mlp": "none",
    "moe": "none",
    "hybrid": "both",
}
"""Words of `layer_types` and `layers_block_type`."""

_LETTERS: Mapping[str, Kind] = {"M": "recurrent", "*": "full", "-": "none", "E": "none"}
"""Letters of `hybrid_override_pattern`: Mamba, attention, feed-forward, experts."""


def layer_kinds(fields: Fields, family: Family, layers: int, unsupported: list[str]) -> Kinds:
    """The kind of each layer, those of multi-token prediction after the last excluded."""
    names = fields.items("layer_types", "layers_block_type")
    if names and family.layout != "blocks":
        return _named_kinds(fields, names, layers, unsupported)
    kinds = _LAYOUTS[family.layout](fields, family, layers)
    if len(kinds) != layers:
        fields.problems.append(f"the pattern of layers has {len(kinds)} entries, num_hidden_layers says {layers}")
    if family.recurrent and family.layout == "plain":
        fields.problems.append("layer_types is missing, so it is not known which layers are recurrent")
    return kinds


def _named_kinds(fields: Fields, names: list[Json], layers: int, unsupported: list[str]) -> Kinds:
    if not layers <= len(names) <= layers + draft_count(fields):
        fields.problems.append(f"layer_types lists {len(names)} layers, num_hidden_layers says {layers}")
    others = sorted({str(name) for name in names if str(name) not in _KINDS})
    unsupported.extend(f"layers of type '{name}'" for name in others)
    return tuple(_KINDS.get(str(name), _FULL) for name in names[:layers])


def _plain(fields: Fields, family: Family, layers: int) -> Kinds:
    if not fields.count("sliding_window", default=0) or family.windows == "none":
        return (_FULL,) * layers
    if family.windows == "all":
        return (_SLIDING,) * layers
    if family.windows == "switch":
        full = fields.count("max_window_layers", default=0) if fields.flag("use_sliding_window", False) else layers
        return tuple(_FULL if layer < full else _SLIDING for layer in range(layers))
    letters = fields.text("sliding_window_pattern")
    if letters and set(letters) <= {"L", "G"}:
        return _lettered(letters, layers)
    every = fields.count("sliding_window_pattern", "_sliding_window_pattern", default=family.full_every)
    return tuple(_SLIDING if (layer + 1) % every else _FULL for layer in range(layers))


def _lettered(letters: str, layers: int) -> Kinds:
    """L for local and G for global, repeated; the last layer is global. Source: EXAONE-4 `check_is_sliding`."""
    kinds = [_SLIDING if letters[layer % len(letters)] == "L" else _FULL for layer in range(layers)]
    return (*kinds[:-1], _FULL)


def _interval(fields: Fields, family: Family, layers: int) -> Kinds:
    every = fields.count("full_attention_interval")
    return tuple(_RECURRENT if (layer + 1) % every else _FULL for layer in range(layers))


def _pattern_string(fields: Fields, family: Family, layers: int) -> Kinds:
    pattern = fields.text("hybrid_override_pattern")
    strange = sorted(set(pattern) - set(_LETTERS))
    if strange:
        fields.problems.append(f"hybrid_override_pattern has '{strange[0]}', which is none of M, *, - and E")
    if not pattern:
        fields.problems.append("hybrid_override_pattern is missing, and so is layers_block_type")
        return (_FULL,) * layers
    return tuple(_LETTERS.get(letter, _FULL) for letter in pattern)


def _window_flags(fields: Fields, family: Family, layers: int) -> Kinds:
    flags = fields.items("hybrid_layer_pattern")
    if not flags:
        fields.problems.append("hybrid_layer_pattern is missing")
        return (_FULL,) * layers
    return tuple(_SLIDING if flag == 1 else _FULL for flag in flags)


def _attention_flags(fields: Fields, family: Family, layers: int) -> Kinds:
    flags = fields.items("attn_type_list")
    if not flags:
        if family.recurrent:
            fields.problems.append("attn_type_list is missing")
        return (_FULL,) * layers
    if not family.recurrent and any(flag != 1 for flag in flags):
        fields.problems.append("attn_type_list marks layers as linear, which this model type does not have")
    return tuple(_FULL if flag == 1 else _RECURRENT for flag in flags)


def _period(fields: Fields, family: Family, layers: int) -> Kinds:
    every = fields.count("attn_layer_period")
    first = fields.count("attn_layer_offset", default=0)
    return tuple(_FULL if layer % every == first else _RECURRENT for layer in range(layers))


def _linear_attn(fields: Fields, family: Family, layers: int) -> Kinds:
    """`linear_attn_config` counts layers from 1."""
    inside = fields.inside("linear_attn_config")
    full, linear = inside.items("full_attn_layers"), inside.items("kda_layers")
    if not all(isinstance(layer, int) for layer in (*full, *linear)) or sorted(
        layer for layer in (*full, *linear) if isinstance(layer, int)
    ) != list(range(1, layers + 1)):
        fields.problems.append(f"linear_attn_config does not name each of the {layers} layers once")
    return tuple(_FULL if layer + 1 in full else _RECURRENT for layer in range(layers))


def _chunks(fields: Fields, family: Family, layers: int) -> Kinds:
    """Llama-4: layers without rotary embedding look at everything, the others at their chunk."""
    if not fields.count("attention_chunk_size", default=0):
        return (_FULL,) * layers
    flags = fields.items("no_rope_layers")
    if flags:
        return tuple(_CHUNKED if flag == 1 else _FULL for flag in flags)
    every = fields.count("no_rope_layer_interval")
    return tuple(_CHUNKED if (layer + 1) % every else _FULL for layer in range(layers))


def _blocks(fields: Fields, family: Family, layers: int) -> Kinds:
    return tuple(_FULL if group_size(block) else _NONE for block in fields.items("block_configs"))


def _both(fields: Fields, family: Family, layers: int) -> Kinds:
    return (_BOTH,) * layers


def _pairs(fields: Fields, family: Family, layers: int) -> Kinds:
    return (_FULL,) * layers


def _indices(fields: Fields, family: Family, layers: int) -> Kinds:
    full = fields.items("full_attn_idxs")
    if not full:
        fields.problems.append("layer_types is missing, and so is full_attn_idxs")
    return tuple(_FULL if layer in full else _RECURRENT for layer in range(layers))


_LAYOUTS: Mapping[Layout, Callable[[Fields, Family, int], Kinds]] = {
    "plain": _plain,
    "interval": _interval,
    "pattern_string": _pattern_string,
    "window_flags": _window_flags,
    "attention_flags": _attention_flags,
    "period": _period,
    "linear_attn": _linear_attn,
    "chunks": _chunks,
    "blocks": _blocks,
    "both": _both,
    "pairs": _pairs,
    "indices": _indices,
}


def group_size(block: Json) -> int:
    """Query heads of one KV head in a block of `block_configs`; 0 where the block has no attention."""
    attention = block.get("attention") if isinstance(block, dict) else None
    if not isinstance(attention, dict) or attention.get("no_op") is True:
        return 0
    size = attention.get("n_heads_in_group")
    return size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else 0


def draft_count(fields: Fields) -> int:
    """Layers of multi-token prediction."""
    return fields.count("num_nextn_predict_layers", "mtp_num_hidden_layers", default=0, most=MAX_LAYERS)
