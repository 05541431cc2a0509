"""Weights: published parameter counts, logged sizes within 1 %, shapes that do not divide."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.catalog.types import Bottleneck, Refusal
from planner.memory.weights import weight_bytes

GIB = 2**30

PUBLISHED_PARAMETERS = {
    "gemma-2-27b": 27_227_128_320,
    "gemma-2-9b": 9_241_705_984,
    "gemma-2b": 2_506_172_416,
    "gemma-3-27b": 27_432_406_640,  # with its vision tower
    "gemma-3-4b": 4_300_079_472,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "llama-2-7b": 6_738_415_616,
    "llama-3.1-405b": 405_853_388_800,
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.2-1b": 1_235_814_400,  # tied embeddings
    "mistral-7b-v0.1": 7_241_732_096,
    "mistral-7b-v0.3": 7_248_023_552,
    "mixtral-8x22b": 140_620_634_112,
    "mixtral-8x7b": 46_702_792_704,
    "olmo-2-32b": 32_234_279_936,
    "phi-4": 14_659_507_200,
    "qwen1.5-moe-a2.7b": 14_315_784_192,
    "qwen2.5-72b": 72_706_203_648,
    "qwen2.5-7b": 7_615_616_512,
    "qwen3-14b": 14_768_307_200,
    "qwen3-235b-a22b": 235_093_634_560,
    "qwen3-30b-a3b": 30_532_122_624,
    "qwen3-32b": 32_762_123_264,
    "qwen3-8b": 8_190_735_360,
    "yi-34b": 34_388_917_248,
}
"""Parameters of the released checkpoints, as their Hugging Face model pages list them."""


@pytest.mark.parametrize("model_id", sorted(PUBLISHED_PARAMETERS))
def test_parameters_match_the_checkpoints(facts, model_id):
    """Without rotary tables, 16-bit weights are exactly two bytes for each published parameter."""
    model = replace(facts(model_id), rope_positions=0)
    assert weight_bytes(model, "bf16", 1) == 2 * PUBLISHED_PARAMETERS[model_id]


def test_latent_attention_matches_the_checkpoint(facts):
    """DeepSeek-V2-Lite has 15,706,484,224 parameters; the engine adds the copies for decoding."""
    model = replace(facts("deepseek-v2-lite"), rope_positions=0)
    copies = 27 * 16 * (128 + 128) * 512
    assert weight_bytes(model, "bf16", 1) == 2 * (15_706_484_224 + copies)


def test_deepseek_v3_is_671_billion(facts):
    """DeepSeek-V3 in fp8 takes one byte for each of its 671 billion parameters, and less than 1 % more."""
    size = weight_bytes(facts("deepseek-v3"), "fp8", 1)
    assert 671e9 < size < 677e9


def test_opt_30b_weighs_60_gb(facts):
    """OPT-30B weighs 60 GB (decimal) in 16 bits, as its KV cache is compared with."""
    assert weight_bytes(facts("opt-30b"), "bf16", 1) / 1e9 == pytest.approx(60, abs=0.1)


def test_logged_weights(logs):
    """Weights are within 1 % of every log; the latent-attention log at tp 4 holds 0.10 GiB (1.4 %) more."""
    checked = 0
    for log in logs:
        if log.weights_gib is None or log.quantization == "bnb" or "float32" in log.kv_dtype:
            continue
        dtype = {"": "bf16", "compressed-tensors": "fp8", "mxfp4": "mxfp4"}[log.quantization]
        got = weight_bytes(log.model, dtype, log.tp) / GIB
        tolerance = 0.014 if (log.catalog_id, log.tp) == ("deepseek-v2-lite", 4) else 0.01
        assert got == pytest.approx(log.weights_gib, rel=tolerance), log
        checked += 1
    assert checked >= 30


def test_llama_8b_matches_an_unrounded_log(logs):
    """The one log with four decimals, 14.9888 GiB, is met to its last digit: parameters and rotary table."""
    log = next(log for log in logs if log.weights_gib == 14.9888)
    assert round(weight_bytes(log.model, "bf16", 1) / GIB, 4) == log.weights_gib


def test_fp8_halves_linear_layers_and_adds_scales(facts):
    """In fp8 each linear weight of Llama-3.1-8B takes one byte, each output channel a scale of 4 bytes."""
    shapes = [(4096, 6144), (4096, 4096), (4096, 28672), (14336, 4096)]  # qkv, o, gate and up, down
    saved = 32 * sum(inputs * outputs - 4 * outputs for inputs, outputs in shapes)
    model = facts("llama-3.1-8b")
    assert weight_bytes(model, "bf16", 1) - weight_bytes(model, "fp8", 1) == saved


@pytest.mark.parametrize(
    ("model_id", "dtype", "tp", "bottleneck", "nearest"),
    [
        ("llama-3.1-8b", "bf16", 3, Bottleneck.PARALLEL, "tp2"),  # 32 heads
        ("qwen2.5-7b", "bf16", 8, Bottleneck.PARALLEL, "tp4"),  # 28 heads
        ("phi-4", "bf16", 4, Bottleneck.PARALLEL, "tp2"),  # 10 KV heads
        ("qwen3-30b-a3b-fp8", "fp8", 8, Bottleneck.PARALLEL, "tp2"),  # blocks of 128 in 768 / tp
        ("gpt-oss-20b", "bf16", 1, Bottleneck.ENGINE, "mxfp4"),
        ("deepseek-v3", "bf16", 8, Bottleneck.ENGINE, "fp8"),
        ("llama-3.1-8b", "mxfp4", 1, Bottleneck.ENGINE, "bf16"),
    ],
)
def test_what_cannot_be_loaded(facts, model_id, dtype, tp, bottleneck, nearest):
    """Shapes that do not divide and dtypes that were not shipped are refused, with what would do."""
    refusal = weight_bytes(facts(model_id), dtype, tp)
    assert isinstance(refusal, Refusal)
    assert (refusal.bottleneck, refusal.nearest) == (bottleneck, nearest)


def test_unknown_parts_are_refused_by_name(facts):
    """A model with a part that is not understood has no weight figure, and the refusal names the part."""
    model = replace(facts("llama-3.1-8b"), unsupported=("Mamba state",))
    refusal = weight_bytes(model, "bf16", 1)
    assert isinstance(refusal, Refusal)
    assert refusal.bottleneck is Bottleneck.ARCHITECTURE
    assert "Mamba state" in refusal.message


@given(
    st.sampled_from(["llama-3.1-8b", "qwen3-30b-a3b", "deepseek-v2-lite", "gemma-3-27b", "opt-30b"]),
    st.sampled_from([2, 4, 8]),
    st.sampled_from(["bf16", "fp8"]),
)
def test_ranks_together_hold_no_less_than_the_whole(facts, model_id, tp, dtype):
    """Sharding repeats tensors but loses none, and each rank holds less than the whole."""
    whole, part = (weight_bytes(facts(model_id), dtype, ranks) for ranks in (1, tp))
    if not isinstance(part, Refusal):
        assert part < whole <= tp * part


@given(st.sampled_from(["llama-3.1-8b", "mixtral-8x7b", "opt-30b"]), st.integers(1, 3))
def test_bigger_models_weigh_more(facts, model_id, more):
    """More layers, vocabulary or width never weigh less, and fp8 never weighs more than 16 bits."""
    model = facts(model_id)
    size = weight_bytes(model, "bf16", 1)
    for bigger in (
        replace(model, layers=model.layers + more),
        replace(model, vocab_size=model.vocab_size + 64 * more),
        replace(model, ffn_size=model.ffn_size + more, expert_ffn_size=model.expert_ffn_size + more),
    ):
        assert weight_bytes(bigger, "bf16", 1) > size
    assert weight_bytes(model, "fp8", 1) < size
