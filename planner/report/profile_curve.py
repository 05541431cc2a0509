"""The ratio of a preset against the prompt, drawn: characters on a terminal, SVG in a file.

The prompt stands on a scale of factors, since presets differ most at short ones; one curve for each number of
decoded tokens.
"""

from __future__ import annotations

from math import log2

from planner.calculator.profile import RatioPoint, Ratios
from planner.report import numbers
from planner.report.curve_svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from planner.report.svg import STYLE, safe, text

ROWS = 14
MARKS = ("●", "○", "·")
COLORS = ("--one", "--two", "--end")
ENDS = (1, 2, 3, 4, 5, 6, 8, 10)
"""Ends of the axis of ratios, times a power of ten."""


def axis_top(ratios: Ratios) -> int:
    """The end of the axis: the least round number above the largest ratio.

    >>> axis_top(Ratios("m", (), (RatioPoint(128, 0, 37, 1),)))
    40
    """
    most = max(float(point.ratio) for point in ratios.curve)
    step = 1
    while True:
        for end in ENDS:
            if end * step >= most:
                return end * step
        step *= 10


def _curves(ratios: Ratios) -> list[tuple[int, list[RatioPoint]]]:
    decoded = list(dict.fromkeys(point.decoded_tokens for point in ratios.curve))
    return [(each, [point for point in ratios.curve if point.decoded_tokens == each]) for each in decoded]


def ratio_text(ratios: Ratios, columns: int = 100) -> str:
    """The curves as characters; later ones are drawn over earlier ones where they meet."""
    if not ratios.curve:
        return ""
    top = axis_top(ratios)
    margin = len(f"{top}x")
    wide = max(24, min(columns, 100) - margin - 4)
    cells = [[" "] * wide for _ in range(ROWS)]
    curves = _curves(ratios)
    for (_, points), mark in reversed(list(zip(curves, MARKS, strict=False))):
        for column in range(wide):
            place = column * (len(points) - 1) // (wide - 1)
            height = round(float(points[place].ratio) / top * (ROWS - 1))
            cells[ROWS - 1 - height][column] = mark
    lines = [f" {'ratio'.rjust(margin)}"]
    for number, row in enumerate(cells):
        label = {0: f"{top}x", (ROWS - 1) // 2: "", ROWS - 1: "0"}.get(number, "")
        lines.append(f" {label.rjust(margin)} {'┤' if label else '│'}{''.join(row)}".rstrip())
    lines.append(f" {' ' * margin} └{'─' * wide}")
    first, last = curves[0][1][0].context_tokens, curves[0][1][-1].context_tokens
    right = f"{numbers.tokens(last)} tokens of prompt"
    lines.append(f" {' ' * margin}  {str(first).ljust(wide - len(right))}{right}")
    legend = [
        f"{mark} {'nothing decoded yet' if not decoded else f'+ {decoded:,} decoded'}"
        for (decoded, _), mark in zip(curves, MARKS, strict=False)
    ]
    lines.append(f" {' ' * margin}  {'   '.join(legend)}")
    return "\n".join(lines) + "\n"


def ratio_svg(name: str, ratios: Ratios) -> str:
    """The curves as a whole SVG document."""
    top = axis_top(ratios)
    curves = _curves(ratios)
    first, last = curves[0][1][0].context_tokens, curves[0][1][-1].context_tokens
    title = f"{name}: ratio to 16-bit KV"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"',
        '  role="img">',
        f"  <title>{safe(title)}</title>",
        f"  <style>{STYLE}  </style>",
        f'  <rect width="{WIDTH}" height="{HEIGHT}" fill="var(--paper)"/>',
        text(LEFT, 30, title, "title"),
        text(LEFT, 52, f"packed bytes of {ratios.model}, all layers, by prompt and decoded tokens", "soft"),
    ]
    for quarter in range(5):
        height = _y(top * quarter / 4, top)
        kind = "grid" if quarter else "axis"
        parts.append(f'  <line class="{kind}" x1="{LEFT}" y1="{height}" x2="{WIDTH - RIGHT}" y2="{height}"/>')
        parts.append(text(LEFT - 8, height + 4.5, f"{top * quarter / 4:g}x", "soft", "end"))
    tick = 1 << (first - 1).bit_length()
    while tick <= last:
        anchor = "end" if tick == last else "middle"
        parts.append(text(_x(tick, first, last), HEIGHT - BOTTOM + 20, numbers.tokens(tick), "soft", anchor))
        tick *= 4
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM + 42, "tokens of prompt", "soft", "middle"))
    for number, ((decoded, points), color) in enumerate(zip(curves, COLORS, strict=False)):
        line = " ".join(f"{_x(p.context_tokens, first, last)},{_y(float(p.ratio), top)}" for p in points)
        parts.append(f'  <polyline class="line" points="{line}" style="stroke: var({color})"/>')
        x, height = LEFT + number * 220, HEIGHT - 18
        sample = f'x1="{x}" y1="{height}" x2="{x + 30}" y2="{height}" style="stroke: var({color})"'
        parts.append(f'  <line class="line" {sample}/>')
        words = "nothing decoded yet" if not decoded else f"+ {decoded:,} decoded"
        parts.append(text(x + 38, height + 4.5, words))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _x(tokens: int, first: int, last: int) -> float:
    share = log2(tokens / first) / log2(last / first) if last > first else 0.0
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _y(ratio: float, top: int) -> float:
    return round(HEIGHT - BOTTOM - ratio / top * (HEIGHT - TOP - BOTTOM), 1)
