"""How long things take: `python -m pytest -o addopts=--import-mode=importlib tests/bench`; not in the ordinary run.

Whole commands start a new process each time, so imports count; the table and the solver are timed inside one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from planner import pipeline
from planner.plan.io import read_tree, to_json
from planner.solver.build import build_program
from planner.solver.objective import solve

ROOT = Path(__file__).parents[2]
PROD = ROOT / "scenarios/prod.yaml"
MODELS = ("assistant", "summarizer")
FIRST = ROOT / "examples/01-first-plan/scenario.yaml"


def _command(benchmark: BenchmarkFixture, *args: str, rounds: int = 3) -> float:
    """Least seconds of a whole command."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run() -> None:
        command = [sys.executable, "-m", "planner", *args]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)

    benchmark.pedantic(run, rounds=rounds, warmup_rounds=1)
    return float(benchmark.stats.stats.min)


def test_solve_prod(benchmark: BenchmarkFixture) -> None:
    """The production scenario from a cold start, proof included: under 5 s on two cores."""
    assert _command(benchmark, "solve", str(PROD), "-q") < 5


@pytest.mark.parametrize("name", ["no-compression", "faster-chat"])
def test_solve_what_if(benchmark: BenchmarkFixture, name: str) -> None:
    """A what-if of the production scenario: how much a plan's time depends on its numbers."""
    _command(benchmark, "solve", str(PROD), "-q", "--what-if", name, rounds=2)


def test_help(benchmark: BenchmarkFixture) -> None:
    """The help: under 0.3 s."""
    assert _command(benchmark, "--help", rounds=5) < 0.3


def test_validate(benchmark: BenchmarkFixture) -> None:
    """Validation of the production scenario: under 0.3 s."""
    assert _command(benchmark, "validate", str(PROD), rounds=5) < 0.3


def test_latency(benchmark: BenchmarkFixture) -> None:
    """Latencies of a replica at five batches: under 0.5 s."""
    flags = ("--gpu", "h100-sxm-80gb", "--tp", "4", "--weights", "fp8", "--input", "1024", "--output", "512")
    assert _command(benchmark, "latency", "llama-3.3-70b-instruct", *flags, rounds=5) < 0.5


def test_table(benchmark: BenchmarkFixture) -> None:
    """The candidate table of the production scenario, all physics and no solver."""
    scenario = pipeline.load(PROD)
    table = benchmark.pedantic(pipeline.table, (scenario,), rounds=3, warmup_rounds=1)
    assert table.candidates


def test_table_of_chunk_budgets(benchmark: BenchmarkFixture) -> None:
    """Four chunk budgets a model: four times the configurations in less than four times the time."""
    budgets = [f"models.{name}.engine_args={{max_num_batched_tokens: [2048, 4096, 8192, 16384]}}" for name in MODELS]
    one, four = pipeline.load(PROD), pipeline.load(PROD, budgets)
    start = time.perf_counter()
    alone = pipeline.table(one)
    seconds = time.perf_counter() - start
    table = benchmark.pedantic(pipeline.table, (four,), rounds=3, warmup_rounds=1)
    assert table.examined > 3.5 * alone.examined
    assert float(benchmark.stats.stats.min) < 4 * seconds


@pytest.mark.parametrize("backend", ["mathopt", "cpsat"])
def test_solver(benchmark: BenchmarkFixture, backend: str) -> None:
    """The production program alone: every objective and uniqueness proved, by each backend."""
    scenario = pipeline.load(PROD)
    program = build_program(scenario, pipeline.table(scenario))
    solution = benchmark.pedantic(solve, (program,), {"backend": backend, "time_limit_s": 120}, rounds=1)
    assert solution.status == "optimal"


def test_check(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """The check of the production plan."""
    path = tmp_path / "plan.json"
    path.write_text(to_json(pipeline.plan(pipeline.load(PROD))), encoding="utf-8")
    assert read_tree(str(path))["status"] == "optimal"
    assert benchmark.pedantic(pipeline.check, (path,), rounds=3) == []


def test_first_plan(benchmark: BenchmarkFixture) -> None:
    """The smallest example from a cold start."""
    assert _command(benchmark, "solve", str(FIRST), "-q") < 2
