"""Nodes over time: what is rented by the hour, bought for a term, kept under notice, and started for a period.

    z[p,s]        nodes of pool p in situation s: the nodes that replicas stand on
    rented        where nothing is bought by the month, z itself, paid for the hours of s (committed ones at all hours)
    kept[p,m]     committed nodes in month m: all of them within the notice, then never more than the month before
    bought[p,m]   nodes bought at the start of month m; those of the last `term` months stand, paid in full
    stands        z[p,s] = kept[p,m] + sum of bought that stand + rented[p,s]
    started       nodes that a period adds to the one before it, paid from `start_up` before every change of the week
    budget        money of each month <= budget.monthly, of all months <= budget.total

Money is exact: every amount is a fraction of micro-units, brought to integers once for the whole program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import gcd, lcm

from planner.candidates.situations import Situation
from planner.scenario.calendar import changes
from planner.scenario.types import HOURS_PER_MONTH, Pool, Scenario
from planner.solver.pools import pool_of
from planner.solver.program import NodeLimit, PoolNodes, Program
from planner.solver.situations import at, plain
from planner.units import HOUR_US

HOURS_PER_WEEK = 168


@dataclass
class _Money:
    """Quantities of nodes with what one of them costs in each month."""

    pools: list[PoolNodes]
    cost: dict[int, dict[int, Fraction]] = field(default_factory=dict)
    rows: list[NodeLimit] = field(default_factory=list)

    def add(self, name: str, lower: int, upper: int, cost: dict[int, Fraction]) -> int:
        """A quantity without a place of its own: a purchase, a start."""
        self.pools.append(PoolNodes(name, None, lower, upper, 0, 0))
        self.cost[len(self.pools) - 1] = cost
        return len(self.pools) - 1

    def equal(self, name: str, left: int, parts: Sequence[int]) -> None:
        """left = sum of parts."""
        terms = ((left, 1), *((part, -1) for part in parts))
        self.rows += [NodeLimit(name, 0, terms), NodeLimit(f"{name} all", 0, tuple((p, -a) for p, a in terms))]


def over_time(program: Program, scenario: Scenario, moments: Sequence[Situation]) -> Program:
    """The joined program of the situations with its money: the rows above, and costs over the horizon."""
    money = _Money(list(program.pools))
    per = len(program.pools) // len(moments)
    names = [pool.name for pool in program.pools[:per]]
    for p, name in enumerate(names):
        pool = _pool(scenario, plain(name))
        nodes = {s: s * per + p for s in range(len(moments))}
        if pool.term_months or pool.notice_months:
            _by_the_month(money, pool, moments, nodes)
        else:
            for s, moment in enumerate(moments):
                money.cost[nodes[s]] = {moment.month: pool.price_micro_per_node_h * moment.hours}
        if scenario.calendar and pool.start_up_us and pool.available_nodes and not pool.term_months:
            _starts(money, pool, scenario, moments, nodes)
    return _in_integers(program, money, scenario, moments, per)


def _pool(scenario: Scenario, name: str) -> Pool:
    """The pool of a quantity; the extra of a spot pool is one node of it."""
    pool = scenario.inventory[pool_of(name)]
    return pool if pool.name == name else replace(pool, name=name, committed_nodes=0, available_nodes=1)


def _by_the_month(money: _Money, pool: Pool, moments: Sequence[Situation], nodes: dict[int, int]) -> None:
    """Kept, bought and rented nodes of a pool, and the rows that tie them to the nodes of every situation."""
    month_cost = Fraction(pool.price_micro_per_node_h * HOURS_PER_MONTH)
    last = max(moment.month for moment in moments)
    stands: dict[int, list[int]] = {month: [] for month in range(1, last + 1)}
    bought: dict[int, list[int]] = {month: [] for month in range(1, last + 1)}
    before = None
    for month in stands:
        if pool.committed_nodes:
            fixed = pool.notice_months is None or month <= pool.notice_months
            least = pool.committed_nodes if fixed else 0
            kept = money.add(f"{pool.name} kept|m{month:02d}", least, pool.committed_nodes, {month: month_cost})
            if before is not None and not fixed:
                money.rows.append(NodeLimit(f"kept {pool.name}|m{month:02d}", 0, ((kept, 1), (before, -1))))
            stands[month].append(kept)
            before = kept
        if pool.term_months:
            live = range(month, min(month + pool.term_months, last + 1))
            name = f"{pool.name} bought|m{month:02d}"
            purchase = money.add(name, 0, pool.available_nodes, dict.fromkeys(live, month_cost))
            for later in live:
                bought[later].append(purchase)
    for month, purchases in bought.items():
        if len(purchases) > 1:
            use = tuple((purchase, 1) for purchase in purchases)
            money.rows.append(NodeLimit(f"offered {pool.name}|m{month:02d}", pool.available_nodes, use))
    for s, moment in enumerate(moments):
        parts = [*stands[moment.month], *bought[moment.month]]
        if pool.available_nodes and not pool.term_months:
            hourly = {moment.month: pool.price_micro_per_node_h * moment.hours}
            parts.append(money.add(at(f"{pool.name} rented", moment.name), 0, pool.available_nodes, hourly))
        money.equal(at(f"stands {pool.name}", moment.name), nodes[s], parts)


def _starts(money: _Money, pool: Pool, scenario: Scenario, moments: Sequence[Situation], nodes: dict[int, int]) -> None:
    """Nodes that a period adds to the period before it."""
    assert scenario.calendar is not None and pool.start_up_us is not None
    weekly = changes(dict(scenario.calendar.periods))
    place = {(moment.month, moment.period): s for s, moment in enumerate(moments)}
    for month in sorted({moment.month for moment in moments}):
        length = Fraction(HOURS_PER_MONTH) if month else scenario.horizon_h
        for (before, after), times in weekly.items():
            hours = Fraction(pool.start_up_us, HOUR_US) * times * length / HOURS_PER_WEEK
            one, other = place[month, before], place[month, after]
            name = f"{pool.name} started|{moments[one].name}-{moments[other].name}"
            more = money.add(name, 0, pool.available_nodes, {month: pool.price_micro_per_node_h * hours})
            use = ((nodes[other], 1), (nodes[one], -1), (more, -1))
            money.rows.append(NodeLimit(f"starts {name}", 0, use))


def _in_integers(
    program: Program, money: _Money, scenario: Scenario, moments: Sequence[Situation], per: int
) -> Program:
    """Costs and hours as integers in units of the program, and the budgets."""
    totals = {q: sum(cost.values(), Fraction(0)) for q, cost in money.cost.items()}
    cost_unit = whole_unit(list(totals.values()))
    hours_unit = whole_unit([moment.hours for moment in moments])
    pools = [replace(pool, cost=int(totals.get(q, Fraction(0)) / cost_unit)) for q, pool in enumerate(money.pools)]
    for s, moment in enumerate(moments):
        for q in range(s * per, (s + 1) * per):
            pools[q] = replace(pools[q], hours=int(moment.hours / hours_unit))
    return replace(
        program,
        pools=tuple(pools),
        node_limits=(*program.node_limits, *money.rows, *_budgets(money, totals, scenario, moments)),
        cost_unit=cost_unit,
        hours_unit=hours_unit,
    )


def whole_unit(values: Sequence[Fraction]) -> Fraction:
    """The largest unit in which all values are whole."""
    denominator = lcm(*(value.denominator for value in values))
    common = gcd(*(int(value * denominator) for value in values))
    return Fraction(common or 1, denominator)


def _budgets(
    money: _Money, totals: dict[int, Fraction], scenario: Scenario, moments: Sequence[Situation]
) -> list[NodeLimit]:
    """Money of each month, and of all. Where months do not differ each pays its part of the horizon."""
    budget, rows = scenario.budget, []
    if budget.monthly_micro is not None:
        for month in sorted({moment.month for moment in moments}):
            most = Fraction(budget.monthly_micro) * (1 if month else scenario.horizon_h / HOURS_PER_MONTH)
            use = [(q, cost[month]) for q, cost in money.cost.items() if month in cost]
            rows.append(exact_limit(at("budget.monthly", f"m{month:02d}" if month else ""), most, use))
    if budget.total_micro is not None:
        rows.append(exact_limit("budget.total", Fraction(budget.total_micro), list(totals.items())))
    return rows


def exact_limit(name: str, most: Fraction, use: Sequence[tuple[int, Fraction]]) -> NodeLimit:
    """A limit over quantities in the largest unit in which all amounts are whole."""
    unit = whole_unit([amount for _, amount in use])
    return NodeLimit(name, int(most // unit), tuple((q, int(amount / unit)) for q, amount in use if amount))
