"""CP-SAT: the first backend. Integers only; one worker and a fixed seed, so that a run repeats bit for bit.

The model is built from `cp_model_helper`, the compiled half of CP-SAT's Python package: `cp_model` itself imports
pandas, which costs more than most solves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from planner.solver.backend import Answer
from planner.solver.master import GRID, Master, Row, Terms, in_grid

if TYPE_CHECKING:
    from ortools.sat.python.cp_model_helper import CpModelProto, CpSolverResponse

INFINITY = 1 << 61
"""Open ends of rows: inside the half of int64 that CP-SAT accepts for domains."""


class CpSat:
    """A master in CP-SAT, solved again and again as rows are added and the objective changes."""

    name = "cpsat"

    def __init__(self, master: Master, *, seed: int, presolve: bool = True) -> None:
        from ortools.sat.python import cp_model_helper

        self._helper = cp_model_helper
        self._master = master
        self._seed, self._presolve = seed, presolve
        self._model: CpModelProto = cp_model_helper.CpModelProto()
        self._known = 0
        for row in master.rows:
            self.add(row)

    def _sync(self) -> None:
        """Adds the variables that the master gained since the last call."""
        for variable in self._master.variables[self._known :]:
            made = self._model.variables.add()
            made.name = variable.name
            made.domain.extend([variable.lower, GRID if variable.share else variable.upper])
        self._known = len(self._master.variables)

    def add(self, row: Row) -> None:
        """Adds a row of the master, brought to the grid."""
        self._sync()
        whole = in_grid(self._master, row)
        linear = self._model.constraints.add().linear
        linear.vars.extend([v for v, _ in whole.terms])
        linear.coeffs.extend([a for _, a in whole.terms])
        lower = -INFINITY if whole.lower is None else whole.lower
        linear.domain.extend([lower, INFINITY if whole.upper is None else whole.upper])

    def minimize(self, terms: Terms, *, hint: Mapping[int, int] | None, time_limit_s: float) -> Answer:
        """Minimizes a linear expression of integer variables from a hint, which should be complete."""
        self._sync()
        self._model.clear_objective()
        if terms:
            self._model.objective.vars.extend([v for v, _ in terms])
            self._model.objective.coeffs.extend([a for _, a in terms])
        self._model.clear_solution_hint()
        if hint is not None:
            self._model.solution_hint.vars.extend(list(hint))
            self._model.solution_hint.values.extend(list(hint.values()))
        problem = self._helper.CpSatHelper.validate_model(self._model)
        if problem:
            raise ArithmeticError(f"CP-SAT does not accept the model: {problem}")
        wrapper = self._helper.SolveWrapper()
        wrapper.set_parameters(self._parameters(time_limit_s))
        run: Callable[[CpModelProto], CpSolverResponse] = wrapper.solve
        response = run(self._model)
        status = response.status.name.lower()
        if status not in ("optimal", "feasible"):
            return Answer("infeasible" if status == "infeasible" else "unknown")
        values = tuple(response.solution)
        bound = response.inner_objective_lower_bound if terms else 0
        if status == "optimal":
            bound = sum(a * values[v] for v, a in terms)
        return Answer("optimal" if status == "optimal" else "feasible", values, bound)

    def _parameters(self, time_limit_s: float) -> object:
        parameters = self._helper.SatParameters()
        parameters.num_workers = 1
        parameters.random_seed = self._seed
        parameters.linearization_level = 2
        parameters.max_time_in_seconds = max(0.001, time_limit_s)
        parameters.cp_model_presolve = self._presolve
        return parameters
