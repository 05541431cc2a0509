"""Memory of a replica: the exact budget, what limits it, and why a replica cannot start."""

from __future__ import annotations

import timeit
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.catalog import load_engine, load_gpu
from planner.catalog.parallel import Parallel
from planner.catalog.types import BF16_KV, Bottleneck, KvStorage, Refusal
from planner.memory.pool import ReplicaMemory, replica_memory

GIB = 2**30
H100, V19 = "h100-sxm-80gb", "vllm@0.19"


def memory_of(model, *, gpu=H100, engine=V19, **changes):
    """Memory of a replica with the arguments that most cases share."""
    arguments = {
        "shape": Parallel(),
        "weights": "bf16",
        "storage": BF16_KV,
        "kv_dtype": "auto",
        "context_limit_tokens": 8192,
        "max_num_seqs": 1024,
        "max_num_batched_tokens": 8192,
        "utilization_ppm": 900_000,
    } | changes
    return replica_memory(model, load_gpu(gpu), load_engine(engine), **arguments)


def parts_of(memory):
    """Everything that the budget pays for."""
    return (
        memory.weights_bytes
        + memory.activation_bytes
        + memory.non_torch_bytes
        + memory.cuda_graph_bytes
        + memory.extra_bytes
        + memory.available_kv_bytes
    )


def test_whole_prediction_of_logs(logs):
    """From the config alone, tokens of the H100 logs are met within 0.35 GiB of the pool, 0.1 on average."""
    errors = []
    for log in logs:
        if not log.version.startswith("0.19") or "float32" in log.kv_dtype or log.quantization:
            continue
        memory = memory_of(
            log.model,
            shape=Parallel(log.tp),
            storage=log.storage,
            kv_dtype="fp8" if log.kv_dtype == "fp8" else "auto",
            context_limit_tokens=log.max_model_len,
            max_num_batched_tokens=log.batched_tokens,
            utilization_ppm=round(log.utilization * 1_000_000),
        )
        assert isinstance(memory, ReplicaMemory), (log, memory)
        gib = (memory.available_kv_bytes + memory.margin_bytes) / GIB
        assert gib == pytest.approx(log.available_gib, abs=0.35), log
        errors.append(abs(gib - log.available_gib))
    assert len(errors) >= 15
    assert sum(errors) / len(errors) < 0.1


def test_null_block_is_not_usable(facts):
    """One block of the pool belongs to nobody, so requests get one less than the engine reports."""
    memory = memory_of(facts("llama-3.1-8b"))
    assert memory.usable_blocks == memory.blocks - 1
    assert memory.pool_tokens == memory.usable_blocks * 16
    assert memory.printed_tokens == memory.blocks * 16
    assert memory.block_bytes == 16 * memory.kv_bytes_per_token


def test_llama_3_3_70b_fp8_on_two_h100(facts):
    """Llama-3.3-70B in fp8 at tp 2 keeps 160 KiB of 16-bit KV a token, and about 34 GiB of them at 0.92."""
    memory = memory_of(
        facts("llama-3.3-70b-instruct"),
        engine="vllm@0.24",
        shape=Parallel(2),
        weights="fp8",
        utilization_ppm=920_000,
    )
    assert isinstance(memory, ReplicaMemory)
    assert memory.kv_bytes_per_token == 160 * 1024
    expected = 0.92 * 79.19 - memory.weights_bytes / GIB - 2.08 - 1.05
    expected -= (15 * 1024 * 128_256 + 2 * 8192 * 8192) / GIB
    assert memory.available_kv_bytes / GIB == pytest.approx(expected, abs=0.01)


def test_mixed_windows_count_every_group(facts):
    """In gemma-3-27b a token takes a block in 7 groups: the pool holds a seventh of its blocks."""
    memory = memory_of(facts("gemma-3-27b"), utilization_ppm=950_000)
    assert memory.groups == 7
    assert memory.pool_tokens == memory.usable_blocks // 7 * 16
    assert memory.blocks_per_max_sequence == 3590
    assert memory.max_concurrency * 3590 == memory.blocks


def test_memory_kept_free(facts):
    """What the user keeps free comes from the KV pool, byte by byte."""
    plain, kept = (memory_of(facts("llama-3.1-8b"), extra_bytes=extra) for extra in (0, 3 * GIB))
    assert kept.extra_bytes == 3 * GIB
    assert plain.available_kv_bytes - kept.available_kv_bytes == 3 * GIB
    assert parts_of(kept) == kept.budget_bytes == plain.budget_bytes


def test_weights_of_the_user(facts):
    """A known size of the weights replaces the predicted one, and no other shape is offered then."""
    memory = memory_of(facts("llama-3.1-8b"), weights_bytes=20 * GIB)
    assert memory.weights_bytes == 20 * GIB
    assert parts_of(memory) == memory.budget_bytes
    refusal = memory_of(facts("llama-3.1-8b"), weights_bytes=80 * GIB)
    assert isinstance(refusal, Refusal)
    assert refusal.nearest is None


def test_known_memory_for_kv(facts):
    """With the bytes for KV given, nothing else is accounted and the log's figures follow."""
    memory = memory_of(facts("gemma-3-27b"), available_kv_bytes=int(19.53 * GIB))
    assert (memory.printed_tokens, round(float(memory.max_concurrency), 2)) == (36_560, 4.46)
    assert parts_of(memory) == memory.budget_bytes == int(19.53 * GIB)
    assert memory.weights_bytes == memory.activation_bytes == 0
    refusal = memory_of(facts("gemma-3-27b"), available_kv_bytes=GIB)
    assert isinstance(refusal, Refusal)


def test_pipeline_stages_have_their_own_budgets(facts):
    """Llama-3.1-70B over two stages: the one with the smaller pool is reported, and its parts add up."""
    memory = memory_of(facts("llama-3.1-70b"), shape=Parallel(4, 2))
    assert isinstance(memory, ReplicaMemory)
    assert memory.kv_bytes_per_token == 40 * 2 * 2 * 128 * 2
    assert memory.stage in (0, 1)
    assert parts_of(memory) == memory.budget_bytes


def test_weights_that_do_not_fit(facts):
    """Llama-3.1-70B in 16 bits on one H100 is refused with both figures and the shape that would hold it."""
    refusal = memory_of(facts("llama-3.1-70b"))
    assert isinstance(refusal, Refusal)
    assert refusal.bottleneck is Bottleneck.MEMORY
    assert "131.4" in refusal.message
    assert "71.27 GiB" in refusal.message
    assert refusal.nearest == "tp2"


def test_no_shape_holds_it(facts):
    """Llama-3.1-405B in 16 bits fits no node of 8 H100, so no shape is offered."""
    refusal = memory_of(facts("llama-3.1-405b"), shape=Parallel(8))
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
    """A context limit above the model's own is refused with the model's figure; an unknown one refuses nothing."""
    refusal = memory_of(facts("llama-3-8b"), context_limit_tokens=16_384)
    assert isinstance(refusal, Refusal)
    assert (refusal.bottleneck, refusal.nearest) == (Bottleneck.CONTEXT, "8Ki")
    unknown = replace(facts("llama-3-8b"), max_context_tokens=0)
    assert isinstance(memory_of(unknown, context_limit_tokens=16_384), ReplicaMemory)


@pytest.mark.parametrize(
    ("engine", "kv_dtype", "known"),
    [
        ("vllm@0.19", "fp8", True),
        ("vllm@0.19", "bf16", True),
        ("vllm@0.19", "int8_per_token_head", False),
        ("vllm@0.24", "int8-per-token-head", True),
        ("vllm@0.24", "int4_per_token_head", False),
        ("vllm@0.33", "int4_per_token_head", True),
        ("vllm@0.33", "nexusquant", False),
        ("sglang@0.5", "fp8_e4m3", True),
        ("sglang@0.5", "nvfp4", False),
        ("tensorrt-llm@1.2", "nvfp4", True),
    ],
)
def test_kv_dtypes_by_release(facts, engine, kv_dtype, known):
    """A KV dtype that the release does not have is refused by name."""
    got = memory_of(facts("llama-3.1-8b"), engine=engine, storage=KvStorage(8, 8), kv_dtype=kv_dtype)
    assert isinstance(got, ReplicaMemory) == known
    if not known:
        assert got.bottleneck is Bottleneck.ENGINE
        assert kv_dtype in got.message


def test_unsupported_model_is_refused_by_name(facts):
    """What memory does not understand is named in the refusal, before anything is computed."""
    refusal = memory_of(replace(facts("llama-3.1-8b"), unsupported=("compressed attention",)))
    assert isinstance(refusal, Refusal)
    assert "compressed attention" in refusal.message


def test_graphs_outside_the_budget_need_room(facts):
    """0.19 at 99 % leaves 0.79 GiB beside the budget, too little for its graphs; 0.24 counts them in."""
    refusal = memory_of(facts("llama-3.1-8b"), utilization_ppm=990_000)
    assert isinstance(refusal, Refusal)
    assert refusal.nearest == "gpu_memory_utilization: 0.98"
    inside = memory_of(facts("llama-3.1-8b"), engine="vllm@0.24", utilization_ppm=990_000)
    assert isinstance(inside, ReplicaMemory)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(["llama-3.1-8b", "qwen3-32b", "gemma-3-4b", "mistral-7b-v0.1", "deepseek-v2-lite"]),
    st.sampled_from([H100, "a100-sxm-40gb", "l40s-48gb", "b200-sxm-180gb", "mi300x"]),
    st.sampled_from(["vllm@0.19", "vllm@0.24", "vllm@0.33", "sglang@0.5", "tensorrt-llm@1.2"]),
    st.sampled_from([Parallel(1), Parallel(2), Parallel(4), Parallel(8), Parallel(1, 2), Parallel(2, 3)]),
    st.sampled_from([BF16_KV, KvStorage(8, 8)]),
    st.integers(1, 8192),
    st.integers(1, 1024),
    st.integers(500_000, 950_000),
    st.integers(0, 8 * GIB),
)
def test_parts_add_up_exactly(facts, model_id, gpu, engine, shape, storage, context, sequences, utilization, extra):
    """Whenever a replica starts, its parts add up to the budget to the byte and one sequence fits."""
    memory = memory_of(
        facts(model_id),
        gpu=gpu,
        engine=engine,
        shape=shape,
        storage=storage,
        context_limit_tokens=context,
        max_num_seqs=sequences,
        utilization_ppm=utilization,
        extra_bytes=extra,
    )
    if isinstance(memory, Refusal):
        return
    assert parts_of(memory) == memory.budget_bytes
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


def test_repeated_calls_are_fast(facts):
    """A warm call takes well under a millisecond: plans ask for thousands of limits and batch sizes."""
    model, gpu, engine = facts("gemma-3-27b"), load_gpu(H100), load_engine(V19)

    def call():
        return replica_memory(
            model,
            gpu,
            engine,
            shape=Parallel(2),
            weights="bf16",
            storage=BF16_KV,
            kv_dtype="auto",
            context_limit_tokens=8192,
            max_num_seqs=256,
            max_num_batched_tokens=8192,
            utilization_ppm=900_000,
        )

    call()
    assert min(timeit.repeat(call, number=50, repeat=5)) / 50 < 0.001
