"""Tests of the YAML layer: texts stay texts, positions are exact, what is dangerous is refused."""

from __future__ import annotations

import pytest
import yaml

from planner.scenario import source
from planner.scenario.source import Findings, MapNode, TextNode, child_text, parse_text, place_of, walk
from planner.scenario.types import Place


def parse(text: str) -> tuple[MapNode | None, list[str]]:
    """The tree and the codes found."""
    findings = Findings()
    node = parse_text(text, "a.yaml", findings)
    assert node is None or isinstance(node, MapNode)
    return node, [item.code for item in findings.items]


@pytest.mark.parametrize("text", ["1e3", "12:30", "no", "2026.10", "010", "0x1F", "1_000", ".inf", "2026-09-01", "~x"])
def test_scalars_stay_the_text_that_was_written(text: str) -> None:
    """Tests that none of YAML's guesses (floats, base 60, booleans, octals, dates) is made."""
    node, codes = parse(f"a: {text}\n")
    found = child_text(node, "a")
    assert codes == []
    assert found is not None
    assert (found.text, found.plain) == (text, True)


POSITIONS = """\
# comment
models:
  "a b": {ref: x, list: [one, "two"]}
  é😀: 'quoted'   # characters count, not bytes
  block: |
    several
    lines
  empty:
last: end
"""


@pytest.mark.parametrize("loader", [getattr(yaml, "CSafeLoader", yaml.SafeLoader), yaml.SafeLoader])
def test_positions_are_those_of_an_editor(loader: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests lines and columns against the text itself, with the C scanner and the Python one."""
    monkeypatch.setattr(source, "_LOADER", loader)
    node, codes = parse(POSITIONS)
    assert codes == []
    assert node is not None
    lines = POSITIONS.splitlines()
    for path, word in [
        (("models", "a b", "ref"), "x"),
        (("models", "a b", "list"), "[one"),
        (("models", "é😀"), "'quoted'"),
        (("models", "block"), "|"),
        (("models", "empty"), "empty:"),
        (("models",), "models:"),
        (("last",), "end"),
    ]:
        place = place_of(node, path)
        assert lines[place.line - 1][place.col - 1 :].startswith(word), path
    assert place_of(node, ("models", "a b", "list", 1)) == Place("a.yaml", 3, 31)


def test_a_missing_path_stands_where_its_parent_stands() -> None:
    """Tests the fallback that missing keys are reported with."""
    node, _ = parse("a:\n  b: {c: 1}\n")
    assert node is not None
    assert place_of(node, ("a", "b", "x", "y")) == Place("a.yaml", 2, 3)


def test_crlf_and_a_byte_order_mark_do_not_move_positions() -> None:
    """Tests files as some editors on Windows write them."""
    findings = Findings()
    node = parse_text("a: 1\r\nb: 2\r\n", "a.yaml", findings)
    assert findings.items == []
    assert isinstance(node, MapNode)
    assert place_of(node, ("b",)) == Place("a.yaml", 2, 4)


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("a: &x 1\n", ["KV106"]),
        ("a: &x [*x]\n", ["KV106", "KV106"]),  # contains itself
        ("a: !!int 1\n", ["KV107"]),
        ("a: !mine {b: 1}\n", ["KV107"]),
        ("<<: {b: 1}\n", ["KV109"]),
        ("? {b: 1}\n: c\n", ["KV111"]),
        ("null: c\n", ["KV111"]),
        ("a: 1\n---\nb: 2\n", ["KV108"]),
        ("a: 1\na: 2\n", ["KV105"]),
        ("a: {b: 1, b: 2, b: 3}\n", ["KV105", "KV105"]),
        ("", ["KV102"]),
        ("a: [1\n", ["KV101"]),
        ("a:\n\t- 1\n", ["KV104"]),
        ('a: "x\\u2028y"\n', []),  # written as an escape it is only a character of a text
        ("a: x\u2028y\n", ["KV112"]),
        ("a: x\x0cy\n", ["KV112"]),
    ],
)
def test_what_is_ambiguous_or_dangerous_is_refused(text: str, codes: list[str]) -> None:
    """Tests each trap of YAML by its code."""
    assert parse(text)[1] == codes


def test_quoted_merge_and_null_keys_are_texts() -> None:
    """Tests that quotes make any key a plain text."""
    node, codes = parse('"<<": 1\n"null": 2\n')
    assert codes == []
    assert node is not None
    assert list(node.entries) == ["<<", "null"]


def test_sixty_four_levels_are_read_and_one_more_is_not() -> None:
    """Tests the depth limit at its edge."""
    depth = source.MAX_DEPTH - 1
    assert parse("a: " + "[" * depth + "]" * depth)[1] == []
    assert parse("a: " + "[" * (depth + 1) + "]" * (depth + 1))[1] == ["KV110"]


def test_the_first_of_two_keys_is_kept() -> None:
    """Tests that reading goes on after a duplicate key, so that other mistakes are found too."""
    node, _ = parse("a: 1\na: 2\nb: 3\n")
    found = child_text(node, "a")
    assert found is not None
    assert found.text == "1"
    assert node is not None
    assert [".".join(path) for path, _ in walk(node)] == ["a", "b"]


@pytest.mark.parametrize(("text", "empty"), [("~", True), ("null", True), ("", True), ("nul", False)])
def test_null_is_nothing(text: str, empty: bool) -> None:
    """Tests which plain texts mean that nothing was written; in quotes none of them does."""
    assert TextNode(text, True, Place("a", 1, 1)).is_empty is empty
    assert not TextNode(text, False, Place("a", 1, 1)).is_empty
