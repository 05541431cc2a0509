"""The lines of a scenario that a plan may fail by: each can be loosened as far as it goes, and step by step.

A line is what a user wrote, or the default that stands in its place. Loosened as far as it goes it asks next to nothing
(a class that hardly asks, a stock without end, no promise); what it is then need not be something that can be written.
Its ladder are values that can be written, each looser than the one before. Lines that say what the question is (which
models, which GPUs, lengths of requests, prices) are no such lines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from planner.explain.source import Source
from planner.explain.types import Family, WrittenLine
from planner.scenario.types import Pool, Scenario

Rung = tuple[tuple[str, str], ...]
"""One step of a ladder: (path, value) pairs that are set together."""

Level = Literal["rows", "physics", "choices"]

Loosen = Callable[[Scenario], Scenario]


@dataclass(frozen=True)
class Exact:
    """How to find the least value of a line that is linear in nodes: what a node counts, and how a sum is written."""

    weigh: Callable[[Pool], Fraction]
    rung: Callable[[Fraction], Rung]


@dataclass(frozen=True)
class Line:
    """One line. `level` says what loosening it changes: rows of the program, the physics of candidates, or which
    choices there are.

    `steps` makes the ladder. With `ordered` each rung is looser than the one before; else rungs are alternatives, the
    least change first. `back` makes another ladder, for a line that can be too high as well as too low; it is tried
    first. `tried` has, for each rung, what to try it by where that is not the rung itself. Conflicts are
    looked for among lines of much `weight` first: of many small classes and one large one, the large one is the news.
    """

    path: str
    family: Family
    value: str
    place: str
    loosened: Loosen
    steps: Callable[[], tuple[Rung, ...]]
    level: Level = "rows"
    model: str | None = None
    ordered: bool = True
    back: Callable[[], tuple[Rung, ...]] | None = None
    tried: Callable[[Rung], Rung] | None = None
    exact: Exact | None = None
    weight: float = 0.0

    @property
    def written(self) -> WrittenLine:
        """The line as the answer shows it."""
        return WrittenLine(self.path, self.value, self.place)


def one(path: str, values: tuple[str, ...]) -> Callable[[], tuple[Rung, ...]]:
    """A ladder of the values of one path."""
    return lambda: tuple(((path, value),) for value in values)


def sets_of(rung: Rung) -> tuple[str, ...]:
    """A rung as overrides."""
    return tuple(f"{path}={value}" for path, value in rung)


def lines_of(source: Source) -> tuple[Line, ...]:
    """All lines of a scenario."""
    from planner.explain.lines_limits import limit_lines
    from planner.explain.lines_models import model_lines
    from planner.explain.lines_traffic import traffic_lines

    return (*traffic_lines(source), *limit_lines(source), *model_lines(source))
