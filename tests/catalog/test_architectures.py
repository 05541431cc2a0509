"""Architectures: fields of a config are read as engines read them; gaps and mistakes are told apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.catalog import load_model
from planner.catalog.architectures import facts_of_config
from planner.catalog.bounds import bounded_facts
from planner.catalog.families import FAMILIES, REVEALING
from planner.catalog.nested import TEXT_INSIDE
from planner.catalog.types import AttentionKv, ModelFacts

LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
}


def read(**change: object) -> ModelFacts | str:
    """Facts of a Llama config with some fields changed."""
    return facts_of_config("test", {**LLAMA, **change}, "test")


def facts(**change: object) -> ModelFacts:
    """The same, where there must be facts."""
    model = read(**change)
    assert isinstance(model, ModelFacts), model
    return model


@pytest.mark.parametrize(
    ("model_id", "hidden", "layers", "heads", "head_size", "kv_heads", "vocabulary", "experts"),
    [
        ("mpt-7b", 4096, 32, 32, 128, 32, 50432, 0),
        ("dbrx", 6144, 40, 48, 128, 8, 100352, 16),
        ("falcon-7b", 4544, 32, 71, 64, 1, 65024, 0),
        ("falcon-40b", 8192, 60, 128, 64, 8, 65024, 0),
        ("qwen3-next-80b-a3b", 2048, 48, 16, 256, 2, 151936, 512),
        ("glm-4.5", 5120, 92, 96, 128, 8, 151552, 160),
        ("ernie-4.5-21b-a3b", 2560, 28, 20, 128, 4, 103424, 64),
        ("gpt-oss-20b", 2880, 24, 64, 64, 8, 201088, 32),
        ("deepseek-v3.2", 7168, 61, 128, 576, 1, 129280, 256),
        ("llama-4-scout-17b-16e", 5120, 48, 40, 128, 8, 202048, 16),
        ("llama-3.3-nemotron-super-49b-v1", 8192, 80, 64, 128, 8, 128256, 0),
        ("mimo-7b-base", 4096, 36, 32, 128, 8, 151680, 0),
        ("nemotron-3-nano-30b-a3b", 2688, 52, 32, 128, 2, 131072, 128),
        ("longcat-flash-chat", 6144, 2 * 28, 64, 576, 1, 131072, 512),  # two attention parts a layer
        ("zamba2-7b", 3584, 81 + 13, 32, 224, 32, 32000, 0),  # shared attention blocks count as layers
    ],
)
def test_agreement_with_vllm(model_id, hidden, layers, heads, head_size, kv_heads, vocabulary, experts):
    """Sizes are those that vLLM's own test of model configs expects, one KV head standing for a latent.

    Source: vllm-project/vllm@1ac8cdb4c760 tests/config/base_model_arch_groundtruth.json.
    """
    model = load_model(model_id, Path())
    assert isinstance(model, ModelFacts)
    assert (model.hidden_size, model.layers, model.heads, model.head_dim) == (hidden, layers, heads, head_size)
    assert (model.kv_heads, model.vocab_size, model.experts) == (kv_heads, vocabulary, experts)


@pytest.mark.parametrize(
    ("model_id", "layers", "kv_heads", "head_dim", "context"),
    [
        ("llama-2-7b", 32, 32, 128, 4_096),
        ("llama-3.1-405b", 126, 8, 128, 131_072),
        ("llama-3.1-405b-first-release", 126, 16, 128, 131_072),
        ("opt-30b", 48, 56, 128, 2_048),
        ("qwen3-32b", 64, 8, 128, 40_960),  # head_dim is not 5,120 / 64
        ("gpt-oss-120b", 36, 8, 64, 131_072),  # nor 2,880 / 64
        ("gemma-2b", 18, 1, 256, 8_192),
        ("deepseek-v3", 61, 1, 576, 163_840),  # 128 KV heads of the config do not count with a latent
        ("mistral-small-3.1-24b", 40, 8, 128, 131_072),  # not 5,120 / 32
    ],
)
def test_facts_of_models(model_id, layers, kv_heads, head_dim, context):
    """Layers, KV heads, head size and context of models are those of their papers and configs."""
    model = load_model(model_id, Path())
    assert isinstance(model, ModelFacts)
    assert (model.layers, model.kv_heads, model.head_dim) == (layers, kv_heads, head_dim)
    assert model.max_context_tokens == context


@pytest.mark.parametrize(
    ("fields", "layer"),
    [
        ({}, AttentionKv(8, 128, 128)),
        ({"head_dim": 0}, AttentionKv(8, 128, 128)),
        ({"head_dim": 64}, AttentionKv(8, 64, 64)),
        ({"attention_head_dim": 96}, AttentionKv(8, 96, 96)),
        ({"v_head_dim": 64}, AttentionKv(8, 128, 64)),
        ({"num_key_value_heads": None}, AttentionKv(32, 128, 128)),
        ({"num_key_value_heads": None, "multi_query_group_num": 2}, AttentionKv(2, 128, 128)),
        ({"n_head_kv": 4}, AttentionKv(4, 128, 128)),
        ({"num_kv_heads": 2}, AttentionKv(2, 128, 128)),
        ({"model_type": "falcon", "multi_query": True}, AttentionKv(1, 128, 128)),
        ({"model_type": "falcon", "multi_query": False}, AttentionKv(32, 128, 128)),
        ({"model_type": "falcon", "new_decoder_architecture": True, "num_kv_heads": 4}, AttentionKv(4, 128, 128)),
        ({"model_type": "mpt", "attn_config": {"kv_n_heads": 16}}, AttentionKv(16, 128, 128)),
    ],
)
def test_order_of_fields(fields, layer):
    """KV heads and head sizes come from the first field that vLLM looks at."""
    assert set(facts(**fields).kv_layers) == {layer}


def test_old_names_of_fields():
    """GPT-2 and its kin have names of their own for width, heads, layers and positions."""
    tree = {"model_type": "gpt2", "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024, "vocab_size": 50257}
    model = facts_of_config("gpt2", tree, "test")
    assert isinstance(model, ModelFacts)
    assert (model.hidden_size, model.layers, model.ffn_size, model.max_context_tokens) == (768, 12, 3072, 1024)
    assert model.missing == ()


def test_fields_that_only_weights_need_are_missing():
    """Without them KV is exact: they are named, and stand at 0."""
    model = facts(vocab_size=None, intermediate_size=None, max_position_embeddings=None)
    assert model.missing == ("max_position_embeddings", "intermediate_size", "vocab_size")
    assert (model.vocab_size, model.ffn_size, model.max_context_tokens) == (0, 0, 0)
    assert model.kv_layers == facts().kv_layers


def test_fields_that_kv_needs_are_listed_together():
    """Every one of them that is missing is named in one sentence."""
    message = read(num_hidden_layers=None, num_attention_heads=None, hidden_size=None)
    for name in ("num_hidden_layers", "num_attention_heads", "hidden_size"):
        assert f"{name} is missing" in str(message)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_size": -1}, "hidden_size is -1"),
        ({"hidden_size": 1.5}, "hidden_size is 1.5"),
        ({"hidden_size": True}, "hidden_size is True"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"num_key_value_heads": 5}, "no multiple of num_key_value_heads 5"),
        ({"hidden_size": 4097}, "head_dim is missing"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
        ({"rope_scaling": {"factor": 0}}, "factor is 0"),
    ],
)
def test_wrong_values_are_named(change, words):
    """A field with a value that cannot be is reported with that value."""
    assert words in str(read(**change))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"index_head_dim": 128}, "sparse-attention indexer"),
        ({"kv_lora_rank": 512}, "latent attention"),
        ({"compress_ratios": [4] * 32}, "compress_ratios"),
        ({"sparse_attention_config": {"sparse_index_dim": 128}}, "sparse_attention_config"),
        ({"cross_attention_layers": [3]}, "cross-attention"),
        ({"rope_scaling": {"rope_type": "new", "factor": 2}}, "rope_scaling of type 'new'"),
    ],
)
def test_parts_that_are_not_settled_are_named(change, words):
    """A known model type with a part that cannot be counted loads, and names the part as unsupported."""
    assert any(words in part for part in facts(**change).unsupported)


@pytest.mark.parametrize(
    ("scaling", "context"),
    [
        (None, 8_192),
        ({"rope_type": "llama3", "factor": 8.0}, 8_192),
        ({"type": "linear", "factor": 4.0}, 32_768),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4_096}, 16_384),
        ({"rope_type": "yarn", "factor": 2.0}, 16_384),
    ],
)
def test_context_follows_rope_scaling(scaling, context):
    """Linear scaling and YaRN stretch the context, llama3 scaling is already in it."""
    model = facts(rope_scaling=scaling)
    assert (model.max_context_tokens, model.rope_positions) == (context, context)


def test_model_max_length_wins():
    """Command-R states its context there, above the positions that it was trained with."""
    assert facts(model_type="cohere", model_max_length=131_072).max_context_tokens == 131_072


def test_nested_language_model():
    """The language model of a multimodal config counts; what stands outside of it joins it."""
    quantization = {"quant_method": "fp8"}
    tree = {"model_type": "mistral3", "text_config": {**LLAMA, "model_type": "mistral"}, "tie_word_embeddings": True}
    model = facts_of_config("test", {**tree, "quantization_config": quantization}, "test")
    assert isinstance(model, ModelFacts)
    assert (model.model_type, model.native_weights, model.tied_embeddings) == ("mistral", "fp8", True)
    assert model.kv_layers == facts().kv_layers
    assert model.missing == ("vision tower",)
    unnamed = {
        "model_type": "llava",
        "text_config": {key: value for key, value in LLAMA.items() if key != "model_type"},
    }
    assert isinstance(facts_of_config("test", unnamed, "test"), ModelFacts)
    broken = {"model_type": "llava", "text_config": {**LLAMA, "hidden_size": 0}}
    assert str(facts_of_config("test", broken, "test")).startswith("text_config: hidden_size")


def test_gemma_3_reads_its_nested_config_with_defaults():
    """A Gemma-3 config as published leaves fields to their class defaults and counts its vision tower."""
    tree = {
        "model_type": "gemma3",
        "text_config": {
            "model_type": "gemma3_text",
            "hidden_size": 2560,
            "intermediate_size": 10240,
            "num_hidden_layers": 34,
            "sliding_window": 1024,
        },
        "vision_config": {
            "model_type": "siglip_vision_model",
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_hidden_layers": 27,
            "image_size": 896,
            "patch_size": 14,
        },
    }
    model, known = facts_of_config("test", tree, "test"), load_model("gemma-3-4b", Path())
    assert isinstance(model, ModelFacts)
    assert isinstance(known, ModelFacts)
    for field in ("kv_layers", "heads", "kv_heads", "head_dim", "vocab_size", "vision_params", "missing"):
        assert getattr(model, field) == getattr(known, field)


sizes = st.sampled_from([1, 2, 4, 16, 64, 128, 4096])
awkward = st.one_of(
    st.sampled_from([None, True, 0, -1, 3, 2**70, 0.5, float("inf"), float("nan"), "", "yarn", "M*-E", [], [None], {}]),
    st.sampled_from([["full_attention"], ["mamba"] * 32, ["hybrid"] * 32, [1] * 32, [0] * 32, [True, "x", {}]]),
    st.sampled_from([{"factor": 1e308}, {"type": "yarn", "factor": "8"}, {"rope_type": 3, "factor": float("inf")}]),
    st.sampled_from([{"quant_method": method, "config_groups": 3} for method in ("compressed-tensors", None, [])]),
    st.sampled_from([{"full_attn_layers": [1, None], "kda_layers": "x"}, {"kv_n_heads": -1}, {"head_dim": []}]),
    st.sampled_from([[{"attention": {"n_heads_in_group": 8}}] * 32, [{"attention": 3}, None] * 16]),
    sizes,
)
keys = st.sampled_from(
    [
        *LLAMA,
        *(key for key, _ in REVEALING),
        *("head_dim", "v_head_dim", "layer_types", "layers_block_type", "rope_scaling", "quantization_config"),
        *("sliding_window", "use_sliding_window", "max_window_layers", "sliding_window_pattern", "no_rope_layers"),
        *("qk_rope_head_dim", "q_lora_rank", "index_head_dim", "num_nextn_predict_layers", "attn_config", "ffn_config"),
        *("n_routed_experts", "num_experts_per_tok", "moe_intermediate_size", "moe_layer_freq", "mlp_only_layers"),
        *("mamba_n_heads", "mamba_d_head", "mamba_expand", "mamba_d_conv", "n_groups", "linear_num_value_heads"),
        *("hybrid_layer_pattern", "swa_head_dim", "global_head_dim", "num_global_key_value_heads", "multi_query"),
        *("text_config", "vision_config", "attention_other_setting", "n_layer", "num_layers", "expert_layer_period"),
    ]
)


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from([*sorted(FAMILIES), *sorted(TEXT_INSIDE), "unknown"]), st.dictionaries(keys, awkward, max_size=9)
)
def test_no_config_raises(model_type, change):
    """Whatever stands in the fields, reading and bounding give facts with whole numbers, or a sentence."""
    tree = {**LLAMA, "model_type": model_type, **change}
    model, pair = facts_of_config("random", tree, "test"), bounded_facts("random", tree, "test")
    assert isinstance(model, ModelFacts | str)
    assert isinstance(pair, tuple | str)
    for found in (model, *(pair if isinstance(pair, tuple) else ())):
        if isinstance(found, ModelFacts):
            assert len(found.kv_layers) == len(found.ffn_layers) == found.layers >= 1
            assert min(found.hidden_size, found.heads, found.kv_heads, found.head_dim) >= 1
