"""A scenario with a plan, planned again and again with small changes.

Most questions ask only what the cheapest plan would cost (`least`): those are many, and go to several processes where a
solve takes long. Few need the plan itself, the only one of its order, with what runs in it (`best`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from multiprocessing import get_context
from typing import Literal

from planner.candidates.table import Offered
from planner.decision import bounds_of, decided
from planner.explain.reasons import Proved
from planner.explain.tables import Tables
from planner.plan.document import Verdict, build_plan
from planner.plan.types import Plan, Run
from planner.scenario.types import HOURS_PER_MONTH, Scenario
from planner.solver.build import build_program
from planner.solver.least import at_cost, at_most, least_cost
from planner.solver.objective import solve
from planner.solver.pools import pool_of
from planner.solver.program import Program, Solution
from planner.sweep.executors import default_jobs, leave_with_parent, stop
from planner.units import MICRO

ONE_QUESTION_S = 60.0
"""The longest that one question may take: what takes longer is left open."""

WORTH_PROCESSES_S = 1.0
"""Seconds of a solve from which a second process pays: starting one takes about as long."""

Direction = Literal["loosen", "tighten", "either"]
"""`loosen` leaves every plan possible that was possible before, `tighten` makes none possible."""


@dataclass(frozen=True)
class Bounds:
    """A cost that no plan is below, that of a plan that exists, and the only one that is asked for."""

    low: int | None = None
    high: int | None = None
    only: int | None = None


@dataclass(frozen=True)
class Ask:
    """A version of the scenario whose least cost is asked; with `offered`, of these configurations only.

    With `same` it is only asked whether a plan costs what the base costs: `infeasible` is one solver's word then.
    """

    scenario: Scenario
    direction: Direction
    offered: Offered | None = None
    same: bool = False


Rows = Callable[[Program], Program]
"""Adds rows to a program."""


def as_it_is(program: Program) -> Program:
    """No rows."""
    return program


@dataclass(frozen=True)
class Outcome:
    """What a change leads to. `infeasible` is proved, `unknown` is anything that is not.

    Money is exact, in the scenario's currency a month. `nodes` are those of every pool, at most over time; `plan` is
    there where the plan was asked, not only its cost; `stages` are the values of the program's objectives. Where moving
    the running fleet costs money, that is part of the cost, spread over the horizon.
    """

    status: Proved
    cost_per_month: Fraction | None = None
    nodes: tuple[tuple[str, int], ...] = ()
    plan: Plan | None = None
    stages: tuple[tuple[str, int], ...] = ()


@dataclass
class Trials:
    """A scenario, its plan (`base`), and how to ask about changes of it. Used as a context, it ends its processes."""

    scenario: Scenario
    tables: Tables
    deadline: float
    progress: Callable[[str], None] = lambda _: None
    asked: int = 0
    base: Outcome = Outcome("unknown")
    _slow: bool = False
    _pool: ProcessPoolExecutor | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.base = self.best(self.scenario)

    def __enter__(self) -> Trials:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            stop(self._pool)

    def left_s(self) -> float:
        """Seconds that a question may take."""
        return min(self.deadline - time.monotonic(), ONE_QUESTION_S)

    def least_of(self, asked: Sequence[Ask]) -> list[Outcome]:
        """The least costs of several versions, in their order; unknown are those for which time is over."""
        programs: list[Program] = []
        for each in asked:
            if self.left_s() <= 0:
                break
            programs.append(build_program(each.scenario, self.tables.table(each.scenario, each.offered)))
        late = [Outcome("unknown")] * (len(asked) - len(programs))
        asked = asked[: len(programs)]
        bounds = [self._bounds(each) for each in asked]
        self.asked += len(programs)
        self.progress(f"question {self.asked}")
        if len(programs) > 1 and self._slow and default_jobs() > 1:
            solutions = list(self._processes().map(_least, programs, bounds, [self.deadline] * len(programs)))
        else:
            solutions = [self._timed(program, each) for program, each in zip(programs, bounds, strict=True)]
        found = [
            self._outcome(each.scenario, program, solution)
            for each, program, solution in zip(asked, programs, solutions, strict=True)
        ]
        return found + late

    def _bounds(self, asked: Ask) -> Bounds:
        """What the cost of the plan as it is says of a version."""
        if self.base.cost_per_month is None or over_horizon(self.scenario) or self.scenario.objective[0] != "cost":
            return Bounds()
        cost = int(self.base.cost_per_month * MICRO / HOURS_PER_MONTH)
        if asked.direction == "tighten":
            return Bounds(low=cost, only=cost if asked.same else None)
        return Bounds(high=cost) if asked.direction == "loosen" else Bounds()

    def _outcome(self, scenario: Scenario, program: Program, solution: Solution) -> Outcome:
        """A solution in words; one that was only found to cost no less than the base is the base."""
        if solution.status == "optimal" and not solution.nodes:
            return self.base
        return outcome(scenario, program, solution)

    def best(self, scenario: Scenario, offered: Offered | None = None, rows: Rows = as_it_is) -> Outcome:
        """The plan of a version of the scenario; with `offered`, of these configurations only."""
        self.asked += 1
        self.progress(f"question {self.asked}")
        if self.left_s() <= 0:
            return Outcome("unknown")
        table = self.tables.table(scenario, offered)
        program = rows(build_program(scenario, table))
        start = time.monotonic()
        if program.objective[0] == "cost":  # with the least cost known the rest is found in half the time
            first = _least(program, Bounds(), self.deadline)
            if first.status != "optimal":
                return outcome(scenario, program, first)
            program = at_cost(program, first.stages[0].value)
        solution = solve(program, time_limit_s=self.left_s())
        self._slow |= time.monotonic() - start > WORTH_PROCESSES_S
        if solution.status != "optimal":
            return outcome(scenario, program, solution)
        decision = decided(scenario, table, program, solution)
        verdict = Verdict(solution.status, bounds_of(program, solution))
        run = Run("", "", "", "", "", {}, {}, solution.proof, solution.reproducible)
        return outcome(scenario, program, solution, build_plan(scenario, table, decision, verdict, run))

    def _timed(self, program: Program, bounds: Bounds) -> Solution:
        start = time.monotonic()
        solution = _least(program, bounds, self.deadline)
        self._slow |= time.monotonic() - start > WORTH_PROCESSES_S
        return solution

    def _processes(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = get_context("spawn")
            self._pool = ProcessPoolExecutor(default_jobs(), mp_context=context, initializer=leave_with_parent)
        return self._pool


def _least(program: Program, bounds: Bounds, deadline: float) -> Solution:
    """The least cost in the time that is left. Processes of one machine share their monotonic clock."""
    now = time.monotonic()
    if now >= deadline:
        return Solution("unknown")
    deadline = min(deadline, now + ONE_QUESTION_S)
    if bounds.only is not None:
        return least_cost(at_most(program, "cost", bounds.only), deadline=deadline, low=bounds.low, confirm=False)
    return least_cost(program, deadline=deadline, low=bounds.low, high=bounds.high)


def outcome(scenario: Scenario, program: Program, solution: Solution, plan: Plan | None = None) -> Outcome:
    """A solution in words of the scenario; only what is proved has a cost."""
    if solution.status != "optimal":
        return Outcome("infeasible" if solution.status == "infeasible" else "unknown")
    cost = sum(n * pool.cost for n, pool in zip(solution.nodes, program.pools, strict=True)) * program.cost_unit
    hours = scenario.horizon_h if over_horizon(scenario) else Fraction(1)
    counts: dict[tuple[str, str], int] = {}
    for quantity, count in zip(program.pools, solution.nodes, strict=True):
        name, _, situation = quantity.name.partition("|")
        if pool_of(name) in scenario.inventory:
            counts[pool_of(name), situation] = counts.get((pool_of(name), situation), 0) + count
    most = {name: max(n for (own, _), n in counts.items() if own == name) for name, _ in counts}
    stages = tuple((stage.name, stage.value) for stage in solution.stages)
    return Outcome("optimal", cost / hours * HOURS_PER_MONTH / MICRO, tuple(sorted(most.items())), plan, stages)


def over_horizon(scenario: Scenario) -> bool:
    """Whether costs of the program are those of the whole horizon, moves of the running fleet among them."""
    return scenario.timed or bool(scenario.current and scenario.change.micro_per_replica)
