"""Exact units: text with a unit becomes an integer or a fraction in base units, and back. No floats anywhere.

Readers take the text of one YAML scalar and raise `ValueError` with one sentence: what was read, what is
wrong, what to write instead. Base units: microseconds, tokens, bytes, micro-units of money, requests per
second, parts per million (ppm), milliwatts, nodes. Every reader has bounds, so that later integer
arithmetic cannot overflow.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeVar

_N = TypeVar("_N", int, Fraction)

HOUR_US = 3_600_000_000
PPM = 1_000_000
MICRO = 1_000_000

DURATION_UNITS_US = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "min": 60_000_000,
    "h": HOUR_US,
    "d": 24 * HOUR_US,
    "w": 168 * HOUR_US,
    "mo": 730 * HOUR_US,
    "y": 8_760 * HOUR_US,
}
"""A month is 730 h and a year 8,760 h everywhere, so that twelve months are a year."""

BYTE_UNITS = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
POWER_UNITS_MW = {"mW": 1, "W": 10**3, "kW": 10**6, "MW": 10**9}
RATE_UNITS_S = {"req/s": 1, "req/min": 60, "req/h": 3_600}
CURRENCIES = ("$", "€", "£")

MAX_TOKENS = 2**31
MAX_DURATION_US = 100 * 8_760 * HOUR_US
MAX_BYTES = 2**60
MAX_MICRO_MONEY = 10**15
MAX_REQUESTS_PER_S = 10**9
MAX_REQUESTS_PER_DAY = 10**13
MAX_POWER_MW = 10**13
MAX_SPOT_NODES = 500
"""Most nodes of a pool with `availability`: how many are there how often is counted exactly."""

MAX_NODES = 1_000_000
MAX_MONTHS = 36
MAX_INCREASE_PPM = 10_000_000
MAX_INTEGER = 2**31
MAX_NUMBER = 10**15
MAX_TEXT_CHARS = 40

_DIGITS = r"(?:0|[1-9][0-9]{0,2}(?:_[0-9]{3})+|[1-9][0-9]*)"
_INTEGER = re.compile(_DIGITS)
_DECIMAL = re.compile(_DIGITS + r"(?:\.[0-9]{1,9})?")
_QUANTITY = re.compile(r"([0-9][0-9_]*(?:\.[0-9_]*)?) ?([A-Za-zµ%][A-Za-zµ/]*)?")
_EXPONENT = re.compile(r"([0-9]+(?:\.[0-9]+)?)[eE]\+?([0-9]{1,2})")


@dataclass(frozen=True)
class Money:
    """An amount in micro-units of its currency."""

    micro: int
    currency: str


@dataclass(frozen=True)
class Price:
    """A price for one hour of a GPU or of a whole node, in micro-units of its currency."""

    micro: int
    currency: str
    per: Literal["gpu", "node"]


def quote(text: str) -> str:
    """The text in quotes, as an error shows it.

    >>> quote("8k")
    "'8k'"
    """
    return f"'{shorten(text, MAX_TEXT_CHARS)}'"


def shorten(text: str, most_chars: int) -> str:
    """The text with at most so many characters and nothing invisible.

    >>> shorten("a" * 70 + "\\n", 8)
    'aaaaa...'
    """
    shown = text if len(text) <= most_chars else text[: most_chars - 3] + "..."
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in shown)


def parse_integer(text: str, example: str = "8", low: int = 0, high: int = MAX_INTEGER) -> int:
    """A plain integer, thousands grouped by underscores if wished.

    >>> parse_integer("6_000")
    6000
    """
    if not _INTEGER.fullmatch(text) or len(text) > MAX_TEXT_CHARS:
        raise ValueError(_why_not(text, "a whole number", example))
    return _bounded(int(text), text, low, high)


def parse_decimal(text: str, example: str = "1.5", low: Fraction | int = 0, high: int = MAX_NUMBER) -> Fraction:
    """A plain decimal number without a unit, exact.

    >>> parse_decimal("0.92")
    Fraction(23, 25)
    """
    if not _DECIMAL.fullmatch(text) or len(text) > MAX_TEXT_CHARS:
        raise ValueError(_why_not(text, "a decimal number", example))
    return _bounded(Fraction(text.replace("_", "")), text, low, high)


def parse_tokens(text: str) -> int:
    """A token count: a plain integer, `Ki` (1,024) or `Mi` (1,048,576).

    >>> parse_tokens("32Ki"), parse_tokens("6_000")
    (32768, 6000)
    """
    match = re.fullmatch(rf"({_DIGITS})(Ki|Mi)?", text)
    if match and len(text) <= MAX_TEXT_CHARS:
        factor = {None: 1, "Ki": 2**10, "Mi": 2**20}[match[2]]
        return _bounded(int(match[1]) * factor, text, 1, MAX_TOKENS, "tokens")
    short = re.fullmatch(r"([0-9]{1,6}) ?([kKmM])", text)
    if short:
        number, unit = int(short[1]), short[2].upper()
        binary, decimal = (2**10, 10**3) if unit == "K" else (2**20, 10**6)
        offers = f"{number}{unit}i ({number * binary:,}) or {number * decimal:_}"
        raise ValueError(f"{quote(text)} can mean two numbers; write {offers}")
    raise ValueError(_why_not(text, "a token count", "6_000 or 8Ki"))


def parse_duration_us(text: str, *, may_be_zero: bool = False) -> int:
    """A duration in whole microseconds; the unit is required.

    >>> parse_duration_us("45ms"), parse_duration_us("3mo") // HOUR_US
    (45000, 2190)
    """
    value = _quantity(text, DURATION_UNITS_US, "a duration", "800ms, 6h or 3mo")
    return int(_whole(_bounded(value, text, 0, MAX_DURATION_US, "us", above=not may_be_zero), text, "1 us"))


def parse_bytes(text: str) -> int:
    """An amount of memory in whole bytes; GiB (2^30) and GB (10^9) are different units.

    >>> parse_bytes("3GiB"), parse_bytes("3GB")
    (3221225472, 3000000000)
    """
    value = _quantity(text, BYTE_UNITS, "an amount of memory", "80GiB or 500MB")
    return int(_whole(_bounded(value, text, 0, MAX_BYTES, "bytes"), text, "1 B"))


def parse_power_mw(text: str) -> int:
    """A power in whole milliwatts.

    >>> parse_power_mw("60kW"), parse_power_mw("1.2MW")
    (60000000, 1200000000)
    """
    value = _quantity(text, POWER_UNITS_MW, "a power", "60kW or 500W")
    return int(_whole(_bounded(value, text, 0, MAX_POWER_MW, "mW", above=True), text, "1 mW"))


def parse_rate(text: str, *, may_be_zero: bool = False) -> Fraction:
    """A request rate as exact requests per second.

    >>> parse_rate("18 req/s"), parse_rate("90 req/min")
    (Fraction(18, 1), Fraction(3, 2))
    """
    inverse = {unit: Fraction(1, seconds) for unit, seconds in RATE_UNITS_S.items()}
    value = _quantity(text, inverse, "a request rate", "18 req/s")
    return _bounded(value, text, 0, MAX_REQUESTS_PER_S, "req/s", above=not may_be_zero)


def parse_requests_per_day(text: str) -> Fraction:
    """A daily number of requests, as exact requests per day.

    >>> parse_requests_per_day("200_000/day")
    Fraction(200000, 1)
    """
    number, slash, unit = text.partition("/")
    if slash and unit in ("day", "d") and _DECIMAL.fullmatch(number) and len(text) <= MAX_TEXT_CHARS:
        value = Fraction(number.replace("_", ""))
        return _bounded(value, text, 0, MAX_REQUESTS_PER_DAY, "a day", above=True)
    raise ValueError(_why_not(text, "a number of requests a day", "200_000/day", ("/day",)))


def parse_share_ppm(text: str, low_ppm: int = 0, high_ppm: int = PPM) -> int:
    """A share in whole ppm; the percent sign is required, finer than 0.0001% is refused.

    >>> parse_share_ppm("0.5%")
    5000
    """
    value = _quantity(text, {"%": PPM // 100}, "a share", "0.5%")
    if not low_ppm <= value <= high_ppm:
        raise ValueError(f"{quote(text)} is outside its range; write {format_ppm(low_ppm)} to {format_ppm(high_ppm)}")
    return int(_whole(value, text, "0.0001%"))


def parse_growth_ppm(text: str) -> int:
    """How much a rate grows (or shrinks) each month, in whole ppm.

    >>> parse_growth_ppm("5%/mo"), parse_growth_ppm("-0.5%/mo")
    (50000, -5000)
    """
    number, slash, month = text.removeprefix("-").partition("/")
    if not slash or month != "mo":
        raise ValueError(f"{quote(text)} is not a growth; write it like 5%/mo, or one share a month of the horizon")
    ppm = parse_share_ppm(number, 0, PPM // 2)
    return -ppm if text.startswith("-") else ppm


def parse_increase_ppm(text: str) -> int:
    """How much more than written, in whole ppm; the sign is required.

    >>> parse_increase_ppm("+20%")
    200000
    """
    if not text.startswith("+"):
        raise ValueError(f"{quote(text)} is not an increase; write how much more, like +20%")
    ppm = parse_share_ppm(text.removeprefix("+"), 0, MAX_INCREASE_PPM**2)
    if ppm > MAX_INCREASE_PPM:
        raise ValueError(f"{quote(text)} is outside its range; write +0% to +{format_ppm(MAX_INCREASE_PPM)}")
    return ppm


def parse_months(text: str) -> int:
    """A whole number of months, up to three years.

    >>> parse_months("3mo"), parse_months("1y")
    (3, 12)
    """
    months = Fraction(parse_duration_us(text), DURATION_UNITS_US["mo"])
    if months.denominator != 1 or months > MAX_MONTHS:
        raise ValueError(f"{quote(text)} is not whole months; write 1mo to {MAX_MONTHS}mo, like 12mo")
    return int(months)


def parse_nodes(text: str) -> int:
    """A number of nodes, with the word.

    >>> parse_nodes("5 nodes"), parse_nodes("1 node")
    (5, 1)
    """
    match = re.fullmatch(rf"({_DIGITS}) nodes?", text)
    if not match or len(text) > MAX_TEXT_CHARS:
        raise ValueError(_why_not(text, "a number of nodes", "5 nodes", ("node", "nodes")))
    return _bounded(int(match[1]), text, 0, MAX_NODES, "nodes")


def parse_money(text: str) -> Money:
    """An amount of money, to the micro-unit.

    >>> parse_money("$95_000")
    Money(micro=95000000000, currency='$')
    """
    currency, number = text[:1], text[1:]
    if currency not in CURRENCIES or not _DECIMAL.fullmatch(number) or len(text) > MAX_TEXT_CHARS:
        raise ValueError(_why_not_money(text, "an amount of money", "$95_000"))
    micro = _bounded(Fraction(number.replace("_", "")) * MICRO, text, 0, MAX_MICRO_MONEY, "millionths")
    return Money(int(_whole(micro, text, "a millionth")), currency)


def parse_replica_money(text: str) -> Money:
    """An amount of money for each replica.

    >>> parse_replica_money("$50/replica")
    Money(micro=50000000, currency='$')
    """
    amount, slash, unit = text.partition("/")
    if not slash or unit != "replica" or len(text) > MAX_TEXT_CHARS:
        raise ValueError(f"{quote(text)} is not an amount of money for a replica; write it like $50/replica")
    return parse_money(amount)


def parse_price(text: str) -> Price:
    """A price by the hour: `/gpu/h` or `/node/h`.

    >>> parse_price("$2.10/gpu/h")
    Price(micro=2100000, currency='$', per='gpu')
    """
    amount, _, unit = text.partition("/")
    currency, number = amount[:1], amount[1:]
    known = unit in ("gpu/h", "node/h")
    if currency not in CURRENCIES or not known or not _DECIMAL.fullmatch(number) or len(text) > MAX_TEXT_CHARS:
        raise ValueError(_why_not_money(text, "a price by the hour", "$2.10/gpu/h or $16.80/node/h"))
    micro = _bounded(Fraction(number.replace("_", "")) * MICRO, text, 0, MAX_MICRO_MONEY, "millionths")
    return Price(int(_whole(micro, text, "a millionth")), currency, "gpu" if unit == "gpu/h" else "node")


def format_ppm(share_ppm: int) -> str:
    """A share as an exact percentage.

    >>> format_ppm(5_000), format_ppm(1_000_000)
    ('0.5%', '100%')
    """
    return f"{_trimmed(Fraction(share_ppm, 10_000), 4)}%"


def format_rate(requests_per_s: Fraction) -> str:
    """A request rate to three digits (all digits of the whole part).

    >>> format_rate(Fraction(15, 2))
    '7.5 req/s'
    """
    return f"{_three_digits(requests_per_s)} req/s"


def _trimmed(value: Fraction, decimals: int) -> str:
    """The value rounded to so many decimals, without trailing zeros, thousands grouped."""
    scale = 10**decimals
    scaled = (abs(value.numerator) * scale * 2 + value.denominator) // (2 * value.denominator)
    sign = "-" if value < 0 and scaled else ""
    rest = f"{scaled % scale:0{decimals}d}".rstrip("0") if decimals else ""
    return f"{sign}{scaled // scale:,}" + (f".{rest}" if rest else "")


def _three_digits(value: Fraction) -> str:
    """Three significant digits, or the whole part where that has more."""
    decimals = next((digits for digits in range(3) if abs(value) >= 10 ** (2 - digits)), 3)
    while decimals and decimals < 9 and value and abs(value) * 10 ** (decimals - 2) < 1:
        decimals += 1
    return _trimmed(value, decimals)


def _quantity(text: str, units: dict[str, int] | dict[str, Fraction], kind: str, example: str) -> Fraction:
    """Number times unit, exact; at most one space between them."""
    match = _QUANTITY.fullmatch(text) if len(text) <= MAX_TEXT_CHARS else None
    if not match or not _DECIMAL.fullmatch(match[1]) or match[2] not in units:
        raise ValueError(_why_not(text, kind, example, tuple(units)))
    return Fraction(match[1].replace("_", "")) * units[match[2]]


def _bounded(value: _N, text: str, low: Fraction | int, high: int, unit: str = "", above: bool = False) -> _N:
    """The value, if it lies within its bounds (with `above`, the lower one is excluded)."""
    words = f" {unit}" if unit else ""
    if value > high:
        raise ValueError(f"{quote(text)} is too large; write at most {high:,}{words}")
    if above and value <= low:
        raise ValueError(f"{quote(text)} is too small; write more than {low}{words}")
    if value < low:
        raise ValueError(f"{quote(text)} is too small; write at least {low}{words}")
    return value


def _whole(value: Fraction | int, text: str, step: str) -> Fraction | int:
    """The value, if it is a whole number of base units."""
    if Fraction(value).denominator != 1:
        raise ValueError(f"{quote(text)} is finer than {step}; round it")
    return value


def _why_not(text: str, kind: str, example: str, units: tuple[str, ...] = ()) -> str:
    """The sentence for a text that is not a value of this kind: its trap, and what to write."""
    return f"{quote(text)} is not {kind}: {_trap(text, units)}; write it like {example}"


def _why_not_money(text: str, kind: str, example: str) -> str:
    """The sentence for a text that is not money."""
    amount, _, unit = text.partition("/")
    digits = amount[1:]
    if amount[:1] not in CURRENCIES and _DECIMAL.fullmatch(amount):
        reason = "it has no currency ($, € or £)"
    elif amount[:1] in CURRENCIES and _DECIMAL.fullmatch(digits):
        reason = f"{quote('/' + unit)} is not its unit" if unit else "it does not say of what and for how long"
    elif amount[:1] in CURRENCIES:
        reason = _trap(digits, ())
    else:
        reason = _trap(amount, ())
    return f"{quote(text)} is not {kind}: {reason}; write it like {example}"


def _trap(text: str, units: tuple[str, ...]) -> str:
    """Which well-known trap a text fell into, as half a sentence."""
    strange = next((char for char in text if not char.isascii() and char not in CURRENCIES), None)
    exponent = _EXPONENT.fullmatch(text)
    quantity = _QUANTITY.fullmatch(text)
    if not text:
        return "nothing stands there"
    if len(text) > MAX_TEXT_CHARS:
        return f"it is longer than {MAX_TEXT_CHARS} characters"
    if strange is not None:
        return f"it contains U+{ord(strange):04X} ({unicodedata.name(strange, 'unnamed').lower()})"
    if text.lower().lstrip("+-.").startswith(("nan", "inf")):
        return "it is not a finite number"
    if text.startswith(("-", "+")):
        return "signs are not written, and nothing here is negative"
    if exponent:
        return "exponents are not read"
    if ":" in text:
        return "colons are not read (no base 60)"
    if "," in text:
        return "commas are not read, thousands are grouped with '_'"
    if quantity and units and quantity[2] is None:
        return "it has no unit"
    if quantity and not _DECIMAL.fullmatch(quantity[1]):
        return "its digits are not in the usual form (no leading zeros, thousands grouped as 1_000)"
    if quantity and quantity[2] in units:
        return "its number has too many decimals"
    if quantity and quantity[2] is not None:
        known = f"the units are {', '.join(units)}" if units else "it takes no unit"
        return f"{quote(quantity[2])} is not its unit, {known}"
    if quantity and not units:
        return "it has decimals"
    return "it is not a number" + (" with a unit" if units else "")
