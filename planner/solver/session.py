"""One solve in progress: a master in a backend, the exact judge, cuts, and what is fixed so far.

The master is a relaxation, so each incumbent's integers go to the exact judge: what it refuses comes back as a cut that
is valid for every plan, and the solve is repeated. The first incumbent that passes is optimal for its objective,
because every plan satisfies the master and all cuts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Literal

from planner.solver.backend import Answer, Backend
from planner.solver.cuts import ServingCut
from planner.solver.exact import FarkasCut, broken_integer_rows, loss_cut, route
from planner.solver.fleet import MOVED, moved
from planner.solver.hints import integer_hint
from planner.solver.master import Master, Row, Terms, build
from planner.solver.nodes import node_plans, tightened
from planner.solver.program import Program
from planner.solver.progress import Progress, Step

BackendName = Literal["auto", "cpsat", "mathopt"]

CPSAT_SHARES_MAX = 60
"""`auto` gives masters with up to this many shares to CP-SAT: with more, its bounds trail far behind HiGHS's
(400 columns, 1,200 shares: no proof in 60 s against 1 s)."""


NODE_OBJECTIVES = ("cost", "gpus")
"""Objectives that node counts alone decide."""

CUTS_MAX = 100
"""Cuts spent on the last unit of the quality loss before it is left unproved."""


class OutOfTime(Exception):
    """The wall-clock limit ended a solve; the session keeps the best plan so far."""


class Unproved(Exception):
    """A backend stopped without a proof although time was left."""


@dataclass(frozen=True)
class Plan:
    """An incumbent that passed the exact judge. `values` are the backend's, by variable name: the next hint."""

    replicas: tuple[int, ...]
    nodes: tuple[int, ...]
    loss: int
    values: dict[str, int]


@dataclass
class Session:
    """The state of a solve; `program` shrinks as node counts get fixed, its columns keep their places."""

    program: Program
    backend_name: BackendName
    seed: int
    deadline: float
    progress: Progress
    best: Plan | None = None
    bound: int | None = None
    cuts: list[ServingCut] = field(default_factory=list)
    fixed: list[tuple[str, int]] = field(default_factory=list)
    plans: list[tuple[int, ...]] | None = None
    master: Master = field(init=False)
    backend: Backend = field(init=False)

    def __post_init__(self) -> None:
        self.rebuild()

    @property
    def with_loss(self) -> bool:
        """Whether the quality loss is an objective."""
        return "quality_loss" in self.program.objective

    def left_s(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def rebuild(self) -> None:
        """Loads the present program, all cuts and all fixed objectives into a new backend."""
        self.master = build(self.program, with_loss=self.with_loss)
        self.backend = make_backend(self.backend_name, self.master, self.seed)
        load_extras(self, self.backend)

    def fix(self, name: str) -> int:
        """Fixes an objective at the best plan's value and drops the node counts that this rules out."""
        assert self.best is not None
        value = objective_value(self.program, name, self.best)
        self.fixed.append((name, value))
        if name not in NODE_OBJECTIVES:
            self.backend.add(_fixed_row(self, name, value))
            return value
        equations = [(node_weights(self.program, n), v) for n, v in self.fixed if n in NODE_OBJECTIVES]
        self.plans = node_plans(self.program, equations)
        tight = tightened(self.program, self.plans) if self.plans else self.program
        if tight == self.program:
            self.backend.add(_fixed_row(self, name, value))
        else:
            self.program = tight
            self.rebuild()
        return value

    def narrow(self, program: Program) -> None:
        """Goes on with a program that bounds its nodes closer; the best plan is the hint for what is asked next."""
        self.program = program
        self.rebuild()
        if self.best is not None:
            hint = integer_hint(program, self.master, self.best.replicas, self.best.nodes)
            self.best = replace(self.best, values={self.master.variables[v].name: n for v, n in hint.items()})

    def minimize(self, name: str, terms: Terms) -> bool:
        """Minimizes an expression until an incumbent passes the exact judge; False if there is no plan at all."""
        self.bound = None
        refused = None
        while True:
            if self.left_s() <= 0:
                raise OutOfTime
            answer = self.backend.minimize(terms, hint=self._hint(), time_limit_s=self.left_s())
            if answer.status == "infeasible":
                return False
            if answer.bound is not None:
                self.bound = answer.bound if self.bound is None else max(self.bound, answer.bound)
            accepted = bool(answer.values) and self._judge(answer)
            if answer.status == "optimal" and accepted:
                value = sum(a * answer.values[v] for v, a in terms)
                self.progress(Step(name, value, value, self.backend.name))
                return True
            if answer.status != "optimal" and self.left_s() <= 0:
                raise OutOfTime
            if accepted and name == "quality_loss" and self._least_loss_proved():
                return True
            if accepted or not answer.values or answer.values == refused:
                raise Unproved
            refused = answer.values

    def _least_loss_proved(self) -> bool:
        """Closes the last unit of the quality loss, which the tolerance of floats may leave open.

        Asks for a plan that loses one whole unit less; the exact cuts of the judge decide. A better plan becomes the
        best one and the question is asked again.
        """
        assert self.best is not None
        while self.bound is not None and self.bound < self.best.loss:
            value = self.best.loss - 1
            backend = make_backend(self.backend_name, self.master, self.seed)
            load_extras(self, backend)
            backend.add(_fixed_row(self, "quality_loss", value))
            kept, self.backend = self.backend, backend
            try:
                if not self._search(value):
                    self.bound = self.best.loss
            finally:
                self.backend = kept
        return self.bound is not None

    def _search(self, loss: int) -> bool:
        """Whether a plan of at most this quality loss exists, by cuts until one passes or the master is infeasible."""
        for _ in range(CUTS_MAX):
            if self.left_s() <= 0:
                raise OutOfTime
            answer = self.backend.minimize((), hint=None, time_limit_s=self.left_s())
            if answer.status == "infeasible":
                return False
            if answer.values and self._judge(answer):
                assert self.best is not None and self.best.loss <= loss
                return True
        raise Unproved

    def _hint(self) -> dict[int, int] | None:
        if self.best is None or not self.best.values:
            return None
        known = self.best.values
        return {i: known[v.name] for i, v in enumerate(self.master.variables) if v.name in known}

    def offer(self, replicas: Sequence[int], nodes: Sequence[int]) -> None:
        """Takes a plan that was found elsewhere, if the judge accepts it: something to show while the solve runs.

        It is no hint: HiGHS took twice as long to prove from a plan 40 % above the optimum as from none.
        """
        hint = integer_hint(self.program, self.master, replicas, nodes)
        values = tuple(hint.get(i, variable.upper) for i, variable in enumerate(self.master.variables))
        if self._judge(Answer("feasible", values)):
            assert self.best is not None
            self.best = replace(self.best, values={})
            first = self.program.objective[0]
            self.progress(Step(first, objective_value(self.program, first, self.best)))

    def _judge(self, answer: Answer) -> bool:
        """Tests an incumbent exactly; a refusal adds its cut. An accepted plan becomes the best one."""
        master, values = self.master, answer.values
        replicas = tuple(
            values[master.replicas[c]] if c in master.replicas else 0 for c in range(len(self.program.columns))
        )
        nodes = tuple(values[v] for v in master.nodes)
        if broken_integer_rows(self.program, replicas, nodes):
            return False
        routing = route(self.program, replicas, minimize_loss=self.with_loss)
        if isinstance(routing, FarkasCut):
            return self._refuse(routing.cut)
        loss = ceil(routing.loss) if self.with_loss else 0
        plan = Plan(replicas, nodes, loss, {})
        if any(objective_value(self.program, n, plan) > v for n, v in self.fixed if n != "quality_loss"):
            return False
        if master.loss is not None and loss > values[master.loss]:
            return self._refuse(loss_cut(self.program, replicas, routing))
        first = self.program.objective[0]
        offered = self.best if self.best is not None and not self.best.values else None
        if offered is not None and self._value(first, offered) < self._value(first, plan):
            return True
        named = {variable.name: value for variable, value in zip(master.variables, values, strict=True)}
        self.best = replace(plan, values=named)
        return True

    def _value(self, name: str, plan: Plan) -> int:
        return objective_value(self.program, name, plan)

    def _refuse(self, cut: ServingCut) -> bool:
        self.cuts.append(cut)
        self.backend.add(self.master.cut_row(cut, f"cut[{len(self.cuts)}]"))
        return False


def load_extras(session: Session, backend: Backend) -> None:
    """Adds the session's cuts and fixed objectives to a backend that holds its master."""
    for index, cut in enumerate(session.cuts):
        backend.add(session.master.cut_row(cut, f"cut[{index}]"))
    for name, value in session.fixed:
        backend.add(_fixed_row(session, name, value))


def _fixed_row(session: Session, name: str, value: int) -> Row:
    return Row(f"fixed[{name}]", objective_terms(session.program, session.master, name), None, value)


def make_backend(name: BackendName, master: Master, seed: int, *, presolve: bool = True) -> Backend:
    """A backend that holds the master; the solver libraries load here and not before."""
    if name == "auto":
        name = "cpsat" if len(master.shares) <= CPSAT_SHARES_MAX else "mathopt"
    if name == "cpsat":
        from planner.solver.cpsat import CpSat

        return CpSat(master, seed=seed, presolve=presolve)
    from planner.solver.mathopt import MathOpt

    return MathOpt(master, seed=seed, presolve=presolve)


def node_weights(program: Program, name: str) -> tuple[int, ...]:
    """The coefficient of each pool's nodes in `cost` or `gpus`."""
    if name == "cost":
        return tuple(pool.cost for pool in program.pools)
    if name == "gpus":
        return tuple(
            (pool.gpus if pool.group is None else program.groups[pool.group].gpus_per_node) * pool.hours
            for pool in program.pools
        )
    raise ValueError(f"Objective {name!r} is not known; write cost, gpus or quality_loss.")


def objective_terms(program: Program, master: Master, name: str) -> Terms:
    """An objective as a linear expression of the master's variables."""
    if name == "quality_loss":
        assert master.loss is not None
        return ((master.loss, 1),)
    if name == MOVED:
        return master.moved
    weights = node_weights(program, name)
    return tuple((v, weight) for v, weight in zip(master.nodes, weights, strict=True) if weight)


def objective_value(program: Program, name: str, plan: Plan) -> int:
    """The exact value of an objective for a plan."""
    if name == "quality_loss":
        return plan.loss
    if name == MOVED:
        assert program.near is not None
        return moved(program, program.fleets[program.near], plan.replicas)
    return sum(n * weight for n, weight in zip(plan.nodes, node_weights(program, name), strict=True))
