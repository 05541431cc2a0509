"""How long step times take: `python -m pytest -o addopts=--import-mode=importlib tests/bench/test_step_speed.py`."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
from pytest_benchmark.fixture import BenchmarkFixture

from planner.catalog import load_engine, load_gpu, load_model
from planner.catalog.parallel import Parallel
from planner.catalog.types import EngineRules, ModelFacts, Refusal
from planner.performance.fit import affine_fit, prefill_cost
from planner.performance.provider import StepRequest
from planner.performance.step_model import step_model
from planner.scenario.traffic import Lengths
from planner.traffic.lengths import ClassLengths, Served, bands, histogram, served
from planner.traffic.queueing import ReplicaTiming, capacity_of, stack, workload

MODELS = (("llama-3.1-70b", "fp8"), ("gpt-oss-120b", "mxfp4"), ("deepseek-v3", "fp8"), ("qwen3.5-27b", "bf16"))
GPUS = ("h100-sxm-80gb", "h200-sxm-141gb", "b200-sxm-180gb", "b300-sxm-288gb", "gb200-nvl72")
ENGINES = ("vllm@0.24", "sglang@0.5.14", "tensorrt-llm@1.2")
SHAPES = tuple(Parallel(tp) for tp in (1, 2, 4, 8))
BATCHES = np.array([1.0, 4, 8, 16, 32, 64, 128, 256, 384, 512])[:, None]
CONTEXTS = np.array([256.0, 1024, 4096, 16384])[None, :]


def _requests() -> list[StepRequest]:
    """240 candidates of every kind of model, on five GPUs and three engines."""
    found = []
    for (model, weights), gpu, engine, shape in product(MODELS, GPUS, ENGINES, SHAPES):
        facts, card, rules = load_model(model, Path()), load_gpu(gpu), load_engine(engine)
        assert isinstance(facts, ModelFacts)
        assert isinstance(rules, EngineRules)
        assert card is not None
        found.append(StepRequest(facts, card, rules, shape, weights))
    return found


def _classes() -> list[Served]:
    """Five classes of requests, from chat to long documents."""
    outputs = histogram(Lengths(((500_000, 129), (950_000, 451), (990_000, 601)), 1_000))
    medians = (250, 500, 1_000, 1_500, 2_000)
    prompts = (histogram(Lengths(((500_000, half), (990_000, 8 * half)), 16 * half)) for half in medians)
    return [served(bands(ClassLengths(each, outputs), [])[0], 65_536) for each in prompts]


def _timing(request: StepRequest) -> ReplicaTiming:
    step = step_model(request)
    assert not isinstance(step, Refusal)
    fit, cost = affine_fit(step), prefill_cost(step, 8192)
    return ReplicaTiming(
        fit.alpha_s,
        fit.beta_s,
        fit.gamma_s_per_token,
        cost.sigma_s_per_token,
        cost.attention.fixed_s,
        cost.attention.s_per_token2,
        cost.attention.ramp_tokens,
        8192,
    )


def test_ten_thousand_step_times(benchmark: BenchmarkFixture) -> None:
    """10,080 (candidate, batch, context) step times, step models built anew: under 1 s."""
    requests = [*_requests(), *_requests()[:12]]

    def run() -> int:
        count = 0
        for request in requests:
            step = step_model(request)
            assert not isinstance(step, Refusal)
            count += step.decode_step_s(BATCHES, CONTEXTS).size
        return count

    assert benchmark.pedantic(run, rounds=3, warmup_rounds=1) >= 10_000
    assert benchmark.stats.stats.min < 1


def test_a_thousand_fits_and_caps(benchmark: BenchmarkFixture) -> None:
    """Fits of 240 candidates and caps of more than 1,000 (candidate, class) pairs at 8 promises: under 3 s."""
    requests = _requests()
    tpot_s, classes = np.geomspace(0.01, 0.2, 8), _classes()

    def run() -> int:
        timings = [_timing(request) for request in requests]
        work = stack([workload(each, timing) for timing in timings for each in classes])
        return capacity_of(work, tpot_s[None, :], 2.0).cap_rps.shape[0]

    assert benchmark.pedantic(run, rounds=2, warmup_rounds=1) >= 1_000
    assert benchmark.stats.stats.min < 3
