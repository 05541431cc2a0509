"""Tests of the bootstrap over windows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.compression.statistics import bootstrap_interval, ppl_increase_pct, summarize


def test_perplexity_grows_by_the_exponential() -> None:
    """Tests ln 2 nats = twice the perplexity, and 0 = none."""
    assert ppl_increase_pct(math.log(2)) == pytest.approx(100)
    assert ppl_increase_pct(0.0) == 0.0


def test_the_interval_is_the_normal_one_for_many_windows() -> None:
    """Tests the bootstrap against mean +- 1.96 s / sqrt(n), its limit by the central limit theorem."""
    sample = np.random.default_rng(3).normal(0.05, 0.02, 400).tolist()
    low, high = bootstrap_interval(sample, 1)
    half = 1.96 * np.std(sample) / 20
    assert (low, high) == pytest.approx((np.mean(sample) - half, np.mean(sample) + half), abs=0.1 * half)


def test_the_seed_decides() -> None:
    """Tests that the same seed repeats and another differs."""
    sample = [0.1, 0.4, 0.2, 0.9]
    assert bootstrap_interval(sample, 1) == bootstrap_interval(sample, 1)
    assert bootstrap_interval(sample, 1) != bootstrap_interval([*sample, 0.3], 1)


def test_no_windows_no_interval() -> None:
    """Tests that an empty sample is refused."""
    with pytest.raises(ValueError, match="at least one window"):
        bootstrap_interval([], 1)


@given(st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=20))
def test_the_interval_lies_within_the_windows(differences: list[float]) -> None:
    """Tests smallest <= low <= high <= largest, the mean inside the range, and the worst window."""
    found = summarize(differences, 7)
    near = 1e-9
    assert ppl_increase_pct(min(differences)) <= found.ci95_low_pct + near
    assert found.ci95_low_pct <= found.ci95_high_pct + near
    assert found.ci95_high_pct <= found.worst_pct + near
    assert found.mean_pct <= found.worst_pct + near
    assert found.worst_pct == ppl_increase_pct(max(differences))
