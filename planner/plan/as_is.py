"""The fleet that runs today, held against every promise and limit of the scenario: what doing nothing means."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from planner.plan.money import decimal


@dataclass(frozen=True)
class Judged:
    """One promise or limit under the running fleet. `path` is the scenario line; `used` and `limit` are in `unit`.

    They are None where the promise cannot be kept at all: `text` then says why, and what would do.
    """

    path: str
    holds: bool
    used: Fraction | None
    limit: Fraction | None
    unit: str
    text: str

    @property
    def factor(self) -> Fraction | None:
        """How much of the limit is used, or how often more is asked than there is: above 1 it is broken."""
        if self.used is None or self.limit is None:
            return None
        part, whole = (self.limit, self.used) if self.at_least else (self.used, self.limit)
        return part / whole if whole else None

    @property
    def at_least(self) -> bool:
        """Whether the limit is the least that is asked, as of spare nodes."""
        return self.unit != "%" and (self.path.endswith(".min") or self.path == "reserve.spare")

    def sentence(self, currency: str) -> str:
        """What is used of what, in words."""
        if self.used is None or self.limit is None:
            return self.text
        if self.at_least:
            asked = f"{_amount(self.used, '', currency)} of the {_amount(self.limit, self.unit, currency)} asked"
            return asked + (f", {self.text}" if self.text else "")
        shown = self.used if self.holds else Fraction(ceil(self.used * 10), 10)
        used, limit = (_amount(value, self.unit, currency) for value in (shown, self.limit))
        if self.unit == "%" and self.limit == 100:
            return f"{used} {self.text}".strip()
        return f"{used} of {limit}" + (f", {self.text}" if self.text else "")


def _amount(value: Fraction, unit: str, currency: str) -> str:
    """A quantity with its unit; what is broken never looks as if it held."""
    if unit == currency:
        whole, _, part = decimal(value, places=2).partition(".")
        return f"{currency}{int(whole):,}.{part}"
    text = decimal(value, places=1, at_least=0)
    return f"{text}%" if unit == "%" else f"{text} {unit}".strip()


@dataclass(frozen=True)
class AsIs:
    """The running fleet as it is: whether it keeps everything, the nodes that it takes and what they cost.

    `proved` is False where a time limit left open whether some routing keeps everything.
    """

    holds: bool
    proved: bool
    nodes: dict[str, int]
    gpus: int
    cost_per_month: str
    rows: tuple[Judged, ...]

    @property
    def broken(self) -> tuple[Judged, ...]:
        """What the running fleet does not keep."""
        return tuple(row for row in self.rows if not row.holds)
