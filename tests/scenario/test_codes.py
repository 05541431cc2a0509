"""Tests that every code is documented, used and tested."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from planner.scenario.codes import CODES

ROOT = Path(__file__).parents[2]
ERRORS = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
LATER_ROOMS = ("KV7", "KV8")
"""Codes that are raised by the pipeline and by plan documents, and tested with them."""


def codes_in(files: list[Path]) -> set[str]:
    """The codes that stand in files."""
    return {code for file in files for code in re.findall(r"KV[0-9]{3}", file.read_text(encoding="utf-8"))}


def test_every_code_of_the_source_is_in_the_table() -> None:
    """Tests that no room raises a code without a meaning."""
    assert codes_in(sorted((ROOT / "planner").rglob("*.py"))) == set(CODES)


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_paragraph(code: str) -> None:
    """Tests that docs/errors.md explains the code: its meaning as the heading, an example, what to write."""
    match = re.search(rf"^### {code}: (.+)\n\n((?:.+\n)+)", ERRORS, re.MULTILINE)
    assert match, f"docs/errors.md has no paragraph for {code}"
    assert match[1] == CODES[code]
    assert len(match[2].split()) >= 15
    assert "`" in match[2]


def test_no_paragraph_explains_a_code_that_is_gone() -> None:
    """Tests that the document has no other codes."""
    assert set(re.findall(r"^### (KV[0-9]{3})", ERRORS, re.MULTILINE)) == set(CODES)


def test_every_code_of_this_room_has_a_test() -> None:
    """Tests that each code stands in a test or in an expected file."""
    tested = codes_in([*(ROOT / "tests").rglob("*.py"), *(ROOT / "tests" / "data" / "bad").glob("*.expected")])
    assert {code for code in CODES if not code.startswith(LATER_ROOMS)} <= tested
