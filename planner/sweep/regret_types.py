"""Regret as frozen records: a row a fleet, a cell a scenario."""

from __future__ import annotations

from dataclasses import dataclass

from planner.plan.types import Status

REGRET_FORMAT_VERSION = "1.0"
"""Minor versions add keys, major versions break readers."""

AS_WRITTEN = "as written"
"""The scenario without any what_if block."""


@dataclass(frozen=True)
class Broken:
    """A promise or limit that a fleet does not keep: the scenario line, what is wrong in words, and how many times the
    limit is used, where that can be said."""

    path: str
    text: str
    times: str | None = None


@dataclass(frozen=True)
class Cell:
    """A fleet under one scenario. `holds` is None where the time limit left it open; money is of a month.

    `regret_per_month` is the cost above that of the best fleet, None where the fleet does not hold or none does.
    """

    scenario: str
    holds: bool | None
    cost_per_month: str | None
    regret_per_month: str | None
    broken: tuple[Broken, ...] = ()


@dataclass(frozen=True)
class FleetRow:
    """The fleet that was planned for a scenario, under every one of them. `most_regret_per_month` is None where it does
    not hold in each of those that some fleet holds in."""

    scenario: str
    status: Status
    cost_per_month: str | None
    gpus: int | None
    hash: str
    under: tuple[Cell, ...]
    most_regret_per_month: str | None


@dataclass(frozen=True)
class Regret:
    """The document: a row a fleet, in the order in which the scenarios were named, and the fleet to choose.

    `choice` is None where no fleet holds everywhere; `reason` says why this one, or what to do then.
    """

    format_version: str
    file: str
    name: str
    currency: str
    sets: tuple[str, ...]
    scenarios: tuple[str, ...]
    fleets: tuple[FleetRow, ...]
    choice: str | None
    reason: str
