"""Regret across scenarios as a table, Markdown, CSV or JSON: a row a fleet, a column a scenario."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Literal

from rich.text import Text

from planner.report import numbers
from planner.report.escape import code, escape
from planner.report.layout import indented, render, table_of
from planner.report.plan_csv import Row, money, written
from planner.report.plan_markdown import Heads, table
from planner.sweep.regret_types import Cell, FleetRow, Regret

CSV_COLUMNS = ("fleet", "gpus", "scenario", "holds", "cost_per_month", "regret_per_month", "chosen", "note")
MOST_COLUMNS = 5
"""Scenarios that have a column of their own on a terminal; of more the table counts those in which a fleet holds."""

MOST_CHARACTERS = 1_000
"""Of one cell or sentence in Markdown: a hostile name must not fill a page."""


def regret_text(document: Regret, columns: int = 100) -> str:
    """The table, the choice, and below what breaks where."""
    wide = len(document.scenarios) <= MOST_COLUMNS
    columns_between: list[tuple[str, Literal["left", "right"]]] = (
        [(f"under {name}", "right") for name in document.scenarios] if wide else [("holds under", "right")]
    )
    rows = table_of(
        ("fleet for", "left"), ("GPUs", "right"), ("per month", "right"), *columns_between, ("most regret", "right"),
        folds=("fleet for", *(name for name, _ in columns_between)),
    )  # fmt: skip
    for row in document.fleets:
        first, gpus, cost, *between, most = _cells(row, document.currency)
        shown = between if wide else [f"{sum(cell.holds is True for cell in row.under)} of {len(row.under)}"]
        rows.add_row(*(Text(cell) for cell in (first, gpus, cost, *shown, most)))
    parts = [
        f"{document.name}   {_count(document)}\n",
        render(rows, columns),
        indented("choice", [_choice(document)], columns),
        indented("breaks", list(_breaks(document)), columns),
    ]
    return "\n".join(part for part in parts if part)


def regret_markdown(document: Regret) -> str:
    """The same for documents and pull requests."""
    heads: Heads = [
        ("fleet for", "left"), ("GPUs", "right"), ("per month", "right"),
        *((f"under {escape(name, MOST_CHARACTERS)}", "right") for name in document.scenarios),
        ("most regret", "right"),
    ]  # fmt: skip
    rows = (
        (code(row.scenario), *(escape(cell, MOST_CHARACTERS) for cell in _cells(row, document.currency)[1:]))
        for row in document.fleets
    )
    breaks = [f"- {escape(line, MOST_CHARACTERS)}" for line in _breaks(document)]
    parts = [
        f"# {escape(document.name, MOST_CHARACTERS)}: regret\n\n**{escape(_choice(document), MOST_CHARACTERS)}**\n",
        table(_count(document), heads, rows),
        "\n".join(["## What breaks\n", *breaks]) + "\n" if breaks else "",
    ]
    return "\n".join(part for part in parts if part)


def regret_csv(document: Regret) -> str:
    """One line a fleet and scenario."""
    heads = [f"{name} [{document.currency}]" if name.endswith("_per_month") else name for name in CSV_COLUMNS]
    return written(heads, CSV_COLUMNS, _lines(document))


def regret_json(document: Regret) -> str:
    """The document: keys sorted, two spaces, one final newline."""
    from pydantic import TypeAdapter

    tree = TypeAdapter(Regret).dump_python(document, mode="json")
    return json.dumps(tree, sort_keys=True, indent=2, ensure_ascii=False) + "\n"


def _count(document: Regret) -> str:
    count = len(document.scenarios)
    with_sets = f" with {', '.join(document.sets)}" if document.sets else ""
    return f"{count} fleet{'' if count == 1 else 's'} under {count} scenario{'' if count == 1 else 's'}{with_sets}"


def _choice(document: Regret) -> str:
    return f"{document.choice}: {document.reason}" if document.choice is not None else f"none: {document.reason}"


def _cells(row: FleetRow, currency: str) -> tuple[str, ...]:
    if row.cost_per_month is None:
        return row.scenario, "-", f"no plan ({row.status})", *("-" for _ in row.under), "-"
    proof = "" if row.status == "optimal" else " (not proved)"
    most = "-" if row.most_regret_per_month is None else numbers.money(row.most_regret_per_month, currency)
    return (
        row.scenario,
        str(row.gpus),
        f"{numbers.money(row.cost_per_month, currency)}{proof}",
        *(_regret(cell, currency) for cell in row.under),
        most,
    )


def _regret(cell: Cell, currency: str) -> str:
    """The regret of a fleet, or that it does not hold."""
    if cell.holds is None:
        return "not known"
    if not cell.holds:
        return "breaks"
    return "holds" if cell.regret_per_month is None else _signed(cell.regret_per_month, currency)


def _signed(amount: str, currency: str) -> str:
    sign = "-" if amount.startswith("-") else "+"
    return f"{sign}{numbers.money(amount.removeprefix('-'), currency)}"


def _breaks(document: Regret) -> Iterator[str]:
    """What every fleet does not keep, scenario by scenario."""
    for row in document.fleets:
        for cell in row.under:
            if row.cost_per_month is not None and cell.holds is False:
                texts = _texts(cell) or "no routing keeps all of it"
                yield f"the fleet for {row.scenario} under {cell.scenario}: {texts}"


def _texts(cell: Cell) -> str:
    """What is broken, lines that are broken alike together."""
    paths: dict[str, list[str]] = {}
    for each in cell.broken:
        paths.setdefault(each.text, []).append(each.path)
    return "; ".join(f"{', '.join(alike)}: {text}" for text, alike in paths.items())


def _lines(document: Regret) -> Iterator[Row]:
    words = {True: "yes", False: "no", None: "not known"}
    for row in document.fleets:
        for cell in row.under:
            yield {
                "fleet": row.scenario,
                "gpus": row.gpus,
                "scenario": cell.scenario,
                "holds": words[cell.holds],
                "cost_per_month": money(cell.cost_per_month),
                "regret_per_month": money(cell.regret_per_month),
                "chosen": "yes" if row.scenario == document.choice else "no",
                "note": _texts(cell) or None,
            }
