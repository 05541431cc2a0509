"""Questions that explanations ask of versions of a scenario: is there a plan with these lines loosened?

Loosening more lines never takes a plan away. So an answer answers more: what is loosened beyond a version with a plan
has one, and what is loosened less than a version without has none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction

from planner.explain.lines import Line, Rung, sets_of
from planner.explain.source import Source
from planner.explain.tables import Tables
from planner.explain.trials import outcome
from planner.scenario.types import Pool, Scenario
from planner.solver.build import build_program
from planner.solver.diagnose import once, weighed
from planner.solver.feasible import feasible, least, stands
from planner.solver.least import least_cost
from planner.solver.today import MOVES

Loosened = frozenset[int]
"""Lines that are loosened, by their places in the list of all lines; all others stand as written."""

ONE_PROBE_S = 15.0
"""Most time for one question: what takes longer is left open."""

LEAST_PART = 0.7
"""Part of the time left for that."""

LEAST_S = 30.0
"""Most time for the least value of a line that is a sum over nodes."""

COST_S = 5.0
"""Most time for the cost of a repair."""


class OutOfTime(Exception):
    """The time for an explanation is over, or one question took too long."""


Fleet = tuple[tuple[int, ...], tuple[int, ...]]
"""Replicas of every column and nodes of every pool of a program."""


@dataclass(frozen=True)
class LeastSum:
    """The least sum that was found, one that no plan is below (None: nothing is known), and a plan of that sum."""

    value: Fraction
    bound: Fraction | None
    fleet: Fleet


@dataclass
class Known:
    """Answers to one kind of question, asked of ever other sets of loosened lines."""

    answer: Callable[[Loosened], bool]
    holds_with: list[Loosened] = field(default_factory=list)
    fails_with: list[Loosened] = field(default_factory=list)

    def holds(self, lines: Iterable[int]) -> bool:
        """Whether the answer is yes with these lines loosened.

        Raises:
            OutOfTime: nobody knows in time.
        """
        asked = frozenset(lines)
        if any(known <= asked for known in self.holds_with):
            return True
        if any(asked <= known for known in self.fails_with):
            return False
        answer = self.answer(asked)
        (self.holds_with if answer else self.fails_with).append(asked)
        return answer


@dataclass
class Probes:
    """All questions about one scenario."""

    source: Source
    lines: tuple[Line, ...]
    tables: Tables
    deadline: float
    progress: Callable[[str], None]
    asked: int = 0

    def left_s(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def plans(self, scenario: Scenario) -> Known:
        """Whether a scenario has a plan with some lines loosened."""
        return Known(lambda lines: self.has_plan(self.loosened(lines, scenario)))

    def serves(self, name: str) -> Known:
        """Whether some configuration serves every request of a class with some lines loosened, stock aside."""
        scenario = self.source.scenario
        traffic = {name: scenario.traffic[name]}
        models = {traffic[name].model: scenario.models[traffic[name].model]}
        alone = replace(scenario, traffic=traffic, models=models)
        return Known(lambda lines: not self.unserved(self.loosened(lines, alone)))

    def unserved(self, scenario: Scenario) -> list[str]:
        """Classes of which some requests may run on no configuration."""
        if self.left_s() <= 0:
            raise OutOfTime
        self._count()
        table = self.tables.table(scenario)
        served = {k for candidate in table.candidates for k, _ in candidate.loads}
        return sorted({d.class_name for d in table.demands if not served.intersection(d.items)})

    def loosened(self, lines: Iterable[int], scenario: Scenario) -> Scenario:
        """A version of the scenario with some lines loosened as far as they go."""
        for index in sorted(lines):
            scenario = self.lines[index].loosened(scenario)
        return scenario

    def at(self, rungs: Iterable[tuple[int, Rung]]) -> Scenario:
        """The scenario with some lines at rungs of their ladders, in the words of their ladders."""
        texts: list[str] = []
        for index, rung in rungs:
            tried = self.lines[index].tried
            texts += sets_of(rung if tried is None else tried(rung))
        return self.source.changed(texts)

    def has_plan(self, scenario: Scenario, *, confirm: bool = False) -> bool:
        """Whether a version has a plan; with `confirm` a "no" is asked of a second solver.

        Raises:
            OutOfTime: nobody knows in time.
        """
        if self.left_s() <= 0:
            raise OutOfTime
        self._count()
        program = build_program(scenario, self.tables.table(scenario))
        found = feasible(program, time_limit_s=min(ONE_PROBE_S, max(0.1, self.left_s())), confirm=confirm).found
        if found is None:
            raise OutOfTime
        return found

    def least(self, scenario: Scenario, line: Line, weigh: Callable[[Pool], Fraction]) -> LeastSum | None:
        """The least sum of weighed nodes that was found for a version in one situation; None without any plan."""
        if self.left_s() <= 0:
            raise OutOfTime
        self._count()
        program = build_program(scenario, self.tables.table(scenario))
        program, scale = weighed(program, scenario, weigh, once(scenario, line.path))
        found = least(program, time_limit_s=min(LEAST_S, max(0.1, LEAST_PART * self.left_s())))
        if found is None or found.value is None:
            return None
        bound = None if found.bound is None else Fraction(found.bound, scale)
        return LeastSum(Fraction(found.value, scale), bound, (found.replicas, found.nodes))

    def stands(self, scenario: Scenario, fleet: Fleet) -> bool:
        """Whether a fleet that was found for one version is a plan of another."""
        return stands(build_program(scenario, self.tables.table(scenario)), *fleet)

    def cost_per_month(self, scenario: Scenario, most_s: float = COST_S) -> Fraction | None:
        """What the cheapest plan of a version costs, moves aside, which are paid once; None where that is not proved in
        so many seconds."""
        if self.left_s() <= 0:
            return None
        program = build_program(scenario, self.tables.table(scenario))
        deadline = min(self.deadline, time.monotonic() + most_s)
        solution = least_cost(program, deadline=deadline)
        pools = tuple(replace(pool, cost=0) if pool.name == MOVES else pool for pool in program.pools)
        return outcome(scenario, replace(program, pools=pools), solution).cost_per_month

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """A part of the work that gets so many seconds at most."""
        kept = self.deadline
        self.deadline = min(kept, time.monotonic() + seconds)
        try:
            yield
        finally:
            self.deadline = kept

    def _count(self) -> None:
        self.asked += 1
        self.progress(f"{self.asked} versions of the scenario tried")
