"""What stands on the page of a plan, from the headline to the origin of its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from planner.plan.types import LimitRow, Plan
from planner.report import numbers
from planner.report.certificate import certificate_lines
from planner.report.html import plan_assumed, plan_fleet, plan_load, plan_money, plan_origin, plan_presets, plan_time
from planner.report.html.blocks import Align, Cell, Datum, Figure, Page, Section, Tone, plural, table
from planner.report.html.plan_presets import Alternative

STATUS: dict[str, tuple[str, Tone]] = {
    "optimal": ("OPTIMAL, proved", "good"),
    "feasible": ("FEASIBLE", "warn"),
    "infeasible": ("INFEASIBLE, proved", "bad"),
    "unknown": ("UNKNOWN", "bad"),
}


@dataclass(frozen=True)
class View:
    """How a page is made: the day that prices are aged to, rows of a table at most, solves of other presets."""

    as_of: date
    most_rows: int
    alternatives: tuple[Alternative, ...] = ()


def plan_page(plan: Plan, view: View) -> Page:
    """The whole page of a plan, whatever its status."""
    badge, tone = STATUS[plan.status]
    badge += {"certified": ", certified", "refuted": ", REFUTED"}.get(plan.certificate.status, "")
    tone = "bad" if plan.certificate.status == "refuted" else tone
    sections = [_attention(plan, view), plan_assumed.assumed(plan, view.most_rows)]
    if plan.totals is not None:
        sections += [
            plan_load.deployments(plan, view.most_rows),
            plan_load.memory(plan, view.most_rows),
            plan_money.cost(plan, view.most_rows),
            plan_time.over_time(plan, view.most_rows),
            plan_fleet.moves(plan, view.most_rows),
            plan_money.budget_round(plan, view.as_of, view.most_rows),
            _headroom(plan, view.most_rows),
            plan_load.latency(plan, view.most_rows),
        ]
    sections += [
        plan_fleet.as_is(plan.as_is, plan.scenario.currency, view.most_rows, ""),
        plan_presets.against_quality(plan, view.alternatives, view.most_rows),
        plan_presets.over_context(plan),
        plan_origin.rejected(plan, view.most_rows),
        plan_origin.origin(plan, view.most_rows),
    ]
    return Page(
        title=plan.scenario.name,
        kind="capacity plan",
        badge=badge,
        tone=tone,
        sentence=_sentence(plan),
        figures=_figures(plan),
        sections=tuple(section for section in sections if section is not None),
        footer=_footer(plan),
    )


def _sentence(plan: Plan) -> str:
    """The headline: cost a month and over the horizon, GPUs, and how far it is proved."""
    if plan.totals is None:
        if plan.status == "unknown":
            return "No plan was found in the time limit, and none was ruled out."
        word = "reason stands" if len(plan.conflicts) == 1 else "reasons stand"
        return f"No plan keeps every promise of this scenario; {len(plan.conflicts)} {word} below."
    currency = plan.scenario.currency
    total = numbers.money(plan.totals.cost_over_horizon, currency)
    cost = numbers.money(plan.totals.cost_per_month, currency)
    gap = "" if plan.status == "optimal" else f"{_gap(plan)}. "
    return (
        f"{gap}{cost} / month, {total} / {numbers.horizon(plan.scenario.horizon_h)}, {plural(plan.totals.gpus, 'GPU')}."
    )


def _gap(plan: Plan) -> str:
    first = plan.objective[0]
    if first.bound is None:
        return "No bound was proved"
    if first.bound == first.value:
        return f"{first.name} is proved, later objectives are not"
    return f"{first.name} is within {(plan.gap_ppm or 0) / 10_000:.2f}% of the best possible"


def _figures(plan: Plan) -> tuple[Figure, ...]:
    totals, currency = plan.totals, plan.scenario.currency
    if totals is None:
        return ()
    per_h = numbers.money(totals.cost_per_h, currency)
    uses = f"{totals.gpus_busy} busy + {totals.gpus_spare} spare + {totals.gpus_idle} idle"
    figures = [
        Figure("Cost a month", numbers.money(totals.cost_per_month, currency), f"{per_h} / h; taxes not included"),
        Figure("GPUs", f"{totals.gpus:,}", uses),
        Figure("Power", numbers.quantity(Fraction(totals.power_w), "W", currency), "TDP of all GPUs bought"),
    ]
    if totals.cost_per_million_tokens is not None:
        each = numbers.money(totals.cost_per_million_tokens, currency)
        figures.append(Figure("A million tokens", each, "input and output, at mean load"))
    # Stock that is paid for and a cap on replicas are meant to have no room: they are no risk.
    risks = (row for row in plan.limits if row.used and not row.path.endswith((".committed", ".replicas.max")))
    tightest = min(risks, key=lambda row: (row.slack_ppm, row.path), default=None)
    if tightest is not None:
        free = numbers.percent(max(tightest.slack_ppm, 0))
        figures.append(Figure("Tightest limit", f"{free} free", tightest.path, _tone(tightest)))
    return tuple(figures)


def _tone(row: LimitRow) -> Tone:
    return "bad" if row.binding else "warn" if row.slack_ppm < NEAR_PPM else "good"


NEAR_PPM = 200_000
"""Limits with less than a fifth left are drawn as near."""


def _attention(plan: Plan, view: View) -> Section | None:
    """What must be read first: why there is no plan, and every warning."""
    tables = []
    if plan.conflicts:
        columns = ("line", "place", "why", "what would do")
        heads: list[tuple[str, Align]] = [(column, "left") for column in columns]
        rows = [
            (Cell(c.path, "bad", code=True), place(plan, c.path), c.message, Cell(c.repair or "-", code=bool(c.repair)))
            for c in plan.conflicts
        ]
        tables.append(table("What stands in the way", heads, rows, view.most_rows))
    status = plan.certificate.status.replace("_", " ")
    replay = certificate_lines(plan) or [f"Certificate: {status}: {plan.certificate.reason}."]
    return Section("attention", "Read this first", tables=tuple(tables), points=(*plan.warnings, *replay))


def place(plan: Plan, path: str) -> str:
    """File name and line of a scenario path."""
    return plan.run.places.get(path, "").rpartition("/")[2]


def _headroom(plan: Plan, most: int) -> Section | None:
    from planner.report.html import charts

    rows = sorted(plan.limits, key=lambda row: (row.slack_ppm, row.path))
    if not rows:
        return None
    currency = plan.scenario.currency
    states = {"good": "far", "warn": "near", "bad": "binding", "": "far", "soft": "far"}
    drawn: list[Datum] = [
        {
            "row": row.path,
            "value": float(row.used / row.limit * 100) if row.limit else 0.0,
            "state": states[_tone(row)],
            "text": f"{numbers.quantity(row.used, row.unit, currency)} of "
            f"{numbers.quantity(row.limit, row.unit, currency)}",
        }
        for row in rows[: charts.MOST_BARS]
    ]
    cells: list[Sequence[Cell | str]] = [
        (
            Cell(row.path, code=True),
            numbers.quantity(row.used, row.unit, currency),
            numbers.quantity(row.limit, row.unit, currency),
            numbers.percent(max(row.slack_ppm, 0)),
            Cell(states[_tone(row)], _tone(row)),
            place(plan, row.path),
        )
        for row in rows
    ]
    nearest = rows[0]
    alt = (
        f"Bars of what is used of each of {len(rows)} limits, the limit at 100%. Nearest: {nearest.path} with "
        f"{numbers.percent(max(nearest.slack_ppm, 0))} free."
    )
    heads: list[tuple[str, Align]] = [
        ("limit", "left"), ("used", "right"), ("of", "right"), ("free", "right"), ("state", "left"), ("place", "left"),
    ]  # fmt: skip
    return Section(
        "headroom",
        "Headroom against every limit",
        texts=("Binding: less than 1% is left; near: less than 20%.",),
        charts=(charts.used_bars("chart-headroom", "Used of each limit", alt, drawn, axis="used", label="limit"),),
        tables=(table("Limits", heads, cells, most),),
        origin="Limits are lines of the scenario; what is used is added up from the plan's nodes and promises.",
    )


def _footer(plan: Plan) -> tuple[str, ...]:
    counts = plan.candidates
    return (
        f"{counts.examined:,} configurations examined, {counts.offered:,} offered to the solver.",
        f"kvplan {plan.run.kvplan}; catalog {plan.run.catalog}; plan {plan.hash}; proof: {plan.run.proof}.",
        f"Made by `kvplan report` from the plan of {plan.run.file or plan.scenario.name}; "
        "`kvplan check` derives every number of that plan again.",
    )
