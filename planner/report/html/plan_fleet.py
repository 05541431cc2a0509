"""The running fleet on a page: what moves on the way to the plan, and what doing nothing means."""

from __future__ import annotations

from planner.plan.as_is import AsIs
from planner.plan.types import Plan
from planner.report.fleet import (
    JUDGED_HEADS,
    MOVES_HEADS,
    as_is_line,
    judged_rows,
    moves_lines,
    moves_rows,
)
from planner.report.html.blocks import Align, Cell, Section, table


def moves(plan: Plan, most: int) -> Section | None:
    """Replicas that start and stop; nothing where no fleet runs."""
    if not plan.moves:
        return None
    heads: list[tuple[str, Align]] = [(MOVES_HEADS[0], "left"), (MOVES_HEADS[1], "right"), (MOVES_HEADS[2], "right")]
    heads.append((MOVES_HEADS[3], "left"))
    rows = moves_rows(plan)
    return Section(
        "moves",
        "What moves",
        texts=tuple(f"{line[0].upper()}{line[1:]}." for line in moves_lines(plan)),
        tables=(table("Replicas that start or stop", heads, rows, most),) if rows else (),
        origin="Replicas counted by what they are started with, as a rollout counts them; `kvplan check` counts again.",
    )


def as_is(standing: AsIs | None, currency: str, most: int, prefix: str) -> Section | None:
    """Every promise and limit held against the fleet that runs."""
    if standing is None:
        return None
    line = as_is_line(standing, currency)
    heads: list[tuple[str, Align]] = [(head, "left") for head in JUDGED_HEADS]
    rows = [
        (Cell(path, code=True), Cell(state, "good" if state == "kept" else "bad"), what)
        for path, state, what in judged_rows(standing, currency)
    ]
    return Section(
        f"{prefix}as-is",
        "Doing nothing",
        texts=(f"{line[0].upper()}{line[1:]}.",),
        tables=(table("What the fleet that runs keeps, left as it is", heads, rows, most),),
        origin="The running replicas with the best routing over them; loads above 100% are the least possible ones.",
    )
