"""How far a fixed fleet is from what is asked of it: the least load that all its replicas can share, exactly.

For one model, with n_i replicas of every start i, each free to run at any of its operating promises:

    minimize t
    demand     sum f + shed = 1                       for every band that some replica may serve
    load       sum amount * f <= capacity * u[c]      u[c]: replicas' worth of column c, loaded to the full
    start      sum of u[c] over its columns <= n_i * t
    shares     sum amount * f <= max + v              v: what of a promised share cannot be kept, made least first
    shed       sum weight * shed <= max               after a loss, where traffic may be shed

t = 1.37 says that every routing loads some replica to 137 % of what it carries within its promises. Replicas need not
be whole here, so the true load is at least as high.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from planner.solver.program import Program
from planner.solver.simplex import Tableau

Shed = tuple[tuple[int, ...], tuple[int, ...], int]
"""Demands that may be shed, their weights in the class in ppm, and how much in all."""


@dataclass(frozen=True)
class LeastLoad:
    """The least load of a model's replicas; None where they serve nothing at all. `unserved` are demands that no
    replica may serve, `shares` promised shares (by place) that cannot be kept, with what they are at least."""

    model: str
    load: Fraction | None
    unserved: tuple[int, ...]
    shares: tuple[tuple[int, Fraction], ...]


def least_load(program: Program, model: str, replicas: Mapping[int, int], shed: Sequence[Shed] = ()) -> LeastLoad:
    """The least load of a model under a fixed fleet.

    Args:
        program: The program of one situation.
        model: The model.
        replicas: Replicas by place of their start in the program; starts that are not named have none.
        shed: What need not be served.
    """
    columns = {
        c: start for start, count in replicas.items() for c in program.starts[start].columns
        if count > 0 and program.columns[c].model == model
    }  # fmt: skip
    pairs = [(k, c) for c in sorted(columns) for k, _ in program.columns[c].losses]
    offered = {k for k, _ in pairs}
    mine = [d for d, row in enumerate(program.demand_rows) if program.items[row.items[0]].model == model]
    served = [d for d in mine if offered.intersection(program.demand_rows[d].items)]
    unserved = tuple(d for d in mine if d not in set(served))
    if not served:
        return LeastLoad(model, None, unserved, ())
    tableau, places = _tableau(program, columns, pairs, served, replicas, shed)
    tableau.minimize(dict.fromkeys(places.artificials, 1))
    tableau.locked |= set(places.artificials)
    tableau.expel(set(places.artificials))
    tableau.lock_positive(tableau.minimize(dict.fromkeys(places.beyond.values(), 1)))
    limits = {r: tableau.value(v) for r, v in places.beyond.items()}
    shares = tuple((r, program.share_limits[r].max + over) for r, over in limits.items() if over)
    tableau.minimize({places.load: 1})
    return LeastLoad(model, tableau.value(places.load), unserved, shares)


@dataclass(frozen=True)
class _Places:
    """Where the variables stand that are minimized: the load, what shares are beyond their limits, artificials."""

    load: int
    beyond: dict[int, int]
    artificials: range


def _tableau(
    program: Program,
    columns: Mapping[int, int],
    pairs: Sequence[tuple[int, int]],
    served: Sequence[int],
    replicas: Mapping[int, int],
    shed: Sequence[Shed],
) -> tuple[Tableau, _Places]:
    """All rows with slacks and artificials as the first basis. Variables: f, u, t, v, shed, slacks, artificials."""
    at = {pair: index for index, pair in enumerate(pairs)}
    full = {c: len(pairs) + index for index, c in enumerate(sorted(columns))}
    load = len(pairs) + len(full)
    touched = [r for r, row in enumerate(program.share_limits) if any((k, c) in at for k, c, _ in row.use)]
    beyond = {r: load + 1 + index for index, r in enumerate(touched)}
    first = load + 1 + len(beyond)
    gone = {d: first + index for index, d in enumerate(sorted({d for ds, _, _ in shed for d in ds} & set(served)))}
    rows: list[tuple[dict[int, int], int]] = []
    for c in sorted(columns):
        for row in program.columns[c].loads:
            rows.append(({at[k, c]: a for k, a in row.use if a} | {full[c]: -row.capacity}, 0))
    for start in sorted(set(columns.values())):
        own = {full[c]: 1 for c in program.starts[start].columns if c in full}
        rows.append((own | {load: -replicas[start]}, 0))
    for r in touched:
        limit = program.share_limits[r]
        rows.append(({at[k, c]: a for k, c, a in limit.use if (k, c) in at} | {beyond[r]: -1}, max(0, limit.max)))
    for demands, weights, most in shed:
        rows.append(({gone[d]: w for d, w in zip(demands, weights, strict=True) if d in gone}, most))
    slack = first + len(gone)
    artificial = slack + len(rows)
    width = artificial + len(served) + 1
    lines = [_line(width, {**entries, slack + i: 1}, right) for i, (entries, right) in enumerate(rows)]
    for i, d in enumerate(served):
        members = set(program.demand_rows[d].items)
        ones = {at[pair]: 1 for pair in pairs if pair[0] in members}
        lines.append(_line(width, {**ones, **({gone[d]: 1} if d in gone else {}), artificial + i: 1}, 1))
    basis = [*range(slack, slack + len(rows)), *range(artificial, artificial + len(served))]
    return Tableau(lines, basis), _Places(load, beyond, range(artificial, artificial + len(served)))


def _line(width: int, entries: Mapping[int, int], right: int) -> list[int]:
    line = [0] * width
    for place, value in entries.items():
        line[place] = value
    line[-1] = right
    return line
