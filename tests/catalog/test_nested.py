"""Language models inside other configs, and architectures whose configs write their fields in ways of their own."""

from __future__ import annotations

from collections import Counter

import pytest

from planner.catalog.architectures import facts_of_config
from planner.catalog.types import AttentionKv, ModelFacts, StateKv

DENSE = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 32768,
}
MIXTURE = {**DENSE, "num_experts": 64, "num_experts_per_tok": 8, "moe_intermediate_size": 1408}


def facts(**tree: object) -> ModelFacts:
    """Facts of a config that must have some."""
    model = facts_of_config("test", tree, "test")
    assert isinstance(model, ModelFacts), model
    return model


@pytest.mark.parametrize(
    "tree",
    [
        {"model_type": "internvl_chat", "llm_config": {**DENSE, "model_type": "qwen2"}},
        {"model_type": "deepseek_vl_v2", "language_config": {**DENSE, "model_type": "llama"}},
        {"model_type": "glm4v", "text_config": {**DENSE, "model_type": "glm4v_text"}},
        {"model_type": "qwen2_5_omni", "thinker_config": {"text_config": {**DENSE, "model_type": "qwen2_5_omni_text"}}},
        {
            "model_type": "qwen3_omni_moe",
            "thinker_config": {"text_config": {**MIXTURE, "model_type": "qwen3_omni_moe_text"}},
        },
    ],
    ids=lambda tree: tree["model_type"],
)
def test_the_language_model_inside(tree):
    """Engines serve the language model of a multimodal config, wherever it is nested; its tower stays unknown."""
    model = facts(**tree)
    assert model.kv_layers == (AttentionKv(8, 128, 128),) * 32
    assert any("vision tower" in gap for gap in model.missing)


def test_lfm2_keeps_short_convolutions():
    """LFM2-1.2B: 6 attention layers of 16; the others keep the last 2 inputs of 2,048 channels.

    Source: LiquidAI/LFM2-1.2B config.json; vLLM `short_conv_state_shape` (kernel - 1, width / tp).
    """
    full = [2, 5, 8, 10, 12, 14]
    sizes = {**DENSE, "hidden_size": 2048, "num_hidden_layers": 16, "intermediate_size": 12288, "conv_L_cache": 3}
    by_index = facts(model_type="lfm2", full_attn_idxs=full, block_auto_adjust_ff_dim=True, **sizes)
    names = ["full_attention" if layer in full else "conv" for layer in range(16)]
    by_name = facts(model_type="lfm2", layer_types=names, block_auto_adjust_ff_dim=True, **sizes)
    assert by_index.kv_layers == by_name.kv_layers
    assert Counter(by_index.kv_layers) == {
        AttentionKv(8, 64, 64): 6,
        StateKv("short_conv", heads=1, head_dim=2048, state_dim=0, conv_kernel=3): 10,
    }
    assert by_index.ffn_size == 8192  # two thirds of 12,288


def test_letters_of_exaone_4():
    """EXAONE-4.0-32B writes LLLG: three windows, one full layer, and the last layer full whatever its letter."""
    model = facts(model_type="exaone4", sliding_window=4096, sliding_window_pattern="LLLG", **DENSE)
    reaches = [layer.reach for layer in model.kv_layers if isinstance(layer, AttentionKv)]
    assert reaches == ["sliding", "sliding", "sliding", "full"] * 8
    odd = facts(
        model_type="exaone4", sliding_window=4096, sliding_window_pattern="LLLG", **{**DENSE, "num_hidden_layers": 30}
    )
    assert isinstance(odd.kv_layers[-1], AttentionKv)
    assert odd.kv_layers[-1].reach == "full"


@pytest.mark.parametrize(
    ("widths", "width", "gap"),
    [([16384] * 32, 16384, ()), ([16384, 8192] * 16, 0, ("intermediate_size, which differs between layers",))],
)
def test_widths_listed_for_each_layer(widths, width, gap):
    """Gemma-3n and Hunyuan list widths layer by layer: KV never needs them."""
    model = facts(model_type="llama", **{**DENSE, "intermediate_size": widths})
    assert model.kv_layers == (AttentionKv(8, 128, 128),) * 32
    assert model.ffn_size == width
    assert model.missing[: len(gap)] == gap


def test_hunyuan_lists_its_experts():
    """Hunyuan-A13B lists top-k, widths and shared experts; cross-layer attention is refused by name."""
    lists = {
        "num_experts": 64,
        "moe_topk": [8] * 32,
        "moe_intermediate_size": [3072] * 32,
        "num_shared_expert": [1] * 32,
    }
    model = facts(model_type="hunyuan_v1_moe", use_cla=False, **DENSE, **lists)
    assert (model.experts_per_token, model.expert_ffn_size, model.shared_experts) == (8, 3072, 1)
    assert facts(model_type="hunyuan_v1_moe", use_cla=True, **DENSE, **lists).unsupported


def test_chatglm_groups_only_on_demand():
    """ChatGLM and GLM-4-9B: `multi_query_group_num` counts only under `multi_query_attention`."""
    sizes = {"hidden_size": 4096, "num_layers": 40, "num_attention_heads": 32, "ffn_hidden_size": 13696}
    sizes |= {"padded_vocab_size": 151552, "seq_length": 131072, "multi_query_group_num": 2}
    grouped = facts(model_type="chatglm", multi_query_attention=True, **sizes)
    assert (grouped.kv_heads, grouped.head_dim, grouped.layers) == (2, 128, 40)
    assert grouped.missing == ()
    assert facts(model_type="chatglm", multi_query_attention=False, **sizes).kv_heads == 32


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("layer_types", {"a": 1}, "layer_types is {'a': 1}, which is no list"),
        ("text_config", [1], "text_config is [1], which is no object"),
        ("rope_scaling", "yarn", "rope_scaling is 'yarn', which is no object"),
        ("quantization_config", "fp8", "quantization_config is 'fp8', which is no object"),
    ],
)
def test_values_of_the_wrong_kind_are_not_ignored(field, value, says):
    """A list where an object belongs is a mistake, not an absent field."""
    assert facts_of_config("test", {"model_type": "llama", **DENSE, field: value}, "test") == says


def test_unknown_types_name_their_neighbors():
    """The refusal stays short: three near types at most, not all of them."""
    message = facts_of_config("test", {"model_type": "qwen9_moe", **DENSE}, "test")
    assert isinstance(message, str)
    assert "qwen2_moe" in message
    assert len(message) < 160
