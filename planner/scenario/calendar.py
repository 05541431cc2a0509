"""The week of a calendar: texts like `Mon-Fri 08:00-20:00` as spans of minutes, what they miss, and when they change.

A week has 10,080 minutes from Monday 00:00, in the calendar's own time zone. A month is 730 h of such weeks, so the
hours of a period are exact and the same every month; the two hours a year that summer time moves are not counted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction

from planner.units import quote

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES
REST = "rest"
"""The period that takes every minute that no other one names."""

MAX_PERIOD_CHARS = 500

Span = tuple[int, int]
"""Minutes of the week: from the first, up to but without the second."""

_PART = re.compile(r"([A-Z][a-z]{2})(?:-([A-Z][a-z]{2}))? ([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})")


def parse_spans(text: str) -> tuple[Span, ...]:
    """The spans of a period, sorted; empty for `rest`. A span that ends at or before its start ends on the next day.

    >>> parse_spans("Sun 22:00-06:00")
    ((0, 360), (9960, 10080))

    Raises:
        ValueError: what is wrong and what to write.
    """
    if text == REST:
        return ()
    spans: list[Span] = []
    if len(text) <= MAX_PERIOD_CHARS:
        for part in text.split(","):
            spans += _part(part.strip())
    if not spans:
        raise ValueError(_why_not(text))
    return merged(spans)


def _part(text: str) -> list[Span]:
    match = _PART.fullmatch(text)
    if not match or match[1] not in DAYS or (match[2] or match[1]) not in DAYS:
        raise ValueError(_why_not(text))
    first, last = DAYS.index(match[1]), DAYS.index(match[2] or match[1])
    start, end = (60 * int(match[i]) + int(match[i + 1]) for i in (3, 5))
    if start >= DAY_MINUTES or end > DAY_MINUTES or int(match[4]) > 59 or int(match[6]) > 59:
        raise ValueError(f"{quote(text)} has a time that no day has; write 00:00 to 24:00")
    length = end - start if end > start else end - start + DAY_MINUTES
    spans = []
    for day in range(first, first + (last - first) % 7 + 1):
        at = (day % 7) * DAY_MINUTES + start
        spans.append((at, min(at + length, WEEK_MINUTES)))
        if at + length > WEEK_MINUTES:
            spans.append((0, at + length - WEEK_MINUTES))
    return spans


def parse_time_of_day(text: str) -> int:
    """The minute of the day.

    >>> parse_time_of_day("20:30")
    1230

    Raises:
        ValueError: what is wrong and what to write.
    """
    match = re.fullmatch(r"([01][0-9]|2[0-3]):([0-5][0-9])", text)
    if not match:
        raise ValueError(f"{quote(text)} is not a time of the day; write it like 20:00")
    return 60 * int(match[1]) + int(match[2])


def _why_not(text: str) -> str:
    return f"{quote(text)} is not a part of the week; write it like Mon-Fri 08:00-20:00, or {REST} for all other hours"


def merged(spans: Sequence[Span]) -> tuple[Span, ...]:
    """The same minutes as sorted spans that do not touch."""
    result: list[Span] = []
    for start, end in sorted(spans):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return tuple(result)


def missing(spans: Sequence[Span]) -> tuple[Span, ...]:
    """The minutes of the week that spans leave out.

    >>> missing([(0, 600), (700, 10_080)])
    ((600, 700),)
    """
    edges = [0, *(minute for span in merged(spans) for minute in span), WEEK_MINUTES]
    return tuple((a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b)


def shared(one: Sequence[Span], other: Sequence[Span]) -> tuple[Span, ...]:
    """The minutes that two periods both name."""
    cuts = [(max(a, c), min(b, d)) for a, b in one for c, d in other]
    return merged([(start, end) for start, end in cuts if start < end])


def changes(periods: Mapping[str, Sequence[Span]]) -> dict[tuple[str, str], int]:
    """How often a week goes over from one period to another, by (from, to).

    >>> changes({"day": [(480, 1200)], "night": [(0, 480), (1200, 10_080)]})
    {('night', 'day'): 1, ('day', 'night'): 1}
    """
    line = sorted((start, name) for name, spans in periods.items() for start, _ in spans)
    counts: dict[tuple[str, str], int] = {}
    for (_, before), (_, after) in zip([line[-1], *line], line, strict=False):
        if before != after:
            counts[before, after] = counts.get((before, after), 0) + 1
    return counts


def share_of_week(spans: Sequence[Span]) -> Fraction:
    """The part of all hours that spans take.

    >>> share_of_week([(0, 5_040)])
    Fraction(1, 2)
    """
    return Fraction(sum(end - start for start, end in spans), WEEK_MINUTES)


def span_text(span: Span) -> str:
    """A span in words.

    >>> span_text((480, 1_200)), span_text((0, 10_080))
    ('Mon 08:00-20:00', 'Mon 00:00-Sun 24:00')
    """
    start, end = span
    last = (end - 1) // DAY_MINUTES
    day = "" if last == start // DAY_MINUTES else f"{DAYS[last]} "
    minute = end - last * DAY_MINUTES
    return f"{DAYS[start // DAY_MINUTES]} {_clock(start % DAY_MINUTES)}-{day}{_clock(minute)}"


def written(spans: Sequence[Span]) -> str:
    """Spans as the language writes them, day by day.

    >>> written([(480, 1_200), (1_400, 1_500)])
    'Mon 08:00-20:00, Mon 23:20-24:00, Tue 00:00-01:00'
    """
    parts = []
    for start, end in spans:
        while start < end:
            stop = min(end, (start // DAY_MINUTES + 1) * DAY_MINUTES)
            parts.append(span_text((start, stop)))
            start = stop
    return ", ".join(parts)


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"
