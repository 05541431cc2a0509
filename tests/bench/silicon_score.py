"""Predictions for measured rows, and their errors by group.

Every row is a closed loop of `concurrency` users (formulas in planner/performance/closed_loop.py) on one replica. The
groups of a model on a GPU are halved: sorted by kind, model and GPU, every other one is the training half; whatever
is fitted to end-to-end rows is fitted there, and targets are judged on the other half, `held_out`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean, median
from typing import TypeVar

import numpy as np
from silicon_pool import pool_sequences
from silicon_rows import Row

from planner.catalog import load_engine, load_gpu, load_model
from planner.catalog.parallel import Parallel
from planner.catalog.types import EngineRules, GpuFacts, ModelFacts, Refusal
from planner.performance.closed_loop import FIRST_WAVE_SHARE, Limits, Users, closed_loop
from planner.performance.provider import ProviderName, StepModel, StepRequest
from planner.performance.step_model import step_model

BATCHED_TOKENS = 8192
"""`max_num_batched_tokens` of nearly all recipes."""

T = TypeVar("T")
CHECKPOINTS = {("llama-3.1-70b", "fp8"): "llama-3.1-70b-instruct-fp8"}
"""The checkpoint that was run, where it brings the scales of its activations along."""

LARGEST_SHARE = 0.8
LOCKSTEP_SHARE = 0.5
"""Half of the other users' prefills come before one's own, half after it."""

LOCKSTEP_RELEASES = ("0.5.1.post1", "0.5.8.post1")

Json = dict[str, str | int | float | bool]


@dataclass(frozen=True)
class Scored:
    """A row and what the provider says of it, in seconds."""

    row: Row
    kind: str
    tpot_s: float
    ttft_s: float
    running: int
    overhead_s: float

    @property
    def waits(self) -> bool:
        """Whether users wait for room in the KV pool."""
        return self.running < self.row.concurrency

    @property
    def tpot_ratio(self) -> float:
        """Predicted / measured."""
        return self.tpot_s / self.row.tpot_s

    @property
    def ttft_ratio(self) -> float:
        """Predicted / measured."""
        return self.ttft_s / self.row.ttft_s


def cached_series(rows: Sequence[Row]) -> set[tuple[str, ...]]:
    """Series in which a row answers faster than its GPUs can multiply: prompts were not computed, but found.

    Rate by Little's law x prompt x 2 FLOP x active parameters of the layers > 80 % of peak, which no prefill reaches.
    """
    return {_series(row) for row in rows if _prefill_flops(row) > LARGEST_SHARE * _peak_flops(row) * row.gpus}


def _prefill_flops(row: Row) -> float:
    rate = row.concurrency / (row.ttft_s + (row.output_tokens - 1) * row.tpot_s)
    return rate * row.input_tokens * 2 * _active_parameters(_model(row.model))


def _active_parameters(model: ModelFacts) -> float:
    """Weights of dense layers with full attention; 0 for others, which are not judged."""
    if model.is_moe or model.is_mla:
        return 0.0
    heads = 2 * model.heads + 2 * model.kv_heads
    return model.layers * model.hidden_size * (heads * model.head_dim + 3 * model.ffn_size)


def _peak_flops(row: Row) -> float:
    gpu = _gpu(row.gpu)
    return float(gpu.bf16_flops if row.weights == "bf16" else gpu.fp8_flops * (2 if row.weights == "nvfp4" else 1))


def _series(row: Row) -> tuple[str, ...]:
    return row.model, row.gpu, row.engine, row.weights, row.release


def score(rows: Sequence[Row], provider: ProviderName) -> tuple[list[Scored], Counter[str]]:
    """Predictions for all rows that the provider covers, and the reasons for the others."""
    scored: list[Scored] = []
    left_out: Counter[str] = Counter()
    cached = cached_series(rows)
    for row in rows:
        if _series(row) in cached:
            left_out["prompts served from a prefix cache: the rate would take more than the GPU's peak FLOP/s"] += 1
            continue
        step = step_of(row, provider)
        if isinstance(step, str):
            left_out[step] += 1
            continue
        pool = pool_sequences(row)
        if pool == 0:
            left_out["the weights do not fit the GPUs that the row names: a wrong shape"] += 1
            continue
        loop = closed_loop(step, _users(row), Limits(BATCHED_TOKENS, pool_sequences=pool), row.concurrency)
        overhead_s = loop.breakdown_s.get("overhead", 0.0)
        scored.append(Scored(row, kind_of(_model(row.model)), loop.tpot_s, loop.ttft_s, loop.running, overhead_s))
    return scored, left_out


def step_of(row: Row, provider: ProviderName) -> StepModel | str:
    """The steps of a row's replica, or why the provider cannot time it."""
    return _step(row.model, row.gpu, row.engine, row.weights, row.kv_dtype, (row.tp, row.dp, row.ep), provider)


def _users(row: Row) -> Users:
    """What the harness asks for. With equal lengths, prefill-first scheduling keeps all users in lockstep: so says the
    TTFT of Qwen3-32B on SGLang 0.5.1, half of all prefills long at every load; later releases do not show it."""
    lockstep = row.engine.startswith("sglang") and row.release in LOCKSTEP_RELEASES
    share = LOCKSTEP_SHARE if lockstep else FIRST_WAVE_SHARE
    return Users(row.input_tokens, row.output_tokens, first_wave_share=share)


def kind_of(model: ModelFacts) -> str:
    """dense, moe or mla: what the kernels of the model are."""
    return "mla" if model.is_mla else "moe" if model.is_moe else "dense"


def held_out_groups(rows: Iterable[Row]) -> set[tuple[str, str]]:
    """The (model, GPU) groups that nothing may be fitted to: every other one, by kind, model and GPU."""
    groups = sorted({(kind_of(_model(row.model)), row.model, row.gpu) for row in rows})
    return {(model, gpu) for _, model, gpu in groups[1::2]}


def groups_of(scored: Sequence[Scored], held_out: set[tuple[str, str]]) -> list[Json]:
    """One line for each model, GPU, engine and dtype."""

    def key(each: Scored) -> tuple[str, ...]:
        return each.row.model, each.kind, each.row.gpu, each.row.engine.partition("@")[0], each.row.weights

    return [
        {
            **dict(zip(("model", "kind", "gpu", "engine", "dtype"), name, strict=True)),
            **errors(members),
            "held_out": (members[0].row.model, members[0].row.gpu) in held_out,
        }
        for name, members in _grouped(scored, key)
    ]


def summary_of(scored: Sequence[Scored], held_out: set[tuple[str, str]]) -> list[Json]:
    """One line for each engine, kind and half."""

    def key(each: Scored) -> tuple[str, ...]:
        held = (each.row.model, each.row.gpu) in held_out
        return each.row.engine.partition("@")[0], each.kind, "held out" if held else "training"

    return [
        {**dict(zip(("engine", "kind", "half"), name, strict=True)), **errors(members)}
        for name, members in _grouped(scored, key)
    ]


def errors(members: Sequence[Scored]) -> Json:
    """Median ratio predicted / measured and mean and 90 % point of the absolute error, in percent."""
    tpot = [abs(each.tpot_ratio - 1) * 100 for each in members]
    ttft = [abs(each.ttft_ratio - 1) * 100 for each in members]
    return {
        "n": len(members),
        "tpot_median_ratio": round(median(each.tpot_ratio for each in members), 3),
        "tpot_mape": round(mean(tpot), 1),
        "tpot_p90": round(float(np.percentile(tpot, 90)), 1),
        "ttft_median_ratio": round(median(each.ttft_ratio for each in members), 3),
        "ttft_mape": round(mean(ttft), 1),
    }


def _grouped(
    scored: Iterable[Scored], key: Callable[[Scored], tuple[str, ...]]
) -> list[tuple[tuple[str, ...], list[Scored]]]:
    groups: dict[tuple[str, ...], list[Scored]] = defaultdict(list)
    for each in scored:
        groups[key(each)].append(each)
    return sorted(groups.items())


@cache
def _step(
    model: str,
    gpu: str,
    engine: str,
    weights: str,
    kv_dtype: str,
    shape: tuple[int, int, bool],
    provider: ProviderName,
) -> StepModel | str:
    tp, dp, ep = shape
    checkpoint = CHECKPOINTS.get((model, weights), model)
    request = StepRequest(
        _model(checkpoint), _gpu(gpu), _engine(engine), Parallel(tp, dp=dp, ep=ep), weights.partition("_")[0], kv_dtype
    )
    answer = step_model(request, provider)
    return answer.message if isinstance(answer, Refusal) else answer


@cache
def _model(model_id: str) -> ModelFacts:
    return _known(load_model(model_id, Path()))


@cache
def _gpu(gpu_id: str) -> GpuFacts:
    return _known(load_gpu(gpu_id))


@cache
def _engine(engine_id: str) -> EngineRules:
    return _known(load_engine(engine_id))


def _known(answer: T | str) -> T:
    if isinstance(answer, str):
        raise LookupError(answer)
    return answer
