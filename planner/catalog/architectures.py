"""From the fields of a `config.json` to `ModelFacts`, for the model types that are understood.

What KV needs and is missing or wrong is a sentence; what only weights need is named in `missing`. Parts whose bytes
are not settled are named in `unsupported`; unknown model types are refused by name, or bounded on demand.
Source: field rules of vLLM 0.33 `config/model.py`; defaults of transformers 5.23.0 configuration classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from fractions import Fraction

from planner.catalog.experts import feed_forward
from planner.catalog.families import FAMILIES, REVEALING, UNSETTLED, Family
from planner.catalog.fields import MAX_COUNT, MAX_LAYERS, MAX_WIDTH, Fields
from planner.catalog.files import Json
from planner.catalog.kinds import Kind, layer_kinds
from planner.catalog.layers import Sizes, draft_layers, kv_layers
from planner.catalog.nested import TEXT_INSIDE, text_fields
from planner.catalog.quantization import native_weights
from planner.catalog.types import AttentionKv, KvLayer, ModelFacts
from planner.catalog.vision import tower_params

MAX_ROPE_FACTOR = 10_000

_OUTER_FIELDS = ("tie_word_embeddings", "quantization_config", "compression_config")
"""Fields that a multimodal config keeps outside `text_config`."""


_OBJECTS = (
    "text_config",
    "rope_scaling",
    "rope_parameters",
    "quantization_config",
    "linear_attn_config",
    "attn_config",
)
_LISTS = ("layer_types", "layers_block_type", "block_configs", "hybrid_layer_pattern", "full_attn_idxs")


def facts_of_config(model_id: str, tree: Mapping[str, Json], source: str) -> ModelFacts | str:
    """Facts of a model from its config, or a sentence that says why there are none.

    A language model nested under `text_config` counts; its vision tower adds to the weights only.
    """
    model_type, inner = language_model(tree)
    if not model_type:
        return "model_type is missing, so the architecture is not known"
    if inner is tree and model_type in TEXT_INSIDE and not _is_flat(tree):
        return f"text_config is missing, which model_type '{model_type}' needs"
    text_type = TEXT_INSIDE.get(model_type, model_type)
    family = FAMILIES.get(text_type)
    if family is None:
        return refused_type(model_type, inner)
    wrong = _wrong_types(tree) + (_wrong_types(inner) if inner is not tree else [])
    if wrong:
        return "; ".join(dict.fromkeys(wrong))
    facts = text_facts(model_id, text_type, family, inner, source, str(tree.get("note") or ""))
    if isinstance(facts, str):
        return f"text_config: {facts}" if inner is not tree else facts
    return _with_tower(facts, tree) if inner is not tree or tree.get("vision_config") else facts


def _wrong_types(tree: Mapping[str, Json]) -> list[str]:
    """Objects and lists that are something else, which readers of single fields would take for absent."""
    return [
        f"{key} is {tree[key]!r:.60}, which is no {word}"
        for keys, kind, word in ((_OBJECTS, dict, "object"), (_LISTS, list, "list"))
        for key in keys
        if tree.get(key) is not None and not isinstance(tree[key], kind)
    ]


def is_understood(tree: Mapping[str, Json]) -> bool:
    """Whether the model type of a config is known, whatever is wrong with its fields."""
    model_type = language_model(tree)[0]
    return not model_type or TEXT_INSIDE.get(model_type, model_type) in FAMILIES


def language_model(tree: Mapping[str, Json]) -> tuple[str, Mapping[str, Json]]:
    """(model type, fields) of the language model inside a config, which may be the config itself."""
    outer = str(tree.get("model_type") or "")
    inner = text_fields(tree)
    if inner is None:
        return outer, tree
    merged = dict(inner)
    for key in _OUTER_FIELDS:
        if key in tree:
            merged.setdefault(key, tree[key])
    own = str(inner.get("model_type") or "")
    return (own if own in FAMILIES else TEXT_INSIDE.get(outer, own or outer)), merged


def _is_flat(tree: Mapping[str, Json]) -> bool:
    """Whether a multimodal config carries the fields of its language model itself, as Qwen2-VL does."""
    return tree.get("hidden_size") is not None


def _with_tower(facts: ModelFacts, tree: Mapping[str, Json]) -> ModelFacts:
    vision = tree.get("vision_config")
    outer = str(tree.get("model_type") or "")
    params = tower_params(vision, outer, facts.hidden_size) if isinstance(vision, dict) else "vision tower"
    if isinstance(params, str):
        return replace(facts, missing=(*facts.missing, params))
    return replace(facts, vision_params=params)


def refused_type(model_type: str, tree: Mapping[str, Json]) -> str:
    """The sentence that refuses a model type, with what its fields show it to hold."""
    parts = sorted({what for key, what in REVEALING if tree.get(key)})
    reason = f" (it has {', '.join(parts)})" if parts else ""
    near = ", ".join(sorted(get_close_matches(model_type, FAMILIES, n=3, cutoff=0.6)))
    known = f"nearest of the {len(FAMILIES)} that are: {near}" if near else f"{len(FAMILIES)} others are"
    return f"model_type '{model_type}' is not understood yet{reason}; {known}"


def text_facts(
    model_id: str, model_type: str, family: Family, tree: Mapping[str, Json], source: str, note: str
) -> ModelFacts | str:
    """Facts of a language model, or a sentence that lists every field of KV that is missing or wrong."""
    fields = Fields(tree, family.defaults)
    unsupported = [what for key, what in UNSETTLED if tree.get(key)]
    context, rope_positions = _positions(fields, model_type, unsupported)
    sizes = _sizes(fields, family, context, unsupported)
    layers = _layer_count(fields, family)
    kinds = layer_kinds(fields, family, layers, unsupported)
    kept = kv_layers(fields, family, kinds, sizes, unsupported) if len(kinds) == layers else ()
    ffn = feed_forward(fields, family, kinds, sizes.hidden)
    common = _common_attention(kept, sizes)
    facts = ModelFacts(
        id=model_id,
        model_type=model_type,
        layers=len(kept),
        hidden_size=sizes.hidden,
        heads=sizes.heads,
        kv_heads=common.kv_heads,
        head_dim=common.key_dim,
        v_head_dim=sizes.value_dim if sizes.latent_rank else common.value_dim,
        ffn_size=ffn.dense_size,
        gated_ffn=family.gated_ffn,
        vocab_size=fields.weight_count("vocab_size", "padded_vocab_size"),
        max_context_tokens=context,
        tied_embeddings=fields.flag("tie_word_embeddings", family.tied_embeddings),
        kv_layers=kept,
        ffn_layers=ffn.layers,
        draft_layers=draft_layers(fields, kept, kinds, sizes),
        kv_lora_rank=sizes.latent_rank,
        q_lora_rank=fields.count("q_lora_rank", default=0) if sizes.latent_rank else 0,
        qk_rope_head_dim=sizes.rope_dim,
        qk_nope_head_dim=fields.weight_count("qk_nope_head_dim") if sizes.latent_rank else 0,
        experts=ffn.experts,
        experts_per_token=ffn.per_token,
        expert_ffn_size=ffn.expert_size,
        shared_experts=ffn.shared,
        native_weights=native_weights(fields),
        unsupported=tuple(dict.fromkeys(unsupported)),
        missing=tuple(dict.fromkeys(_missing(fields, family, kinds))),
        source=source,
        attention_bias=fields.flag("attention_bias", False) or family.attention_bias,
        ffn_bias=fields.flag("mlp_bias", False) or family.ffn_bias,
        rope_positions=rope_positions if family.rotary or fields.text("position_embedding_type") == "rope" else 0,
        note=note,
    )
    return "; ".join(dict.fromkeys(fields.problems)) if fields.problems else facts


def _missing(fields: Fields, family: Family, kinds: tuple[Kind, ...]) -> list[str]:
    """What the weights of this model need and its fields do not settle."""
    missing = list(fields.missing)
    if family.layout == "blocks":
        missing.append("feed-forward widths of block_configs")
    if "both" in kinds and family.layout != "both":
        missing.append("weights of the shared attention blocks")
    if fields.count("hidden_size_per_layer_input", default=0):
        missing.append("per-layer embeddings (hidden_size_per_layer_input)")
    return missing


def _layer_count(fields: Fields, family: Family) -> int:
    """Layers of the model; a layer with two attention parts counts as two (LongCat-Flash)."""
    if family.layout == "pairs":
        return 2 * fields.count("num_layers", "num_hidden_layers", most=MAX_LAYERS)
    listed = len(fields.items("layers_block_type")) or len(fields.text("hybrid_override_pattern"))
    default = min(listed, MAX_LAYERS) or None
    return fields.count("num_hidden_layers", "n_layer", "n_layers", "num_layers", default=default, most=MAX_LAYERS)


def _sizes(fields: Fields, family: Family, context: int, unsupported: list[str]) -> Sizes:
    """Hidden size, heads and head sizes, in vLLM's order of fields."""
    hidden = fields.count("hidden_size", "n_embd", "d_model")
    heads = fields.count("num_attention_heads", "n_head", "n_heads", most=MAX_LAYERS)
    index_dim = fields.count("index_head_dim", default=0, most=MAX_WIDTH)
    if index_dim and not family.indexer:
        unsupported.append("a sparse-attention indexer (index_head_dim)")
    if fields.value("kv_lora_rank") is not None and not family.latent:
        unsupported.append("latent attention (kv_lora_rank)")
    rank = fields.count("kv_lora_rank", default=0, most=MAX_WIDTH) if family.latent else 0
    if rank:
        rope = fields.count("qk_rope_head_dim", most=MAX_WIDTH)
        value = fields.weight_count("v_head_dim")
        return Sizes(hidden, heads, 1, rank + rope, value, context, rank, rope, index_dim * family.indexer)
    kv_heads = _kv_heads(fields, family, heads)
    key_dim = _head_dim(fields, family, hidden, heads)
    value = fields.count("v_head_dim", default=key_dim, most=MAX_WIDTH)
    if heads % kv_heads:
        fields.problems.append(f"num_attention_heads {heads} is no multiple of num_key_value_heads {kv_heads}")
    return Sizes(hidden, heads, kv_heads, key_dim, value, context, index_dim=index_dim * family.indexer)


def _kv_heads(fields: Fields, family: Family, heads: int) -> int:
    if family.kv_heads == "multi_query":
        new = fields.flag("new_decoder_architecture", False)
        if not new and fields.flag("multi_query", False):
            return 1
        if not new and fields.value("new_decoder_architecture") is not None:
            return heads  # Falcon without either switch has plain multi-head attention.
    if family.kv_heads == "grouped_on_demand" and not fields.flag("multi_query_attention", False):
        return heads
    if family.kv_heads == "attn_config":
        return fields.inside("attn_config").count("kv_n_heads", default=heads, most=MAX_LAYERS)
    names = ("n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num", "num_attention_groups")
    return fields.count(*names, default=heads, most=MAX_LAYERS)


def _head_dim(fields: Fields, family: Family, hidden: int, heads: int) -> int:
    names = ("head_dim", "attention_head_dim", "hidden_size_per_head")
    found = fields.count(*names, default=0, most=MAX_WIDTH)
    if not found and hidden % heads:
        fields.problems.append(f"head_dim is missing and hidden_size {hidden} is no multiple of {heads} heads")
    return found or family.head_dim_factor * hidden // heads or 1


def _common_attention(kept: tuple[KvLayer, ...], sizes: Sizes) -> AttentionKv:
    """The attention layer that occurs most often, whatever its reach."""
    shapes = Counter(replace(layer, reach="full", window_tokens=0) for layer in kept if isinstance(layer, AttentionKv))
    return shapes.most_common(1)[0][0] if shapes else sizes.attention


def _positions(fields: Fields, model_type: str, unsupported: list[str]) -> tuple[int, int]:
    """(longest context that the engine accepts, rows of its rotary tables); 0 where the config does not say.

    `model_max_length` wins, as Command-R needs. YaRN counts from its original length, linear and dynamic scaling
    stretch `max_position_embeddings`, llama3 and longrope leave it. Gemma-3 states the stretched length already, and
    keeps a second, unscaled table for its sliding layers.
    """
    names = ("n_positions", "max_sequence_length", "max_seq_len", "seq_length")
    stated = fields.count("model_max_length", default=0)
    positions = stated or fields.weight_count("max_position_embeddings", *names)
    scaling = fields.table("rope_scaling") or fields.table("rope_parameters")
    if "full_attention" in scaling and isinstance(scaling["full_attention"], dict):
        scaling = scaling["full_attention"]
    kind = str(scaling.get("rope_type") or scaling.get("type") or "default")
    factor = scaling.get("factor", 1)
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 1 <= factor <= MAX_ROPE_FACTOR:
        fields.problems.append(f"rope_scaling factor is {factor!r}, which is no number from 1 to {MAX_ROPE_FACTOR:,}")
        return positions, positions
    scale = Fraction(factor)
    if model_type == "gemma3_text":
        return positions, int(positions * scale) + positions
    if kind in ("linear", "dynamic"):
        return int(positions * scale), int(positions * scale)
    if kind == "yarn":
        original = scaling.get("original_max_position_embeddings")
        start = original if isinstance(original, int) and 0 < original <= MAX_COUNT else positions
        return int(start * scale), int(start * scale)
    if kind not in ("default", "llama3", "longrope", "su", "mrope", "proportional"):
        unsupported.append(f"rope_scaling of type '{kind}'")
    return positions, positions
