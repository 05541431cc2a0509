"""A frontier as rows for a spreadsheet, and as a picture: cost falls as the other axis gives way."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from planner.explain.reasons import Frontier, Point
from planner.explain.types import Answer
from planner.report import numbers
from planner.report.svg import document, text
from planner.report.sweep import inert

WIDTH, HEIGHT = 860, 480
LEFT, RIGHT, TOP, BOTTOM = 110, 40, 84, 74


def frontier_csv(frontier: Frontier, answer: Answer) -> str:
    """One line a point, cheapest first."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([inert(frontier.axis), "unit", "cost_per_month", "currency", "today", "nodes", "runs"])
    for point in frontier.points:
        cells = ("; ".join(point.nodes), "; ".join(point.runs))
        today = "yes" if point.now else ""
        writer.writerow(
            [f"{point.number:.12g}", frontier.unit, point.cost_per_month, answer.currency, today, *map(inert, cells)]
        )
    return stream.getvalue()


def frontier_svg(frontier: Frontier, answer: Answer) -> str:
    """A whole SVG document: a step from each point to the next, since nothing lies between them."""
    title = f"{answer.name}: cost against {frontier.axis}"
    note = frontier.note or "each point is proved; nothing cheaper is as good"
    parts = [text(LEFT, 30, title, "title"), text(LEFT, 52, note, "soft")]
    if frontier.points:
        parts += _plot(frontier, answer.currency)
    else:
        parts.append(text(LEFT, TOP + 40, "no plan"))
    return document(WIDTH, HEIGHT, title, parts)


class _Scale:
    """Where values and money stand on the picture; both axes start at a round number below the least."""

    def __init__(self, points: tuple[Point, ...]) -> None:
        values, money = [p.number for p in points], [float(p.cost_per_month) for p in points]
        self.values, self.money = _span(values), _span(money)

    def x(self, value: float) -> float:
        low, high = self.values
        return round(LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, money: float) -> float:
        low, high = self.money
        return round(HEIGHT - BOTTOM - (money - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)


def _span(values: list[float]) -> tuple[float, float]:
    """From below the least to above the most, so that no point stands on an edge."""
    low, high = min(values), max(values)
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return max(0.0, low - room), high + room


def _plot(frontier: Frontier, currency: str) -> Iterator[str]:
    scale = _Scale(frontier.points)
    yield from _grid(frontier, scale, currency)
    corners: list[tuple[float, float]] = []
    for point in frontier.points:
        x, y = scale.x(point.number), scale.y(float(point.cost_per_month))
        if corners:
            corners.append((corners[-1][0], y))
        corners.append((x, y))
    line = " ".join(f"{x},{y}" for x, y in corners)
    yield f'  <polyline class="line" points="{line}" style="stroke: var(--one)"/>'
    beside = {point.number: point for point in frontier.points}
    for point in beside.values():
        x, y = scale.x(point.number), scale.y(float(point.cost_per_month))
        color = "--end" if point.now else "--one"
        yield f'  <circle cx="{x}" cy="{y}" r="4.5" style="fill: var({color})"/>'
        right = x > WIDTH - RIGHT - 130
        words = f"{point.value} today" if point.now else point.value
        yield text(x - 8 if right else x + 8, y - 8, words, "", "end" if right else "start")


def _grid(frontier: Frontier, scale: _Scale, currency: str) -> Iterator[str]:
    """Quarter lines with money, quarters of the other axis with values, and the names of both."""
    for quarter in range(5):
        share = quarter / 4
        money = scale.money[0] + share * (scale.money[1] - scale.money[0])
        height = scale.y(money)
        kind = "axis" if quarter == 0 else "grid"
        yield f'  <line class="{kind}" x1="{LEFT}" y1="{height}" x2="{WIDTH - RIGHT}" y2="{height}"/>'
        yield text(LEFT - 8, height + 4.5, numbers.money(f"{money:.0f}", currency, places=0), "soft", "end")
        value = scale.values[0] + share * (scale.values[1] - scale.values[0])
        anchor = "end" if quarter == 4 else "middle"
        yield text(
            scale.x(value), HEIGHT - BOTTOM + 20, f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}", "soft", anchor
        )
    yield text(LEFT - 8, TOP - 10, "per month", "soft", "end")
    yield text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 20, f"{frontier.axis} ({frontier.unit})", "soft", "middle")
