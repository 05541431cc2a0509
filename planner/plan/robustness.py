"""What it costs that a plan holds in a band: a second solve of the scenario as written, and the difference.

The second solve is stored as it came out, since no check without a solver can repeat it; the difference is derived.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from planner.plan.money import decimal_difference, is_amount
from planner.units import format_ppm

if TYPE_CHECKING:
    from planner.plan.types import Plan, Totals
    from planner.scenario.types import Robust


@dataclass(frozen=True)
class Robustness:
    """The plan for the traffic as written; its cost is None without a plan. `price_per_month` is what this plan costs
    more, for holding in the whole band."""

    status: Literal["optimal", "feasible", "infeasible", "unknown"]
    cost_per_month: str | None
    gpus: int | None
    price_per_month: str | None = None


def robustness(second: Robustness | None, totals: Totals | None) -> Robustness | None:
    """The second solve beside this plan."""
    if second is None:
        return None
    own = totals.cost_per_month if totals else None
    return replace(second, price_per_month=decimal_difference(own, second.cost_per_month))


def broken_robustness(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """What no second solve can say."""
    second, path = plan.robustness, "robustness"
    if (second is None) != (plan.scenario.robust is None):
        read, allowed = ("absent", "the price of the band") if second is None else ("present", "none without a band")
        yield path, read, allowed
    if second is None:
        return
    planned = second.status in ("optimal", "feasible")
    if (second.cost_per_month is not None) != planned or not is_amount(second.cost_per_month or "0"):
        yield f"{path}.cost_per_month", str(second.cost_per_month)[:40], f"money, if the status is {second.status}"
    if (second.gpus is not None) != planned or (second.gpus or 0) < 0:
        yield f"{path}.gpus", str(second.gpus)[:40], f"a number of GPUs, if the status is {second.status}"


def band_text(robust: Robust) -> str:
    """A band in words.

    >>> from planner.scenario.types import Robust
    >>> band_text(Robust(200_000, 300_000))
    'up to 20% more traffic and 30% longer long prompts'
    """
    parts = [
        f"{format_ppm(ppm)} {word}"
        for ppm, word in ((robust.traffic_ppm, "more traffic"), (robust.context_tail_ppm, "longer long prompts"))
        if ppm
    ]
    return f"up to {' and '.join(parts)}"


def robust_notes(plan: Plan) -> list[str]:
    """What the plan holds against and what that costs; nothing without a band."""
    robust, second, currency = plan.scenario.robust, plan.robustness, plan.scenario.currency
    if robust is None or second is None:
        return []
    written = "as written there is no plan either" if plan.totals is None else "as written there is no plan"
    if second.cost_per_month is not None:
        proof = "" if second.status == "optimal" else " (not proved)"
        cost = f"{currency}{Decimal(second.cost_per_month):,.2f} / month with {second.gpus} GPUs{proof}"
        written = f"as written a plan costs {cost}"
    if plan.totals is None:
        return [f"there is no plan for {band_text(robust)}", written]
    price = Decimal(second.price_per_month or "0")
    priced = f"; the band costs {currency}{price:,.2f} / month" if second.price_per_month is not None else ""
    return [f"every promise holds for {band_text(robust)}", f"{written}{priced}"]
