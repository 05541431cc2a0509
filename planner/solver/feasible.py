"""Whether a program has any plan: what explanations ask many times, of versions with some lines loosened.

A plan that a greedy start finds and the exact judge accepts is answer enough; else a master is solved with no objective
until an incumbent passes the judge, or until there is none.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from planner.solver.exact import Routing, broken_integer_rows, route
from planner.solver.infeasible import infeasible
from planner.solver.objective import demands_without_column, one_situation
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

    @property
    def proved(self) -> bool:
        """Whether nothing less exists."""
        return self.value == self.bound


def least(program: Program, *, time_limit_s: float) -> Least | None:
    """The least cost of a program in whatever its pools cost; None where time ended without any plan."""
    if demands_without_column(program):
        return Least(None, None)
    program = _clipped(replace(program, objective=("cost",)))
    session = Session(program, "auto", 0, time.monotonic() + time_limit_s, lambda _: None)
    start = _greedy(program)
    if start is not None and session.backend.name != "cpsat":
        session.offer(start.replicas, start.nodes)
    bound: int | None
    try:
        if not session.minimize("least", objective_terms(program, session.master, "cost")):
            return Least(None, None)
        bound = session.bound
    except (OutOfTime, Unproved):
        bound = session.bound
    if session.best is None:
        return None
    return Least(objective_value(program, "cost", session.best), bound)


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
    if start is None or broken_integer_rows(program, *start):
        return None
    if not isinstance(route(program, start[0], minimize_loss=False), Routing):
        return None
    return Feasible(True, *start)
