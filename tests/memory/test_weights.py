"""Weights: published parameter counts, file sizes of every GGUF mix, closed forms, shapes that do not divide."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.catalog import load_model
from planner.catalog.parallel import Parallel
from planner.catalog.tensors import model_tensors
from planner.catalog.types import AttentionKv, Bottleneck, ModelFacts, Refusal, StateKv
from planner.memory.formats import weight_formats
from planner.memory.weights import allocated_bytes, tensor_bytes, weight_bytes

GIB = 2**30
ONE = Parallel()

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

MIXES = ("q3_k_s", "q3_k_m", "q3_k_l", "q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m", "q6_k")
LLAMA_2_BITS = {
    "llama-2-7b": (3.50, 3.91, 4.27, 4.58, 4.84, 5.52, 5.68, 6.56),
    "llama-2-13b": (3.48, 3.89, 4.26, 4.56, 4.83, 5.51, 5.67, 6.56),
    "llama-2-70b": (3.47, 3.85, 4.19, 4.53, 4.80, 5.50, 5.65, 6.56),
}
"""Bits per weight of GGUF files: llama.cpp, examples/quantize/README.md of January 2024, without Q2_K, whose mix
changed since."""

LLAMA_3_GIB = {
    "iq4_xs": 4.17,
    "iq4_nl": 4.38,
    "q2_k": 2.95,
    "q3_k_s": 3.41,
    "q3_k_l": 4.02,
    "q4_k_s": 4.36,
    "q4_k_m": 4.58,
    "q5_k_s": 5.21,
    "q5_k_m": 5.33,
    "q6_k": 6.14,
    "q8_0": 7.95,
    "bf16": 14.96,
}
"""GiB of GGUF files of Llama-3.1-8B: llama.cpp, tools/quantize/README.md."""


def model(model_id: str) -> ModelFacts:
    """A catalog model that must load."""
    found = load_model(model_id, Path())
    assert isinstance(found, ModelFacts), found
    return found


def file_bytes(facts: ModelFacts, dtype: str) -> int:
    """Bytes of the tensors of a checkpoint: what engines derive while they load is left out, a tied head too."""
    left_out = {"rotary", "kv_b_copy"} | ({"head"} if facts.tied_embeddings else set())
    return sum(sum(tensor_bytes(each, facts, dtype, ONE)) for each in model_tensors(facts) if each.name not in left_out)


@pytest.mark.parametrize("model_id", sorted(PUBLISHED_PARAMETERS))
def test_parameters_match_the_checkpoints(model_id):
    """16-bit checkpoints are two bytes for each published parameter; the vocabulary is padded by 63 rows at most."""
    facts = model(model_id)
    padding = -facts.vocab_size % 64 * facts.hidden_size * (1 if facts.tied_embeddings else 2)
    assert file_bytes(facts, "bf16") == 2 * (PUBLISHED_PARAMETERS[model_id] + padding)


@pytest.mark.parametrize("model_id", sorted(LLAMA_2_BITS))
def test_gguf_bits_of_llama_2(model_id):
    """Every k-quant mix of three sizes has the published bits per weight, within 0.5 %."""
    for mix, bits in zip(MIXES, LLAMA_2_BITS[model_id], strict=True):
        got = 8 * file_bytes(model(model_id), mix) / PUBLISHED_PARAMETERS[model_id]
        assert got == pytest.approx(bits, rel=0.005), mix


@pytest.mark.parametrize("dtype", sorted(LLAMA_3_GIB))
def test_gguf_files_of_llama_3(dtype):
    """Files of Llama-3.1-8B are as large as llama.cpp lists them, to 0.3 %."""
    assert file_bytes(model("llama-3.1-8b"), dtype) / GIB == pytest.approx(LLAMA_3_GIB[dtype], rel=0.003)


def test_latent_attention_matches_the_checkpoint():
    """DeepSeek-V2-Lite has 15,706,484,224 parameters."""
    assert file_bytes(model("deepseek-v2-lite"), "bf16") == 2 * 15_706_484_224


def test_deepseek_v3_is_671_billion():
    """DeepSeek-V3 in fp8 takes one byte for each of its 671 billion parameters, and less than 1 % more."""
    size = weight_bytes(model("deepseek-v3"), "fp8", ONE)
    assert 671e9 < size < 677e9


def test_opt_30b_weighs_60_gb():
    """OPT-30B weighs 60 GB (decimal) in 16 bits, as its KV cache is compared with."""
    assert weight_bytes(model("opt-30b"), "bf16", ONE) / 1e9 == pytest.approx(60, abs=0.1)


LLAMA_8B_LINEAR = 32 * 4096 * (6144 + 4096 + 28672 + 14336)
LLAMA_8B_OUTPUTS = 32 * (6144 + 4096 + 28672 + 4096)
LLAMA_8B_MATRICES = 32 * 7


@pytest.mark.parametrize(
    ("dtype", "linear_bytes"),
    [
        ("fp32", 4 * LLAMA_8B_LINEAR),
        ("fp8", LLAMA_8B_LINEAR + 4 * LLAMA_8B_OUTPUTS),  # fp32 scale of each output channel
        ("int8", LLAMA_8B_LINEAR + 4 * LLAMA_8B_OUTPUTS),
        ("w4a16", LLAMA_8B_LINEAR * (4 + 16 / 128 + 4 / 128) / 8),  # scale and zero point per 128
        ("nvfp4", LLAMA_8B_LINEAR * (4 + 8 / 16) / 8 + 4 * LLAMA_8B_MATRICES),
    ],
)
def test_formats_of_linear_layers(dtype, linear_bytes):
    """Linear layers take the bits of their format and its scales; embeddings, head and norms stay 16-bit."""
    facts = model("llama-3.1-8b")
    rest = 2 * (8_030_261_248 - LLAMA_8B_LINEAR)
    expected = linear_bytes + (2 * rest if dtype == "fp32" else rest)
    assert file_bytes(facts, dtype) == pytest.approx(
        expected, abs=LLAMA_8B_MATRICES + (1 if dtype == "fp32" else 0) * 1e9
    )


def test_fp32_doubles_everything():
    """In 32 bits every parameter takes four bytes (log: 29.98 GiB against 14.99)."""
    assert weight_bytes(model("llama-3.1-8b"), "fp32", ONE) / GIB == pytest.approx(29.98, abs=0.005)


def test_fp8_blocks_cost_more_than_channels_only_for_small_outputs():
    """DeepSeek's 128 x 128 blocks: a matrix of 7168 x 2048 has 16 x 56 scales, fewer than its 2048 channels."""
    facts = model("deepseek-v3")
    expert = next(each for each in model_tensors(facts) if each.shard == "expert_column")
    weights, scales = tensor_bytes(expert, facts, "fp8", ONE)
    assert weights == 256 * 7168 * 2048
    assert scales == 256 * 4 * max(2048, 16 * 56)


def test_nf4_holds_one_wide_matrix_while_it_loads():
    """Phi-4 in bitsandbytes: 4.127 bits per linear weight, 16-bit embeddings, and one 16-bit matrix (log 8.63)."""
    facts = model("phi-4")
    size = weight_bytes(facts, "bnb4", ONE)
    assert size / GIB == pytest.approx(8.63, rel=0.01)
    linear = 40 * 5120 * (7680 + 5120 + 2 * 17920 + 17920)
    closed = linear * (4 + 8 / 64 + 32 / (64 * 256)) / 8 + 2 * (14_659_507_200 - linear)
    wide = 2 * 17920 * 5120
    assert size == pytest.approx(closed + wide + 2 * facts.rope_positions * 128, abs=50e6)


@pytest.mark.parametrize(
    ("mebibytes", "counted"),
    [(1, 1), (9, 9), (10, 10), (75, 76), (74.5, 74.5), (32, 32), (231, 232), (220.5, 220.5)],
)
def test_what_the_allocator_counts(mebibytes, counted):
    """Large tensors take steps of 2 MiB; a rest of more than 1 MiB is given back."""
    assert allocated_bytes(int(mebibytes * 2**20)) == counted * 2**20


@pytest.mark.parametrize(
    ("model_id", "dtype", "shape", "bottleneck", "nearest"),
    [
        ("llama-3.1-8b", "bf16", Parallel(3), Bottleneck.PARALLEL, "tp2"),  # 32 heads
        ("llama-3.1-8b", "bf16", Parallel(1, pp=33), Bottleneck.PARALLEL, None),  # 32 layers
        ("qwen2.5-7b", "bf16", Parallel(8), Bottleneck.PARALLEL, "tp4"),  # 28 heads
        ("qwen2.5-7b", "bf16", Parallel(8, pp=2), Bottleneck.PARALLEL, "tp4-pp2"),
        ("phi-4", "bf16", Parallel(4), Bottleneck.PARALLEL, "tp2"),  # 10 KV heads
        ("qwen3-30b-a3b-fp8", "fp8", Parallel(8), Bottleneck.PARALLEL, "tp2"),  # blocks of 128 in 768 / tp
        ("qwen3-30b-a3b-fp8", "fp8", Parallel(2, dp=2), Bottleneck.PARALLEL, "tp1-dp2"),
        ("mixtral-8x7b", "bf16", Parallel(1, dp=16, ep=True), Bottleneck.PARALLEL, None),  # 8 experts
        ("gpt-oss-20b", "bf16", ONE, Bottleneck.ENGINE, "mxfp4"),
        ("deepseek-v3", "bf16", Parallel(8), Bottleneck.ENGINE, "fp8"),
        ("llama-3.1-8b", "mxfp4", ONE, Bottleneck.ENGINE, "bf16"),
        ("llama-3.1-8b", "int3", ONE, Bottleneck.ENGINE, "bf16"),
    ],
)
def test_what_cannot_be_loaded(model_id, dtype, shape, bottleneck, nearest):
    """Shapes that do not divide, and formats that were not shipped or are not known, are refused."""
    refusal = weight_bytes(model(model_id), dtype, shape)
    assert isinstance(refusal, Refusal)
    assert (refusal.bottleneck, refusal.nearest) == (bottleneck, nearest)


def test_whole_experts_split_where_slices_do_not():
    """Qwen3-30B-A3B in fp8 blocks does not split over 8 ranks, but 128 whole experts do."""
    shape = Parallel(8, ep=True)
    assert isinstance(weight_bytes(model("qwen3-30b-a3b-fp8"), "fp8", shape), int)


@pytest.mark.parametrize("part", ["unsupported", "missing"])
def test_unknown_parts_are_refused_by_name(part):
    """A part that is not understood, or a field that is missing, is named; the latter has a way out."""
    facts = replace(model("llama-3.1-8b"), **{part: ("moe_intermediate_size",)})
    refusal = weight_bytes(facts, "bf16", ONE)
    assert isinstance(refusal, Refusal)
    assert refusal.bottleneck is Bottleneck.ARCHITECTURE
    assert "moe_intermediate_size" in refusal.message
    assert ("--weights-gib" in refusal.message) == (part == "missing")


def test_stages_hold_all_layers_and_a_tied_embedding_twice():
    """Stages of Llama-3.1-8B add up to it and one more rotary table; a tied pair (501 MiB) stands on both ends."""
    facts = model("llama-3.1-8b")
    shape = Parallel(1, pp=2)
    stages = [weight_bytes(facts, "bf16", shape, stage=stage) for stage in (0, 1)]
    table = 2 * facts.rope_positions * 128
    assert sum(stages) == weight_bytes(facts, "bf16", ONE) + table
    assert weight_bytes(facts, "bf16", shape) == max(stages)
    tied = model("llama-3.2-1b")
    ends = [weight_bytes(tied, "bf16", shape, stage=stage) for stage in (0, 1)]
    extra = 502 * 2**20 + 2 * tied.rope_positions * tied.head_dim
    assert sum(ends) == weight_bytes(tied, "bf16", ONE) + extra


def test_data_parallel_ranks_share_experts_only():
    """Mixtral at dp 2: experts are halved, attention and embeddings are not; whole experts weigh the same."""
    facts = model("mixtral-8x7b")
    experts = 2 * 32 * 8 * 3 * 4096 * 14336
    whole, half = (weight_bytes(facts, "bf16", Parallel(1, dp=ranks)) for ranks in (1, 2))
    assert whole - half == experts // 2
    assert weight_bytes(facts, "bf16", Parallel(1, dp=2, ep=True)) == half


def test_replicated_kv_heads_are_counted_on_every_rank():
    """Llama-3.1-8B has 8 KV heads: from tp 8 to 16, the K and V projections of a rank do not shrink."""
    facts = model("llama-3.1-8b")
    sizes = [
        sum(sum(tensor_bytes(t, facts, "bf16", Parallel(tp))) for t in model_tensors(facts) if t.name == "k_proj")
        for tp in (4, 8, 16)
    ]
    assert sizes == [32 * 2 * 256 * 4096, 32 * 2 * 128 * 4096, 32 * 2 * 128 * 4096]


def hybrid(kind: StateKv) -> ModelFacts:
    """A model of two layers: one recurrent, one of attention, with feed-forward blocks after both."""
    return replace(
        model("qwen3-8b"), layers=2, kv_layers=(kind, AttentionKv(8, 128, 128)), ffn_layers=("dense", "dense")
    )


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        # Qwen3-Next: in_proj_qkvz, in_proj_ba, conv1d over 8,192 channels, A_log and dt_bias (fp32), norm, out_proj
        (
            StateKv("gdn", 32, 128, 128, 16, 4),
            4096 * (2 * 2048 + 2 * 4096) + 4096 * 64 + 8192 * 4 + 4 * 32 + 128 + 4096 * 4096,
        ),
        # Mamba-2: in_proj 4096 x (2 * 8192 + 2 * 8 * 128 + 128), conv1d with bias, A, D, dt_bias, norm, out_proj
        (
            StateKv("mamba2", 128, 64, 128, 8, 4),
            4096 * (2 * 8192 + 2 * 8 * 128 + 128) + (8192 + 2048) * 5 + 4 * 128 + 8192 + 8192 * 4096,
        ),
        # lightning attention: qkv, output gate, norm, out
        (StateKv("linear", 64, 96, 96), 4096 * 4 * 6144 + 6144 + 6144 * 4096),
    ],
)
def test_recurrent_layers(kind, parameters):
    """A recurrent layer has the matrices of its published module, two bytes a parameter."""
    facts = hybrid(kind)
    mixer = [each for each in model_tensors(facts) if each.where == "layer" and each.layer == 0]
    names = {"gate_proj", "up_proj", "down_proj", "norms"}
    assert (
        sum(sum(tensor_bytes(each, facts, "bf16", ONE)) for each in mixer if each.name not in names) == 2 * parameters
    )


PUBLISHED_BILLIONS = {
    "bloom-176b": 176.25,
    "command-r-plus": 103.81,
    "dbrx": 131.60,
    "ernie-4.5-21b-a3b": 21.83,
    "falcon-40b": 41.30,
    "glm-5": 744,
    "gpt-j-6b": 6.05,
    "gpt-oss-120b": 116.83,
    "jamba-v0.1": 51.57,
    "kimi-k2-instruct": 1026.4,
    "llama-4-maverick-17b-128e": 401.58,
    "llama-4-scout-17b-16e": 108.64,
    "minimax-m1": 456.09,
    "minimax-m2.5": 228.7,
    "mistral-small-3.1-24b": 24.01,
    "nemotron-3-nano-30b-a3b": 31.6,
    "nemotron-h-8b": 8.1,
    "phi-2": 2.78,
    "qwen3-next-80b-a3b": 79.7,
    "qwen3-vl-8b-instruct": 8.77,
    "starcoder2-3b-class-defaults": 3.03,
}
"""Billions of parameters of checkpoints, vision towers in, multi-token prediction layers out: model cards."""


@pytest.mark.parametrize("model_id", sorted(PUBLISHED_BILLIONS))
def test_parameters_of_further_families(model_id):
    """Mamba, delta nets, lightning attention, indexers, fused and multi-query attention: within 0.2 % of the cards."""
    got = file_bytes(model(model_id), "bf16") / 2e9
    assert got == pytest.approx(PUBLISHED_BILLIONS[model_id], rel=0.002)


def test_nvfp4_leaves_latent_attention_wide():
    """DeepSeek-V3 in NVFP4: 4.5 bits for experts and dense blocks, 16 for the 11.4 billion weights of attention."""
    facts = replace(model("deepseek-v3"), native_weights="nvfp4", rope_positions=0)
    attention = 61 * (7168 * 1536 + 1536 * 24576 + 7168 * 576 + 512 * 32768 + 16384 * 7168)
    experts = 58 * 257 * 3 * 7168 * 2048 + 3 * 3 * 7168 * 18432
    rest = 671_026_404_352 - attention - experts
    closed = attention * 2 + experts * 4.5 / 8 + rest * 2
    assert file_bytes(facts, "nvfp4") == pytest.approx(closed, rel=0.001)


SHAPES = st.builds(
    Parallel,
    tp=st.sampled_from([1, 2, 4, 8]),
    pp=st.sampled_from([1, 2, 3]),
    dp=st.sampled_from([1, 2]),
    ep=st.booleans(),
)
MODELS = st.sampled_from(["llama-3.1-8b", "qwen3-30b-a3b", "deepseek-v2-lite", "gemma-3-27b", "opt-30b", "phi-4"])
DTYPES = st.sampled_from([each for each in weight_formats() if each != "mxfp4"])


@settings(deadline=None)
@given(MODELS, SHAPES, DTYPES)
def test_ranks_together_hold_no_less_than_the_whole(model_id, shape, dtype):
    """Sharding repeats tensors but loses none, and no rank holds more than the whole."""
    facts = model(model_id)
    whole = weight_bytes(facts, dtype, ONE)
    parts = [weight_bytes(facts, dtype, shape, stage=stage) for stage in range(shape.pp)]
    if isinstance(parts[0], Refusal):
        return
    slack = 2 * 2**20 * 10 * facts.layers  # a tensor below 10 MiB takes no step of 2 MiB
    assert max(parts) <= whole
    assert shape.tp * shape.dp * sum(parts) + slack >= whole


@settings(deadline=None)
@given(st.sampled_from(["llama-3.1-8b", "mixtral-8x7b", "opt-30b"]), st.integers(1, 3), DTYPES)
def test_bigger_models_weigh_more(model_id, more, dtype):
    """More vocabulary or width never weigh less, and no format weighs more than 32 bits."""
    facts = model(model_id)
    size = weight_bytes(facts, dtype, ONE)
    for bigger in (
        replace(facts, vocab_size=facts.vocab_size + 256 * more),
        replace(facts, ffn_size=facts.ffn_size + 256 * more, expert_ffn_size=facts.expert_ffn_size + 256 * more),
    ):
        assert weight_bytes(bigger, dtype, ONE) > size
    assert size <= weight_bytes(facts, "fp32", ONE)
