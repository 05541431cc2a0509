"""Money and shares at the edge: exact integers in, decimal strings and rounded ppm out."""

from __future__ import annotations

from fractions import Fraction

MICRO = 1_000_000


def decimal(value: Fraction | int, places: int = 6, at_least: int = 2) -> str:
    """A plain decimal, rounded half up once, with between `at_least` and `places` digits after the point.

    >>> decimal(Fraction(6937920, 100)), decimal(Fraction(1, 3)), decimal(5, at_least=0)
    ('69379.20', '0.333333', '5')
    """
    sign = "-" if value < 0 else ""
    scaled = (abs(Fraction(value)) * 10**places * 2 + 1) // 2
    whole, part = divmod(int(scaled), 10**places)
    digits = f"{part:0{places}d}".rstrip("0").ljust(at_least, "0") if places else ""
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


def money(micro: Fraction | int) -> str:
    """A decimal string of micro-units, exact to the micro-unit.

    >>> money(69_379_200_000)
    '69379.20'
    """
    return decimal(Fraction(micro) / MICRO)


def ppm(part: Fraction) -> int:
    """A share in parts per million, rounded half up."""
    return int((part * MICRO * 2 + 1) // 2)


def decimal_difference(more: str | None, less: str | None) -> str | None:
    """One amount above another, below 0 where it is the smaller one; None where either is missing.

    >>> decimal_difference("95.00", "70.5"), decimal_difference(None, "70.5")
    ('24.50', None)
    """
    return None if more is None or less is None else decimal(Fraction(more) - Fraction(less))


def is_amount(text: str) -> bool:
    """Whether a text is a plain decimal of at least 0, as plans write money."""
    whole, _, part = text.partition(".")
    return len(text) <= 40 and whole.isascii() and whole.isdigit() and (not part or (part.isascii() and part.isdigit()))
