"""Texts and JSON values become integers: fast for whole columns, one by one where something in them is wrong.

Times are nanoseconds, as integers: epoch times lose nothing, and differences are exact.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import cast

import numpy as np
from numpy.typing import NDArray

from planner.units import MAX_TOKENS, shorten

IntArray = NDArray[np.int64]

MOST_TIME_NS = 2**62
"""About the year 2116; times and their differences stay within an int64."""

EPOCH_UNITS_NS = ((10**17, 1), (10**14, 1_000), (10**11, 1_000_000), (0, 10**9))
"""(at least, unit): a bare number from 10^11 on is an epoch time in ms, us or ns; in seconds it is past year 5000."""

_DATE = re.compile(
    r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}:\d{2})(?:[.,](\d{1,12}))?\s*(Z|UTC|[+-]\d{2}:?\d{2})?", re.ASCII
)
_NUMBER = re.compile(r"[+-]?(?:\d+(?:_\d+)*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
DATE_SIGNS = (4, 7, 13, 16)
"""Where the hyphens and colons of a date stand."""
MOST_NUMBER_CHARS = 40
SHOWN_CHARS = 40


@dataclass(frozen=True)
class Wrong:
    """Why a value is none."""

    reason: str


def tokens(values: Sequence[object]) -> list[int | Wrong] | IntArray:
    """Token counts of a column: an array where all are right, else each value or what is wrong with it."""
    found = _whole_numbers(values)
    if found is not None and len(found) and int(found.min()) >= 1 and int(found.max()) <= MAX_TOKENS:
        return found
    return [token_count(value) for value in values]


def token_count(value: object) -> int | Wrong:
    """One token count: a whole number from 1."""
    number = _number(value)
    if isinstance(number, Wrong):
        return number
    if number.denominator != 1:
        return Wrong(f"{_shown(value)} is not a whole number of tokens")
    if number == 0:
        return Wrong("0 tokens: the request failed or was empty")
    if not 1 <= number <= MAX_TOKENS:
        return Wrong(f"{_shown(value)} tokens are not between 1 and {MAX_TOKENS:,}")
    return int(number)


def times(values: Sequence[object], unit_ns: int | None) -> list[int | Wrong] | IntArray:
    """Times of a column in ns: an array where all are right, else each value or what is wrong with it."""
    found = _dates(values) if unit_ns is None else None
    if found is None:
        found = _scaled(values, unit_ns)
    if found is not None and len(found) and int(found.min()) >= 0 and int(found.max()) <= MOST_TIME_NS:
        return found
    return [time_ns(value, unit_ns) for value in values]


def time_ns(value: object, unit_ns: int | None) -> int | Wrong:
    """One time in ns: a date as text, or a number in its unit (None: told by its size)."""
    if isinstance(value, str) and unit_ns is None and (match := _DATE.fullmatch(value.strip()[:SHOWN_CHARS])):
        return _date_ns(match)
    number = _number(value)
    if isinstance(number, Wrong):
        return Wrong(f"{_shown(value)} is not a time") if isinstance(value, str) and value.strip() else number
    scaled = number * (unit_ns or epoch_unit_ns(abs(number)))
    if not 0 <= scaled <= MOST_TIME_NS:
        return Wrong(f"{_shown(value)} is no time from 0 on")
    return round(scaled)


def epoch_unit_ns(size: Fraction | float) -> int:
    """The unit of a bare number: seconds, unless it is far too large for them."""
    return next(unit for least, unit in EPOCH_UNITS_NS if size >= least)


def _texts(values: Sequence[object]) -> NDArray[np.str_] | None:
    """A column of short texts; None where it is none. (An array is as wide as its longest text.)"""
    if not values or set(map(type, values)) != {str}:
        return None
    texts = cast("Sequence[str]", values)
    return np.asarray(texts) if max(map(len, texts)) <= MOST_NUMBER_CHARS and all(map(str.isascii, texts)) else None


def _whole_numbers(values: Sequence[object]) -> IntArray | None:
    """Whole numbers of a column of plain integers; None where any value needs a closer look."""
    try:
        if set(map(type, values)) == {int}:
            return np.array(values, dtype=np.int64)
        texts = _texts(values)
        return None if texts is None else texts.astype(np.int64)
    except (ValueError, OverflowError):
        return None


def _decimals(values: Sequence[object]) -> NDArray[np.float64] | None:
    """Finite numbers of a column; None where any value needs a closer look."""
    try:
        if set(map(type, values)) <= {int, float}:
            found = np.array(values, dtype=np.float64)
        else:
            texts = _texts(values)
            if texts is None:
                return None
            found = texts.astype(np.float64)
    except (ValueError, OverflowError):
        return None
    return found if len(found) and bool(np.isfinite(found).all()) else None


def _dates(values: Sequence[object]) -> IntArray | None:
    """Dates of a column in UTC; None where they are none, or not all of the same offset."""
    texts = _texts(values)
    match = _DATE.fullmatch(str(values[0])) if texts is not None else None
    if texts is None or match is None:
        return None
    offset = match[4] or ""
    if offset:
        if not bool(np.char.endswith(texts, offset).all()):
            return None
        texts = np.asarray([text[: -len(offset)] for text in cast("Sequence[str]", values)])
    letters = texts.view("U1").reshape(len(texts), -1)
    if letters.shape[1] < len("2023-11-16 18:17:03") or not bool(
        (letters[:, DATE_SIGNS] == ["-", "-", ":", ":"]).all()
    ):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # another zone further down
            found = texts.astype("datetime64[ns]")
    except (ValueError, OverflowError, Warning):
        return None
    return None if bool(np.isnat(found).any()) else found.astype(np.int64) - _offset_ns(offset)


def _scaled(values: Sequence[object], unit_ns: int | None) -> IntArray | None:
    """Numbers of a column in ns; None where any value needs a closer look."""
    numbers = _whole_numbers(values)
    decimals = _decimals(values) if numbers is None else None
    column = numbers if numbers is not None else decimals
    if column is None or not len(column):
        return None
    smallest, largest = float(np.abs(column).min()), float(np.abs(column).max())
    unit = unit_ns or epoch_unit_ns(largest)
    # Numbers on both sides of a border, such as 0 and 10^12, are told one by one.
    if (unit_ns is None and epoch_unit_ns(smallest) != unit) or largest * unit > MOST_TIME_NS:
        return None
    return numbers * unit if numbers is not None else np.rint(column * unit).astype(np.int64)


def _number(value: object) -> Fraction | Wrong:
    if isinstance(value, bool) or value is None:
        return Wrong("no value" if value is None else f"{value} is not a number")
    if isinstance(value, int):
        return Fraction(value) if abs(value) <= MOST_TIME_NS else Wrong("a number too large to be one")
    if isinstance(value, float):
        return Fraction(value) if np.isfinite(value) else Wrong(f"{value} is not a number")
    if not isinstance(value, str):
        return Wrong("no single value")
    text = value.strip()
    if not text:
        return Wrong("no value")
    if len(text) > MOST_NUMBER_CHARS or not _NUMBER.fullmatch(text):
        return Wrong(f"{_shown(value)} is not a number")
    return Fraction(text.replace("_", ""))


def _date_ns(match: re.Match[str]) -> int | Wrong:
    """A date with its fraction and offset; without an offset it is UTC."""
    try:
        moment = datetime.fromisoformat(f"{match[1]}T{match[2]}")
    except ValueError:
        return Wrong(f"{_shown(match[0])} is not a date")
    since = moment - datetime(1970, 1, 1)
    fraction_ns = int((match[3] or "0").ljust(9, "0")[:9])
    return (since.days * 86_400 + since.seconds) * 10**9 + fraction_ns - _offset_ns(match[4] or "")


def _offset_ns(offset: str) -> int:
    """How far a zone is ahead of UTC; no offset is UTC.

    >>> _offset_ns("+05:30") // 10**9, _offset_ns("Z")
    (19800, 0)
    """
    if offset in ("", "Z", "UTC"):
        return 0
    sign = -1 if offset[0] == "-" else 1
    return sign * (int(offset[1:3]) * 60 + int(offset[-2:])) * 60 * 10**9


def _shown(value: object) -> str:
    """A value as people read it: short, printable."""
    text = shorten(str(value), SHOWN_CHARS) if isinstance(value, str | float | int) else type(value).__name__
    return repr(text) if isinstance(value, str) else text
