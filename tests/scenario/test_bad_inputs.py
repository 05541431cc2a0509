"""Golden tests of wrong input: each file of tests/data/bad has its exact diagnostics beside it.

`NAME.expected` has one line a diagnostic: `[file:]line:col: KVnnn: message`, the file only where it is not
NAME.yaml.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from planner.errors import Diagnostic, InputError
from planner.scenario.resolve import load_scenario

BAD = Path(__file__).parents[1] / "data" / "bad"
NAMES = sorted(path.stem for path in BAD.glob("*.yaml"))


def diagnostics_of(path: Path, *sets: str) -> tuple[Diagnostic, ...]:
    """The diagnostics of a file that must be refused."""
    with pytest.raises(InputError) as caught:
        load_scenario(path, sets)
    return caught.value.diagnostics


def as_line(diagnostic: Diagnostic, name: str) -> str:
    """One line of an expected file."""
    file = "" if diagnostic.file == f"{name}.yaml" else f"{diagnostic.file}:"
    return f"{file}{diagnostic.line}:{diagnostic.col}: {diagnostic.code}: {diagnostic.message}"


def test_there_are_enough_bad_inputs() -> None:
    """Tests that the collection has not been emptied by accident."""
    assert len(NAMES) >= 100


@pytest.mark.parametrize("name", NAMES)
def test_bad_input_is_refused_with_these_words(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests place, code and text of every mistake of a file, all at once and in order."""
    monkeypatch.chdir(BAD)
    before = sorted(Path().iterdir())
    found = diagnostics_of(Path(f"{name}.yaml"))
    assert [as_line(item, name) for item in found] == Path(f"{name}.expected").read_text().splitlines()
    assert list(found) == sorted(found)
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"\x00\x01\x02\xff\xfe" * 100, "KV103"),  # binary
        (b"\x7fELF\x02\x01\x01" + bytes(64), "KV112"),  # valid UTF-8, but no text
        ("name: café\n".encode("latin-1"), "KV103"),
        ("kvplan: 1\n".encode("utf-16"), "KV103"),
        (b"name: \xed\xa0\x80\n", "KV103"),  # a lone surrogate
        (b"\xef\xbb\xbf", "KV102"),  # nothing but a byte order mark
        (b"[" * 10_000_000, "KV110"),
        (b"a: " * 300_000, "KV101"),
        (b"[" * 500_000, "KV110"),
        (b"{a: " * 200_000, "KV110"),
        (b"- " * 500_000, "KV110"),
        (b"? " * 500_000, "KV110"),
        (b"\t" * 500_000, "KV104"),
        (b"'" * 500_001, "KV101"),
        (b"!!binary " * 1_000, "KV101"),
        (b"%YAML 1.3\n---\na: 1\n", "KV101"),
    ],
)
def test_hostile_bytes_are_refused_quickly(tmp_path: Path, content: bytes, code: str) -> None:
    """Tests that binary files and megabytes of nesting give one short diagnostic within two seconds."""
    path = tmp_path / "hostile.yaml"
    path.write_bytes(content)
    start = time.perf_counter()
    found = diagnostics_of(path)
    assert time.perf_counter() - start < 60  # a hang, not a speed
    assert code in {item.code for item in found}
    assert len(found) <= 25
    assert all(len(item.message) < 400 for item in found)


def test_position_of_the_first_wrong_byte(tmp_path: Path) -> None:
    """Tests that a byte that is not UTF-8 is found in its line and column, counted in characters."""
    path = tmp_path / "latin.yaml"
    path.write_bytes("kvplan: 1\nname: é".encode() + b"\xe9\n")
    (found,) = diagnostics_of(path)
    assert (found.line, found.col, found.code) == (2, 8, "KV103")


def test_a_file_that_does_not_exist(tmp_path: Path) -> None:
    """Tests the file named on the command line: no line, the file itself is the place."""
    (found,) = diagnostics_of(tmp_path / "none.yaml")
    assert (found.file, found.line, found.code) == (str(tmp_path / "none.yaml"), 0, "KV601")


def test_a_directory_is_not_a_scenario(tmp_path: Path) -> None:
    """Tests that a directory is refused as such."""
    (found,) = diagnostics_of(tmp_path)
    assert found.code == "KV601"
    assert "regular file" in found.message


@pytest.mark.parametrize("ref", ["/dev/zero", "/dev/stdin", "x" * 400, "a/" * 200, '"nul\\0byte"'])
def test_odd_model_paths_are_refused(tmp_path: Path, ref: str) -> None:
    """Tests that devices and impossible names as a model or a table end as diagnostics, not as hangs."""
    small = (Path(__file__).parents[1] / "data" / "scenarios" / "small.yaml").read_text()
    path = tmp_path / "odd.yaml"
    path.write_text(small.replace("llama-3.1-8b", ref))
    assert {item.code for item in diagnostics_of(path)} <= {"KV417", "KV210"}
    path.write_text(small.replace("ref: llama-3.1-8b", f"capacity_table: {ref}"))
    assert {item.code for item in diagnostics_of(path)} & {"KV601", "KV210"}


def test_an_unreadable_table_is_reported_at_its_line(tmp_path: Path) -> None:
    """Tests a capacity table that is a directory."""
    (tmp_path / "table.csv").mkdir()
    small = (Path(__file__).parents[1] / "data" / "scenarios" / "small.yaml").read_text()
    path = tmp_path / "table.yaml"
    path.write_text(small.replace("ref: llama-3.1-8b", "capacity_table: table.csv"))
    found = [item for item in diagnostics_of(path) if item.code == "KV601"]
    assert [(item.line, item.col) for item in found] == [(5, 21)]
