"""From the solver's numbers to a decision in plain values: what runs and is routed where, situation by situation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING

from planner.candidates.groups import pool_groups
from planner.candidates.losses import losses
from planner.candidates.situations import Situation, situations, table_at
from planner.candidates.spot import asked_for
from planner.plan.document import Decision
from planner.plan.running import Moment, Placed, Rerouted, Shares
from planner.solver.situations import at, shed_name, waiting_name

if TYPE_CHECKING:
    from planner.candidates import CandidateTable
    from planner.scenario.types import Scenario
    from planner.solver.program import Program, Solution, Stage


def decided(scenario: Scenario, table: CandidateTable, program: Program, solution: Solution) -> Decision | None:
    """What a solution decides; None where it found no plan."""
    if not solution.replicas:
        return None
    found = situations(scenario)
    read = _Read(scenario, program, solution)
    moments = tuple(read.moment(table_at(table, scenario, situation), situation) for situation in found)
    months = sorted({situation.month for situation in found if situation.month})
    kept, bought = (
        {
            name: tuple(read.nodes(f"{name} {word}|m{month:02d}") for month in months)
            for name, pool in scenario.inventory.items()
            if (pool.term_months or pool.notice_months) and f"{name} {word}|m01" in read.quantities
        }
        for word in ("kept", "bought")
    )
    return Decision(moments, kept, bought)


def bounds_of(program: Program, solution: Solution) -> tuple[tuple[str, int | None], ...]:
    """(objective, proved bound) in the units of the plan: micro-units of money, GPUs or GPU-hours, quality loss."""
    return tuple((stage.name, _in_plan_units(program, stage)) for stage in solution.stages)


def _in_plan_units(program: Program, stage: Stage) -> int | None:
    if stage.bound is None:
        return None
    unit = {"cost": program.cost_unit, "gpus": program.hours_unit}.get(stage.name, Fraction(1))
    return ceil(stage.bound * unit)


@dataclass
class _Read:
    """A solution by the names of its program."""

    scenario: Scenario
    program: Program
    solution: Solution

    def __post_init__(self) -> None:
        program = self.program
        self.quantities = {pool.name: count for pool, count in zip(program.pools, self.solution.nodes, strict=True)}
        self.columns = {column.name: c for c, column in enumerate(program.columns)}
        self.shares: dict[int, list[tuple[str, Fraction]]] = {}
        for item, column, share in self.solution.routing:
            self.shares.setdefault(column, []).append((program.items[item].name.partition("|")[0], share))

    def nodes(self, name: str) -> int:
        """Nodes of a pool or a purchase; 0 where there is none."""
        return self.quantities.get(name, 0)

    def moment(self, table: CandidateTable, situation: Situation) -> Moment:
        """What was decided for one situation."""
        places = {item.name: k for k, item in enumerate(table.items)}
        by_config = {candidate.config.name: candidate for candidate in table.candidates}
        groups = pool_groups(situation.scenario)
        size = len(groups)
        mine = [
            c
            for c, column in enumerate(self.program.columns)
            if column.own and column.name.partition("|")[2] == situation.name and self.solution.replicas[c]
        ]
        placed = tuple(
            Placed(
                by_config[self.program.columns[c].config.partition("|")[0]],
                groups[self.program.columns[c].group % size],
                self.solution.replicas[c],
                self._routed(c, places),
            )
            for c in mine
        )
        nodes = {
            name: asked_for(pool, self.nodes(at(name, situation.name)))
            for name, pool in situation.scenario.inventory.items()
        }
        rerouted = tuple(self._rerouted(mine, places, situation))
        return Moment(placed, nodes, rerouted, self._off(waiting_name, "", places, situation))

    def _off(self, word: Callable[[str], str], loss: str, places: dict[str, int], situation: Situation) -> Shares:
        """What is shed, or waits, of all classes."""
        columns = (at(at(word(name), loss), situation.name) for name in situation.scenario.traffic)
        return tuple(sorted(part for c in columns for part in self._routed(self.columns.get(c), places)))

    def _routed(self, column: int | None, places: dict[str, int]) -> Shares:
        if column is None:
            return ()
        return tuple(sorted((places[item], share) for item, share in self.shares.get(column, [])))

    def _rerouted(self, mine: list[int], places: dict[str, int], situation: Situation) -> Iterator[Rerouted]:
        """The routing after each loss, for the columns that run."""
        for loss in losses(situation.scenario):
            left = []
            for c in mine:
                base = self.program.columns[c].name.partition("|")[0]
                left.append(self._routed(self.columns[at(at(base, loss.name), situation.name)], places))
            shed = self._off(shed_name, loss.name, places, situation)
            yield Rerouted(tuple(left), shed, self._off(waiting_name, loss.name, places, situation))
