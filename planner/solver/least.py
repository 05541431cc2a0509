"""The least cost of a program and nothing beyond: what a change of one line is worth, asked many times.

Which of several plans of that cost would run is left open. Rows that only make a proof long are left out first: a
program without the limit on configurations has a bound that is soon found and that most often holds with the limit too.
"""

from __future__ import annotations

from dataclasses import replace
from math import gcd

from planner.solver.exact import broken_integer_rows
from planner.solver.infeasible import infeasible
from planner.solver.objective import demands_without_column, too_large
from planner.solver.program import NodeLimit, Program, Solution, Stage
from planner.solver.session import (
    BackendName,
    OutOfTime,
    Session,
    Unproved,
    node_weights,
    objective_terms,
    objective_value,
)


def least_cost(
    program: Program,
    *,
    deadline: float,
    low: int | None = None,
    high: int | None = None,
    confirm: bool = True,
    seed: int = 0,
    backend: BackendName = "auto",
) -> Solution:
    """The least cost, after the objectives that come before it; a plan of that cost, without its routing.

    Args:
        program: The program; objectives behind cost are not looked at.
        deadline: When to stop, by `time.monotonic`.
        low: A cost that no plan is below, where cost comes first.
        high: The cost of a plan that exists. If none costs less, it is the answer, without replicas and nodes.
        confirm: Whether a second solver is asked where the first one finds no plan.
        seed: Seed of the backend.
        backend: Which solver searches.

    Returns:
        `optimal` with a plan, `infeasible` by two solvers, else `unknown`: never a cost that is not proved. Its last
        stage is cost.
    """
    missing = demands_without_column(program)
    if missing:
        return Solution("infeasible", proof=f"no column serves {', '.join(missing)}")
    if too_large(program):
        return Solution("unknown", proof="the program is searched in parts, which proves no cost")
    names = _up_to_cost(program)
    program = replace(program, objective=names)
    floor = low if names == ("cost",) else None
    if names == ("cost",) and any(limit.max_configurations is not None for limit in program.models):
        models = tuple(replace(limit, max_configurations=None) for limit in program.models)
        free = _at_least(replace(program, models=models), floor)
        first = _proved(Session(free, backend, seed, deadline, _quiet), opinion=confirm)
        if first.status != "optimal" or not broken_integer_rows(program, first.replicas, first.nodes):
            return first
        floor = first.stages[0].value
        if floor == high:
            return Solution("optimal", stages=first.stages, proof=first.proof)
        found = _proved(Session(at_most(program, "cost", floor), backend, seed, deadline, _quiet), opinion=False)
        if found.status != "infeasible":
            return found
        floor += _step(program)
    return _proved(Session(_at_least(program, floor), backend, seed, deadline, _quiet), opinion=confirm)


def at_cost(program: Program, cost: int) -> Program:
    """The program of plans of exactly this cost, which is known to be the least: no proof of it is left to find."""
    return _at_least(at_most(program, "cost", cost), cost)


def at_most(program: Program, name: str, value: int) -> Program:
    """The program with a bound on cost or GPUs, as one more row over nodes."""
    use = tuple((p, weight) for p, weight in enumerate(node_weights(program, name)) if weight)
    return replace(program, node_limits=(*program.node_limits, NodeLimit(f"at most {name}", value, use)))


def _at_least(program: Program, cost: int | None) -> Program:
    if cost is None:
        return program
    use = tuple((p, -weight) for p, weight in enumerate(node_weights(program, "cost")) if weight)
    return replace(program, node_limits=(*program.node_limits, NodeLimit("at least cost", -cost, use)))


def _up_to_cost(program: Program) -> tuple[str, ...]:
    """The objectives as far as cost; cost comes last where it is none of them."""
    names = program.objective
    return names[: names.index("cost") + 1] if "cost" in names else (*names, "cost")


def _step(program: Program) -> int:
    """The steps that costs move in."""
    return gcd(*(pool.cost for pool in program.pools)) or 1


def _quiet(_: object) -> None:
    """Nobody is told."""


def _proved(session: Session, *, opinion: bool = True) -> Solution:
    """Minimizes a session's objectives in order; without an `opinion` one solver's word on infeasibility is enough, as
    it is for every bound."""
    program, stages = session.program, []
    try:
        for name in program.objective:
            if not session.minimize(name, objective_terms(session.program, session.master, name)):
                return infeasible(session) if opinion else Solution("infeasible")
            last = name == program.objective[-1]
            assert session.best is not None
            value = objective_value(session.program, name, session.best) if last else session.fix(name)
            stages.append(Stage(name, value, value))
    except OutOfTime:
        return Solution("unknown", reproducible=False, proof="the time limit ended the proof")
    except Unproved:
        return Solution("unknown", proof=f"{session.backend.name} found no proof")
    assert session.best is not None
    return Solution("optimal", session.best.replicas, session.best.nodes, (), tuple(stages), proof=session.backend.name)
