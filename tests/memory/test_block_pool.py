"""Pools of blocks: an independent account of vLLM's grouping, the pools of other engines, and what is refused."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.catalog.parallel import Parallel
from planner.catalog.types import BF16_KV, AttentionKv, Bottleneck, KvStorage, Refusal, StateKv
from planner.memory.kv import pool_layout
from planner.memory.pool import KvPool, kv_pool
from planner.memory.stages import stage_layers

GIB = 2**30
FP8 = KvStorage(8, 8)
FULL = AttentionKv(8, 128, 128)
WINDOW = AttentionKv(8, 128, 128, "sliding", 1_024)
LATENT = AttentionKv(1, 576, 0, rope_dim=64)


def layers_per_group_and_groups(setup):
    """What the steps of a layout say about its groups."""
    values = {label: value for label, _, value in pool_layout(setup).steps}
    return values.get("layers per group"), values.get("groups")


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("gemma-3-27b", (10, 7)),  # charged for 70 layers instead of 62
        ("gemma-3-4b", (5, 7)),
        ("gpt-oss-120b", (18, 2)),
        ("gemma-2-9b", (21, 2)),
        ("llama-4-scout", (12, 4)),
        ("gemma-4-31b", (10, 6)),
        ("qwen3.6-35b-a3b", (10, 4)),
        ("llama-3.1-8b", (None, None)),  # one kind: one group of all layers
    ],
)
def test_groups_of_known_models(by_hand, kv_setup, layers, expected):
    """Mixed layers make groups of the smaller bucket, the last one padded."""
    assert layers_per_group_and_groups(kv_setup(by_hand(layers))) == expected


@pytest.mark.parametrize(("engine", "size"), [("vllm@0.11", 12), ("vllm@0.19", 13)])
def test_nearly_equal_buckets(by_hand, kv_setup, engine, size):
    """12 windows and 13 full layers make two groups of 13; older releases take the smaller bucket."""
    assert layers_per_group_and_groups(kv_setup(by_hand((FULL,) * 13 + (WINDOW,) * 12), engine))[0] == size


def test_mixed_page_sizes(by_hand, kv_setup):
    """Gemma-4's full layers have half the page of its windows, so their blocks hold 32 tokens instead of 16."""
    kinds = pool_layout(kv_setup(by_hand("gemma-4-31b"))).parts[0].kinds
    assert {(kind.reach, kind.block_tokens, kind.count) for kind in kinds} == {("full", 32, 1), ("sliding", 16, 5)}


def test_pages_that_do_not_divide(by_hand, kv_setup):
    """Pages of 3 and 8 heads are padded to the larger one, and that is said."""
    layout = pool_layout(kv_setup(by_hand((FULL,) * 4 + (replace(WINDOW, kv_heads=3),) * 4)))
    assert layout.parts[0].stage_block_bytes == (4 * 16 * 4_096,)
    assert any("padded" in doubt for doubt in layout.estimated)


def test_full_layers_of_two_sizes_are_summed(by_hand, kv_setup):
    """All-full layers with different heads share one group, and nothing is padded."""
    layout = pool_layout(kv_setup(by_hand((FULL,) * 4 + (replace(FULL, kv_heads=2),) * 3)))
    assert layout.parts[0].groups == 1
    assert layout.parts[0].stage_block_bytes == (16 * (4 * 4_096 + 3 * 1_024),)


def engine_account(layers, pp, by_ratio, block_tokens=16):
    """vLLM's grouping layer by layer: bytes of a block on each stage, and (reach, window, blocks' tokens) of groups."""
    names = [f"{place}" for place, layer in enumerate(layers) if layer is not None]
    spec = {name: layers[int(name)] for name in names}
    page = {name: block_tokens * 2 * one.kv_heads * one.key_dim * 2 for name, one in spec.items()}
    kinds = {(one.reach, one.window_tokens) for one in spec.values()}
    stage_of = {str(layer): stage for stage, held in enumerate(stage_layers(len(layers), pp)) for layer in held}
    if len(kinds) == 1:
        blocks = [sum(page[name] for name in names if stage_of[name] == stage) for stage in range(pp)]
        return blocks, [(*kinds.pop(), block_tokens)]
    largest = max(page.values())
    buckets = defaultdict(list)
    for name in names:
        buckets[spec[name]].append(name)
    sizes = [len(bucket) for bucket in buckets.values()]
    size = max(sizes) if by_ratio and max(sizes) < 1.5 * min(sizes) else min(sizes)
    groups = []
    for bucket in buckets.values():
        count = (len(bucket) + size - 1) // size
        groups += [bucket[start::count] for start in range(count)]
    blocks = [largest * max(sum(stage_of[name] == stage for name in group) for group in groups) for stage in range(pp)]
    tokens = [block_tokens * largest // page[g[0]] if largest % page[g[0]] == 0 else block_tokens for g in groups]
    return blocks, [(spec[g[0]].reach, spec[g[0]].window_tokens, held) for g, held in zip(groups, tokens, strict=True)]


@settings(max_examples=250, deadline=None)
@given(
    st.lists(
        st.sampled_from([FULL, WINDOW, replace(WINDOW, kv_heads=16), AttentionKv(8, 64, 64, "chunked", 8_192), None]),
        min_size=1,
        max_size=60,
    ).filter(lambda layers: any(layers)),
    st.sampled_from([1, 2, 3, 4]),
    st.sampled_from(["vllm@0.11", "vllm@0.19"]),
    st.integers(1, 100_000),
    st.integers(0, 40 * GIB),
)
def test_groups_as_the_engine_makes_them(by_hand, kv_setup, layers, pp, engine, tokens, available):
    """Blocks of each stage, groups and a request's blocks equal an account that follows the engine layer by layer."""
    setup = kv_setup(by_hand(tuple(layers)), engine, shape=Parallel(1, pp), max_num_batched_tokens=2_048)
    pool = kv_pool(setup, available)
    assert isinstance(pool, KvPool)
    blocks, groups = engine_account(layers, pp, setup.engine.group_by_ratio)
    assert list(pool_layout(setup).parts[0].stage_block_bytes) == blocks
    assert pool.blocks == min(available // size for size in blocks if size)
    needed = 0
    for reach, window, held in groups:
        kept = {"full": tokens, "sliding": min(window - 1 + 2_048, tokens), "chunked": min(window + 2_048, tokens)}[
            reach
        ]
        needed += (kept + held - 1) // held + (reach == "sliding")
    assert pool.request_blocks(tokens) == needed
    assert pool.groups == len(groups)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["gemma-3-27b", "llama-3.1-8b", "qwen3.5-27b", "kimi-vl-a3b", "gpt-oss-20b"]),
    st.sampled_from(["vllm@0.6", "vllm@0.19", "vllm@0.33", "sglang@0.5", "tensorrt-llm@1.2"]),
    st.integers(0, 80 * GIB),
    st.integers(0, GIB),
    st.integers(1, 100_000),
    st.integers(1, 64),
)
def test_more_bytes_never_hold_less(by_hand, kv_setup, layers, engine, available, more, tokens, sequences):
    """A larger pool has no fewer blocks, prints no fewer tokens and holds whatever a smaller one holds."""
    setup = kv_setup(by_hand(layers), engine)
    small, large = (kv_pool(setup, size) for size in (available, available + more))
    if isinstance(small, Refusal):
        return
    assert small.blocks <= large.blocks
    assert small.printed_tokens <= large.printed_tokens
    assert small.pool_tokens <= large.pool_tokens
    assert small.max_concurrency <= large.max_concurrency
    assert not small.fits(tokens, sequences) or large.fits(tokens, sequences)
    assert sum(part.blocks * part.block_bytes for part in small.parts) <= available


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["gemma-3-27b", "llama-3.1-8b", "kimi-vl-a3b", "gpt-oss-20b", "gemma-4-31b"]),
    st.sampled_from(["vllm@0.19", "vllm@0.33", "sglang@0.5", "tensorrt-llm@1.2"]),
    st.integers(GIB, 80 * GIB),
    st.integers(1, 200),
)
def test_pool_tokens_are_conservative(by_hand, kv_setup, layers, engine, available, blocks):
    """Sequences of whole blocks whose tokens sum to pool_tokens always fit, but for the window's starting block."""
    pool = kv_pool(kv_setup(by_hand(layers), engine), available)
    unit = max(kind.block_tokens for part in pool.parts for kind in part.kinds)
    tokens = blocks * unit
    sequences = pool.pool_tokens // tokens
    spare = sequences * sum(kind.count for part in pool.parts for kind in part.kinds if kind.reach == "sliding")
    for part in pool.parts:
        assert sequences * part.request_blocks(tokens, pool.demand) <= part.usable_blocks + spare


def test_null_block(by_hand, kv_setup):
    """vLLM gives one block to nobody; its older engine, SGLang and TensorRT-LLM give all."""
    pools = [kv_pool(kv_setup(by_hand("qwen3-8b"), engine), GIB) for engine in ("vllm@0.19", "vllm@0.6", "sglang@0.5")]
    assert [pool.blocks - pool.usable_blocks for pool in pools] == [1, 0, 0]


def test_new_releases_print_concurrency(by_hand, kv_setup):
    """Qwen3.6-35B-A3B: 300 blocks / (63 + 3 * 2) * 131,072 = 569,878 tokens."""
    setup = kv_setup(by_hand("qwen3.6-35b-a3b"), "vllm@0.24", storage=FP8, max_model_len=131_072, recurrent_blocks=2)
    pool = kv_pool(setup, 300 * 10 * 2_096 * 1_024)
    assert (pool.blocks, pool.blocks_per_max_sequence, pool.printed_tokens) == (300, 69, 569_878)
    assert pool.max_concurrency == Fraction(300, 69)
    assert pool.state_bytes_per_sequence == 6 * pool.block_bytes


def test_hybrid_manager_off(by_hand, kv_setup):
    """Without the hybrid manager gemma-3-27b is charged for 62 full layers in one group."""
    setup = kv_setup(by_hand("gemma-3-27b"), hybrid_manager=False)
    pool = kv_pool(setup, 20 * GIB)
    assert (pool.groups, pool.block_bytes, pool.blocks_per_max_sequence) == (1, 62 * 131_072, 512)


def test_stages_limit_the_pool(by_hand, kv_setup):
    """The stage with the fewest blocks limits both; each has its own memory."""
    setup = kv_setup(by_hand("llama-3.1-8b"), shape=Parallel(1, 2))
    pool = kv_pool(setup, [10 * GIB, 8 * GIB])
    assert (pool.stage, pool.blocks) == (1, 8 * GIB // (16 * 16 * 4_096))
    assert kv_pool(setup, 8 * GIB).blocks == pool.blocks
    refusal = kv_pool(setup, [GIB])
    assert isinstance(refusal, Refusal)
    assert refusal.bottleneck is Bottleneck.PARALLEL


def test_data_parallel_ranks_have_their_own_pools(by_hand, kv_setup):
    """Attention is repeated on each data-parallel rank, so a GPU's pool is that of its tensor-parallel group."""
    alone, shared = (
        kv_pool(kv_setup(by_hand("kimi-vl-a3b", experts=64), shape=shape), 20 * GIB)
        for shape in (Parallel(2), Parallel(2, dp=4, ep=True))
    )
    assert alone == shared


def test_two_steps_in_flight(by_hand, kv_setup):
    """0.33 keeps the tokens of two steps; with four stages of five."""
    model = by_hand((replace(WINDOW, window_tokens=4_096),) * 32)
    blocks = []
    for engine, shape in (("vllm@0.24", Parallel()), ("vllm@0.33", Parallel()), ("vllm@0.33", Parallel(1, 4))):
        setup = kv_setup(model, engine, shape=shape, max_model_len=32_768, max_num_batched_tokens=2_048)
        blocks.append(kv_pool(setup, GIB).blocks_per_max_sequence)
    assert blocks == [-(-(4_095 + steps * 2_048) // 16) + 1 for steps in (1, 2, 5)]


@pytest.mark.parametrize(("layers", "cell"), [("gemma-4-26b-a4b", 184_320), ("gemma-4-31b", 737_280)])
def test_sglang_window_pools(by_hand, kv_setup, layers, cell):
    """Full tokens = bytes / (full + 0.8 * windows), window tokens 0.8 of them.

    Source: SGLang logs of Gemma 4 that print cell_size_bytes 184320 (5 full, 25 windows) and 737280 (10, 50).
    """
    pool = kv_pool(kv_setup(by_hand(layers), "sglang@0.5"), 10 * GIB)
    tokens = 10 * GIB // cell
    assert pool.printed_tokens == tokens
    assert [part.blocks for part in pool.parts] == [tokens, tokens * 8 // 10]
    assert pool.pool_tokens == tokens * 8 // 10


def test_sglang_ratio_of_a_log():
    """51,189 window tokens beside 63,987 full ones, as SGLang printed for gpt-oss-120b."""
    assert int(63_987 * Fraction(8, 10)) == 51_189


def test_sglang_states(by_hand, kv_setup):
    """0.9 / 1.9 of the memory goes to state slots, the rest to tokens; a request takes three slots."""
    pool = kv_pool(kv_setup(by_hand("qwen3.5-27b"), "sglang@0.5", max_model_len=32_768), 20 * GIB)
    tokens, states = pool.parts
    state = 48 * (61_440 + 3_145_728)
    assert states.blocks == int(20 * GIB * Fraction(9, 19)) // state
    assert tokens.blocks == (20 * GIB - states.blocks * state) // (16 * 4 * 2 * 256 * 2)
    assert pool.state_bytes_per_sequence == 3 * state
    assert pool.max_concurrency == min(Fraction(tokens.blocks, 32_768), Fraction(states.blocks, 3))


def test_sglang_one_pool(by_hand, kv_setup):
    """Without a window pool every layer keeps its context: 62 layers of gemma-3-27b in each token."""
    pool = kv_pool(kv_setup(by_hand("gemma-3-27b"), "sglang@0.5", hybrid_manager=False), 20 * GIB)
    assert pool.printed_tokens == 20 * GIB // (62 * 8_192)


def test_tensorrt_llm_keeps_whole_contexts(by_hand, kv_setup):
    """Windows save nothing there by default, and that is said."""
    pool = kv_pool(kv_setup(by_hand("gpt-oss-20b"), "tensorrt-llm@1.2"), 10 * GIB)
    assert pool.printed_tokens == 10 * GIB // (32 * 24 * 2_048) * 32
    assert pool.request_blocks(33) == 2
    assert any("whole context" in doubt for doubt in pool.estimated)


@pytest.mark.parametrize(
    ("layers", "engine", "changes", "word"),
    [
        ((LATENT,) * 4, "vllm@0.24", {"storage": KvStorage(8, 8, vector_bytes=4)}, "latent"),
        ((LATENT,) * 4, "vllm@0.24", {"storage": KvStorage(4, 4, group=16, scale_bytes=1)}, "latent"),
        ((FULL,) * 4, "vllm@0.24", {"storage": KvStorage(8, 8, latent_bytes=656)}, "latent"),
        ((FULL, WINDOW), "vllm@0.24", {"storage": KvStorage(4, 4, skip_layers=2)}, "16-bit"),
        ((FULL,) * 4, "sglang@0.5", {"storage": KvStorage(4, 4, skip_layers=2)}, "16-bit"),
        ((FULL, StateKv("gdn", 16, 128, 128, 16, 4)), "tensorrt-llm@1.2", {}, "recurrent"),
        ((FULL, StateKv("gdn", 16, 128, 128, 16, 4)), "vllm@0.6", {}, "recurrent"),
        ((FULL, StateKv("gdn", 16, 128, 128, 16, 4)), "vllm@0.24", {"hybrid_manager": False}, "recurrent"),
        ((FULL, StateKv("gdn", 16, 128, 128, 16, 4)), "sglang@0.5", {"speculative_tokens": 2}, "speculation"),
        ((WINDOW, StateKv("gdn", 16, 128, 128, 16, 4)), "sglang@0.5", {}, "three pools"),
        ((StateKv("gdn", 16, 128, 128, 16, 4),), "sglang@0.5", {}, "no attention"),
        ((WINDOW, replace(WINDOW, window_tokens=64)), "vllm@0.24", {"hybrid_manager": False}, "without full"),
        ((replace(LATENT, index_dim=128), WINDOW), "vllm@0.24", {}, "indexer"),
        ((FULL, WINDOW), "vllm@0.24", {"shape": Parallel(16, dcp=2)}, "windows"),
        ((FULL,), "sglang@0.5", {"shape": Parallel(16, dcp=2)}, "sglang"),
        ((FULL,), "vllm@0.24", {"shape": Parallel(8, dcp=2)}, "must divide"),
        ((replace(FULL, kv_heads=6),), "vllm@0.24", {"shape": Parallel(4)}, "6 KV heads"),
        ((None, None), "vllm@0.24", {}, "keeps no KV"),
        ((None, None), "sglang@0.5", {}, "keeps no KV"),
        ((None, None), "tensorrt-llm@1.2", {}, "keeps no KV"),
    ],
)
def test_unsettled_combinations_are_refused(by_hand, kv_setup, layers, engine, changes, word):
    """What nobody has described is refused with its name, not guessed."""
    refusal = kv_pool(kv_setup(by_hand(layers), engine, **changes), GIB)
    assert isinstance(refusal, Refusal)
    assert word in refusal.message


def test_pure_state_models(by_hand, kv_setup):
    """A Mamba-2 model prints a block of its whole length per sequence, as releases without prefix caching do."""
    layer = StateKv("mamba2", 64, 64, 128, 8, 4)
    pool = kv_pool(kv_setup(by_hand((layer,) * 10), "vllm@0.11", storage=BF16_KV), GIB)
    size = 10 * ((4_096 + 2 * 8 * 128) * 3 * 2 + 64 * 64 * 128 * 2)
    assert (pool.block_bytes, pool.printed_tokens) == (size, GIB // size * 8_192)
    assert pool.max_concurrency == GIB // size
