"""The pre-commit hooks, run by pre-commit on a repository of their own.

Here they run with the kvplan under test (`language: system`); that pre-commit can install them from the project itself
is a bench test, because it downloads the solver.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
HOOKS: list[dict[str, Any]] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
FIRST = ROOT / "examples/01-first-plan/scenario.yaml"


def _environment(home: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "PRE_COMMIT"))}
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PRE_COMMIT_HOME": str(home),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_{what}": "a@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }


class Repository:
    """A git repository with the hooks as local ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = _environment(folder.parent / "home")
        self.run("git", "init", "--quiet")
        python = f"{sys.executable} -m planner"
        hooks = [{**hook, "language": "system", "entry": hook["entry"].replace("kvplan", python, 1)} for hook in HOOKS]
        config = {"repos": [{"repo": "local", "hooks": hooks}]}
        (folder / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
        (folder / "scenarios").mkdir()

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in the repository."""
        return subprocess.run(args, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=60)

    def hook(self, name: str) -> subprocess.CompletedProcess[str]:
        """Stages everything and runs one hook as a commit would."""
        self.run("git", "add", "--all")
        return self.run(sys.executable, "-m", "pre_commit", "run", name, "--verbose")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """An empty repository with the hooks."""
    pytest.importorskip("pre_commit", reason="pip install '.[dev]'")
    if shutil.which("git") is None:
        pytest.skip("needs git")
    folder = tmp_path / "work"
    folder.mkdir()
    return Repository(folder)


def test_hooks_are_valid_for_pre_commit() -> None:
    """pre-commit's own validator accepts the manifest."""
    pytest.importorskip("pre_commit", reason="pip install '.[dev]'")
    args = [sys.executable, "-m", "pre_commit", "validate-manifest", str(ROOT / ".pre-commit-hooks.yaml")]
    done = subprocess.run(args, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [hook["id"] for hook in HOOKS] == ["kvplan-validate", "kvplan-lock"]


def test_a_commit_with_a_wrong_scenario_is_stopped(repository: Repository) -> None:
    """kvplan-validate passes a good scenario, skips other files, and stops a wrong one with its place and code."""
    scenario = repository.folder / "scenarios/a.yaml"
    (repository.folder / "notes.yaml").write_text("not: a scenario\n")
    assert "Skipped" in repository.hook("kvplan-validate").stdout
    shutil.copyfile(FIRST, scenario)
    done = repository.hook("kvplan-validate")
    assert done.returncode == 0 and "scenarios/a.yaml: ok" in done.stdout, done.stdout
    scenario.write_text(scenario.read_text().replace("peak: 12 req/s", "peak: 12"))
    done = repository.hook("kvplan-validate")
    assert done.returncode == 1
    assert "scenarios/a.yaml:20:11: error: traffic.questions.peak: '12' is not a request rate" in done.stdout


def test_a_commit_with_a_stale_lock_is_stopped(repository: Repository) -> None:
    """kvplan-lock passes an up-to-date lock and stops an edit that left its lock behind."""
    scenario = repository.folder / "scenarios/a.yaml"
    shutil.copyfile(FIRST, scenario)
    locked = repository.run(sys.executable, "-m", "planner", "solve", "scenarios/a.yaml", "--lock")
    assert locked.returncode == 0, locked.stderr
    done = repository.hook("kvplan-lock")
    assert done.returncode == 0 and "scenarios/a.yaml: as locked" in done.stdout, done.stdout
    scenario.write_text(scenario.read_text().replace("peak: 12 req/s", "peak: 13 req/s"))
    done = repository.hook("kvplan-lock")
    assert done.returncode == 1 and "input traffic.questions: locked" in done.stdout
