"""Tests of the drawn curve: axes, marks, and SVG that stays one whatever a name holds."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.report.curve_svg import HEIGHT, WIDTH, curve_svg
from planner.report.curve_text import GIB, Curve, axis_top_milli_gib, curve_text

LINE = Curve("a model", "how", tuple((n, n * GIB // 8, n * GIB // 4) for n in (1, 16, 32, 64)))


@given(st.integers(1, 2**60))
def test_the_axis_holds_the_curve_and_is_round(most_bytes: int) -> None:
    """Tests that the axis ends at or above the largest value, and not far above."""
    top = axis_top_milli_gib(most_bytes)
    assert top * GIB >= most_bytes * 1000
    assert top <= 1 or top * GIB <= 2.1 * most_bytes * 1000 + 2 * GIB


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_text_keeps_its_width(columns: int) -> None:
    """Tests that the drawing is as wide as the terminal at most, and has both marks and all labels."""
    page = curve_text(replace(LINE, available_bytes=8 * GIB, meets_tokens=32), columns)
    assert max(map(len, page.splitlines())) <= min(columns, 100)
    assert {"●", "·", "─", "┤"} <= set(page)
    assert " 16 ┤" in page and "64 tokens" in page and "8.00 GiB" in page


def test_text_says_where_memory_ends() -> None:
    """Tests that the crossing is named, and that all of it fits where it does."""
    assert "at 32 tokens" in curve_text(replace(LINE, available_bytes=8 * GIB, meets_tokens=32))
    assert "all of it fits" in curve_text(replace(LINE, available_bytes=100 * GIB))


def test_svg_draws_every_point_inside() -> None:
    """Tests that the picture parses, and that its lines stay inside and rise from left to right."""
    root = ElementTree.fromstring(curve_svg(replace(LINE, available_bytes=8 * GIB, meets_tokens=32)))
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 2
    for line in lines:
        points = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
        assert len(points) == 4
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
        assert points == sorted(points, key=lambda point: (point[0], -point[1]))
    words = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"GiB", "context in tokens", "64", "16", "8.00 GiB available for KV", "32 tokens"} <= set(words)


def test_svg_loads_nothing_and_escapes_names() -> None:
    """Tests that a hostile model name stays text, and that the picture refers to nothing outside."""
    evil = "</title><script>alert(1)</script>\x1b[31m & \"quotes'"
    text = curve_svg(replace(LINE, title=evil, caption=evil))
    root = ElementTree.fromstring(text)
    assert "<script" not in text and "\x1b" not in text
    assert not re.search(r"(href|src|url\(|@import)", text)
    assert any("<script>" in (element.text or "") for element in root.iter())
