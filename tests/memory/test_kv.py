"""KV bytes: published tables, rows of the engines' layouts, and properties of both accountings."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.catalog.parallel import Parallel
from planner.catalog.types import BF16_KV, AttentionKv, KvStorage, Refusal, StateKv
from planner.memory.kv import (
    kv_bytes_per_token,
    layer_bytes_per_token,
    logical_bytes,
    pool_layout,
    reserved_bytes,
    vector_bytes,
)

GIB = 2**30
FP8 = KvStorage(8, 8)
INT8_PER_TOKEN_HEAD = KvStorage(8, 8, vector_bytes=4)
INT4_PER_TOKEN_HEAD = KvStorage(4, 4, vector_bytes=4)
NVFP4 = KvStorage(4, 4, group=16, scale_bytes=1)
MXFP8 = KvStorage(8, 8, group=32, scale_bytes=1)
SPARSE_FP8 = KvStorage(8, 8, latent_bytes=656)

attention = st.builds(
    lambda heads, size, reach, window: AttentionKv(heads, size, size, reach, 0 if reach == "full" else window),
    st.sampled_from([8, 16]),
    st.sampled_from([64, 128]),
    st.sampled_from(["full", "full", "sliding", "chunked"]),
    st.sampled_from([128, 1_024, 4_096]),
)
states = st.builds(
    StateKv,
    st.sampled_from(["mamba2", "gdn", "kda"]),
    st.sampled_from([16, 64]),
    st.sampled_from([64, 128]),
    st.just(128),
    st.just(16),
    st.just(4),
)
layer_lists = st.one_of(
    st.lists(attention, min_size=1, max_size=4).flatmap(
        lambda kinds: st.lists(st.sampled_from([*kinds, None]), min_size=1, max_size=40)
    ),
    st.tuples(attention, states).flatmap(
        lambda pair: st.lists(st.sampled_from([*pair, replace(pair[0], reach="full", window_tokens=0)]), max_size=40)
    ),
).filter(lambda layers: any(layer is not None for layer in layers))
storages = st.sampled_from([BF16_KV, FP8, INT8_PER_TOKEN_HEAD, INT4_PER_TOKEN_HEAD, NVFP4])
shapes = st.builds(Parallel, st.sampled_from([1, 2, 4, 8, 16]), st.sampled_from([1, 2, 3]))
engines = st.sampled_from(["vllm@0.11", "vllm@0.19", "vllm@0.33", "sglang@0.5", "tensorrt-llm@1.2"])
contexts = st.integers(0, 200_000)
batched = st.sampled_from([256, 2_048, 8_192, 16_384])


def test_textbook_mha_token(by_hand):
    """The textbook's 2 x 32 x (32 x 128) x 2 bytes is what a token of a 32-layer MHA model takes."""
    assert kv_bytes_per_token(by_hand("codellama-7b"), BF16_KV, Parallel()) == 524_288


@pytest.mark.parametrize(
    ("layers", "kv_heads", "column", "published_gib"),
    [
        (32, 8, 1_024, 0.125),
        (32, 8, 16_000, 1.95),
        (32, 8, 128_000, 15.62),
        (80, 8, 1_024, 0.313),
        (80, 8, 16_000, 4.88),
        (80, 8, 128_000, 39.06),
        (126, 16, 1_024, 0.984),
        (126, 16, 16_000, 15.38),
        (126, 16, 128_000, 123.05),
    ],
)
def test_published_llama_3_1_table(by_hand, layers, kv_heads, column, published_gib):
    """The published Llama-3.1 table is in GiB; its first column counts in 1,024s and the others in 1,000s."""
    model = by_hand((AttentionKv(kv_heads, 128, 128),) * layers)
    digits = 3 if published_gib < 1 else 2
    gib = kv_bytes_per_token(model, BF16_KV, Parallel()) * column / GIB
    assert abs(gib - published_gib) <= 0.5 * 10**-digits * (1 + 1e-9)


@pytest.mark.parametrize(("tokens", "published_gib"), [(1_024, 0.984), (16_000, 15.38), (128_000, 123.05)])
def test_published_405b_row_is_twice_todays(facts, tokens, published_gib):
    """Correction: the published 405B row belongs to 16 KV heads; today's config has 8, so half of it."""
    gib = kv_bytes_per_token(facts("llama-3.1-405b"), BF16_KV, Parallel()) * tokens / GIB
    assert gib == pytest.approx(published_gib / 2, rel=1e-3)


def test_published_opt_30b(facts):
    """OPT-30B with 1,024 tokens at batch 128 is 180 GB (decimal), 1.4 GB a sequence, as published."""
    sequence = kv_bytes_per_token(facts("opt-30b"), BF16_KV, Parallel()) * 1_024
    assert sequence * 128 / 1e9 == pytest.approx(180, abs=0.5)
    assert sequence / 1e9 == pytest.approx(1.4, abs=0.05)


@pytest.mark.parametrize("model_id", ["llama-3-8b", "mistral-7b-v0.3", "mixtral-8x7b"])
@pytest.mark.parametrize(("context", "gib"), [(4_096, 0.5), (32_768, 4), (131_072, 16)])
def test_published_eight_kv_heads_table(facts, kv_setup, model_id, context, gib):
    """Llama-3-8B, Mistral-7B and Mixtral-8x7B share one published row: 0.5, 4 and 16 GiB."""
    setup = kv_setup(facts(model_id), max_model_len=context)
    assert logical_bytes(setup, context) == reserved_bytes(setup, context) == gib * GIB


@pytest.mark.parametrize(("context", "gib", "published_gib"), [(4_096, 1.25, 5), (32_768, 10, 40), (131_072, 40, 160)])
def test_published_llama_3_70b_table_is_four_times_too_much(facts, by_hand, kv_setup, context, gib, published_gib):
    """Correction: a published row of 5, 40 and 160 GiB used 32 KV heads; the model has 8."""
    assert logical_bytes(kv_setup(facts("llama-3-70b")), context) == gib * GIB
    wrong = by_hand((AttentionKv(32, 128, 128),) * 80)
    assert kv_bytes_per_token(wrong, BF16_KV, Parallel()) * context == published_gib * GIB


@pytest.mark.parametrize(
    ("layer", "storage", "tp", "expected"),
    [
        (AttentionKv(8, 128, 128), BF16_KV, 1, 2 * 8 * 128 * 2),
        (AttentionKv(8, 128, 128), FP8, 1, 2 * 8 * 128),
        (AttentionKv(8, 128, 128), INT8_PER_TOKEN_HEAD, 2, 4 * ((128 + 128) + 8)),
        (AttentionKv(8, 128, 128), INT4_PER_TOKEN_HEAD, 2, 4 * ((64 + 64) + 8)),
        (AttentionKv(8, 128, 128), NVFP4, 4, 2 * 2 * (64 + 8)),
        (AttentionKv(8, 128, 128), MXFP8, 1, 8 * (256 + 256 // 32)),
        (AttentionKv(1, 256, 256), BF16_KV, 4, 2 * 1 * 256 * 2),  # MQA: the one head is repeated
        (AttentionKv(4, 128, 128), BF16_KV, 8, 2 * 1 * 128 * 2),  # Qwen2.5-7B: 4 heads over 8 ranks
        (AttentionKv(8, 192, 128, "sliding", 128), BF16_KV, 4, 2 * (192 + 128) * 2),  # MiMo-V2: K and V differ
        (AttentionKv(1, 576, 0, rope_dim=64), BF16_KV, 8, 576 * 2),  # the latent is not divided
        (AttentionKv(1, 576, 0, rope_dim=64), FP8, 8, 576),
        (AttentionKv(1, 576, 0, rope_dim=64, index_dim=128), BF16_KV, 8, 576 * 2 + 132),
        (AttentionKv(1, 576, 0, rope_dim=64, index_dim=128), FP8, 8, 656 + 132),
        (AttentionKv(1, 576, 0, rope_dim=64, index_dim=128), SPARSE_FP8, 8, 656 + 132),
    ],
)
def test_bytes_per_layer(layer, storage, tp, expected):
    """Every row of the engine's layout gives its published bytes for one token and layer on one rank."""
    assert layer_bytes_per_token(layer, storage, tp) == expected


def test_tensorrt_llm_keeps_whole_heads():
    """Three heads over two ranks: TensorRT-LLM's buffers round up to two, where vLLM would refuse the shape."""
    assert layer_bytes_per_token(AttentionKv(3, 64, 64), BF16_KV, 2, "tensorrt-llm") == 2 * 2 * 64 * 2


def test_glm_5_with_prediction_layer(by_hand, kv_setup):
    """GLM-5.2 with its MTP layer needs 79 x 788 bytes a token: 60.79 GiB at 1,048,576, as vLLM printed."""
    layer = AttentionKv(1, 576, 0, rope_dim=64, index_dim=128)
    model = by_hand((layer,) * 78, draft_layers=(layer,))
    setup = kv_setup(model, "vllm@0.24", storage=FP8, shape=Parallel(8), speculative_tokens=1, max_model_len=1 << 20)
    assert kv_bytes_per_token(model, FP8, Parallel(8), speculative_tokens=1) == 79 * 788
    assert round(reserved_bytes(setup, 1 << 20) / GIB, 2) == 60.79
    assert kv_bytes_per_token(model, FP8, Parallel(8)) == 78 * 788


def test_kimi_latent_cache(by_hand):
    """Kimi-K2.5 at 70,272 bytes a token is what its SGLang log divides by at tp 8."""
    assert kv_bytes_per_token(by_hand("kimi-k2.5"), BF16_KV, Parallel(8), engine_name="sglang") == 70_272


def test_shared_layers_keep_nothing(by_hand, kv_setup):
    """Gemma-3n: 35 layers, of which the last 15 share, so 16 sliding and 4 full ones are charged."""
    cached = (AttentionKv(2, 256, 256, "sliding", 512),) * 16 + (AttentionKv(2, 256, 256),) * 4
    layout = pool_layout(kv_setup(by_hand((*cached, *(None,) * 15))))
    assert layout.parts[0].groups == 5
    assert layout.parts[0].stage_block_bytes == (4 * 16 * 2_048,)


def test_edge_layers_stay_16_bit(facts):
    """With two skipped layers at each end, 4 of the 36 layers of Qwen3-8B store 16-bit vectors."""
    storage = KvStorage(4, 4, vector_bytes=4, skip_layers=2)
    expected = 4 * 4_096 + 32 * 8 * 2 * (64 + 4)
    assert kv_bytes_per_token(facts("qwen3-8b"), storage, Parallel()) == expected


def test_pipeline_takes_the_largest_stage(by_hand, kv_setup):
    """61 latent layers over two stages: 31 stand on the first, and both accountings follow it."""
    setup = kv_setup(by_hand("kimi-k2.5"), shape=Parallel(8, 2))
    assert kv_bytes_per_token(setup.model, BF16_KV, setup.shape) == 31 * 1_152
    assert logical_bytes(setup, 16) == reserved_bytes(setup, 16) == 31 * 1_152 * 16


def test_ranks_share_tokens(by_hand, kv_setup):
    """dcp 8 keeps an eighth of the tokens on each rank, rounded up before blocks are."""
    setup = kv_setup(by_hand("kimi-k2.5"), shape=Parallel(8, dcp=8))
    assert logical_bytes(setup, 1_001) == 126 * 70_272
    assert reserved_bytes(setup, 1_001) == 128 * 70_272
    assert kv_bytes_per_token(setup.model, BF16_KV, setup.shape) == 70_272 // 8


def test_mistral_v01_is_bounded_by_its_window(by_hand, kv_setup):
    """A sequence of 32Ki in Mistral-7B v0.1 keeps the window and the tokens in flight, not all tokens."""
    model = by_hand((AttentionKv(8, 128, 128, "sliding", 4_096),) * 32)
    setup = kv_setup(model, max_model_len=32_768, max_num_batched_tokens=2_048)
    assert logical_bytes(setup, 32_768) == 4_096 * 131_072
    assert reserved_bytes(setup, 32_768) == (-(-(4_095 + 2_048) // 16) + 1) * 16 * 131_072


def test_vector_bytes_rounds_up():
    """Three bits of 65 elements take 25 bytes, and 5 groups of 16 take 5 scales of 2 bytes."""
    assert vector_bytes(65, 3, KvStorage(3, 3, group=16, scale_bytes=2)) == 25 + 10


def test_a_refused_layout_has_no_reserved_bytes(by_hand, kv_setup):
    """Asking for reserved bytes of a layout that is refused raises with the refusal's sentence."""
    setup = kv_setup(by_hand("qwen3-8b", unsupported=("something new",)))
    with pytest.raises(ValueError, match="something new"):
        reserved_bytes(setup, 1)


@settings(max_examples=300, deadline=None)
@given(layer_lists, storages, shapes, engines, contexts, contexts, batched, batched)
def test_accountings_grow_and_keep_their_order(
    by_hand, kv_setup, layers, storage, shape, engine, one, other, few, many
):
    """More context or batch never takes less in either accounting, and logical is never above reserved."""
    setup = kv_setup(
        by_hand(tuple(layers)), engine, storage=storage, shape=shape, max_num_batched_tokens=min(few, many)
    )
    if isinstance(pool_layout(setup), Refusal):
        return
    low, high = sorted((one, other))
    assert logical_bytes(setup, low) <= logical_bytes(setup, high)
    assert reserved_bytes(setup, low) <= reserved_bytes(setup, high)
    assert logical_bytes(setup, high) <= reserved_bytes(setup, high)
    wider = replace(setup, max_num_batched_tokens=max(few, many))
    assert reserved_bytes(setup, high) <= reserved_bytes(wider, high)


@settings(max_examples=150, deadline=None)
@given(layer_lists, storages, shapes, engines, contexts, st.data())
def test_more_layers_never_keep_less(by_hand, kv_setup, layers, storage, shape, engine, tokens, data):
    """One more layer of any kind never lowers what a sequence needs on all ranks together."""
    more = [*layers, data.draw(st.sampled_from([layer for layer in layers if layer is not None]))]
    plain, grown = (kv_setup(by_hand(tuple(kept)), engine, storage=storage, shape=shape) for kept in (layers, more))
    single = replace(shape, pp=1)
    assert logical_bytes(replace(plain, shape=single), tokens) <= logical_bytes(replace(grown, shape=single), tokens)
    sizes = [
        kv_bytes_per_token(setup.model, storage, single, engine_name=setup.engine.name) for setup in (plain, grown)
    ]
    assert sizes[0] <= sizes[1]


@settings(max_examples=150, deadline=None)
@given(attention, st.integers(1, 60), storages, shapes, engines, contexts)
def test_more_layers_of_one_kind_never_reserve_less(by_hand, kv_setup, layer, count, storage, shape, engine, tokens):
    """Where all layers are of one kind, the pools charge no less for one more of them."""
    setups = [
        kv_setup(by_hand((layer,) * number), engine, storage=storage, shape=replace(shape, pp=1))
        for number in (count, count + 1)
    ]
    assert reserved_bytes(setups[0], tokens) < reserved_bytes(setups[1], tokens) or tokens == 0


def test_more_layers_of_two_kinds_may_reserve_less(by_hand, kv_setup):
    """The engine itself is not monotone: 5 full layers fill the groups of 10 windows better than 4 do."""
    full, window = AttentionKv(8, 128, 128), AttentionKv(8, 128, 128, "sliding", 1_024)
    four, five = (kv_setup(by_hand((full,) * count + (window,) * 10)) for count in (4, 5))
    assert reserved_bytes(five, 4_096) < reserved_bytes(four, 4_096)


@settings(max_examples=150, deadline=None)
@given(layer_lists, shapes, engines, contexts)
def test_more_heads_or_bytes_never_reserve_less(by_hand, kv_setup, layers, shape, engine, tokens):
    """Twice the KV heads, or two bytes instead of one, never lowers either accounting."""
    doubled = tuple(
        replace(layer, kv_heads=2 * layer.kv_heads) if isinstance(layer, AttentionKv) else layer for layer in layers
    )
    plain = kv_setup(by_hand(tuple(layers)), engine, storage=FP8, shape=shape)
    for grown in (replace(plain, storage=BF16_KV), replace(plain, model=by_hand(doubled))):
        if any(isinstance(pool_layout(setup), Refusal) for setup in (plain, grown)):
            return
        assert logical_bytes(plain, tokens) <= logical_bytes(grown, tokens)
        assert reserved_bytes(plain, tokens) <= reserved_bytes(grown, tokens)


@settings(max_examples=150, deadline=None)
@given(layer_lists, storages, shapes, engines, contexts)
def test_ranks_together_hold_no_less_than_the_whole(by_hand, kv_setup, layers, storage, shape, engine, tokens):
    """Splitting over ranks and stages never loses bytes; it repeats heads when there are more ranks than heads."""
    setup = kv_setup(by_hand(tuple(layers)), engine, storage=storage, shape=shape)
    if isinstance(pool_layout(setup), Refusal):
        return
    ranks, whole = shape.tp * shape.pp, replace(setup, shape=Parallel())
    assert ranks * logical_bytes(setup, tokens) >= logical_bytes(whole, tokens)
    size = kv_bytes_per_token(setup.model, storage, shape, engine_name=setup.engine.name)
    assert ranks * size >= kv_bytes_per_token(setup.model, storage, Parallel(), engine_name=setup.engine.name)


@given(st.integers(1, 5_000), st.integers(1, 3_000), st.integers(0, 15), st.sampled_from([128, 1024]))
def test_windows_never_touch_more_blocks_than_reserved(by_hand, kv_setup, context, in_flight, offset, window):
    """Counted token by token, a window that starts anywhere inside a block fits into what is reserved."""
    model = by_hand((AttentionKv(1, 64, 64, "sliding", window),))
    kept = min(window - 1 + in_flight, context)
    touched = len({(offset + token) // 16 for token in range(kept)})
    setup = kv_setup(model, max_num_batched_tokens=in_flight)
    assert touched * 16 * 256 <= reserved_bytes(setup, context)
