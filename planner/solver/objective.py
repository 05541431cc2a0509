"""Lexicographic objectives, proof and uniqueness: the loop around a backend.

Each objective is minimized and fixed before the next; last comes the tie-break, a sum of name hashes, and one more
solve that must find no second plan. The master is a relaxation, so each incumbent's integers go to the exact judge:
what it refuses comes back as a cut that is valid for every plan, and the solve is repeated. The first incumbent that
passes is optimal, because every plan satisfies the master and all cuts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from hashlib import sha256
from math import ceil
from typing import Literal

from planner.solver.backend import Answer, Backend
from planner.solver.exact import FarkasCut, Routing, broken_integer_rows, route
from planner.solver.master import Master, Row, Terms, build
from planner.solver.program import Program, Solution, Stage, Status

BackendName = Literal["cpsat", "mathopt"]

HASHES_MAX = 8
"""Tie-breaking hashes tried before giving up on uniqueness; each leaves two plans tied with odds near 2**-24."""


class OutOfTime(Exception):
    """The wall-clock limit ended a solve; what was found so far stands in the run."""


class Unproved(Exception):
    """A backend stopped without a proof although time was left."""


@dataclass(frozen=True)
class Plan:
    """An incumbent that passed the exact judge, with the backend's values as the next hint."""

    replicas: tuple[int, ...]
    nodes: tuple[int, ...]
    loss: int
    values: tuple[int, ...]


@dataclass
class Run:
    """One solve: the program, its master in a backend, and the incumbent."""

    program: Program
    master: Master
    backend: Backend
    deadline: float
    progress: Callable[[str], None]
    best: Plan | None = None
    bound: int | None = None
    cuts: list[Row] = field(default_factory=list)

    @property
    def with_loss(self) -> bool:
        """Whether the quality loss is an objective."""
        return self.master.loss is not None

    def left_s(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def add_cut(self, row: Row) -> None:
        """Adds a cut, to be kept for a second opinion."""
        self.cuts.append(row)
        self.backend.add(row)


def solve(
    program: Program,
    *,
    time_limit_s: float = 300,
    seed: int = 0,
    backend: BackendName = "cpsat",
    progress: Callable[[str], None] | None = None,
) -> Solution:
    """The unique optimal plan of a program, or the best one found, or proof that there is none.

    Args:
        program: The program.
        time_limit_s: Wall-clock limit; a plan that met it is not reproducible.
        seed: Seed of the backend.
        backend: Which solver searches; both give the same plan when both prove it.
        progress: Called with one line per step.

    Returns:
        The solution; `optimal` only if every objective and uniqueness are proved.
    """
    deadline = time.monotonic() + time_limit_s
    missing = items_without_column(program)
    if missing:
        return Solution("infeasible", proof=f"no column serves {', '.join(missing)}")
    master = build(program, with_loss="quality_loss" in program.objective)
    run = Run(program, master, make_backend(backend, master, seed), deadline, progress or (lambda _: None))
    stages: list[Stage] = []
    status: Status = "optimal"
    unique = False
    proof = ""
    try:
        for name in program.objective:
            if not _stage(run, name, objective_terms(program, master, name)):
                return _infeasible(run, seed)
            stages.append(_fix(run, name))
        unique = _tie_break(run)
        proof = f"{run.backend.name}: every objective proved, {len(run.cuts)} cuts; "
        proof += "no second plan" if unique else "plans remain tied"
    except OutOfTime:
        status, proof = "feasible" if run.best else "unknown", "the time limit ended the proof"
    except Unproved:
        status, proof = "feasible" if run.best else "unknown", f"{run.backend.name} found no proof"
    if status == "optimal" and not unique:
        status = "feasible"
    return _solution(run, status, stages, unique=unique, proof=proof)


def items_without_column(program: Program) -> list[str]:
    """Names of items that no usable column may serve."""
    master = build(program, with_loss=False)
    served = {k for k, _ in master.shares}
    return [item.name for k, item in enumerate(program.items) if k not in served]


def make_backend(name: BackendName, master: Master, seed: int) -> Backend:
    """A backend that holds the master; the solver libraries load here and not before."""
    if name == "cpsat":
        from planner.solver.cpsat import CpSat

        return CpSat(master, seed=seed)
    from planner.solver.mathopt import MathOpt

    return MathOpt(master, seed=seed)


def objective_terms(program: Program, master: Master, name: str) -> Terms:
    """An objective as a linear expression of the master's variables."""
    if name == "cost":
        return tuple((v, pool.cost) for v, pool in zip(master.nodes, program.pools, strict=True) if pool.cost)
    if name == "gpus":
        unit = [program.groups[pool.group].gpus_per_node for pool in program.pools]
        return tuple(zip(master.nodes, unit, strict=True))
    if name == "quality_loss":
        assert master.loss is not None
        return ((master.loss, 1),)
    raise ValueError(f"Objective {name!r} is not known; write cost, gpus or quality_loss.")


def objective_value(program: Program, name: str, plan: Plan) -> int:
    """The exact value of an objective for a plan."""
    if name == "cost":
        return sum(n * pool.cost for n, pool in zip(plan.nodes, program.pools, strict=True))
    if name == "gpus":
        unit = [program.groups[pool.group].gpus_per_node for pool in program.pools]
        return sum(n * gpus for n, gpus in zip(plan.nodes, unit, strict=True))
    return plan.loss


def _stage(run: Run, name: str, terms: Terms) -> bool:
    """Minimizes one objective until an incumbent passes the exact judge; False if there is no plan at all."""
    run.bound = None
    refused = None
    while True:
        if run.left_s() <= 0:
            raise OutOfTime
        hint = run.best.values if run.best else None
        answer = run.backend.minimize(terms, hint=hint, time_limit_s=run.left_s())
        if answer.status == "infeasible":
            return False
        if answer.bound is not None:
            run.bound = answer.bound if run.bound is None else max(run.bound, answer.bound)
        accepted = bool(answer.values) and _judge(run, answer)
        if answer.status == "optimal" and accepted:
            run.progress(f"{name}: {sum(a * answer.values[v] for v, a in terms)}, {len(run.cuts)} cuts")
            return True
        if answer.status != "optimal" and run.left_s() <= 0:
            raise OutOfTime
        if accepted or not answer.values or answer.values == refused:
            raise Unproved
        refused = answer.values


def _judge(run: Run, answer: Answer) -> bool:
    """Tests an incumbent exactly; a refusal adds its cut. The accepted plan becomes the best one."""
    program, master = run.program, run.master
    replicas = tuple(
        answer.values[master.replicas[c]] if c in master.replicas else 0 for c in range(len(program.columns))
    )
    nodes = tuple(answer.values[v] for v in master.nodes)
    if broken_integer_rows(program, replicas, nodes):
        return False
    routing = route(program, replicas, minimize_loss=run.with_loss)
    if isinstance(routing, FarkasCut):
        run.add_cut(master.cut_row(routing.cut, f"cut[{len(run.cuts)}]"))
        return False
    loss = ceil(routing.loss)
    if master.loss is not None and loss > answer.values[master.loss]:
        assert routing.cut is not None
        run.add_cut(master.cut_row(routing.cut, f"cut[{len(run.cuts)}]"))
        return False
    run.best = Plan(replicas, nodes, loss if run.with_loss else 0, answer.values)
    return True


def _fix(run: Run, name: str) -> Stage:
    """Fixes a proved objective for all later solves."""
    assert run.best is not None
    value = objective_value(run.program, name, run.best)
    terms = objective_terms(run.program, run.master, name)
    run.backend.add(Row(f"fixed[{name}]", terms, None, value))
    return Stage(name, value, value)


def name_hash(name: str, attempt: int = 0) -> int:
    """The first 24 bits of SHA-256 of a name, and of the name and a counter from the second attempt on.

    >>> name_hash("abc") == 0xBA7816
    True
    """
    text = f"{name}{attempt}" if attempt else name
    return int.from_bytes(sha256(text.encode()).digest()[:3], "big")


def _tie_terms(run: Run, attempt: int) -> Terms:
    """The tie-break: replicas and nodes weighted by the hashes of their names."""
    program, master = run.program, run.master
    replicas = [(y, name_hash(program.columns[c].name, attempt)) for c, y in master.replicas.items()]
    nodes = [(v, name_hash(pool.name, attempt)) for v, pool in zip(master.nodes, program.pools, strict=True)]
    return (*replicas, *nodes)


def _tie_break(run: Run) -> bool:
    """Moves to the plan of least hash and asks for a second one; True if there is none."""
    for attempt in range(HASHES_MAX):
        terms = _tie_terms(run, attempt)
        if not _stage(run, f"tie-break {attempt + 1}", terms):
            raise Unproved
        best = run.best
        assert best is not None
        value = sum(a * best.values[v] for v, a in terms)
        run.backend.add(Row(f"fixed[hash{attempt}]", terms, value, value))
        # A second plan must differ somewhere; the rows below hold only in the copy that looks for it.
        if not _another(run, attempt):
            return True
    return False


def _another(run: Run, attempt: int) -> bool:
    """Whether a plan with other integers exists at the same objectives; the best plan stays as it is."""
    best = run.best
    assert best is not None
    switch = run.master.variable(f"another{attempt}", 0, 1)
    differs: list[tuple[int, int]] = []
    for v in (*run.master.replicas.values(), *run.master.nodes):
        variable, now = run.master.variables[v], best.values[v]
        if now > variable.lower:
            below = run.master.variable(f"below{attempt}[{variable.name}]", 0, 1)
            # below = 1 forces v <= now - 1
            run.backend.add(Row("below", ((v, 1), (below, variable.upper - now + 1)), None, variable.upper))
            differs.append((below, 1))
        if now < variable.upper:
            above = run.master.variable(f"above{attempt}[{variable.name}]", 0, 1)
            # above = 1 forces v >= now + 1
            run.backend.add(Row("above", ((v, 1), (above, variable.lower - now - 1)), variable.lower, None))
            differs.append((above, 1))
    run.backend.add(Row("another", (*differs, (switch, -1)), 0, None))
    try:
        run.best = None
        found = _stage(run, "second plan", ((switch, -1),))
        if found and run.best is not None:
            second: Plan = run.best
            found = (second.replicas, second.nodes) != (best.replicas, best.nodes)
    finally:
        run.best = best
    return found


def _infeasible(run: Run, seed: int) -> Solution:
    """Believes a proof of infeasibility only when a second proof agrees: the other backend, or CP-SAT unpresolved."""
    for name, opinion in _second_opinions(run, seed):
        for row in run.cuts:
            opinion.add(row)
        if opinion.minimize((), hint=None, time_limit_s=max(0.001, run.left_s())).status == "infeasible":
            return Solution("infeasible", proof=f"{run.backend.name}, confirmed by {name}, {len(run.cuts)} cuts")
    return Solution("unknown", reproducible=run.left_s() > 0, proof=f"{run.backend.name} alone says infeasible")


def _second_opinions(run: Run, seed: int) -> list[tuple[str, Backend]]:
    from planner.solver.cpsat import CpSat

    unpresolved: Backend = CpSat(run.master, seed=seed, presolve=False)
    if run.backend.name == "cpsat":
        return [("cpsat without presolve", unpresolved), ("mathopt", make_backend("mathopt", run.master, seed))]
    return [("cpsat", make_backend("cpsat", run.master, seed)), ("cpsat without presolve", unpresolved)]


def _solution(run: Run, status: Status, stages: Sequence[Stage], *, unique: bool, proof: str) -> Solution:
    """The record of a run: the exact routing of its best plan, and the stages with their bounds."""
    reproducible = status == "optimal" or run.left_s() > 0
    best = run.best
    if best is None:
        return Solution(status, reproducible=reproducible, proof=proof)
    routing = route(run.program, best.replicas, minimize_loss=run.with_loss)
    assert isinstance(routing, Routing)
    done = list(stages)
    for index, name in enumerate(run.program.objective[len(stages) :]):
        value = objective_value(run.program, name, best)
        done.append(Stage(name, value, run.bound if index == 0 else None))
    return replace(
        Solution(status, best.replicas, best.nodes, routing.shares, tuple(done), unique, reproducible, proof)
    )


