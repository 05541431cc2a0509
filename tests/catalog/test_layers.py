"""Layers: what each family keeps in which layer, against published counts and logged states."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from planner.catalog import load_model
from planner.catalog.architectures import facts_of_config
from planner.catalog.types import AttentionKv, KvLayer, ModelFacts, StateKv

PLAIN = {
    "hidden_size": 1024,
    "num_hidden_layers": 12,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "intermediate_size": 4096,
    "vocab_size": 32000,
    "max_position_embeddings": 65536,
}
MAMBA = {
    "mamba_n_heads": 32,
    "mamba_d_head": 64,
    "mamba_d_state": 128,
    "mamba_n_groups": 1,
    "mamba_d_conv": 4,
}


def catalog(model_id: str) -> ModelFacts:
    """A model of the catalog."""
    model = load_model(model_id, Path())
    assert isinstance(model, ModelFacts), model
    return model


def config(model_type: str, **fields: object) -> ModelFacts:
    """Facts of a small config of this type."""
    model = facts_of_config("test", {"model_type": model_type, **PLAIN, **fields}, "test")
    assert isinstance(model, ModelFacts), model
    return model


def word(layer: KvLayer) -> str:
    """One letter for what a layer keeps: full, sliding, chunked, recurrent, nothing."""
    if layer is None:
        return "-"
    return "r" if isinstance(layer, StateKv) else layer.reach[0]


def words(model: ModelFacts) -> str:
    """One letter a layer, in order."""
    return "".join(word(layer) for layer in model.kv_layers)


@pytest.mark.parametrize(
    ("model_id", "counts"),
    [
        ("gemma-3-27b", {"f": 10, "s": 52}),
        ("gemma-3-1b", {"f": 4, "s": 22}),
        ("gemma-2-9b", {"f": 21, "s": 21}),
        ("gemma-3n-e4b", {"f": 4, "s": 16, "-": 15}),
        ("gemma-4-26b-a4b", {"f": 5, "s": 25}),
        ("gpt-oss-20b", {"f": 12, "s": 12}),
        ("mistral-7b-v0.1", {"s": 32}),
        ("mistral-7b-v0.3", {"f": 32}),
        ("phi-3.5-mini", {"f": 32}),  # its window is longer than its context
        ("qwen2-7b", {"f": 28}),  # the config carries a window that use_sliding_window leaves off
        ("mimo-7b-base", {"f": 36}),  # a window as long as the context
        ("mimo-v2-flash", {"f": 9, "s": 39}),
        ("step-3.7-flash", {"f": 12, "s": 33}),
        ("llama-4-scout-17b-16e", {"f": 12, "c": 36}),
        ("qwen3.5-27b", {"f": 16, "r": 48}),
        ("qwen3.6-35b-a3b", {"f": 10, "r": 30}),
        ("qwen3.8-27b-fp8", {"f": 16, "r": 48}),
        ("qwen3-next-80b-a3b", {"f": 12, "r": 36}),
        ("granite-4.0-h-small", {"f": 4, "r": 36}),
        ("granite-4.0-micro", {"f": 40}),  # carries mamba_* keys, and layer_types wins
        ("jamba-v0.1", {"f": 4, "r": 28}),
        ("nemotron-h-8b", {"f": 4, "r": 24, "-": 24}),
        ("nemotron-3-super-120b-a12b-fp8", {"f": 8, "r": 40, "-": 40}),
        ("nemotron-3.5-lightning-30b-a3b-nvfp4", {"f": 6, "r": 23, "-": 23}),
        ("zamba2-7b", {"f": 13, "r": 81}),
        ("minimax-m1", {"f": 10, "r": 70}),
        ("kimi-k3", {"f": 24, "r": 69}),
        ("llama-3.3-nemotron-super-49b-v1", {"f": 49, "-": 31}),
        ("longcat-flash-chat", {"f": 56}),
        ("deepseek-v3.2", {"f": 61}),
    ],
)
def test_counts_of_layers(model_id, counts):
    """Layers by kind are those that model cards, papers and engine logs count."""
    assert Counter(words(catalog(model_id))) == counts


@pytest.mark.parametrize(
    ("model_id", "pattern"),
    [
        ("gemma-3-4b", "sssssf" * 5 + "ssss"),
        ("gemma-2-2b", "sf" * 13),
        ("gemma-3n-e4b", "ssssf" * 4 + "-" * 15),
        ("gpt-oss-120b", "sf" * 18),
        ("llama-4-maverick-17b-128e", "cccf" * 12),
        ("qwen3.5-35b-a3b", "rrrf" * 10),
        ("jamba-v0.1", "rrrrfrrr" * 4),
        ("minimax-m1", "rrrrrrrf" * 10),
        ("mimo-v2-flash", "fssss" + "fsssss" * 7 + "f"),
    ],
)
def test_order_of_layers(model_id, pattern):
    """Patterns come out in the order of the layers, which pipeline stages depend on."""
    assert words(catalog(model_id)) == pattern


@pytest.mark.parametrize(
    ("model_id", "layer"),
    [
        ("deepseek-v3", AttentionKv(1, 576, 0, rope_dim=64)),
        ("deepseek-v3.2", AttentionKv(1, 576, 0, rope_dim=64, index_dim=128)),
        ("glm-5.2", AttentionKv(1, 576, 0, rope_dim=64, index_dim=128)),
        ("kimi-vl-a3b", AttentionKv(1, 576, 0, rope_dim=64)),
        ("longcat-flash-chat", AttentionKv(1, 576, 0, rope_dim=64)),
        ("gemma-4-26b-a4b", AttentionKv(2, 512, 512)),  # global layers, under attention_k_eq_v
        ("gemma-4-26b-a4b", AttentionKv(8, 256, 256, "sliding", 1_024)),
        ("mimo-v2-flash", AttentionKv(4, 192, 128)),
        ("mimo-v2-flash", AttentionKv(8, 192, 128, "sliding", 128)),
        ("llama-4-scout-17b-16e", AttentionKv(8, 128, 128, "chunked", 8_192)),
        ("falcon-7b", AttentionKv(1, 64, 64)),
        ("falcon-40b", AttentionKv(8, 64, 64)),
        ("gpt-bigcode-1b", AttentionKv(1, 128, 128)),
        ("mpt-30b", AttentionKv(64, 112, 112)),
        ("dbrx", AttentionKv(8, 128, 128)),
        ("gpt-j-6b", AttentionKv(16, 256, 256)),
        ("phi-2", AttentionKv(32, 80, 80)),
        ("bloom-176b", AttentionKv(112, 128, 128)),
        ("zamba2-7b", AttentionKv(32, 224, 224)),
        ("llama-3.3-nemotron-super-49b-v1", AttentionKv(8, 128, 128)),
    ],
)
def test_a_layer_of_each_kind(model_id, layer):
    """Heads, sizes, windows and indexes of a layer are those of the config of the model."""
    assert layer in catalog(model_id).kv_layers


def test_minimax_keeps_a_square_state():
    """Linear attention of MiniMax-M1 keeps heads x 128 x 128 of a sequence."""
    assert StateKv("linear", 64, 128, 128) in catalog("minimax-m1").kv_layers


@pytest.mark.parametrize(
    ("model_id", "tp", "logged_bytes"),
    [
        ("qwen3.8-27b-fp8", 2, 1_603_584),
        ("qwen3.6-35b-a3b", 1, 2_146_304),
        ("qwen3-next-80b-a3b", 1, 1_097_728),
    ],
)
def test_gated_delta_states_give_the_logged_bytes(model_id, tp, logged_bytes):
    """Convolution and state of one layer on one rank are those behind the block sizes that vLLM logged."""
    state = next(layer for layer in catalog(model_id).kv_layers if isinstance(layer, StateKv))
    convolution = (
        (2 * state.groups * state.state_dim + state.heads * state.head_dim) // tp * (state.conv_kernel - 1) * 2
    )
    recurrent = state.heads // tp * state.head_dim * state.state_dim * state.state_element_bytes
    assert (state.kind, convolution + recurrent) == ("gdn", logged_bytes)


@pytest.mark.parametrize(
    ("model_id", "state"),
    [
        ("granite-4.0-h-small", StateKv("mamba2", 128, 64, 128, 1, 4, 2, 256)),
        ("nemotron-3-nano-30b-a3b", StateKv("mamba2", 64, 64, 128, 8, 4, 4, 128)),
        ("zamba2-7b", StateKv("mamba2", 112, 64, 64, 2, 4, 2, 256)),
        ("jamba-v0.1", StateKv("mamba1", 1, 8_192, 16, 0, 4)),
        ("kimi-k3", StateKv("kda", 96, 128, 128, 0, 4, 4)),
    ],
)
def test_states_of_the_other_kinds(model_id, state):
    """Mamba, KDA and their element sizes follow the config; the KDA state is always float32."""
    assert Counter(catalog(model_id).kv_layers).most_common(1)[0][0] in (state, None)
    assert state in catalog(model_id).kv_layers


@pytest.mark.parametrize(
    ("model_id", "drafts"),
    [
        ("deepseek-v3", (AttentionKv(1, 576, 0, rope_dim=64),)),
        ("glm-5.2", (AttentionKv(1, 576, 0, rope_dim=64, index_dim=128),)),
        ("qwen3.5-27b", (AttentionKv(4, 256, 256),)),
        ("step-3.7-flash", (AttentionKv(8, 128, 128),) * 3),
        ("nemotron-3-super-120b-a12b-fp8", (AttentionKv(2, 128, 128),)),
        ("llama-3.1-8b", ()),
        ("kimi-k2-instruct", ()),
    ],
)
def test_draft_layers(model_id, drafts):
    """Layers of multi-token prediction keep full attention of the model's own kind."""
    assert catalog(model_id).draft_layers == drafts


@pytest.mark.parametrize(
    ("model_type", "fields", "pattern"),
    [
        ("qwen2", {"sliding_window": 512}, "f" * 12),
        ("qwen3", {"sliding_window": 512, "use_sliding_window": True, "max_window_layers": 8}, "f" * 8 + "s" * 4),
        ("starcoder2", {"sliding_window": 4096}, "s" * 12),
        ("mixtral", {"sliding_window": 4096, "num_local_experts": 8}, "s" * 12),
        ("phi3", {"sliding_window": 262_145}, "f" * 12),
        ("cohere2", {"sliding_window": 4096}, "sssf" * 3),
        ("gemma3_text", {"sliding_window": 1024, "sliding_window_pattern": 3}, "ssf" * 4),
        ("gemma2", {"sliding_window": 1024, "layer_types": ["full_attention"] * 12}, "f" * 12),
        ("llama4_text", {"attention_chunk_size": 8192, "no_rope_layers": [0] + [1] * 11}, "f" + "c" * 11),
        ("llama4_text", {"attention_chunk_size": None}, "f" * 12),
        ("qwen3_next", {"full_attention_interval": 6, **dict.fromkeys(
            ("linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim", "linear_value_head_dim",
             "linear_conv_kernel_dim"), 4)}, "rrrrrf" * 2),
        ("granitemoehybrid", {**MAMBA, "layer_types": ["mamba"] * 9 + ["attention"] * 3}, "r" * 9 + "fff"),
        ("nemotron_h", {**MAMBA, "num_hidden_layers": 6, "hybrid_override_pattern": "M-M*ME"}, "r-rfr-"),
        ("nemotron_h", {**MAMBA, "num_hidden_layers": 4,
                        "layers_block_type": ["linear_attention", "moe", "full_attention", "mlp"]}, "r-f-"),
        ("falcon_h1", {**MAMBA, "mamba_d_ssm": 2048, "num_hidden_layers": 2}, "frfr"),
        ("minimax_m2", {"attn_type_list": [1] * 12}, "f" * 12),
        ("minimax_m1", {"attn_type_list": [0, 1] * 6}, "rf" * 6),
        ("gemma3n", {"sliding_window": 512, "num_kv_shared_layers": 4, "layer_types": ["full_attention"] * 12},
         "f" * 8 + "----"),
        ("step3p5", {"sliding_window": 512, "num_nextn_predict_layers": 3,
                     "layer_types": ["full_attention"] * 12 + ["sliding_attention"] * 3}, "f" * 12),
    ],
)  # fmt: skip
def test_patterns_of_configs(model_type, fields, pattern):
    """Each way in which configs tell the kind of their layers is read as the engines read it."""
    model = config(model_type, **fields)
    assert words(model) == pattern
    assert model.layers == len(pattern)


def test_other_heads_of_windowed_layers():
    """Step-3.5 gives its windowed layers other KV heads under `attention_other_setting`."""
    other = {"attention_type": "sliding_attention", "num_attention_groups": 8, "head_dim": 128}
    kinds = ["full_attention", "sliding_attention"] * 6
    model = config("step3p5", sliding_window=512, layer_types=kinds, attention_other_setting=other)
    assert model.kv_layers[:2] == (AttentionKv(4, 64, 64), AttentionKv(8, 128, 128, "sliding", 512))


def test_global_heads_count_only_with_shared_projections():
    """Gemma-4 gives its global layers fewer KV heads only under `attention_k_eq_v`, and larger ones always."""
    fields = {"sliding_window": 512, "num_global_key_value_heads": 2, "global_head_dim": 512}
    assert config("gemma4_text", **fields).kv_layers[5] == AttentionKv(4, 512, 512)
    assert config("gemma4_text", **fields, attention_k_eq_v=True).kv_layers[5] == AttentionKv(2, 512, 512)


@pytest.mark.parametrize(
    ("model_type", "fields", "sentence"),
    [
        ("qwen3_next", {}, "linear_num_value_heads is missing"),
        ("granitemoehybrid", MAMBA, "layer_types is missing"),
        ("jamba", {"mamba_expand": -1}, "mamba_expand is -1"),
        ("nemotron_h", {**MAMBA, "hybrid_override_pattern": "MX" * 6}, "has 'X'"),
        ("nemotron_h", MAMBA, "hybrid_override_pattern is missing"),
        ("nemotron_h", {**MAMBA, "hybrid_override_pattern": "M*"}, "has 2 entries, num_hidden_layers says 12"),
        ("kimi_linear", {"linear_attn_config": {"full_attn_layers": [1], "kda_layers": [3]}}, "each of the 12 layers"),
        ("minimax_m1", {}, "attn_type_list is missing"),
        ("minimax_m2", {"attn_type_list": [0] * 12}, "marks layers as linear"),
        ("mimo_v2_flash", {}, "hybrid_layer_pattern is missing"),
        ("gemma2", {"layer_types": ["sliding_attention"] * 12}, "sliding_window is missing"),
        ("gemma3n", {"num_kv_shared_layers": 12}, "leaves none of 12 layers"),
        ("llama", {"layer_types": ["full_attention"]}, "layer_types lists 1 layers"),
    ],
)
def test_patterns_that_cannot_be_read(model_type, fields, sentence):
    """A pattern that is missing or does not fit the layers is a sentence, never a guess."""
    message = facts_of_config("test", {"model_type": model_type, **PLAIN, **fields}, "test")
    assert sentence in str(message)


def test_recurrent_words_of_a_plain_type_are_named():
    """Recurrent layers in a model type that has none known are named as unsupported."""
    model = config("llama", layer_types=["linear_attention"] * 12)
    assert any("recurrent layers" in part for part in model.unsupported)
    strange = config("llama", layer_types=["wavelet"] * 12)
    assert strange.unsupported == ("layers of type 'wavelet'",)
