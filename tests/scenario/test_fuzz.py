"""Fuzzing: whatever stands in the file, the answer is a scenario or an InputError, quickly."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.errors import InputError
from planner.scenario.resolve import load_scenario

DATA = Path(__file__).parents[1] / "data" / "scenarios"
FULL = (DATA / "full.yaml").read_text()
SMALL = (DATA / "small.yaml").read_text()
FRAGMENTS = st.sampled_from(
    [
        *(
            "kvplan: 1\n",
            "models:\n",
            "  a: {",
            "}",
            "[",
            "]",
            ": ",
            "- ",
            "? ",
            "&a ",
            "*a",
            "!!str ",
            "<<: ",
            "\n",
            "\t",
        ),
        *(
            "'",
            '"',
            "|",
            ">",
            "#",
            "%",
            "@",
            "---\n",
            "...\n",
            "~",
            "null",
            "\u2028",
            "\x00",
            "\ufeff",
            "é",
            "😀",
            "\\",
        ),
        *(
            "traffic",
            '"a\\nb": ',
            '"\\u2028": x',
            "!<tag:x> ",
            "slo",
            "8k",
            "8Ki",
            "NaN",
            "-1",
            "1e400",
            "0x",
            "12:30",
            "$",
            "€5",
            "5 nodes",
            "tp4",
            "p50",
            "max",
        ),
        *("extends: fuzz.yaml\n", "what_if: {a: {models.*.ref: x}}\n", "9" * 5_000, "{a: " * 70, "[" * 70),
    ]
)
QUICK = settings(
    max_examples=120,
    deadline=2_000,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def attempt(path: Path, content: bytes, *sets: str) -> None:
    """Loads a file; anything but a scenario or a well-formed InputError fails the test."""
    path.write_bytes(content)
    try:
        load_scenario(path, sets)
    except InputError as error:
        assert error.diagnostics
        assert list(error.diagnostics) == sorted(error.diagnostics)
        for item in error.diagnostics:
            assert "\n" not in str(item)
            assert len(item.message) < 2_000


@QUICK
@given(pieces=st.lists(FRAGMENTS, max_size=30))
def test_text_that_looks_like_yaml(tmp_path: Path, pieces: list[str]) -> None:
    """Tests random runs of what YAML and the language are made of."""
    attempt(tmp_path / "fuzz.yaml", "".join(pieces).encode())


@QUICK
@given(content=st.binary(max_size=300))
def test_random_bytes(tmp_path: Path, content: bytes) -> None:
    """Tests files that are no text at all."""
    attempt(tmp_path / "fuzz.yaml", content)


@QUICK
@given(data=st.data())
def test_mutations_of_a_good_scenario(tmp_path: Path, data: st.DataObject) -> None:
    """Tests a good scenario with pieces cut out, doubled or replaced."""
    text = data.draw(st.sampled_from([FULL, SMALL]))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 60)))
        piece = data.draw(st.one_of(FRAGMENTS, st.just(text[start:end] * 2), st.just(""), st.text(max_size=8)))
        text = text[:start] + piece + text[end:]
    attempt(tmp_path / "fuzz.yaml", text.encode("utf-8", errors="surrogatepass"))


@QUICK
@given(data=st.data())
def test_whole_values_replaced(tmp_path: Path, data: st.DataObject) -> None:
    """Tests a good scenario with one value replaced by something of another shape."""
    lines = SMALL.splitlines()
    index = data.draw(st.integers(0, len(lines) - 1))
    value = data.draw(
        st.sampled_from(["", "{}", "[]", "[[]]", "{a: {b: c}}", "[1, {a: b}]", "~", "''", "x", "0", '"8"', "{max: }"])
    )
    lines[index] = lines[index].split(":")[0] + ": " + value
    attempt(tmp_path / "fuzz.yaml", "\n".join(lines).encode())


@QUICK
@given(override=st.one_of(st.text(max_size=40), st.lists(FRAGMENTS, max_size=4).map("".join)))
def test_random_overrides(tmp_path: Path, override: str) -> None:
    """Tests --set with any text, alone and as the value of a path that stands."""
    attempt(tmp_path / "fuzz.yaml", SMALL.encode(), override, f"traffic.chat.slo={override}", f"*.*.{override}=1")


@pytest.mark.parametrize("count", [2_000])
def test_many_names_are_read_in_linear_time(tmp_path: Path, count: int) -> None:
    """Tests that thousands of wrong keys and paths are answered within seconds, each of them."""
    keys = "".join(f"key-{index}: 1\n" for index in range(count))
    path = tmp_path / "many.yaml"
    path.write_text(SMALL + keys)
    with pytest.raises(InputError) as caught:
        load_scenario(path, ["traffic.caht.peak=1 req/s"])
    assert len(caught.value.diagnostics) == count + 1
