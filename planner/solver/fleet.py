"""A fleet beside the program: what of it must stay, and how many replicas a plan starts and stops.

    start i    columns that are the same engine start on the same nodes; least_i <= sum of their y <= most_i
    moves      sum over starts i of |sum y - today_i|  +  sum of y over all other columns  +  gone

`gone` are replicas that run and that no column can hold: they stop whatever is planned. Moves are linear in y and one
whole number d_i a start, d_i >= |sum y - today_i|. Where moves are limited or cost money they are a quantity of the
program like a purchase, at least as large as the moves; where a plan should only stay close, they are the last
objective.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from planner.solver.master import Master
    from planner.solver.program import Program

MOVED = "replicas_moved"
"""The objective that keeps a plan close to a fleet."""


@dataclass(frozen=True)
class Start:
    """Columns that are one engine start on one kind of nodes, and how many replicas of it there must and may be."""

    name: str
    columns: tuple[int, ...]
    least: int = 0
    most: int | None = None


@dataclass(frozen=True)
class Fleet:
    """A fleet that plans are compared with: (start, replicas today) pairs, and the replicas that nothing can keep.

    `quantity` is the place of the pool that counts the moves, where they are limited or cost money.
    """

    today: tuple[tuple[int, int], ...]
    gone: int = 0
    quantity: int | None = None


def moved(program: Program, fleet: Fleet, replicas: Sequence[int]) -> int:
    """Replicas that start or stop on the way from a fleet to these replicas."""
    today = dict(fleet.today)
    counted = {c for index in today for c in program.starts[index].columns}
    kept = sum(abs(sum(replicas[c] for c in program.starts[i].columns) - count) for i, count in today.items())
    others = sum(replicas[c] for c, column in enumerate(program.columns) if column.own and c not in counted)
    return kept + others + fleet.gone


def broken_starts(program: Program, replicas: Sequence[int], nodes: Sequence[int]) -> Iterator[str]:
    """Starts that must stay or may not grow, and moves beyond their quantity."""
    for start in program.starts:
        count = sum(replicas[c] for c in start.columns)
        if count < start.least or (start.most is not None and count > start.most):
            yield f"start {start.name}: {count} not in {start.least}..{start.most}"
    for fleet in program.fleets:
        if fleet.quantity is not None and nodes[fleet.quantity] < (count := moved(program, fleet, replicas)):
            yield f"moves: {count} > {nodes[fleet.quantity]}"


def add_starts(program: Program, master: Master) -> None:
    """Rows of what must stay and may not grow, and the moves of every fleet as terms of the master."""
    for start in program.starts:
        ones = [(master.replicas[c], 1) for c in start.columns if c in master.replicas]
        if start.least or start.most is not None:
            master.row(f"start[{start.name}]", ones, lower=start.least, upper=start.most)
    for index, fleet in enumerate(program.fleets):
        terms = _moves(program, master, fleet, str(index))
        if fleet.quantity is not None:
            master.row(f"moves[{index}]", [*terms, (master.nodes[fleet.quantity], -1)], upper=0)
        if index == program.near:
            master.moved = tuple(terms)


def _moves(program: Program, master: Master, fleet: Fleet, label: str) -> list[tuple[int, int]]:
    """The moves of a fleet as a sum of variables; replicas that nothing keeps are a variable that is fixed."""
    counted: set[int] = set()
    gone = fleet.gone
    terms = []
    for index, today in fleet.today:
        start = program.starts[index]
        counted.update(start.columns)
        ones = [(master.replicas[c], 1) for c in start.columns if c in master.replicas]
        if not ones:
            gone += today
            continue
        most = max(today, sum(master.variables[y].upper for y, _ in ones))
        d = master.variable(f"moved[{label},{start.name}]", 0, most)
        master.row(f"started[{label},{start.name}]", [*ones, (d, -1)], upper=today)
        master.row(f"stopped[{label},{start.name}]", [*ones, (d, 1)], lower=today)
        terms.append((d, 1))
    terms += [(y, 1) for c, y in master.replicas.items() if c not in counted]
    if gone:
        terms.append((master.variable(f"gone[{label}]", gone, gone), 1))
    return terms


def moves_by_start(program: Program, replicas: Sequence[int]) -> dict[str, int]:
    """Values of the variables that count moves, by name: what a hint needs."""
    return {
        f"moved[{index},{program.starts[i].name}]": abs(sum(replicas[c] for c in program.starts[i].columns) - today)
        for index, fleet in enumerate(program.fleets)
        for i, today in fleet.today
    }
