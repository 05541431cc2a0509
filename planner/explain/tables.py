"""Candidate tables of many versions of one scenario: physics is evaluated once for what it hangs on.

A model's candidates hang on the model, its classes, the GPUs, KV headroom and confidence. Rates and utilization only
scale their loads; stock, prices, limits and budgets do not touch them. So each model is evaluated on its own, at the
rates of the first version, and kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil

from planner.candidates import Candidate, CandidateTable, build_table
from planner.candidates.losses import losses
from planner.candidates.table import Evaluations, Offered
from planner.candidates.types import Demand, DemandItem, ItemLoad
from planner.scenario.fleet import Change
from planner.scenario.traffic import TrafficClass
from planner.scenario.types import Budget, ModelSpec, Pool, ReplicaLimits, Reserve, Scenario

PPM = 1_000_000


@dataclass
class Tables:
    """Tables of versions of `base`. Versions may change every line; names of models and classes stay."""

    base: Scenario
    kept: list[tuple[Scenario, CandidateTable]] = field(default_factory=list)
    evaluations: Evaluations = field(default_factory=Evaluations)

    def table(self, scenario: Scenario, offered: Offered | None = None) -> CandidateTable:
        """The candidate table of a version; with `offered`, of these configurations only."""
        parts = [self._of_model(scenario, name, offered) for name in sorted(scenario.models)]
        return _scaled(_joined(parts), self.base, scenario)

    def has(self, scenario: Scenario) -> bool:
        """Whether the table of a version needs no physics that was not evaluated before."""
        return all(self._known(self._part(scenario, name)) is not None for name in scenario.models)

    def _of_model(self, scenario: Scenario, name: str, offered: Offered | None) -> CandidateTable:
        part = self._part(scenario, name)
        if offered is not None:
            return build_table(part, self.evaluations, offered)
        found = self._known(part)
        if found is None:
            found = build_table(part, self.evaluations)
            self.kept.append((part, found))
        return found

    def _known(self, part: Scenario) -> CandidateTable | None:
        return next((table for known, table in self.kept if known == part), None)

    def _part(self, scenario: Scenario, name: str) -> Scenario:
        """What one model's candidates hang on; everything else at a value of no meaning.

        Rows that count replicas leave candidates in the table that would else be replaced by others: a table with them
        serves versions without.
        """
        counts = any(_counts_replicas(each, name) for each in (self.base, scenario))
        robust = scenario.robust
        model = replace(scenario.models[name], replicas=ReplicaLimits(), max_configurations=1 if counts else None)
        return replace(
            scenario,
            name="",
            owner="",
            horizon_h=Fraction(1),
            models={name: model},
            traffic={n: self._at_base(t) for n, t in scenario.traffic.items() if t.model == name},
            inventory={n: _kind(pool) for n, pool in scenario.inventory.items()},
            limits={},
            budget=Budget(),
            guardrails={},
            what_if=(),
            defaults=(),
            places={},
            calendar=None,
            current={n: each for n, each in scenario.current.items() if each.model == name},
            change=Change(),
            near={n: each for n, each in scenario.near.items() if each.model == name},
            robust=None if robust is None else replace(robust, traffic_ppm=0),
            reserve=Reserve(kv_headroom_ppm=scenario.reserve.kv_headroom_ppm, confidence=scenario.reserve.confidence),
        )

    def _at_base(self, traffic: TrafficClass) -> TrafficClass:
        """A class at the rates of the base, in one situation."""
        base = self.base.traffic[traffic.name]
        none: tuple[()] = ()
        return replace(
            traffic,
            peak_rps=base.peak_rps,
            mean_rps=base.mean_rps,
            slo=replace(traffic.slo, finish_within_us=base.slo.finish_within_us),
            rates=none,
            growth_ppm=0,
            growth_table_ppm=none,
            priority=1,
            shed_at_most_ppm=0,
        )


def _kind(pool: Pool) -> Pool:
    """A pool without how much of it there is and what it costs."""
    return Pool(pool.name, pool.gpu, pool.region, pool.gpus_per_node, 0, 1, 0, "", zone=pool.zone)


def _counts_replicas(scenario: Scenario, name: str) -> bool:
    model: ModelSpec = scenario.models[name]
    return (
        scenario.reserve.spare_replicas > 0
        or bool(losses(scenario))
        or model.replicas.min > 0
        or model.replicas.max is not None
        or model.max_configurations is not None
    )


def _joined(parts: list[CandidateTable]) -> CandidateTable:
    """Tables of several models as one."""
    items: list[DemandItem] = []
    demands: list[Demand] = []
    candidates: list[Candidate] = []
    for part in parts:
        k = len(items)
        items += part.items
        demands += [replace(demand, items=tuple(k + i for i in demand.items)) for demand in part.demands]
        candidates += [replace(c, loads=tuple((k + i, load) for i, load in c.loads)) for c in part.candidates]
    return CandidateTable(
        tuple(items),
        tuple(demands),
        tuple(candidates),
        tuple(rejection for part in parts for rejection in part.rejections),
        sum(part.examined for part in parts),
        sum(part.dominated for part in parts),
        tuple(row for part in parts for row in part.memory_only),
    )


def _scaled(table: CandidateTable, base: Scenario, scenario: Scenario) -> CandidateTable:
    """The table at the rates and the utilization of a version; loads are rounded up."""
    more = 1 if scenario.robust is None else 1 + Fraction(scenario.robust.traffic_ppm, PPM)
    times = {
        name: (
            more * traffic.peak_rps / base.traffic[name].peak_rps,
            _ratio(traffic.mean_rps, base.traffic[name].mean_rps),
        )
        for name, traffic in scenario.traffic.items()
    }
    items = tuple(
        replace(
            item,
            peak_rps=item.peak_rps * times[item.class_name][0],
            output_tokens_per_s=item.output_tokens_per_s * times[item.class_name][1],
        )
        for item in table.items
    )
    peaks = [times[item.class_name][0] for item in table.items]
    utilization = scenario.reserve.utilization_ppm
    if utilization == PPM and all(peak == 1 for peak in peaks):
        return replace(table, items=items)
    return replace(table, items=items, candidates=tuple(_candidate(c, peaks, utilization) for c in table.candidates))


def _ratio(mean: Fraction, base: Fraction) -> Fraction:
    return mean / base if base else Fraction(0)


def _candidate(candidate: Candidate, peaks: list[Fraction], utilization_ppm: int) -> Candidate:
    loads = tuple((k, _load(load, peaks[k])) for k, load in candidate.loads)
    return replace(candidate, loads=loads, capacity=candidate.unit // PPM * utilization_ppm)


def _load(load: ItemLoad, times: Fraction) -> ItemLoad:
    if times == 1:
        return load
    gpu_time, sequences, kv = (ceil(amount * times) for amount in (load.gpu_time, load.sequences, load.kv))
    return replace(load, gpu_time=gpu_time, sequences=sequences, kv=kv)
