"""Where a class is served: what part of it in which region, and what its users see of the first token there."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from planner.plan.types import Deployment, Plan


@dataclass(frozen=True)
class ServedIn:
    """A class in a region of the plan. TTFT is the worst of its deployments there, None where none is promised.

    `share` is of the requests of the class, `engine_us` its p95 TTFT without the network, `limit_us` the promise.
    """

    class_name: str
    region: str
    share: Fraction
    network_us: int
    engine_us: int | None
    limit_us: int | None


def served_in(plan: Plan) -> tuple[ServedIn, ...]:
    """The classes that say regions or latency, region by region, in the order of the scenario."""
    return tuple(
        _served(plan, name, region)
        for name, traffic in plan.scenario.traffic.items()
        if traffic.regions or traffic.latency_us
        for region in sorted({d.region for d in plan.deployments.values() if _share(d, name)})
    )


def _share(deployment: Deployment, name: str) -> Fraction:
    """What part of a class's requests a deployment takes."""
    own = (route for route in deployment.routing if route.class_name == name)
    return sum((route.share * Fraction(route.band_ppm, 1_000_000) for route in own), Fraction(0))


def _served(plan: Plan, name: str, region: str) -> ServedIn:
    here = [d for d in plan.deployments.values() if d.region == region]
    promises = [p for d in here for p in d.promises if p.class_name == name and p.metric == "ttft_p95"]
    return ServedIn(
        class_name=name,
        region=region,
        share=sum((_share(d, name) for d in here), Fraction(0)),
        network_us=dict(plan.scenario.traffic[name].latency_us).get(region, 0),
        engine_us=max((p.predicted_us - p.network_us for p in promises), default=None),
        limit_us=plan.scenario.traffic[name].slo.ttft_p95_us,
    )
