"""The table of fit errors in the documentation."""

from __future__ import annotations

from pathlib import Path

from planner.performance.roofline.summary import BEGIN, END, fit_table, refresh

PAGE = Path(__file__).parents[2] / "docs/performance.md"


def test_the_page_shows_what_the_constants_say() -> None:
    """`python -m planner.performance.roofline.summary docs/performance.md` renews the table."""
    text = PAGE.read_text(encoding="utf-8")
    assert refresh(text) == text


def test_only_the_table_is_replaced() -> None:
    """What stands before and after the marks stays."""
    assert refresh(f"before\n{BEGIN}\nold\n{END}\nafter") == f"before\n{BEGIN}\n{fit_table()}\n{END}\nafter"
