"""Progress lines: what is best, what is proved and how far apart they are."""

from __future__ import annotations

import pytest

from planner.solver.progress import Step


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (Step("cost", None, 5_000_000, "LP"), "cost: no plan yet, bound 5.00/h (LP)"),
        (Step("cost", 10_000_000), "cost: best 10.00/h"),
        (Step("cost", 10_000_000, 9_000_000, "LP"), "cost: best 10.00/h, bound 9.00/h (LP), gap 10.00%"),
        (Step("gpus", 0, 0, "cpsat"), "gpus: best 0, bound 0 (cpsat), proved"),
    ],
)
def test_a_line_says_what_is_known(step: Step, text: str) -> None:
    """Tests lines without a plan, without a bound, with a gap and with a proof."""
    assert str(step) == text
