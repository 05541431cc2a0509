"""TPOT and tokens/s over the batch, drawn: two panels of characters on a terminal, two panels of SVG in a file.

The batch stands on a scale of factors. The promise is a line across the panel of TPOT; where the KV pool is full,
both curves bend.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import log2

from planner.calculator.latency import LatencyAnswer
from planner.report.curve_svg import LEFT, RIGHT, WIDTH
from planner.report.latency import band_words, held_back_by, question, title
from planner.report.printable import printable
from planner.report.svg import STYLE

ENDS = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
"""Ends of an axis, times a power of ten."""

TEXT_ROWS = 10
LEAST_COLUMNS = 24

SVG_HEIGHT = 640
PANEL_HEIGHT = 210
PANEL_TOPS = (96, 356)


@dataclass(frozen=True)
class Panel:
    """One figure over the batch; `line` is a promise across it."""

    name: str
    values: tuple[float, ...]
    color: str
    line: float | None = None
    line_words: str = ""

    @property
    def top(self) -> float:
        """The end of the axis: the least round number above all values and the line, unless it stands far above."""
        line = self.line if self.line is not None and self.line <= 3 * max(self.values) else 0.0
        return _round_up(max(*self.values, line))


@dataclass(frozen=True)
class LatencyCurve:
    """What both drawings show."""

    title: str
    words: tuple[str, ...]
    batches: tuple[int, ...]
    full_at: int | None
    """The largest batch that runs at once; None where all of them do."""
    panels: tuple[Panel, ...]


def latency_curve(answer: LatencyAnswer) -> LatencyCurve:
    """The curve of an answer with many batches."""
    slo_ms = None if answer.slo_tpot_us is None else answer.slo_tpot_us / 1000
    waits = [row for row in answer.rows if row.waiting]
    words = [question(answer), f"{answer.rows[0].provider}: {band_words(answer.rows[0].band)}"]
    if slo_ms is not None:
        kept = [row.loop.users for row in answer.rows if row.tpot_s * 1000 <= slo_ms]
        words.append(f"TPOT of {slo_ms:g} ms is kept up to batch {max(kept):,}" if kept else "no batch keeps the TPOT")
    if waits:
        words.append(f"beyond batch {waits[0].loop.running:,} requests wait: {held_back_by(answer)}")
    return LatencyCurve(
        title=title(answer),
        words=tuple(words),
        batches=tuple(row.loop.users for row in answer.rows),
        full_at=waits[0].loop.running if waits else None,
        panels=(
            Panel(
                "TPOT ms",
                tuple(row.tpot_s * 1000 for row in answer.rows),
                "--one",
                slo_ms,
                "" if slo_ms is None else f"promise {slo_ms:g} ms",
            ),
            Panel("tokens/s", tuple(row.output_tokens_per_s for row in answer.rows), "--two"),
        ),
    )


def _round_up(most: float) -> float:
    step = 1e-6
    while True:
        for end in ENDS:
            if end * step >= most:
                return end * step
        step *= 10


def curve_text(curve: LatencyCurve, columns: int = 100) -> str:
    """Both panels as characters: `●` the curve, `─` the promise."""
    margin = max(len(f"{panel.top:,.4g}") for panel in curve.panels) + 1
    wide = max(LEAST_COLUMNS, min(columns, 100) - margin - 4)
    lines = [f" {curve.title}"]
    for panel in curve.panels:
        lines += _text_panel(curve, panel, margin, wide)
    first, last = f"{curve.batches[0]:,}", f"batch {curve.batches[-1]:,}"
    lines.append(f" {' ' * margin}  {first.ljust(wide - len(last))}{last}")
    indent = " " * (margin + 3)
    for words in curve.words:
        lines += textwrap.wrap(words, wide + len(indent), initial_indent=indent, subsequent_indent=indent + "  ")
    return "\n".join(lines) + "\n"


def _text_panel(curve: LatencyCurve, panel: Panel, margin: int, wide: int) -> list[str]:
    cells = [[" "] * wide for _ in range(TEXT_ROWS)]
    if panel.line is not None and panel.line <= panel.top:
        cells[_text_row(panel.line, panel.top)] = list(f" {panel.line_words} ".center(wide, "─"))
    for column in range(wide):
        value = _at(curve.batches, panel.values, column / (wide - 1))
        cells[_text_row(value, panel.top)][column] = "●"
    lines = [f" {panel.name}"]
    for number, row in enumerate(cells):
        label = {0: f"{panel.top:,.4g}", TEXT_ROWS - 1: "0"}.get(number, "")
        lines.append(f" {label.rjust(margin)} {'┤' if label else '│'}{''.join(row)}".rstrip())
    return [*lines, f" {' ' * margin} └{'─' * wide}"]


def _text_row(value: float, top: float) -> int:
    return TEXT_ROWS - 1 - min(TEXT_ROWS - 1, round(value / top * (TEXT_ROWS - 1)))


def _at(batches: Sequence[int], values: Sequence[float], share: float) -> float:
    """The value at a share of the axis, between its neighbors on the scale of factors."""
    place = log2(batches[0]) + share * (log2(batches[-1]) - log2(batches[0]))
    for left in range(len(batches) - 1):
        low, high = log2(batches[left]), log2(batches[left + 1])
        if place <= high:
            part = (place - low) / (high - low)
            return values[left] + part * (values[left + 1] - values[left])
    return values[-1]


def curve_svg(curve: LatencyCurve) -> str:
    """A whole SVG document: text stays text, colors suit light and dark pages, nothing is loaded."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {SVG_HEIGHT}" width="{WIDTH}"'
        f' height="{SVG_HEIGHT}"',
        '  role="img">',
        f"  <title>{_safe(curve.title)}</title>",
        f"  <style>{STYLE}  </style>",
        f'  <rect width="{WIDTH}" height="{SVG_HEIGHT}" fill="var(--paper)"/>',
        _text(LEFT, 30, curve.title, "title"),
        _text(LEFT, 52, curve.words[0], "soft"),
        _text(LEFT, 72, "; ".join(curve.words[2:]), "soft"),
    ]
    for panel, top in zip(curve.panels, PANEL_TOPS, strict=True):
        parts += _svg_panel(curve, panel, top)
    bottom = PANEL_TOPS[-1] + PANEL_HEIGHT
    for batch in _ticks(curve.batches[-1]):
        anchor = "end" if batch == curve.batches[-1] and batch > 1 else "middle"
        parts.append(_text(_x(curve, batch), bottom + 20, f"{batch:,}", "soft", anchor))
    parts.append(
        _text((LEFT + WIDTH - RIGHT) / 2, bottom + 42, "batch: users that ask again at once", "soft", "middle")
    )
    return "\n".join(part for part in [*parts, "</svg>"] if part) + "\n"


def _svg_panel(curve: LatencyCurve, panel: Panel, top: int) -> list[str]:
    def y(value: float) -> float:
        return round(top + PANEL_HEIGHT * (1 - value / panel.top), 1)

    parts = [_text(LEFT - 8, top - 10, panel.name, "soft", "end")]
    for quarter in range(5):
        height = y(panel.top * quarter / 4)
        kind = "grid" if quarter else "axis"
        parts.append(f'  <line class="{kind}" x1="{LEFT}" y1="{height}" x2="{WIDTH - RIGHT}" y2="{height}"/>')
        parts.append(_text(LEFT - 8, height + 4.5, f"{panel.top * quarter / 4:,.4g}", "soft", "end"))
    if panel.line is not None and panel.line <= panel.top:
        height = y(panel.line)
        parts.append(f'  <line class="end" x1="{LEFT}" y1="{height}" x2="{WIDTH - RIGHT}" y2="{height}"/>')
        parts.append(_text(LEFT + 8, height - 6, panel.line_words))
    points = " ".join(
        f"{_x(curve, batch)},{y(value)}" for batch, value in zip(curve.batches, panel.values, strict=True)
    )
    parts.append(f'  <polyline class="line" points="{points}" style="stroke: var({panel.color})"/>')
    if curve.full_at is not None:
        across = _x(curve, curve.full_at)
        line = f'x1="{across}" y1="{top}" x2="{across}" y2="{top + PANEL_HEIGHT}" stroke-dasharray="4 4"'
        parts.append(f'  <line class="end" {line}/>')
        parts.append(_text(across - 6, top + 14, f"{curve.full_at:,} run at once", "soft", "end"))
    return parts


def _ticks(most: int) -> list[int]:
    """Powers of four up to the largest batch, and that one."""
    ticks = [4**power for power in range(12) if 4**power <= most / 2]
    return [*ticks, most]


def _x(curve: LatencyCurve, batch: int) -> float:
    last = max(curve.batches[-1], 2)
    return round(LEFT + log2(batch) / log2(last) * (WIDTH - LEFT - RIGHT), 1)


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'  <text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{style}>{_safe(words)}</text>' if words else ""


def _safe(words: str) -> str:
    return escape(printable(words))
