"""Statistics of paired windows: the windows are the sample, the tokens inside a window are not independent.

A window gives one number: the mean difference of negative log likelihood (nats a token) between compressed
and 16-bit KV on the very same tokens. Perplexity grows by exp(difference) - 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

RESAMPLES = 10_000
"""Bootstrap resamples: the ends of a 95 % interval then vary by about 1 % of its width between seeds."""

CONFIDENCE = 0.95


@dataclass(frozen=True)
class PplDelta:
    """Perplexity increase over 16-bit KV in percent: over all windows, its 95 % interval, the worst window."""

    mean_pct: float
    ci95_low_pct: float
    ci95_high_pct: float
    worst_pct: float
    windows: int


def ppl_increase_pct(nll_difference: float) -> float:
    """Growth of perplexity in percent from a difference of mean NLL in nats: 100 * (exp(d) - 1).

    >>> round(ppl_increase_pct(math.log(1.026)), 6)
    2.6
    """
    return 100.0 * math.expm1(nll_difference)


def bootstrap_interval(values: Sequence[float], seed: int) -> tuple[float, float]:
    """95 % percentile interval of the mean, by resampling the values with replacement.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    import numpy as np

    if not values:
        raise ValueError("an interval needs at least one window")
    sample = np.asarray(values, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(0, len(sample), size=(RESAMPLES, len(sample)))
    tail = (1.0 - CONFIDENCE) / 2
    low, high = np.quantile(sample[draws].mean(axis=1), [tail, 1.0 - tail])
    return float(low), float(high)


def summarize(nll_differences: Sequence[float], seed: int) -> PplDelta:
    """Perplexity increase over paired windows.

    The interval is taken on the NLL difference and then carried through exp, which keeps its order.
    """
    low, high = bootstrap_interval(nll_differences, seed)
    return PplDelta(
        mean_pct=ppl_increase_pct(math.fsum(nll_differences) / len(nll_differences)),
        ci95_low_pct=ppl_increase_pct(low),
        ci95_high_pct=ppl_increase_pct(high),
        worst_pct=ppl_increase_pct(max(nll_differences)),
        windows=len(nll_differences),
    )
