"""How long explanations take: a medium scenario and the repository's own, with and without a plan.

python tests/bench/explain.py [--time-limit S] [--format table|json]

Each case is explained once, in a process of its own. Medium scenarios are those of tests/bench/solver.py (5 models, 20
classes, 8 GPU types in 4 regions, three price tiers); without a plan their budget, stock or rates are out of reach.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from solver_sizes import scenario_text

ROOT = Path(__file__).parents[2]
PROD = "scenarios/prod.yaml"
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "prod": (PROD, ()),
    "prod: too much chat": (PROD, ("traffic.chat.peak=60 req/s",)),
    "prod: too little money": (PROD, ("budget.monthly=$40_000",)),
    "prod: no promise so tight": (PROD, ("traffic.chat.slo.tpot_p95=5ms",)),
    "medium-1": ("medium-1", ()),
    "medium-1: too little money": ("medium-1", ("budget.monthly=$4_000",)),
    "medium-2: too little power": ("medium-2", ("budget.power=4kW",)),
    "medium-3: ten times the rates": ("medium-3", ("traffic.*.peak=60 req/s",)),
}


def main() -> None:
    """Runs all cases and prints one row each, and the median."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--time-limit", type=float, default=30.0, help="seconds for each case")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [_row(name, *case, options.time_limit, Path(folder)) for name, case in CASES.items()]
    median = statistics.median(float(str(row["wall_s"])) for row in rows)
    if options.format == "json":
        lines = [json.dumps({"rows": rows, "median_wall_s": median}, indent=2)]
    else:
        head = f"{'case':32} {'status':11} {'wall s':>7} {'cpu s':>7} {'conflicts':>9} {'repairs':>7}  not finished"
        lines = [head, *map(_shown, rows), f"median {median:.1f} s"]
    sys.stdout.write("\n".join(lines) + "\n")


def _shown(row: dict[str, object]) -> str:
    return (
        f"{row['case']:32} {row['status']:11} {row['wall_s']:7} {row['cpu_s']:7} {row['conflicts']:9} "
        f"{row['repairs']:7}  {row['unfinished']}"
    )


def _row(name: str, source: str, sets: tuple[str, ...], time_limit_s: float, folder: Path) -> dict[str, object]:
    """One case in a process of its own."""
    path = ROOT / source
    if source.startswith("medium-"):
        path = folder / f"{source}.yaml"
        path.write_text(scenario_text("medium", int(source.removeprefix("medium-"))))
    flags = [word for text in sets for word in ("--set", text)]
    command = [sys.executable, "-m", "planner", "explain", str(path), *flags, "--format", "json"]
    start, before = time.monotonic(), _children_s()
    done = subprocess.run(
        [*command, "--time-limit", str(time_limit_s)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    wall = time.monotonic() - start
    answer = json.loads(done.stdout) if done.stdout else {"status": f"exit {done.returncode}"}
    return {
        "case": name,
        "status": answer["status"],
        "wall_s": round(wall, 1),
        "cpu_s": round(_children_s() - before, 1),
        "conflicts": len(answer.get("conflicts", ())),
        "repairs": sum(repair["status"] == "solved" for repair in answer.get("repairs", ())),
        "unfinished": "; ".join(answer.get("unfinished", ())),
    }


def _children_s() -> float:
    """CPU seconds of all processes that ended."""
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
