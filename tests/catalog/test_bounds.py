"""Bounds: what an unknown architecture may keep at least and at most."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.catalog import load_model, model_ids
from planner.catalog.architectures import facts_of_config
from planner.catalog.bounds import bounded_facts
from planner.catalog.files import model_paths, read_json_object
from planner.catalog.types import AttentionKv, KvLayer, ModelFacts

UNKNOWN = {
    "model_type": "novel",
    "hidden_size": 1024,
    "num_hidden_layers": 8,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "intermediate_size": 4096,
    "vocab_size": 32000,
    "max_position_embeddings": 65536,
}
FULL = AttentionKv(4, 64, 64)


def bounds(**change: object) -> tuple[ModelFacts, ModelFacts]:
    """Low and high of the unknown config with some fields changed."""
    pair = bounded_facts("test", {**UNKNOWN, **change}, "test")
    assert isinstance(pair, tuple), pair
    return pair


def elements(layers: tuple[KvLayer, ...], tokens: int) -> int:
    """Elements that attention layers keep of a sequence of `tokens`, each window capped."""
    total = 0
    for layer in layers:
        if isinstance(layer, AttentionKv):
            seen = min(tokens, layer.window_tokens) if layer.reach != "full" else tokens
            total += layer.kv_heads * (layer.key_dim + layer.value_dim) * seen + layer.index_dim * seen
    return total


def test_plain_fields_give_the_same_bounds():
    """Without a pattern of layers both bounds are full attention everywhere."""
    low, high = bounds()
    assert low.kv_layers == high.kv_layers == (FULL,) * 8
    assert (low.bound, high.bound, low.unsupported) == ("low", "high", ())
    assert "not understood" in low.note
    assert high.ffn_size == 4096


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"layer_types": ["wavelet_attention", "full_attention"] * 4}, {FULL: 4, None: 4}),
        ({"layer_types": ["mamba", "attention"] * 4}, {FULL: 4, None: 4}),
        ({"layer_types": ["sliding_attention", "full_attention"] * 4, "sliding_window": 512},
         {FULL: 4, AttentionKv(4, 64, 64, "sliding", 512): 4}),
        ({"sliding_window": 512}, {AttentionKv(4, 64, 64, "sliding", 512): 8}),
        ({"hybrid_override_pattern": "M-M*M-M*"}, {FULL: 2, None: 6}),
        ({"attn_type_list": [0, 1] * 4}, {FULL: 4, None: 4}),
        ({"full_attention_interval": 4}, {FULL: 2, None: 6}),
        ({"attn_layer_period": 4, "attn_layer_offset": 1}, {FULL: 2, None: 6}),
        ({"attention_chunk_size": 4096, "no_rope_layer_interval": 4},
         {FULL: 2, AttentionKv(4, 64, 64, "chunked", 4096): 6}),
        ({"num_kv_shared_layers": 3}, {FULL: 5, None: 3}),
        ({"linear_attn_config": {"full_attn_layers": [4, 8], "kda_layers": [1, 2, 3, 5, 6, 7]}}, {FULL: 2, None: 6}),
    ],
)  # fmt: skip
def test_low_counts_what_the_config_marks(change, kept):
    """The lower bound keeps only layers that a pattern marks as attention; the upper one keeps all of them."""
    low, high = bounds(**change)
    assert {layer: low.kv_layers.count(layer) for layer in low.kv_layers} == kept
    assert high.kv_layers == (FULL,) * 8


def test_sizes_are_taken_at_their_extremes():
    """With several head sizes the upper bound takes the largest and the lower bound the smallest."""
    low, high = bounds(swa_head_dim=32, swa_num_key_value_heads=8, global_head_dim=256)
    assert set(high.kv_layers) == {AttentionKv(8, 256, 256)}
    assert set(low.kv_layers) == {AttentionKv(4, 32, 64)}


def test_latent_attention_and_index():
    """A latent is kept in both bounds, the key of a sparse index only in the upper one."""
    low, high = bounds(kv_lora_rank=512, qk_rope_head_dim=64, index_head_dim=128)
    assert set(high.kv_layers) == {AttentionKv(1, 576, 0, rope_dim=64, index_dim=128)}
    assert set(low.kv_layers) == {AttentionKv(1, 576, 0, rope_dim=64)}


def test_deepseek_v4_is_bounded():
    """Compressed attention keeps at least one vector of each token of its window, at most all keys and values."""
    low, high = load_model("deepseek-v4-flash", Path(), "low"), load_model("deepseek-v4-flash", Path(), "high")
    assert isinstance(low, ModelFacts)
    assert isinstance(high, ModelFacts)
    assert set(low.kv_layers) == {AttentionKv(1, 512, 0, "sliding", 128)}
    assert set(high.kv_layers) == {AttentionKv(1, 512, 512, index_dim=128)}
    assert (low.layers, high.bound) == (43, "high")
    assert load_model("deepseek-ai/DeepSeek-V4-Flash", Path(), "low") == low


def test_block_sparse_index_at_most():
    """The index of MiniMax-M3 is at most its four index heads of 128 in 16 bits."""
    low, high = load_model("minimax-m3", Path(), "low"), load_model("minimax-m3", Path(), "high")
    assert isinstance(low, ModelFacts)
    assert isinstance(high, ModelFacts)
    assert set(low.kv_layers) == {AttentionKv(4, 128, 128)}
    assert set(high.kv_layers) == {AttentionKv(4, 128, 128, index_dim=2 * 4 * 128)}


@pytest.mark.parametrize("bound", ["low", "high"])
def test_understood_models_ignore_the_bound(bound):
    """A model that is understood has its exact facts, whatever bound is asked for."""
    assert load_model("gemma-3-27b", Path(), bound) == load_model("gemma-3-27b", Path())


def test_mistakes_are_told_not_bounded(tmp_path):
    """A missing field of a known model type, or of an unknown one, is a sentence and no bound."""
    (tmp_path / "config.json").write_text(json.dumps({**UNKNOWN, "model_type": "llama", "hidden_size": -1}))
    assert "hidden_size is -1" in str(load_model("config.json", tmp_path, "high"))
    message = bounded_facts("test", {"model_type": "novel", "num_hidden_layers": 4}, "test")
    assert "'novel' cannot be bounded" in str(message)
    assert "num_attention_heads is missing" in str(message)
    assert "sliding_window is missing" in str(
        bounded_facts("test", {**UNKNOWN, "layer_types": ["sliding_attention"] * 8}, "test")
    )


@pytest.mark.parametrize("model_id", model_ids())
def test_the_truth_lies_between(model_id):
    """For every model that is understood, the bounds of its config hold what its attention layers really keep."""
    tree = read_json_object(model_paths()[model_id])
    assert isinstance(tree, dict)
    truth = facts_of_config(model_id, tree, "test")
    pair = bounded_facts(model_id, tree, "test")
    if not isinstance(truth, ModelFacts) or truth.unsupported or isinstance(pair, str):
        return
    for tokens in (1, 1_000, 100_000):
        least, most = (elements(facts.kv_layers, tokens) for facts in pair)
        assert least <= elements(truth.kv_layers, tokens)
        if truth.layers == pair[1].layers:  # Types whose layers count twice are known, and need no bound.
            assert elements(truth.kv_layers, tokens) <= most


patterns = st.lists(
    st.sampled_from(["full_attention", "sliding_attention", "chunked_attention", "mamba", "mlp", "novel"]),
    min_size=8,
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(patterns, st.integers(1, 70_000), st.integers(1, 70_000), st.integers(0, 7), st.integers(1, 100_000))
def test_low_is_never_above_high(kinds, window, chunk, shared, tokens):
    """Whatever the pattern, the lower bound keeps no more than the upper one, and more tokens never less."""
    low, high = bounds(
        layer_types=kinds, sliding_window=window, attention_chunk_size=chunk, num_kv_shared_layers=shared
    )
    assert elements(low.kv_layers, tokens) <= elements(high.kv_layers, tokens)
    assert elements(low.kv_layers, tokens) <= elements(low.kv_layers, tokens + 1)
