"""What the lexicographic loop asks of a solver: take rows, minimize, answer with integers and a bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from planner.solver.master import Row, Terms


@dataclass(frozen=True)
class Answer:
    """What a backend found: the values of all variables (shares as the backend holds them) and a proved bound."""

    status: Literal["optimal", "feasible", "infeasible", "unknown"]
    values: tuple[int, ...] = ()
    bound: int | None = None


class Backend(Protocol):
    """A solver that holds one master; rows only ever join it."""

    name: str

    def add(self, row: Row) -> None:
        """Adds a row; new variables of the master join with it."""

    def minimize(self, terms: Terms, *, hint: Mapping[int, int] | None, time_limit_s: float) -> Answer:
        """Minimizes a linear expression of integer variables."""
