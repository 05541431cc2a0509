"""A diff as a terminal page: the sentence, the budget, what caused it, what changes, what it risks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from rich.text import Text

from planner.plan.diff_types import Diff, WhatIf
from planner.plan.types import Conflict
from planner.report import diff_figures as figures
from planner.report import diff_physical as physical
from planner.report import diff_words as words
from planner.report.escape import one_line
from planner.report.fleet import as_is_line
from planner.report.layout import indented, render, table_of

Item = TypeVar("Item")

MOST_ROWS = 12
"""Rows of a list that are shown without -v."""


def diff_text(document: Diff | WhatIf, columns: int = 100, *, verbose: bool = False, skip_no_diff: bool = False) -> str:
    """The whole page, without color, `columns` wide. Equal plans are one line, or nothing with `skip_no_diff`."""
    if isinstance(document, WhatIf):
        return _what_if(document, columns, verbose, skip_no_diff)
    if document.equal:
        return "" if skip_no_diff else f"{_plain(words.headline(document).text())}\n"
    parts = [_wrapped(words.headline(document).text(), columns), indented("", _standing(document), columns)]
    parts += [
        _overview(document, columns),
        _causes(document, columns, verbose),
        _conflicts("in the way", document.new_conflicts, columns),
        _conflicts("no longer", document.gone_conflicts, columns),
        _production(document, columns, verbose),
        _risks(document, columns, verbose),
        _do_nothing(document, columns),
    ]
    if verbose:
        lines = [line for group in physical.diff_lines(document) for line in group]
        parts.append("".join(f"{_plain(line)}\n" for line in lines))
    parts.append(
        indented("run", [_plain("; ".join(words.provenance(document))), _plain(document.command, 500)], columns)
    )
    return "\n".join(part for part in parts if part)


def _plain(text: str, most: int = 400) -> str:
    return one_line(text, most)


def _wrapped(text: str, columns: int) -> str:
    table = table_of(("", "left"), folds=("",))
    table.show_header = False
    table.add_row(Text(_plain(text)))
    return render(table, columns)


def _standing(document: Diff) -> list[str]:
    """Budget, guardrails and what else a reader of the sentence must know."""
    budget = words.budget_line(document)
    lines = [budget] if budget else []
    lines += [f"guardrail {text} [{word}]" for word, text in words.guardrail_lines(document)]
    return [_plain(line) for line in (*lines, *document.notes)]


def _overview(document: Diff, columns: int) -> str:
    rows = [row for row in figures.overview(document) if (row.base, row.head) != (words.NONE, words.NONE)]
    table = table_of(("", "left"), ("base", "right"), ("head", "right"), ("change", "right"))
    for row in rows:
        table.add_row(*(Text(_plain(cell)) for cell in (row.name, row.base, row.head, row.change)))
    return render(table, columns) if rows else ""


def _causes(document: Diff, columns: int, verbose: bool) -> str:
    rows = words.causes(document)
    if not rows:
        return ""
    shown, more = _cut(rows, verbose)
    table = table_of(("what caused it (each edit solved alone)", "left"), ("line", "left"), ("per month", "right"))
    for cause in shown:
        cells = (words.cause_text(cause), words.cause_places(cause), cause.effect)
        table.add_row(*(Text(_plain(cell)) for cell in cells))
    return render(table, columns) + "".join(f"{line}\n" for line in more)


def _cut(items: Sequence[Item], verbose: bool) -> tuple[Sequence[Item], list[str]]:
    """The first of many, and a line that counts the rest."""
    if verbose or len(items) <= MOST_ROWS:
        return items, []
    return items[:MOST_ROWS], [f"and {len(items) - MOST_ROWS:,} more (-v shows all)"]


def _broken(path: str, most: int = 30) -> str:
    """A long path on several lines, broken before dots."""
    lines = [""]
    for number, part in enumerate(_plain(path).split(".")):
        piece = f".{part}" if number else part
        if lines[-1] and len(lines[-1]) + len(piece) > most:
            lines.append("")
        lines[-1] += piece
    return "\n".join(lines)


def _conflicts(label: str, conflicts: Iterable[Conflict], columns: int) -> str:
    lines = []
    for conflict in conflicts:
        repair = f"; enough: {conflict.repair}" if conflict.repair else ""
        lines.append(_plain(f"{conflict.path}: {conflict.message}{repair}"))
    return indented(label, lines, columns)


def _production(document: Diff, columns: int, verbose: bool) -> str:
    """Deployments and pools that change, then the order of the change."""
    things = [*physical.deployments(document), *physical.pools(document)]
    shown, more = _cut(things, verbose)
    lines = [_plain(f"{thing.name}: {thing.text}") for thing in shown]
    text = indented("changes", [*lines, *more], columns)
    line = physical.rollout_line(document)
    if not line:
        return text
    steps, more = _cut([_plain(f"{step.order}. {step.text}") for step in document.rollout], verbose)
    return f"{text}\n{indented('rollout', [line, *steps, *more], columns)}"


def _risks(document: Diff, columns: int, verbose: bool) -> str:
    margins = list(document.margins) if verbose else figures.risks(document)
    if not document.margins:
        return ""
    if not margins:
        return indented("risk", ["no promise, floor or limit lost room that matters"], columns)
    shown, more = _cut([figures.margin_row(row, document.currency) for row in margins], verbose)
    title = "room" if verbose else "less room"
    table = table_of((title, "left"), ("base", "right"), ("head", "right"), ("free", "right"))
    for row in shown:
        cells = (_broken(row.name, columns // 3), *(_plain(cell) for cell in (row.base, row.head, row.change)))
        table.add_row(*(Text(cell) for cell in cells))
    return render(table, columns) + "".join(f"{line}\n" for line in more)


def _do_nothing(document: Diff, columns: int) -> str:
    """The fleet that runs, left as it is under the head."""
    if document.as_is is None:
        return ""
    return indented("do nothing", [_plain(as_is_line(document.as_is, document.currency))], columns)


def _what_if(document: WhatIf, columns: int, verbose: bool, skip_no_diff: bool) -> str:
    """One row a case, then the page of each that differs."""
    cases = [case for case in document.cases if not (skip_no_diff and case.diff.equal)]
    if not cases:
        return ""
    table = table_of(
        ("what if", "left"), ("per month", "right"), ("change", "right"), ("GPUs", "right"), ("budget used", "right"),
        ("tightest promise", "left"),
    )  # fmt: skip
    for cells in figures.case_rows(document):
        if cells[0] in {case.name for case in cases}:
            table.add_row(*(Text(_plain(cell)) for cell in cells))
    pages = [
        f"{_plain(case.name)}\n{diff_text(case.diff, columns, verbose=verbose)}"
        for case in cases
        if not case.diff.equal
    ]
    return "\n".join([render(table, columns), *pages])
