"""The judgement of the running fleet in a plan: what follows from the plan itself, and what of it can be checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from planner.candidates.spot import counted
from planner.plan.as_is import AsIs, Judged
from planner.plan.limits import limit_rows
from planner.plan.money import money
from planner.plan.types import AfterLoss, Conflict, LimitRow, Plan
from planner.scenario.types import HOURS_PER_MONTH, Scenario

PERCENT = Fraction(100)

ROWS = {"gpu_time": "GPU time", "sequences": "sequences", "kv": "KV cache"}

Broken = tuple[str, str, str]
"""The row's name, what the plan has, what the row allows."""


def kept(plan: Plan) -> AsIs:
    """The judgement of a plan of the running replicas: it keeps everything, with the margins of its limits."""
    assert plan.totals is not None
    rows = [held(row) for row in plan.limits if not row.path.startswith("inventory.")]
    rows += [_left(each) for each in plan.losses]
    nodes = {name: pool.nodes for name, pool in plan.pools.items() if pool.nodes}
    return AsIs(True, True, nodes, plan.totals.gpus, plan.totals.cost_per_month, (*loads(plan), *rows))


def held(row: LimitRow) -> Judged:
    """A limit of a plan as a judgement."""
    return Judged(row.path, row.used <= row.limit, row.used, row.limit, row.unit, "")


def _left(after: AfterLoss) -> Judged:
    """The busiest load that a loss leaves."""
    used = max((row.used_ppm for each in after.deployments.values() for row in each.loads), default=0)
    percent = Fraction(used, 10_000)
    return Judged(
        after.path, percent <= PERCENT, percent, PERCENT, "%", f"of the busiest replicas without {after.lost}"
    )


def loads(plan: Plan) -> Iterator[Judged]:
    """The busiest row of every deployment."""
    for name, deployment in plan.deployments.items():
        busiest = max(deployment.loads, key=lambda row: row.used_ppm)
        used = Fraction(busiest.used_ppm, 10_000)
        text = f"{ROWS[busiest.name]} of {deployment.replicas} replicas on {deployment.gpu}"
        yield Judged(f"deployments.{name}.load", used <= PERCENT, used, PERCENT, "%", text)


def conflicts_of(scenario: Scenario, standing: AsIs | None) -> tuple[Conflict, ...]:
    """What the running fleet breaks, as reasons why there is no plan of it."""
    rows = standing.broken if standing is not None else ()
    return tuple(Conflict(row.path, row.sentence(scenario.currency), None) for row in rows)


def broken_standing(plan: Plan) -> Iterator[Broken]:
    """A judgement that contradicts itself, the scenario, or the plan that it is of.

    Loads of a fleet that keeps less than everything come from a linear program and are taken as they stand.
    """
    scenario, standing = plan.scenario, plan.as_is
    if standing is None or not scenario.current:
        if (standing is None) != (not scenario.current):
            yield "as_is", "present" if standing else "absent", "present where a fleet runs, and only there"
        return
    yield from _nodes(scenario, standing)
    for row in standing.rows:
        if row.used is not None and row.limit is not None:
            holds = row.used >= row.limit if row.at_least else row.used <= row.limit
            lost = row.path.startswith("reserve.") and not row.holds  # the rest may break other promises too
            if row.holds != holds and not lost:
                word = "kept" if holds else "broken"
                yield f"as_is.{row.path}", str(row.holds).lower(), f"{word}: {row.used} of {row.limit}"
        elif row.holds:
            yield f"as_is.{row.path}", "holds", "broken: it has no margin"
    if standing.holds != all(row.holds for row in standing.rows):
        yield "as_is.holds", str(standing.holds).lower(), "true where every row holds, and only there"
    if scenario.as_is and plan.deployments and standing != kept(plan):
        yield "as_is", "another judgement", "that of the plan, which keeps everything"
    if scenario.as_is and standing.holds != bool(plan.deployments):
        yield "as_is.holds", str(standing.holds).lower(), f"{str(bool(plan.deployments)).lower()}, as the plan says"


def _nodes(scenario: Scenario, standing: AsIs) -> Iterator[Broken]:
    """Nodes hold the replicas, are offered, and cost what the judgement says."""
    unknown = sorted(set(standing.nodes) - set(scenario.inventory))
    if unknown:
        yield f"as_is.nodes.{unknown[0]}", "a pool", "no such pool in the scenario"
        return
    busy: dict[str, int] = {}
    for running in scenario.current.values():
        gpus = 1 if scenario.models[running.model].facts is None else running.parallel.gpus
        busy[running.pool] = busy.get(running.pool, 0) + gpus * running.replicas
    for name, pool in sorted(scenario.inventory.items()):
        nodes = standing.nodes.get(name, 0)
        least = pool.committed_nodes if pool.notice_months is None else 0
        if not least <= nodes <= pool.committed_nodes + pool.available_nodes:
            allowed = f"{least} to {pool.committed_nodes + pool.available_nodes}"
            yield f"as_is.nodes.{name}", str(nodes), allowed
    for kind in sorted({pool.kind for pool in scenario.inventory.values()}):
        own = [pool for pool in scenario.inventory.values() if pool.kind == kind]
        held_gpus = sum(counted(pool, standing.nodes.get(pool.name, 0)) * pool.gpus_per_node for pool in own)
        missing = any(row.path == f"inventory.{pool.name}" for row in standing.broken for pool in own)
        if held_gpus < sum(busy.get(pool.name, 0) for pool in own) and not missing:
            yield f"as_is.nodes on {kind[0]}", f"{held_gpus} GPUs", "room for the replicas that run"
    pools = scenario.inventory
    gpus = sum(pools[name].gpus_per_node * count for name, count in standing.nodes.items())
    if gpus != standing.gpus:
        yield "as_is.gpus", str(standing.gpus), str(gpus)
    if scenario.timed:
        return
    per_h = sum(pools[name].price_micro_per_node_h * count for name, count in standing.nodes.items())
    if standing.cost_per_month != money(per_h * HOURS_PER_MONTH):
        yield "as_is.cost_per_month", standing.cost_per_month[:40], money(per_h * HOURS_PER_MONTH)
    stated = {row.path: row for row in standing.rows}
    for limit in limit_rows(replace(scenario, as_is=True), standing.nodes, {}):
        row = stated.get(limit.path)
        if limit.path.startswith(("budget.", "limits.")) and row != held(limit):
            yield f"as_is.{limit.path}", str(row.used) if row else "absent", f"{limit.used} of {limit.limit}"
