"""Why a plan is as it is, as plain records: what it hangs on, what a little more is worth, and what else there is.

Money is a decimal text a month; an effect is what the change adds to the cost of the plan. Every figure is the
difference of two proved optima; where one of them was not proved there is none, and `status` says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Proved = Literal["optimal", "infeasible", "unknown"]
"""What a question came to: a proved plan, the proof that there is none, or neither in time."""


Kind = Literal["binds", "at_limit", "together", "unknown"]


@dataclass(frozen=True)
class Binding:
    """A line that the plan uses up, or that makes it dearer.

    `binds`: without the line the plan costs less, by `saving_per_month`; `at_limit`: the plan stands at it, and would
    cost the same without; `together`: only without all lines of this kind at once; `unknown`: not known in time.
    """

    path: str
    value: str
    place: str
    kind: Kind
    saving_per_month: str | None
    change: str


@dataclass(frozen=True)
class Worth:
    """A step of a line, and what it does to the cost of the plan: `change` says what else would be bought."""

    path: str
    step: str
    before: str
    after: str
    status: Proved
    effect_per_month: str | None
    change: str


@dataclass(frozen=True)
class Fleet:
    """A plan in a few words: what runs, what it costs, which lines it uses up; without a plan, why there is none.

    `decided` says by what the plan of the scenario was preferred where both cost the same.
    """

    status: Proved
    cost_per_month: str | None
    effect_per_month: str | None
    runs: tuple[str, ...]
    nodes: tuple[str, ...]
    at_limit: tuple[str, ...]
    refused: tuple[str, ...]
    decided: str = ""


@dataclass(frozen=True)
class Instead:
    """One way to do without what was chosen, or with what was not: the plan of that, the cheapest there is."""

    change: str
    fleet: Fleet


@dataclass(frozen=True)
class Why:
    """An answer to `--why` or `--why-not`: what the plan has at the path, and what follows from having it otherwise."""

    question: str
    chosen: str
    instead: tuple[Instead, ...]


@dataclass(frozen=True)
class Point:
    """One plan of a frontier: nothing cheaper is as good on the other axis. `now`: it is the plan of the scenario."""

    cost_per_month: str
    value: str
    number: float
    now: bool
    runs: tuple[str, ...]
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Frontier:
    """Plans from the cheapest on, each better on `axis` than all before it. `whole`: none is missing."""

    axis: str
    unit: str
    points: tuple[Point, ...]
    whole: bool
    note: str


@dataclass(frozen=True)
class Alternatives:
    """The best plans that each do without a choice of every plan before them. `whole`: there are no more of them."""

    plans: tuple[Fleet, ...]
    whole: bool
    note: str
