"""What a plan hangs on, and what else there is: the questions about a scenario that has a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from planner.explain.alternatives import alternatives
from planner.explain.binding import binding
from planner.explain.frontier import frontier, parse_axis
from planner.explain.lines import Line
from planner.explain.paths import all_asked
from planner.explain.reasons import Alternatives, Binding, Frontier, Why, Worth
from planner.explain.source import Source
from planner.explain.tables import Tables
from planner.explain.trials import Trials
from planner.explain.types import Status
from planner.explain.why import why, why_not
from planner.explain.worth import worth


@dataclass(frozen=True)
class About:
    """What is asked of a plan. Where nothing particular is asked: what binds, and what a step of each line is worth.

    `every`: all lines and steps, not only the likely ones.
    """

    every: bool = False
    why: tuple[str, ...] = ()
    why_not: tuple[str, ...] = ()
    frontier: str | None = None
    alternatives: int = 0

    @property
    def nothing(self) -> bool:
        """Whether nothing particular is asked."""
        return not (self.why or self.why_not or self.alternatives) and self.frontier is None


DEFAULT = About()
"""What is asked where nothing is asked for."""


@dataclass(frozen=True)
class Hangs:
    """The answers about a plan."""

    status: Status
    cost_per_month: str | None
    binding: tuple[Binding, ...] = ()
    worth: tuple[Worth, ...] = ()
    why: tuple[Why, ...] = ()
    why_not: tuple[Why, ...] = ()
    frontier: Frontier | None = None
    alternatives: Alternatives | None = None
    unfinished: tuple[str, ...] = ()


def hangs(
    source: Source,
    lines: tuple[Line, ...],
    tables: Tables,
    about: About,
    deadline: float,
    progress: Callable[[str], None],
) -> Hangs:
    """The answers to all that is asked of a scenario that has a plan.

    Raises:
        InputError: a question is about nothing that the plan has.
    """
    axis = None if about.frontier is None else parse_axis(about.frontier, source.scenario)
    with Trials(source.scenario, tables, deadline, progress) as trials:
        plan = trials.base.plan
        if plan is None:
            return Hangs("feasible", None, unfinished=("the plan itself was not proved: no question was asked",))
        questions, others = all_asked(about.why, about.why_not, plan)
        usual = about.nothing or about.every
        found = Hangs(
            "optimal",
            plan.totals.cost_per_month if plan.totals is not None else None,
            binding(trials, lines, every=about.every) if usual else (),
            worth(trials, every=about.every) if usual else (),
            tuple(why(trials, each) for each in questions),
            tuple(why_not(trials, source, each) for each in others),
            frontier(trials, axis) if axis else None,
            alternatives(trials, about.alternatives) if about.alternatives else None,
        )
    return replace(found, unfinished=tuple(_unfinished(found)))


def _unfinished(found: Hangs) -> Iterator[str]:
    """What is not known because time ended."""
    yield from (f"whether {row.path} binds" for row in found.binding if row.kind == "unknown")
    open_ = sum(row.status == "unknown" for row in found.worth)
    if open_:
        yield f"the worth of {open_} of {len(found.worth)} steps: a longer --time-limit asks the rest"
    for each in (*found.why, *found.why_not):
        yield from (f"{each.question}: {way.change}" for way in each.instead if way.fleet.status == "unknown")
