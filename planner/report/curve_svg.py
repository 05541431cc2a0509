"""The same curve as an SVG picture: text stays text, colors suit light and dark pages, nothing is loaded."""

from __future__ import annotations

from planner.report import numbers
from planner.report.curve_text import GIB, Curve, curve_top_milli_gib
from planner.report.svg import STYLE, safe, text

WIDTH, HEIGHT = 860, 480
LEFT, RIGHT, TOP, BOTTOM = 84, 28, 76, 96


def curve_svg(curve: Curve) -> str:
    """A whole SVG document: reserved and logical bytes against context, and what is available for KV."""
    plot = _Plot(curve)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"',
        '  role="img">',
        f"  <title>{safe(curve.title)}</title>",
        f"  <style>{STYLE}  </style>",
        f'  <rect width="{WIDTH}" height="{HEIGHT}" fill="var(--paper)"/>',
        text(LEFT, 30, curve.title, "title"),
        text(LEFT, 52, curve.caption, "soft"),
        *plot.grid(),
        *plot.available(),
        plot.line(2, "var(--one)", ""),
        plot.line(1, "var(--two)", ' stroke-dasharray="6 5"'),
        *plot.meeting(),
        *_legend(),
        "</svg>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


class _Plot:
    """Where bytes and tokens stand on the picture."""

    def __init__(self, curve: Curve) -> None:
        self.curve = curve
        self.top_bytes = curve_top_milli_gib(curve) * GIB / 1000
        self.last_tokens = curve.points[-1][0]

    def x(self, tokens: float) -> float:
        return round(LEFT + tokens / self.last_tokens * (WIDTH - LEFT - RIGHT), 1)

    def y(self, size_bytes: float) -> float:
        return round(HEIGHT - BOTTOM - size_bytes / self.top_bytes * (HEIGHT - TOP - BOTTOM), 1)

    def grid(self) -> list[str]:
        """Quarter lines with their labels, and the names of both axes."""
        parts = []
        for quarter in range(5):
            share = quarter / 4
            height = self.y(self.top_bytes * share)
            kind = "axis" if quarter == 0 else "grid"
            parts.append(f'  <line class="{kind}" x1="{LEFT}" y1="{height}" x2="{WIDTH - RIGHT}" y2="{height}"/>')
            label = f"{curve_top_milli_gib(self.curve) / 1000 * share:g}"
            parts.append(text(LEFT - 8, height + 4.5, label, "soft", "end"))
            tokens = self.last_tokens * quarter // 4
            anchor = "end" if quarter == 4 else "middle"
            parts.append(text(self.x(tokens), HEIGHT - BOTTOM + 20, numbers.tokens(tokens), "soft", anchor))
        parts.append(text(LEFT - 8, TOP - 8, "GiB", "soft", "end"))
        parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM + 42, "context in tokens", "soft", "middle"))
        return parts

    def line(self, column: int, color: str, more: str) -> str:
        points = " ".join(f"{self.x(point[0])},{self.y(point[column])}" for point in self.curve.points)
        return f'  <polyline class="line" points="{points}" style="stroke: {color}"{more}/>'

    def available(self) -> list[str]:
        """What a GPU has for KV, as a line across, or as words where it stands far above the curve."""
        size = self.curve.available_bytes
        if size is None:
            return []
        words = f"{numbers.gib(size)} available for KV"
        if size > self.top_bytes:
            return [text(WIDTH - RIGHT, TOP - 8, f"{words}, above this picture", "soft", "end")]
        height = self.y(size)
        line = f'  <line class="end" x1="{LEFT}" y1="{height}" x2="{WIDTH - RIGHT}" y2="{height}"/>'
        return [line, text(LEFT + 8, height - 7 if height > TOP + 14 else height + 16, words)]

    def meeting(self) -> list[str]:
        """Where the curve meets what is available."""
        tokens, size = self.curve.meets_tokens, self.curve.available_bytes
        if tokens is None or size is None or size > self.top_bytes:
            return []
        across, height = self.x(tokens), self.y(size)
        # Left of the crossing the curve is below the line, right of it above: the label stands on the other side.
        if across > (LEFT + WIDTH) / 2:
            label = text(across - 10, height - 8, f"{tokens:,} tokens", "", "end")
        else:
            label = text(across + 10, height + 20, f"{tokens:,} tokens")
        return [f'  <circle cx="{across}" cy="{height}" r="5" style="fill: var(--end)"/>', label]


def _legend() -> list[str]:
    height = HEIGHT - 18
    return [
        _sample(LEFT, height, "--one", ""),
        text(LEFT + 38, height + 4.5, "reserved by the engine"),
        _sample(LEFT + 220, height, "--two", ' stroke-dasharray="6 5"'),
        text(LEFT + 258, height + 4.5, "logical: what the request itself needs"),
    ]


def _sample(x: int, y: int, color: str, more: str) -> str:
    return f'  <line class="line" x1="{x}" y1="{y}" x2="{x + 30}" y2="{y}" style="stroke: var({color})"{more}/>'
