"""A trace as an SVG picture: its rate over time, and how its lengths are distributed. Nothing is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from planner.report.svg import document, text
from planner.traffic.trace import Trace
from planner.traffic.trace_stats import WINDOWS_S, TraceSummary

WIDTH, HEIGHT = 860, 640
LEFT, RIGHT = 84, 28
RATE = (96, 300)
SHARES = (392, 570)
"""Top and bottom of the two pictures."""

MOST_BINS = 600
LINES = (("input_tokens", "prompts", "--one"), ("output_tokens", "outputs", "--two"))

FloatArray = NDArray[np.float64]


def trace_svg(trace: Trace, summary: TraceSummary) -> str:
    """A whole SVG document."""
    name = PurePath(trace.path).name
    title = f"{name}: {summary.requests:,} requests"
    parts = [text(LEFT, 30, title, "title"), *_rate_over_time(trace, summary), *_length_shares(trace)]
    return document(WIDTH, HEIGHT, title, parts)


def _rate_over_time(trace: Trace, summary: TraceSummary) -> Iterable[str]:
    """Requests/s in bins of the recommended window (longer where there would be too many), with mean and peak."""
    window_s = WINDOWS_S[summary.recommended_window]
    bin_s = max(window_s / 6, trace.duration_s / MOST_BINS) or 1.0
    bins = max(1, int(np.ceil(trace.duration_s / bin_s)))
    counts = np.histogram(trace.arrival_s, bins=bins, range=(0.0, bins * bin_s))[0]
    rates = counts / bin_s
    most = max(float(rates.max()), summary.peak or 0.0)
    unit, size_s = ("min", 60.0) if trace.duration_s >= 120 else ("s", 1.0)
    yield text(LEFT, 58, f"Requests/s, in bins of {bin_s:.3g} s", "soft")
    yield from _frame(RATE, most, f"time in {unit}", lambda share: f"{share * bins * bin_s / size_s:.3g}")
    corners = [(at / bins, rate) for index, rate in enumerate(rates) for at in (index, index + 1)]
    yield _polyline(RATE, corners, most, "--one")
    for rate, words, color in (
        (summary.mean_rps, "mean", "--soft"),
        (summary.peak, f"busiest {summary.recommended_window}", "--end"),
    ):
        if rate is not None:
            height = _height(RATE, rate, most)
            yield f'  <line x1="{LEFT}" y1="{height}" x2="{WIDTH - RIGHT}" y2="{height}" style="stroke: var({color})"/>'
            yield text(WIDTH - RIGHT, height - 5, f"{words} {rate:.3g}", "soft", "end")


def _length_shares(trace: Trace) -> Iterable[str]:
    """Share of requests up to a length, over tokens in powers of two."""
    longest = max(int(trace.input_tokens.max()), int(trace.output_tokens.max()), 2)
    powers = float(np.log2(longest))
    yield text(LEFT, SHARES[0] - 38, "Share of requests up to so many tokens", "soft")
    yield from _frame(SHARES, 100.0, "tokens", lambda share: f"{2 ** (share * powers):,.0f}")
    for index, (attribute, words, color) in enumerate(LINES):
        values = np.sort(getattr(trace, attribute))
        ranks = np.unique(np.linspace(0, len(values) - 1, MOST_BINS).astype(int))
        points = [(np.log2(max(1, values[rank])) / powers, 100 * (rank + 1) / len(values)) for rank in ranks]
        yield _polyline(SHARES, points, 100.0, color)
        x = LEFT + 16 + 110 * index
        y = HEIGHT - 16
        yield f'  <line class="line" x1="{x}" y1="{y - 4}" x2="{x + 26}" y2="{y - 4}" style="stroke: var({color})"/>'
        yield text(x + 34, y, words)


def _frame(span: tuple[int, int], most: float, axis: str, label: Callable[[float], str]) -> Iterable[str]:
    """Quarter lines with labels on both axes."""
    for quarter in range(5):
        share = quarter / 4
        height = _height(span, most * share, most)
        kind = "axis" if quarter == 0 else "grid"
        yield f'  <line class="{kind}" x1="{LEFT}" y1="{height}" x2="{WIDTH - RIGHT}" y2="{height}"/>'
        yield text(LEFT - 8, height + 4.5, f"{most * share:.3g}", "soft", "end")
        x = LEFT + share * (WIDTH - LEFT - RIGHT)
        yield text(x, span[1] + 20, label(share), "soft", "end" if quarter == 4 else "middle")
    yield text((LEFT + WIDTH - RIGHT) / 2, span[1] + 40, axis, "soft", "middle")


def _polyline(span: tuple[int, int], points: Sequence[tuple[float, float]], most: float, color: str) -> str:
    places = (f"{LEFT + share * (WIDTH - LEFT - RIGHT):.1f},{_height(span, value, most)}" for share, value in points)
    return f'  <polyline class="line" points="{" ".join(places)}" style="stroke: var({color}); stroke-width: 1.5"/>'


def _height(span: tuple[int, int], value: float, most: float) -> float:
    top, bottom = span
    return round(bottom - (value / most if most else 0.0) * (bottom - top), 1)
