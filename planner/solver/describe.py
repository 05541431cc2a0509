"""The constraint program as text: every variable and every row by name, as CP-SAT gets them.

Committed dumps of small programs show a reviewer which rows a change alters.
"""

from __future__ import annotations

from planner.solver.master import GRID, Master, Row, build, in_grid
from planner.solver.program import Program


def describe(program: Program) -> str:
    """Variables with their bounds and rows with their terms, one a line, shares in units of 1 / GRID."""
    master = build(program, with_loss="quality_loss" in program.objective)
    lines = [f"shares are whole numbers of 1/{GRID}", "", "variables"]
    for variable in master.variables:
        upper = GRID if variable.share else variable.upper
        lines.append(f"  {variable.lower} <= {variable.name} <= {upper}")
    lines += ["", "rows"]
    lines += [f"  {_row(master, in_grid(master, row))}" for row in master.rows]
    return "\n".join(lines) + "\n"


def _row(master: Master, row: Row) -> str:
    """One row: its name, its terms and its bounds."""
    terms = " ".join(_term(master, v, a) for v, a in row.terms) or "0"
    if row.lower is not None and row.lower == row.upper:
        return f"{row.name}: {terms} = {row.upper}"
    low = "" if row.lower is None else f"{row.lower} <= "
    high = "" if row.upper is None else f" <= {row.upper}"
    return f"{row.name}: {low}{terms}{high}"


def _term(master: Master, v: int, coefficient: int) -> str:
    """One term with its sign: `+ 3 nodes[a]`, `- replicas[b]`."""
    sign = "-" if coefficient < 0 else "+"
    size = "" if abs(coefficient) == 1 else f"{abs(coefficient)} "
    return f"{sign} {size}{master.variables[v].name}"
