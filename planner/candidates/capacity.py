"""Candidates from a capacity table: a replica is one GPU, and only the GPU-time row stands."""

from __future__ import annotations

from fractions import Fraction
from math import lcm

from planner.candidates.regions import may_run, regions_of, report_regions
from planner.candidates.rejections import Rejections
from planner.candidates.types import Candidate, Config, DemandItem, ItemLoad
from planner.catalog.types import Bottleneck, Refusal
from planner.scenario.types import ModelSpec, Scenario

_NOTHING = Fraction(0)


def capacity_candidates(
    scenario: Scenario, model: ModelSpec, items: tuple[DemandItem, ...], own: list[int], reasons: Rejections
) -> list[Candidate]:
    """One candidate a GPU of the table; load = rate / requests_per_s exactly, and 0 means that it cannot serve."""
    found = []
    offered = {pool.gpu.id for pool in scenario.inventory.values()}
    for gpu, rates in model.capacity:
        if gpu not in offered:
            continue
        near = [k for k in own if _may_run(scenario, items[k].class_name, gpu, reasons)]
        parts = {k: items[k].peak_rps / rate for k in near if (rate := dict(rates)[items[k].class_name]) > 0}
        for k in near:
            if k not in parts:
                message = "the capacity table says 0 requests/s"
                refusal = Refusal(Bottleneck.RATE, message)
                reasons.add(model.name, refusal, subject=f"on {gpu}", count=1, class_name=items[k].class_name)
        if not parts:
            continue
        # A multiple of a million keeps the capacity whole after `reserve.utilization`, which is in ppm.
        unit = 1_000_000 * lcm(*(part.denominator for part in parts.values()))
        loads = tuple((k, ItemLoad(int(part * unit), 0, 0, _NOTHING, _NOTHING, 0)) for k, part in sorted(parts.items()))
        found.append(
            Candidate(
                config=Config(model.name, gpu, 1),
                unit=unit,
                capacity=unit // 1_000_000 * scenario.reserve.utilization_ppm,
                utilization_ppm=0,
                memory=None,
                timing=None,
                loads=loads,
            )
        )
    return found


def _may_run(scenario: Scenario, class_name: str, gpu: str, reasons: Rejections) -> bool:
    """Whether a region with this GPU may serve a class; those that may not are reasons."""
    traffic = scenario.traffic[class_name]
    regions = regions_of(scenario, gpu, 1)
    report_regions(traffic, regions, 1, reasons)
    return any(may_run(traffic, region) for region in regions)
