"""What a page is made of: sections of texts, tables and charts, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Tone = Literal["", "good", "warn", "bad", "soft"]
"""A color that underlines what the words of a cell say; never the only sign."""

Align = Literal["left", "right"]

Datum = Mapping[str, str | int | float | None]
"""One row of a chart's data."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table. `code` sets it as the scenario writes it."""

    text: str
    tone: Tone = ""
    code: bool = False


@dataclass(frozen=True)
class Table:
    """A table with its caption. `note` stands below it; `more` says what was left out."""

    caption: str
    heads: tuple[tuple[str, Align], ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    more: str = ""


@dataclass(frozen=True)
class Chart:
    """A Vega-Lite specification. `alt` tells in words what it shows; the table beside it holds every value."""

    id: str
    title: str
    alt: str
    spec: Mapping[str, object]


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading of its own. `origin` says where its numbers come from."""

    id: str
    title: str
    texts: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    points: tuple[str, ...] = ()
    origin: str = ""


@dataclass(frozen=True)
class Figure:
    """One of the large numbers at the top of the page."""

    label: str
    value: str
    detail: str = ""
    tone: Tone = ""


@dataclass(frozen=True)
class Page:
    """The whole page. `sentence` is what a reader takes away if it reads nothing else."""

    title: str
    kind: str
    badge: str
    tone: Tone
    sentence: str
    figures: tuple[Figure, ...]
    sections: tuple[Section, ...]
    footer: tuple[str, ...]


def table(
    caption: str,
    heads: Sequence[tuple[str, Align]],
    rows: Sequence[Sequence[Cell | str]],
    most: int,
    *,
    note: str = "",
) -> Table:
    """A table of at most `most` rows that says how many more there are."""
    shown = tuple(tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in row) for row in rows[:most])
    left = len(rows) - len(shown)
    more = f"{left:,} more row{'' if left == 1 else 's'} in the document that this page was made from." if left else ""
    return Table(caption, tuple(heads), shown, note, more)


def plural(count: int, word: str) -> str:
    """A count with its word.

    >>> plural(1, "replica"), plural(1200, "GPU")
    ('1 replica', '1,200 GPUs')
    """
    return f"{count:,} {word}{'' if count == 1 else 's'}"
