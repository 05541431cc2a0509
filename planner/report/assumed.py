"""What a plan assumes, in words that every document shares."""

from __future__ import annotations

from planner.plan.types import BoundPlan


def bound_text(bound: BoundPlan) -> str:
    """What the interval of an architecture that is not understood does to the plan.

    >>> bound_text(BoundPlan("10", "10", changes_plan=False, proved=True))
    'planned at the most KV that it may keep; the plan at the least is the same'
    """
    other = "another one" if bound.changes_plan else "the same"
    text = f"planned at the most KV that it may keep; the plan at the least is {other}"
    return text if bound.proved else f"{text}; not both are proved"
