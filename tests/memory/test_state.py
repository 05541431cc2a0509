"""State of recurrent layers: sizes that engines logged, and blocks that grow to hold them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.catalog.parallel import Parallel
from planner.catalog.types import BF16_KV, KvStorage, Refusal, StateKv
from planner.memory.kv import pool_layout
from planner.memory.pool import kv_pool
from planner.memory.state import convolution_bytes, matrix_bytes, state_bytes, state_split_problem

GIB = 2**30
FP8 = KvStorage(8, 8)
QWEN3_NEXT = StateKv("gdn", 32, 128, 128, 16, 4)
QWEN_27B = StateKv("gdn", 48, 128, 128, 16, 4, 4)
NEMOTRON_30B = StateKv("mamba2", 64, 64, 128, 8, 4, 4)


@pytest.mark.parametrize(
    ("layer", "tp", "speculative", "expected"),
    [
        (QWEN3_NEXT, 1, 0, 1_097_728),  # note of a start-up log
        (StateKv("gdn", 32, 128, 128, 16, 4, 4), 1, 0, 2_146_304),  # Qwen3.6-35B-A3B, note of a start-up log
        (QWEN_27B, 2, 0, 1_603_584),  # note of a start-up log at tp 2
        (QWEN_27B, 1, 7, 10_240 * (3 + 7) * 2 + 48 * 128 * 128 * 4),
        (NEMOTRON_30B, 1, 0, 6_144 * 3 * 2 + 64 * 64 * 128 * 4),
        (StateKv("mamba2", 64, 64, 128, 1, 4), 4, 0, (4_096 + 2 * 4 * 128) // 4 * 3 * 2 + 16 * 64 * 128 * 2),
        (StateKv("mamba1", 1, 8_192, 16, 0, 4), 2, 3, 4_096 * 3 * 2 + 4_096 * 16 * 2),  # Jamba
        (StateKv("linear", 64, 128, 128), 8, 2, 8 * 128 * 128 * 2),  # MiniMax-M1: no convolution
        (StateKv("short_conv", 1, 2_048, 0, conv_kernel=3), 2, 0, 2_048 // 2 * 2 * 2),  # LFM2: no matrix
        (StateKv("kda", 32, 128, 128, 0, 4), 1, 0, 3 * 4_096 * 3 * 2 + 32 * 128 * 128 * 4),  # Kimi-Linear
    ],
)
def test_state_sizes(layer, tp, speculative, expected):
    """Each kind of state has the size that the engine's own shapes give."""
    assert state_bytes(layer, tp, speculative_tokens=speculative) == expected


def test_sglang_log_of_states():
    """360 slots and one padding slot of Qwen3.8-27B: 0.99 GB of convolutions, 50.77 GB of 32-bit matrices.

    Source: start-up log of SGLang on GB10, max_mamba_cache_size 360, 48 recurrent layers.
    """
    layer = StateKv("gdn", 48, 128, 128, 16, 4, 2)
    assert round(361 * 48 * matrix_bytes(layer, 1, "sglang") / GIB, 2) == 50.77
    assert round(361 * 48 * convolution_bytes(layer, 1) / GIB, 2) == 0.99


def test_sglang_backing_tensors():
    """17 slots of 24 layers with 32 heads take 855,638,016 and 20,054,016 bytes, as an SGLang pool was measured."""
    layer = StateKv("gdn", 32, 128, 128, 16, 4, 4)
    assert 17 * 24 * matrix_bytes(layer, 1, "sglang") == 855_638_016
    assert 17 * 24 * convolution_bytes(layer, 1) == 20_054_016


@pytest.mark.parametrize(
    ("layers", "storage", "tp", "speculative", "block_tokens", "padding_percent"),
    [
        ("qwen3.5-27b", FP8, 1, 0, 1_568, 0.13),
        ("qwen3.5-27b", FP8, 2, 0, 1_568, 0.13),
        ("qwen3.5-27b", FP8, 1, 7, 1_648, 0.73),
        ("qwen3.5-27b", BF16_KV, 1, 0, 784, 0.13),  # vLLM 0.28 on GB10
        ("qwen3.5-27b", BF16_KV, 1, 7, 832, 1.71),  # vLLM 0.28 with seven draft tokens
        ("qwen3.6-35b-a3b", FP8, 1, 0, 2_096, 0.00),
        ("qwen3-next-80b-a3b", BF16_KV, 1, 0, 544, 1.49),
        ("qwen3.5-0.8b", BF16_KV, 1, 0, 544, 2.64),
    ],
)
def test_logged_blocks(by_hand, kv_setup, layers, storage, tp, speculative, block_tokens, padding_percent):
    """Attention blocks grow to the logged sizes, and states are padded by the logged shares."""
    model = by_hand(layers)
    setup = kv_setup(model, "vllm@0.24", storage=storage, shape=Parallel(tp), speculative_tokens=speculative)
    layout = pool_layout(setup)
    assert layout.parts[0].block_tokens == block_tokens
    state = {label: value for label, _, value in layout.steps}["state of one recurrent layer"]
    layers_per_block = {label: value for label, _, value in layout.steps}["layers per group"]
    page = layout.parts[0].stage_block_bytes[0] // layers_per_block
    assert round(100 * (page / state - 1), 2) == padding_percent


def test_nemotron_block(by_hand, kv_setup):
    """Nemotron-Cascade-2-30B-A3B with fp8 KV: blocks of 4176 tokens and 0.19 % of padding, as vLLM logged."""
    model = by_hand((NEMOTRON_30B,) * 23 + by_hand("qwen2.5-1.5b").kv_layers[:6])
    layout = pool_layout(kv_setup(model, "vllm@0.19", storage=FP8))
    assert layout.parts[0].block_tokens == 4_176
    assert round(100 * (4_176 * 512 / state_bytes(NEMOTRON_30B, 1) - 1), 2) == 0.19


def test_block_size_of_the_user_is_the_step(by_hand, kv_setup):
    """--block-size 816 becomes the grain in which blocks grow: 1632, as vLLM 0.28 logged."""
    setup = kv_setup(by_hand("qwen3.5-27b"), "vllm@0.24", speculative_tokens=7, block_tokens=816)
    assert pool_layout(setup).parts[0].block_tokens == 1_632


def test_speculation_adds_one_attention_layer(by_hand, kv_setup):
    """An MTP layer makes Qwen3-Next's groups 13 layers large, so 36 recurrent layers are padded to 39."""
    model = by_hand("qwen3-next-80b-a3b", draft_layers=by_hand("qwen3-next-80b-a3b").kv_layers[:1])
    plain, drafting = (kv_setup(model, "vllm@0.24", speculative_tokens=count) for count in (0, 2))
    sizes = [{label: value for label, _, value in pool_layout(setup).steps} for setup in (plain, drafting)]
    assert [size["layers per group"] for size in sizes] == [12, 13]
    assert [size["groups"] for size in sizes] == [4, 4]
    pool = kv_pool(drafting, 8 * GIB)
    assert pool.request_blocks(1) == 1 + 3 * (2 + 2)


def test_prefix_caching_off_takes_one_block(by_hand, kv_setup):
    """vLLM 0.19 prints 290,864 tokens and 33.04 times 32,768 for Qwen3.5-27B: one block of state per group.

    Source: vllm-project/vllm#40691; the memory is not printed, so some count of blocks must give both figures.
    """
    setup = kv_setup(by_hand("qwen3.5-27b"), max_model_len=32_768, recurrent_blocks=1)
    size = pool_layout(setup).parts[0].stage_block_bytes[0]
    pools = [kv_pool(setup, blocks * size) for blocks in range(1_480, 1_495)]
    assert any(pool.printed_tokens == 290_864 and round(float(pool.max_concurrency), 2) == 33.04 for pool in pools)


@pytest.mark.parametrize(
    ("layer", "tp", "word"),
    [
        (QWEN_27B, 32, "48 recurrent heads"),
        (StateKv("mamba2", 64, 64, 128, 8, 4), 16, "8 groups"),
        (StateKv("mamba1", 1, 8_191, 16, 0, 4), 2, "8,191"),
        (StateKv("gdn", 64, 128, 128, 16, 4), 32, "16 key heads"),
    ],
)
def test_shapes_that_do_not_divide(by_hand, kv_setup, layer, tp, word):
    """A state that the ranks cannot share is refused with its count, not rounded."""
    assert word in state_split_problem(layer, tp)
    model = by_hand((layer, *by_hand("qwen2.5-1.5b").kv_layers[:1]))
    refusal = pool_layout(kv_setup(model, shape=Parallel(tp)))
    assert isinstance(refusal, Refusal)
    assert word in refusal.message


@given(
    st.sampled_from(["mamba1", "mamba2", "gdn", "kda", "linear"]),
    st.sampled_from([8, 16, 64]),
    st.sampled_from([64, 128]),
    st.sampled_from([1, 8]),
    st.sampled_from([0, 4]),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(0, 8),
)
def test_ranks_together_hold_no_less(kind, heads, head_dim, groups, kernel, tp, speculative):
    """The ranks of a shape keep at least the whole state, and more drafts never keep less."""
    layer = StateKv(kind, 1 if kind == "mamba1" else heads, head_dim, 128, groups, kernel)
    whole = state_bytes(layer, 1, speculative_tokens=speculative)
    assert tp * state_bytes(layer, tp, speculative_tokens=speculative) >= whole
    assert state_bytes(layer, tp, speculative_tokens=speculative + 1) >= state_bytes(
        layer, tp, speculative_tokens=speculative
    )
