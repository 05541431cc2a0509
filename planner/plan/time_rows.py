"""Rows of time and failure, added up in exact arithmetic: each situation by itself, then losses and commitments.

Like `planner.plan.rows`, written from docs/model.md and not from the solver's code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from planner.candidates.batch import batch_of
from planner.candidates.losses import losses
from planner.candidates.situations import situations
from planner.plan.types import AfterLoss, Deployment, LoadRow, Plan, SituationPlan
from planner.scenario.robust import worst
from planner.scenario.types import Pool, Scenario
from planner.traffic.lengths import class_lengths

Broken = tuple[str, str, str]
"""The row's name, what the plan has, what the row allows."""

MICRO = 1_000_000


def broken_over_time(plan: Plan, rows: Callable[[Plan, Mapping[str, Fraction]], Iterator[Broken]]) -> Iterator[Broken]:
    """Rows of every situation (`rows` gives those of a plan without time), of purchases and of budgets."""
    assert plan.time is not None
    for situation in situations(plan.scenario):
        stored = plan.time.situations[situation.name]
        view = replace(
            plan,
            scenario=situation.scenario,
            deployments=stored.deployments,
            pools=stored.pools,
            losses=stored.losses,
            time=None,
        )
        for name, read, allowed in (*rows(view, stored.waiting), *broken_losses(view)):
            yield f"time.situations.{situation.name}.{name}", read, allowed
    for _, pool in sorted(plan.scenario.inventory.items()):
        if pool.term_months or pool.notice_months:
            yield from _purchases(plan, pool)
    yield from _budgets(plan)
    yield from _windows(plan)


def _windows(plan: Plan) -> Iterator[Broken]:
    """A daily batch is done in every window: what waits leaves room for all of it, and a loss sheds no more of it."""
    assert plan.time is not None
    scenario, lost = plan.scenario, [loss.path for loss in losses(plan.scenario)]
    for name, traffic in sorted(scenario.traffic.items()):
        batch = batch_of(traffic, scenario.calendar)
        if batch is None or scenario.calendar is None:
            continue
        lengths = class_lengths(traffic)
        tokens = [count for count, _ in lengths.prompts] if lengths else [0]
        for month in sorted({part.month for part in plan.time.situations.values()}):
            parts = {part.period: part for part in plan.time.situations.values() if part.month == month}
            own = [parts[period] for period, _ in scenario.calendar.periods]
            for amounts, most in batch.slack():
                for index, path in enumerate(["", *lost]):
                    where = f"{path}." if path else ""
                    waiting = [_after(part, index - 1).waiting if path else part.waiting for part in own]
                    left = max(_left_undone(waiting, amounts, name, count) for count in tokens)
                    if left > most:
                        read = f"{float(left - most):.6g} of a day's batch undone"
                        yield f"{where}traffic.{name}.slo.finish_within", read, "all of it done in every window"
                    gone = [
                        _after(part, index - 1).shed.get(name, Fraction(0)) if path else Fraction(0) for part in own
                    ]
                    shed = sum((a * share for a, share in zip(amounts, gone, strict=True)), Fraction(0))
                    if shed * MICRO > traffic.shed_at_most_ppm:
                        allowed = f"at most {traffic.shed_at_most_ppm / 10_000:g}%"
                        yield (
                            f"{where}traffic.{name}.when_degraded",
                            f"{float(shed * 100):.6g}% of a day's batch",
                            allowed,
                        )


NOTHING = AfterLoss("", "", {}, {}, {})
"""What a loss leaves that the plan does not have."""


def _after(part: SituationPlan, loss: int) -> AfterLoss:
    return part.losses[loss] if loss < len(part.losses) else NOTHING


def _left_undone(
    undone: Sequence[Mapping[str, Fraction]], amounts: Sequence[Fraction], name: str, tokens: int
) -> Fraction:
    """The part of a day's batch that the periods of a window leave undone, for prompts of one length."""
    total = Fraction(0)
    for amount, items in zip(amounts, undone, strict=True):
        for item, share in items.items():
            low, high = prompts_of(item)
            if class_of(item) == name and low <= tokens <= high:
                total += amount * share
    return total


def _purchases(plan: Plan, pool: Pool) -> Iterator[Broken]:
    """Committed nodes stay within the notice, never come back, and purchases stay within what is offered."""
    assert plan.time is not None
    path = f"time.commitments.{pool.name}"
    rows = {row.month: row for row in plan.time.commitments.get(pool.name, ())}
    last = max(situation.month for situation in plan.time.situations.values())
    kept, bought = pool.committed_nodes, []
    for month in range(1, last + 1):
        row = rows.get(month)
        if row is not None:
            fixed = pool.notice_months is None or month <= pool.notice_months
            least = pool.committed_nodes if fixed else 0
            if not least <= row.kept <= kept:
                yield f"{path}.m{month:02d}.kept", f"{row.kept} nodes", f"{least} to {kept}"
            kept = row.kept
        bought.append(row.bought if row else 0)
        live = sum(bought[max(0, month - (pool.term_months or 0)) :])
        if live > (pool.available_nodes if pool.term_months else 0) or min(bought) < 0:
            yield f"{path}.m{month:02d}.bought", f"{live} nodes stand", f"at most {pool.available_nodes} are offered"
        rented = 0 if pool.term_months else pool.available_nodes
        for name, situation in plan.time.situations.items():
            nodes = situation.pools[pool.name].nodes if pool.name in situation.pools else 0
            if situation.month == month and not kept + live <= nodes <= kept + live + rented:
                need = f"the {kept + live} committed nodes" + (f" and at most {rented} more" if rented else "")
                yield f"time.situations.{name}.pools.{pool.name}.nodes", str(nodes), need


def _budgets(plan: Plan) -> Iterator[Broken]:
    assert plan.time is not None
    budget, months = plan.scenario.budget, plan.scenario.horizon_h / 730
    paid = {name: Fraction(spent.total) for name, spent in plan.time.months.items()}
    total = Fraction(plan.time.spent.total)
    for name, money in (paid or {"": total / months}).items():
        if budget.monthly_micro is not None and money * MICRO > budget.monthly_micro:
            limit = f"at most {Fraction(budget.monthly_micro, MICRO)}"
            yield f"budget.monthly{'.' if name else ''}{name}", str(money), limit
    if budget.total_micro is not None and total * MICRO > budget.total_micro:
        yield "budget.total", str(total), f"at most {Fraction(budget.total_micro, MICRO)}"


def broken_losses(plan: Plan) -> Iterator[Broken]:
    """After every loss the replicas that are left serve all but what may be shed."""
    scenario = plan.scenario
    stored = {after.path: after for after in plan.losses}
    for loss in losses(scenario):
        after, path = stored.get(loss.path), f"losses.{loss.where}"
        if after is None:
            yield path, "absent", "what is left after it"
            continue
        yield from _left(path, plan, after, loss.where, loss.nodes)
        yield from _served(path, plan, after)


def _left(path: str, plan: Plan, after: AfterLoss, where: str, nodes: int | None) -> Iterator[Broken]:
    """Replicas that are left, and that their load rows hold."""
    for name, left in after.deployments.items():
        deployment = plan.deployments[name]
        gone = _gone(plan.scenario, deployment, where, nodes)
        if left.replicas != deployment.replicas - gone:
            need = f"{deployment.replicas} less the {gone} lost"
            yield f"{path}.deployments.{name}.replicas", str(left.replicas), need
        for row in left.loads:
            used = sum((term.amount * term.share for term in row.terms), Fraction(0))
            if row.replicas_counted != left.replicas or used > row.capacity * left.replicas:
                read = f"{row.replicas_counted} replicas counted, {float(used / row.capacity):.6g} needed"
                yield f"{path}.deployments.{name}.loads.{row.name}", read, f"{left.replicas} replicas"
        yield from _same_shares(f"{path}.deployments.{name}", left.loads, {r.item: r.share for r in left.routing})


def _same_shares(path: str, rows: tuple[LoadRow, ...], routed: Mapping[str, Fraction]) -> Iterator[Broken]:
    for row in rows:
        if {term.item: term.share for term in row.terms} != routed:
            yield f"{path}.loads.{row.name}", "other shares than its routing", "the same"


def _gone(scenario: Scenario, deployment: Deployment, where: str, nodes: int | None) -> int:
    """Replicas that a deployment loses: what the lost nodes hold of it, all of them in a lost zone or region."""
    pool = scenario.inventory.get(where)
    here = where in (deployment.region, deployment.zone) if pool is None else pool.kind == deployment.kind
    if not here:
        return 0
    if nodes is None:
        return deployment.replicas
    each = deployment.gpus // deployment.replicas
    return min(deployment.replicas, nodes * max(1, deployment.gpus_per_node // each))


def _served(path: str, plan: Plan, after: AfterLoss) -> Iterator[Broken]:
    """Every prompt length is served or shed, and no class sheds more than it may."""
    for name, traffic in sorted(worst(plan.scenario).traffic.items()):
        flows = [
            (*route.prompt_tokens, route.share)
            for left in after.deployments.values()
            for route in left.routing
            if route.class_name == name
        ]
        off = (*after.shed_items.items(), *after.waiting.items())
        flows += [(*prompts_of(item), share) for item, share in off if class_of(item) == name]
        lengths = class_lengths(traffic)
        for tokens in (tokens for tokens, _ in lengths.prompts) if lengths else (0,):
            total = sum((share for low, high, share in flows if low <= tokens <= high), Fraction(0))
            if total != 1 or any(share < 0 for _, _, share in flows):
                yield f"{path}.demand.{name}", f"{total} of the prompts of {tokens} tokens", "exactly 1, served or shed"
                break
        shed = after.shed.get(name, Fraction(0))
        if shed * MICRO > traffic.shed_at_most_ppm:
            yield f"{path}.shed.{name}", f"{float(shed * 100):.6g}%", f"at most {traffic.shed_at_most_ppm / 10_000:g}%"


def class_of(item: str) -> str:
    """The class in the name of an item."""
    return item.partition("[")[0]


def prompts_of(item: str) -> tuple[int, int]:
    """The prompt lengths in the name of an item, as in `chat[1..8000]`; 0 for a class without lengths."""
    low, _, high = item.partition("[")[2].removesuffix("]").partition("..")
    return (int(low), int(high)) if high else (0, 0)
