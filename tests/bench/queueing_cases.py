"""Cases for the queueing forms: replicas, traffic and what one replica did with it in the simulator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from planner.candidates.physics import ONE_FIT_MEAN_ERROR
from planner.catalog import load_engine, load_gpu, load_model
from planner.catalog.parallel import Parallel
from planner.catalog.types import Refusal
from planner.performance.fit import affine_fit, fit_around, prefill_cost, step_grid
from planner.performance.provider import ProviderName, StepModel, StepRequest
from planner.performance.speculation import NO_SPECULATION
from planner.performance.step_model import step_model
from planner.simulate.pool import PoolRules
from planner.simulate.replica import Replica, ReplicaRules
from planner.simulate.request import Request
from planner.simulate.steps import StepTable
from planner.traffic.lengths import TPOT_MIN_OUTPUT_TOKENS, Served
from planner.traffic.trace import Trace, read_trace
from planner.traffic.workload import ReplicaTiming

FloatArray = NDArray[np.float64]

LONGEST_TOKENS = 32_768
REQUESTS = 6_000
"""Of one run: the p95 of 5,400 requests after the warm-up is sure to some 3 % at moderate load."""

WARM_UP_SHARE = 0.1


@dataclass(frozen=True)
class Machine:
    """A replica: model, GPU, shape, weights."""

    model: str
    gpu: str
    tp: int
    weights: str
    kind: str

    @property
    def name(self) -> str:
        """As tables show it."""
        return f"{self.model} {self.weights} on {self.tp} {self.gpu}"


MACHINES = (
    Machine("llama-3.1-8b", "h100-sxm-80gb", 1, "bf16", "dense"),
    Machine("llama-3.1-8b", "l40s-48gb", 1, "bf16", "dense"),
    Machine("qwen3-32b", "h200-sxm-141gb", 2, "fp8", "dense"),
    Machine("llama-3.1-70b", "h100-sxm-80gb", 4, "fp8", "dense"),
    Machine("llama-3.1-70b", "a100-sxm-80gb", 8, "bf16", "dense"),
    Machine("mixtral-8x7b", "h100-sxm-80gb", 4, "bf16", "MoE"),
    Machine("qwen3-30b-a3b", "h100-sxm-80gb", 2, "bf16", "MoE"),
    Machine("gpt-oss-120b", "h100-sxm-80gb", 2, "mxfp4", "MoE"),
)
BUDGETS_TOKENS = (2_048, 8_192)
LOADS = (0.3, 0.5, 0.65, 0.8)
"""Shares of the rate at which nothing of a replica's time is left, u = 1."""


@dataclass(frozen=True)
class Traffic:
    """Pairs of lengths; those of `fitting` may fix constants, the others only test them."""

    name: str
    prompts: NDArray[np.int64]
    outputs: NDArray[np.int64]
    fitting: bool


@dataclass(frozen=True)
class Seen:
    """What the simulator showed at one rate: p95 and mean TPOT, p95 TTFT, running requests and their tokens."""

    tpot_p95_s: float
    tpot_mean_s: float
    ttft_p95_s: float
    running_p99: float
    resident_p99_tokens: float


def traffic_of(path: Path, name: str, *, fitting: bool, seed: int = 1) -> Traffic:
    """The lengths of a trace, in an order of chance; prompts that do not fit are left out."""
    trace: Trace = read_trace(path)
    return traffic_from(name, trace.input_tokens, trace.output_tokens, fitting=fitting, seed=seed)


def traffic_from(
    name: str, prompts: NDArray[np.int64], outputs: NDArray[np.int64], *, fitting: bool, seed: int = 1
) -> Traffic:
    """Pairs of lengths that fit the context, in an order of chance."""
    fits = prompts + outputs < LONGEST_TOKENS
    order = np.random.default_rng(seed).permutation(int(fits.sum()))
    return Traffic(name, prompts[fits][order], np.maximum(outputs[fits][order], 1), fitting)


@cache
def steps_of(machine: Machine, provider: ProviderName) -> StepModel | Refusal:
    """A provider's step times of a replica."""
    request = StepRequest(
        load_model(machine.model, Path()),
        load_gpu(machine.gpu),
        load_engine("vllm@0.24"),
        Parallel(machine.tp),
        machine.weights,
    )
    return step_model(request, provider)


@cache
def table_of(machine: Machine, budget_tokens: int, provider: ProviderName) -> StepTable:
    """Its table, shared by all runs."""
    steps = steps_of(machine, provider)
    assert not isinstance(steps, Refusal)
    return StepTable(steps, LONGEST_TOKENS, budget_tokens)


def timing_of(
    steps: StepModel,
    budget_tokens: int,
    *,
    tpot_s: float | None = None,
    context_tokens: float = 0.0,
    decode_batch: int | None = None,
) -> ReplicaTiming:
    """What the forms know of a replica that is operated at a TPOT, as plans do it.

    `decode_batch` replaces the 48 at which a prompt's cost is taken.
    """
    fit, cost = affine_fit(steps), prefill_cost(steps, budget_tokens)
    if tpot_s is not None and fit.mean_error > ONE_FIT_MEAN_ERROR:
        fit = fit_around(step_grid(steps, NO_SPECULATION, (context_tokens,)), tpot_s) or fit
    sigma = cost.sigma_s_per_token
    if decode_batch is not None:
        chunks = np.array([0, *sorted({c for c in (1024, 2048, 4096, 8192) if c <= budget_tokens})], dtype=np.float64)
        parts = steps.breakdown(float(decode_batch), 256.0, chunks)
        seconds = sum(
            (np.asarray(times) for part, times in parts.items() if part != "attention"), np.zeros(len(chunks))
        )
        sigma = float(((seconds[1:] - seconds[0]) / chunks[1:]).max())
    return ReplicaTiming(
        fit.alpha_s,
        fit.beta_s,
        fit.gamma_s_per_token,
        sigma,
        cost.attention.fixed_s,
        cost.attention.s_per_token2,
        cost.attention.ramp_tokens,
        budget_tokens,
    )


def served_of(traffic: Traffic) -> Served:
    """The exact moments of the pairs, as the forms take them."""
    prompts, outputs = traffic.prompts.astype(np.float64), traffic.outputs.astype(np.float64)
    steps = outputs - 1
    counted = outputs[outputs >= TPOT_MIN_OUTPUT_TOKENS] - 1
    return Served(
        rejected=_NONE,
        cut_short=_NONE,
        new_tokens=prompts,
        cached_tokens=np.zeros(len(prompts)),
        probabilities=np.full(len(prompts), 1 / len(prompts)),
        mean_prompt_tokens=float(prompts.mean()),
        mean_output_tokens=float(outputs.mean()),
        mean_decode_steps=float(steps.mean()),
        resident_tokens=float((steps * prompts + outputs * steps / 2).sum() / steps.sum()),
        harmonic_decode_steps=float(len(counted) / (1 / counted).sum()) if len(counted) else None,
    )


_NONE = Fraction(0)


def run(
    machine: Machine,
    budget_tokens: int,
    traffic: Traffic,
    rate_rps: float,
    provider: ProviderName,
    most_sequences: int = 1 << 20,
    most_blocks: int = 1 << 40,
) -> Seen:
    """One replica under Poisson arrivals, as a rule without limits on sequences and KV."""
    rng = np.random.default_rng(1)
    count = min(REQUESTS, len(traffic.prompts))
    arrivals = np.cumsum(rng.exponential(1 / rate_rps, count))
    sequences = min(most_sequences, budget_tokens)
    rules = ReplicaRules(sequences, budget_tokens, 2 * LONGEST_TOKENS, PoolRules(16, most_blocks))
    replica = Replica(rules, table_of(machine, budget_tokens, provider), sample_s=float(arrivals[-1]) / 4_000)
    requests = [
        Request(number, 0, at, prompt, output)
        for number, (at, prompt, output) in enumerate(
            zip(arrivals.tolist(), traffic.prompts[:count].tolist(), traffic.outputs[:count].tolist(), strict=True)
        )
    ]
    for request in requests:
        replica.advance(request.arrival_s)
        replica.arrive(request, request.arrival_s)
    replica.advance(float("inf"))
    kept = [one for one in requests[int(WARM_UP_SHARE * count) :] if not one.refused]
    tpots = [
        (one.end_s - one.first_s) / (one.output_tokens - 1)
        for one in kept
        if one.output_tokens >= TPOT_MIN_OUTPUT_TOKENS
    ]
    ttfts = [one.first_s - one.arrival_s for one in kept]
    begin, end = kept[0].arrival_s, float(arrivals[-1])
    looks = [sample for sample in replica.samples if begin <= sample[0] <= end]
    gaps = sum(one.end_s - one.first_s for one in kept) / sum(one.output_tokens - 1 for one in kept)
    return Seen(
        float(np.percentile(tpots, 95)),
        gaps,
        float(np.percentile(ttfts, 95)),
        float(np.percentile([running for _, running, _, _ in looks], 99)),
        float(np.percentile([held * 16 for _, _, _, held in looks], 99)),
    )


def machines(provider: ProviderName, kind: str | None) -> Iterator[tuple[Machine, StepModel]]:
    """Replicas, of one kind if given, that the provider can time."""
    for machine in MACHINES:
        if kind not in (None, machine.kind):
            continue
        steps = steps_of(machine, provider)
        if not isinstance(steps, Refusal):
            yield machine, steps
