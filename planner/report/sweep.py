"""A sweep as a table, CSV or JSON: one row a plan."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Literal

from rich.text import Text

from planner.report import numbers
from planner.report.layout import indented, render, table_of
from planner.sweep.types import Row, Sweep, Tightest

Justify = Literal["left", "right"]

CSV_COLUMNS = (
    "status",
    "cost_per_month",
    "currency",
    "gpus",
    "power_w",
    "tightest_path",
    "tightest_used",
    "tightest_limit",
    "tightest_unit",
    "tightest_free_percent",
    "note",
    "plan_hash",
)
"""Columns behind those of the varied paths."""


def sweep_text(sweep: Sweep, columns: int = 100) -> str:
    """The table, with notes below for rows that have no plan."""
    count = "1 plan" if len(sweep.rows) == 1 else f"{len(sweep.rows)} plans"
    names = _short_names([axis.path for axis in sweep.axes])
    head: list[tuple[str, Justify]] = [("", "right"), *((name, "left") for name in names)]
    rows = table_of(
        *head, ("status", "left"), ("per month", "right"), ("GPUs", "right"), ("power", "right"),
        ("tightest", "left"), ("free", "right"), folds=(*names, "tightest"),
    )  # fmt: skip
    for number, row in enumerate(sweep.rows, 1):
        rows.add_row(
            str(number), *(Text(value) for value in row.values), *(Text(cell) for cell in _cells(row, sweep.currency))
        )
    notes = [f"{number}: {row.note}" for number, row in enumerate(sweep.rows, 1) if row.note]
    limits = [
        f"{number}: cut short by the time limit; another run may find another plan"
        for number, row in enumerate(sweep.rows, 1)
        if not row.reproducible
    ]
    fixed = [*sweep.sets, *(f"what_if {name}" for name in sweep.what_if)]
    parts = [
        f"{sweep.name}   {count}{' with ' + ', '.join(fixed) if fixed else ''}\n",
        render(rows, columns),
        indented("no plan", notes, columns),
        indented("not proved", limits, columns),
    ]
    return "\n".join(part for part in parts if part)


def _cells(row: Row, currency: str) -> tuple[str, ...]:
    status = row.status.upper() if row.status != "feasible" else f"feasible{_gap(row)}"
    if row.cost_per_month is None or row.gpus is None or row.power_w is None:
        return (status, "-", "-", "-", "-", "-")
    tight = row.tightest
    return (
        status,
        numbers.money(row.cost_per_month, currency),
        str(row.gpus),
        numbers.quantity(Fraction(row.power_w), "W", currency),
        _tightest(tight, currency) if tight else "-",
        numbers.percent(tight.slack_ppm) if tight else "-",
    )


def _gap(row: Row) -> str:
    return "" if row.gap_ppm is None else f", within {row.gap_ppm / 10_000:.2f}%"


def _tightest(tight: Tightest, currency: str) -> str:
    used = numbers.quantity(tight.used, tight.unit, currency)
    return f"{tight.path} {used} of {numbers.quantity(tight.limit, tight.unit, currency)}"


def _short_names(paths: Sequence[str]) -> list[str]:
    """The last parts of the paths that still tell them apart.

    >>> _short_names(["traffic.chat.peak", "traffic.code.peak", "budget.monthly"])
    ['chat.peak', 'code.peak', 'monthly']
    """
    names = []
    for path in paths:
        parts = path.split(".")
        for length in range(1, len(parts) + 1):
            name = ".".join(parts[-length:])
            if sum(other == name or other.endswith("." + name) for other in paths) == 1:
                break
        names.append(name)
    return names


def sweep_csv(sweep: Sweep) -> str:
    """One line a plan. Numbers are plain decimals; a cell that a spreadsheet would run as a formula is quoted by '."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([inert(axis.path) for axis in sweep.axes] + list(CSV_COLUMNS))
    for row in sweep.rows:
        tight = row.tightest
        tightest = (
            (tight.path, _plain(tight.used), _plain(tight.limit), tight.unit, f"{tight.slack_ppm / 10_000:g}")
            if tight
            else ("",) * 5
        )
        cells: Iterable[object] = (
            row.status, row.cost_per_month or "", sweep.currency, "" if row.gpus is None else row.gpus,
            row.power_w or "", *tightest, row.note, row.hash or "",
        )  # fmt: skip
        writer.writerow([inert(value) for value in row.values] + [inert(str(cell)) for cell in cells])
    return stream.getvalue()


def _plain(value: Fraction) -> str:
    return f"{float(value):.6g}" if value.denominator != 1 else str(value.numerator)


def inert(text: str) -> str:
    """Text that spreadsheets do not take for a formula; numbers stay numbers."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def sweep_json(sweep: Sweep) -> str:
    """The document: keys sorted, two spaces, one final newline."""
    from pydantic import TypeAdapter

    tree = TypeAdapter(Sweep).dump_python(sweep, mode="json")
    return json.dumps(tree, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
