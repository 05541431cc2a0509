"""The ready workflow: valid, without findings of an auditor, and with the two jobs apart."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / "examples/workflow/kvplan.yml"
BESIDE = Path(sys.executable).parent


def _tool(name: str) -> str:
    found = shutil.which(name, path=str(BESIDE)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; pip install '.[dev]'")
    return found


@pytest.fixture(scope="module")
def tree() -> dict[Any, Any]:
    """The workflow as YAML reads it; the key `on` is read as true."""
    loaded: dict[Any, Any] = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    return loaded


def test_the_workflow_schema_accepts_it() -> None:
    """check-jsonschema's built-in schema of GitHub workflows has nothing to say."""
    args = [_tool("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", str(WORKFLOW)]
    done = subprocess.run(args, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_auditor_finds_nothing(tmp_path: Path) -> None:
    """zizmor's strictest persona passes the workflow offline, and fails one whose checkout keeps its token."""
    args = [_tool("zizmor"), "--offline", "--no-progress", "--persona=auditor"]
    done = subprocess.run([*args, str(WORKFLOW)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    worse = tmp_path / "worse.yml"
    worse.write_text(WORKFLOW.read_text().replace("persist-credentials: false", "persist-credentials: true"))
    assert subprocess.run([*args, str(worse)], capture_output=True, timeout=60).returncode != 0


def test_actions_are_pinned_by_commit() -> None:
    """Every action is named by 40 hex digits, with the release beside it."""
    uses = re.findall(r"uses: (\S+)(.*)", WORKFLOW.read_text())
    assert len(uses) == 4
    for name, comment in uses:
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", name)
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment)


def test_who_may_write_runs_nothing_of_the_branch(tree: dict[Any, Any]) -> None:
    """No right by default; the job with the write token checks nothing out, installs nothing, and runs on no fork."""
    assert tree["permissions"] == {}
    assert list(tree[True]) == ["pull_request"]
    plan, comment = tree["jobs"]["plan"], tree["jobs"]["comment"]
    assert plan["permissions"] == {"contents": "read"}
    assert comment["permissions"] == {"pull-requests": "write"}
    assert "head.repo.full_name == github.repository" in comment["if"]
    steps = " ".join(str(step.get("uses", "")) + str(step.get("run", "")) for step in comment["steps"])
    assert "checkout" not in steps and "kvplan " not in steps and "pip" not in steps
    assert not any("${{" in str(step.get("run", "")) for job in (plan, comment) for step in job["steps"])


def test_kvplan_has_every_flag_that_is_used(tree: dict[Any, Any]) -> None:
    """Commands and long flags of the workflow are those of this version, which is the one it installs."""
    from planner import __version__
    from planner.cli.main import kvplan

    text = "\n".join(step.get("run", "") for step in tree["jobs"]["plan"]["steps"])
    assert f"kvplan=={__version__}" in text
    calls = re.findall(r"^kvplan (\S+)(.*)$", text, re.M)
    assert [command for command, _ in calls] == ["validate", "solve", "diff"]
    for command, rest in calls:
        known = {flag for option in kvplan.commands[command].params for flag in option.opts}
        assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest)) <= known, command


def _bash(tmp_path: Path, script: str, gh: str, comment: str) -> subprocess.CompletedProcess[str]:
    """Runs the posting step with a stand-in for gh that writes down its arguments."""
    stand_in = tmp_path / "gh"
    stand_in.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> calls\ncase "$*" in *--paginate*) {gh};; esac\n')
    stand_in.chmod(0o755)
    (tmp_path / "comment.md").write_text(comment)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "GITHUB_REPOSITORY": "o/r", "PULL": "7", "GH_TOKEN": "none"}
    return subprocess.run(
        ["bash", "-e", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=20
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_comment_is_posted_once_and_then_updated(tree: dict[Any, Any], tmp_path: Path) -> None:
    """Without an earlier comment it is posted, else updated; hostile text is never run; a strange file fails."""
    script = tree["jobs"]["comment"]["steps"][-1]["run"]
    hostile = "<!-- kvplan:prod -->\n$(touch owned) `touch owned` '; touch owned\n"
    assert _bash(tmp_path, script, "true", hostile).returncode == 0
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[-1] == "api --silent --method POST repos/o/r/issues/7/comments -F body=@comment.md"
    assert _bash(tmp_path, script, "echo 41; echo 42", hostile).returncode == 0
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[-1] == "api --silent --method PATCH repos/o/r/issues/comments/41 -F body=@comment.md"
    assert not (tmp_path / "owned").exists()
    assert _bash(tmp_path, script, "true", "hello\n").returncode == 1
