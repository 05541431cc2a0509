"""KV bytes: published tables, rows of the engine's layout, and properties of both accountings."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.catalog.types import BF16_KV, KvStorage, ModelFacts
from planner.memory.kv import (
    block_bytes,
    kv_bytes,
    kv_bytes_per_token,
    layer_bytes_per_token,
    layer_pool,
    request_blocks,
    vector_bytes,
)

GIB = 2**30
FP8 = KvStorage(8, 8)
INT8_PER_TOKEN_HEAD = KvStorage(8, 8, vector_bytes=4)
INT4_PER_TOKEN_HEAD = KvStorage(4, 4, vector_bytes=4)
NVFP4 = KvStorage(4, 4, group=16, scale_bytes=1)

models = st.builds(
    ModelFacts,
    id=st.just("random"),
    model_type=st.just("llama"),
    layers=st.just(0),
    hidden_size=st.just(1024),
    heads=st.just(64),
    kv_heads=st.sampled_from([1, 2, 4, 8, 16, 64]),
    head_dim=st.sampled_from([64, 80, 128, 256]),
    v_head_dim=st.sampled_from([64, 128]),
    ffn_size=st.just(4096),
    gated_ffn=st.just(True),
    vocab_size=st.just(1000),
    max_context_tokens=st.just(1 << 20),
    tied_embeddings=st.just(False),
    layer_windows=st.lists(st.sampled_from([0, 0, 128, 1024, 4096]), min_size=1, max_size=80).map(tuple),
)
storages = st.sampled_from([BF16_KV, FP8, INT8_PER_TOKEN_HEAD, INT4_PER_TOKEN_HEAD, NVFP4])
shapes = st.sampled_from([1, 2, 4, 8])
contexts = st.integers(0, 200_000)
batched = st.sampled_from([256, 2048, 8192, 16384])


def test_textbook_mha_token(facts):
    """The textbook's 2 x 32 x (32 x 128) x 2 bytes is what a token of Llama-2-7B takes."""
    assert kv_bytes_per_token(facts("llama-2-7b"), BF16_KV, 1) == 524_288


@pytest.mark.parametrize(
    ("model_id", "column", "published_gib"),
    [
        ("llama-3.1-8b", 1_024, 0.125),
        ("llama-3.1-8b", 16_000, 1.95),
        ("llama-3.1-8b", 128_000, 15.62),
        ("llama-3.1-70b", 1_024, 0.313),
        ("llama-3.1-70b", 16_000, 4.88),
        ("llama-3.1-70b", 128_000, 39.06),
        ("llama-3.1-405b-first-release", 1_024, 0.984),
        ("llama-3.1-405b-first-release", 16_000, 15.38),
        ("llama-3.1-405b-first-release", 128_000, 123.05),
    ],
)
def test_published_llama_3_1_table(facts, model_id, column, published_gib):
    """The published Llama-3.1 table is in GiB; its first column counts in 1,024s and the others in 1,000s."""
    digits = 3 if published_gib < 1 else 2
    gib = kv_bytes_per_token(facts(model_id), BF16_KV, 1) * column / GIB
    assert abs(gib - published_gib) <= 0.5 * 10**-digits * (1 + 1e-9)


@pytest.mark.parametrize(("tokens", "published_gib"), [(1_024, 0.984), (16_000, 15.38), (128_000, 123.05)])
def test_published_405b_row_is_twice_todays(facts, tokens, published_gib):
    """Correction: the published 405B row belongs to 16 KV heads; today's config has 8, so half of it."""
    gib = kv_bytes_per_token(facts("llama-3.1-405b"), BF16_KV, 1) * tokens / GIB
    assert gib == pytest.approx(published_gib / 2, rel=1e-3)


def test_published_opt_30b(facts):
    """OPT-30B with 1,024 tokens at batch 128 is 180 GB (decimal), 1.4 GB a sequence, as published."""
    sequence = kv_bytes_per_token(facts("opt-30b"), BF16_KV, 1) * 1_024
    assert sequence * 128 / 1e9 == pytest.approx(180, abs=0.5)
    assert sequence / 1e9 == pytest.approx(1.4, abs=0.05)


@pytest.mark.parametrize("model_id", ["llama-3-8b", "mistral-7b-v0.3", "mixtral-8x7b"])
@pytest.mark.parametrize(("context", "gib"), [(4_096, 0.5), (32_768, 4), (131_072, 16)])
def test_published_eight_kv_heads_table(facts, model_id, context, gib):
    """Llama-3-8B, Mistral-7B and Mixtral-8x7B share one published row: 0.5, 4 and 16 GiB."""
    model = facts(model_id)
    got = kv_bytes(model, BF16_KV, 1, context, 16, accounting="reserved", max_num_batched_tokens=8192)
    assert got == gib * GIB


@pytest.mark.parametrize(("context", "gib", "published_gib"), [(4_096, 1.25, 5), (32_768, 10, 40), (131_072, 40, 160)])
def test_published_llama_3_70b_table_is_four_times_too_much(facts, context, gib, published_gib):
    """Correction: a published row of 5, 40 and 160 GiB used 32 KV heads; the model has 8."""
    model = facts("llama-3-70b")
    got = kv_bytes(model, BF16_KV, 1, context, 16, accounting="logical", max_num_batched_tokens=8192)
    assert got == gib * GIB
    assert kv_bytes_per_token(replace(model, kv_heads=32), BF16_KV, 1) * context == published_gib * GIB


@pytest.mark.parametrize(
    ("model_id", "storage", "tp", "expected"),
    [
        ("llama-3.1-8b", BF16_KV, 1, 2 * 8 * 128 * 2),
        ("llama-3.1-8b", FP8, 1, 2 * 8 * 128),
        ("llama-3.1-8b", INT8_PER_TOKEN_HEAD, 2, 4 * ((128 + 128) + 8)),
        ("llama-3.1-8b", INT4_PER_TOKEN_HEAD, 2, 4 * ((64 + 64) + 8)),
        ("llama-3.1-8b", NVFP4, 4, 2 * 2 * (64 + 8)),
        ("gemma-2b", BF16_KV, 4, 2 * 1 * 256 * 2),  # MQA: the one head is repeated
        ("qwen2.5-7b", BF16_KV, 8, 2 * 1 * 128 * 2),  # 4 heads over 8 ranks
        ("gpt-oss-20b", BF16_KV, 1, 2 * 8 * 64 * 2),  # head size 64, not 2880 / 64
        ("deepseek-v3", BF16_KV, 1, 576 * 2),
        ("deepseek-v3", BF16_KV, 8, 576 * 2),  # the latent is not divided
        ("deepseek-v3", FP8, 8, 576),
    ],
)
def test_bytes_per_layer(facts, model_id, storage, tp, expected):
    """Every row of the engine's layout gives its published bytes for one token and layer on one rank."""
    assert layer_bytes_per_token(facts(model_id), storage, tp) == expected


def test_kimi_latent_cache_of_another_engine(facts):
    """Kimi-K2 at 70,272 bytes a token is what an SGLang log of Kimi-K2.5 divides by at tp 8."""
    size = kv_bytes_per_token(facts("kimi-k2-instruct"), BF16_KV, 8)
    assert size == 70_272
    assert 2_454_421 * size / GIB == pytest.approx(160.63, abs=0.01)


@pytest.mark.parametrize(
    ("model_id", "layers_per_group", "groups"),
    [
        ("llama-3.1-8b", 32, 1),
        ("mistral-7b-v0.1", 32, 1),
        ("gemma-3-27b", 10, 7),
        ("gemma-3-4b", 5, 7),
        ("gpt-oss-120b", 18, 2),
        ("gemma-2-9b", 21, 2),
    ],
)
def test_layer_pools(facts, model_id, layers_per_group, groups):
    """Layers of one kind make one group; mixed windows make groups of the smaller bucket, padded."""
    pool = layer_pool(facts(model_id))
    assert (pool.layers_per_group, pool.groups) == (layers_per_group, groups)


def test_gemma_3_27b_is_charged_for_70_layers(facts):
    """A one-token request of gemma-3-27b reserves one block in 7 groups of 10 layers, windows one more."""
    model = facts("gemma-3-27b")
    page = 16 * 2 * 16 * 128 * 2
    assert block_bytes(model, BF16_KV, 1, 16) == 10 * page
    assert request_blocks(model, 8_192, 16, 8_192) == 512 + 6 * 513


def test_nearly_equal_buckets_share_the_larger_group(facts):
    """Buckets of 10 and 14 layers make two groups of 14, since padding is cheaper than a third group."""
    model = replace(facts("gemma-3-4b"), layer_windows=(0,) * 10 + (512,) * 14)
    assert layer_pool(model).layers_per_group == 14
    assert layer_pool(model).groups == 2


def test_mistral_v01_is_bounded_by_its_window(facts):
    """A sequence of 32Ki in Mistral-7B v0.1 keeps the window and the tokens in flight, not all tokens."""
    model = facts("mistral-7b-v0.1")
    logical = kv_bytes(model, BF16_KV, 1, 32_768, 16, accounting="logical", max_num_batched_tokens=2048)
    assert logical == 4_096 * 131_072
    assert request_blocks(model, 32_768, 16, 2_048) == math.ceil((4_095 + 2_048) / 16) + 1


def test_edge_layers_stay_16_bit(facts):
    """With two skipped layers at each end, 4 of the 36 layers of Qwen3-8B store 16-bit vectors."""
    storage = KvStorage(4, 4, vector_bytes=4, skip_layers=2)
    expected = 4 * 4_096 + 32 * 8 * 2 * (64 + 4)
    assert kv_bytes_per_token(facts("qwen3-8b"), storage, 1) == expected


def test_vector_bytes_rounds_up():
    """Three bits of 65 elements take 25 bytes, and 5 groups of 16 take 5 scales of 2 bytes."""
    assert vector_bytes(65, 3, KvStorage(3, 3, group=16, scale_bytes=2)) == 25 + 10


@given(models, storages, shapes, contexts, contexts, batched)
def test_more_context_never_takes_less(model, storage, tp, one, other, tokens):
    """Both accountings grow with the context, and the logical one is never above the reserved one."""
    low, high = sorted((one, other))
    for accounting in ("logical", "reserved"):
        sizes = [
            kv_bytes(model, storage, tp, context, 16, accounting=accounting, max_num_batched_tokens=tokens)
            for context in (low, high)
        ]
        assert sizes[0] <= sizes[1]
    logical = kv_bytes(model, storage, tp, high, 16, accounting="logical", max_num_batched_tokens=tokens)
    assert logical <= sizes[1]


@given(models, storages, shapes)
def test_more_layers_or_heads_never_take_less(model, storage, tp):
    """One more layer, or twice the KV heads, never makes a token smaller."""
    size = kv_bytes_per_token(model, storage, tp)
    assert size < kv_bytes_per_token(replace(model, layer_windows=(*model.layer_windows, 0)), storage, tp)
    assert size <= kv_bytes_per_token(replace(model, kv_heads=2 * model.kv_heads), storage, tp)


@given(models, storages, shapes)
def test_ranks_together_hold_no_less_than_the_whole(model, storage, tp):
    """Splitting over ranks never loses bytes; it repeats heads when there are more ranks than heads."""
    assert tp * kv_bytes_per_token(model, storage, tp) >= kv_bytes_per_token(model, storage, 1)


@given(models)
def test_groups_cover_every_layer(model):
    """The groups of each window hold at least its layers, and less than one group of padding each."""
    pool = layer_pool(model)
    for kind in pool.kinds:
        layers = model.layer_windows.count(kind.window_tokens)
        assert 0 <= kind.groups * pool.layers_per_group - layers < pool.layers_per_group


@given(st.integers(1, 5_000), st.integers(1, 3_000), st.integers(0, 15), st.sampled_from([128, 1024]))
def test_windows_never_touch_more_blocks_than_reserved(context, in_flight, offset, window):
    """Counted token by token, a window that starts anywhere inside a block fits into what is reserved."""
    model = ModelFacts("w", "mistral", 1, 64, 1, 1, 64, 64, 64, True, 64, 1 << 20, False, layer_windows=(window,))
    kept = min(window - 1 + in_flight, context)
    touched = len({(offset + token) // 16 for token in range(kept)})
    assert touched <= request_blocks(model, context, 16, in_flight)
