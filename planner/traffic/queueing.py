"""What a replica can carry within its promises: closed forms for continuous batching under Poisson arrivals.

The forms were found by comparing candidates with a simulated replica (chunked prefill, paged KV, first come
first served); their constants 2.6 and 0.9 are fitted there, on dense models without prefix hits. Rates are of
requests that the replica accepts, in requests/s, and belong to the busiest window.

    u  = x (E[s] + d)       share of time beyond the fixed part of the steps
    Tm = alpha / (1 - u)    mean token gap
    rp = x E[s]             share of time spent on prompts
    D  = Tm (1 - rp)        decode step
    z  = s + D P / C        a prompt's time at the head of the queue
    r  = x E[z]             its utilization

The functions with `served` and `timing` answer for one band on one candidate, and arrays of rates or limits;
those of a `Workload` do the same for many at once (see `workload.stack`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.catalog.types import Bottleneck
from planner.traffic.lengths import Served
from planner.traffic.workload import (
    BLOCK_SLACK_TOKENS,
    FloatArray,
    Quantity,
    ReplicaTiming,
    Workload,
    stack,
    workload,
)

__all__ = [
    "Capacity",
    "LoadPerRps",
    "ReplicaTiming",
    "Workload",
    "capacity",
    "capacity_of",
    "load_of",
    "load_per_rps",
    "p95_tpot_of",
    "p95_tpot_s",
    "p95_ttft_of",
    "p95_ttft_s",
    "stack",
    "tpot_grid",
    "workload",
]

TPOT_SPREAD = 2.6
"""How many standard deviations of a request's mean token gap the 95 % point lies above its mean (fitted)."""

TTFT_QUANTILE = 0.95

TTFT_CAPACITY_FACTOR = 0.9
"""Part of the rate at which the TTFT form meets its limit that the simulated replica carried (fitted)."""

GRID_RATIO = 1.15
GRID_UNIT_S = 1e-3
"""Operating promises are offered at 1 ms * 1.15^j: absolute, so that a looser promise keeps every choice."""

FREE_TPOT_FACTORS = (1.5, 2.0, 3.0, 5.0, 8.0)
"""Multiples of alpha that are offered where no class of a model has a TPOT promise."""

RELATIVE_TOLERANCE = 1e-12


@dataclass(frozen=True, eq=False)
class Capacity:
    """The rates of one kind of request alone that a replica carries; 0 where a promise fails at every rate.

    `cap_rps` = min(`tpot_rps`, `ttft_rps`), the latter with its factor of 0.9 applied.
    """

    cap_rps: FloatArray
    tpot_rps: FloatArray
    ttft_rps: FloatArray

    @property
    def failed_tpot(self) -> NDArray[np.bool_]:
        """Where no rate keeps the TPOT promise."""
        return np.asarray(self.tpot_rps <= 0)

    @property
    def failed_ttft(self) -> NDArray[np.bool_]:
        """Where no rate keeps the TTFT promise."""
        return np.asarray(self.ttft_rps <= 0)

    def bottleneck(self, *index: int) -> Bottleneck | None:
        """The limit that failed at an index of `cap_rps`; None where the replica carries something."""
        if self.cap_rps[index] > 0:
            return None
        tpot = np.broadcast_to(self.failed_tpot, self.cap_rps.shape)
        return Bottleneck.TPOT if tpot[index] else Bottleneck.TTFT


@dataclass(frozen=True, eq=False)
class LoadPerRps:
    """What one request/s occupies: running sequences and resident KV tokens, before any margin for swings.

    `first_token_s` is E[h], the mean time before the first token at the capacity of the replica.
    """

    sequences: FloatArray
    kv_tokens: FloatArray
    first_token_s: FloatArray


def p95_tpot_s(served: Served, timing: ReplicaTiming, x_rps: Quantity) -> FloatArray:
    """p95 time per output token in seconds at x requests/s of a band; infinite where unstable."""
    return p95_tpot_of(workload(served, timing), x_rps)


def p95_ttft_s(served: Served, timing: ReplicaTiming, x_rps: Quantity) -> FloatArray:
    """p95 time to first token in seconds at x requests/s of a band; infinite where unstable."""
    return p95_ttft_of(workload(served, timing), x_rps)


def capacity(served: Served, timing: ReplicaTiming, tpot_limit_s: Quantity, ttft_limit_s: Quantity) -> Capacity:
    """The rate of a band alone that a replica carries within (T, F); limits broadcast, infinite is none."""
    return capacity_of(workload(served, timing), tpot_limit_s, ttft_limit_s)


def load_per_rps(served: Served, timing: ReplicaTiming, tpot_limit_s: Quantity, cap_rps: Quantity) -> LoadPerRps:
    """Sequences and KV tokens that one request/s of a band holds at operating promise T, at the cap."""
    return load_of(workload(served, timing), tpot_limit_s, cap_rps)


def p95_tpot_of(work: Workload, x_rps: Quantity) -> FloatArray:
    """Tm (1 + 2.6 sqrt(x E[s^2] / ((1-rp)^2 Oh Tm) + eta^2 / (b (1-eta)) + v / Oh)), eta = x d / (1-rp), b = x E[O-1]
    Tm, v = Var[a] / a of the tokens that a step yields (0 without speculation).

    Tm alone where no answer has 16 tokens: the promise is empty there, but the load rows count on it.
    """
    x = np.asarray(x_rps, dtype=np.float64)
    gap, prefill_share = _gap(work, x)
    with np.errstate(divide="ignore", invalid="ignore"):
        eta = x * work.decode_s / (1 - prefill_share)
        spread = work.prefill_s2 * work.inverse_harmonic + work.decode_spread_s2 / (1 - eta)
        variance = work.counted * x * spread / ((1 - prefill_share) ** 2 * gap)
        variance = variance + work.token_spread * work.inverse_harmonic
        p95 = gap * (1 + TPOT_SPREAD * np.sqrt(np.maximum(variance, 0.0)))
    return np.where(np.isfinite(gap) & (eta < 1), p95, np.inf)


def p95_ttft_of(work: Workload, x_rps: Quantity) -> FloatArray:
    """The 95 % point of the gamma law with the mean and variance of waiting + z + D + a residual step.

    W = x E[z^2] / (2 (1-r)); mean = W + E[z] + D + Tm / 2;
    variance = W^2 + x E[z^3] / (3 (1-r)) + Var[z] + Tm^2 / 12.
    """
    from scipy.special import gammaincinv

    stable, mean, variance = _ttft_moments(work, np.asarray(x_rps, dtype=np.float64))
    quantile = gammaincinv(mean**2 / variance, TTFT_QUANTILE) * variance / mean
    return np.where(stable, quantile, np.inf)


def capacity_of(work: Workload, tpot_limit_s: Quantity, ttft_limit_s: Quantity) -> Capacity:
    """min(x at which p95 TPOT = T, 0.9 * x at which p95 TTFT = F), by bisection on the stable rates."""
    tpot, ttft = tpot_capacity(work, tpot_limit_s), ttft_capacity(work, ttft_limit_s)
    return Capacity(np.minimum(tpot, ttft), tpot, ttft)


def tpot_capacity(work: Workload, limit_s: Quantity) -> FloatArray:
    """x at which p95 TPOT = T; without decode steps TPOT bounds nothing but what is stable."""
    limit = np.asarray(limit_s, dtype=np.float64)
    busy = np.asarray(1 / (work.prefill_s + work.decode_s))
    decodes = np.asarray(work.decode_steps) > 0

    def kept(x: FloatArray) -> NDArray[np.bool_]:
        p95 = p95_tpot_of(work, x)
        return np.asarray(np.where(decodes, (p95 <= limit) & np.isfinite(p95), x < busy))

    return _largest(kept, np.broadcast_to(busy, np.broadcast_shapes(busy.shape, limit.shape)))


def ttft_capacity(work: Workload, limit_s: Quantity) -> FloatArray:
    """0.9 * x at which p95 TTFT = F; without a promise the prefill queue must still be stable (r < 1)."""
    limit = np.asarray(limit_s, dtype=np.float64)
    busy = np.asarray(1 / (work.prefill_s + work.decode_s))
    rates = _largest(
        lambda x: _ttft_within(work, x, limit),
        np.broadcast_to(busy, np.broadcast_shapes(busy.shape, limit.shape)),
    )
    return np.asarray(np.where(np.isfinite(limit), TTFT_CAPACITY_FACTOR, 1.0) * rates)


def load_of(work: Workload, tpot_limit_s: Quantity, cap_rps: Quantity) -> LoadPerRps:
    """E[O] T + E[h] sequences and E[O-1] T (m + 8) + E[(P + 8) h] KV tokens for each request/s, without a
    margin.

    h(P) = D max(1, P/C) + s(P) / (1 - rp), at the rate given. T stands for the token gap and not Tm: it carries the
    swing of the load. 8 tokens are half of a KV block.
    """
    tpot = np.asarray(tpot_limit_s, dtype=np.float64)
    gap, prefill_share = _gap(work, np.asarray(cap_rps, dtype=np.float64))
    step = gap * work.tokens_per_step * (1 - prefill_share)
    first_token = step * work.slots + work.prefill_s / (1 - prefill_share)
    first_token_kv = step * work.token_slots + work.token_prefill_s / (1 - prefill_share)
    decoding_kv = work.decode_steps * tpot * (work.resident_tokens + BLOCK_SLACK_TOKENS)
    return LoadPerRps(
        sequences=np.asarray(work.output_tokens * tpot + first_token),
        kv_tokens=np.asarray(decoding_kv + first_token_kv),
        first_token_s=np.asarray(first_token),
    )


def tpot_grid(limit_s: float | None, alpha_s: float) -> tuple[float, ...]:
    """Operating promises to offer under a promise: the absolute grid below it, and the promise itself.

    Without a promise (None): multiples of alpha. The least of those is where the grid starts too: closer to alpha, the
    time of an empty step, a replica carries next to nothing.

    >>> [round(point * 1e3, 3) for point in tpot_grid(0.010, alpha_s=0.005)]
    [8.137, 9.358, 10.0]
    """
    if limit_s is None:
        return tuple(alpha_s * factor for factor in FREE_TPOT_FACTORS)
    points = []
    exponent = 0
    while (point := GRID_UNIT_S * GRID_RATIO**exponent) < limit_s:
        if point >= alpha_s * FREE_TPOT_FACTORS[0]:
            points.append(point)
        exponent += 1
    return (*points, limit_s)


def _gap(work: Workload, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Tm, infinite at u >= 1, and rp."""
    prefill_share = x * work.prefill_s
    used = prefill_share + x * work.decode_s
    with np.errstate(divide="ignore"):
        gap = np.where(used < 1, work.alpha_s / (1 - used), np.inf)
    return gap, np.asarray(prefill_share)


def _ttft_moments(work: Workload, x: FloatArray) -> tuple[NDArray[np.bool_], FloatArray, FloatArray]:
    """Whether u < 1 and r < 1; where they are, mean and variance of the time to first token (else 1)."""
    gap, prefill_share = _gap(work, x)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        whole = gap * work.tokens_per_step
        step = whole * (1 - prefill_share)
        z1 = work.prefill_s + step * work.chunks
        z2 = work.prefill_s2 + 2 * step * work.prefill_chunks_s + step**2 * work.chunks2
        z3 = (
            work.prefill_s3
            + 3 * step * work.prefill2_chunks_s2
            + 3 * step**2 * work.prefill_chunks2_s
            + step**3 * work.chunks3
        )
        left = 1 - x * z1
        waiting = x * z2 / (2 * left)
        mean = waiting + z1 + step + whole / 2
        variance = waiting**2 + x * z3 / (3 * left) + np.maximum(z2 - z1**2, 0.0) + whole**2 / 12
    stable = np.isfinite(gap) & (left > 0)
    return stable, np.where(stable, mean, 1.0), np.where(stable, variance, 1.0)


def _ttft_within(work: Workload, x: FloatArray, limit_s: FloatArray) -> NDArray[np.bool_]:
    """Whether p95 TTFT <= F, as P(TTFT <= F) >= 0.95; every stable rate where F is infinite."""
    from scipy.special import gammainc

    stable, mean, variance = _ttft_moments(work, x)
    promised = np.isfinite(limit_s)
    scaled = np.where(promised, limit_s, 0.0) * mean / variance
    within = gammainc(mean**2 / variance, scaled) >= TTFT_QUANTILE
    return np.asarray(stable & (~promised | within), dtype=np.bool_)


def _largest(kept: Callable[[FloatArray], NDArray[np.bool_]], upper: FloatArray) -> FloatArray:
    """The largest rate up to `upper` at which `kept` holds, to 1e-12 relative; 0 where it never does."""
    low, high = np.zeros(upper.shape), np.array(upper, dtype=np.float64)
    possible = kept(low)
    while not bool(np.all(~possible | (high - low <= RELATIVE_TOLERANCE * high))):
        middle = (low + high) / 2
        good = kept(middle)
        low, high = np.where(good, middle, low), np.where(good, high, middle)
    return np.where(possible, low, 0.0)
