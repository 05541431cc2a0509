"""What the latency band decides, as lines of the plan's page."""

from __future__ import annotations

from fractions import Fraction

from planner.plan.edge import BandEdge
from planner.plan.types import Plan
from planner.report import numbers

EDGES = {"p10": "p10, the fast edge of the band", "p50": "p50, its middle", "p90": "p90, the slow edge of the band"}


def edge_lines(plan: Plan) -> list[str]:
    """The other edge of the band: what the plan costs there, and one line for each model whose choice changes."""
    edge = plan.band_edge
    if edge is None:
        return []
    first = f"at {EDGES[edge.confidence]}: {_cost(plan, edge)}"
    if edge.cost_per_month is None:
        return [first]
    if not edge.choices:
        return [f"{first}; every choice is the same"]
    return [first, *(f"{each.model} would run {each.there}; here {each.here or 'nothing'}" for each in edge.choices)]


def _cost(plan: Plan, edge: BandEdge) -> str:
    currency = plan.scenario.currency
    if edge.cost_per_month is None:
        return f"no plan ({edge.status})"
    cost = f"{numbers.money(edge.cost_per_month, currency)} / month with {edge.gpus} GPUs"
    proof = "" if edge.status == "optimal" else " (not proved)"
    if edge.more_per_month is None:
        return cost + proof
    if not Fraction(edge.more_per_month):
        return f"{cost}, as here{proof}"
    less = edge.more_per_month.startswith("-")
    amount = numbers.money(edge.more_per_month.removeprefix("-"), currency)
    return f"{cost}, {amount} {'less' if less else 'more'} than this plan{proof}"
