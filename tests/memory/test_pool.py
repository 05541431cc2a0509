"""The block pool: tokens and concurrency of real logs, the exact budget, and why a replica cannot start."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.catalog import load_engine, load_gpu
from planner.catalog.types import BF16_KV, Bottleneck, KvStorage, Refusal
from planner.memory.kv import layer_pool
from planner.memory.pool import ReplicaMemory, block_pool, replica_memory

GIB = 2**30
H100, V19 = "h100-sxm-80gb", "vllm@0.19"


def memory_of(model, *, gpu=H100, engine=V19, **changes):
    """Memory of a replica with the arguments that most cases share."""
    arguments = {
        "tp": 1,
        "weights": "bf16",
        "storage": BF16_KV,
        "kv_dtype": "auto",
        "context_limit_tokens": 8192,
        "max_num_seqs": 1024,
        "max_num_batched_tokens": 8192,
        "utilization_ppm": 900_000,
    } | changes
    return replica_memory(model, load_gpu(gpu), load_engine(engine), **arguments)


def pools_of(log):
    """The pools at both ends of the two decimals that the log prints."""
    ends = (log.available_gib - 0.005, log.available_gib + 0.005)
    gpu, engine = load_gpu(H100), load_engine(V19)
    return [block_pool(log.model, gpu, engine, log.storage, log.tp, int(gib * GIB), log.batched_tokens) for gib in ends]


def test_tokens_of_logs(logs):
    """Printed tokens lie within the rounding of the printed GiB in every log that prints them."""
    checked = 0
    for log in logs:
        if log.kv_tokens is None:
            continue
        groups = layer_pool(log.model).groups
        low, high = (pool.blocks // groups * pool.block_tokens for pool in pools_of(log))
        assert low <= log.kv_tokens <= high, log
        checked += 1
    assert checked >= 28


def test_blocks_of_older_logs(logs):
    """Block counts of the V0 engine lie within the rounding of the printed GiB as well."""
    older = [log for log in logs if log.blocks is not None]
    assert len(older) == 4
    for log in older:
        low, high = (pool.blocks for pool in pools_of(log))
        assert low - 1 <= log.blocks <= high + 1, log


def test_concurrency_of_logs(logs):
    """Printed concurrency lies within the rounding of the log."""
    checked = 0
    for log in logs:
        if log.kv_tokens is None:
            continue
        low, high = (pool.blocks / pool.request_blocks(log.model, log.max_model_len) for pool in pools_of(log))
        assert low - 0.005 <= log.concurrency <= high + 0.005, log
        checked += 1
    assert checked >= 28


def test_whole_prediction_of_logs(logs):
    """From the config alone, tokens of the H100 logs are met within 3 %, and within 0.35 GiB of the pool."""
    errors = []
    for log in logs:
        if not log.version.startswith("0.19") or "float32" in log.kv_dtype:
            continue
        weights = {"": "bf16", "compressed-tensors": "fp8", "mxfp4": "mxfp4"}[log.quantization]
        memory = memory_of(
            log.model,
            tp=log.tp,
            weights=weights,
            storage=log.storage,
            kv_dtype="fp8" if log.kv_dtype == "fp8" else "auto",
            context_limit_tokens=log.max_model_len,
            max_num_batched_tokens=log.batched_tokens,
            utilization_ppm=round(log.utilization * 1_000_000),
        )
        gib = (memory.available_kv_bytes + memory.margin_bytes) / GIB
        assert gib == pytest.approx(log.available_gib, abs=0.35), log
        errors.append(abs(gib - log.available_gib))
    assert len(errors) >= 20
    assert sum(errors) / len(errors) < 0.1


def test_null_block_is_not_usable(facts):
    """One block of the pool belongs to nobody, so requests get one less than the engine reports."""
    memory = memory_of(facts("llama-3.1-8b"))
    assert memory.usable_blocks == memory.blocks - 1
    assert memory.pool_tokens == memory.usable_blocks * 16
    assert memory.block_bytes == 16 * memory.kv_bytes_per_token


def test_llama_3_3_70b_fp8_on_two_h100(facts):
    """Llama-3.3-70B in fp8 at tp 2 leaves about 34 GiB for KV at 0.92, in 160 KiB of 16-bit KV a token."""
    memory = memory_of(
        facts("llama-3.3-70b-instruct"), engine="vllm@0.24", tp=2, weights="fp8", utilization_ppm=920_000
    )
    assert isinstance(memory, ReplicaMemory)
    assert memory.kv_bytes_per_token == 160 * 1024
    expected = 0.92 * 79.19 - memory.weights_bytes / GIB - 2.08 - 1.05
    expected -= (15 * 1024 * 128_256 + 2 * 8192 * 8192) / GIB
    assert memory.available_kv_bytes / GIB == pytest.approx(expected, abs=1e-6)
    assert memory.estimated == ()


def test_mixed_windows_count_every_group(facts):
    """In gemma-3-27b a token takes a block in 7 groups: the pool holds a seventh of its blocks."""
    memory = memory_of(facts("gemma-3-27b"), utilization_ppm=950_000)
    assert memory.groups == 7
    assert memory.pool_tokens == memory.usable_blocks // 7 * 16
    assert memory.blocks_per_max_sequence == 3590
    assert memory.max_concurrency == Fraction(memory.blocks, 3590)


def test_two_steps_in_flight_reserve_more_window(facts):
    """0.33 keeps the tokens of two steps, so a sliding window reserves more blocks than in 0.24."""
    sizes = [
        memory_of(
            facts("mistral-7b-v0.1"), engine=engine, context_limit_tokens=32_768, max_num_batched_tokens=2048
        ).blocks_per_max_sequence
        for engine in ("vllm@0.24", "vllm@0.33")
    ]
    assert sizes == [math.ceil(6143 / 16) + 1, math.ceil(8191 / 16) + 1]


def test_weights_that_do_not_fit(facts):
    """Llama-3.1-70B in 16 bits on one H100 is refused with both figures and the shape that would hold it."""
    refusal = memory_of(facts("llama-3.1-70b"))
    assert isinstance(refusal, Refusal)
    assert refusal.bottleneck is Bottleneck.MEMORY
    assert "131.45 GiB" in refusal.message
    assert "71.27 GiB" in refusal.message
    assert refusal.nearest == "tp2"


def test_no_shape_holds_it(facts):
    """Llama-3.1-405B in 16 bits fits no node of 8 H100, so no shape is offered."""
    refusal = memory_of(facts("llama-3.1-405b"), tp=8)
    assert isinstance(refusal, Refusal)
    assert refusal.nearest is None


def test_sequence_that_does_not_fit(facts):
    """The longest context that fits is named, it fits, and 1Ki more does not."""
    arguments = {"gpu": "l4-24gb", "max_num_seqs": 256, "max_num_batched_tokens": 2048}
    model = facts("llama-3.1-8b")
    refusal = memory_of(model, context_limit_tokens=131_072, **arguments)
    assert isinstance(refusal, Refusal)
    assert refusal.bottleneck is Bottleneck.MEMORY
    assert "16.00 GiB" in refusal.message
    assert refusal.nearest is not None
    longest = int(refusal.nearest.removesuffix("Ki")) * 1024
    assert isinstance(memory_of(model, context_limit_tokens=longest, **arguments), ReplicaMemory)
    assert isinstance(memory_of(model, context_limit_tokens=longest + 1024, **arguments), Refusal)


def test_context_above_the_model(facts):
    """A context limit above the model's own is refused with the model's figure, whatever the memory."""
    refusal = memory_of(facts("llama-3-8b"), context_limit_tokens=16_384)
    assert isinstance(refusal, Refusal)
    assert (refusal.bottleneck, refusal.nearest) == (Bottleneck.CONTEXT, "8Ki")


@pytest.mark.parametrize(
    ("engine", "kv_dtype", "known"),
    [
        ("vllm@0.19", "fp8", True),
        ("vllm@0.19", "int8_per_token_head", False),
        ("vllm@0.24", "int8_per_token_head", True),
        ("vllm@0.24", "int4_per_token_head", False),
        ("vllm@0.33", "int4_per_token_head", True),
        ("vllm@0.33", "nexusquant", False),
    ],
)
def test_kv_dtypes_by_release(facts, engine, kv_dtype, known):
    """A KV dtype that the release does not have is refused by name."""
    got = memory_of(facts("llama-3.1-8b"), engine=engine, storage=KvStorage(8, 8), kv_dtype=kv_dtype)
    assert isinstance(got, ReplicaMemory) == known
    if not known:
        assert got.bottleneck is Bottleneck.ENGINE
        assert kv_dtype in got.message


@pytest.mark.parametrize(
    ("model_id", "storage"),
    [
        ("deepseek-v2-lite", KvStorage(8, 8, vector_bytes=4)),  # per-token-head scales of a latent
        ("deepseek-v2-lite", KvStorage(4, 4, group=16, scale_bytes=1)),
        ("gemma-2-9b", KvStorage(4, 4, skip_layers=2)),  # 16-bit edges in a shared pool
    ],
)
def test_layouts_that_are_not_understood(facts, model_id, storage):
    """Storage that was never seen for an architecture is refused, not guessed."""
    refusal = memory_of(facts(model_id), engine="vllm@0.24", storage=storage, kv_dtype="nvfp4")
    assert isinstance(refusal, Refusal)
    assert refusal.bottleneck is Bottleneck.ARCHITECTURE


def test_unsupported_model_is_refused_by_name(facts):
    """What memory does not understand is named in the refusal."""
    model = replace(facts("llama-3.1-8b"), unsupported=("chunked local attention",))
    refusal = memory_of(model)
    assert isinstance(refusal, Refusal)
    assert "chunked local attention" in refusal.message


def test_graphs_outside_the_budget_need_room(facts):
    """0.19 at 99 % leaves 0.79 GiB beside the budget, too little for its graphs; 0.24 counts them in."""
    refusal = memory_of(facts("llama-3.1-8b"), utilization_ppm=990_000)
    assert isinstance(refusal, Refusal)
    assert refusal.nearest == "gpu_memory_utilization: 0.98"
    inside = memory_of(facts("llama-3.1-8b"), engine="vllm@0.24", utilization_ppm=990_000)
    assert isinstance(inside, ReplicaMemory)


@settings(max_examples=60)
@given(
    st.sampled_from(["llama-3.1-8b", "qwen3-32b", "gemma-3-4b", "mistral-7b-v0.1", "deepseek-v2-lite"]),
    st.sampled_from([H100, "a100-sxm-40gb", "l40s-48gb", "b200-sxm-180gb", "mi300x"]),
    st.sampled_from(["vllm@0.19", "vllm@0.24", "vllm@0.33"]),
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from([BF16_KV, KvStorage(8, 8)]),
    st.integers(1, 8192),
    st.integers(1, 1024),
    st.integers(500_000, 950_000),
)
def test_parts_add_up_exactly(facts, model_id, gpu, engine, tp, storage, context, sequences, utilization):
    """Whenever a replica starts, its parts add up to the budget to the byte and one sequence fits."""
    memory = memory_of(
        facts(model_id),
        gpu=gpu,
        engine=engine,
        tp=tp,
        storage=storage,
        context_limit_tokens=context,
        max_num_seqs=sequences,
        utilization_ppm=utilization,
    )
    if isinstance(memory, Refusal):
        return
    parts = memory.weights_bytes + memory.activation_bytes + memory.non_torch_bytes
    assert parts + memory.cuda_graph_bytes + memory.available_kv_bytes == memory.budget_bytes
    assert memory.budget_bytes <= memory.total_bytes
    assert memory.blocks * memory.block_bytes <= memory.available_kv_bytes
    assert memory.blocks_per_max_sequence <= memory.usable_blocks
    assert memory.max_concurrency >= 1


@given(st.integers(500_000, 940_000), st.integers(1, 10_000))
def test_more_utilization_never_shrinks_the_pool(facts, low, more):
    """A higher share of the GPU never gives fewer blocks."""
    model = facts("llama-3.1-8b")
    small, large = (memory_of(model, utilization_ppm=ppm) for ppm in (low, low + more))
    assert small.blocks <= large.blocks
