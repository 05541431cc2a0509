"""Example 03: its script makes the same git history every time, and nothing of the reader's settings enters it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples/03-what-if-in-a-pr/history.py"

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def _make(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    args = [sys.executable, str(SCRIPT), str(folder)]
    return subprocess.run(args, env={**os.environ, **env}, capture_output=True, text=True, timeout=60)


def _git(folder: Path, *args: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *args], capture_output=True, text=True, check=True).stdout


def test_the_history_is_the_same_everywhere(tmp_path: Path) -> None:
    """Two runs, one of them inside another repository's hook and with settings of a user, give the same commits."""
    config = tmp_path / "gitconfig"
    config.write_text("[user]\n name = Eve\n email = eve@example.com\n[commit]\n gpgsign = true\n")
    assert _make(tmp_path / "one").returncode == 0
    assert _make(tmp_path / "two", GIT_CONFIG_GLOBAL=str(config), GIT_DIR=str(tmp_path / "elsewhere")).returncode == 0
    logs = [_git(tmp_path / name, "log", "--all", "--format=%H %an %s") for name in ("one", "two")]
    assert logs[0] == logs[1]
    assert [line.split(" ", 2)[2] for line in logs[0].splitlines()] == [
        "Promise twice the speed of reading",
        "Expect the spring campaign",
        "Plan the helpdesk",
    ]
    assert _git(tmp_path / "one", "diff", "--shortstat", "main", "spring").strip() == (
        "1 file changed, 2 insertions(+), 2 deletions(-)"
    )
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    """A folder that holds something is refused."""
    (tmp_path / "mine").write_text("x")
    done = _make(tmp_path)
    assert done.returncode == 1 and "is not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
