"""Plain tables and wrapped lines without rich, for pages that must appear at once.

Cells are plain text of one column a character; the last column of a table may wrap by words.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Literal

Align = Literal["left", "right"]
GAP = "  "
LEAST_WRAPPED_COLUMNS = 16


def table(headings: Sequence[tuple[str, Align]], rows: Sequence[Sequence[str]], columns: int = 100) -> str:
    """Rows under headings, each column as wide as its longest cell; the last one wraps where the page ends.

    >>> print(table((("context", "right"), ("KV", "right")), (("4Ki", "0.50 GiB"), ("32Ki", "4.00 GiB"))), end="")
     context        KV
         4Ki  0.50 GiB
        32Ki  4.00 GiB
    """
    titles = [title for title, _ in headings]
    aligns = [align for _, align in headings]
    widths = [max(map(len, cells)) for cells in zip(titles, *rows, strict=True)]
    room = columns - 1 - sum(widths[:-1]) - len(GAP) * (len(widths) - 1)
    widths[-1] = min(widths[-1], max(room, LEAST_WRAPPED_COLUMNS))
    lines: list[str] = []
    for cells in [titles, *rows] if any(titles) else rows:
        lines += _lines(cells, widths, aligns)
    return "".join(f" {line}".rstrip() + "\n" for line in lines)


def _lines(cells: Sequence[str], widths: Sequence[int], aligns: Sequence[Align]) -> list[str]:
    """One row as lines: the last cell wraps, and what follows stands below it."""
    *head, last = cells
    wrapped = textwrap.wrap(last, max(widths[-1], 1), break_on_hyphens=False) or [""]
    shown = [_set(cell, size, align) for cell, size, align in zip(head, widths, aligns, strict=False)]
    blank = [" " * size for size in widths[:-1]]
    tails = [_set(part, widths[-1], aligns[-1]) for part in wrapped]
    return [GAP.join([*(shown if number == 0 else blank), tail]) for number, tail in enumerate(tails)]


def _set(cell: str, size: int, align: Align) -> str:
    return cell.rjust(size) if align == "right" else cell.ljust(size)


def labeled(label: str, lines: Sequence[str], columns: int = 100, label_columns: int = 11) -> str:
    """Lines behind a label, wrapped by words; nothing for no lines.

    >>> print(labeled("note", ["one", "two"]), end="")
     note         one
                  two
    """
    if not lines:
        return ""
    indent = " " * (label_columns + 3)
    width = max(columns, label_columns + 3 + LEAST_WRAPPED_COLUMNS)
    text = ""
    for number, line in enumerate(lines):
        first = f" {label.ljust(label_columns)}  " if number == 0 else indent
        text += (
            textwrap.fill(line, width, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False) + "\n"
        )
    return text


def paragraph(text: str, columns: int = 100) -> str:
    """Words wrapped behind one blank, continued behind two."""
    width = max(columns, LEAST_WRAPPED_COLUMNS)
    return textwrap.fill(text, width, initial_indent=" ", subsequent_indent="   ", break_on_hyphens=False) + "\n"
