"""HiGHS through `ortools.math_opt`: the second backend. Shares stay continuous; nothing it says is believed unrounded.

Values are rounded to integers and tested exactly by the caller. Its bound is lowered by the tolerance that floats may
have cost, and raised again only as far as the objective is known to move in whole steps.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from math import ceil, gcd, inf, isfinite
from typing import TYPE_CHECKING

from planner.solver.backend import Answer
from planner.solver.master import Master, Row, Terms, Variable

if TYPE_CHECKING:
    from ortools.math_opt.model_pb2 import ModelProto

if TYPE_CHECKING:
    from ortools.math_opt.python.mathopt import SolveParameters, SolveResult

RELATIVE_SLACK = 1e-9
"""Share of the bound that double arithmetic may have lost (rows hold up to a million units of 2**-53 each)."""

ABSOLUTE_SLACK = 1e-6
"""HiGHS's own feasibility tolerance."""


@dataclass(frozen=True)
class _FloatRow:
    """A row as HiGHS holds it, divided by `scale`."""

    lower: float
    upper: float
    scale: float
    terms: dict[int, float]


def _unit(variable: Variable) -> int:
    """How much one unit of a variable is in HiGHS: 1, but of a quality loss its upper bound.

    It runs to billions beside shares of at most 1, and HiGHS drops coefficients below 1e-9.
    """
    return 1 if variable.whole or variable.share else max(1, variable.upper)


def _proto(master: Master, units: Sequence[int], rows: Sequence[_FloatRow]) -> ModelProto:
    """The master as one message: row by row through Python it takes longer to hand over than to solve."""
    from ortools.math_opt import model_pb2

    proto = model_pb2.ModelProto()
    variables, limits, matrix = proto.variables, proto.linear_constraints, proto.linear_constraint_matrix
    variables.ids.extend(range(len(units)))
    variables.lower_bounds.extend(v.lower / unit for v, unit in zip(master.variables, units, strict=True))
    variables.upper_bounds.extend(v.upper / unit for v, unit in zip(master.variables, units, strict=True))
    variables.integers.extend(v.whole for v in master.variables)
    limits.ids.extend(range(len(rows)))
    limits.lower_bounds.extend(row.lower for row in rows)
    limits.upper_bounds.extend(row.upper for row in rows)
    for r, row in enumerate(rows):
        placed = sorted(row.terms.items())
        matrix.row_ids.extend([r] * len(placed))
        matrix.column_ids.extend([v for v, _ in placed])
        matrix.coefficients.extend([coefficient for _, coefficient in placed])
    return proto


class MathOpt:
    """A master in HiGHS, solved again and again as rows are added and the objective changes."""

    name = "mathopt"

    def __init__(self, master: Master, *, seed: int, presolve: bool = True) -> None:
        from ortools.math_opt.python import mathopt

        self._mathopt = mathopt
        self._master = master
        self._seed, self._presolve = seed, presolve
        self._units = [_unit(variable) for variable in master.variables]
        rows = [self._in_floats(row) for row in master.rows]
        self._model: mathopt.Model = mathopt.Model.from_model_proto(_proto(master, self._units, rows))
        self._variables = [self._model.get_variable(v) for v in range(len(master.variables))]
        self._rows = [self._model.get_linear_constraint(r) for r in range(len(rows))]
        self._scales = [row.scale for row in rows]

    def _sync(self) -> None:
        """Adds the variables that the master gained since the last call."""
        for variable in self._master.variables[len(self._variables) :]:
            unit = _unit(variable)
            made = self._model.add_variable(
                lb=variable.lower / unit, ub=variable.upper / unit, is_integer=variable.whole, name=""
            )
            self._variables.append(made)
            self._units.append(unit)

    def add(self, row: Row) -> None:
        """Adds a row of the master, divided by its largest coefficient so that tolerances mean the same everywhere."""
        self._sync()
        floats = self._in_floats(row)
        made = self._model.add_linear_constraint(lb=floats.lower, ub=floats.upper)
        self._rows.append(made)
        self._scales.append(floats.scale)
        for v, coefficient in floats.terms.items():
            made.set_coefficient(self._variables[v], coefficient)

    def _in_floats(self, row: Row) -> _FloatRow:
        terms = [(v, a * self._units[v]) for v, a in row.terms]
        shares = any(self._master.variables[v].share for v, _ in terms)
        scale = float(max(abs(a) for _, a in terms)) if shares else 1.0
        lower = -inf if row.lower is None else row.lower / scale
        upper = inf if row.upper is None else row.upper / scale
        return _FloatRow(lower, upper, scale, {v: a / scale for v, a in terms})

    def duals(self, terms: Terms) -> list[float]:
        """Duals of all rows where an expression is least, in the order in which they came; empty if there are none."""
        self._sync()
        self._model.minimize(sum(a * self._variables[v] for v, a in terms))
        with _silent_stdout():
            result = self._mathopt.solve(self._model, self._mathopt.SolverType.HIGHS)
        if not result.has_dual_feasible_solution():
            return []
        found = result.dual_values()
        return [found[row] / scale for row, scale in zip(self._rows, self._scales, strict=True)]

    def minimize(
        self, terms: Terms, *, hint: Mapping[int, int] | None, time_limit_s: float, gap: float = 0.0
    ) -> Answer:
        """Minimizes a linear expression of integer variables, or comes within a relative gap of its least value.

        HiGHS completes a hint of the integers by itself.
        """
        self._sync()
        self._model.objective.clear()
        self._model.objective.is_maximize = False
        for v, a in terms:
            self._model.objective.set_linear_coefficient(self._variables[v], float(a * self._units[v]))
        parameters = self._mathopt.SolveParameters(
            time_limit=timedelta(seconds=max(0.001, time_limit_s)),
            random_seed=self._seed,
            absolute_gap_tolerance=0.0,
            relative_gap_tolerance=gap,
            presolve=None if self._presolve else self._mathopt.Emphasis.OFF,
        )
        result = self._solved(parameters, hint)
        reasons = self._mathopt.TerminationReason
        if result.termination.reason in (reasons.INFEASIBLE, reasons.INFEASIBLE_OR_UNBOUNDED):
            return Answer("infeasible")
        if not result.has_primal_feasible_solution():
            return Answer("unknown")
        found = result.variable_values()
        values = tuple(
            round(found[made]) if known.whole or known.share else ceil(found[made] * unit - ABSOLUTE_SLACK)
            for made, known, unit in zip(self._variables, self._master.variables, self._units, strict=True)
        )
        value = sum(a * values[v] for v, a in terms)
        bound = _whole_bound(result.termination.objective_bounds.dual_bound, terms) if terms else 0
        proved = result.termination.reason == reasons.OPTIMAL and bound is not None and bound >= value
        return Answer("optimal" if proved else "feasible", values, bound)

    def _solved(self, parameters: SolveParameters, hint: Mapping[int, int] | None) -> SolveResult:
        """The result of HiGHS. Now and then it ends in an error of its own while it completes a start; then without.

        What ortools raises for that is an AttributeError about the error itself.
        """
        highs = self._mathopt.SolverType.HIGHS
        with _silent_stdout():
            try:
                return self._mathopt.solve(self._model, highs, params=parameters, model_params=self._started(hint))
            except (AttributeError, RuntimeError):
                if hint is None:
                    raise
                return self._mathopt.solve(self._model, highs, params=parameters)

    def _started(self, hint: Mapping[int, int] | None) -> object:
        """The solution to start from: its whole variables, whose shares HiGHS finds by a linear program."""
        if hint is None:
            return None
        whole = {v: value for v, value in hint.items() if self._master.variables[v].whole}
        start = self._mathopt.SolutionHint({self._variables[v]: float(value) for v, value in whole.items()})
        return self._mathopt.ModelSolveParameters(solution_hints=[start])


def _whole_bound(dual_bound: float, terms: Terms) -> int | None:
    """The least value the objective can take at or above a float bound: it moves in steps of its coefficients' gcd."""
    if not isfinite(dual_bound):
        return None
    step = gcd(*(a for _, a in terms))
    slack = ABSOLUTE_SLACK + RELATIVE_SLACK * abs(dual_bound)
    return ceil((dual_bound - slack) / step) * step


@contextmanager
def _silent_stdout() -> Iterator[None]:
    """Sends what the C++ library writes to standard output to nowhere: HiGHS prints a line when it repairs a solution.

    Standard output carries one document of kvplan's own, so the descriptor itself is exchanged for the time of a solve.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
