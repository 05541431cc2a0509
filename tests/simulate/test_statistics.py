"""Percentiles of the worst ten minutes and their intervals."""

from __future__ import annotations

import numpy as np
import pytest

from planner.simulate.statistics import share_error, worst_window


def test_the_worst_ten_minutes_are_found() -> None:
    """An hour of ones with ten minutes of twos from minute 20 on: the window begins there."""
    times = np.arange(0.0, 3600.0, 1.0)
    values = np.where((times >= 1200) & (times < 1800), 2.0, 1.0)
    found = worst_window(times, values, 0.0)
    assert found is not None
    assert (found.p50, found.p95, found.count) == (2.0, 2.0, 600)
    assert found.from_s == 1200.0


def test_a_short_stream_is_taken_whole_and_warm_up_left_out() -> None:
    """Five minutes, the first of which only fills the fleet."""
    times = np.arange(0.0, 300.0, 1.0)
    values = np.where(times < 60, 100.0, 1.0)
    found = worst_window(times, values, 60.0)
    assert found is not None
    assert (found.p99, found.count) == (1.0, 240)


def test_windows_with_few_requests_are_passed_over() -> None:
    """A slow request alone in its ten minutes is not the p95 of a service."""
    times = np.concatenate([np.arange(0.0, 600.0, 1.0), [3000.0]])
    values = np.concatenate([np.ones(600), [50.0]])
    found = worst_window(times, values, 0.0)
    assert found is not None and found.p95 == 1.0


def test_nothing_to_measure() -> None:
    """No request after the warm-up has no percentiles."""
    assert worst_window(np.array([1.0]), np.array([1.0]), 60.0) is None


def test_intervals_cover_the_truth() -> None:
    """Of 200 samples of 2,000 independent values, some 95 % have the true p95 in their interval."""
    rng = np.random.default_rng(5)
    times = np.linspace(0, 599, 2_000)
    covered = 0
    for _ in range(200):
        found = worst_window(times, rng.exponential(1.0, 2_000), 0.0)
        assert found is not None
        covered += found.p95_low <= -np.log(0.05) <= found.p95_high
    assert 0.9 <= covered / 200 <= 1.0


def test_neighbors_that_are_alike_widen_the_interval() -> None:
    """The same share in long runs is known less well than in a mixture."""
    mixed = np.tile([True, False], 500)
    runs = np.repeat([True, False] * 5, 100)
    assert share_error(runs) > 5 * share_error(mixed) == pytest.approx(0.0)
