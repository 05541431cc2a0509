"""What the interval of an architecture that is not understood does to a plan: two plans, compared."""

from __future__ import annotations

from planner.plan.types import BoundPlan, Deployment, Plan


def bound_plan(upper: Plan, lower: Plan) -> BoundPlan:
    """The plan at the most KV that a model may keep, beside the plan at the least."""
    low, high = (plan.totals.cost_per_month if plan.totals else None for plan in (lower, upper))
    return BoundPlan(
        low_cost_per_month=low,
        high_cost_per_month=high,
        changes_plan=_bought(lower) != _bought(upper) or _running(lower) != _running(upper),
        proved=all(plan.status in ("optimal", "infeasible") for plan in (lower, upper)),
    )


def _bought(plan: Plan) -> dict[str, int]:
    return {name: pool.nodes for name, pool in plan.pools.items()}


def _running(plan: Plan) -> list[tuple[str, ...]]:
    """What somebody who rolls the plan out would see: every deployment's settings and where its replicas stand."""
    return [_settings(deployment) for _, deployment in sorted(plan.deployments.items())]


def _settings(deployment: Deployment) -> tuple[str, ...]:
    values = (
        *(deployment.model, deployment.gpu, deployment.region, deployment.weights, deployment.parallel),
        *(deployment.kv_preset, deployment.context_limit_tokens, deployment.max_batch, deployment.replicas),
        *sorted(deployment.pools.items()),
    )
    return tuple(str(value) for value in values)
