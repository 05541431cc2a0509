"""Lexicographic objectives, proof and uniqueness: the solver's front door.

Each objective is minimized and fixed before the next (never a weighted sum); last, `unique` settles on one of the plans
that are left. `optimal` means that every one of these solves was proved.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

from planner.solver.exact import Routing, route
from planner.solver.fleet import MOVED
from planner.solver.infeasible import infeasible
from planner.solver.master import share_pairs
from planner.solver.program import Program, Solution, Stage, Status
from planner.solver.progress import Progress
from planner.solver.session import (
    NODE_OBJECTIVES,
    BackendName,
    OutOfTime,
    Plan,
    Session,
    Unproved,
    node_weights,
    objective_terms,
    objective_value,
)
from planner.solver.unique import settle_on_one

if TYPE_CHECKING:
    from planner.solver.apart.search import NodeSearch


def solve(
    program: Program,
    *,
    time_limit_s: float = 300,
    seed: int = 0,
    backend: BackendName = "auto",
    progress: Progress | None = None,
) -> Solution:
    """The unique optimal plan of a program, or the best one found, or proof that there is none.

    Args:
        program: The program.
        time_limit_s: Wall-clock limit; a plan that met it is not reproducible.
        seed: Seed of the backend.
        backend: Which solver searches; all give the same plan once they prove it. `auto` chooses by size.
        progress: Told the best plan, the bound and the gap whenever one of them moves.

    Returns:
        The solution; `optimal` only if every objective is proved, `unique` only if no other plan is its equal.
    """
    for name in program.objective:
        if name not in ("quality_loss", MOVED):
            node_weights(program, name)
    missing = demands_without_column(program)
    if missing:
        return Solution("infeasible", proof=f"no column serves {', '.join(missing)}")
    lost = [start.name for start in program.starts if start.least and not start.columns]
    if lost:
        return Solution("infeasible", proof=f"no column keeps {', '.join(lost)}")
    deadline = time.monotonic() + time_limit_s
    if too_large(program):
        return _searched(program, deadline, seed, progress or (lambda _: None))
    session = Session(program, backend, seed, deadline, progress or (lambda _: None))
    if session.backend.name != "cpsat" and one_situation(program) and program.objective[0] != "quality_loss":
        _offer_first_plan(session)
    nodes = _by_nodes(session)
    stages: list[Stage] = []
    status: Status = "optimal"
    unique = False
    try:
        for name in program.objective:
            if nodes and name not in NODE_OBJECTIVES:
                session.narrow(nodes.tightened())
                nodes = None
            if not _proved_by_nodes(session, name) and not _minimize(session, name, nodes):
                if session.best is not None:
                    raise Unproved
                return infeasible(session)
            value = session.fix(name)
            if nodes:
                nodes.fix(name, value)
            stages.append(Stage(name, value, value))
        if nodes:
            session.narrow(nodes.tightened())
        session.bound = None
        settle_on_one(session)
        unique = True
        proof = f"{session.backend.name}: every objective proved, {len(session.cuts)} cuts; the only plan of its order"
    except (OutOfTime, Unproved) as stop:
        if len(stages) == len(program.objective):
            proof = f"{session.backend.name}: every objective proved; other plans may be equal to this one"
        else:
            status = "feasible" if session.best else "unknown"
            late = isinstance(stop, OutOfTime)
            proof = "the time limit ended the proof" if late else f"{session.backend.name} found no proof"
    return _solution(program, session, status, stages, unique=unique, proof=proof)


WHOLE_PAIRS = 6_000
"""(column, item) pairs up to which one master holds the whole program; HiGHS proves most of 1,500 in a minute."""


def too_large(program: Program) -> bool:
    """Whether a program is searched in parts. One of several situations, or with quality first, is always whole."""
    pairs = sum(len(column.losses) for column in program.columns)
    return pairs > WHOLE_PAIRS and one_situation(program) and program.objective[0] != "quality_loss"


def one_situation(program: Program) -> bool:
    """Whether a program is of one time, without losses, purchases and replicas that must stay: what the search in parts
    understands."""
    bound = any(start.least or start.most is not None for start in program.starts)
    purchases = any(pool.group is None for pool in program.pools)
    return all(column.own for column in program.columns) and not purchases and not bound


def _by_nodes(session: Session) -> NodeSearch | None:
    """A search for the nodes of a program of several situations, where HiGHS would search all of them at once."""
    if session.backend.name == "cpsat" or one_situation(session.program) or session.program.starts:
        return None
    from planner.solver.apart.search import apart

    return apart(session)


def _offer_first_plan(session: Session) -> None:
    """Gives a session a plan to start from, class by class; HiGHS tells none before it ends."""
    from planner.solver.scale.flat import flatten
    from planner.solver.scale.start import first_plan

    program = session.program
    start = first_plan(program, flatten(program), node_weights(program, program.objective[0]))
    if start is not None:
        session.offer(*start)


def _searched(program: Program, deadline: float, seed: int, progress: Progress) -> Solution:
    """What a search in parts finds: a plan and a bound on the first objective, nothing proved beyond it."""
    from planner.solver.scale.search import Search

    first = program.objective[0]
    search = Search(program, node_weights(program, first), first, deadline, progress, seed)
    search.run()
    if search.plan is None:
        return Solution("unknown", reproducible=False, proof="no plan found in parts of the program")
    replicas, nodes = search.plan
    routing = route(program, replicas, minimize_loss="quality_loss" in program.objective, smallest=False)
    assert isinstance(routing, Routing)
    plan = Plan(replicas, nodes, ceil(routing.loss), {})
    stages = [
        Stage(name, objective_value(program, name, plan), search.bound if index == 0 else None)
        for index, name in enumerate(program.objective)
    ]
    proof = f"searched in parts; the bound is from {search.by}" if search.bound is not None else "searched in parts"
    return Solution("feasible", replicas, nodes, routing.shares, tuple(stages), reproducible=False, proof=proof)


def demands_without_column(program: Program) -> list[str]:
    """Names of demands that no usable column may serve."""
    served = {k for items in share_pairs(program).values() for k in items}
    return [demand.name for demand in program.demand_rows if not served.intersection(demand.items)]


def _minimize(session: Session, name: str, nodes: NodeSearch | None) -> bool:
    """Minimizes by the nodes of situations apart where that is possible, and on the whole program where it is not."""
    if nodes:
        try:
            return nodes.minimize(name)
        except Unproved:
            if session.best is not None:
                raise
    return session.minimize(name, objective_terms(session.program, session.master, name))


def _proved_by_nodes(session: Session, name: str) -> bool:
    """Whether no listed choice of nodes is better than the best plan: then nothing is left to solve."""
    if name not in NODE_OBJECTIVES or session.best is None or not session.plans:
        return False
    weights = node_weights(session.program, name)
    least = min(sum(n * w for n, w in zip(plan, weights, strict=True)) for plan in session.plans)
    return least == objective_value(session.program, name, session.best)


def _solution(
    program: Program, session: Session, status: Status, stages: Sequence[Stage], *, unique: bool, proof: str
) -> Solution:
    """The record of a session: the exact routing of its best plan, and the stages with their bounds."""
    reproducible = session.left_s() > 0
    best = session.best
    if best is None:
        return Solution(status, reproducible=reproducible, proof=proof)
    routing = route(program, best.replicas, minimize_loss=session.with_loss)
    assert isinstance(routing, Routing)
    done = [*stages, *_open_stages(program, session, best, len(stages))]
    return Solution(status, best.replicas, best.nodes, routing.shares, tuple(done), unique, reproducible, proof)


def _open_stages(program: Program, session: Session, best: Plan, proved: int) -> list[Stage]:
    """Objectives that were not proved: their values in the best plan; a bound only for the one being solved."""
    return [
        Stage(name, objective_value(program, name, best), session.bound if index == 0 else None)
        for index, name in enumerate(program.objective[proved:])
    ]
