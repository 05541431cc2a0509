"""A curve as characters: KV against context on a terminal, two marks, two axes, and a line where memory ends."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from planner.report import numbers

GIB = 2**30
HEIGHT = 16
LEAST_PLOT_COLUMNS = 24

ROUND_TENTHS = (10, 16, 20, 30, 40, 60, 80)
"""Ends of an axis, in tenths of a power of ten: halves and quarters of them are short numbers too."""


@dataclass(frozen=True)
class Curve:
    """What both drawings show: points of (tokens, logical bytes, reserved bytes), and what a GPU has for KV."""

    title: str
    caption: str
    points: tuple[tuple[int, int, int], ...]
    available_bytes: int | None = None
    meets_tokens: int | None = None
    """The longest context on the curve whose reserved bytes fit; None where all of it fits or nothing is known."""


def curve_text(curve: Curve, columns: int = 100) -> str:
    """The curve as a page of characters: `●` reserved, `·` logical where they differ, `─` what is available."""
    top_bytes = curve_top_milli_gib(curve) * GIB // 1000
    labels = [f"{curve_top_milli_gib(curve) / part:g}" for part in (1000, 2000)] + ["0"]
    margin = max(map(len, labels)) + 1
    wide = max(min(columns, 100) - margin - 3, LEAST_PLOT_COLUMNS)
    cells = [[" "] * wide for _ in range(HEIGHT)]
    if curve.available_bytes is not None and curve.available_bytes <= top_bytes:
        cells[_row(curve.available_bytes, top_bytes)] = ["─"] * wide
    for column in range(wide):
        logical, reserved = _at(curve.points, column, wide)
        cells[_row(logical, top_bytes)][column] = "·"
        cells[_row(reserved, top_bytes)][column] = "●"
    lines = [f" {curve.title}", f" {'GiB'.rjust(margin)}"]
    for number, line in enumerate(cells):
        label = {0: labels[0], HEIGHT // 2: labels[1], HEIGHT - 1: labels[2]}.get(number, "")
        lines.append(f" {label.rjust(margin)} {'┤' if label else '│'}{''.join(line)}".rstrip())
    lines.append(f" {' ' * margin} └{'─' * wide}")
    lines.append(_ticks(curve, margin, wide))
    lines.append(
        f" {' ' * margin}  ● reserved   · logical" + ("   ─ available for KV" if curve.available_bytes else "")
    )
    for words in _words(curve):
        lines += textwrap.wrap(
            words, wide + margin + 3, initial_indent=" " * (margin + 3), subsequent_indent=" " * (margin + 5)
        )
    return "\n".join(lines) + "\n"


def curve_top_milli_gib(curve: Curve) -> int:
    """The end of the axis of memory: the curve, and what is available unless it stands far above."""
    last_bytes = curve.points[-1][2]
    available = curve.available_bytes or 0
    return axis_top_milli_gib(max(last_bytes, available if available <= 2 * last_bytes else 0))


def _words(curve: Curve) -> list[str]:
    lines = [curve.caption] if curve.caption else []
    if curve.available_bytes is None:
        return lines
    if curve.meets_tokens is None:
        return [*lines, f"all of it fits into the {numbers.gib(curve.available_bytes)} that are available"]
    return [
        *lines,
        f"meets the {numbers.gib(curve.available_bytes)} that are available at {curve.meets_tokens:,} tokens",
    ]


def axis_top_milli_gib(most_bytes: int) -> int:
    """The end of the axis in thousandths of a GiB: the least round number that holds the bytes.

    >>> axis_top_milli_gib(17 * 2**30), axis_top_milli_gib(700 * 2**20)
    (20000, 800)
    """
    most = max(1, -(-most_bytes * 1000 // GIB))
    step = 1
    while True:
        for tenths in ROUND_TENTHS:
            if most * 10 <= step * tenths and step * tenths % 10 == 0:
                return step * tenths // 10
        step *= 10


def _row(size_bytes: int, top_bytes: int) -> int:
    return HEIGHT - 1 - min(HEIGHT - 1, round(size_bytes / top_bytes * (HEIGHT - 1)))


def _at(points: Sequence[tuple[int, int, int]], column: int, wide: int) -> tuple[int, int]:
    """Logical and reserved bytes of the first point at or right of the column."""
    tokens = points[-1][0] * (column + 1) // wide
    _, logical, reserved = next((point for point in points if point[0] >= tokens), points[-1])
    return logical, reserved


def _ticks(curve: Curve, margin: int, wide: int) -> str:
    """Labels under the axis: nothing, half and all of the longest context."""
    last = curve.points[-1][0]
    right = f"{numbers.tokens(last)} tokens"
    half = numbers.tokens(last // 2)
    line = "0".ljust(wide // 2 - len(half) // 2) + half
    return f" {' ' * margin}  {line.ljust(wide - len(right))}{right}"
