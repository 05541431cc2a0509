"""The time line of a replay: what came, how long the first token took, how full the fleet was."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from planner.report import svg
from planner.report.simulation import headline
from planner.simulate.types import Replayed, Simulation

WIDTH, LEFT, RIGHT, TOP = 920, 70, 24, 74
PANEL, GAP = 130, 46

Series = tuple[str, list[float | None]]


def simulation_svg(simulation: Simulation) -> str:
    """Four panels over the same time: requests/s and TTFT p95 by class, running requests and KV by deployment."""
    replay = simulation.replays[0]
    limits = {one.class_name: one.limit / 1e6 for one in simulation.verdicts if one.metric == "ttft_p95"}
    panels = _panels(replay)
    height = TOP + len(panels) * (PANEL + GAP) + 30
    parts = [svg.text(LEFT, 30, _title(simulation), "title"), svg.text(LEFT, 50, _caption(simulation), "soft")]
    last_s = max((minute.at_s for minute in replay.minutes), default=0.0) + 60.0
    for number, (title, unit, series) in enumerate(panels):
        top = TOP + 14 + number * (PANEL + GAP)
        shown = limits if unit == "s" else {}
        parts += _panel(top, title, unit, series, [minute.at_s for minute in replay.minutes], last_s, shown)
    parts.append(svg.text((LEFT + WIDTH - RIGHT) / 2, height - 12, "minutes", "soft", "middle"))
    return svg.document(WIDTH, height, headline(simulation), parts)


def _title(simulation: Simulation) -> str:
    """Short enough for the picture's width; the sentence with all that failed is its accessible title."""
    failed = sum(not verdict.kept for verdict in simulation.verdicts)
    count = len(simulation.verdicts)
    said = f"{failed} of {count} promises FAILED" if failed else f"all {count} promises held"
    return f"{PurePath(simulation.plan).name}: {said}"


def _caption(simulation: Simulation) -> str:
    first = simulation.replays[0]
    requests = sum(result.requests for result in first.classes)
    said = f"{requests:,} requests, router {first.policy}, seed {first.seed}, a point a minute"
    return said + (f"; {first.failure}" if first.failure else "")


def _panels(replay: Replayed) -> list[tuple[str, str, list[Series]]]:
    classes = [result.class_name for result in replay.classes]
    sites = [result.name for result in replay.sites]
    minutes = replay.minutes
    return [
        ("requests/s", "", [(name, [m.rate_rps[i] for m in minutes]) for i, name in enumerate(classes)]),
        ("TTFT p95", "s", [(name, [m.ttft_p95_s[i] for m in minutes]) for i, name in enumerate(classes)]),
        (
            "requests running and waiting",
            "",
            [(name, [m.running[i] + m.waiting[i] for m in minutes]) for i, name in enumerate(sites)],
        ),
        ("KV held", "%", [(name, [m.kv_ppm[i] / 1e4 for m in minutes]) for i, name in enumerate(sites)]),
    ]


def _panel(
    top: float,
    title: str,
    unit: str,
    series: Sequence[Series],
    times_s: Sequence[float],
    last_s: float,
    limits_s: dict[str, float],
) -> list[str]:
    highest = max((value for _, values in series for value in values if value is not None), default=0.0)
    highest = _round_up(highest) if highest > 0 else 1.0
    bottom = top + PANEL
    parts = [svg.text(LEFT, top - 8, f"{title}, {unit}" if unit else title)]
    for quarter in (0, 1, 2):
        height = bottom - PANEL * quarter / 2
        kind = "axis" if quarter == 0 else "grid"
        parts.append(f'  <line class="{kind}" x1="{LEFT}" y1="{height:g}" x2="{WIDTH - RIGHT}" y2="{height:g}"/>')
        parts.append(svg.text(LEFT - 8, height + 4.5, f"{highest * quarter / 2:g}", "soft", "end"))
    for quarter in range(5):
        across = LEFT + (WIDTH - LEFT - RIGHT) * quarter / 4
        parts.append(svg.text(across, bottom + 18, f"{last_s * quarter / 240:.3g}", "soft", "middle"))
    legend = WIDTH - RIGHT
    for number, (name, values) in enumerate(series):
        color = svg.COLORS[number % len(svg.COLORS)]
        dash = ' stroke-dasharray="6 4"' if number >= len(svg.COLORS) else ""
        parts += _line(values, times_s, last_s, highest, bottom, color, dash)
        if name in limits_s and limits_s[name] <= highest:
            level = bottom - PANEL * limits_s[name] / highest
            parts.append(
                f'  <line x1="{LEFT}" y1="{level:.1f}" x2="{WIDTH - RIGHT}" y2="{level:.1f}" '
                f'style="stroke: var({color}); opacity: 0.5" stroke-dasharray="2 4"/>'
            )
        if number < 8:
            parts.append(f'  <text x="{legend}" y="{top - 8:g}" text-anchor="end" style="fill: var({color})">'
                         f"{svg.safe(name)}</text>")  # fmt: skip
            legend -= 8 * len(name) + 18
    return parts


def _line(
    values: Sequence[float | None],
    times_s: Sequence[float],
    last_s: float,
    highest: float,
    bottom: float,
    color: str,
    dash: str,
) -> list[str]:
    """A line with gaps where nothing is known."""
    pieces: list[list[str]] = [[]]
    for at_s, value in zip(times_s, values, strict=True):
        if value is None:
            pieces.append([])
            continue
        x = LEFT + (WIDTH - LEFT - RIGHT) * (at_s + 30.0) / last_s
        pieces[-1].append(f"{x:.1f},{bottom - PANEL * value / highest:.1f}")
    return [
        f'  <polyline class="line" points="{" ".join(piece)}" style="stroke: var({color})"{dash}/>'
        for piece in pieces
        if piece
    ]


def _round_up(value: float) -> float:
    """The next 1, 2 or 5 times a power of ten.

    >>> _round_up(34.0), _round_up(0.011)
    (50.0, 0.02)
    """
    size = 10.0 ** (len(str(int(value))) - 1) if value >= 1 else 10.0 ** -(_zeros(value) + 1)
    return round(next(size * step for step in (1, 2, 5, 10) if value <= size * step * (1 + 1e-9)), 12)


def _zeros(value: float) -> int:
    count = 0
    while value * 10 ** (count + 1) < 1:
        count += 1
    return count
