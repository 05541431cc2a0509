"""KV budgets: every vLLM start-up log that gives its components, the identity, SGLang and TensorRT-LLM by hand."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.catalog import load_engine, load_gpu, load_model
from planner.catalog.parallel import Parallel
from planner.catalog.types import Bottleneck, Refusal
from planner.memory.budget import KvBudget, kv_budget

GIB = 2**30
ONE = Parallel()


@pytest.fixture(scope="module")
def cases(budgets) -> list[Any]:
    """Every vLLM log that gives weights and KV memory on one stage, on a GPU that it names."""
    return budgets.all_cases()


def test_available_memory_of_logs(cases):
    """Mean absolute error over all logs is at most 0.1 GiB, with predicted weights; over-promises come first.

    Causes of the largest errors. V0: CUDA context and buffers are the largest of each kind of GPU (0.35 GiB; T4 0.01,
    A100 0.09), and the forward pass is over-counted at 20,000 to 29,000 tokens. bitsandbytes: the log's own parts
    miss its pool by 0.3 GiB. gpt-oss: padding of mxfp4 experts and 5 % of the sampler.
    """
    ordered = sorted(cases, key=lambda case: -case.error_gib)
    table = "\n".join(f"{case.error_gib:+.3f} GiB  {case.name}" for case in ordered)
    errors = [abs(case.error_gib) for case in cases]
    assert len(errors) >= 34, table
    assert mean(errors) <= 0.1, table
    assert max(errors) < 0.36, table
    worst = {case.row["model"] for case in sorted(cases, key=lambda case: -abs(case.error_gib))[:5]}
    assert worst <= {
        "Qwen/Qwen2.5-1.5B-Instruct",
        "microsoft/phi-4 (bitsandbytes)",
        "meta-llama/Llama-3.1-8B-Instruct",
        "openai/gpt-oss-20b",
    }, table


def test_v1_logs_are_closer(cases):
    """On H100 with releases from 0.16 on, no log is off by more than 0.15 GiB, none is promised 0.08 too much."""
    recent = [case for case in cases if case.row["gpu"] == "H100-80GB"]
    assert len(recent) >= 30
    assert mean(abs(case.error_gib) for case in recent) <= 0.06
    assert max(case.error_gib for case in recent) <= 0.08
    assert min(case.error_gib for case in recent) >= -0.15


def test_logged_weights(cases):
    """Weights are within 1 % of every log; gpt-oss at tp 2 is 1.3 % above, latent attention at tp 4 1.4 % below."""
    for case in cases:
        known = {("openai/gpt-oss-20b", 2): 0.013, ("deepseek-ai/DeepSeek-V2-Lite", 4): 0.014}
        tolerance = known.get((case.row["model"], case.row["tensor_parallel_size"]), 0.01)
        assert case.weights_bytes / GIB == pytest.approx(case.row["weights_gib"], rel=tolerance), case.name


def test_activation_peaks_of_logs(cases):
    """The activation peak is off by 0.06 GiB on average and by 0.25 at most, V0 included."""
    errors = [
        case.budget.activation_bytes / GIB - case.row["activation_peak_gib"]
        for case in cases
        if "activation_peak_gib" in case.row
    ]
    assert len(errors) >= 32
    assert mean(map(abs, errors)) < 0.06
    assert max(map(abs, errors)) < 0.25


def test_logs_obey_the_identity(cases):
    """In each 16-bit log the pool is the budget less its printed parts, within rounding and 0.02 GiB."""
    for case in cases:
        row = case.row
        if "activation_peak_gib" in row and row.get("weight_quantization") != "bnb":
            parts = row["weights_gib"] + row["activation_peak_gib"] + row["non_torch_gib"]
            assert row["gpu_memory_utilization"] * row["gpu_total_gib"] - parts == pytest.approx(
                row["available_kv_gib"], abs=0.041
            )


def budget_of(model_id: str, gpu_id: str, engine_id: str, shape: Parallel = ONE, **changes: Any) -> Any:
    """A budget with plain settings."""
    model = load_model(model_id, Path())
    settings: dict[str, Any] = {
        "weights_bytes": 16 * GIB,
        "max_num_seqs": 256,
        "max_num_batched_tokens": 2048,
        "keep_margin": False,
    }
    return kv_budget(model, load_gpu(gpu_id), load_engine(engine_id), shape, 0, **(settings | changes))


def test_graphs_are_in_the_budget_from_0_21():
    """Releases before 0.21 capture CUDA graphs outside the budget; later ones lose 1.05 GiB of it."""
    sizes = [
        budget_of("llama-3.1-8b", "h100-sxm-80gb", release).cuda_graph_bytes
        for release in ("vllm@0.20.2", "vllm@0.21", "vllm@0.24", "vllm@0.33")
    ]
    assert sizes == [0, 1_127_428_916, 1_127_428_916, 1_127_428_916]


def test_graphs_outside_the_budget_need_room():
    """At 0.99 an H100 has 0.79 GiB left for the graphs of 0.19, which take 1.05: 0.98 is offered."""
    refusal = budget_of("llama-3.1-8b", "h100-sxm-80gb", "vllm@0.19", utilization_ppm=990_000)
    assert isinstance(refusal, Refusal)
    assert refusal.nearest == "gpu_memory_utilization: 0.98"
    assert isinstance(budget_of("llama-3.1-8b", "h100-sxm-80gb", "vllm@0.24", utilization_ppm=990_000), KvBudget)


def test_sglang_share_by_default():
    """H100, tp 8: 512 + 12,288 + 1,024 + 1,024 = 14,848 MiB of 81,559 stay free, so the share is 0.818."""
    budget = budget_of("llama-3.1-8b", "h100-sxm-80gb", "sglang@0.5.23", Parallel(8), max_num_batched_tokens=8192)
    non_torch = -(-22 * GIB // 10)
    free = load_gpu("h100-sxm-80gb").memory_bytes - non_torch
    assert budget.available_bytes == free * 818 // 1000 - 16 * GIB
    assert (budget.activation_bytes, budget.cuda_graph_bytes) == (0, 0)
    fixed = budget_of("llama-3.1-8b", "h100-sxm-80gb", "sglang@0.5", Parallel(8), utilization_ppm=900_000)
    assert fixed.available_bytes == free * 9 // 10 - 16 * GIB


def test_tensorrt_llm_takes_a_share_of_what_is_free():
    """0.9 of the total less weights, context and the forward pass of 2,048 tokens."""
    budget = budget_of("llama-3.1-8b", "h100-sxm-80gb", "tensorrt-llm@1.2.1")
    forward = 2 * 2048 * (3 * 14336 + 4 * 4096)
    free = load_gpu("h100-sxm-80gb").memory_bytes - 16 * GIB - GIB // 4 - forward
    assert budget.available_bytes == pytest.approx(free * 0.9, abs=2)


@pytest.mark.parametrize("engine_id", ["vllm@0.24", "sglang@0.5", "tensorrt-llm@1.2"])
def test_what_does_not_fit_is_refused_with_its_numbers(engine_id):
    """Weights of 80 GiB leave nothing of an H100, and the refusal says so."""
    refusal = budget_of("llama-3.1-8b", "h100-sxm-80gb", engine_id, weights_bytes=80 * GIB)
    assert isinstance(refusal, Refusal)
    assert refusal.bottleneck is Bottleneck.MEMORY
    assert "weights 80.00 GiB" in refusal.message


@pytest.mark.parametrize(
    ("gpu_id", "shape", "margin_gib"),
    [
        ("h100-sxm-80gb", Parallel(4), 0),
        ("h100-sxm-80gb", Parallel(8), 1),
        ("a100-sxm-80gb", Parallel(1), 0.5),
        ("h200-sxm-141gb", Parallel(2), 1),
    ],
)
def test_a_margin_stays_free_where_nothing_was_measured(gpu_id, shape, margin_gib):
    """0.5 GiB at tp 1 and 1 GiB above, as a part of non-torch memory; the reason is named."""
    plain = budget_of("llama-3.1-8b", gpu_id, "vllm@0.24", shape)
    kept = budget_of("llama-3.1-8b", gpu_id, "vllm@0.24", shape, keep_margin=True)
    assert kept.margin_bytes == margin_gib * GIB == plain.available_bytes - kept.available_bytes
    assert kept.non_torch_bytes == plain.non_torch_bytes + kept.margin_bytes
    assert any("margin" in reason for reason in kept.estimated) == (margin_gib > 0)


@settings(deadline=None)
@given(
    st.sampled_from(["llama-3.1-8b", "qwen3-30b-a3b", "gemma-3-27b", "deepseek-v2-lite"]),
    st.sampled_from(["h100-sxm-80gb", "l40s-48gb", "b200-sxm-180gb", "t4-16gb", "mi300x"]),
    st.sampled_from(["vllm@0.6", "vllm@0.16", "vllm@0.19", "vllm@0.24", "vllm@0.33", "sglang@0.5", "tensorrt-llm@1.0"]),
    st.builds(Parallel, tp=st.sampled_from([1, 2, 4, 8]), pp=st.integers(1, 3), dp=st.integers(1, 2), ep=st.booleans()),
    st.integers(0, 100 * GIB),
    st.integers(1, 2048),
    st.integers(1, 32768),
    st.none() | st.integers(100_000, 1_000_000),
    st.integers(0, 4 * GIB),
    st.booleans(),
)
def test_components_add_up(
    model_id, gpu_id, engine_id, shape, weights, sequences, tokens, utilization_ppm, extra, margin
):
    """Budget is the sum of its parts, exactly; the steps say the same; more of anything leaves no more for KV."""
    changes = {
        "weights_bytes": weights,
        "max_num_seqs": sequences,
        "max_num_batched_tokens": tokens,
        "utilization_ppm": utilization_ppm,
        "extra_bytes": extra,
        "keep_margin": margin,
    }
    budget = budget_of(model_id, gpu_id, engine_id, shape, **changes)
    if isinstance(budget, Refusal):
        return
    parts = (
        budget.weights_bytes,
        budget.activation_bytes,
        budget.non_torch_bytes,
        budget.cuda_graph_bytes,
        budget.other_bytes,
        budget.available_bytes,
    )
    assert budget.budget_bytes == sum(parts) <= budget.total_bytes
    assert min(parts) >= 0
    steps = {label: size for label, _, size, _ in budget.steps}
    assert steps["budget"] == sum(size for label, size in steps.items() if label not in ("GPU memory", "budget"))
    for more in ({"weights_bytes": weights + GIB}, {"max_num_seqs": 2 * sequences}, {"extra_bytes": extra + GIB}):
        less = budget_of(model_id, gpu_id, engine_id, shape, **(changes | more))
        assert isinstance(less, Refusal) or less.available_bytes <= budget.available_bytes
