"""Sweeps as frozen records: axes, points of their grid, and one row a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from planner.plan.types import Status

SWEEP_FORMAT_VERSION = "1.0"
"""Minor versions add keys, major versions break readers."""


@dataclass(frozen=True)
class Axis:
    """One line of the scenario and the values that it takes, as the user wrote them."""

    path: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Point:
    """One combination: its position in the grid, and a value for each axis."""

    index: int
    values: tuple[str, ...]

    def sets(self, axes: Sequence[Axis]) -> tuple[str, ...]:
        """The combination as overrides."""
        return tuple(f"{axis.path}={value}" for axis, value in zip(axes, self.values, strict=True))


@dataclass(frozen=True)
class Tightest:
    """The limit with the least room."""

    path: str
    used: Fraction
    limit: Fraction
    unit: str
    slack_ppm: int


@dataclass(frozen=True)
class Row:
    """One combination and its plan in short. `invalid`: the combination is no scenario, `note` says why; without a
    plan `note` says what stands in the way."""

    values: tuple[str, ...]
    status: Status | Literal["invalid"]
    gap_ppm: int | None
    cost_per_month: str | None
    gpus: int | None
    power_w: str | None
    tightest: Tightest | None
    note: str
    hash: str | None
    reproducible: bool


@dataclass(frozen=True)
class Sweep:
    """The document: one row for each combination, in the order of the grid."""

    format_version: str
    file: str
    name: str
    currency: str
    sets: tuple[str, ...]
    what_if: tuple[str, ...]
    axes: tuple[Axis, ...]
    rows: tuple[Row, ...]
