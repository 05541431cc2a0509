"""Why a scenario has no plan: which single family of limits stands in the way, and the least value that would do.

Each family is dropped alone and the program solved again for the least that it would need; a family is named only when
that solve has a plan. The candidate table does not change: these limits are rows of the program, not physics.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm

from planner.candidates import CandidateTable
from planner.scenario.types import HOURS_PER_MONTH, Pool, Scenario
from planner.solver.build import build_program
from planner.solver.objective import demands_without_column
from planner.solver.program import Program
from planner.solver.session import OutOfTime, Session, Unproved, objective_terms

ENOUGH_NODES = 1_000_000
"""Nodes of a pool when its stock is not the question: more than any one answer is read for."""


@dataclass(frozen=True)
class Finding:
    """A limit that stands in the way by itself. `needed` is the least value that would do, in the unit of `kind`."""

    path: str
    kind: str
    needed: Fraction | None


def diagnose(scenario: Scenario, table: CandidateTable, *, time_limit_s: float = 30.0) -> list[Finding]:
    """Every limit whose removal alone gives a plan; if no single one does, what all of them together would need."""
    deadline = time.monotonic() + time_limit_s
    if scenario.timed:
        return list(_over_time(scenario, table, deadline))
    found = [
        Finding(path, kind, needed)
        for path, kind, loose, weigh in _families(scenario)
        if (needed := _least(loose, table, weigh, deadline, once(scenario, path))) is not None
    ]
    return found or _together(scenario, table, deadline)


def _over_time(scenario: Scenario, table: CandidateTable, deadline: float) -> Iterator[Finding]:
    """Limits of a plan over time whose removal alone gives a plan; only of all money it is said how much would do."""
    for path, kind, loose, _ in _families(scenario):
        program = replace(build_program(loose, table), objective=("cost",))
        if demands_without_column(program):
            continue
        session = Session(program, "auto", 0, deadline, lambda _: None)
        terms = objective_terms(program, session.master, "cost") if path == "budget.total" else ()
        try:
            if not session.minimize("repair", terms):
                continue
        except (OutOfTime, Unproved):
            continue
        assert session.best is not None
        nodes = zip(session.best.nodes, program.pools, strict=True)
        paid = sum(count * pool.cost for count, pool in nodes) * program.cost_unit
        yield Finding(path, kind if path == "budget.total" else "none", paid if path == "budget.total" else None)


Weigh = Callable[[Pool], Fraction]
"""What one node of a pool counts."""


def _families(scenario: Scenario) -> Iterator[tuple[str, str, Scenario, Weigh]]:
    """(path, kind, the scenario without that limit, what to minimize over the nodes)."""
    budget, reserve = scenario.budget, scenario.reserve
    if budget.monthly_micro is not None:
        yield "budget.monthly", "money", replace(scenario, budget=replace(budget, monthly_micro=None)), _month
    if budget.total_micro is not None:
        loose = replace(scenario, budget=replace(budget, total_micro=None))
        yield "budget.total", "money", loose, lambda pool: pool.price_micro_per_node_h * scenario.horizon_h
    if budget.power_mw is not None:
        yield "budget.power", "power", replace(scenario, budget=replace(budget, power_mw=None)), _power(scenario)
    for name in sorted(scenario.limits):
        limits = {other: limit for other, limit in scenario.limits.items() if other != name}
        amounts = dict(scenario.limits[name].per_node)
        yield f"limits.{name}", "amount", replace(scenario, limits=limits), _amount(amounts)
    for name, pool in sorted(scenario.inventory.items()):
        more = {**scenario.inventory, name: replace(pool, available_nodes=ENOUGH_NODES, terms=None)}
        word = "available" if pool.available_nodes else "committed"
        yield f"inventory.{name}.{word}", "nodes", replace(scenario, inventory=more), _amount({name: Fraction(1)})
    if reserve.spare_nodes or reserve.spare_replicas:
        none = replace(reserve, spare_nodes=0, spare_replicas=0)
        yield "reserve.spare", "none", replace(scenario, reserve=none), _month
    if reserve.survive:
        yield "reserve.survive", "none", replace(scenario, reserve=replace(reserve, survive=())), _month
    if reserve.spare_zones:
        yield "reserve.spare.zones", "none", replace(scenario, reserve=replace(reserve, spare_zones=0)), _month
    for name, model in sorted(scenario.models.items()):
        if model.replicas.max is not None:
            free = replace(model, replicas=replace(model.replicas, max=None))
            yield f"models.{name}.replicas", "none", replace(scenario, models={**scenario.models, name: free}), _month
        if model.max_configurations is not None:
            free = replace(model, max_configurations=None)
            models = {**scenario.models, name: free}
            yield f"models.{name}.max_configurations", "none", replace(scenario, models=models), _month
    yield from _fleet_families(scenario)


def _fleet_families(scenario: Scenario) -> Iterator[tuple[str, str, Scenario, Weigh]]:
    """What keeps the running fleet as it is."""
    if scenario.change.max_replicas_moved is not None:
        free_change = replace(scenario.change, max_replicas_moved=None)
        yield "change.max_replicas_moved", "none", replace(scenario, change=free_change), _month
    for name, running in sorted(scenario.current.items()):
        if running.keep:
            loose = {**scenario.current, name: replace(running, keep=())}
            yield f"current.{name}.keep", "none", replace(scenario, current=loose), _month


def _month(pool: Pool) -> Fraction:
    return Fraction(pool.price_micro_per_node_h * HOURS_PER_MONTH)


def _power(scenario: Scenario) -> Weigh:
    return lambda pool: Fraction(pool.gpu.tdp_w * pool.gpus_per_node * scenario.budget.pue_ppm, 1_000)


def _amount(per_node: dict[str, Fraction]) -> Weigh:
    return lambda pool: per_node.get(pool.name, Fraction(0))


def once(scenario: Scenario, path: str) -> Fraction:
    """What a move counts in a limit: money in that of the horizon, else nothing."""
    return Fraction(scenario.change.micro_per_replica if path == "budget.total" else 0)


def _least(
    scenario: Scenario, table: CandidateTable, weigh: Weigh, deadline: float, move: Fraction = Fraction(0)
) -> Fraction | None:
    """The least weighted sum of nodes, and of replicas that move, of any plan; None without a plan, or without an
    answer in time."""
    program, scale = weighed(build_program(scenario, table), scenario, weigh, move)
    if demands_without_column(program):
        return None
    session = Session(program, "auto", 0, deadline, lambda _: None)
    try:
        if not session.minimize("repair", objective_terms(program, session.master, "cost")):
            return None
    except (OutOfTime, Unproved):
        return None
    assert session.best is not None
    nodes = zip(session.best.nodes, program.pools, strict=True)
    return Fraction(sum(count * pool.cost for count, pool in nodes), scale)


def weighed(program: Program, scenario: Scenario, weigh: Weigh, move: Fraction) -> tuple[Program, int]:
    """The program with the weights, scaled to integers, in the place of prices."""
    weights = [move if pool.group is None else weigh(scenario.inventory[pool.name]) for pool in program.pools]
    scale = lcm(*(weight.denominator for weight in weights))
    pools = tuple(replace(pool, cost=int(w * scale)) for pool, w in zip(program.pools, weights, strict=True))
    return replace(program, pools=pools, objective=("cost",)), scale


def _together(scenario: Scenario, table: CandidateTable, deadline: float) -> list[Finding]:
    """What a plan would need if none of these limits stood, the cheapest first."""
    pools = {name: replace(pool, available_nodes=ENOUGH_NODES, terms=None) for name, pool in scenario.inventory.items()}
    budget = replace(scenario.budget, monthly_micro=None, total_micro=None, power_mw=None)
    models = {
        name: replace(model, replicas=replace(model.replicas, max=None), max_configurations=None)
        for name, model in scenario.models.items()
    }
    reserve = replace(scenario.reserve, spare_nodes=0, spare_replicas=0, spare_zones=0, survive=())
    fleet = {name: replace(running, keep=()) for name, running in scenario.current.items()}
    free = replace(
        scenario,
        budget=budget,
        limits={},
        inventory=pools,
        models=models,
        reserve=reserve,
        current=fleet,
        change=replace(scenario.change, max_replicas_moved=None),
    )
    return [Finding("inventory", "together", _least(free, table, _month, deadline))]
