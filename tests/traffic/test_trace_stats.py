"""Tests of a trace's figures against definitions computed request by request."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.traffic.trace import PrefixBlocks, Trace, read_trace
from planner.traffic.trace_stats import WINDOWS_S, busiest, in_flight, prefix_share, summarize

TRACES = Path(__file__).parents[2] / "scenarios" / "traces"


def trace_of(rows: list[tuple[float, int, int]], hashes: list[list[int]] | None = None, block_tokens: int = 4) -> Trace:
    """A trace of rows (arrival, prompt, output), sorted."""
    rows = sorted(rows, key=lambda row: row[0])
    start = rows[0][0]
    blocks = None
    if hashes is not None:
        offsets = np.cumsum([0, *map(len, hashes)])
        blocks = PrefixBlocks(np.array([i for row in hashes for i in row], dtype=np.int64), offsets, block_tokens)
    return Trace(
        path="made.csv",
        format="columns",
        columns="",
        sha256="",
        arrival_s=np.array([row[0] - start for row in rows]),
        input_tokens=np.array([row[1] for row in rows]),
        output_tokens=np.array([row[2] for row in rows]),
        blocks=blocks,
        bad_rows=0,
        bad=(),
    )


ROWS = st.lists(
    st.tuples(st.integers(0, 400).map(lambda tick: tick / 4), st.integers(1, 50), st.integers(1, 60)),
    min_size=2,
    max_size=30,
)


@settings(max_examples=80, deadline=None)
@given(rows=ROWS, window_s=st.sampled_from([0.25, 1.0, 10.0, 60.0]))
def test_the_busiest_window_is_the_busiest_of_all(rows: list[tuple[float, int, int]], window_s: float) -> None:
    """Tests that no window of this length, wherever it starts, holds more arrivals."""
    arrival = trace_of(rows).arrival_s
    starts = np.arange(-4.0, 104.0, 0.125)
    assert busiest(arrival, window_s) == max(int(((arrival >= t) & (arrival < t + window_s)).sum()) for t in starts)


@settings(max_examples=40, deadline=None)
@given(rows=ROWS, tpot_s=st.sampled_from([0.05, 0.25, 1.0]))
def test_tokens_in_flight_add_up_over_time(rows: list[tuple[float, int, int]], tpot_s: float) -> None:
    """Tests mean, 99 % point and maximum in flight against one look a millisecond at every request."""
    trace = trace_of(rows)
    found = in_flight(trace, tpot_s)
    if trace.duration_s == 0:
        assert found.mean == found.max == (trace.input_tokens + 1).sum()
        return
    stop = trace.arrival_s + (trace.output_tokens - 1) * tpot_s

    def held(t: float) -> float:
        here = (trace.arrival_s <= t) & (t <= stop)
        return float((trace.input_tokens + 1 + (t - trace.arrival_s) / tpot_s)[here].sum())

    times = np.linspace(0, trace.duration_s, 8_001)
    looks = np.array([held(t) for t in times[::4]])
    assert found.mean == pytest.approx(float(looks.mean()), rel=0.03, abs=0.5)
    events = [*trace.arrival_s, *stop[stop <= trace.duration_s]]
    assert found.max == pytest.approx(max(held(t) for t in events), rel=1e-6)
    seconds = np.arange(0.0, trace.duration_s + 0.5)
    assert found.p99 == pytest.approx(float(np.percentile([held(t) for t in seconds], 99)), rel=1e-6)


@settings(max_examples=100, deadline=None)
@given(
    gaps=st.lists(st.integers(0, 5), min_size=1, max_size=25),
    prefixes=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=25, max_size=25),
    ttl_s=st.sampled_from([0.0, 2.0, 7.0]),
)
def test_prefix_shares_are_those_of_a_cache(gaps: list[int], prefixes: list[tuple[int, int]], ttl_s: float) -> None:
    """Tests both shares and the working set against a cache that is filled request by request."""
    times = np.cumsum(gaps).astype(float)
    # Conversations: one of four, up to so many blocks of it; the last block is half full.
    hashes = [[100 * kind + i for i in range(count)] for kind, count in prefixes[: len(times)]]
    rows = [(t, max(1, 4 * len(h) - 2), 5) for t, h in zip(times, hashes, strict=True)]
    trace = trace_of(rows, hashes)
    found = {"infinite": 0, "ttl": 0}
    last: dict[int, float] = {}
    for (t, prompt, _), blocks in zip(rows, hashes, strict=True):
        for name, allowed in (("infinite", np.inf), ("ttl", ttl_s)):
            hit = 0
            while hit < len(blocks) and blocks[hit] in last and t - last[blocks[hit]] <= allowed:
                hit += 1
            found[name] += min(4 * hit, prompt)
        last |= dict.fromkeys(blocks, t)
    share = prefix_share(trace, ttl_s)
    total = sum(prompt for _, prompt, _ in rows)
    assert share.infinite == pytest.approx(found["infinite"] / total)
    assert share.ttl == pytest.approx(found["ttl"] / total)
    uses: dict[int, list[float]] = {}
    for t, blocks in zip(times, hashes, strict=True):
        for block in blocks:
            uses.setdefault(block, []).append(t)
    again = [moments for moments in uses.values() if len(moments) > 1]
    held = [sum(moments[0] <= t <= moments[-1] for moments in again) for t in times]
    assert share.working_set_tokens == 4 * max(held, default=0)


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("azure_llm_2023_conv.csv.gz", (19_366, 3501.721937, 5.530422, 8.7, 1.094170, 1154.697, 211.126, "1min")),
        ("azure_llm_2023_code.csv.gz", (8_819, 3435.948056, 2.566686, 12.05, 13.151291, 2047.848, 27.8825, "10s")),
    ],
)
def test_the_azure_traces_have_their_known_figures(name: str, facts: tuple[float | str, ...]) -> None:
    """Tests the figures of both committed traces; their authors publish the same means."""
    summary = summarize(read_trace(TRACES / name))
    mine = (
        summary.requests,
        summary.duration_s,
        summary.mean_rps,
        summary.peak_rps["1min"],
        summary.interarrival_cv,
        summary.input_tokens.mean,
        summary.output_tokens.mean,
    )
    assert mine == pytest.approx(facts[:-1], rel=1e-5)
    assert summary.recommended_window == facts[-1]


def test_a_trace_of_one_moment_has_no_rates() -> None:
    """Tests that figures that need time or variety are missing, not invented."""
    summary = summarize(trace_of([(5.0, 10, 3), (5.0, 10, 3)]))
    assert summary.mean_rps is None and summary.interarrival_cv is None and summary.correlation is None
    assert summary.peak_rps == dict.fromkeys(WINDOWS_S)
    assert summary.recommended_window == "10s"
