"""The other edge of the latency band: a second solve there, and which choices of the plan it changes.

A plan at p90 stands at the slow edge of its providers' bands, so the other edge is p10: what it costs to be so
careful. A plan at p50 stands in the middle, and the edge that would hurt is p90. The second solve is stored as it came
out, since no check without a solver can repeat it; this plan's side and the differences are derived.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from planner.plan.money import decimal_difference, is_amount

if TYPE_CHECKING:
    from planner.plan.types import Deployment, Plan, Totals
    from planner.scenario.types import Quantile

OTHER_EDGE: dict[Quantile, Quantile] = {"p10": "p90", "p50": "p90", "p90": "p10"}


@dataclass(frozen=True)
class BandChoice:
    """What a model runs in this plan and at the other edge; a text is empty where there is no plan."""

    model: str
    here: str
    there: str


@dataclass(frozen=True)
class BandEdge:
    """The plan at the other edge of the band. `choices` are those that change; money is for a month.

    `more_per_month` is what the other edge costs above this plan, below 0 where it costs less; None without two plans.
    """

    confidence: Literal["p10", "p50", "p90"]
    status: Literal["optimal", "feasible", "infeasible", "unknown"]
    cost_per_month: str | None
    gpus: int | None
    choices: tuple[BandChoice, ...] = ()
    more_per_month: str | None = None


def edge_of(there: Plan) -> BandEdge:
    """The second solve, with every model's choice there."""
    totals = there.totals
    running = choices_of(there.deployments)
    return BandEdge(
        confidence=there.scenario.reserve.confidence,
        status=there.status,
        cost_per_month=totals.cost_per_month if totals else None,
        gpus=totals.gpus if totals else None,
        choices=tuple(BandChoice(name, "", running.get(name, "")) for name in sorted(there.scenario.models)),
    )


def band_edge(second: BandEdge | None, deployments: Mapping[str, Deployment], totals: Totals | None) -> BandEdge | None:
    """The second solve beside this plan: choices that are the same fall away."""
    if second is None:
        return None
    here = choices_of(deployments)
    choices = (replace(each, here=here.get(each.model, "")) for each in second.choices)
    return replace(
        second,
        choices=tuple(each for each in choices if each.here != each.there),
        more_per_month=decimal_difference(second.cost_per_month, totals.cost_per_month if totals else None),
    )


def choices_of(deployments: Mapping[str, Deployment]) -> dict[str, str]:
    """Model -> what it runs, in words: replicas, GPUs, and all that an engine is started with."""
    found: dict[str, list[str]] = {}
    for _, each in sorted(deployments.items()):
        found.setdefault(each.model, []).append(_words(each))
    return {model: " + ".join(sorted(words)) for model, words in found.items()}


def _words(each: Deployment) -> str:
    if not each.parallel:
        return f"{each.replicas} x {each.gpu}"
    shape = f"{each.parallel} {each.weights}, KV {each.kv_preset}, context {each.context_limit_tokens:,}"
    return f"{each.replicas} x {each.gpu} {shape}, batch {each.max_batch}, chunk {each.max_num_batched_tokens:,}"


def broken_edge(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """What no second solve can say."""
    edge = plan.band_edge
    if edge is None:
        return
    wanted = OTHER_EDGE[plan.scenario.reserve.confidence]
    if edge.confidence != wanted:
        yield "band_edge.confidence", edge.confidence, f"{wanted}, the other edge"
    planned = edge.status in ("optimal", "feasible")
    for name, value in (("cost_per_month", edge.cost_per_month), ("gpus", edge.gpus)):
        if (value is None) == planned:
            yield (
                f"band_edge.{name}",
                str(value),
                f"{'a value' if planned else 'none'} where the status is {edge.status}",
            )
    if edge.cost_per_month is not None and not is_amount(edge.cost_per_month):
        yield "band_edge.cost_per_month", edge.cost_per_month[:40], "an amount of money"
    for each in edge.choices:
        if each.model not in plan.scenario.models:
            yield f"band_edge.choices.{each.model}", "a model", "no such model in the scenario"
        elif bool(each.there) != planned:
            yield f"band_edge.choices.{each.model}.there", each.there[:60], f"a choice in a plan that is {edge.status}"
