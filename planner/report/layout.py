"""Tables and wrapped lines as plain text, through rich."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

LABEL_COLUMNS = 11


def render(thing: Table, columns: int) -> str:
    """Plain text without trailing blanks, `columns` wide at most."""
    stream = io.StringIO()
    Console(file=stream, width=columns, color_system=None, highlight=False, markup=False, emoji=False).print(thing)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def table_of(*headings: tuple[str, Literal["left", "right"]], folds: Sequence[str] = ()) -> Table:
    """An unframed table. Only the columns named in `folds` may wrap (the table is then set
    tighter, too); without any, all may rather than lose text."""
    table = Table(box=None, pad_edge=True, show_edge=False, padding=(0, 1 if folds else 2, 0, 0), header_style="")
    for title, justify in headings:
        table.add_column(title, justify=justify, overflow="fold", no_wrap=bool(folds) and title not in folds)
    return table


def indented(label: str, lines: Sequence[str], columns: int) -> str:
    """Lines behind a label column, wrapped by words; nothing for no lines."""
    if not lines:
        return ""
    table = Table(box=None, show_header=False, pad_edge=True, show_edge=False, padding=(0, 2, 0, 0))
    table.add_column(width=LABEL_COLUMNS, no_wrap=True)
    table.add_column(overflow="fold")
    for number, line in enumerate(lines):
        table.add_row(Text(label if number == 0 else ""), Text(line))
    return render(table, columns)


def heading(text: str) -> str:
    """A line of its own."""
    return f" {text}"
