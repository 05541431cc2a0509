"""What a solve tells while it works: the best plan so far, the best proved bound with its name, and the gap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One line of progress. `by` names what proved the bound; cost is in micro-units an hour, the rest are counts."""

    objective: str
    best: int | None
    bound: int | None = None
    by: str = ""

    @property
    def proved(self) -> bool:
        """Whether no better value exists."""
        return self.best is not None and self.bound is not None and self.bound >= self.best

    def __str__(self) -> str:
        """The line.

        >>> str(Step("cost", 39_680_000, 38_100_000, "linear relaxation"))
        'cost: best 39.68/h, bound 38.10/h (linear relaxation), gap 3.98%'
        >>> str(Step("gpus", 24, 24, "cpsat")), str(Step("cost", None))
        ('gpus: best 24, bound 24 (cpsat), proved', 'cost: no plan yet')
        """
        if self.best is None:
            return f"{self.objective}: no plan yet{self._bound()}"
        if self.proved:
            return f"{self.objective}: best {self._number(self.best)}{self._bound()}, proved"
        gap = "" if self.bound is None or not self.best else f", gap {1 - self.bound / self.best:.2%}"
        return f"{self.objective}: best {self._number(self.best)}{self._bound()}{gap}"

    def _bound(self) -> str:
        return "" if self.bound is None else f", bound {self._number(self.bound)} ({self.by})"

    def _number(self, value: int) -> str:
        return f"{value / 1e6:,.2f}/h" if self.objective == "cost" else f"{value:,}"


Progress = Callable[[Step], None]
"""Who is told."""
