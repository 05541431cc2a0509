"""What presets are worth, and what a plan on an unproved one owes: second solves, and what follows from them.

A second solve is stored as it came out, since no check without a solver can repeat it; differences and shares are
derived from it and from the plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from planner.plan.money import decimal_difference, is_amount

if TYPE_CHECKING:
    from planner.plan.types import Deployment, ModelCost, Plan, Totals

SIXTEEN_BIT = "bf16"
PPM = 1_000_000


@dataclass(frozen=True)
class IfWrong:
    """The plan without the presets that `compression.allow` names: what stands if they do not hold.

    `cost_per_month` is of the second solve, None without a plan; `more_per_month` is what it costs above this plan.
    """

    status: Literal["optimal", "feasible", "infeasible", "unknown"]
    cost_per_month: str | None
    more_per_month: str | None = None


@dataclass(frozen=True)
class PresetValue:
    """What compression saves for one model: the plan with it, and a second solve with 16-bit KV for this model.

    `stops_paying_ppm` is the quality loss at which a unit of kept quality costs as much as without compression,
    1 - cost of the model with / without; a loss above it is not worth the money. `loss_ppm` is the largest loss that
    the plan counts for it. Nones: without compression there is no plan.
    """

    model: str
    presets: tuple[str, ...]
    status_without: Literal["optimal", "feasible", "infeasible", "unknown"]
    cost_without_per_month: str | None
    model_cost_without_per_month: str | None
    saves_per_month: str | None = None
    stops_paying_ppm: int | None = None
    loss_ppm: int = 0


def compressed(deployments: Mapping[str, Deployment]) -> dict[str, tuple[str, ...]]:
    """Model -> presets other than 16-bit KV that its deployments run, sorted."""
    found: dict[str, set[str]] = {}
    for deployment in deployments.values():
        if deployment.kv_preset not in ("", SIXTEEN_BIT):
            found.setdefault(deployment.model, set()).add(deployment.kv_preset)
    return {model: tuple(sorted(presets)) for model, presets in sorted(found.items())}


def if_wrong(second: IfWrong | None, debt: Sequence[str], totals: Totals) -> IfWrong | None:
    """What a hypothetical plan costs if its presets fail; None for a plan that owes nothing."""
    if not debt:
        return None
    if second is None:
        return IfWrong("unknown", None)
    return replace(second, more_per_month=decimal_difference(second.cost_per_month, totals.cost_per_month))


def preset_values(
    seconds: Sequence[PresetValue],
    deployments: Mapping[str, Deployment],
    totals: Totals,
    models: Mapping[str, ModelCost],
) -> tuple[PresetValue, ...]:
    """The second solves with what follows from them; those of models that compress nothing fall away."""
    by_model = {second.model: second for second in seconds}
    found = []
    for model, presets in compressed(deployments).items():
        second = by_model.get(model)
        if second is None:
            continue
        losses = [
            route.loss_ppm
            for deployment in deployments.values()
            if deployment.model == model and deployment.kv_preset != SIXTEEN_BIT
            for route in deployment.routing
        ]
        found.append(
            replace(
                second,
                presets=presets,
                saves_per_month=decimal_difference(second.cost_without_per_month, totals.cost_per_month),
                stops_paying_ppm=_stops_paying(second.model_cost_without_per_month, models[model].cost_per_month),
                loss_ppm=max(losses, default=0),
            )
        )
    return tuple(found)


def _stops_paying(without: str | None, cost: str) -> int | None:
    """1 - with / without in ppm, rounded down and never below 0.

    >>> _stops_paying("200.00", "150.00")
    250000
    """
    if without is None or Fraction(without) <= 0:
        return None
    return max(0, int((1 - Fraction(cost) / Fraction(without)) * PPM))


def broken_values(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """What no second solve can say: amounts that are none, and a plan that a narrower choice makes cheaper."""
    rows = [("if_wrong.cost_per_month", plan.if_wrong.status, plan.if_wrong.cost_per_month)] if plan.if_wrong else []
    for each in plan.preset_value:
        path = f"preset_value.{each.model}"
        rows.append((f"{path}.cost_without_per_month", each.status_without, each.cost_without_per_month))
        rows.append((f"{path}.model_cost_without_per_month", each.status_without, each.model_cost_without_per_month))
        amounts = [each.model_cost_without_per_month, each.cost_without_per_month]
        if all(amount and is_amount(amount) for amount in amounts):
            part, whole = (Fraction(amount or 0) for amount in amounts)
            if part > whole:
                yield f"{path}.model_cost_without_per_month", str(amounts[0])[:40], f"at most {str(amounts[1])[:40]}"
    for path, status, cost in rows:
        if (cost is None) != (status in ("infeasible", "unknown")):
            yield path, str(cost)[:40], f"an amount where the status is optimal or feasible, not {status}"
        elif cost is not None and not is_amount(cost):
            yield path, cost[:40], "an amount of money"
        elif cost is not None and "model_cost" not in path and _cheaper(plan, cost):
            yield path, cost, "at least the cost of the plan: fewer choices never cost less"


def _cheaper(plan: Plan, cost: str) -> bool:
    """Whether a second solve undercuts a plan that is proved to be the cheapest."""
    proved = plan.status == "optimal" and bool(plan.objective) and plan.objective[0].name == "cost"
    return proved and plan.totals is not None and Fraction(cost) < Fraction(plan.totals.cost_per_month)
