"""What a plan hangs on, for a terminal and as Markdown: the same rows in both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.text import Text

from planner.explain.reasons import Alternatives, Binding, Fleet, Frontier, Why, Worth
from planner.explain.types import Answer
from planner.report import numbers
from planner.report.escape import escape
from planner.report.layout import heading, indented, render, table_of

NOTHING = "0.00"
PATHS = "line"
"""Heading of a column of paths."""

PATH_CHARS = 24
"""Longest line of a path in a table, as far as its names are no longer."""

KINDS = {
    "binds": "binds",
    "at_limit": "used up only",
    "together": "binds with others",
    "unknown": "not known",
}


@dataclass(frozen=True)
class Part:
    """A table with a heading, and lines below it. `right` are the columns of numbers, `folds` those that may wrap."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    folds: tuple[str, ...] = ()


def plan_parts(answer: Answer, columns: int) -> Iterator[str]:
    """The parts of a page for a terminal."""
    for part in _parts(answer):
        yield heading(part.title) + ("\n" + _table(part, columns) if part.rows else "")
        yield indented("", part.notes, columns)


def plan_markdown(answer: Answer) -> list[str]:
    """The parts of a Markdown document."""
    found = []
    for part in _parts(answer):
        found.append(f"**{escape(part.title)}**")
        if part.rows:
            lines = [part.columns, tuple("---:" if name in part.right else "---" for name in part.columns)]
            lines += [tuple(escape(cell).replace("\n", "<br>") for cell in row) for row in part.rows]
            found.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
        found += [escape(note) for note in part.notes]
    return found


def _table(part: Part, columns: int) -> str:
    """Columns that may wrap do so by words, paths at their dots where there is no room for whole ones."""
    sides: list[tuple[str, Literal["left", "right"]]] = [
        (name, "right" if name in part.right else "left") for name in part.columns
    ]
    rows = part.rows
    paths = part.columns[0] == PATHS
    if paths and _width((part.columns, *rows)) > columns:
        rows = tuple((at_dots(first), *rest) for first, *rest in rows)
    shown = table_of(*sides, folds=part.folds or (*(() if paths else part.columns[:1]), part.columns[-1]))
    for row in rows:
        shown.add_row(*map(Text, row))
    return render(shown, columns)


def _width(rows: Sequence[Sequence[str]]) -> int:
    """Columns of a table on which nothing wraps."""
    widths = [max(len(line) for row in rows for line in row[k].split("\n")) for k in range(len(rows[0]))]
    return sum(widths) + len(widths) + 1


def at_dots(path: str) -> str:
    """A path over several lines where it is long, each of which ends with a dot.

    >>> at_dots("inventory.h100-reserved.committed").split()
    ['inventory.h100-reserved.', 'committed']
    """
    lines = [""]
    for segment in path.replace(".", ".\n").split("\n"):
        if lines[-1] and len(lines[-1]) + len(segment) > PATH_CHARS:
            lines.append("")
        lines[-1] += segment
    return "\n".join(lines)


def _parts(answer: Answer) -> Iterator[Part]:
    if answer.binding or answer.worth:
        yield _binding(answer.binding, answer.currency)
    if answer.worth:
        yield _worth(answer.worth, answer.currency)
    for each in answer.why:
        yield _why(f"why {each.question}: it is {each.chosen}", each, answer.currency)
    for each in answer.why_not:
        yield _why(f"why not {each.question}: it is {each.chosen}", each, answer.currency)
    if answer.frontier is not None:
        yield _frontier(answer.frontier, answer.currency)
    if answer.alternatives is not None:
        yield _alternatives(answer.alternatives, answer.currency)


def _binding(rows: Sequence[Binding], currency: str) -> Part:
    return Part(
        "what binds: the plan without that line",
        (PATHS, "value", "written", "per month", "", "then"),
        tuple(
            (
                row.path, row.value, row.place, _less(row.saving_per_month, currency), KINDS[row.kind], row.change,
            )
            for row in rows
        ),
        ("per month",),
        () if rows else ("nothing: no line that the plan stands at makes it dearer",),
        ("value", "written", "then"),
    )  # fmt: skip


def _less(amount: str | None, currency: str) -> str:
    if amount is None:
        return "-"
    return "0" if amount == NOTHING else numbers.signed_money(f"-{amount}".replace("--", ""), currency)


def _worth(rows: Sequence[Worth], currency: str) -> Part:
    """Steps that change the cost; those that do not stand below, by their lines."""
    moved = [row for row in rows if row.effect_per_month != NOTHING and row.status != "unknown"]
    still: dict[str, list[str]] = {}
    for row in rows:
        if row.effect_per_month == NOTHING:
            still.setdefault(f"{row.step} changes nothing", []).append(row.path)
        elif row.status == "unknown":
            still.setdefault(f"{row.step} is not known", []).append(row.path)
    notes = tuple(f"{step}: {', '.join(paths)}" for step, paths in still.items())
    return Part(
        "what a step is worth",
        (PATHS, "step", "value", "per month", "then"),
        tuple(
            (row.path, row.step, f"{row.before} -> {row.after}", _effect(row, currency), row.change) for row in moved
        ),
        ("per month",),
        notes,
        ("step", "then"),
    )


def _effect(row: Worth, currency: str) -> str:
    if row.status == "infeasible":
        return "no plan"
    return "not known" if row.effect_per_month is None else numbers.signed_money(row.effect_per_month, currency)


def _why(title: str, why: Why, currency: str) -> Part:
    notes = tuple(f"{each.change}: {text}" for each in why.instead for text in each.fleet.refused)
    limits = tuple(
        f"{each.change}: used up: {', '.join(each.fleet.at_limit)}" for each in why.instead if each.fleet.at_limit
    )
    same = tuple(f"{each.change}: {each.fleet.decided}" for each in why.instead if each.fleet.decided)
    rows = [(each.change, each.fleet) for each in why.instead]
    return _fleets(title, rows, currency, (*notes, *same, *limits))


def _alternatives(found: Alternatives, currency: str) -> Part:
    notes = [found.note] if found.note else []
    notes += ["there are no more"] if found.whole else []
    rows = [(str(number), each) for number, each in enumerate(found.plans, start=1)]
    notes += [f"{number}: {each.decided}" for number, each in rows if each.decided]
    return _fleets("plans that differ in what runs, cheapest first", rows, currency, tuple(notes))


def _fleets(title: str, rows: Sequence[tuple[str, Fleet]], currency: str, notes: tuple[str, ...]) -> Part:
    return Part(
        title,
        ("", "per month", "change", "nodes", "runs"),
        tuple(
            (
                name,
                _cost(fleet.status, fleet.cost_per_month, currency),
                numbers.signed_money(fleet.effect_per_month, currency) if fleet.effect_per_month else "",
                "\n".join(fleet.nodes),
                "\n".join(fleet.runs),
            )
            for name, fleet in rows
        ),
        ("per month", "change"),
        notes,
    )


def _cost(status: str, amount: str | None, currency: str) -> str:
    if status == "infeasible":
        return "no plan"
    return "not known" if amount is None else numbers.money(amount, currency)


def _frontier(found: Frontier, currency: str) -> Part:
    notes = [found.note] if found.note else []
    return Part(
        f"cost against {found.axis} ({found.unit}), each point proved",
        (found.axis, "per month", "", "nodes", "runs"),
        tuple(
            (
                point.value,
                numbers.money(point.cost_per_month, currency),
                "today" if point.now else "",
                "\n".join(point.nodes),
                "\n".join(point.runs),
            )
            for point in found.points
        ),
        (found.axis, "per month"),
        (*notes, *([] if found.points else ["no plan"])),
    )
