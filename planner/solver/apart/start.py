"""A first plan of one part within a second: class by class, with as many replicas more as any one loss takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from planner.solver.program import Program
from planner.solver.scale.flat import flatten
from planner.solver.scale.start import first_plan


def first_replicas(program: Program, weights: Sequence[int]) -> tuple[int, ...] | None:
    """Replicas that serve a program without its losses, and more of each column that runs for the worst loss of some
    of it; None where the classes do not fit that simply. A loss of all of it is left to the exact judge."""
    own = [c for c, column in enumerate(program.columns) if column.own]
    place = {c: index for index, c in enumerate(own)}
    lost = [0] * len(own)
    for column in program.columns:
        if column.of is not None and column.lost < program.columns[column.of].upper:
            lost[place[column.of]] = max(lost[place[column.of]], column.lost)
    served = {k for c in own for k, _ in program.columns[c].losses}
    limits = [
        replace(limit, use=tuple((k, place[c], a) for k, c, a in limit.use))
        for limit in program.share_limits
        if all(c in place for _, c, _ in limit.use)
    ]
    plain = replace(
        program,
        columns=tuple(program.columns[c] for c in own),
        demands=tuple(demand for demand in program.demand_rows if served.intersection(demand.items)),
        share_limits=tuple(limits),
        starts=(),
        fleets=(),
        near=None,
    )
    found = first_plan(plain, flatten(plain), weights, lost)
    if found is None:
        return None
    replicas = [0] * len(program.columns)
    for c, count in zip(own, found[0], strict=True):
        replicas[c] = count
    return tuple(replicas)
