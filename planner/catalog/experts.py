"""Feed-forward layers of a model: dense or mixtures of experts, layer by layer.

A layer that runs a dense part beside its experts counts as a mixture whose shared experts have that width; the
matrices are the same. Source: vLLM 0.33 and transformers 5.23.0 model definitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from planner.catalog.families import Family
from planner.catalog.fields import Fields
from planner.catalog.files import Json
from planner.catalog.kinds import Kind
from planner.catalog.types import Ffn

_SHARED_WIDTHS = (
    "shared_expert_intermediate_size",
    "moe_shared_expert_intermediate_size",
    "shared_intermediate_size",
    "share_expert_dim",
)
_OF_WORDS: Mapping[str, Ffn] = {"-": "dense", "mlp": "dense", "E": "moe", "moe": "moe"}


@dataclass(frozen=True)
class FeedForward:
    """Sizes of the feed-forward layers; `layers` has one entry for each entry of `kv_layers`."""

    layers: tuple[Ffn, ...]
    dense_size: int
    experts: int = 0
    per_token: int = 0
    expert_size: int = 0
    shared: int = 0


def feed_forward(fields: Fields, family: Family, kinds: tuple[Kind, ...], hidden: int) -> FeedForward:
    """The feed-forward layers; what weights need and the config lacks goes into `fields.missing`."""
    inside = fields.inside("ffn_config") if fields.table("ffn_config") else fields
    experts = _experts(inside, family)
    layers = _layers(fields, family, kinds, bool(experts))
    dense = _dense_size(fields, family, hidden, "dense" in layers)
    if not experts or "moe" not in layers:
        return FeedForward(layers, dense)
    width = _expert_size(inside, family)
    if family.layout == "window_flags" and fields.value("moe_layer_freq") is None:
        fields.missing.append("moe_layer_freq")
    if fields.count("moe_latent_size", default=0):
        fields.missing.append("expert weights behind a latent projection (moe_latent_size)")
    return FeedForward(
        layers,
        dense,
        experts,
        inside.weight_width(
            "num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_top_k", "top_k_experts", "moe_k"
        ),
        width,
        _shared(fields, family, width, dense),
    )


def _experts(fields: Fields, family: Family) -> int:
    if not family.experts:
        return 0
    names = ("n_routed_experts", "num_local_experts", "num_experts", "moe_num_experts")
    return fields.count(*names, default=0) if family.experts_optional else fields.weight_count(*names)


def _dense_size(fields: Fields, family: Family, hidden: int, needed: bool) -> int:
    names: tuple[str, ...] = ("intermediate_size_mlp", "intermediate_size", "ffn_dim", "ffn_hidden_size", "n_inner")
    if family.experts == "ffn" and family.experts_optional:
        names = ("shared_intermediate_size", *names)
    found = fields.width(*names, default=family.ffn_ratio * hidden)
    if fields.flag("block_auto_adjust_ff_dim", False):
        found = _adjusted(fields, found)
    if needed and not found:
        fields.missing.append("intermediate_size")
    return found


def _adjusted(fields: Fields, width: int) -> int:
    """Two thirds of the stated width, in whole multiples. Source: transformers Lfm2MLP."""
    step = fields.count("block_multiple_of", default=256)
    return -(-(2 * width // 3) // step) * step


def _expert_size(fields: Fields, family: Family) -> int:
    if family.experts == "ffn":
        return fields.weight_width("intermediate_size", "ffn_hidden_size")
    return fields.weight_width("moe_intermediate_size", "expert_ffn_hidden_size", "ffn_hidden_size")


def _shared(fields: Fields, family: Family, width: int, dense_size: int) -> int:
    """Shared experts in units of one routed expert."""
    if family.layout == "chunks":  # Llama-4 runs one shared expert in every mixture.
        return 1
    beside = fields.count(*_SHARED_WIDTHS, default=0)
    if family.dense_beside_experts:
        beside = dense_size
        if not beside:
            fields.missing.append("intermediate_size")
    if beside and width:
        if beside % width:
            fields.missing.append(f"a shared expert of {beside:,} beside routed ones of {width:,}")
        return beside // width
    if family.layout == "pattern_string":
        fields.missing.append("moe_shared_expert_intermediate_size")
    return fields.width(
        "n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts", default=0
    )


def _layers(fields: Fields, family: Family, kinds: tuple[Kind, ...], has_experts: bool) -> tuple[Ffn, ...]:
    """Which layers are dense, mixtures or neither."""
    if family.layout == "pattern_string":
        words: list[Json] = fields.items("layer_types", "layers_block_type")
        words = words or [*fields.text("hybrid_override_pattern")]
        return tuple(_OF_WORDS.get(str(word), "none") for word in words[: len(kinds)])
    if not has_experts:
        plain: list[Ffn] = []
        for kind in kinds:
            plain += ["none", "dense"] if kind == "both" else ["dense"]
        return tuple(plain)
    if family.layout == "pairs":
        return tuple("dense" if layer % 2 else "moe" for layer in range(len(kinds)))
    return tuple("moe" if _is_mixture(fields, family, layer) else "dense" for layer in range(len(kinds)))


def _is_mixture(fields: Fields, family: Family, layer: int) -> bool:
    """Whether layer number `layer`, counted from 0, is a mixture."""
    flags = fields.items("moe_layer_freq")
    if flags:
        return layer < len(flags) and flags[layer] == 1
    if family.layout == "chunks":
        chosen = fields.items("moe_layers")
        return layer in chosen if chosen else (layer + 1) % fields.count("interleave_moe_layer_step") == 0
    if fields.value("expert_layer_period") is not None:
        return layer % fields.count("expert_layer_period") == fields.count("expert_layer_offset", default=0)
    if layer in fields.items("mlp_only_layers"):
        return False
    if (layer + 1) % fields.count("decoder_sparse_step", "moe_layer_interval", default=1):
        return False
    first = fields.count("first_k_dense_replace", "moe_layer_start_index", "num_dense_layers", default=0)
    return layer >= first and layer % _every(fields) == 0


def _every(fields: Fields) -> int:
    """`moe_layer_freq` as a number: every how many layers one is a mixture."""
    return 1 if isinstance(fields.value("moe_layer_freq"), list) else fields.count("moe_layer_freq", default=1)
