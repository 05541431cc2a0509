"""What single architectures add to the config of a GGUF file: windows, latents, experts, recurrent layers.

Each function adds the fields that the model's own `config.json` has, under their Hugging Face names.
Source: llama.cpp `conversion/*.py` (which metadata a field became) and `src/llama-model.cpp` (how layers are
told apart where the metadata do not list them).
"""

from __future__ import annotations

from typing import TypeAlias

from planner.catalog.files import Json
from planner.catalog.gguf_metadata import Metadata

Config: TypeAlias = "dict[str, Json]"

LLAMA_4_CHUNK_TOKENS = 8_192
"""Chunk of Llama 4, which its GGUF files do not state. Source: llama.cpp `llama-model.cpp`, LLM_ARCH_LLAMA4."""

LLAMA_4_FULL_EVERY = 4


def _set(config: Config, **fields: int) -> None:
    """Add the fields that are not 0: 0 means that the metadata do not have them."""
    for key, value in fields.items():
        if value:
            config[key] = value


def windows(metadata: Metadata, config: Config, every: int) -> None:
    """`sliding_window` and `layer_types`; nothing where no window is set: all layers are full then."""
    window = metadata.count("attention.sliding_window")
    config["layer_types"] = [
        "sliding_attention" if slides and window else "full_attention" for slides in metadata.slides(every)
    ]
    if window:
        config["sliding_window"] = window
        if config["model_type"] == "olmo2":
            config["model_type"] = "olmo3"


def llama_or_relatives(metadata: Metadata, config: Config) -> None:
    """Llama, Mistral (with a window) and Mixtral (with experts) share one architecture."""
    window = metadata.count("attention.sliding_window")
    if metadata.count("expert_count"):
        config["model_type"] = "mixtral"
        experts_like_mixtral(metadata, config)
    elif window:
        config["model_type"] = "mistral"
    _set(config, sliding_window=window)


def experts_like_mixtral(metadata: Metadata, config: Config) -> None:
    """Experts as wide as `intermediate_size`; a shared one under its own name (Granite, Llama 4)."""
    experts = metadata.count("expert_count")
    if not experts:
        return
    key = "num_experts" if config["model_type"] == "olmoe" else "num_local_experts"
    config[key] = experts
    if config["model_type"] == "llama4_text":
        _set(config, intermediate_size_mlp=max(metadata.per_layer("feed_forward_length"), default=0))
    _set(
        config,
        num_experts_per_tok=metadata.count("expert_used_count"),
        intermediate_size=metadata.expert_width(),
        shared_intermediate_size=metadata.count("expert_shared_feed_forward_length"),
    )


def experts_like_qwen(metadata: Metadata, config: Config) -> None:
    """Experts of a width of their own, and perhaps one shared expert of another."""
    experts = metadata.count("expert_count")
    if not experts:
        return
    per_token = "top_k_experts" if config["model_type"] == "gemma4_text" else "num_experts_per_tok"
    _set(
        config,
        **{per_token: metadata.count("expert_used_count")},
        num_experts=experts,
        moe_intermediate_size=metadata.expert_width(),
        shared_expert_intermediate_size=metadata.count("expert_shared_feed_forward_length"),
    )


def experts_like_deepseek(metadata: Metadata, config: Config) -> None:
    """Routed and shared experts of one width after some dense layers."""
    experts = metadata.count("expert_count")
    if not experts:
        return
    _set(
        config,
        n_routed_experts=experts,
        num_experts_per_tok=metadata.count("expert_used_count"),
        moe_intermediate_size=metadata.expert_width(),
        n_shared_experts=metadata.count("expert_shared_count"),
        moe_shared_expert_intermediate_size=metadata.count("expert_shared_feed_forward_length"),
        first_k_dense_replace=metadata.count("leading_dense_block_count"),
    )


def latent_attention(metadata: Metadata, config: Config) -> None:
    """Multi-head latent attention, with the sparse indexer where there is one.

    Files since April 2025 state the sizes of single heads as `key_length_mla` and `value_length_mla`, and the
    latent as `key_length`; older ones state the heads as `key_length` and `value_length`.
    """
    rope = metadata.needed("rope.dimension_count")
    key_length = metadata.count("attention.key_length_mla") or metadata.count("attention.key_length")
    value_length = metadata.count("attention.value_length_mla") or metadata.count("attention.value_length")
    if key_length <= rope or not value_length:
        metadata.problems.append(f"heads of latent attention with keys of {key_length} and values of {value_length}")
    config.pop("head_dim", None)
    config["num_key_value_heads"] = metadata.heads
    config["kv_lora_rank"] = metadata.needed("attention.kv_lora_rank")
    _set(
        config,
        q_lora_rank=metadata.count("attention.q_lora_rank"),
        qk_rope_head_dim=rope,
        qk_nope_head_dim=max(key_length - rope, 0),
        v_head_dim=value_length,
        index_head_dim=metadata.count("attention.indexer.key_length"),
        index_n_heads=metadata.count("attention.indexer.head_count"),
        index_topk=metadata.count("attention.indexer.top_k"),
    )
    # Sigmoid gates (2) came with DeepSeek-V3; V2 weighs experts by softmax.
    if config["model_type"] == "deepseek_v2" and metadata.count("expert_gating_func") == 2:
        config["model_type"] = "deepseek_v3"


def delta_net_layers(metadata: Metadata, config: Config) -> None:
    """Gated DeltaNet in all layers but each `full_attention_interval`-th (4 where the file does not say)."""
    interval = metadata.count("full_attention_interval") or 4
    value_heads = metadata.needed("ssm.time_step_rank")
    config["layer_types"] = [
        "linear_attention" if (layer + 1) % interval else "full_attention" for layer in range(metadata.layers)
    ]
    config["full_attention_interval"] = interval
    config["linear_conv_kernel_dim"] = metadata.needed("ssm.conv_kernel")
    config["linear_num_value_heads"] = value_heads
    config["linear_value_head_dim"] = metadata.needed("ssm.inner_size") // value_heads
    config["linear_num_key_heads"] = metadata.needed("ssm.group_count")
    config["linear_key_head_dim"] = metadata.needed("ssm.state_size")
    if config["model_type"] != "qwen3_next":
        # All published Qwen3.5 and 3.6 configs keep this state in 32 bits, which GGUF files do not repeat.
        config["mamba_ssm_dtype"] = "float32"
        config["mtp_num_hidden_layers"] = metadata.draft_layers
        config.pop("num_nextn_predict_layers", None)


def granite_hybrid_layers(metadata: Metadata, config: Config) -> None:
    """Mamba-2 where a layer has no KV heads."""
    heads = metadata.needed("ssm.time_step_rank")
    inner = metadata.needed("ssm.inner_size")
    config["layer_types"] = [
        "attention" if kv_heads else "mamba" for kv_heads in metadata.kv_heads_per_layer[: metadata.layers]
    ]
    config["mamba_n_heads"] = heads
    config["mamba_d_head"] = inner // heads
    config["mamba_d_state"] = metadata.needed("ssm.state_size")
    config["mamba_d_conv"] = metadata.needed("ssm.conv_kernel")
    config["mamba_n_groups"] = metadata.needed("ssm.group_count")
    _set(config, mamba_expand=inner // metadata.needed("embedding_length"))


def nemotron_layers(metadata: Metadata, config: Config) -> None:
    """Mamba-2 (M), attention (*) and feed-forward layers (-, with experts E), each alone in its block."""
    heads = metadata.needed("ssm.time_step_rank")
    wide = metadata.per_layer("feed_forward_length")
    letter = "E" if metadata.count("expert_count") else "-"
    blocks = zip(metadata.kv_heads_per_layer, wide, strict=False)
    config["hybrid_override_pattern"] = "".join(
        "*" if kv_heads else letter if width else "M" for kv_heads, width in blocks
    )[: metadata.layers]
    config["mamba_num_heads"] = heads
    config["mamba_head_dim"] = metadata.needed("ssm.inner_size") // heads
    config["ssm_state_size"] = metadata.needed("ssm.state_size")
    config["n_groups"] = metadata.needed("ssm.group_count")
    config["conv_kernel"] = metadata.needed("ssm.conv_kernel")
    if letter == "E":
        # All published Nemotron-3 configs keep the state in 32 bits, which GGUF files do not repeat.
        config["mamba_ssm_cache_dtype"] = "float32"


def jamba_layers(metadata: Metadata, config: Config) -> None:
    """Mamba-1 but for one attention layer in each period; experts in one layer of each of their periods."""
    inner = metadata.needed("ssm.inner_size")
    attention = [layer for layer, kv_heads in enumerate(metadata.kv_heads_per_layer) if kv_heads]
    _set_period(metadata, config, "attn_layer", attention)
    config["mamba_d_state"] = metadata.needed("ssm.state_size")
    config["mamba_d_conv"] = metadata.needed("ssm.conv_kernel")
    config["mamba_expand"] = max(inner // metadata.needed("embedding_length"), 1)
    _set(
        config,
        mamba_dt_rank=metadata.count("ssm.time_step_rank"),
        num_experts=metadata.count("expert_count"),
        num_experts_per_tok=metadata.count("expert_used_count"),
    )
    experts = [layer for layer in range(metadata.layers) if f"blk.{layer}.ffn_gate_exps.weight" in metadata.tensors]
    if experts:
        _set_period(metadata, config, "expert_layer", experts)


def _set_period(metadata: Metadata, config: Config, name: str, layers: list[int]) -> None:
    """`{name}_period` and `{name}_offset` of layers that come at even steps."""
    if not layers:
        metadata.problems.append("no layer has KV heads")
        return
    offset = layers[0]
    period = layers[1] - offset if len(layers) > 1 else metadata.layers
    if layers != list(range(offset, metadata.layers, period)):
        metadata.problems.append(f"layers {layers[:8]} do not come at even steps")
    config[f"{name}_period"], config[f"{name}_offset"] = period, offset


def mamba_state(metadata: Metadata, config: Config) -> None:
    """Mamba-1 or Mamba-2 in every layer, without attention."""
    for key in ("num_attention_heads", "num_key_value_heads", "head_dim"):
        config.pop(key, None)
    inner = metadata.needed("ssm.inner_size")
    config["state_size"] = metadata.needed("ssm.state_size")
    config["conv_kernel"] = metadata.needed("ssm.conv_kernel")
    config["intermediate_size"] = inner
    if config["model_type"] == "mamba2":
        heads = metadata.needed("ssm.time_step_rank")
        config["num_heads"], config["head_dim"] = heads, inner // heads
        config["n_groups"] = metadata.needed("ssm.group_count")


def shared_kv_layers(metadata: Metadata, config: Config) -> None:
    """The last layers reuse the keys and values of earlier ones."""
    _set(config, num_kv_shared_layers=metadata.count("attention.shared_kv_layers"))


def gemma_4_layers(metadata: Metadata, config: Config) -> None:
    """Sliding layers have heads of `key_length_swa`; full ones have fewer, larger heads."""
    kinds = config["layer_types"]
    heads = metadata.kv_heads_per_layer[: metadata.layers]
    if not isinstance(kinds, list) or len(kinds) != len(heads):
        return
    sliding = {count for kind, count in zip(kinds, heads, strict=True) if kind == "sliding_attention"}
    full = {count for kind, count in zip(kinds, heads, strict=True) if kind == "full_attention"}
    if len(sliding) > 1 or len(full) > 1 or 0 in sliding | full:
        metadata.problems.append("KV heads differ between layers of one kind")
        return
    config["head_dim"], config["global_head_dim"] = metadata.window_key_length, metadata.key_length
    config["num_key_value_heads"] = min(sliding or full)
    if sliding and full and sliding != full:
        config["num_global_key_value_heads"] = min(full)
        # Full layers have KV heads of their own only where keys serve as values.
        config["attention_k_eq_v"] = True


def chunked_layers(metadata: Metadata, config: Config) -> None:
    """Chunked attention in all layers but every fourth; a window of 0 in the file switches it off."""
    if metadata.raw("attention.sliding_window") == 0:
        return
    config["attention_chunk_size"] = LLAMA_4_CHUNK_TOKENS
    config["no_rope_layers"] = [int((layer + 1) % LLAMA_4_FULL_EVERY != 0) for layer in range(metadata.layers)]
    _set(config, interleave_moe_layer_step=metadata.count("interleave_moe_layer_step"))


def falcon_heads(metadata: Metadata, config: Config) -> None:
    """One KV head for all (`multi_query`), or as many as stated (`new_decoder_architecture`)."""
    config["multi_query"] = metadata.kv_heads == 1
    config["new_decoder_architecture"] = metadata.kv_heads > 1
    config["num_kv_heads"] = metadata.kv_heads


def nested_kv_heads(metadata: Metadata, config: Config) -> None:
    """MPT keeps its KV heads in a nested object."""
    config["attn_config"] = {"kv_n_heads": metadata.kv_heads}


def old_names(metadata: Metadata, config: Config) -> None:
    """The field names of the first GPT configs, beside today's."""
    names = ("d_model", "n_heads", "n_layers") if config["model_type"] == "mpt" else ("n_embd", "n_head", "n_layer")
    values = (metadata.needed("embedding_length"), metadata.heads, metadata.layers)
    config.update(zip(names, values, strict=True))


def nas_blocks(metadata: Metadata, config: Config) -> None:
    """Blocks of different shapes; those without KV heads keep nothing."""
    widths = metadata.per_layer("feed_forward_length") or (0,) * metadata.blocks
    blocks: list[Json] = []
    for kv_heads, width in zip(metadata.kv_heads_per_layer, widths, strict=False):
        group = metadata.heads // kv_heads if kv_heads else None
        blocks.append(
            {
                "attention": {"n_heads_in_group": group, "no_op": not kv_heads, "replace_with_linear": False},
                "ffn": {"no_op": not width, "replace_with_linear": False, "intermediate_size": width or None},
            }
        )
    config["block_configs"] = blocks
    config.pop("num_key_value_heads", None)
