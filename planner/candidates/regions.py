"""Where a class may be served: its regions, and what the network leaves of its promise there.

A request travels to its region and its first token back: the promise on TTFT has to hold with that. An engine in a
region is therefore held to less, `promise - latency`, and a configuration serves a class in those regions only in which
its operating promise is within what is left. TPOT is not touched: tokens follow each other however far they come.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from planner.candidates.confidence import factors, operating_ns
from planner.candidates.rejections import Rejections
from planner.candidates.types import Candidate, DemandItem, ItemLoad
from planner.catalog.types import Bottleneck, Refusal
from planner.scenario.traffic import TrafficClass
from planner.scenario.types import Scenario


def regions_of(scenario: Scenario, gpu: str, gpus: int) -> tuple[str, ...]:
    """Regions with nodes of a GPU that hold a replica of so many, in name order."""
    pools = scenario.inventory.values()
    return tuple(sorted({pool.region for pool in pools if pool.gpu.id == gpu and pool.gpus_per_node >= gpus}))


def may_run(traffic: TrafficClass, region: str) -> bool:
    """Whether a class may be served in a region at all."""
    return not traffic.regions or region in traffic.regions


def report_regions(traffic: TrafficClass, regions: Sequence[str], count: int, reasons: Rejections) -> None:
    """Regions that may not serve a class, for `count` configurations each."""
    for region in (region for region in regions if not may_run(traffic, region)):
        message = f"{traffic.name} may run in {', '.join(traffic.regions)} only"
        refusal = Refusal(Bottleneck.REGION, message, f"regions [{', '.join((*traffic.regions, region))}]")
        reasons.add(traffic.model, refusal, subject=f"in {region}", count=count, class_name=traffic.name)


def network_us(traffic: TrafficClass, region: str) -> int:
    """Network time that a region adds to TTFT, in microseconds."""
    return dict(traffic.latency_us).get(region, 0)


def engine_limit_us(traffic: TrafficClass, region: str) -> int | None:
    """What the network leaves of the promise on TTFT, at least 0; None: nothing was promised.

    promise - latency of the region
    """
    limit = traffic.slo.ttft_p95_us
    return None if limit is None else max(0, limit - network_us(traffic, region))


def keeps(traffic: TrafficClass, region: str, ttft_ns: int, factor: Fraction) -> bool:
    """Whether an operating promise on TTFT (0: none) is good enough for a class in a region, after `confidence`."""
    if not may_run(traffic, region):
        return False
    limit = engine_limit_us(traffic, region)
    return limit is None or 0 < ttft_ns <= operating_ns(limit, factor)


def local_classes(scenario: Scenario) -> frozenset[str]:
    """Classes for which regions differ."""
    return frozenset(name for name, traffic in scenario.traffic.items() if traffic.regions or traffic.latency_us)


def kinds_of_regions(scenario: Scenario, model: str, gpu: str) -> tuple[str, ...]:
    """One region of each kind among those with a GPU; the classes of a model tell no two of a kind apart."""
    own = [scenario.traffic[name] for name in sorted(local_classes(scenario)) if scenario.traffic[name].model == model]
    found: dict[tuple[tuple[bool, int], ...], str] = {}
    for region in regions_of(scenario, gpu, 1):
        found.setdefault(tuple((may_run(each, region), network_us(each, region)) for each in own), region)
    return tuple(found.values())


def loads_in(
    scenario: Scenario,
    items: Sequence[DemandItem],
    candidate: Candidate,
    region: str,
    local: frozenset[str],
) -> tuple[tuple[int, ItemLoad], ...]:
    """The items that a candidate may serve in a region, with their loads; `local` are the `local_classes`."""
    if not local:
        return candidate.loads
    factor = factors(candidate.band, scenario.reserve.confidence)[1] if candidate.band else Fraction(1)
    ttft_ns = candidate.config.ttft_limit_ns
    return tuple(
        (k, load)
        for k, load in candidate.loads
        if (name := items[k].class_name) not in local or keeps(scenario.traffic[name], region, ttft_ns, factor)
    )
