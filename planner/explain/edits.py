"""Changes of a resolved scenario: the values that change by where they stand, so that several of them go together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, is_dataclass, replace
from typing import TypeVar

from planner.scenario.types import Scenario

_T = TypeVar("_T")


@dataclass(frozen=True)
class Put:
    """A value at a place: names of fields, and keys where a field is a map."""

    keys: tuple[str, ...]
    value: object


Edit = tuple[Put, ...]
"""What one change of the scenario puts where."""


def put(*keys: str, value: object) -> Edit:
    """One value at one place."""
    return (Put(keys, value),)


def edited(scenario: Scenario, edits: Iterable[Edit]) -> Scenario:
    """The scenario with several changes, in turn."""
    for edit in edits:
        for each in edit:
            scenario = _put(scenario, each.keys, each.value)
    return scenario


def _put(record: _T, keys: tuple[str, ...], value: object) -> _T:
    key, rest = keys[0], keys[1:]
    if isinstance(record, dict):
        return record | {key: _put(record[key], rest, value) if rest else value}  # type: ignore[return-value]
    assert is_dataclass(record)
    inner = _put(getattr(record, key), rest, value) if rest else value
    return replace(record, **{key: inner})  # type: ignore[type-var]
