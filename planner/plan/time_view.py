"""One situation of a plan over time as a plan of its own, for those who look at one moment: replay first of all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from planner.candidates.situations import situations
from planner.plan.time_rows import class_of, prompts_of
from planner.plan.types import Deployment, Plan


def shown_alone(plan: Plan) -> Plan:
    """The situation that a plan shows first, the costliest, with the traffic and pools of that moment; a plan without
    time as it is. What runs of a batch is that of the end of the band, so the scenario is the worst of its band too."""
    if plan.time is None:
        return plan
    now = next(s.scenario for s in situations(plan.scenario) if s.name == plan.time.shown)
    shown = plan.time.situations[plan.time.shown]
    if not shown.waiting:
        return replace(plan, scenario=now, time=None)
    traffic = {
        name: replace(each, peak_rps=shown.batches[name]) if name in shown.batches else each
        for name, each in now.traffic.items()
        if shown.batches.get(name, 1)
    }
    deployments = {name: _without_waiting(each, shown.waiting) for name, each in plan.deployments.items()}
    return replace(plan, scenario=replace(now, traffic=traffic), time=None, deployments=deployments)


def _without_waiting(deployment: Deployment, waiting: Mapping[str, Fraction]) -> Deployment:
    """A deployment whose shares are of what runs of a batch then, all prompt lengths alike."""
    off: dict[str, list[tuple[int, int, Fraction]]] = {}
    for item, share in waiting.items():
        off.setdefault(class_of(item), []).append((*prompts_of(item), share))
    routing = tuple(
        replace(route, share=route.share / (1 - _waits(off.get(route.class_name, []), route.prompt_tokens)))
        for route in deployment.routing
    )
    return replace(deployment, routing=routing)


def _waits(off: list[tuple[int, int, Fraction]], prompts: tuple[int, int]) -> Fraction:
    """What waits of the prompts of a route."""
    return sum((share for low, high, share in off if low <= prompts[0] <= high), Fraction(0))
