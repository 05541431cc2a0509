"""Daily batches in a calendar: how much of a batch waits in a period is a share like any other.

    waits      in every period a batch is asked for at its full pace; what of an item waits is its share on a column
               that is always there and runs on nothing
    windows    for each band and each window of a day's batch: sum over periods of amount * waiting share <= most
    shed       after a loss: sum over periods of amount * part of the class that is shed <= when_degraded.shed_at_most

After a loss the same holds while the loss lasts, in every period. See `planner.candidates.batch`. Of all routings the
one is stated that waits least in the quietest period, and runs no more than it must in the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import lcm

from planner.candidates import CandidateTable
from planner.candidates.batch import Batch, batch_of
from planner.candidates.losses import losses
from planner.candidates.situations import Situation
from planner.scenario.types import Scenario
from planner.solver.program import Column, Program, ShareLimit
from planner.solver.situations import at, shed_name, waiting_name


def with_slack(program: Program, scenario: Scenario, table: CandidateTable, moments: Sequence[Situation]) -> Program:
    """The joined program of the situations where batches may wait from one period for another."""
    for name, traffic in sorted(scenario.traffic.items()):
        batch = batch_of(traffic, scenario.calendar)
        if batch is not None and batch.waits:
            for month in sorted({moment.month for moment in moments}):
                own = [moment for moment in moments if moment.month == month]
                for loss in ("", *(each.name for each in losses(scenario))):
                    shed_ppm = traffic.shed_at_most_ppm if loss else 0
                    program = _waiting(program, table, name, batch, own, loss, shed_ppm)
    return program


def _waiting(
    program: Program,
    table: CandidateTable,
    name: str,
    batch: Batch,
    moments: Sequence[Situation],
    loss: str,
    shed_ppm: int,
) -> Program:
    """The columns of what waits of one batch in the periods of a month, and its windows."""
    places = {item.name: k for k, item in enumerate(program.items)}
    quiet = min(moments, key=lambda moment: _interactive_rps(moment.scenario))
    shed = {column.name: c for c, column in enumerate(program.columns) if column.always}
    columns: list[Column] = []
    waits: dict[int, tuple[int, dict[int, int]]] = {}
    for p, moment in enumerate(moments):
        if not batch.paces[p]:
            continue
        ends = [
            (k, places[at(at(item.name, loss), moment.name)])
            for k, item in enumerate(table.items)
            if item.class_name == name
        ]
        column = at(at(waiting_name(name), loss), moment.name)
        shares = tuple((place, Fraction(0)) for _, place in ends)
        rank = -1 if moment is quiet else 1
        waits[p] = (len(program.columns) + len(columns), dict(ends))
        columns.append(Column(column, "", column, 0, 1, 0, (), shares, always=True, rank=rank))
    limits = []
    month = f"m{moments[0].month:02d}"
    for w, (amounts, most) in enumerate(batch.slack()):
        scale = lcm(most.denominator, *(amount.denominator for amount in amounts))
        parts = {p: int(amounts[p] * scale) for p in waits if amounts[p]}
        for demand in (each for each in table.demands if each.class_name == name):
            use = tuple((waits[p][1][k], waits[p][0], a) for p, a in parts.items() for k in demand.items)
            row = at(f"traffic.{name}.slo.finish_within {demand.name} {w}", loss)
            limits.append(ShareLimit(at(row, month), int(most * scale), use))
        if loss and shed_ppm:
            gone = [(p, a, shed[at(at(shed_name(name), loss), moments[p].name)]) for p, a in parts.items()]
            off = tuple(
                (place, c, a * table.items[k].weight_ppm) for p, a, c in gone for k, place in waits[p][1].items()
            )
            row = at(f"traffic.{name}.when_degraded.shed_at_most {w}", loss)
            limits.append(ShareLimit(at(row, month), shed_ppm * scale, off))
    return replace(
        program,
        columns=(*program.columns, *columns),
        share_limits=(*program.share_limits, *limits),
    )


def _interactive_rps(scenario: Scenario) -> Fraction:
    """Requests a second that cannot wait."""
    return sum((each.peak_rps for each in scenario.traffic.values() if each.slo.finish_within_us is None), Fraction(0))
