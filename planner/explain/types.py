"""The answer of `kvplan explain`, as plain records: what the JSON document holds and the table shows.

Values are texts as a scenario writes them; money is a decimal text, as in plan documents.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from planner.explain.reasons import Alternatives, Binding, Frontier, Why, Worth

EXPLAIN_FORMAT_VERSION = "1.0"

Family = Literal["traffic", "promises", "models", "stock", "limits", "budget", "reserve"]
"""Kinds of lines, by who decides them."""


Status = Literal["optimal", "feasible", "infeasible", "unknown"]
"""What is known of the plan, in the words of plan documents."""


@dataclass(frozen=True)
class WrittenLine:
    """A line of the scenario: its path, its value as written (or the default), and where it stands."""

    path: str
    value: str
    place: str


@dataclass(frozen=True)
class Conflict:
    """Lines that leave no plan together, and each of which is needed for that.

    `verified`: solved again with exactly these lines as written and all others loosened, without a plan; and without
    any one of them, with a plan. Otherwise `text` says what was not looked at. Where no line helps at all, the lines
    are those of the models and GPUs.
    """

    paths: tuple[str, ...]
    lines: tuple[WrittenLine, ...]
    verified: bool
    text: str


@dataclass(frozen=True)
class Change:
    """One line of a repair: its value before and after, and the `--set` text that makes it so."""

    path: str
    before: str
    after: str
    set: str


@dataclass(frozen=True)
class Repair:
    """The least change of lines of one family that gives a plan; of several where no family is enough (`together`).

    `status` is `solved` where the scenario was planned again with exactly these changes; `none` where no values of
    these lines give a plan; `open` where time ended before either was known.
    """

    family: Family | Literal["together"]
    status: Literal["solved", "none", "open"]
    changes: tuple[Change, ...]
    cost_per_month: str | None
    text: str


@dataclass(frozen=True)
class Answer:
    """Everything that was found. `status` and `cost_per_month` are those of the plan; `notes` say what the figures
    hold, `unfinished` what the time limit cut short."""

    format_version: str
    name: str
    currency: str
    source: str
    status: Status
    cost_per_month: str | None
    conflicts: tuple[Conflict, ...] = ()
    repairs: tuple[Repair, ...] = ()
    binding: tuple[Binding, ...] = ()
    worth: tuple[Worth, ...] = ()
    why: tuple[Why, ...] = ()
    why_not: tuple[Why, ...] = ()
    frontier: Frontier | None = None
    alternatives: Alternatives | None = None
    notes: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    seconds: float = field(default=0.0, compare=False)
