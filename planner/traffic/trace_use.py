"""A trace as a class uses it: the part that counts, its rates, and its lengths."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from planner.scenario.traffic import TraceFacts, TraceUse
from planner.traffic.joint import pair_texts
from planner.traffic.trace import PrefixBlocks, Trace
from planner.traffic.trace_stats import busiest, prefix_share
from planner.units import MICRO, PPM

PREFIX_TTL_S = 600.0
"""How long a block counts as kept after its last use, where the hashes of a trace say what is reusable."""


def windowed(trace: Trace, use: TraceUse) -> Trace | str:
    """The requests within the window, in the time of the window; or why there are none."""
    if not use.start_us and use.end_us is None:
        return trace
    start_s = use.start_us / MICRO
    end_s = float("inf") if use.end_us is None else use.end_us / MICRO
    kept = np.flatnonzero((trace.arrival_s >= start_s) & (trace.arrival_s < end_s))
    if not len(kept):
        return f"no request came in its window; the trace lasts {trace.duration_s:,.0f} s"
    first, after = int(kept[0]), int(kept[-1]) + 1
    blocks = None
    if trace.blocks is not None:
        offsets = trace.blocks.offsets[first : after + 1]
        blocks = PrefixBlocks(
            trace.blocks.ids[offsets[0] : offsets[-1]], offsets - offsets[0], trace.blocks.block_tokens
        )
    return Trace(
        path=trace.path,
        format=trace.format,
        columns=trace.columns,
        sha256=trace.sha256,
        arrival_s=trace.arrival_s[first:after] - start_s,
        input_tokens=trace.input_tokens[first:after],
        output_tokens=trace.output_tokens[first:after],
        blocks=blocks,
        bad_rows=trace.bad_rows,
        bad=trace.bad,
    )


def facts_of(whole: Trace, use: TraceUse) -> TraceFacts | str:
    """What a trace says of the part that counts, or why a class cannot be planned from it."""
    trace = windowed(whole, use)
    if isinstance(trace, str):
        return trace
    end_us = use.end_us if use.end_us is not None else round(whole.duration_s * MICRO)
    span_us = min(end_us, round(whole.duration_s * MICRO)) - use.start_us
    if span_us < use.peak_window_us:
        read = f"{span_us / MICRO:,.3g} s of trace are less than its peak_window of {use.peak_window_us / MICRO:,.3g} s"
        return f"{read}; write a shorter peak_window, or a longer trace"
    lengths, rounding = pair_texts(trace.input_tokens, trace.output_tokens)
    prefix = prefix_share(trace, PREFIX_TTL_S) if trace.blocks is not None else None
    return TraceFacts(
        sha256=trace.sha256,
        format=trace.format,
        requests=trace.requests,
        bad_rows=trace.bad_rows,
        span_us=span_us,
        busiest=busiest(trace.arrival_s, use.peak_window_us / MICRO),
        lengths=lengths,
        rounding=rounding,
        reusable_ppm=int(prefix.ttl * PPM) if prefix else 0,
        working_set_tokens=prefix.working_set_tokens if prefix else 0,
    )


def rates_of(use: TraceUse, facts: TraceFacts) -> tuple[Fraction, Fraction]:
    """Peak and mean in requests/s, to a millionth: scale times the busiest window and the whole part.

    The peak is rounded up; the mean is never above it.

    >>> facts = TraceFacts("", "azure", 120, 0, 60_000_000, 7, ())
    >>> rates_of(TraceUse("log.csv", Fraction(5, 2), peak_window_us=3_000_000), facts)
    (Fraction(2916667, 500000), Fraction(5, 1))
    """
    peak = Fraction(-int(-use.scale * facts.busiest * MICRO * MICRO // use.peak_window_us), MICRO)
    mean = Fraction(round(use.scale * facts.requests * MICRO * MICRO / facts.span_us), MICRO)
    return peak, min(peak, max(mean, Fraction(1, MICRO)))
