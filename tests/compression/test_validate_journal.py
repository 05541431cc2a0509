"""Tests of the journal that lets an interrupted validation resume."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.compression.validate_journal import Journal, number, numbers, whole, work_key


def test_finished_work_is_found_again(tmp_path: Path) -> None:
    """Tests that a second journal on the same file knows what the first one did."""
    path = tmp_path / "deep" / "journal.jsonl"
    Journal(path).add("a", {"hits": 3, "attention_error": [0.1]})
    assert Journal(path).get("a") == {"hits": 3, "attention_error": [0.1]}
    assert Journal(path).get("b") is None


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_torn_last_line_is_dropped_and_the_next_one_survives(tmp_path: Path, cut: int) -> None:
    """Tests that a line cut short at any byte loses only itself, also when more is written after it."""
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.add("a", {"hits": 1})
    journal.add("b", {"hits": 2})
    path.write_bytes(path.read_bytes()[:-cut])
    resumed = Journal(path)
    assert resumed.get("a") == {"hits": 1}
    assert resumed.get("b") in (None, {"hits": 2})  # only the newline was lost
    resumed.add("c", {"hits": 3})
    assert (Journal(path).get("a"), Journal(path).get("c")) == ({"hits": 1}, {"hits": 3})


def test_a_key_depends_on_every_fact() -> None:
    """Tests that the order of facts does not matter and each value does."""
    assert work_key(torch="2.13.0", codec="a") == work_key(codec="a", torch="2.13.0")
    assert work_key(torch="2.13.0", codec="a") != work_key(torch="2.13.0", codec="b")


def test_values_have_the_type_that_was_written() -> None:
    """Tests that a broken line is a sentence, not a wrong number."""
    record = {"hits": 3, "error": [0.5], "difference": 0.25}
    assert (whole(record, "hits"), numbers(record, "error"), number(record, "difference")) == (3, [0.5], 0.25)
    for read, name in ((whole, "error"), (numbers, "hits"), (number, "error")):
        with pytest.raises(ValueError, match="expected"):
            read(record, name)
