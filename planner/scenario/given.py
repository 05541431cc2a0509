"""Values that the checks have made sure of."""

from __future__ import annotations

from typing import TypeVar

_T = TypeVar("_T")


def given(value: _T | None) -> _T:
    """A value that the checks have made sure of."""
    if value is None:
        raise AssertionError("a required value passed the checks without being given")
    return value
