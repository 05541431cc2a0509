"""Compares two plan documents; never solves.

Equality is structural: two plans are equal when they run the same deployments on the same pools for the same money
with the same margins, not when their totals agree; changes that net to the same total are shown. Equal plans give a
document that says so and lists no change. What needs solving (edits, their effects, drift) comes in as `Explained`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from planner.candidates.confidence import band_text
from planner.plan.diff_changes import (
    cent_text,
    cents,
    count_change,
    decimal_change,
    deployment_changes,
    money_change,
    pool_changes,
)
from planner.plan.diff_time import time_notes
from planner.plan.diff_types import (
    DIFF_FORMAT_VERSION,
    AttributionRow,
    BudgetPosition,
    Diff,
    Drift,
    Edit,
    GpuChange,
    GuardrailResult,
    Margin,
    MoneyChange,
    Side,
    SideKind,
    UnitCost,
)
from planner.plan.guardrails import guardrails
from planner.plan.margins import eaten, margins
from planner.plan.money import money, ppm
from planner.plan.robustness import robust_notes
from planner.plan.rollout import rollout
from planner.plan.types import Plan

MICRO = 1_000_000


@dataclass(frozen=True)
class Explained:
    """What re-solving found out: the edits, the effect of each, what the rest is, and what is not the scenario's."""

    edits: tuple[Edit, ...] = ()
    attribution: tuple[AttributionRow, ...] = ()
    interaction_per_month: str | None = None
    drift: tuple[Drift, ...] = ()
    drift_per_month: str | None = None
    notes: tuple[str, ...] = ()


def side_of(plan: Plan, label: str, kind: SideKind) -> Side:
    """How a plan is named and proved."""
    return Side(
        label=label,
        kind=kind,
        name=plan.scenario.name,
        status=plan.status,
        gap_ppm=plan.gap_ppm,
        hash=plan.hash,
        kvplan=plan.run.kvplan,
        catalog=plan.run.catalog,
        proof=plan.run.proof,
        certificate=plan.certificate.status,
    )


def same_outcome(base: Plan, head: Plan) -> bool:
    """Whether two plans buy, run, promise and cost the same, whatever their scenarios say; a replay may not tell them
    apart either."""
    if base.hash and base.hash == head.hash:
        return True
    parts = ("status", "totals", "deployments", "pools", "limits", "models", "conflicts", "losses", "time")
    if base.certificate.status != head.certificate.status:
        return False
    return all(getattr(base, part) == getattr(head, part) for part in parts) and margins(base, head) == margins(
        head, head
    )


def diff_plans(base: Plan, head: Plan, sides: tuple[Side, Side], explained: Explained, command: str) -> Diff:
    """The diff document of two plans."""
    equal = same_outcome(base, head)
    rows = margins(base, head)
    checks = guardrails(base, head)
    costs = money_change(_monthly(base), _monthly(head))
    both = base.totals is not None and head.totals is not None
    steps, peak_extra_gpus = rollout(base, head) if both and not equal else ((), 0)
    document = Diff(
        format_version=DIFF_FORMAT_VERSION,
        base=sides[0],
        head=sides[1],
        equal=equal,
        currency=head.scenario.currency,
        cost_per_month=costs,
        cost_over_horizon=money_change(_horizon(base), _horizon(head)),
        horizon_h=head.scenario.horizon_h,
        committed_per_month=money_change(_committed(base), _committed(head)),
        usage_per_month=money_change(_usage(base), _usage(head)),
        gpus=_gpus(base, head),
        power_w=decimal_change(_power(base), _power(head), 3),
        budget=_budget(base, head, checks),
        unit_costs=_unit_costs(base, head),
        deployments=deployment_changes(base, head),
        pools=pool_changes(base, head),
        rollout=steps,
        peak_extra_gpus=peak_extra_gpus,
        margins=rows,
        edits=explained.edits,
        attribution=explained.attribution,
        interaction_per_month=explained.interaction_per_month,
        drift=explained.drift,
        drift_per_month=explained.drift_per_month,
        guardrails=checks,
        new_conflicts=tuple(conflict for conflict in head.conflicts if conflict not in base.conflicts),
        gone_conflicts=tuple(conflict for conflict in base.conflicts if conflict not in head.conflicts),
        as_is=head.as_is,
        notes=(*_notes(base, head, costs, rows), *time_notes(base, head), *explained.notes),
        command=command,
    )
    if not both:
        document = replace(document, unit_costs=(), deployments=(), pools=(), margins=())
    return _silent(document) if equal else document


def _silent(document: Diff) -> Diff:
    """An equal diff lists no change: nothing that a reader could take for one."""
    return replace(
        document,
        unit_costs=(),
        deployments=(),
        pools=(),
        margins=(),
        attribution=(),
        interaction_per_month=None,
        drift_per_month=None,
        guardrails=tuple(row for row in document.guardrails if row.crossed == "already"),
        notes=(),
    )


def _monthly(plan: Plan) -> str | None:
    return plan.totals.cost_per_month if plan.totals else None


def _horizon(plan: Plan) -> str | None:
    return plan.totals.cost_over_horizon if plan.totals else None


def _power(plan: Plan) -> str | None:
    return plan.totals.power_w if plan.totals else None


def _committed(plan: Plan) -> Fraction | None:
    """What is paid whether used or not."""
    if plan.totals is None:
        return None
    return sum((Fraction(pool.committed_per_month) for pool in plan.pools.values()), Fraction(0))


def _usage(plan: Plan) -> Fraction | None:
    """What is paid by the hour: to the cent, the rest of the cost, so that the two parts add up."""
    total, fixed = cents(_monthly(plan)), _committed(plan)
    if total is None or fixed is None:
        return None
    rounded = cents(str(fixed))
    assert rounded is not None
    return total - rounded


def _gpus(base: Plan, head: Plan) -> GpuChange:
    counts = {}
    for name in ("gpus_busy", "gpus_spare", "gpus_idle", "gpus"):
        old, new = (getattr(plan.totals, name) if plan.totals else None for plan in (base, head))
        counts[name] = count_change(old, new)
    return GpuChange(counts["gpus_busy"], counts["gpus_spare"], counts["gpus_idle"], counts["gpus"])


def _budget(base: Plan, head: Plan, checks: tuple[GuardrailResult, ...]) -> BudgetPosition:
    limits = [plan.scenario.budget.monthly_micro for plan in (base, head)]
    shares = [
        ppm(Fraction(plan.totals.cost_per_month) * MICRO / limit) if plan.totals and limit else None
        for plan, limit in zip((base, head), limits, strict=True)
    ]
    crossed = (row.name for row in checks if row.kind == "budget_above" and row.crossed == "by_this_change")
    texts = [None if limit is None else money(limit) for limit in limits]
    return BudgetPosition(texts[0], texts[1], shares[0], shares[1], tuple(dict.fromkeys(crossed)))


def _unit_costs(base: Plan, head: Plan) -> tuple[UnitCost, ...]:
    """Every model of either side by name, then the whole plan."""
    rows = []
    for name in sorted({*base.models, *head.models}):
        old, new = (plan.models[name].cost_per_million_tokens if name in plan.models else None for plan in (base, head))
        if old is not None or new is not None:
            rows.append(UnitCost(name, decimal_change(old, new, places=4)))
    old, new = (plan.totals.cost_per_million_tokens if plan.totals else None for plan in (base, head))
    if old is not None or new is not None:
        rows.append(UnitCost(None, decimal_change(old, new, places=4)))
    return tuple(rows)


def _notes(base: Plan, head: Plan, costs: MoneyChange, rows: tuple[Margin, ...]) -> tuple[str, ...]:
    """What a reader of the numbers must know."""
    notes = []
    if costs.change is not None and Fraction(costs.change) < 0 and (lost := eaten(rows)):
        notes.append(f"cheaper, with less room: {', '.join(row.path for row in lost)}")
    for word, plan in (("base", base), ("head", head)):
        if plan.status in ("feasible", "unknown"):
            notes.append(f"the {word} is not proved optimal ({plan.run.proof}); part of the change may be the solver's")
    notes += _retimed(base, head)
    if base.robustness != head.robustness:
        notes += [
            f"{word}: {'; '.join(robust_notes(plan)) or 'no band, the plan holds for the traffic as written'}"
            for word, plan in (("base", base), ("head", head))
        ]
    if base.scenario.name != head.scenario.name:
        notes.append(f"the two sides are different scenarios: {base.scenario.name} and {head.scenario.name}")
    if base.scenario.currency != head.scenario.currency:
        notes.append(f"the base is in {base.scenario.currency}, the head in {head.scenario.currency}")
    return tuple(notes)


def _retimed(base: Plan, head: Plan) -> list[str]:
    """Models whose latencies come from somebody else now, or with another band."""
    old, new = (_timed_by(plan) for plan in (base, head))
    return [
        f"latencies of {model}: {' and '.join(new[model])}; before: {' and '.join(old[model])}"
        for model in sorted(old.keys() & new.keys())
        if old[model] != new[model]
    ]


def _timed_by(plan: Plan) -> dict[str, list[str]]:
    """Model -> its providers with their bands; deployments of older documents say neither."""
    found: dict[str, set[str]] = {}
    for each in plan.deployments.values():
        if each.band is not None:
            provider = each.provider.partition(",")[0]
            text = f"{each.gpu} by {provider}, {band_text(each.band, plan.scenario.reserve.confidence)}"
            found.setdefault(each.model, set()).add(text)
    return {model: sorted(texts) for model, texts in found.items()}


def remainder(total: str | None, parts: tuple[str | None, ...]) -> str | None:
    """What is left of a total after its parts, to the cent.

    >>> remainder("10.00", ("7.50", "3.00"))
    '-0.50'
    """
    if total is None:
        return None
    return cent_text(Fraction(total) - sum((Fraction(part) for part in parts if part is not None), Fraction(0)))
