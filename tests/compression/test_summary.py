"""The page of presets is generated from the table and never stale."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.compression.summary import BEGIN, END, evidence_list, main, preset_table, refresh
from planner.compression.table import load_presets

PAGE = Path(__file__).parents[2] / "docs" / "presets.md"


def test_the_page_is_not_stale() -> None:
    """docs/presets.md holds what the table says now (its last lines say how to repair it)."""
    page = PAGE.read_text(encoding="utf-8")
    assert refresh(page) == page


def test_every_preset_and_every_source_is_on_the_page() -> None:
    """Each preset has a line in the table, and each quality row its source in the evidence."""
    table, evidence = preset_table(), evidence_list()
    for preset in load_presets().values():
        assert f"| `{preset.id}` |" in table
        assert f"### `{preset.name}`" in evidence
        assert all(f"({row.source})" in evidence for row in preset.quality)


def test_a_line_of_the_table() -> None:
    """int8-per-token-head: 136, 264 and 520 bytes a pair give 1.88, 1.94 and 1.97x."""
    line = next(line for line in preset_table().splitlines() if "`int8-per-token-head`" in line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:7] == ["8 bits, 4 B a vector", "1.88", "1.94", "1.97", "1.95x", "confirmed"]


def test_refresh_keeps_the_hand_written_part(tmp_path: Path) -> None:
    """Only what stands between the marks is replaced, and a second run changes nothing."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nstale\n{END}\nafter\n", encoding="utf-8")
    assert main([str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "stale" not in text
    assert refresh(text) == text


def test_a_page_without_marks_is_refused() -> None:
    """A document without the marks is not overwritten."""
    with pytest.raises(ValueError, match="has no"):
        refresh("nothing here")
