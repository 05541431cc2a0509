"""The simulator against queueing theory where that is exact.

A slot is a server, an answer of n tokens a service of n ms. Services and waits are whole steps of 1 ms; half a step
is allowed for that beside the 99 % interval.
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial, sqrt
from typing import Any

import numpy as np
import pytest

STEP_S = 1e-3
T_99_19 = 2.861
"""99 % point of Student's law with 19 degrees of freedom, two-sided."""

Slots = Callable[..., Any]


def _interval(values: np.ndarray) -> tuple[float, float]:
    """Mean and half width at 99 %, from 20 batches after a tenth of warm-up."""
    batches = np.array([batch.mean() for batch in np.array_split(values[len(values) // 10 :], 20)])
    return float(batches.mean()), T_99_19 * float(batches.std(ddof=1)) / sqrt(len(batches))


def _arrivals(rate: float, count: int, rng: np.random.Generator) -> np.ndarray:
    return np.cumsum(rng.exponential(1 / rate, count))


def _erlang_c(servers: int, offered: float) -> float:
    """Probability of waiting in M/M/c."""
    last = offered**servers / factorial(servers) * servers / (servers - offered)
    return float(last / (sum(offered**k / factorial(k) for k in range(servers)) + last))


@pytest.mark.parametrize(("servers", "load"), [(1, 0.6), (4, 0.8), (16, 0.9)])
def test_waiting_in_mmc(slots: Slots, servers: int, load: float) -> None:
    """Mean wait of M/M/c is C(c, a) / (c mu - lambda), by Erlang."""
    rng = np.random.default_rng(servers)
    mean_tokens, count = 50, 10_000
    service_s = mean_tokens * STEP_S
    rate = load * servers / service_s
    queue = slots(_arrivals(rate, count, rng), rng.geometric(1 / mean_tokens, count), servers)
    expected = _erlang_c(servers, rate * service_s) / (servers / service_s - rate)
    mean, half = _interval(queue.waits_s)
    assert abs(mean - expected) <= half + STEP_S / 2


@pytest.mark.parametrize("load", [0.3, 0.7, 0.85])
def test_waiting_in_md1(slots: Slots, load: float) -> None:
    """Mean wait of M/D/1 is rho S / (2 (1 - rho))."""
    rng = np.random.default_rng(7)
    tokens, count = 40, 10_000
    service_s = tokens * STEP_S
    queue = slots(_arrivals(load / service_s, count, rng), np.full(count, tokens), 1)
    mean, half = _interval(queue.waits_s)
    assert abs(mean - load * service_s / (2 * (1 - load))) <= half + STEP_S / 2


@pytest.mark.parametrize("load", [0.5, 0.75])
def test_waiting_in_mg1(slots: Slots, load: float) -> None:
    """Mean wait of M/G/1 is lambda E[S^2] / (2 (1 - rho)), by Pollaczek and Khinchine: short and long answers."""
    rng = np.random.default_rng(11)
    count = 15_000
    tokens = rng.choice([5, 100], size=count, p=[0.8, 0.2])
    mean_s, square_s2 = 24 * STEP_S, (0.8 * 25 + 0.2 * 10_000) * STEP_S**2
    rate = load / mean_s
    queue = slots(_arrivals(rate, count, rng), tokens, 1)
    mean, half = _interval(queue.waits_s)
    assert abs(mean - rate * square_s2 / (2 * (1 - load))) <= half + STEP_S / 2


def test_little(slots: Slots) -> None:
    """The mean number in the system, counted as the replica counts it, is rate x mean time in the system."""
    rng = np.random.default_rng(3)
    count, servers = 10_000, 8
    arrivals = _arrivals(0.8 * servers / 0.05, count, rng)
    queue = slots(arrivals, rng.geometric(1 / 50, count), servers, sample_s=0.05)
    counted = np.array([running + waiting for _, running, waiting, _ in queue.replicas[0].samples])
    mean, half = _interval(counted.astype(float))
    assert abs(mean - queue.sojourns_s.sum() / arrivals[-1]) <= half
