"""Tests of published tables beside ours."""

from __future__ import annotations

from fractions import Fraction

import pytest

from planner.calculator.published import Cell, published_tables


def _cells() -> dict[tuple[str, str], Cell]:
    rows = [row for table in published_tables() for row in table.rows]
    return {(row.model, cell.length): cell for row in rows for cell in row.cells}


@pytest.mark.parametrize(
    ("model", "length", "unit", "tokens"),
    [
        ("llama-2-7b", "1", "B", 1),
        ("llama-3.1-8b", "1k", "GiB", 1_024),
        ("llama-3.1-8b", "16k", "GiB", 16_000),
        ("llama-3.1-70b", "128k", "GiB", 128_000),
        ("opt-30b", "1,024", "GB", 1_024),
        ("mixtral-8x7b", "128K", "GiB", 131_072),
    ],
)
def test_right_cells_and_their_units(model: str, length: str, unit: str, tokens: int) -> None:
    """Tests that a right cell says in which unit, and whether k is 1,000 or 1,024."""
    cell = _cells()[model, length]
    assert cell.is_right and cell.reading is not None
    assert (cell.reading.unit, cell.reading.tokens) == (unit, tokens)


@pytest.mark.parametrize(("model", "factor"), [("llama-3.1-405b", 2), ("llama-3-70b", 4)])
def test_wrong_cells_and_their_causes(model: str, factor: int) -> None:
    """Tests that wrong cells are off by the factor of their cause, which gives the printed digits itself."""
    found = [cell for (name, _), cell in _cells().items() if name == model]
    assert len(found) == 3
    for cell in found:
        assert not cell.is_right
        assert cell.cause_reading is not None
        assert abs(cell.factor - factor) < Fraction(1, 500)


def test_every_wrong_row_has_words_and_a_proved_cause() -> None:
    """Tests that nothing is called wrong without a cause that was computed, nor right with one."""
    for table in published_tables():
        assert table.source
        for row in table.rows:
            assert bool(row.words) == (not row.is_right)
            assert all(cell.is_right or cell.cause_reading for cell in row.cells)


def test_our_bytes_by_hand() -> None:
    """Tests ours against the textbook: OPT-30B is 2 x 48 x 7168 x 2 B x 1,024 x 128, the 405B has 126 x 8 x 128."""
    cells = _cells()
    assert cells["opt-30b", "1,024"].our_bytes == 2 * 48 * 7168 * 2 * 1024 * 128
    assert cells["llama-3.1-405b", "16k"].our_bytes == 2 * 126 * 8 * 128 * 2 * 16_000
