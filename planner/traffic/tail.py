"""Longer long prompts: what if the tail of the lengths is heavier than was written."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from statistics import NormalDist

from planner.units import PPM

FULL_PPM = 990_000
"""From p99 on prompts grow by the whole share."""


def stretched(prompts: Sequence[tuple[int, int]], tail_ppm: int) -> tuple[tuple[int, int], ...]:
    """Prompts (tokens, weight) with those above the median longer: p99 and the maximum by `tail_ppm`, the median by 0.

    ln(tokens) grows by ln(1 + tail) * min(1, z / z99), z the normal quantile of the middle of a prompt's part of the
    distribution: what is piecewise linear over z stays so. Order is kept, and no two lengths become one.

    >>> stretched(((900, 500_000), (2_000, 480_000), (9_000, 20_000)), 300_000)
    ((900, 500000), (2151, 480000), (11700, 20000))
    """
    factors = _factors([weight for _, weight in prompts], 1 + tail_ppm / PPM)
    return tuple((round(tokens * factor), weight) for (tokens, weight), factor in zip(prompts, factors, strict=True))


def _factors(weights: Sequence[int], full: float) -> list[float]:
    """What each prompt length is multiplied with, short to long: never less than for a shorter one."""
    normal, total = NormalDist(), sum(weights)
    z99 = normal.inv_cdf(FULL_PPM / PPM)
    middles = ((end - weight / 2) / total for end, weight in zip(accumulate(weights), weights, strict=True))
    return [full ** min(1.0, max(0.0, normal.inv_cdf(middle)) / z99) for middle in middles]
