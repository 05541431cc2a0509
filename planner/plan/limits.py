"""The limits table: every hard line of the scenario, what the plan uses of it, and whether it binds."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from planner.plan.costs import power_mw
from planner.plan.money import MICRO, ppm
from planner.plan.moves import moves_of
from planner.plan.types import Deployment, LimitRow
from planner.scenario.types import HOURS_PER_MONTH, Scenario

BINDING_SLACK_PPM = 10_000
"""A limit with less than 1 % left is called binding: one more GPU or request would usually cross it."""


def limit_rows(
    scenario: Scenario, nodes: Mapping[str, int], deployments: Mapping[str, Deployment]
) -> tuple[LimitRow, ...]:
    """Rows in the order promises, shares, moves, stock, replicas, budget, quotas."""
    rows = [*_promise_rows(deployments), *_share_rows(scenario, deployments)]
    moves = moves_of(scenario, deployments)
    rows += [
        limit_row("change.max_replicas_moved", Fraction(each.moved), Fraction(each.most), "replicas")
        for each in moves
        if each.most is not None
    ]
    for name in sorted(scenario.inventory):
        pool = scenario.inventory[name]
        word = "available" if pool.available_nodes else "committed"
        offered = Fraction(pool.committed_nodes + pool.available_nodes)
        rows.append(limit_row(f"inventory.{name}.{word}", Fraction(nodes.get(name, 0)), offered, "nodes"))
    for name in sorted(scenario.models):
        most = scenario.models[name].replicas.max
        if most is not None:
            used = sum(d.replicas for d in deployments.values() if d.model == name)
            rows.append(limit_row(f"models.{name}.replicas.max", Fraction(used), Fraction(most), "replicas"))
    budget = scenario.budget
    if budget.monthly_micro is not None:
        cost = sum(scenario.inventory[p].price_micro_per_node_h * count for p, count in nodes.items())
        used_money = Fraction(cost * HOURS_PER_MONTH, 1_000_000)
        rows.append(
            limit_row("budget.monthly", used_money, Fraction(budget.monthly_micro, 1_000_000), scenario.currency)
        )
    if budget.total_micro is not None:
        cost = sum(scenario.inventory[p].price_micro_per_node_h * count for p, count in nodes.items())
        once = sum((Fraction(each.cost) for each in moves), Fraction(0))
        rows.append(
            limit_row(
                "budget.total",
                cost * scenario.horizon_h / MICRO + once,
                Fraction(budget.total_micro, MICRO),
                scenario.currency,
            )
        )
    if budget.power_mw is not None:
        rows.append(limit_row("budget.power", power_mw(scenario, nodes) / 1_000, Fraction(budget.power_mw, 1_000), "W"))
    for name in sorted(scenario.limits):
        limit = scenario.limits[name]
        total = sum((amount * nodes.get(pool, 0) for pool, amount in limit.per_node), Fraction(0))
        rows.append(limit_row(f"limits.{name}", total, limit.max, ""))
    return tuple(rows)


def limit_row(path: str, used: Fraction, limit: Fraction, unit: str) -> LimitRow:
    slack = ppm((limit - used) / limit) if limit else (0 if used else 1_000_000)
    return LimitRow(path, used, limit, unit, slack, bool(used) and slack < BINDING_SLACK_PPM)


def _promise_rows(deployments: Mapping[str, Deployment]) -> list[LimitRow]:
    worst: dict[str, tuple[int, int]] = {}
    for deployment in deployments.values():
        for promise in deployment.promises:
            path = f"traffic.{promise.class_name}.slo.{promise.metric}"
            known = worst.get(path, (0, promise.limit_us))
            worst[path] = max(known, (promise.predicted_us, promise.limit_us))
    return [
        limit_row(path, Fraction(used, 1_000), Fraction(limit, 1_000), "ms")
        for path, (used, limit) in sorted(worst.items())
    ]


def promised_shares(deployments: Mapping[str, Deployment]) -> dict[tuple[str, str], Fraction]:
    """Shares of a class's requests that are rejected and cut short: sum of band share x routed share x part."""
    result: dict[tuple[str, str], Fraction] = {}
    for deployment in deployments.values():
        for route in deployment.routing:
            weight = Fraction(route.band_ppm, 1_000_000) * route.share
            for key, part in (("rejected_at_most", route.rejected), ("cut_short_at_most", route.cut_short)):
                known = result.get((route.class_name, key), Fraction(0))
                result[route.class_name, key] = known + weight * part
    return result


def _share_rows(scenario: Scenario, deployments: Mapping[str, Deployment]) -> list[LimitRow]:
    rows = []
    for (name, key), used in sorted(promised_shares(deployments).items()):
        traffic = scenario.traffic[name]
        limit = traffic.rejected_at_most_ppm if key == "rejected_at_most" else traffic.cut_short_at_most_ppm
        if limit:
            rows.append(limit_row(f"traffic.{name}.{key}", used * 100, Fraction(limit, 10_000), "%"))
    return rows
