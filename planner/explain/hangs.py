"""What a plan hangs on, and what else there is: the questions about a scenario that has a plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from planner.explain.binding import binding
from planner.explain.lines import Line
from planner.explain.reasons import Binding, Worth
from planner.explain.tables import Tables
from planner.explain.trials import Trials
from planner.explain.types import Status
from planner.explain.words import cents
from planner.explain.worth import worth
from planner.scenario.types import Scenario


@dataclass(frozen=True)
class About:
    """What is asked of a plan. `every`: all lines and steps, not only the likely ones."""

    every: bool = False


DEFAULT = About()
"""What is asked where nothing is asked for."""


@dataclass(frozen=True)
class Hangs:
    """The answers about a plan."""

    status: Status
    cost_per_month: str | None
    binding: tuple[Binding, ...] = ()
    worth: tuple[Worth, ...] = ()
    unfinished: tuple[str, ...] = ()


def hangs(
    scenario: Scenario,
    lines: tuple[Line, ...],
    tables: Tables,
    about: About,
    deadline: float,
    progress: Callable[[str], None],
) -> Hangs:
    """The answers to all that is asked of a scenario that has a plan."""
    with Trials(scenario, tables, deadline, progress) as trials:
        if trials.base.status != "optimal":
            return Hangs("feasible", None, unfinished=("what the plan hangs on: the plan itself was not proved",))
        bind = binding(trials, lines, every=about.every)
        steps = worth(trials, every=about.every)
        open_ = [f"whether {row.path} binds" for row in bind if row.kind == "unknown"]
        open_ += [f"the worth of {row.path}, {row.step}" for row in steps if row.status == "unknown"]
        return Hangs("optimal", cents(trials.base.cost_per_month), bind, steps, tuple(open_))
