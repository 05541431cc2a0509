"""How numbers look, in one place: the terminal, Markdown and pages must say the same."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

MICRO = 1_000_000


def money(amount: str, currency: str, *, places: int = 2) -> str:
    """A decimal string as money.

    >>> money("69379.2", "$"), money("-0.684", "$")
    ('$69,379.20', '-$0.68')
    """
    value = Decimal(amount).quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)
    sign = "-" if value < 0 else ""
    return f"{sign}{currency}{abs(value):,}"


def tokens(count: int) -> str:
    """A token count, in Ki where that is whole.

    >>> tokens(32768), tokens(1000)
    ('32Ki', '1,000')
    """
    return f"{count // 1024}Ki" if count and count % 1024 == 0 else f"{count:,}"


def percent(ppm: int) -> str:
    """A share as a whole percent, never rounded up to 100 % or down to 0 %.

    >>> percent(814_000), percent(999_900), percent(400), percent(0)
    ('81%', '99%', '<1%', '0%')
    """
    if 0 < ppm < 10_000:
        return "<1%"
    whole = (ppm + 5_000) // 10_000
    return f"{min(whole, 99)}%" if ppm < MICRO else f"{whole}%"


def time_pair(predicted_us: int, limit_us: int) -> str:
    """A prediction and its limit in the unit that suits the limit; the prediction is rounded up.

    >>> time_pair(43_610, 45_000), time_pair(700_000, 2_000_000), time_pair(17_280_000_000, 21_600_000_000)
    ('44/45 ms', '0.7/2 s', '4.8/6 h')
    """
    for unit, size, steps in (("h", 3_600_000_000, 10), ("min", 60_000_000, 10), ("s", 1_000_000, 10)):
        if limit_us >= (2 if unit == "s" else 1) * size:
            shown = -(-predicted_us * steps // size)
            return f"{_short(Fraction(shown, steps))}/{_short(Fraction(limit_us, size))} {unit}"
    return f"{-(-predicted_us // 1000)}/{_short(Fraction(limit_us, 1000))} ms"


def _short(value: Fraction) -> str:
    return f"{float(value):.4g}"


def gib(count: int) -> str:
    """Bytes as GiB with two decimals.

    >>> gib(85899345920)
    '80.00 GiB'
    """
    return f"{count / 2**30:,.2f} GiB"


def quantity(value: Fraction, unit: str, currency: str) -> str:
    """A used or limit figure of the limits table, with its unit."""
    if unit == currency:
        return money(str(Decimal(value.numerator) / Decimal(value.denominator)), currency, places=0)
    if unit == "W":
        return f"{float(value) / 1000:,.1f} kW" if value >= 1000 else f"{float(value):,.0f} W"
    if unit == "ms":
        return duration(value)
    if unit == "%":
        return f"{float(value):.3g}%"
    if unit.endswith("s") and value == 1:
        unit = unit[:-1]
    return f"{_one(value)} {unit}".rstrip()


def duration(ms: Fraction) -> str:
    """Milliseconds in a unit that reads well.

    >>> duration(Fraction(417, 10)), duration(Fraction(19_277_400)), duration(Fraction(3000))
    ('41.7 ms', '5.4 h', '3 s')
    """
    for unit, size in (("h", 3_600_000), ("min", 60_000), ("s", 2_000)):
        if ms >= (2 * size if unit == "min" else size):
            return f"{_one(ms / (1000 if unit == 's' else size))} {unit}"
    return f"{_one(ms)} ms"


def _one(value: Fraction) -> str:
    return f"{int(value):,}" if value.denominator == 1 else f"{float(value):,.1f}"


def rate(value: Fraction) -> str:
    """Requests per second with three significant digits."""
    return f"{float(value):,.3g} req/s"
