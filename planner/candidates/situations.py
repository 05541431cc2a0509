"""The scenario at every moment that is planned: one plain scenario a situation, and the candidate table as it is then.

A situation is a period of the calendar, a month of the horizon, or a period of a month. Rates differ, and with them the
loads of every candidate, in proportion; what a replica can do does not. So the physics is evaluated once and scaled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

from planner.candidates.batch import Batch, batch_of
from planner.candidates.types import Candidate, CandidateTable, DemandItem, ItemLoad
from planner.scenario.calendar import share_of_week
from planner.scenario.traffic import TrafficClass
from planner.scenario.types import HOURS_PER_MONTH, Calendar, Pool, Scenario

PPM = 1_000_000
WHOLE_WEEK = (("", ((0, 7 * 24 * 60),)),)


@dataclass(frozen=True)
class Situation:
    """One moment: its hours within the horizon, and the scenario as it is then, without a calendar or months.

    `month` is 0 where months do not differ, `period` empty without a calendar.
    """

    name: str
    month: int
    period: str
    hours: Fraction
    scenario: Scenario


def situations(scenario: Scenario) -> tuple[Situation, ...]:
    """All situations, months first, periods in the order of the calendar; one without time.

    Pools whose nodes are bought or given up by the month offer all their nodes in each of them: what stands is decided
    for all situations together, and so is money.
    """
    months = range(1, int(scenario.horizon_h / HOURS_PER_MONTH) + 1) if scenario.monthly else (0,)
    periods = scenario.calendar.periods if scenario.calendar else WHOLE_WEEK
    found = []
    for month in months:
        length = Fraction(HOURS_PER_MONTH) if month else scenario.horizon_h
        for period, spans in periods:
            name = "-".join(filter(None, (f"m{month:02d}" if month else "", period)))
            plain = _at(scenario, month, period) if scenario.timed else scenario
            found.append(Situation(name, month, period, length * share_of_week(spans), plain))
    return tuple(found)


def _at(scenario: Scenario, month: int, period: str) -> Scenario:
    classes = {name: _class_at(scenario, traffic, month, period) for name, traffic in scenario.traffic.items()}
    return replace(
        scenario,
        traffic={name: traffic for name, traffic in classes.items() if traffic.peak_rps},
        inventory={name: _pool_at(pool) for name, pool in scenario.inventory.items()},
        budget=replace(scenario.budget, monthly_micro=None, total_micro=None),
        calendar=None,
    )


def _class_at(scenario: Scenario, traffic: TrafficClass, month: int, period: str) -> TrafficClass:
    grown = growth(traffic, month)
    rate = next(((r.peak_rps, r.mean_rps) for r in traffic.rates if r.period == period), None)
    peak, mean = rate or (traffic.peak_rps, traffic.mean_rps)
    batch = batch_of(traffic, scenario.calendar)
    if batch is not None and scenario.calendar is not None:
        pace, used = _pace(batch, scenario.calendar, period)
        peak, mean = traffic.mean_rps * pace, traffic.mean_rps / used if pace else Fraction(0)
    none: tuple[()] = ()
    return replace(
        traffic, peak_rps=peak * grown, mean_rps=mean * grown, rates=none, growth_ppm=0, growth_table_ppm=none
    )


def _pace(batch: Batch, calendar: Calendar, period: str) -> tuple[Fraction, Fraction]:
    """A batch's full pace in a period over the rate of an even day, and the part of the week in which it may run."""
    used = [share_of_week(spans) for (_, spans), pace in zip(calendar.periods, batch.paces, strict=True) if pace]
    names = [name for name, _ in calendar.periods]
    return batch.paces[names.index(period)], sum(used, Fraction(0))


def growth(traffic: TrafficClass, month: int) -> Fraction:
    """What rates are multiplied with in a month, 1 being the first.

    From the scenario: `(1 + growth) ** (month - 1)`, or the month's entry of the table.
    """
    if not month:
        return Fraction(1)
    if traffic.growth_table_ppm:
        return Fraction(traffic.growth_table_ppm[month - 1], PPM)
    return Fraction(PPM + traffic.growth_ppm, PPM) ** (month - 1)


def _pool_at(pool: Pool) -> Pool:
    """The pool of one moment: nodes that come and go by the month may all stand or not."""
    if pool.term_months is None and pool.notice_months is None:
        return pool
    nodes = pool.committed_nodes + pool.available_nodes
    return replace(pool, committed_nodes=0, available_nodes=nodes, term_months=None, notice_months=None)


def table_at(table: CandidateTable, scenario: Scenario, situation: Situation) -> CandidateTable:
    """The candidate table of a situation: loads in proportion to the rates of the moment, rounded up.

    Classes that ask nothing then have no demand. Items keep their places.
    """
    if not scenario.timed:
        return table
    now = situation.scenario.traffic
    peaks = {
        name: now[name].peak_rps / c.peak_rps if name in now else Fraction(0) for name, c in scenario.traffic.items()
    }
    means = {
        name: now[name].mean_rps / c.mean_rps if name in now and c.mean_rps else Fraction(0)
        for name, c in scenario.traffic.items()
    }
    return scaled(table, peaks, means)


def scaled(table: CandidateTable, peaks: Mapping[str, Fraction], means: Mapping[str, Fraction]) -> CandidateTable:
    """The table at other rates: each class's peak and mean times its factor. Without a peak it has no demand."""
    factors = [peaks[item.class_name] for item in table.items]
    return replace(
        table,
        items=tuple(_item(item, peaks[item.class_name], means[item.class_name]) for item in table.items),
        demands=tuple(demand for demand in table.demands if peaks[demand.class_name]),
        candidates=tuple(_candidate(candidate, factors) for candidate in table.candidates),
    )


def _item(item: DemandItem, peak: Fraction, mean: Fraction) -> DemandItem:
    return replace(item, peak_rps=item.peak_rps * peak, output_tokens_per_s=item.output_tokens_per_s * mean)


def _candidate(candidate: Candidate, factors: list[Fraction]) -> Candidate:
    loads = tuple((k, _load(load, factors[k])) for k, load in candidate.loads if factors[k])
    return replace(candidate, loads=loads)


def _load(load: ItemLoad, factor: Fraction) -> ItemLoad:
    if factor == 1:
        return load
    gpu_time, sequences, kv = (ceil(amount * factor) for amount in (load.gpu_time, load.sequences, load.kv))
    return replace(load, gpu_time=gpu_time, sequences=sequences, kv=kv)
