"""KV budgets: every vLLM start-up log that gives its components, the identity, SGLang and TensorRT-LLM by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.catalog import load_engine, load_gpu, load_model
from planner.catalog.parallel import Parallel
from planner.catalog.types import Bottleneck, ModelFacts, Refusal
from planner.memory.budget import KvBudget, kv_budget
from planner.memory.overhead import default_max_num_seqs
from planner.memory.weights import weight_bytes

GIB = 2**30
ONE = Parallel()
LOGS = Path(__file__).parents[1] / "data" / "kv_engine_logs.json"

MODELS = {
    "codellama/CodeLlama-7b-hf": "codellama-7b",
    "deepseek-ai/DeepSeek-V2-Lite": "deepseek-v2-lite",
    "google/gemma-2-2b-it": "gemma-2-2b",
    "google/gemma-2-9b-it": "gemma-2-9b",
    "google/gemma-3-27b-it": "gemma-3-27b",
    "google/gemma-3-4b-it": "gemma-3-4b",
    "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b",
    "meta-llama/Llama-4-Scout-17B-16E-Instruct": "llama-4-scout-17b-16e",
    "microsoft/phi-4": "phi-4",
    "microsoft/phi-4 (bitsandbytes)": "phi-4",
    "mistralai/Mixtral-8x7B-Instruct-v0.1": "mixtral-8x7b",
    "moonshotai/Kimi-Dev-72B": "qwen2.5-72b",
    "moonshotai/Kimi-VL-A3B-Instruct": "kimi-vl-a3b",
    "openai/gpt-oss-20b": "gpt-oss-20b",
    "Qwen/Qwen1.5-MoE-A2.7B": "qwen1.5-moe-a2.7b",
    "Qwen/Qwen2.5-1.5B-Instruct": "qwen2.5-1.5b",
    "Qwen/Qwen2.5-7B-Instruct": "qwen2.5-7b",
    "Qwen/Qwen3-14B": "qwen3-14b",
    "Qwen/Qwen3-30B-A3B": "qwen3-30b-a3b",
    "RedHatAI/Llama-3.3-70B-Instruct-fp8-dynamic": "llama-3.1-70b",
    "RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w8a8": "llama-3.1-8b",
    "RedHatAI/Qwen2.5-7B-Instruct-fp8-dynamic": "qwen2.5-7b",
    "RedHatAI/Qwen2.5-7B-Instruct-quantized.w8a8": "qwen2.5-7b",
}
GPUS = {
    "H100-80GB": "h100-sxm-80gb",
    "RTX 3090": "rtx-3090-24gb",
    "A100-80GB class": "a100-sxm-80gb",
    "T4": "t4-16gb",
}
FORMATS = {"": "bf16", "mxfp4": "mxfp4", "bnb": "bnb4"}


@dataclass(frozen=True)
class Case:
    """A log, its facts and what is predicted for it."""

    row: dict[str, Any]
    model: ModelFacts
    weights_bytes: int
    budget: KvBudget

    @property
    def name(self) -> str:
        """Model, release and GPU."""
        row = self.row
        return f"{row['model']} {row.get('version', '0.19')} {row['gpu']} tp{row['tensor_parallel_size']}"

    @property
    def error_gib(self) -> float:
        """Predicted less logged KV memory; above 0 the plan would promise too much."""
        return self.budget.available_bytes / GIB - self.row["available_kv_gib"]


def facts(name: str) -> ModelFacts:
    """The catalog model of a log; Qwen2.5 Instruct models end at 32,768 positions (their config.json)."""
    found = load_model(MODELS[name], Path())
    assert isinstance(found, ModelFacts), found
    return replace(found, rope_positions=32_768) if "Qwen2.5-7B-Instruct" in name else found


def case_of(row: dict[str, Any]) -> Case:
    """Predict everything from model, GPU, release, shape and settings; nothing is read from the log."""
    model, gpu = facts(row["model"]), load_gpu(GPUS[row["gpu"]])
    engine = load_engine("vllm@" + row.get("version", "0.19.0").split(" ")[0].replace(".x", ""))
    shape = Parallel(row["tensor_parallel_size"])
    dtype = FORMATS.get(row.get("weight_quantization", ""), "int8" if "w8a8" in row["model"] else "fp8")
    is_fp32 = "float32" in row["kv_cache_dtype"]
    weights_bytes = weight_bytes(model, "fp32" if is_fp32 else dtype, shape)
    assert isinstance(weights_bytes, int), weights_bytes
    budget = kv_budget(
        model,
        gpu,
        engine,
        shape,
        0,
        weights_bytes=weights_bytes,
        max_num_seqs=default_max_num_seqs(gpu, engine),
        max_num_batched_tokens=row.get("max_num_batched_tokens", 2048),
        utilization_ppm=round(row["gpu_memory_utilization"] * 1_000_000),
        keep_margin=False,
        element_bytes=4 if is_fp32 else 2,
    )
    assert isinstance(budget, KvBudget), budget
    return Case(row, model, weights_bytes, budget)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    """Every vLLM log that gives weights and KV memory on one stage, on a GPU that it names."""
    rows = json.loads(LOGS.read_text(encoding="utf-8"))["logs"]
    wanted = [
        row
        for row in rows
        if row["engine"] == "vllm" and "weights_gib" in row and "available_kv_gib" in row and row.get("gpu") in GPUS
    ]
    return [case_of(row) for row in wanted]


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
