"""Whether a program has any plan: what explanations ask many times, of versions with some lines loosened.

A plan that a greedy start finds and the exact judge accepts is answer enough; else a master is solved with no objective
until an incumbent passes the judge, or until there is none.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from planner.solver.exact import Routing, broken_integer_rows, route
from planner.solver.infeasible import infeasible
from planner.solver.objective import demands_without_column, one_situation, too_large
from planner.solver.program import Program
from planner.solver.session import (
    OutOfTime,
    Session,
    Unproved,
    node_weights,
    objective_terms,
    objective_value,
)

GREEDY_PAIRS_MIN = 300
"""(column, item) pairs from which a greedy start is faster than a solve."""


@dataclass(frozen=True)
class Feasible:
    """What is known: `found` is None where time ended first. A plan comes with its replicas and nodes; `confirmed`: no
    plan, and a second opinion agrees."""

    found: bool | None
    replicas: tuple[int, ...] = ()
    nodes: tuple[int, ...] = ()
    confirmed: bool = False


def feasible(program: Program, *, time_limit_s: float, confirm: bool = False) -> Feasible:
    """Whether a program has a plan; with `confirm` a "no" is asked of a second solver too, or is unknown."""
    if demands_without_column(program):
        return Feasible(found=False, confirmed=True)
    program = _clipped(replace(program, objective=("cost",)))
    start = _greedy(program)
    if start is not None:
        return start
    if too_large(program):
        return Feasible(found=None)
    session = Session(program, "auto", 0, time.monotonic() + time_limit_s, lambda _: None)
    try:
        if session.minimize("any plan", ()):
            assert session.best is not None
            return Feasible(True, session.best.replicas, session.best.nodes)
    except (OutOfTime, Unproved):
        return Feasible(found=None)
    if not confirm:
        return Feasible(found=False)
    agreed = infeasible(session).status == "infeasible"
    return Feasible(found=False if agreed else None, confirmed=agreed)


@dataclass(frozen=True)
class Least:
    """The least cost that was found, and one that no plan is below; both are None where there is no plan."""

    value: int | None
    bound: int | None
    replicas: tuple[int, ...] = ()
    nodes: tuple[int, ...] = ()


def least(program: Program, *, time_limit_s: float) -> Least | None:
    """The least cost of a program in whatever its pools cost; None where time ended without any plan."""
    if demands_without_column(program):
        return Least(None, None)
    program = _clipped(replace(program, objective=("cost",)))
    if too_large(program):
        return None
    session = Session(program, "auto", 0, time.monotonic() + time_limit_s, lambda _: None)
    start = _greedy(program)
    if start is not None and session.backend.name != "cpsat":
        session.offer(start.replicas, start.nodes)
    bound: int | None
    try:
        if session.best is None and not session.minimize("any plan", ()):
            return Least(None, None)
        session.minimize("least", objective_terms(program, session.master, "cost"))
        bound = session.bound
    except (OutOfTime, Unproved):
        bound = session.bound
    if session.best is None:
        return None
    best = session.best
    return Least(objective_value(program, "cost", best), bound, best.replicas, best.nodes)


def stands(program: Program, replicas: Sequence[int], nodes: Sequence[int]) -> bool:
    """Whether these replicas and nodes are a plan of a program, in exact arithmetic."""
    if (len(replicas), len(nodes)) != (len(program.columns), len(program.pools)):
        return False
    if broken_integer_rows(program, replicas, nodes):
        return False
    return isinstance(route(program, replicas, minimize_loss=False), Routing)


def _clipped(program: Program) -> Program:
    """The program with no more nodes than all its replicas could fill: stock without end is slow to reason about."""
    if not one_situation(program):
        return program
    most = [group.spare_nodes for group in program.groups]
    for column in program.columns:
        most[column.group] += -(-column.upper * column.gpus // program.groups[column.group].gpus_per_node)
    pools = tuple(
        pool if pool.group is None else replace(pool, upper=min(pool.upper, max(pool.lower, most[pool.group])))
        for pool in program.pools
    )
    return replace(program, pools=pools)


def _greedy(program: Program) -> Feasible | None:
    """A plan that is found class by class, if it is one."""
    if not one_situation(program) or sum(len(column.losses) for column in program.columns) < GREEDY_PAIRS_MIN:
        return None
    from planner.solver.scale.flat import flatten
    from planner.solver.scale.start import first_plan

    start = first_plan(program, flatten(program), node_weights(program, "cost"))
    return Feasible(True, *start) if start is not None and stands(program, *start) else None
