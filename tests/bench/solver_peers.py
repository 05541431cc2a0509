"""What others make of the same program: HiGHS and CP-SAT by default, CBC on a formulation by slices.

`highs` and `cpsat` get every row of the full program at once. `cbc` gets what Mélange (Griggs et al., arXiv 2404.14527,
section 5) gives to PuLP: each class is cut into slices that go to one deployment as a whole, so its optimum is that of
the slices, at or above the program's own. Every figure is the solver's own word, floats included; nothing is verified.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass, field
from datetime import timedelta
from math import inf, isfinite
from pathlib import Path

from planner.solver.cpsat import INFINITY
from planner.solver.master import GRID, Master, build, in_grid
from planner.solver.program import Program
from planner.solver.session import node_weights

SLICES = 4
"""Slices a class; Mélange uses up to 8 on far smaller programs, and its time grows with them."""


@dataclass
class Watch:
    """What a run showed: status, value, bound and when the first plan and the proof came, in seconds from the start."""

    start: float = field(default_factory=time.perf_counter)
    status: str = "unknown"
    value: float | None = None
    bound: float | None = None
    first_s: float | None = None
    proved_s: float | None = None

    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.start


def run_highs(program: Program, limit_s: float, watch: Watch) -> None:
    """HiGHS through math_opt. It reports no incumbents as it goes, so `first_s` is known only when it is the end."""
    from ortools.math_opt.python import mathopt

    master = build(program, with_loss=False)
    model = mathopt.Model()
    variables = [model.add_variable(lb=v.lower, ub=v.upper, is_integer=v.whole, name="") for v in master.variables]
    for row in master.rows:
        made = model.add_linear_constraint(
            lb=-inf if row.lower is None else row.lower, ub=inf if row.upper is None else row.upper
        )
        for v, a in row.terms:
            made.set_coefficient(variables[v], a)
    terms = _cost(program, master)
    model.minimize(mathopt.LinearSum(a * variables[v] for v, a in terms))
    parameters = mathopt.SolveParameters(time_limit=timedelta(seconds=max(0.1, limit_s - watch.seconds())))
    result = mathopt.solve(model, mathopt.SolverType.HIGHS, params=parameters)
    bounds = result.termination.objective_bounds
    watch.bound = bounds.dual_bound if isfinite(bounds.dual_bound) else None
    if result.has_primal_feasible_solution():
        found = result.variable_values()
        watch.value = sum(a * round(found[variables[v]]) for v, a in terms)
        watch.status = "feasible"
    reason = result.termination.reason
    if reason == mathopt.TerminationReason.OPTIMAL:
        watch.status, watch.proved_s = "optimal", watch.seconds()
    elif reason == mathopt.TerminationReason.INFEASIBLE:
        watch.status = "infeasible"


def run_cpsat(program: Program, limit_s: float, watch: Watch) -> None:
    """CP-SAT on the integer form of the same rows, with as many workers as it likes."""
    from ortools.sat.python import cp_model

    master = build(program, with_loss=False)
    model = cp_model.CpModel()
    variables = [
        model.new_int_var(v.lower, GRID if v.share else v.upper, str(i)) for i, v in enumerate(master.variables)
    ]
    for row in master.rows:
        whole = in_grid(master, row)
        total = cp_model.LinearExpr.weighted_sum([variables[v] for v, _ in whole.terms], [a for _, a in whole.terms])
        lower = -INFINITY if whole.lower is None else whole.lower
        model.add_linear_constraint(total, lower, INFINITY if whole.upper is None else whole.upper)
    terms = _cost(program, master)
    model.minimize(cp_model.LinearExpr.weighted_sum([variables[v] for v, _ in terms], [a for _, a in terms]))

    class First(cp_model.CpSolverSolutionCallback):  # type: ignore[misc]
        def on_solution_callback(self) -> None:
            if watch.first_s is None:
                watch.first_s = watch.seconds()

    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = max(0.1, limit_s - watch.seconds())
    status = solver.solve(model, First())
    watch.status = solver.status_name(status).lower()
    if watch.status in ("optimal", "feasible"):
        watch.value, watch.bound = solver.objective_value, solver.best_objective_bound
    if watch.status == "optimal":
        watch.proved_s = watch.seconds()


def run_cbc(program: Program, limit_s: float, watch: Watch) -> None:
    """Mélange's assignment of slices through PuLP's CBC, with tiers as nodes at their own prices."""
    import pulp

    problem = pulp.LpProblem("slices", pulp.LpMinimize)
    nodes = [pulp.LpVariable(f"z{p}", pool.lower, pool.upper, "Integer") for p, pool in enumerate(program.pools)]
    problem += pulp.lpSum(w * z for w, z in zip(node_weights(program, "cost"), nodes, strict=True))
    replicas = [pulp.LpVariable(f"y{c}", 0, column.upper, "Integer") for c, column in enumerate(program.columns)]
    slices = [(d, s) for d in range(len(program.demand_rows)) for s in range(SLICES)]
    chosen: dict[tuple[int, int], list[tuple[int, object]]] = {cut: [] for cut in slices}
    for c, column in enumerate(program.columns):
        rows: list[list[object]] = [[] for _ in column.loads]
        amounts = [dict(load.use) for load in column.loads]
        for d, s in slices:
            for k in program.demand_rows[d].items:
                if any(k in amount for amount in amounts):
                    x = pulp.LpVariable(f"x{c}_{k}_{d}_{s}", cat="Binary")
                    chosen[d, s].append((c, x))
                    for row, amount in zip(rows, amounts, strict=True):
                        row.append(amount.get(k, 0) / SLICES * x)
        for row, load in zip(rows, column.loads, strict=True):
            if row:
                problem += pulp.lpSum(row) <= load.capacity * replicas[c]
    for cut in slices:
        problem += pulp.lpSum(x for _, x in chosen[cut]) == 1
    for g, group in enumerate(program.groups):
        packed = [column.gpus * replicas[c] for c, column in enumerate(program.columns) if column.group == g]
        bought = [z for z, pool in zip(nodes, program.pools, strict=True) if pool.group == g]
        if packed:
            problem += pulp.lpSum(packed) <= group.gpus_per_node * pulp.lpSum(bought)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "cbc.log"
        solver = pulp.PULP_CBC_CMD(
            msg=False, timeLimit=max(1, limit_s - watch.seconds()), logPath=str(log), gapRel=0, keepFiles=False
        )
        os.environ["TMPDIR"] = folder
        problem.solve(solver)
        said = log.read_text(encoding="utf-8") if log.exists() else ""
    watch.status = {1: "optimal", -1: "infeasible"}.get(problem.status, "unknown")
    if all(z.value() is not None for z in nodes) and problem.sol_status in (1, 2):
        watch.value = sum(w * round(z.value()) for w, z in zip(node_weights(program, "cost"), nodes, strict=True))
        watch.status = "optimal" if problem.sol_status == 1 else "feasible"
    bounds = [float(line.split(":")[1]) for line in said.splitlines() if line.startswith("Lower bound:")]
    watch.bound = bounds[-1] if bounds else watch.value if watch.status == "optimal" else None
    if watch.status == "optimal":
        watch.proved_s = watch.seconds()


def _cost(program: Program, master: Master) -> list[tuple[int, int]]:
    return [(v, w) for v, w in zip(master.nodes, node_weights(program, "cost"), strict=True) if w]
