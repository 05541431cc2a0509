"""What a model type implies beyond the fields of its config: one row for each type that is understood.

Defaults are those of the transformers class of the type; a field without a published default is never guessed.
Source: vLLM 0.33 model definitions; configuration classes of transformers 5.23.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from planner.catalog.files import Json

Windows = Literal["none", "all", "switch", "pattern"]
"""Which layers slide without `layer_types`: none; all (vLLM applies a lone `sliding_window` to every layer); those
from `max_window_layers` on where `use_sliding_window` is set; or all but every n-th (the pattern of the type)."""

Layout = Literal[
    "plain",
    "interval",
    "pattern_string",
    "window_flags",
    "attention_flags",
    "period",
    "linear_attn",
    "chunks",
    "blocks",
    "both",
    "pairs",
    "indices",
]
"""Where a config says which layer is of which kind when it has no `layer_types`.

plain: windows only. interval: `full_attention_interval`. pattern_string: `hybrid_override_pattern`. window_flags:
`hybrid_layer_pattern`. attention_flags: `attn_type_list`. period: `attn_layer_period`. linear_attn:
`linear_attn_config`. chunks: `no_rope_layers`. blocks: `block_configs`. both: attention and a state in every layer.
pairs: two attention parts in every layer. indices: `full_attn_idxs`.
"""

Recurrent = Literal["", "mamba1", "mamba2", "gdn", "kda", "linear", "short_conv"]
KvHeads = Literal["fields", "multi_query", "attn_config", "grouped_on_demand"]
"""Where the KV heads stand: in the usual fields; 1 under `multi_query`; inside `attn_config`; or in
`multi_query_group_num`, which counts only under `multi_query_attention`."""


@dataclass(frozen=True)
class Family:
    """What a model type implies beyond its fields."""

    gated_ffn: bool = True
    tied_embeddings: bool = False
    attention_bias: bool = False
    ffn_bias: bool = False
    rotary: bool = True
    windows: Windows = "none"
    full_every: int = 0
    """With windows "pattern": every how many layers one is full; 1 layer in 2 for Gemma-2, 1 in 6 for Gemma-3."""
    layout: Layout = "plain"
    recurrent: Recurrent = ""
    latent: bool = False
    """Whether `kv_lora_rank` means that engines keep latents (multi-head latent attention)."""
    indexer: bool = False
    """Whether `index_head_dim` is the key of a sparse-attention indexer, kept in every layer."""
    kv_heads: KvHeads = "fields"
    experts: Literal["", "own", "ffn"] = ""
    """Expert width: none; a field of its own; or `intermediate_size`."""
    experts_optional: bool = False
    """Whether the type covers dense models too."""
    dense_beside_experts: bool = False
    """Whether a mixture runs a dense feed-forward part of its own beside its experts."""
    head_dim_factor: int = 1
    """Head size over hidden_size / heads, where no field gives it."""
    ffn_ratio: int = 0
    """Feed-forward width over hidden size where no field gives it; 0: a field must."""
    defaults: Mapping[str, Json] = field(default_factory=dict)


_LLAMA = Family()
_OLD = Family(gated_ffn=False, attention_bias=True, ffn_bias=True, rotary=False, ffn_ratio=4)
_SWITCH = Family(windows="switch", defaults={"max_window_layers": 28})
_QWEN_2 = replace(_SWITCH, attention_bias=True)
_MIXTRAL = Family(windows="all", experts="ffn")
_MOE = Family(experts="own")
_DEEPSEEK = Family(experts="own", latent=True)
_SPARSE = replace(_DEEPSEEK, indexer=True)
_GEMMA_3 = Family(
    tied_embeddings=True,
    windows="pattern",
    full_every=6,
    defaults={
        "vocab_size": 262_208,
        "max_position_embeddings": 131_072,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "sliding_window": 4_096,
    },
)
_QWEN_NEXT = Family(layout="interval", recurrent="gdn", defaults={"full_attention_interval": 4})
_GRANITE_HYBRID = Family(
    recurrent="mamba2", rotary=False, experts="ffn", experts_optional=True, defaults={"mamba_chunk_size": 256}
)
_NEMOTRON_HYBRID = Family(
    gated_ffn=False,
    rotary=False,
    layout="pattern_string",
    recurrent="mamba2",
    experts="own",
    experts_optional=True,
    defaults={"chunk_size": 128},
)
_FALCON = Family(
    gated_ffn=False,
    tied_embeddings=True,
    kv_heads="multi_query",
    ffn_ratio=4,
    defaults={"multi_query": True, "new_decoder_architecture": False, "max_position_embeddings": 2_048},
)

_LLAMA_LIKE = (
    "llama",
    "exaone",
    "baichuan",
    "glm",
    "glm4",
    "glm4v_text",
    "granite",
    "hunyuan_v1_dense",
    "internlm2",
    "internlm3",
    "ministral",
    "minicpm",
    "olmo",
    "olmo2",
    "seed_oss",
    "smollm3",
    "stablelm",
    "ernie4_5",
)
FAMILIES: Mapping[str, Family] = {
    **dict.fromkeys(_LLAMA_LIKE, _LLAMA),
    "apertus": Family(gated_ffn=False),
    "arcee": Family(gated_ffn=False),
    "nemotron": Family(gated_ffn=False),
    "mimo": replace(_QWEN_2, defaults={}),
    "exaone4": Family(windows="pattern", full_every=4),
    "olmo3": Family(windows="pattern", full_every=4),
    "mistral": Family(windows="all"),
    "ministral3": Family(windows="all"),
    "mixtral": _MIXTRAL,
    "phi3": Family(windows="all"),
    "phimoe": replace(_MIXTRAL, attention_bias=True),
    "starcoder2": Family(gated_ffn=False, attention_bias=True, ffn_bias=True, tied_embeddings=True, windows="all"),
    "qwen2": _QWEN_2,
    "qwen2_moe": replace(_QWEN_2, experts="own"),
    "qwen2_vl_text": _QWEN_2,
    "qwen2_5_vl_text": _QWEN_2,
    "qwen2_5_omni_text": _QWEN_2,
    "qwen3_omni_moe_text": _MOE,
    "qwen3": _SWITCH,
    "qwen3_moe": replace(_SWITCH, experts="own"),
    "qwen3_vl_text": replace(_SWITCH, windows="none"),
    "qwen3_vl_moe_text": _MOE,
    "qwen3_next": replace(_QWEN_NEXT, experts="own"),
    "qwen3_5_text": _QWEN_NEXT,
    "qwen3_5_moe_text": replace(_QWEN_NEXT, experts="own"),
    "gemma": Family(tied_embeddings=True),
    "gemma2": Family(tied_embeddings=True, windows="pattern", full_every=2),
    "gemma3_text": _GEMMA_3,
    "gemma3n_text": Family(tied_embeddings=True, windows="pattern", full_every=5),
    "gemma4_text": Family(
        tied_embeddings=True,
        windows="pattern",
        full_every=6,
        experts="own",
        experts_optional=True,
        dense_beside_experts=True,
        defaults={"global_head_dim": 512, "sliding_window": 512},
    ),
    "cohere": Family(tied_embeddings=True),
    "cohere2": Family(tied_embeddings=True, windows="pattern", full_every=4),
    "gpt_oss": Family(windows="pattern", full_every=2, experts="ffn", attention_bias=True, ffn_bias=True),
    "llama4_text": Family(
        layout="chunks",
        experts="ffn",
        defaults={
            "no_rope_layer_interval": 4,
            "interleave_moe_layer_step": 1,
            "intermediate_size_mlp": 16_384,
        },
    ),
    "deepseek_v2": _DEEPSEEK,
    "deepseek_v3": _DEEPSEEK,
    "deepseek_v32": _SPARSE,
    "glm_moe_dsa": _SPARSE,
    "glm4_moe_lite": _DEEPSEEK,
    "kimi_k2": _DEEPSEEK,
    "longcat_flash": replace(
        _DEEPSEEK,
        layout="pairs",
        dense_beside_experts=True,
        defaults={"kv_lora_rank": 512, "qk_rope_head_dim": 64},
    ),
    "kimi_linear": replace(_DEEPSEEK, layout="linear_attn", recurrent="kda"),
    "glm4_moe": _MOE,
    "glm4v_moe_text": _MOE,
    "bailing_moe": _MOE,
    "bailing_moe_v2": _MOE,
    "deepseek": _MOE,
    "hunyuan_v1_moe": replace(_MOE, experts_optional=True),
    "ernie4_5_moe": _MOE,
    "dots1": _MOE,
    "olmoe": Family(experts="ffn"),
    "granitemoe": Family(experts="ffn"),
    "granitemoeshared": Family(experts="ffn"),
    "lfm2": Family(tied_embeddings=True, layout="indices", recurrent="short_conv"),
    "lfm2_moe": Family(tied_embeddings=True, layout="indices", recurrent="short_conv", experts="own"),
    "chatglm": Family(kv_heads="grouped_on_demand"),
    "minimax_m2": Family(layout="attention_flags", experts="ffn"),
    "minimax_m3": _MOE,
    "minimax_m3_vl": _MOE,
    "minimax_m1": Family(layout="attention_flags", recurrent="linear", experts="ffn"),
    "minimax": Family(layout="attention_flags", recurrent="linear", experts="ffn"),
    "minimax_text_01": Family(layout="attention_flags", recurrent="linear", experts="ffn"),
    "step3p5": Family(experts="own"),
    "step3p7": Family(experts="own"),
    "mimo_v2_flash": Family(layout="window_flags", experts="own"),
    "jamba": Family(
        layout="period",
        recurrent="mamba1",
        rotary=False,
        experts="ffn",
        experts_optional=True,
        defaults={
            "attn_layer_period": 8,
            "attn_layer_offset": 4,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "mamba_d_state": 16,
            "mamba_d_conv": 4,
            "mamba_expand": 2,
        },
    ),
    "bamba": Family(recurrent="mamba2", defaults={"mamba_chunk_size": 256}),
    "granitemoehybrid": _GRANITE_HYBRID,
    **dict.fromkeys(("nemotron_h", "nemotron_3"), _NEMOTRON_HYBRID),
    "zamba2": Family(recurrent="mamba2", tied_embeddings=True, head_dim_factor=2, defaults={"chunk_size": 256}),
    "falcon_h1": Family(recurrent="mamba2", layout="both"),
    "nemotron-nas": Family(layout="blocks"),
    "opt": Family(
        gated_ffn=False,
        tied_embeddings=True,
        attention_bias=True,
        ffn_bias=True,
        rotary=False,
        defaults={"vocab_size": 50_272, "max_position_embeddings": 2_048},
    ),
    "gpt2": replace(_OLD, tied_embeddings=True),
    "gpt_bigcode": replace(_OLD, tied_embeddings=True, kv_heads="multi_query", defaults={"multi_query": True}),
    "gptj": replace(_OLD, attention_bias=False, rotary=True),
    "gpt_neox": replace(_OLD, rotary=True),
    "phi": replace(_OLD, rotary=True),
    "phi-msft": replace(_OLD, rotary=True),
    "bloom": replace(_OLD, tied_embeddings=True),
    "mpt": Family(gated_ffn=False, tied_embeddings=True, rotary=False, kv_heads="attn_config", ffn_ratio=4),
    "dbrx": Family(kv_heads="attn_config", experts="own"),
    "falcon": _FALCON,
}

UNSETTLED: tuple[tuple[str, str], ...] = (
    ("dual_chunk_attention_config", "dual chunk attention"),
    ("is_encoder_decoder", "encoder-decoder attention"),
    ("cross_attention_layers", "cross-attention layers"),
    ("compress_ratios", "compressed attention (compress_ratios)"),
    ("use_cla", "cross-layer attention (use_cla)"),
    ("sparse_attention_config", "an index of block-sparse attention (sparse_attention_config)"),
)
"""Fields that mean that layers keep something whose bytes are not settled, whatever the model type."""

REVEALING: tuple[tuple[str, str], ...] = (
    ("mamba_d_state", "Mamba state"),
    ("mamba_num_heads", "Mamba state"),
    ("ssm_state_size", "Mamba state"),
    ("state_size", "Mamba state"),
    ("hybrid_override_pattern", "hybrid Mamba layers"),
    ("full_attention_interval", "linear attention layers"),
    ("linear_conv_kernel_dim", "linear attention layers"),
    ("linear_attn_config", "linear attention layers"),
    ("attn_type_list", "linear attention layers"),
    ("attention_chunk_size", "chunked local attention"),
    ("num_kv_shared_layers", "KV shared across layers"),
    ("index_head_dim", "a sparse-attention indexer"),
    ("kv_lora_rank", "latent attention (kv_lora_rank)"),
    ("block_configs", "blocks of different shapes"),
    *UNSETTLED,
)
"""Fields that tell what an unknown model type holds: they make its refusal say more."""
