"""The plan over time: what every situation runs, what nodes are committed when, and where the money goes.

Money is derived from the nodes alone, as docs/model.md says it: committed nodes at all hours of their months, others
for the hours of their situation, and start-ups at every change of the week.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from planner.candidates import CandidateTable
from planner.candidates.situations import Situation, situations, table_at
from planner.plan.costs import bought_totals, model_money, pool_plans, tokens_of
from planner.plan.limits import limit_row
from planner.plan.losses import after_losses
from planner.plan.money import MICRO, money
from planner.plan.running import Moment, Names, deployments_of
from planner.plan.types import Commitment, LimitRow, PoolPlan, SituationPlan, Spent, TimePlan, Totals
from planner.scenario.calendar import changes
from planner.scenario.robust import worst
from planner.scenario.types import HOURS_PER_MONTH, Pool, Scenario
from planner.units import HOUR_US

HOURS_PER_WEEK = 168


@dataclass(frozen=True)
class Bought:
    """Nodes by month that are kept of what was committed and that are bought, by pool; the first month is entry 0."""

    kept: Mapping[str, tuple[int, ...]]
    bought: Mapping[str, tuple[int, ...]]

    def standing(self, pool: Pool, month: int) -> int:
        """Committed nodes of a pool in a month, 0 meaning that months do not differ."""
        if pool.term_months is None and pool.notice_months is None:
            return pool.committed_nodes
        live = self.bought.get(pool.name, ())[max(0, month - (pool.term_months or 0)) : month]
        kept = self.kept.get(pool.name, ())
        return (kept[month - 1] if kept else 0) + sum(live)


@dataclass
class Ledger:
    """Exact money in micro-units of one month, or of one pool."""

    committed: Fraction = Fraction(0)
    rented: Fraction = Fraction(0)
    started: Fraction = Fraction(0)
    stranded: Fraction = Fraction(0)

    @property
    def total(self) -> Fraction:
        """All that is paid; what is stranded is a part of what is committed."""
        return self.committed + self.rented + self.started

    def spent(self) -> Spent:
        """The ledger at the edge."""
        parts = (self.total, self.committed, self.rented, self.started, self.stranded)
        return Spent(*(money(part) for part in parts))


@dataclass(frozen=True)
class OverTime:
    """Everything that the document takes from time: the block itself, and exact money by month, pool and model."""

    plan: TimePlan
    shown: int
    total: Fraction
    months: Mapping[int, Fraction]
    pools: Mapping[str, Ledger]
    models: Mapping[str, Fraction]


def over_time(
    scenario: Scenario, table: CandidateTable, moments: Sequence[Moment], bought: Bought, names: Names
) -> OverTime:
    """The time block of a plan, and the money of its totals."""
    found = situations(scenario)
    built = {s.name: _situation(scenario, table, s, m, names) for s, m in zip(found, moments, strict=True)}
    by_month, by_pool = _ledgers(scenario, found, moments, built, bought)
    hourly = [_per_hour(scenario, moment) for moment in moments]
    running = [sum(part.replicas for part in moment.placed) for moment in moments]
    shown = max(range(len(found)), key=lambda i: (hourly[i], running[i], -i))
    models = {name: Fraction(0) for name in scenario.models}
    for s, moment in zip(found, moments, strict=True):
        part = built[s.name]
        for name, cost in model_money(scenario, part.deployments, moment.nodes).items():
            models[name] += cost * s.hours
    whole = _sum(list(by_month.values()))
    return OverTime(
        plan=TimePlan(
            shown=found[shown].name,
            situations=built,
            spent=whole.spent(),
            months={f"m{month:02d}": ledger.spent() for month, ledger in by_month.items() if month},
            commitments={
                name: _commitments(pool, bought, max(by_month))
                for name, pool in sorted(scenario.inventory.items())
                if pool.term_months or pool.notice_months
            },
            owed_later=money(_owed_later(scenario, bought)),
        ),
        shown=shown,
        total=whole.total,
        months={month: ledger.total for month, ledger in by_month.items()},
        pools=by_pool,
        models=models,
    )


def pools_over_time(scenario: Scenario, shown: Mapping[str, PoolPlan], paid: OverTime) -> dict[str, PoolPlan]:
    """The pools of the situation shown, with their average money of the horizon."""
    months = scenario.horizon_h / HOURS_PER_MONTH
    return {
        name: replace(
            pool,
            cost_per_h=money(paid.pools[name].total / scenario.horizon_h),
            cost_per_month=money(paid.pools[name].total / months),
            nodes_committed=scenario.inventory[name].committed_nodes,
            committed_per_month=money(paid.pools[name].committed / months),
        )
        for name, pool in shown.items()
    }


def totals_over_time(
    scenario: Scenario, shown: Mapping[str, PoolPlan], paid: OverTime, tokens_per_month: Fraction
) -> Totals:
    """GPUs and power of the situation shown, with the money of the horizon."""
    whole = bought_totals(scenario, shown, paid.total / scenario.horizon_h, tokens_per_month)
    return replace(whole, cost_over_horizon=money(paid.total))


def tokens_over_time(scenario: Scenario, found: Sequence[Situation]) -> dict[str, Fraction]:
    """Tokens of an average month of the horizon by model."""
    tokens = {name: Fraction(0) for name in scenario.models}
    for situation in found:
        for name, count in tokens_of(situation.scenario).items():
            tokens[name] += count * situation.hours / scenario.horizon_h
    return tokens


def money_rows(scenario: Scenario, paid: OverTime) -> list[LimitRow]:
    """The budgets: the dearest month against that of a month, all money against that of the horizon."""
    budget, rows = scenario.budget, []
    if budget.monthly_micro is not None:
        months = scenario.horizon_h / HOURS_PER_MONTH
        dearest = max(cost if month else cost / months for month, cost in paid.months.items())
        limit = Fraction(budget.monthly_micro, MICRO)
        rows.append(limit_row("budget.monthly", dearest / MICRO, limit, scenario.currency))
    if budget.total_micro is not None:
        limit = Fraction(budget.total_micro, MICRO)
        rows.append(limit_row("budget.total", paid.total / MICRO, limit, scenario.currency))
    return rows


def _situation(
    scenario: Scenario, table: CandidateTable, situation: Situation, moment: Moment, names: Names
) -> SituationPlan:
    now, rates = situation.scenario, table_at(table, scenario, situation)
    deployments = deployments_of(now, rates, moment, names)
    return SituationPlan(
        month=situation.month,
        period=situation.period,
        hours=situation.hours,
        cost=money(_per_hour(scenario, moment) * situation.hours),
        deployments=deployments,
        pools=pool_plans(now, moment.nodes, deployments),
        losses=after_losses(now, rates, moment, names),
        waiting={rates.items[k].name: share for k, share in moment.waiting},
        batches=_batches(scenario, rates, moment, now),
    )


def _batches(scenario: Scenario, table: CandidateTable, moment: Moment, now: Scenario) -> dict[str, Fraction]:
    """Requests a second of daily batches, at the end of the band: their full pace less what waits."""
    if scenario.calendar is None:
        return {}
    asked = sorted(worst(now).traffic.items())
    running = {name: each.peak_rps for name, each in asked if each.slo.finish_within_us}
    for k, share in moment.waiting:
        item = table.items[k]
        running[item.class_name] -= item.peak_rps * share
    return running


def _per_hour(scenario: Scenario, moment: Moment) -> int:
    """Micro-units an hour of all nodes that stand."""
    return sum(scenario.inventory[name].price_micro_per_node_h * count for name, count in moment.nodes.items())


def _ledgers(
    scenario: Scenario,
    found: Sequence[Situation],
    moments: Sequence[Moment],
    built: Mapping[str, SituationPlan],
    bought: Bought,
) -> tuple[dict[int, Ledger], dict[str, Ledger]]:
    """Money by month and by pool."""
    by_month = {s.month: Ledger() for s in found}
    by_pool = {name: Ledger() for name in scenario.inventory}
    for s, moment in zip(found, moments, strict=True):
        for name, pool in scenario.inventory.items():
            price, nodes = pool.price_micro_per_node_h, moment.nodes.get(name, 0)
            standing = min(nodes, bought.standing(pool, s.month))
            idle = min(built[s.name].pools[name].gpus_idle, standing * pool.gpus_per_node)
            for ledger in (by_month[s.month], by_pool[name]):
                ledger.committed += price * standing * s.hours
                ledger.rented += price * (nodes - standing) * s.hours
                ledger.stranded += pool.price_micro_per_gpu_h * idle * s.hours
    for month, name, cost in _starts(scenario, found, moments):
        by_month[month].started += cost
        by_pool[name].started += cost
    return by_month, by_pool


def _starts(
    scenario: Scenario, found: Sequence[Situation], moments: Sequence[Moment]
) -> list[tuple[int, str, Fraction]]:
    """(month, pool, money) of nodes that a period adds to the one before it, paid while they start."""
    if scenario.calendar is None:
        return []
    weekly, rows = changes(dict(scenario.calendar.periods)), []
    nodes = {(s.month, s.period): moment.nodes for s, moment in zip(found, moments, strict=True)}
    for name, pool in scenario.inventory.items():
        if not pool.start_up_us or not pool.available_nodes or pool.term_months:
            continue
        for month in dict.fromkeys(s.month for s in found):
            weeks = (Fraction(HOURS_PER_MONTH) if month else scenario.horizon_h) / HOURS_PER_WEEK
            for (before, after), times in weekly.items():
                more = max(0, nodes[month, after].get(name, 0) - nodes[month, before].get(name, 0))
                hours = Fraction(pool.start_up_us, HOUR_US) * times * weeks
                rows.append((month, name, pool.price_micro_per_node_h * more * hours))
    return rows


def _commitments(pool: Pool, bought: Bought, last: int) -> tuple[Commitment, ...]:
    """The months of a pool; only those in which something changes, and the first."""
    rows = []
    kept, new = bought.kept.get(pool.name, (0,) * last), bought.bought.get(pool.name, (0,) * last)
    for month in range(1, last + 1):
        given_up = (kept[month - 2] if month > 1 else pool.committed_nodes) - kept[month - 1]
        ended = month - 1 - (pool.term_months or last)
        run_out = new[ended] if ended >= 0 else 0
        if month == 1 or new[month - 1] or given_up or run_out:
            standing = bought.standing(pool, month)
            rows.append(Commitment(month, kept[month - 1], new[month - 1], given_up, run_out, standing))
    return tuple(rows)


def _owed_later(scenario: Scenario, bought: Bought) -> Fraction:
    """What terms cost after the horizon."""
    owed = Fraction(0)
    for name, months in bought.bought.items():
        pool = scenario.inventory[name]
        for month, nodes in enumerate(months, start=1):
            over = max(0, month - 1 + (pool.term_months or 0) - len(months))
            owed += pool.price_micro_per_node_h * HOURS_PER_MONTH * nodes * over
    return owed


def _sum(ledgers: Sequence[Ledger]) -> Ledger:
    whole = Ledger()
    for ledger in ledgers:
        whole.committed += ledger.committed
        whole.rented += ledger.rented
        whole.started += ledger.started
        whole.stranded += ledger.stranded
    return whole
