"""Windows of a daily batch: one period gives the even rate of a class without a calendar, days go over midnight."""

from __future__ import annotations

from fractions import Fraction

import pytest

from planner.candidates.batch import batch_of
from planner.scenario.calendar import WEEK_MINUTES, missing, parse_spans
from planner.scenario.traffic import Slo, TrafficClass
from planner.scenario.types import Calendar

HOUR_US = 3_600_000_000


def nightly(within_h: int, arrives_minute: int | None = None) -> TrafficClass:
    """A daily batch."""
    slo = Slo(None, None, within_h * HOUR_US)
    return TrafficClass("nightly", "m", Fraction(2), Fraction(1), slo=slo, arrives_minute=arrives_minute)


def week(*texts: str) -> Calendar:
    """A calendar of these periods, the last one all other hours."""
    named = [parse_spans(text) for text in texts]
    rest = missing([span for spans in named for span in spans])
    return Calendar("UTC", tuple((f"p{i}", spans) for i, spans in enumerate([*named, rest]) if spans))


@pytest.mark.parametrize("within_h", [1, 6, 24])
@pytest.mark.parametrize("arrives", [None, 1_200])
def test_one_period_leaves_nothing_to_decide(within_h: int, arrives: int | None) -> None:
    """Tests that the full pace is requests / finish_within, and that nothing may wait."""
    batch = batch_of(nightly(within_h, arrives), Calendar("UTC", (("all", ((0, WEEK_MINUTES),)),)))
    assert batch is not None
    assert batch.paces == (Fraction(24, within_h),)
    assert not batch.waits
    assert batch.slack() == (((Fraction(1),), Fraction(0)),)


def test_a_batch_shorter_than_every_period_waits_for_none() -> None:
    """Tests that a window that lies within one period decides, and not one across the end of a period or the week."""
    batch = batch_of(nightly(6), week("Mon-Sun 08:00-20:00"))
    assert batch is not None
    assert (batch.paces, batch.waits) == ((4, 4), False)


def test_windows_start_where_the_batch_arrives() -> None:
    """Tests a batch that arrives two hours before the night: over the week's end too, and at week-ends in the night."""
    batch = batch_of(nightly(6, 18 * 60), week("Mon-Fri 08:00-20:00"))
    assert batch is not None
    assert {tuple(int(m) for m in window) for window in batch.windows} == {(120, 240), (0, 360)}
    assert (batch.paces, batch.waits) == ((12, 6), True)
    batch = batch_of(nightly(6, 20 * 60), week("Mon-Fri 08:00-20:00"))
    assert batch is not None
    assert (batch.paces, batch.waits) == ((0, 4), False)


def test_classes_with_rates_are_no_batches() -> None:
    """Tests that only a promise to finish makes a batch, and only a calendar gives it windows."""
    assert batch_of(TrafficClass("chat", "m", Fraction(1), Fraction(1)), week("Mon-Fri 08:00-20:00")) is None
    assert batch_of(nightly(6), None) is None
