"""Roofline and kernel tables on their overlap grid: within 10 % of each other. Needs kvplan[silicon]; the CI has it."""

import os
from collections import defaultdict
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from planner.catalog import load_engine, load_gpu, load_model
from planner.catalog.parallel import Parallel
from planner.catalog.types import EngineRules, GpuFacts, ModelFacts, Refusal
from planner.performance.provider import ProviderName, StepModel, StepRequest
from planner.performance.silicon import PACKAGE
from planner.performance.step_model import step_model

MISSING = find_spec(PACKAGE) is None
pytestmark = pytest.mark.skipif(
    MISSING and "KVPLAN_NEED_SILICON" not in os.environ, reason="needs kvplan[silicon]: pip install 'kvplan[silicon]'"
)

GPUS = ("h100-sxm-80gb", "h200-sxm-141gb", "b200-sxm-180gb", "a100-sxm-80gb", "l40s-48gb")
ENGINES = ("vllm@0.24", "sglang@0.5.14", "tensorrt-llm@1.2")
DENSE = (
    ("llama-3.1-8b", "bf16", (1,)),
    ("llama-3.1-70b", "bf16", (4,)),
    ("llama-3.1-70b", "fp8", (2, 8)),
    ("qwen3-32b", "bf16", (2,)),
)
SPARSE = (
    ("qwen3-30b-a3b", "bf16", (2,)),
    ("qwen3-235b-a22b-fp8", "fp8", (8,)),
    ("gpt-oss-120b", "mxfp4", (2,)),
    ("deepseek-r1", "fp8", (8,)),
)
BATCHES = np.array([[1.0], [4.0], [16.0], [64.0], [128.0]])
CONTEXTS_TOKENS = np.array([[1024.0, 4096.0, 8192.0]])
PROMPTS_TOKENS = (1024, 4096, 8192)
CLOSENESS = 0.10
LOOSEST_DENSE = 0.20
"""Single dense cases may be this far apart: fp8 tables of B200 are noisy."""

LARGEST_PCIE_TP = 4
"""Eight L40S are never one replica: their all-reduce over PCIe would take longer than the matrices."""


def _step(model: str, gpu: str, engine: str, weights: str, tp: int, provider: ProviderName) -> StepModel | None:
    facts, card, rules = load_model(model, Path()), load_gpu(gpu), load_engine(engine)
    assert isinstance(facts, ModelFacts)
    assert isinstance(card, GpuFacts)
    assert isinstance(rules, EngineRules)
    answer = step_model(StepRequest(facts, card, rules, Parallel(tp), weights), provider)
    return None if isinstance(answer, Refusal) else answer


def test_silicon_and_roofline_agree_within_10_percent() -> None:
    """Mean distance of decode steps and prefills over all that both cover: of each engine, and of dense models on each
    GPU and engine."""
    by_engine: dict[str, list[tuple[float, float]]] = defaultdict(list)
    dense: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for (model, weights, sizes), gpu, engine in product((*DENSE, *SPARSE), GPUS, ENGINES):
        for tp in sizes:
            if gpu == "l40s-48gb" and tp > LARGEST_PCIE_TP:
                continue
            roofline, silicon = (_step(model, gpu, engine, weights, tp, each) for each in ("roofline", "silicon"))
            if roofline is None or silicon is None:
                continue
            distance = _distance(roofline, silicon)
            by_engine[engine].append(distance)
            if (model, weights, sizes) in DENSE:
                assert max(distance) < LOOSEST_DENSE, (model, weights, gpu, engine, tp, distance)
                dense[gpu, engine].append(distance)
    assert len(by_engine) == len(ENGINES) and len(dense) == len(ENGINES) * len(GPUS)
    means = {name: _mean(found) for name, found in (*by_engine.items(), *dense.items())}
    assert {name: mean for name, mean in means.items() if max(mean) > CLOSENESS} == {}


def _mean(distances: list[tuple[float, float]]) -> tuple[float, float]:
    decode, prefill = zip(*distances, strict=True)
    return round(fmean(decode), 3), round(fmean(prefill), 3)


def _distance(one: StepModel, other: StepModel) -> tuple[float, float]:
    """Mean |ratio - 1| of decode steps over the grid, and of prefills."""
    decode = one.decode_step_s(BATCHES, CONTEXTS_TOKENS) / other.decode_step_s(BATCHES, CONTEXTS_TOKENS)
    prefill = np.array([one.prefill_s(tokens) / other.prefill_s(tokens) for tokens in PROMPTS_TOKENS])
    return round(float(np.abs(decode - 1).mean()), 3), round(float(np.abs(prefill - 1).mean()), 3)
