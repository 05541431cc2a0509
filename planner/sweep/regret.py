"""Regret across named scenarios: which fleet to buy when any of them may come.

Every scenario is solved for the fleet that is best for it, and every one of these fleets is then judged, as it stands,
under every other scenario: whether it keeps all promises there, and what its nodes cost there. Where it does, its
regret is that cost above what the best fleet for that scenario costs; where it does not, no money makes up for it. The
choice is the fleet that holds everywhere with the least largest regret.
Source: Savage, "The theory of statistical decision", J. Am. Stat. Assoc. 46 (1951), for minimax regret.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from planner import pipeline
from planner.errors import Diagnostic, InputError
from planner.plan.as_is import Judged
from planner.plan.money import decimal, decimal_difference
from planner.plan.moves import fleet_of
from planner.plan.types import Plan
from planner.scenario.robust import worst
from planner.scenario.types import Place, Scenario
from planner.sweep.regret_types import AS_WRITTEN, REGRET_FORMAT_VERSION, Broken, Cell, FleetRow, Regret


def regret(
    file: str, names: Sequence[str], sets: Sequence[str] = (), options: pipeline.Options | None = None
) -> Regret:
    """Plans for a scenario as written and with each of its named what_if blocks, each judged under all of them.

    Args:
        file: the scenario.
        names: blocks of `what_if`.
        sets: overrides in every one of them.
        options: how each solve runs; the time limit is for each.

    Raises:
        InputError: every mistake in the file, its blocks or the overrides; and a scenario that changes over time.
    """
    options = options or pipeline.Options()
    cases = {AS_WRITTEN: pipeline.load(file, sets)}
    cases |= {name: pipeline.load(file, sets, [name]) for name in dict.fromkeys(names)}
    _stand_still(file, cases)
    plans = {name: _planned(name, scenario, options, file) for name, scenario in cases.items()}
    best = {name: plan.totals.cost_per_month if plan.totals else None for name, plan in plans.items()}
    hopeless = [name for name, plan in plans.items() if plan.status == "infeasible"]
    rows = []
    for name, plan in plans.items():
        cells = tuple(_cell(plan, name, other, cases[other], best[other], options, file) for other in cases)
        rows.append(_row(name, plan, cells, hopeless))
    first = cases[AS_WRITTEN]
    choice, reason = _choice(rows, hopeless, first.currency)
    return Regret(
        REGRET_FORMAT_VERSION, file, first.name, first.currency, tuple(sets), tuple(cases), tuple(rows), choice, reason
    )


def _stand_still(file: str, cases: dict[str, Scenario]) -> None:
    """Refuses scenarios whose fleets come and go: one fleet is judged at every hour."""
    for name, scenario in cases.items():
        if scenario.timed:
            place = scenario.places.get("calendar", Place(file, 0, 0))
            message = f"{name}: regret compares fleets that stay; leave out calendar, growth, term and notice"
            raise InputError([Diagnostic(place.file, place.line, place.col, "KV454", message)])


def _planned(name: str, scenario: Scenario, options: pipeline.Options, file: str) -> Plan:
    """The plan of a scenario by itself: its second solves are of no use here."""
    tell = options.progress
    own = replace(options, progress=lambda line: tell(f"{name}: {line}")) if tell else options
    return pipeline.plan(worst(scenario), own, file)


def _cell(
    plan: Plan, own: str, other: str, scenario: Scenario, best: str | None, options: pipeline.Options, file: str
) -> Cell:
    """A fleet under a scenario."""
    if plan.totals is None:
        return Cell(other, None if plan.status == "unknown" else False, None, None)
    if own == other:
        return Cell(other, True, plan.totals.cost_per_month, "0.00")
    judged = pipeline.judge(worst(scenario), fleet_of(plan), replace(options, progress=None), file)
    if judged.totals is None:
        return Cell(other, None if judged.status == "unknown" else False, None, None, _broken(judged))
    cost = judged.totals.cost_per_month
    return Cell(other, True, cost, decimal_difference(cost, best))


def _broken(judged: Plan) -> tuple[Broken, ...]:
    """What a fleet does not keep, and by how much."""
    if judged.as_is is not None:
        currency = judged.scenario.currency
        return tuple(Broken(row.path, row.sentence(currency), _times(row)) for row in judged.as_is.broken)
    return tuple(Broken(each.path, each.message) for each in judged.conflicts)


def _times(row: Judged) -> str | None:
    """By how much a limit is broken: used / limit, to three places."""
    return None if row.factor is None else decimal(row.factor, places=3, at_least=0)


def _row(name: str, plan: Plan, cells: tuple[Cell, ...], hopeless: Sequence[str]) -> FleetRow:
    """A fleet; scenarios for which no fleet would do do not count against it."""
    totals = plan.totals
    counted = [cell for cell in cells if cell.scenario not in hopeless]
    regrets = [cell.regret_per_month for cell in counted if cell.holds and cell.regret_per_month is not None]
    return FleetRow(
        name,
        plan.status,
        totals.cost_per_month if totals else None,
        totals.gpus if totals else None,
        plan.hash,
        cells,
        max(regrets, key=Fraction) if regrets and len(regrets) == len(counted) else None,
    )


def _choice(rows: Sequence[FleetRow], hopeless: Sequence[str], currency: str) -> tuple[str | None, str]:
    """The fleet of least largest regret, the cheaper of two, and why; or what stands in the way."""
    able = [row for row in rows if row.most_regret_per_month is not None]
    beside = f"; there is no plan at all for {', '.join(hopeless)}" if hopeless else ""
    if not able:
        if len(hopeless) == len(rows):
            return None, "there is no plan for any of them"
        return None, f"no fleet holds everywhere; name a scenario that asks as much as each of them{beside}"
    best = min(able, key=lambda row: (Fraction(row.most_regret_per_month or 0), Fraction(row.cost_per_month or 0)))
    most = Fraction(best.most_regret_per_month or 0)
    others = f" of the {len(able)} that hold everywhere" if len(able) > 1 else ": no other holds everywhere"
    return best.scenario, f"regrets at most {currency}{float(most):,.2f} a month, the least{others}{beside}"
