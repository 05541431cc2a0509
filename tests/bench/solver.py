"""kvplan's solver beside HiGHS, CP-SAT and CBC on frozen instances and seeded scenarios.

    python tests/bench/solver.py --instance tests/bench/data/medium-1.json.gz --time-limit 60
    python tests/bench/solver.py --size medium --seed 7 --time-limit 60 --format json --backend kvplan

Each backend runs in a process of its own, one after the other; `cpu_s` and `peak_bytes` are that process's. `gap` is
(value - bound) / value of the cost; `first_s` and `proved_s` count from a ready program. `kvplan` plans a seeded
scenario through `planner.pipeline`, physics included, and checks the document; on a frozen instance every row of its
answer is verified in exact arithmetic. Size `tight` is small programs whose optimum fills every GPU to the last unit
(`solver_tight`); an answer of kvplan that misses it is an error. The others get the program ready-made and are taken at
their word. `cbc` needs PuLP (`pip install pulp`).
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from solver_instances import read_instance
from solver_peers import Watch, run_cbc, run_cpsat, run_highs
from solver_sizes import SIZES, scenario_text
from solver_tight import tight_program

from planner import __version__, pipeline
from planner.solver.build import build_program
from planner.solver.exact import violations
from planner.solver.objective import solve
from planner.solver.program import Program

BACKENDS = ("kvplan", "highs", "cpsat", "cbc")
PEERS = {"highs": run_highs, "cpsat": run_cpsat, "cbc": run_cbc}
FIELDS = (
    "instance",
    "backend",
    "status",
    "value",
    "bound",
    "gap",
    "first_s",
    "proved_s",
    "wall_s",
    "cpu_s",
    "peak_bytes",
)


@dataclass(frozen=True)
class Case:
    """What is to be solved: a frozen instance or a seeded scenario."""

    instance: str | None
    size: str | None
    seed: int

    @property
    def ready(self) -> bool:
        """Whether it is a program as it stands and not a scenario."""
        return self.instance is not None or self.size == "tight"

    @property
    def name(self) -> str:
        """How rows call it."""
        return Path(self.instance).name.removesuffix(".json.gz") if self.instance else f"{self.size}-seed-{self.seed}"


def main() -> int:
    """Parses the command line and prints one document."""
    options = _parser().parse_args()
    if options.run:
        case = Case(options.instance[0] if options.instance else None, options.size, options.seed[0])
        sys.stdout.write(json.dumps(_run(case, options.run, options.time_limit)) + "\n")
        return 0
    cases = [Case(path, None, 0) for path in options.instance or []]
    cases += [Case(None, options.size, seed) for seed in options.seed if options.size]
    if not cases:
        sys.stderr.write("name at least one --instance FILE or a --size" + "\n")
        return 2
    rows = [_in_a_process(case, backend, options.time_limit) for case in cases for backend in options.backend]
    if options.format == "json":
        sys.stdout.write(
            json.dumps({"versions": _versions(), "time_limit_s": options.time_limit, "rows": rows}, indent=2) + "\n"
        )
    else:
        sys.stdout.write(_table(rows) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instance", action="append", metavar="FILE", help="a frozen instance; may be repeated")
    parser.add_argument("--size", choices=[*SIZES, "tight"], help="a seeded scenario of this size")
    parser.add_argument("--seed", type=int, nargs="+", default=[1], metavar="N")
    parser.add_argument("--time-limit", type=float, default=60.0, metavar="S")
    parser.add_argument("--format", choices=["table", "json"], default="table")
    parser.add_argument("--backend", choices=BACKENDS, nargs="+", default=list(BACKENDS))
    parser.add_argument("--run", choices=BACKENDS, help=argparse.SUPPRESS)
    return parser


def _in_a_process(case: Case, backend: str, limit_s: float) -> dict[str, object]:
    """One row, from a process of its own; a crash or a missing solver is a row too."""
    what = ["--instance", case.instance] if case.instance else ["--size", str(case.size), "--seed", str(case.seed)]
    command = [sys.executable, __file__, *what, "--time-limit", str(limit_s), "--run", backend]
    sys.stderr.write(f"{case.name}: {backend} ..." + "\n")
    # Some solvers print to standard output whatever they are asked; the last line is ours.
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    return {**dict.fromkeys(FIELDS), "instance": case.name, "backend": backend, "status": f"exit {done.returncode}"}


def _run(case: Case, backend: str, limit_s: float) -> dict[str, object]:
    """Solves in this process and measures it."""
    if backend != "kvplan":
        program = _program(case)
        watch = Watch()
        PEERS[backend](program, limit_s, watch)
    elif case.ready:
        program = _program(case)
        watch = Watch()
        _instance(program, limit_s, watch)
        if case.size == "tight" and watch.value != tight_program(case.seed)[1]:
            raise SystemExit(f"{case.name}: {watch.value} is not the optimum of {tight_program(case.seed)[1]}")
    else:
        watch = Watch()
        _scenario(case, limit_s, watch)
    wall_s = watch.seconds()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    first_s = watch.first_s if watch.first_s is not None or watch.value is None else wall_s
    gap = None if watch.value is None or watch.bound is None else (watch.value - watch.bound) / max(watch.value, 1e-9)
    return {
        "instance": case.name,
        "backend": backend,
        "status": watch.status,
        "value": watch.value,
        "bound": watch.bound,
        "gap": gap if gap is None else round(max(0.0, gap), 6),
        "first_s": _rounded(first_s),
        "proved_s": _rounded(watch.proved_s),
        "wall_s": _rounded(wall_s),
        "cpu_s": _rounded(sum(u.ru_utime + u.ru_stime for u in used)),
        "peak_bytes": max(u.ru_maxrss for u in used) * 1024,
    }


def _program(case: Case) -> Program:
    if case.instance:
        return read_instance(Path(case.instance)).program
    if case.size == "tight":
        return tight_program(case.seed)[0]
    with tempfile.TemporaryDirectory() as folder:
        scenario = pipeline.load(_written(case, folder))
    return build_program(scenario, pipeline.table(scenario))


def _written(case: Case, folder: str) -> Path:
    path = Path(folder) / f"{case.name}.yaml"
    path.write_text(scenario_text(str(case.size), case.seed), encoding="utf-8")
    return path


def _instance(program: Program, limit_s: float, watch: Watch) -> None:
    """kvplan's solver on a frozen program, every row of its answer verified."""
    solution = solve(program, time_limit_s=limit_s, progress=lambda step: _heard(watch, str(step)))
    watch.status = solution.status
    if solution.replicas:
        broken = violations(program, solution)
        if broken:
            raise SystemExit(f"the answer breaks {len(broken)} rows: {broken[0]}")
        cost = solution.stages[0]
        watch.value, watch.bound = cost.value, cost.bound


def _scenario(case: Case, limit_s: float, watch: Watch) -> None:
    """The whole way of a user's file: load, plan, check."""
    from planner.plan.check import check_tree
    from planner.plan.io import to_json

    with tempfile.TemporaryDirectory() as folder:
        scenario = pipeline.load(_written(case, folder))
        options = pipeline.Options(limit_s, progress=lambda line: _heard(watch, line))
        plan = pipeline.plan(scenario, options)
    # The others get their program ready-made: first plan and proof count from the start of the solve, `wall_s` has all.
    physics_s = plan.run.seconds["candidates"]
    watch.first_s, watch.proved_s = (None if s is None else s - physics_s for s in (watch.first_s, watch.proved_s))
    watch.status = plan.status
    cost = next(iter(plan.objective), None)
    if plan.totals is not None and cost is not None:
        watch.value = float(Decimal(cost.value))
        watch.bound = None if cost.bound is None else float(Decimal(cost.bound))
    findings = check_tree(json.loads(to_json(plan)), case.name, use_hash=True)[1]
    if findings:
        raise SystemExit(f"check disproves the plan: {findings[0]}")


def _heard(watch: Watch, line: str) -> None:
    """Notes when the first plan and the proof of its cost were told."""
    sys.stderr.write(f"{watch.seconds():8.1f} s  {line}" + "\n")
    if line.startswith("cost: best") and watch.first_s is None:
        watch.first_s = watch.seconds()
    if line.startswith("cost: best") and line.endswith("proved") and watch.proved_s is None:
        watch.proved_s = watch.seconds()


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


def _table(rows: list[dict[str, object]]) -> str:
    lines = [list(FIELDS), *([_cell(field, row.get(field)) for field in FIELDS] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(FIELDS))]
    text = "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return f"{text}\n\n" + ", ".join(f"{name} {number}" for name, number in _versions().items())


def _cell(field: str, value: object) -> str:
    if value is None:
        return "-"
    if field == "gap":
        return f"{float(str(value)):.2%}"
    return f"{value:,.10g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _versions() -> dict[str, str]:
    found = {"kvplan": __version__, "python": platform.python_version()}
    for name in ("ortools", "pulp"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


if __name__ == "__main__":
    sys.exit(main())
