"""Budgets of start-up logs: what is predicted from GPU, model, release, shape and settings, beside what they print.

Read by the tests of this folder and by `tests/bench/memory_accuracy.py`; pytest is not needed here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from planner.catalog import load_engine, load_gpu, load_model
from planner.catalog.parallel import Parallel
from planner.catalog.types import ModelFacts
from planner.memory.budget import KvBudget, kv_budget
from planner.memory.overhead import default_max_num_seqs
from planner.memory.weights import weight_bytes

GIB = 2**30
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


def all_cases() -> list[Case]:
    """Every vLLM log that gives weights and KV memory on one stage, on a GPU that it names."""
    rows = json.loads(LOGS.read_text(encoding="utf-8"))["logs"]
    return [case_of(row) for row in rows if not lacking(row)]


def lacking(row: dict[str, Any]) -> str:
    """What a log lacks for its budget to be predicted and compared; empty: nothing."""
    if row["engine"] != "vllm":
        return "parts of the budget: the log prints the pool alone"
    if row.get("pipeline_parallel_size", 1) > 1:
        return "the memory of its second stage, on another kind of GPU"
    words = (("gpu", "GPU"), ("gpu_memory_utilization", "utilization"), ("weights_gib", "weights"))
    missing = [word for key, word in words if key not in row]
    if row.get("gpu", "H100-80GB") not in GPUS and not missing:
        missing.append("a GPU of the catalog")
    return ", ".join(missing)
