"""When a daily batch may run: the windows that each day's requests have, and how fast a period may work them off.

A batch of R requests a day is done when every window from its arrival, `finish_within` long, has room for all of R:

    for every window w: sum over periods p of rate[p] * hours of p within w >= R

Where `arrives` says when the day's requests are there, there are seven windows, one a day. Otherwise they may come at
any time: the sum changes linearly while a window slides, so it is least where the window starts or ends with a period,
and only those windows count. Windows that ask less than another in every period fall away. No day's batch waits for
another: `finish_within` is a day at most.

A period alone could carry the batch at R over its shortest part of a window, so no plan needs it faster: that is its
*full pace*, and what of it waits is the decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from planner.scenario.calendar import DAY_MINUTES, WEEK_MINUTES, Span
from planner.scenario.traffic import TrafficClass
from planner.scenario.types import Calendar

MINUTE_US = 60_000_000
SECONDS_PER_DAY = 86_400


@dataclass(frozen=True)
class Batch:
    """A batch by period, in the order of the calendar: full pace over the rate of an even day, and the minutes of every
    window that counts."""

    paces: tuple[Fraction, ...]
    windows: tuple[tuple[Fraction, ...], ...]

    @property
    def waits(self) -> bool:
        """Whether anything is left to decide."""
        return any(sum(minutes > 0 for minutes in window) > 1 for window in self.windows)

    def slack(self) -> tuple[tuple[tuple[Fraction, ...], Fraction], ...]:
        """(amount by period, most) of each window: the sum of amount * waiting part of the full pace is at most so
        much."""
        rows = []
        for window in self.windows:
            done = [Fraction(pace * minutes, DAY_MINUTES) for pace, minutes in zip(self.paces, window, strict=True)]
            rows.append((tuple(done), sum(done, Fraction(0)) - 1))
        return tuple(rows)


def batch_of(traffic: TrafficClass, calendar: Calendar | None) -> Batch | None:
    """A daily batch in a calendar; None for other classes.

    >>> from planner.scenario.types import Slo
    >>> calendar = Calendar("UTC", (("day", ((480, 1_200),)), ("night", ((0, 480), (1_200, 10_080)))))
    >>> slo = Slo(None, None, 86_400_000_000)
    >>> batch = batch_of(TrafficClass("k", "m", Fraction(1), Fraction(1), slo=slo), calendar)
    >>> [str(pace) for pace in batch.paces], [[int(minutes) for minutes in window] for window in batch.windows]
    (['2', '2'], [[0, 1440], [720, 720]])
    """
    if calendar is None or traffic.slo.finish_within_us is None:
        return None
    length = Fraction(traffic.slo.finish_within_us, MINUTE_US)
    spans = [own for _, own in calendar.periods]
    found = {tuple(_within(own, start, length) for own in spans) for start in _starts(traffic, spans, length)}
    windows = tuple(
        sorted(w for w in found if not any(v != w and all(a <= b for a, b in zip(v, w, strict=True)) for v in found))
    )
    paces = []
    for p in range(len(spans)):
        shortest = min((window[p] for window in windows if window[p]), default=None)
        paces.append(Fraction(0) if shortest is None else DAY_MINUTES / shortest)
    return Batch(tuple(paces), windows)


def _starts(traffic: TrafficClass, spans: list[tuple[Span, ...]], length: Fraction) -> set[Fraction]:
    """Minutes of the week at which the windows begin that may ask most."""
    if traffic.arrives_minute is not None:
        return {Fraction(day * DAY_MINUTES + traffic.arrives_minute) for day in range(7)}
    line = sorted((start, p) for p, own in enumerate(spans) for start, _ in own)
    edges = [start for (_, before), (start, p) in zip([line[-1], *line], line, strict=False) if p != before] or [0]
    return {Fraction(start) % WEEK_MINUTES for edge in edges for start in (edge, edge - length)}


def _within(spans: tuple[Span, ...], start: Fraction, length: Fraction) -> Fraction:
    """Minutes of a period within a window that may go over the end of the week."""
    return sum(
        (
            max(Fraction(0), min(Fraction(end + turn), start + length) - max(Fraction(begin + turn), start))
            for begin, end in spans
            for turn in (0, WEEK_MINUTES)
        ),
        Fraction(0),
    )
