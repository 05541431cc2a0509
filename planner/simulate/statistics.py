"""Percentiles with honest intervals: consecutive requests are alike, so batches of them are what is independent."""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from planner.simulate.types import Percentiles

FloatArray = NDArray[np.float64]

WINDOW_S = 600.0
"""Promises are of the worst ten minutes."""

WINDOW_STEP_S = 60.0

LEAST_IN_WINDOW = 20
"""A window with fewer requests has no 95 % point to speak of; it is passed over where another one has more."""

BATCHES = 20
T_975_19 = 2.093
"""97.5 % point of Student's law with 19 degrees of freedom."""


def worst_window(arrival_s: FloatArray, values: FloatArray, start_s: float) -> Percentiles | None:
    """Percentiles over the ten minutes, beginning at any full minute, in which the 95 % point is highest.

    Of equal ones the highest mean counts. A stream that is shorter is taken whole. The interval of p95 is where 95 %
    and the error of the share of requests below p95, either way, point to; the error is from the means of 20 batches.
    """
    order = np.argsort(arrival_s, kind="stable")
    times, values = arrival_s[order], values[order]
    times, values = times[times >= start_s], values[times >= start_s]
    if not len(values):
        return None
    found: list[tuple[float, float, FloatArray]] = []
    begin = start_s
    while True:
        low, high = np.searchsorted(times, [begin, begin + WINDOW_S])
        if high - low >= min(LEAST_IN_WINDOW, len(values)):
            inside = values[low:high]
            found.append((float(np.percentile(inside, 95)), begin, inside))
        if begin + WINDOW_S >= times[-1]:
            break
        begin += WINDOW_STEP_S
    if not found:
        found.append((float(np.percentile(values, 95)), start_s, values))
    p95, begin, inside = max(found, key=lambda one: (one[0], float(one[2].mean()), -one[1]))
    p50, p99 = (float(point) for point in np.percentile(inside, (50, 99)))
    low_p95, high_p95 = _interval(inside, p95)
    return Percentiles(p50, p95, p99, low_p95, high_p95, begin, len(inside))


def _interval(values: FloatArray, p95: float) -> tuple[float, float]:
    if len(values) < 2 * BATCHES:
        return float(values.min()), float(values.max())
    half = 100 * share_error(values <= p95)
    low, high = np.percentile(values, (max(0.0, 95 - half), min(100.0, 95 + half)))
    return float(low), float(high)


def share_error(holds: NDArray[np.bool_]) -> float:
    """Half width at 95 % of the share of requests for which something holds, from the means of 20 batches."""
    if len(holds) < 2 * BATCHES:
        return 1.0
    batches = np.array([batch.mean() for batch in np.array_split(holds.astype(np.float64), BATCHES)])
    return T_975_19 * float(batches.std(ddof=1)) / sqrt(BATCHES)
