"""Properties of longer long prompts: who grows, by how much, and what stays."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from planner.scenario.traffic import Lengths
from planner.traffic.lengths import histogram
from planner.traffic.tail import stretched

HISTOGRAMS = st.lists(
    st.tuples(st.integers(1, 200_000), st.integers(1, 10**6)), min_size=1, max_size=40, unique_by=lambda row: row[0]
).map(lambda rows: tuple(sorted(rows)))
SHARES = st.integers(0, 10**7)


@given(HISTOGRAMS, SHARES)
def test_order_and_weights_stay(prompts: tuple[tuple[int, int], ...], tail_ppm: int) -> None:
    """Tests that lengths stay different and in order, that none shrinks or grows by more than the tail."""
    longer = stretched(prompts, tail_ppm)
    assert [weight for _, weight in longer] == [weight for _, weight in prompts]
    assert all(a < b for (a, _), (b, _) in pairwise(longer))
    for (before, _), (after, _) in zip(prompts, longer, strict=True):
        assert before <= after <= before * (1 + tail_ppm / 10**6) + 0.5 + 1e-6 * before


@given(HISTOGRAMS, SHARES, SHARES)
def test_more_tail_is_never_shorter(prompts: tuple[tuple[int, int], ...], one: int, other: int) -> None:
    """Tests that every prompt grows with the tail."""
    less, more = (stretched(prompts, tail_ppm) for tail_ppm in sorted((one, other)))
    assert all(a <= b for (a, _), (b, _) in zip(less, more, strict=True))


def test_the_points_that_define_it() -> None:
    """Tests the median as it was, everything from p99 on longer by the whole share, p95 by (z95 / z99) of its log."""
    prompts = histogram(Lengths(((500_000, 900), (990_000, 12_000)), 30_000))
    after = stretched(prompts, 300_000)
    seen = 0
    for (tokens, weight), (longer, _) in zip(prompts, after, strict=True):
        middle, seen = seen + weight / 2, seen + weight
        if middle <= 500_000:
            assert longer == tokens
        if middle >= 990_000:
            assert longer == round(tokens * 1.3)
        if middle == 955_000:  # z = 1.6954 of 2.3263
            assert longer == round(tokens * 1.3 ** (1.6954 / 2.3263))
    assert after[-1] == (39_000, prompts[-1][1])
