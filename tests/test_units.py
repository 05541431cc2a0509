"""Tests of exact units: values from definitions, traps by name, round trips."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner import units

HOUR_US = 3_600 * 10**6


@pytest.mark.parametrize(
    ("text", "expected_us"),
    [
        ("1us", 1),
        ("45ms", 45_000),
        ("0.8s", 800_000),
        ("800 ms", 800_000),
        ("8min", 480 * 10**6),
        ("6h", 6 * HOUR_US),
        ("1d", 24 * HOUR_US),
        ("1w", 168 * HOUR_US),
        ("3mo", 2_190 * HOUR_US),  # a month is 730 h
        ("1y", 8_760 * HOUR_US),
    ],
)
def test_durations_are_whole_microseconds(text: str, expected_us: int) -> None:
    """Tests that every unit of time has its defined length."""
    assert units.parse_duration_us(text) == expected_us


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", 1), ("6_000", 6_000), ("6000", 6_000), ("8Ki", 8_192), ("1Mi", 1_048_576), ("2147483648", 2**31)],
)
def test_token_counts(text: str, expected: int) -> None:
    """Tests that tokens are plain integers or binary multiples."""
    assert units.parse_tokens(text) == expected


def test_8k_offers_both_readings() -> None:
    """Tests that the ambiguous 8k names both numbers that it could mean."""
    with pytest.raises(ValueError, match=r"write 8Ki \(8,192\) or 8_000"):
        units.parse_tokens("8k")
    with pytest.raises(ValueError, match=r"write 1Mi \(1,048,576\) or 1_000_000"):
        units.parse_tokens("1M")


def test_gib_and_gb_are_different_units() -> None:
    """Tests binary against decimal bytes, by definition 2^30 and 10^9."""
    assert units.parse_bytes("80GiB") == 85_899_345_920
    assert units.parse_bytes("80GB") == 80_000_000_000
    with pytest.raises(ValueError, match="'G' is not its unit"):
        units.parse_bytes("80G")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("18 req/s", Fraction(18)),
        ("90 req/min", Fraction(3, 2)),
        ("1 req/h", Fraction(1, 3_600)),
        ("7.5 req/s", Fraction(15, 2)),
    ],
)
def test_rates_are_exact(text: str, expected: Fraction) -> None:
    """Tests that rates are fractions, never rounded."""
    assert units.parse_rate(text) == expected


def test_requests_per_day() -> None:
    """Tests the size of a daily batch."""
    assert units.parse_requests_per_day("200_000/day") == 200_000
    with pytest.raises(ValueError, match="no unit"):
        units.parse_requests_per_day("200_000")


def test_money_and_prices() -> None:
    """Tests that money is exact to a millionth and keeps its currency and what it is paid for."""
    assert units.parse_money("$95_000") == units.Money(95_000_000_000, "$")
    assert units.parse_price("€2.10/gpu/h") == units.Price(2_100_000, "€", "gpu")
    assert units.parse_price("£16.80/node/h") == units.Price(16_800_000, "£", "node")


def test_shares_power_nodes() -> None:
    """Tests the remaining units on their design examples."""
    assert units.parse_share_ppm("0.5%") == 5_000
    assert units.parse_share_ppm("100%") == 1_000_000
    assert units.parse_power_mw("60kW") == 60_000_000
    assert units.parse_power_mw("1.2MW") == 1_200_000_000
    assert units.parse_nodes("5 nodes") == 5
    assert units.parse_nodes("1 node") == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "nan",
        ".nan",
        ".inf",
        "-1ms",
        "+1ms",
        "1e3ms",
        "12:30",
        "1,000ms",
        "01ms",
        "1_0ms",
        "1__000ms",
        "1 000ms",
        "1\u00a0ms",
        "１ms",
        "٣ms",
        "1 m",
        "1  ms",
        " 1ms",
        "1ms ",
        "1ms\n",
        "0ms",
        "0.0001us",
        "1MS",
        "9" * 4_400 + "ms",
        "101y",
        "1.ms",
        ".5ms",
        "0x10ms",
    ],
)
def test_malformed_durations_are_refused(text: str) -> None:
    """Tests that everything but a plain number with a unit is a ValueError with a short sentence."""
    with pytest.raises(ValueError, match=r".") as caught:
        units.parse_duration_us(text)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


PARSERS = [
    units.parse_tokens,
    units.parse_duration_us,
    units.parse_bytes,
    units.parse_power_mw,
    units.parse_rate,
    units.parse_requests_per_day,
    units.parse_share_ppm,
    units.parse_nodes,
    units.parse_money,
    units.parse_price,
    units.parse_integer,
    units.parse_decimal,
]


@given(st.text(max_size=60), st.sampled_from(PARSERS))
def test_readers_only_raise_value_errors(text: str, parse: object) -> None:
    """Tests that no text makes a reader fail in another way, and that what is shown is printable."""
    assert callable(parse)
    try:
        parse(text)
    except ValueError as error:
        assert str(error).isprintable()


@given(st.integers(1, 10**15))
def test_whole_microseconds_survive(duration_us: int) -> None:
    """Tests that a duration written in microseconds is read back exactly."""
    assert units.parse_duration_us(f"{duration_us}us") == duration_us


@given(st.integers(0, 1_000_000))
def test_shares_round_trip(share_ppm: int) -> None:
    """Tests that every ppm is written and read exactly."""
    assert units.parse_share_ppm(units.format_ppm(share_ppm)) == share_ppm


def test_formats_of_reports() -> None:
    """Tests the forms of shares and rates that messages show."""
    assert units.format_ppm(5_000) == "0.5%"
    assert units.format_rate(Fraction(18)) == "18 req/s"
    assert units.format_rate(Fraction(1, 3)) == "0.333 req/s"
