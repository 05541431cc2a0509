"""Optima that fill every GPU exactly, known in closed form: the solver finds each, to the last unit."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from planner.solver.exact import violations
from planner.solver.objective import solve
from planner.solver.program import Program
from planner.solver.session import BackendName


@cache
def tight_program(seed: int) -> tuple[Program, int]:
    """A program of the bench and its optimum."""
    path = Path(__file__).parents[1] / "bench" / "solver_tight.py"
    spec = spec_from_file_location("solver_tight", path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    program, optimum = module.tight_program(seed)
    return program, optimum


@pytest.mark.parametrize("backend", ["cpsat", "mathopt"])
@pytest.mark.parametrize("seed", range(20))
def test_exactly_tight_optima_are_found(seed: int, backend: BackendName) -> None:
    """Tests that the least cost is the sum of what the buckets are worth, proved, with every GPU full."""
    program, optimum = tight_program(seed)
    solution = solve(program, backend=backend, time_limit_s=30)
    assert (solution.status, solution.stages[0].value) == ("optimal", optimum)
    assert violations(program, solution) == []
    used = [Fraction(0)] * len(program.columns)
    for item, column, share in solution.routing:
        used[column] += share * dict(program.columns[column].loads[0].use)[item]
    bought = [column.loads[0].capacity * n for column, n in zip(program.columns, solution.replicas, strict=True)]
    assert used == bought
