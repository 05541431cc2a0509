"""Guardrails: thresholds at which a change needs a reviewer, and whether this change crosses them.

The guardrails of both sides count: a change that removes or loosens one is judged by the base's as well, so that a
threshold cannot be raised in the change that crosses it.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from planner.plan.diff_types import GuardrailResult
from planner.plan.money import decimal, money, ppm
from planner.plan.types import Plan
from planner.scenario.types import Guardrail

Crossed = Literal["by_this_change", "already", "no", "unknown"]


def guardrails(base: Plan, head: Plan) -> tuple[GuardrailResult, ...]:
    """The head's guardrails, then those of the base that the head dropped or loosened; by name."""
    mine = head.scenario.guardrails
    found = [_result(mine[name], "head", base, head) for name in sorted(mine)]
    for name, old in sorted(base.scenario.guardrails.items()):
        new = mine.get(name)
        if new is None or new.kind != old.kind or new.value > old.value or _budget_raised(old, base, head):
            found.append(_result(old, "base", base, head))
    return tuple(found)


def _budget_raised(guardrail: Guardrail, base: Plan, head: Plan) -> bool:
    """Whether a share of the budget means more money on the head."""
    old, new = base.scenario.budget.monthly_micro, head.scenario.budget.monthly_micro
    return guardrail.kind == "budget_above" and old is not None and (new is None or new > old)


def _result(guardrail: Guardrail, side: Literal["base", "head"], base: Plan, head: Plan) -> GuardrailResult:
    is_money = guardrail.kind == "cost_above"
    before, after = _values(guardrail, side, base, head)
    shown = [None if value is None else (money(value) if is_money else str(ppm(value))) for value in (before, after)]
    return GuardrailResult(
        name=guardrail.name,
        kind=guardrail.kind,
        side=side,
        message=guardrail.message,
        unit=head.scenario.currency if is_money else "ppm",
        threshold=decimal(Fraction(guardrail.value, 1_000_000)) if is_money else str(guardrail.value),
        base=shown[0],
        head=shown[1],
        crossed=_crossed(guardrail, before, after),
    )


def _values(
    guardrail: Guardrail, side: Literal["base", "head"], base: Plan, head: Plan
) -> tuple[Fraction | None, Fraction | None]:
    """What the guardrail compares, before and after: micro-units a month, or shares. A budget that one side does not
    have is the one of the side that set the guardrail."""
    costs = [_monthly_micro(plan) for plan in (base, head)]
    if guardrail.kind == "cost_above":
        return costs[0], costs[1]
    if guardrail.kind == "change_above":
        if costs[0] is None or costs[1] is None:
            return None, None
        if not costs[0]:
            return Fraction(0), Fraction(1 if costs[1] else 0)
        return Fraction(0), abs(costs[1] - costs[0]) / costs[0]
    budgets = [plan.scenario.budget.monthly_micro for plan in (base, head)]
    own = budgets[1] if side == "head" else budgets[0]
    used = budgets if side == "head" else [own, own]
    return _share(costs[0], used[0] or own), _share(costs[1], used[1] or own)


def _share(cost: Fraction | None, budget: int | None) -> Fraction | None:
    """The part of a budget that is used; None without cost or budget."""
    return cost / budget if cost is not None and budget else None


def _monthly_micro(plan: Plan) -> Fraction | None:
    return None if plan.totals is None else Fraction(plan.totals.cost_per_month) * 1_000_000


def _crossed(guardrail: Guardrail, before: Fraction | None, after: Fraction | None) -> Crossed:
    """Strictly above the threshold; with a plan on the head only, what the head crosses is this change's doing."""
    threshold = Fraction(guardrail.value) if guardrail.kind == "cost_above" else Fraction(guardrail.value, 1_000_000)
    if after is None:
        return "unknown"
    if after <= threshold:
        return "no"
    return "already" if before is not None and before > threshold else "by_this_change"
