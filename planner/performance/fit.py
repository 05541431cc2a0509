"""From step times to the few numbers that queueing needs: an affine step and the marginal cost of prefill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np

from planner.performance.provider import FloatArray, PrefillAttention, StepModel
from planner.performance.speculation import NO_SPECULATION, Speculation

FIT_BATCHES = (8, 16, 32, 64, 128, 256)
FIT_CONTEXTS_TOKENS = (256, 512, 1024, 2048, 4096, 8192)
"""The grid of the fit, evenly spaced in logarithms: batch 8 to 256, context 256 to 8,192 tokens."""

ONE_FIT_MEAN_ERROR = 0.05
"""Mean relative error up to which one affine step stands for a whole replica. Dense models stay below 4.2 %."""

AROUND_BATCHES = tuple(2 ** (quarter / 4) for quarter in range(41))
"""Batches of the fits around a promise: 1 to 1,024, four to each doubling."""

OPERATED_BELOW = 1.6
"""The p95 of the token gap over its mean where a replica is operated: 1.2 to 1.7 for chat, more for code."""

AROUND_WIDTH, AROUND_REACH = 0.1, 0.3
"""Steps that count, in logarithms: one standard deviation, and how far the worst error is looked for (35 %)."""

PREFILL_CHUNKS_TOKENS = (1024, 2048, 4096, 8192)
"""Chunks at which the marginal cost of a prompt token is taken; the budget itself is added."""

ATTENTION_CHUNKS_TOKENS = (64, 256, 1024, 2048, 4096, 8192)
ATTENTION_CACHED_TOKENS = (0, 1024, 4096, 16384, 65536)
"""The grid on which the attention of a chunk is fitted."""

PREFILL_DECODE_BATCH = 48
"""Sequences that decode beside the chunk (fitted in the simulation that the queueing forms come from)."""


@dataclass(frozen=True)
class AffineFit:
    """step(b, kv) = alpha + beta b + gamma kv for b sequences with kv resident tokens; relative errors."""

    alpha_s: float
    beta_s: float
    gamma_s_per_token: float
    mean_error: float
    max_error: float


@dataclass(frozen=True)
class PrefillCost:
    """What a prompt adds to the steps it rides on: s(new, cached) = sigma * new + attention(new, cached)."""

    sigma_s_per_token: float
    attention: PrefillAttention

    def seconds(self, new_tokens: float, cached_tokens: float = 0.0) -> float:
        """s of one prompt, in seconds; with prefix hits only the new tokens count."""
        attention_s = self.attention.seconds(new_tokens, cached_tokens)
        return self.sigma_s_per_token * new_tokens + float(attention_s)


def affine_fit(step: StepModel, speculation: Speculation = NO_SPECULATION) -> AffineFit:
    """Fit the affine step to a provider by least squares of the relative error, with no coefficient below 0.

    minimize sum ((alpha + beta b + gamma b S) / step(b, S) - 1)^2 over the grid of batches b and contexts S.
    """
    batch, context = (
        axis.ravel()
        for axis in np.meshgrid(
            np.array(FIT_BATCHES, dtype=np.float64),
            np.array(FIT_CONTEXTS_TOKENS, dtype=np.float64),
            indexing="ij",
        )
    )
    measured = speculation.step_s(step, batch, context)
    features = np.stack([np.ones_like(batch), batch, batch * context], axis=1) / measured[:, None]
    coefficients = _nonnegative_least_squares(features, np.ones_like(batch))
    errors = np.abs(features @ coefficients - 1)
    alpha, beta, gamma = (float(value) for value in coefficients)
    return AffineFit(alpha, beta, gamma, float(errors.mean()), float(errors.max()))


@dataclass(frozen=True, eq=False)
class StepGrid:
    """Steps of a replica in seconds for batches of sequences of a mean context, point by point."""

    batch: FloatArray
    context: FloatArray
    seconds: FloatArray


def step_grid(step: StepModel, speculation: Speculation, contexts_tokens: Sequence[float]) -> StepGrid:
    """Steps at every batch on offer and at the contexts given."""
    axes = np.meshgrid(np.array(AROUND_BATCHES, float), np.array(contexts_tokens, float), indexing="ij")
    batch, context = (axis.ravel() for axis in axes)
    return StepGrid(batch, context, np.asarray(speculation.step_s(step, batch, context)))


@lru_cache(maxsize=8192)
def fit_around(grid: StepGrid, tpot_s: float) -> AffineFit | None:
    """The affine step near an operating promise, where one fit for all batches misses it; None: none with alpha > 0.

    Experts that are read once for all tokens of a batch, windows and captured graphs bend the step. Operated at a
    promise T, a replica's steps take about T / 1.6, so points count by their distance from there, less that of the
    nearest one: minimize sum w ((alpha + beta b + gamma b S) / step(b, S) - 1)^2, w = exp(-(d / 0.1)^2 / 2) with
    d = |ln(1.6 step / T)|. That is a tangent: where experts make the step concave it lies above the step elsewhere, so
    a lighter load is predicted too slow, never too fast. The worst error is over steps with d up to 0.3.
    """
    distance = np.abs(np.log(OPERATED_BELOW * grid.seconds / tpot_s))
    distance -= distance.min()
    weight = np.exp(-((distance / AROUND_WIDTH) ** 2) / 2)
    features = np.stack([np.ones_like(grid.batch), grid.batch, grid.batch * grid.context], axis=1)
    relative = features / grid.seconds[:, None]
    root = np.sqrt(weight)
    coefficients = _nonnegative_least_squares(relative * root[:, None], root)
    if coefficients[0] <= 0:
        return None
    errors = np.abs(relative @ coefficients - 1)
    worst = float(errors[distance <= AROUND_REACH].max())
    alpha, beta, gamma = (float(value) for value in coefficients)
    return AffineFit(alpha, beta, gamma, float(weight @ errors / weight.sum()), worst)


def prefill_cost(step: StepModel, max_num_batched_tokens: int) -> PrefillCost:
    """Marginal cost of prompt tokens beside a decode batch.

    sigma = max over chunks c of (STEP(48 + c) - STEP(48)) / c without attention, c in 1Ki, 2Ki, 4Ki, 8Ki up
    to the budget, and the budget. A solo prefill would be charged for the weight reads that a decode step
    makes anyway.
    """
    budget = max_num_batched_tokens
    sizes = sorted({c for c in PREFILL_CHUNKS_TOKENS if c <= budget} | {budget})
    chunks = np.array([0, *sizes], dtype=np.float64)
    parts = step.breakdown(PREFILL_DECODE_BATCH, FIT_CONTEXTS_TOKENS[0], chunks)
    seconds = sum((times for part, times in parts.items() if part != "attention"), start=np.zeros_like(chunks))
    marginal = (seconds[1:] - seconds[0]) / chunks[1:]
    attention, linear_s_per_token = prefill_attention(step)
    return PrefillCost(float(marginal.max()) + linear_s_per_token, attention)


def prefill_attention(step: StepModel) -> tuple[PrefillAttention, float]:
    """Attention of c new tokens on p cached in closed form, and the seconds a new token costs whatever its context.

    minimize sum ((t0 + k (c p + c^2 / 2) (1 + r / (p + c)) + l c) / attention(c, p) - 1)^2, no coefficient below 0.
    The linear term is of windows and recurrent layers, whose work does not grow with the context.
    """
    chunk, cached = (
        axis.ravel()
        for axis in np.meshgrid(
            np.array(ATTENTION_CHUNKS_TOKENS, dtype=np.float64),
            np.array(ATTENTION_CACHED_TOKENS, dtype=np.float64),
            indexing="ij",
        )
    )
    attention = step.breakdown(0, 0, chunk, cached).get("attention")
    if attention is None or not attention.all():
        return PrefillAttention(0.0, 0.0, 0.0), 0.0
    pairs = chunk * cached + chunk * chunk / 2
    features = np.stack([np.ones_like(chunk), pairs, pairs / (chunk + cached), chunk], axis=1) / attention[:, None]
    fixed, square, ramp, linear = (float(each) for each in _nonnegative_least_squares(features, np.ones_like(chunk)))
    return PrefillAttention(fixed, square, ramp / square if square else 0.0), linear + (0.0 if square else ramp)


def _nonnegative_least_squares(features: FloatArray, target: FloatArray) -> FloatArray:
    """Exact for few columns: the best nonnegative fit over every set of columns that may be above 0."""
    columns = features.shape[1]
    best, best_error = np.zeros(columns), float(target @ target)
    for count in range(columns, 0, -1):
        for chosen in combinations(range(columns), count):
            candidate = np.zeros(columns)
            scale = np.linalg.norm(features[:, chosen], axis=0)
            solution = np.linalg.lstsq(features[:, chosen] / scale, target, rcond=None)[0]
            candidate[list(chosen)] = solution / scale
            error = float(((features @ candidate - target) ** 2).sum())
            if candidate.min() >= 0 and error < best_error:
                best, best_error = candidate, error
        if count == columns and best.any():
            return best
    return best
