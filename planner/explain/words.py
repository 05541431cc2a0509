"""Plans and their differences in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from planner.explain.reasons import Fleet
from planner.explain.trials import Outcome
from planner.plan.money import decimal
from planner.plan.types import Deployment, Plan
from planner.scenario.written import tokens

MOST_REFUSALS = 4


def cents(amount: Fraction | None) -> str | None:
    """An amount of money as answers hold it."""
    return None if amount is None else decimal(amount, 2)


def effect(base: Outcome, other: Outcome) -> str | None:
    """What the other one costs more."""
    if base.cost_per_month is None or other.cost_per_month is None:
        return None
    return cents(other.cost_per_month - base.cost_per_month)


def bought(base: Outcome, other: Outcome) -> str:
    """The nodes that one buys more or less than the other: `+1 a100-on-demand, -2 l40s-on-demand`."""
    if other.status != "optimal":
        return ""
    before, after = dict(base.nodes), dict(other.nodes)
    moves = [(name, after.get(name, 0) - before.get(name, 0)) for name in sorted({*before, *after})]
    return ", ".join(f"{change:+d} {name}" for name, change in moves if change)


def runs(plan: Plan) -> tuple[str, ...]:
    """What runs: one text a deployment."""
    return tuple(f"{each.model}: {_replicas(each)} x {choice_text(each)}" for each in plan.deployments.values())


def _replicas(each: Deployment) -> str:
    return f"{each.replicas:,}"


def choice_text(each: Deployment) -> str:
    """What a replica of a deployment is."""
    if not each.parallel:
        return each.gpu
    context = tokens(each.context_limit_tokens).replace("_", ",")
    return f"{each.gpu} {each.parallel} {each.weights}, KV {each.kv_preset}, {context}, {each.max_batch} sequences"


def nodes_text(nodes: Mapping[str, int] | tuple[tuple[str, int], ...]) -> tuple[str, ...]:
    """What is bought: `3 a100-on-demand`."""
    return tuple(f"{count} {name}" for name, count in sorted(dict(nodes).items()) if count)


def at_limit(plan: Plan) -> tuple[str, ...]:
    """Lines of which next to nothing is left."""
    return tuple(row.path for row in plan.limits if row.binding)


def fleet(base: Outcome, other: Outcome, refused: tuple[str, ...] = ()) -> Fleet:
    """An outcome beside that of the scenario as it is."""
    plan = other.plan
    if other.status == "infeasible" and not refused:
        refused = ("stock and limits leave no plan",)
    return Fleet(
        status=other.status,
        cost_per_month=cents(other.cost_per_month),
        effect_per_month=effect(base, other),
        runs=runs(plan) if plan else (),
        nodes=nodes_text(other.nodes),
        at_limit=at_limit(plan) if plan else (),
        refused=refused,
        decided=_decided(base, other),
    )


def _decided(base: Outcome, other: Outcome) -> str:
    """The first objective in which two plans differ that cost the same."""
    if base.plan is None or other.plan is None or base.cost_per_month != other.cost_per_month:
        return ""
    if base.plan.deployments == other.plan.deployments:
        return "the same plan"
    for mine, theirs in zip(base.plan.objective, other.plan.objective, strict=True):
        if mine.value != theirs.value:
            return f"{mine.name} {mine.value:,} -> {theirs.value:,} {mine.unit}"
    return "equal in every objective: settled by fewer busy GPUs, fewer deployments, then by name"
