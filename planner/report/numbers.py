"""How numbers look, in one place: the terminal, Markdown and pages must say the same."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from planner.plan.types import PoolPlan

MICRO = 1_000_000


def money(amount: str, currency: str, *, places: int = 2) -> str:
    """A decimal string as money.

    >>> money("69379.2", "$"), money("-0.684", "$")
    ('$69,379.20', '-$0.68')
    """
    value = Decimal(amount).quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)
    sign = "-" if value < 0 else ""
    return f"{sign}{currency}{abs(value):,}"


def nodes(pool: PoolPlan) -> str:
    """Nodes of those offered, and how many of them are counted on where some may be away: `9/9, 6 sure`."""
    sure = "" if pool.nodes_counted is None else f", {pool.nodes_counted} sure"
    return f"{pool.nodes}/{pool.nodes_offered}{sure}"


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


def price(amount: str, currency: str) -> str:
    """A price with all its places, at least two.

    >>> price("2.2844", "$"), price("3", "€")
    ('$2.2844', '€3.00')
    """
    return money(amount, currency, places=max(2, len(amount.partition(".")[2])))


def ratio(value: Fraction) -> str:
    """How many times smaller.

    >>> ratio(Fraction(128, 66))
    '1.94x'
    """
    return f"{float(value):.2f}x"


def exact_percent(ppm: int) -> str:
    """A share with as many places as it has, as scenarios write it.

    >>> exact_percent(30_000), exact_percent(8_933)
    ('3%', '0.8933%')
    """
    whole, rest = divmod(abs(ppm), 10_000)
    sign = "-" if ppm < 0 else ""
    return f"{sign}{whole}.{rest:04d}".rstrip("0").rstrip(".") + "%"


def signed_money(amount: str, currency: str) -> str:
    """A change of money with its sign; none for no change.

    >>> signed_money("19213.6", "$"), signed_money("-3", "$"), signed_money("0.001", "$")
    ('+$19,213.60', '-$3.00', '$0.00')
    """
    rounded = Decimal(amount).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP) or Decimal(0)
    return ("+" if rounded > 0 else "") + money(str(rounded), currency)


def signed_count(change: int) -> str:
    """A change of a whole number with its sign.

    >>> signed_count(8), signed_count(-2), signed_count(0)
    ('+8', '-2', '0')
    """
    return f"{change:+,}" if change else "0"


def tenth_percent(ppm: int) -> str:
    """A share with one decimal; what is not zero never looks like zero.

    >>> tenth_percent(276_936), tenth_percent(120), tenth_percent(0), tenth_percent(1_286_822)
    ('27.7%', '<0.1%', '0.0%', '128.7%')
    """
    if 0 < ppm < 1000:
        return "<0.1%"
    tenths = (ppm + 500) // 1000
    return f"{tenths // 10:,}.{tenths % 10}%"


def signed_percent(ppm: int) -> str:
    """A change in percent, with one decimal.

    >>> signed_percent(276_936), signed_percent(-76_061), signed_percent(0)
    ('+27.7%', '-7.6%', '0.0%')
    """
    return ("+" if ppm > 0 else "-" if ppm < 0 else "") + tenth_percent(abs(ppm))


def points(ppm: int) -> str:
    """A change of a share, in percentage points.

    >>> points(-20_444), points(300), points(0)
    ('-2.0 points', '+<0.1 points', '0.0 points')
    """
    return signed_percent(ppm).replace("%", " points")


def signed_quantity(value: Fraction, unit: str, currency: str) -> str:
    """A change of a used or limit figure.

    >>> signed_quantity(Fraction(4800), "W", "$"), signed_quantity(Fraction(-1600), "W", "$")
    ('+4.8 kW', '-1.6 kW')
    """
    return ("+" if value > 0 else "-" if value < 0 else "") + quantity(abs(value), unit, currency)


def unit_cost_change(base: str, head: str, currency: str) -> str:
    """The change of a cost per million tokens: the difference of the two as they are shown.

    >>> unit_cost_change("0.8801", "1.3831", "$"), unit_cost_change("0.8801", "0.8849", "$")
    ('+$0.50', '+<$0.01')
    """
    cents = [Decimal(amount).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP) for amount in (base, head)]
    if cents[0] == cents[1] and Decimal(base) != Decimal(head):
        return f"{'+' if Decimal(head) > Decimal(base) else '-'}<{money('0.01', currency)}"
    return signed_money(str(cents[1] - cents[0]), currency)


def horizon(hours: Fraction) -> str:
    """A planning horizon in months of 730 hours, or in hours where those are no simple number of months.

    >>> horizon(Fraction(2190)), horizon(Fraction(100))
    ('3 mo', '100 h')
    """
    months = hours / 730
    return f"{float(months):g} mo" if months.denominator <= 12 else f"{float(hours):g} h"


def share(part: Fraction) -> str:
    """The part of a band that goes somewhere: a small fraction as it is, another one in percent.

    >>> share(Fraction(1)), share(Fraction(3, 8)), share(Fraction(902_183, 1_084_862))
    ('all', '3/8', '83.2%')
    """
    if part == 1:
        return "all"
    return str(part) if part.denominator <= 100 else tenth_percent(round(part * MICRO))
