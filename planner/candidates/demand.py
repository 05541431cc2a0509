"""What traffic asks of a shape: rates that a replica carries within an operating promise, and what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from planner.candidates.holdings import Holdings
from planner.candidates.physics import ShapePhysics
from planner.candidates.types import DemandItem, Setting
from planner.scenario.types import Reserve
from planner.traffic.lengths import served
from planner.traffic.queueing import (
    ReplicaTiming,
    Workload,
    load_of,
    p95_tpot_of,
    p95_ttft_of,
    stack,
    tpot_capacity,
    ttft_capacity,
    workload,
)
from planner.traffic.workload import HeldTokens, retimed, with_axis

FloatArray = NDArray[np.float64]

SEQUENCE_MARGIN = 1.2
"""Running sequences swing above their mean; with the TPOT limit in the formula 1.2 covers it (docs/model.md)."""


def kv_margin(reserve: Reserve) -> float:
    """The larger of the swing factor 1.2 and 1 / (1 - kv_headroom), not their product."""
    return max(SEQUENCE_MARGIN, float(1 / (1 - Fraction(reserve.kv_headroom_ppm, 1_000_000))))


@dataclass(frozen=True)
class Demand:
    """Many (setting, item) pairs on one shape: rates that a replica carries and what they hold.

    Axes: pair, operating TPOT, operating TTFT. `sequences` and `kv_tokens` are for one request/s, with margins.
    """

    capacity_rps: FloatArray
    sequences: FloatArray
    kv_tokens: FloatArray
    idle_tpot_s: FloatArray
    idle_ttft_s: FloatArray


def workloads(
    physics: ShapePhysics,
    pairs: list[tuple[Setting, DemandItem]],
    tpot_ns: Sequence[int],
    reusable_ppm: Sequence[int],
    holdings: Mapping[Setting, Holdings | None],
) -> Workload:
    """Moments of (setting, item) pairs as columns, a row for each operating TPOT where its fit is its own.

    Only pairs of which some prompt fits may be asked; of each, `reusable_ppm` of the prompt tokens are cached.
    """
    work = stack(
        [
            _moments(
                physics.timings[setting.chunk_tokens],
                setting.context_tokens,
                item,
                reusable,
                holdings[setting],
            )
            for (setting, item), reusable in zip(pairs, reusable_ppm, strict=True)
        ]
    )
    if physics.grid is None:
        return work
    fits = [physics.fit_at(promise) for promise in tpot_ns]
    alpha, beta, gamma = (
        np.array([[getattr(fit, name) for fit in fits]]) for name in ("alpha_s", "beta_s", "gamma_s_per_token")
    )
    return retimed(work, alpha, beta, gamma)


def _moments(
    timing: ReplicaTiming, limit: int, item: DemandItem, reusable_ppm: int, holdings: Holdings | None
) -> Workload:
    """Moments of one pair. What a request holds of the pool is not what its steps read: no kernel was measured that
    reads a compressed request faster, and what windows spare is in the fitted step already."""
    part = served(item.lengths, limit, reusable_ppm)
    if holdings is None:
        return workload(part, timing)
    while_prefilling = holdings.prefilling(part.new_tokens + part.cached_tokens, item.lengths, limit)
    return workload(part, timing, HeldTokens(while_prefilling, holdings.decoding(item.lengths, limit)))


def demand(work: Workload, tpot_s: FloatArray, ttft_s: FloatArray, reserve: Reserve) -> Demand:
    """Capacity and holdings of every pair at every operating promise (infinite TTFT: no promise)."""
    by_tpot = tpot_capacity(work, tpot_s[None, :])
    by_ttft = ttft_capacity(with_axis(work), ttft_s[None, None, :])
    rates = np.minimum(by_tpot[:, :, None], by_ttft)
    # Held at the rate that TPOT alone allows: a looser TTFT then never holds more (docs/decisions/0008).
    bounded = np.where(np.asarray(work.decode_steps) > 0, by_tpot, rates.min(axis=2))
    held = load_of(work, tpot_s[None, :], bounded)
    sequences = np.broadcast_to(held.sequences[:, :, None], rates.shape)
    kv_tokens = np.broadcast_to(held.kv_tokens[:, :, None], rates.shape)
    none = np.zeros((rates.shape[0], 1))
    return Demand(
        rates,
        sequences * SEQUENCE_MARGIN,
        kv_tokens * kv_margin(reserve),
        p95_tpot_of(work, none).min(axis=1),
        p95_ttft_of(work, none).min(axis=1),
    )


def predicted(
    timing: ReplicaTiming, item: DemandItem, context_tokens: int, reusable_ppm: int, rate_rps: float
) -> tuple[float, float]:
    """p95 TPOT and TTFT in seconds of one item alone at a rate on one replica."""
    work = workload(served(item.lengths, context_tokens, reusable_ppm), timing)
    return float(p95_tpot_of(work, rate_rps)), float(p95_ttft_of(work, rate_rps))
