"""Periods, months, commitments and losses of a plan as tables of plain texts, which every page lays out in its way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from planner.plan.types import AfterLoss, Commitment, Plan, SituationPlan, TimePlan
from planner.report import numbers

DAY_S = 86_400

Align = Literal["left", "right"]


@dataclass(frozen=True)
class TimeTable:
    """A table of one kind of thing over time."""

    title: str
    heads: tuple[tuple[str, Align], ...]
    rows: tuple[tuple[str, ...], ...]


def time_tables(plan: Plan) -> list[TimeTable]:
    """What runs when, what is committed when, what each month costs, and what losses leave; none without time."""
    tables = _over_time(plan, plan.time) if plan.time is not None else []
    return [table for table in (*tables, _losses(plan)) if table.rows]


def time_lines(plan: Plan) -> list[str]:
    """What the tables do not say: of when the plan above is, where the money goes, what is stranded and owed later."""
    time, currency = plan.time, plan.scenario.currency
    if time is None:
        return []
    spent = time.spent
    parts = [("committed", spent.committed), ("rented", spent.rented), ("starting up", spent.started)]
    split = " + ".join(f"{numbers.money(amount, currency)} {word}" for word, amount in parts if Fraction(amount))
    lines = [f"deployments and pools above are those of {time.shown}, which costs most an hour", f"{split} in all"]
    if Fraction(spent.stranded):
        lines.append(f"{numbers.money(spent.stranded, currency)} of it is stranded: committed GPUs that nothing needs")
    if Fraction(time.owed_later):
        lines.append(f"{numbers.money(time.owed_later, currency)} is owed after the horizon, for terms that run on")
    return lines


def _over_time(plan: Plan, time: TimePlan) -> list[TimeTable]:
    currency = plan.scenario.currency
    months = [
        (name, *(numbers.money(part, currency) for part in (m.total, m.committed, m.rented, m.started, m.stranded)))
        for name, m in time.months.items()
    ]
    changes = [
        (pool, f"m{row.month:02d}", *_commitment(row)) for pool, rows in time.commitments.items() for row in rows
    ]
    return [
        TimeTable(
            "Periods and months" if time.months else "Periods",
            (("when", "left"), ("hours", "right"), ("cost", "right"), ("nodes", "left"), ("replicas", "left"),
             ("busiest", "right")),
            tuple(_situation(name, part, currency) for name, part in time.situations.items()),
        ),
        TimeTable(
            "Daily batches",
            (("when", "left"), ("batch", "left"), ("requests/s", "right"), ("room for, a day", "right")),
            tuple(
                (name, batch, f"{float(rate):,.4g}" if rate else "waits", _a_day(time, part, rate))
                for name, part in time.situations.items()
                for batch, rate in part.batches.items()
            ),
        ),
        TimeTable(
            "Commitments",
            (("pool", "left"), ("month", "left"), ("bought", "right"), ("given up", "right"), ("run out", "right"),
             ("standing", "right")),
            tuple(changes),
        ),
        TimeTable(
            "Money by the month",
            (("month", "left"), ("in all", "right"), ("committed", "right"), ("rented", "right"),
             ("starting up", "right"), ("stranded", "right")),
            tuple(months),
        ),
    ]  # fmt: skip


def _situation(name: str, part: SituationPlan, currency: str) -> tuple[str, ...]:
    busiest = max((row.used_ppm for each in part.deployments.values() for row in each.loads), default=0)
    return (
        name,
        f"{float(part.hours):,.0f}",
        numbers.money(part.cost, currency),
        ", ".join(f"{pool} {p.nodes}" for pool, p in part.pools.items() if p.nodes) or "-",
        ", ".join(f"{deployment} {d.replicas}" for deployment, d in part.deployments.items()) or "-",
        numbers.percent(busiest),
    )


def _a_day(time: TimePlan, part: SituationPlan, rate: Fraction) -> str:
    """What a period does on an even day."""
    hours = sum((other.hours for other in time.situations.values() if other.month == part.month), Fraction(0))
    return f"{float(rate * DAY_S * part.hours / hours):,.0f}"


def _commitment(row: Commitment) -> Sequence[str]:
    return (*(str(count or "-") for count in (row.bought, row.given_up, row.run_out)), str(row.standing))


def _losses(plan: Plan) -> TimeTable:
    """Losses of every situation; without time those of the plan."""
    parts = [("", plan.deployments, plan.losses)]
    if plan.time is not None:
        parts = [(name, part.deployments, part.losses) for name, part in plan.time.situations.items()]
    rows = []
    for name, deployments, losses in parts:
        for after in losses:
            left = ", ".join(
                f"{each} {kept.replicas} of {deployments[each].replicas}"
                for each, kept in after.deployments.items()
                if kept.replicas < deployments[each].replicas
            )
            when = (name,) if plan.time is not None else ()
            rows.append((*when, after.lost, left or "nothing is lost", _shed(after), _busiest(after)))
    heads: list[tuple[str, Align]] = [
        ("lost", "left"),
        ("replicas left", "left"),
        ("shed", "left"),
        ("busiest", "right"),
    ]
    return TimeTable("After a loss", tuple([("when", "left"), *heads] if plan.time is not None else heads), tuple(rows))


def _shed(after: AfterLoss) -> str:
    """Classes that are shed, the most of it first."""
    parts = sorted(((share, name) for name, share in after.shed.items() if share), key=lambda part: (-part[0], part[1]))
    return ", ".join(f"{name} {float(share * 100):.3g}%" for share, name in parts) or "nothing"


def _busiest(after: AfterLoss) -> str:
    return numbers.percent(max((row.used_ppm for each in after.deployments.values() for row in each.loads), default=0))
