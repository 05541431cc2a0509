"""What a trace says about its traffic, by definitions that anyone can compute again.

All figures are over the rows that were read. Times are seconds from the first arrival.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.traffic.trace import PrefixBlocks, Trace

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

WINDOWS_S = {"10s": 10.0, "1min": 60.0, "10min": 600.0}

SHORT_ANSWER_S = 5.0
"""Where the mean answer lasts less, a minute smooths away bursts that the fleet has to carry: the window is 10s."""

SAMPLE_STEP_S = 1.0
"""The 99 % point of what is in flight is over one look a second."""


@dataclass(frozen=True)
class Moments:
    """Mean, percentiles (linear between order statistics) and maximum of a length in tokens."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: int


@dataclass(frozen=True)
class PrefixShare:
    """Share of all prompt tokens that stand in leading blocks that were seen before.

    `infinite`: at any earlier time; `ttl`: used at most `ttl_s` ago. `working_set_tokens`: the most tokens of blocks
    that were between their first and their last use at one time, which a cache has to hold for every such hit.
    """

    infinite: float
    ttl: float
    ttl_s: float
    working_set_tokens: int


@dataclass(frozen=True)
class InFlight:
    """KV tokens of requests that decode one token every `tpot_s` from their arrival on, over the trace's time."""

    tpot_s: float
    mean: float
    p99: float
    max: float


@dataclass(frozen=True)
class TraceSummary:
    """The figures of a trace. None where the trace cannot say: rates of one moment, windows longer than the trace."""

    requests: int
    duration_s: float
    mean_rps: float | None
    peak_rps: dict[str, float | None]
    recommended_window: str
    interarrival_cv: float | None
    input_tokens: Moments
    output_tokens: Moments
    correlation: float | None
    prefix_share: PrefixShare | None
    in_flight_kv_tokens: InFlight

    @property
    def peak(self) -> float | None:
        """The highest rate over the recommended window."""
        return self.peak_rps[self.recommended_window]


def summarize(trace: Trace, *, tpot_s: float = 0.05, ttl_s: float = 600.0) -> TraceSummary:
    """All figures of a trace."""
    duration_s = trace.duration_s
    mean_output = float(trace.output_tokens.mean())
    return TraceSummary(
        requests=trace.requests,
        duration_s=duration_s,
        mean_rps=trace.requests / duration_s if duration_s > 0 else None,
        peak_rps={
            name: busiest(trace.arrival_s, window_s) / window_s if window_s <= duration_s else None
            for name, window_s in WINDOWS_S.items()
        },
        recommended_window=recommended_window(mean_output, tpot_s, duration_s),
        interarrival_cv=_variation(np.diff(trace.arrival_s)),
        input_tokens=moments(trace.input_tokens),
        output_tokens=moments(trace.output_tokens),
        correlation=_correlation(trace.input_tokens, trace.output_tokens),
        prefix_share=prefix_share(trace, ttl_s) if trace.blocks is not None else None,
        in_flight_kv_tokens=in_flight(trace, tpot_s),
    )


def busiest(arrival_s: FloatArray, window_s: float) -> int:
    """The most arrivals in any half-open window [t, t + window) of this length.

    >>> busiest(np.array([0.0, 4.0, 9.0, 10.0, 30.0]), 10.0)
    3
    """
    after = np.searchsorted(arrival_s, arrival_s + window_s, side="left")
    return int((after - np.arange(len(arrival_s))).max())


def recommended_window(mean_output_tokens: float, tpot_s: float, duration_s: float) -> str:
    """One minute, or ten seconds where the mean answer lasts less than five.

    Shorter traces than a minute have no minute; they are taken by ten seconds.

    >>> recommended_window(211, 0.05, 3_500), recommended_window(28, 0.05, 3_500)
    ('1min', '10s')
    """
    return "10s" if mean_output_tokens * tpot_s < SHORT_ANSWER_S or duration_s < WINDOWS_S["1min"] else "1min"


def moments(tokens: IntArray) -> Moments:
    """Mean, percentiles and maximum."""
    p50, p90, p95, p99 = np.percentile(tokens, [50, 90, 95, 99])
    return Moments(float(tokens.mean()), float(p50), float(p90), float(p95), float(p99), int(tokens.max()))


def _variation(gaps_s: FloatArray) -> float | None:
    """Standard deviation over mean of the gaps between arrivals; 1 for a Poisson stream."""
    return float(gaps_s.std() / gaps_s.mean()) if len(gaps_s) and gaps_s.mean() > 0 else None


def _correlation(first: IntArray, second: IntArray) -> float | None:
    """Pearson's coefficient; None where a length never changes."""
    if len(first) < 2 or first.min() == first.max() or second.min() == second.max():
        return None
    return float(np.corrcoef(first, second)[0, 1])


def prefix_share(trace: Trace, ttl_s: float) -> PrefixShare:
    """Shares of prompt tokens that a prefix cache would find, and what it would have to hold.

    A block is found when its hash was used before; a prompt's found tokens are its leading blocks up to the first that
    is not found.
    """
    assert trace.blocks is not None
    blocks, tokens = trace.blocks, int(trace.input_tokens.sum())
    used_s = np.repeat(trace.arrival_s, np.diff(blocks.offsets))
    order = np.argsort(blocks.ids, kind="stable").astype(np.uint32)
    same = np.diff(blocks.ids[order]) == 0
    recent = same & (np.diff(used_s[order]) <= ttl_s)
    shares = []
    for found_again in (same, recent):
        found = np.zeros(len(order), dtype=np.bool_)
        found[order[1:]] = found_again
        shares.append(float(_found_tokens(trace, blocks, found).sum()) / tokens)
    return PrefixShare(shares[0], shares[1], ttl_s, _working_set(blocks, order, same, used_s))


def _found_tokens(trace: Trace, blocks: PrefixBlocks, found: NDArray[np.bool_]) -> IntArray:
    """Prompt tokens in leading found blocks, by request."""
    leading = np.diff(blocks.offsets)
    filled = leading > 0
    if filled.any():
        ends = np.where(found, np.uint32(len(found)), np.arange(len(found), dtype=np.uint32))
        starts = blocks.offsets[:-1][filled]
        leading[filled] = np.minimum(np.minimum.reduceat(ends, starts) - starts, leading[filled])
    found_tokens: IntArray = np.minimum(leading * blocks.block_tokens, trace.input_tokens)
    return found_tokens


def _working_set(blocks: PrefixBlocks, order: NDArray[np.uint32], same: NDArray[np.bool_], used_s: FloatArray) -> int:
    """The most tokens of blocks between their first and last use, counting those that are used again."""
    if not len(order) or not same.any():
        return 0
    starts = np.flatnonzero(np.concatenate([[True], ~same]))
    ends = np.concatenate([starts[1:], [len(order)]]) - 1
    reused = ends > starts
    begin, end = np.sort(used_s[order[starts[reused]]]), np.sort(used_s[order[ends[reused]]])
    held = np.arange(1, len(begin) + 1) - np.searchsorted(end, begin, side="left")
    return int(held.max()) * blocks.block_tokens


def in_flight(trace: Trace, tpot_s: float) -> InFlight:
    """KV tokens held when every request decodes a token each `tpot_s`, its first at once, and leaves with its last.

    A request of prompt P and output O holds P + 1 tokens at its arrival and P + O when it leaves, (O - 1) tpot_s later.
    """
    arrive, prompt = trace.arrival_s, trace.input_tokens.astype(np.float64)
    answer_s = (trace.output_tokens - 1) * tpot_s
    leave = arrive + answer_s
    held = _Held(arrive, prompt, leave, prompt + trace.output_tokens, tpot_s)
    if trace.duration_s <= 0:
        total = float(held.at(np.array([0.0]))[0])
        return InFlight(tpot_s, total, total, total)
    looks = np.arange(0.0, trace.duration_s + SAMPLE_STEP_S / 2, SAMPLE_STEP_S)
    within = np.minimum(answer_s, trace.duration_s - arrive)
    token_s = (prompt + 1) * within + within**2 / (2 * tpot_s)
    ends = leave[leave <= trace.duration_s]
    return InFlight(
        tpot_s=tpot_s,
        mean=float(token_s.sum()) / trace.duration_s,
        p99=float(np.percentile(held.at(looks), 99)),
        max=float(np.concatenate([held.at(arrive), held.at(ends)]).max()),
    )


class _Held:
    """Tokens in flight at any time, from sums over arrivals and departures; a request counts when it leaves, too."""

    def __init__(
        self, arrive_s: FloatArray, prompt: FloatArray, leave_s: FloatArray, whole: FloatArray, tpot_s: float
    ) -> None:
        order = np.argsort(leave_s, kind="stable")
        self._arrive, self._leave, self._tpot_s = arrive_s, leave_s[order], tpot_s
        self._joined = np.concatenate([[0.0], np.cumsum(prompt + 1 - arrive_s / tpot_s)])
        gone = whole - leave_s / tpot_s
        self._left = np.concatenate([[0.0], np.cumsum(gone[order])])

    def at(self, times_s: FloatArray) -> FloatArray:
        """Tokens at these times."""
        joined = np.searchsorted(self._arrive, times_s, side="right")
        left = np.searchsorted(self._leave, times_s, side="left")
        held: FloatArray = self._joined[joined] - self._left[left] + (joined - left) * times_s / self._tpot_s
        return held
