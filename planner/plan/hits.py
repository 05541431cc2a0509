"""What a plan is worth without the prefix hits that it counts on: a second solve, and the same fleet without them.

The second solve is stored as it came out, since no check without a solver can repeat it; the difference is derived.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from planner.plan.money import decimal_difference, is_amount
from planner.units import MAX_DURATION_US, format_ppm

if TYPE_CHECKING:
    from planner.plan.types import Deployment, Plan, Promise, Totals
    from planner.scenario.types import Scenario


@dataclass(frozen=True)
class WithoutHits:
    """The plan if no prompt token is found cached; None without a plan. `more_per_month` is what that costs more."""

    status: Literal["optimal", "feasible", "infeasible", "unknown"]
    cost_per_month: str | None
    more_per_month: str | None = None


def without_hits(second: WithoutHits | None, totals: Totals | None) -> WithoutHits | None:
    """The second solve beside this plan."""
    if second is None:
        return None
    own = totals.cost_per_month if totals else None
    return replace(second, more_per_month=decimal_difference(second.cost_per_month, own))


def broken_hits(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """What no second solve can say."""
    second = plan.without_hits
    if second is None:
        return
    if not any(traffic.prefix for traffic in plan.scenario.traffic.values()):
        yield "without_hits", "a second solve", "none: no class has a working set"
    planned = second.status in ("optimal", "feasible")
    if (second.cost_per_month is not None) != planned or not is_amount(second.cost_per_month or "0"):
        yield "without_hits.cost_per_month", str(second.cost_per_month)[:40], f"money, if the status is {second.status}"


def hit_notes(scenario: Scenario, deployments: Mapping[str, Deployment]) -> Iterator[str]:
    """For each class with prefix hits: how many are counted, and whether its promises hold without them."""
    for name, deployment in sorted(deployments.items()):
        counted: dict[str, list[int]] = {}
        for route in deployment.routing:
            counted.setdefault(route.class_name, []).append(route.cached_ppm)
        for class_name, shares in sorted(counted.items()):
            least, most = min(shares), max(shares)
            if most > 0:
                share = format_ppm(most) if least == most else f"{format_ppm(least)} to {format_ppm(most)}"
                kept = _kept([p for p in deployment.promises if p.class_name == class_name])
                yield f"{class_name} on {name}: {share} of prompt tokens are counted as cached; without hits {kept}"
            elif scenario.traffic[class_name].prefix is not None:
                yield f"{class_name} on {name}: no prefix hits are counted, the pool has too little room for them"


def dry_notes(second: WithoutHits | None, currency: str) -> Iterator[str]:
    """What the plan costs if the prefix cache finds nothing."""
    if second is None:
        return
    if second.cost_per_month is None:
        yield f"without prefix hits there is no plan ({second.status})"
        return
    more = Decimal(second.more_per_month or "0")
    change = f"{currency}{abs(more):,.2f} {'more' if more > 0 else 'less'} than this plan" if more else "as this plan"
    yield f"without prefix hits a plan costs {currency}{Decimal(second.cost_per_month):,.2f} a month, {change}"


def _kept(promises: list[Promise]) -> str:
    broken = [p for p in promises if p.without_hits_us is not None and p.without_hits_us > p.limit_us]
    if not broken:
        return "its promises still hold"
    words = (
        f"{p.metric} has no bound" if p.without_hits_us == MAX_DURATION_US else f"{p.metric} is {_ms(p)} ms"
        for p in broken
    )
    return f"{' and '.join(words)}: {'it is' if len(broken) == 1 else 'they are'} not kept"


def _ms(promise: Promise) -> str:
    return f"{-(-(promise.without_hits_us or 0) // 1_000):,} of {promise.limit_us / 1_000:,g}"
