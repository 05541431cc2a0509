"""Lexicographic objectives, proof and uniqueness: the solver's front door.

Each objective is minimized and fixed before the next (never a weighted sum); last, `unique` settles on one of the plans
that are left. `optimal` means that every one of these solves was proved.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from planner.solver.exact import Routing, route
from planner.solver.infeasible import infeasible
from planner.solver.master import build
from planner.solver.program import Program, Solution, Stage, Status
from planner.solver.progress import Progress
from planner.solver.session import (
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
        The solution; `optimal` only if every objective and uniqueness are proved.
    """
    for name in program.objective:
        if name != "quality_loss":
            node_weights(program, name)
    missing = demands_without_column(program)
    if missing:
        return Solution("infeasible", proof=f"no column serves {', '.join(missing)}")
    deadline = time.monotonic() + time_limit_s
    session = Session(program, backend, seed, deadline, progress or (lambda _: None))
    stages: list[Stage] = []
    status: Status = "optimal"
    unique = False
    try:
        for name in program.objective:
            if not _proved_by_nodes(session, name) and not _minimize(session, name):
                if session.best is not None:
                    raise Unproved
                return infeasible(session)
            value = session.fix(name)
            stages.append(Stage(name, value, value))
        session.bound = None
        settle_on_one(session)
        unique = True
        proof = f"{session.backend.name}: every objective proved, {len(session.cuts)} cuts; the only plan of its order"
    except OutOfTime:
        status, proof = "feasible" if session.best else "unknown", "the time limit ended the proof"
    except Unproved:
        status, proof = "feasible" if session.best else "unknown", f"{session.backend.name} found no proof"
    return _solution(program, session, status, stages, unique=unique, proof=proof)


def demands_without_column(program: Program) -> list[str]:
    """Names of demands that no usable column may serve."""
    served = {k for k, _ in build(program, with_loss=False).shares}
    return [demand.name for demand in program.demand_rows if not served.intersection(demand.items)]


def _minimize(session: Session, name: str) -> bool:
    return session.minimize(name, objective_terms(session.program, session.master, name))


def _proved_by_nodes(session: Session, name: str) -> bool:
    """Whether no listed choice of nodes is better than the best plan: then nothing is left to solve."""
    if name == "quality_loss" or session.best is None or not session.plans:
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
