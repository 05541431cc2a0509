"""The calculator's curve for drawing, and as JSON."""

from __future__ import annotations

from planner.calculator.curve import KvCurve
from planner.report import numbers
from planner.report.curve_text import Curve
from planner.report.kv import kv_name
from planner.report.kv_json import FORMAT_VERSION, Tree, dumped


def curve_of(found: KvCurve) -> Curve:
    """What both drawings show."""
    answer = found.answer
    place = f"{answer.shape} on {answer.gpu.id}" if answer.gpu else str(answer.shape)
    many = f"{found.batch:,} sequences" if found.batch > 1 else "one sequence"
    return Curve(
        title=f"{answer.model.id}: KV of {many} on one GPU",
        caption=f"{answer.engine.requested}, {place}, KV {kv_name(answer)}, up to "
        f"{numbers.tokens(found.points[-1].tokens)} tokens",
        points=tuple((point.tokens, point.logical_bytes, point.reserved_bytes) for point in found.points),
        available_bytes=found.available_bytes,
        meets_tokens=found.meets_tokens,
    )


def curve_json(found: KvCurve) -> str:
    """The points of the curve."""
    points: list[Tree] = [
        {"context": point.tokens, "logical_bytes": point.logical_bytes, "reserved_bytes": point.reserved_bytes}
        for point in found.points
    ]
    return dumped(
        {
            "format_version": FORMAT_VERSION,
            "model": found.answer.model.id,
            "batch": found.batch,
            "available_kv_bytes": found.available_bytes,
            "longest_that_fits": found.meets_tokens,
            "points": points,
        }
    )
