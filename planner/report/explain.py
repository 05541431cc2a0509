"""The answer of `kvplan explain` for a terminal: conflicts first, then the repairs, cheapest of each family."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from planner.explain.types import Answer, Conflict, Repair
from planner.report import numbers
from planner.report.explain_plan import plan_parts
from planner.report.layout import heading, indented, render, table_of

REPAIRS = "the least changes that give a plan, of one family each; each was planned again"

MOST_CHARS = 60
"""Longest value shown in a table; the whole of it stands in the file."""


def explain_text(answer: Answer, columns: int) -> str:
    """The whole page."""
    return "\n".join(part for part in _parts(answer, columns) if part)


def _parts(answer: Answer, columns: int) -> Iterator[str]:
    cost = f"   {numbers.money(answer.cost_per_month, answer.currency)} / month" if answer.cost_per_month else ""
    yield f"{answer.name}   {answer.status.upper()}{cost}   {counted(answer)}".rstrip() + "\n"
    for number, conflict in enumerate(answer.conflicts, start=1):
        yield _conflict(number, conflict, columns)
    if answer.repairs:
        yield (
            heading("the least changes that give a plan, of one family each; each was planned again")
            + "\n"
            + _repairs(answer, columns)
        )
    yield from plan_parts(answer, columns)
    yield indented("note", answer.notes, columns)
    yield indented("unfinished", answer.unfinished, columns)


def counted(answer: Answer) -> str:
    """How many conflicts stand below."""
    count = len(answer.conflicts)
    return f"{count} conflict{'' if count == 1 else 's'}" if count else ""


def _conflict(number: int, conflict: Conflict, columns: int) -> str:
    shown = table_of((f"conflict {number}", "left"), ("value", "left"), ("written", "left"), folds=("value",))
    for line in conflict.lines:
        shown.add_row(Text(line.path), Text(shortened(line.value)), Text(line.place))
    return (render(shown, columns) if conflict.lines else "") + indented("", told(conflict), columns)


def told(conflict: Conflict) -> list[str]:
    """What stands below the lines of a conflict."""
    word = [] if conflict.verified else ["no second solver was asked: time ended"]
    return [*([conflict.text] if conflict.text else []), *word]


def _repairs(answer: Answer, columns: int) -> str:
    shown = table_of(("family", "left"), ("change", "left"), ("a month", "right"), folds=("change",))
    for repair in answer.repairs:
        cost = numbers.money(repair.cost_per_month, answer.currency) if repair.cost_per_month else ""
        said = [*changes(repair), *([repair.text] if repair.text else [])]
        shown.add_row(Text(repair.family), Text("\n".join(said)), Text(cost))
    return render(shown, columns)


def changes(repair: Repair) -> list[str]:
    """The changes of a repair as what to write, a line each."""
    return [f'--set "{each.set}"   (was {shortened(each.before)})' for each in repair.changes]


def shortened(value: str) -> str:
    """A value that a table has room for."""
    return value if len(value) <= MOST_CHARS else f"{value[: MOST_CHARS - 1]}…"
