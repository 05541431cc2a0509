"""One situation of a plan over time as a plan of its own, for those who look at one moment: replay first of all."""

from __future__ import annotations

from dataclasses import replace

from planner.candidates.situations import situations
from planner.plan.types import Plan


def shown_alone(plan: Plan) -> Plan:
    """The situation that a plan shows first, the costliest, with the traffic and pools of that moment; a plan without
    time as it is."""
    if plan.time is None:
        return plan
    now = next(s.scenario for s in situations(plan.scenario) if s.name == plan.time.shown)
    return replace(plan, scenario=now, time=None)
