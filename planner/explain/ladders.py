"""Ladders of values: from a value as written, in its own unit, step by step to looser ones."""

from __future__ import annotations

import re
from fractions import Fraction
from math import ceil, floor, log10

_QUANTITY = re.compile(r"(?P<sign>[$€£]?)(?P<number>[0-9][0-9_]*(?:\.[0-9]+)?)(?P<unit>.*)", re.DOTALL)

MOST_TIMES = 1_000
"""How far a ladder goes up: a value that does not help a thousand times looser is not the question."""

DIGITS = 3
"""Significant digits of the steps: a repair is something to write in a file."""


def lower(text: str, *, whole: bool = False) -> tuple[str, ...]:
    """Values below a quantity, in steps of its third digit.

    >>> lower("18 req/s")[:2], lower("18 req/s")[-1]
    (('17.9 req/s', '17.8 req/s'), '0.1 req/s')
    """
    sign, value, unit = _parts(text)
    step = _step(value)
    if whole:
        step = max(step, Fraction(1))
    count = ceil(value / step) - 1
    return tuple(f"{sign}{plain(step * k)}{unit}" for k in range(count, 0, -1))


def higher(text: str, ratio: Fraction, most: Fraction | None = None, *, whole: bool = False) -> tuple[str, ...]:
    """Values above a quantity that grow by a ratio, rounded up to its digits, up to `most`.

    >>> higher("45ms", Fraction(21, 20))[:3]
    ('47.3ms', '49.7ms', '52.1ms')
    """
    sign, value, unit = _parts(text)
    most = value * MOST_TIMES if most is None else most
    found: list[Fraction] = []
    exact = value
    while exact < most:
        exact = min(exact * ratio, most)
        step = _step(exact)
        if whole:
            step = max(step, Fraction(1))
        rounded = min(ceil(exact / step) * step, most)
        if rounded > (found[-1] if found else value):
            found.append(rounded)
    return tuple(f"{sign}{plain(each)}{unit}" for each in found)


def shares_above(ppm: int) -> tuple[str, ...]:
    """Shares above one, in percent: by a tenth at a time, from a hundredth of a percent, up to 100 %.

    >>> shares_above(0)[:3], shares_above(900_000)
    (('0.01%', '0.011%', '0.0121%'), ('99%', '100%'))
    """
    start = Fraction(max(ppm, 80), 10_000)
    first = ("0.01%",) if ppm < 100 else ()
    return (*first, *higher(f"{plain(max(start, Fraction(1, 100)))}%", Fraction(11, 10), Fraction(100)))


def counts_up(value: int, most: int, unit: str = "") -> tuple[str, ...]:
    """Whole numbers above one.

    >>> counts_up(1, 3, " node"), counts_up(0, 1, " node")
    (('2 nodes', '3 nodes'), ('1 node',))
    """
    return tuple(counted(k, unit) for k in range(value + 1, most + 1))


def counts_down(value: int, least: int = 0, unit: str = "") -> tuple[str, ...]:
    """Whole numbers below one."""
    return tuple(counted(k, unit) for k in range(value - 1, least - 1, -1))


def counted(count: int, unit: str = "") -> str:
    """A count with its unit: `1 node`, `2 nodes`."""
    return f"{count:_}{unit}{'s' if unit and count != 1 else ''}"


def plain(value: Fraction) -> str:
    """A decimal as scenarios write it.

    >>> plain(Fraction(165_448)), plain(Fraction(1, 8))
    ('165_448', '0.125')
    """
    whole, part = divmod(round(value * 10**9), 10**9)
    digits = f"{part:09d}".rstrip("0")
    return f"{whole:_}.{digits}" if digits else f"{whole:_}"


def number(text: str) -> Fraction:
    """The number of a quantity, without its unit."""
    return _parts(text)[1]


def _parts(text: str) -> tuple[str, Fraction, str]:
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no quantity.")
    return match["sign"], Fraction(match["number"].replace("_", "")), match["unit"]


def _step(value: Fraction) -> Fraction:
    """One unit of the last of the significant digits."""
    return Fraction(10) ** (floor(log10(value)) - DIGITS + 1) if value else Fraction(1)
