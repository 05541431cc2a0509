"""One planned example for all tests of the command line, and a way to run the command as users do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MIXED = "examples/02-mixed-gpus/scenario.yaml"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def environment(**more: str) -> dict[str, str]:
    """The test's environment without what changes messages."""
    kept = {key: value for key, value in os.environ.items() if key not in ("KVPLAN_DEBUG", "PYTHONIOENCODING")}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", **more}


def command(*args: str) -> list[str]:
    """The command line of `python -m planner`."""
    return [sys.executable, "-m", "planner", *args]


@pytest.fixture(scope="session")
def kvplan() -> Run:
    """Runs kvplan in a process of its own, from the repository's root."""

    def run(*args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*args), cwd=ROOT, env=environment(**(env or {})), capture_output=True, text=True, timeout=60
        )

    return run


@pytest.fixture(scope="session")
def plan_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plan document of the mixed-GPU example."""
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    args: Sequence[str] = command("solve", MIXED, "-q", "-o", str(path))
    subprocess.run(args, cwd=ROOT, env=environment(), check=True, capture_output=True, timeout=60)
    return path
