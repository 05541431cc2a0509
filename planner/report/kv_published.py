"""Published KV tables beside ours, as a page and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from planner.calculator.published import UNITS, Cell, PublishedRow, PublishedTable
from planner.report.columns import Align, labeled, paragraph, table
from planner.report.kv_json import FORMAT_VERSION, Tree, dumped

HEADS: tuple[tuple[str, Align], ...] = (
    ("model", "left"), ("tokens", "right"), ("published", "right"), ("ours", "right"), ("", "right"),
    ("verdict", "left"),
)  # fmt: skip


def published_text(tables: Sequence[PublishedTable], columns: int = 100) -> str:
    """Every table with its source; one line a cell."""
    parts = []
    for each in tables:
        rows = [_cells(row, cell, number == 0) for row in each.rows for number, cell in enumerate(row.cells)]
        wrong = [f"{row.model}: {row.words}" for row in each.rows if not row.is_right]
        below = labeled("wrong", wrong, columns, 6) + labeled("source", [each.source], columns, 6)
        parts.append(paragraph(each.title, columns) + table(HEADS, rows, columns) + below)
    cells = [cell for each in tables for row in each.rows for cell in row.cells]
    right = sum(cell.is_right for cell in cells)
    parts.append(
        f" {right} of {len(cells)} published figures are right in the unit named, {len(cells) - right} are wrong.\n"
    )
    return "\n".join(parts)


def _cells(row: PublishedRow, cell: Cell, is_first: bool) -> tuple[str, ...]:
    name = f"{row.model}{f' x {row.batch}' if row.batch > 1 else ''}" if is_first else ""
    gib, gb = (f"{cell.our_bytes / UNITS[unit]:,.3f} {unit}" for unit in ("GiB", "GB"))
    if cell.unit == "B":
        gib, gb = f"{cell.our_bytes:,} B", ""
    published = f"{cell.length}: {cell.published if cell.unit != 'B' else f'{int(cell.published):,}'} {cell.unit}"
    return (name, f"{cell.tokens:,}", published, gib, gb, verdict(cell))


def verdict(cell: Cell) -> str:
    """Right and in which unit, or wrong by which factor."""
    if cell.reading is None:
        return f"wrong: {float(cell.factor):.3g} times ours"
    if cell.unit == "B":
        return "right"
    counted = f", k = {cell.tokens // int(cell.length[:-1]):,}" if cell.length[-1] in "kK" else ""
    return f"right in {cell.reading.unit}{counted}"


def published_json(tables: Sequence[PublishedTable]) -> str:
    """Every cell with both readings."""
    return dumped({"format_version": FORMAT_VERSION, "tables": [_table(each) for each in tables]})


def _table(each: PublishedTable) -> Tree:
    rows: list[Tree] = [
        {
            "model": row.model,
            "batch": row.batch,
            "bytes_per_token": row.bytes_per_token,
            "cells": [_cell(row, cell) for cell in row.cells],
        }
        for row in each.rows
    ]
    return {"title": each.title, "source": each.source, "unit_as_printed": each.unit, "rows": rows}


def _cell(row: PublishedRow, cell: Cell) -> Tree:
    return {
        "length": cell.length,
        "context": cell.tokens,
        "published": cell.published,
        "our_bytes": cell.our_bytes,
        "right": cell.is_right,
        "unit": None if cell.reading is None else cell.reading.unit,
        "factor": f"{float(cell.factor):.4g}",
        "why": None if cell.is_right else row.words,
    }
