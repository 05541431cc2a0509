"""Tests reading a side from git: what is read, what is refused, and that nothing of the repository runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from planner import pipeline
from planner.errors import InputError
from planner.sweep.git_side import is_git_side, read_git
from planner.sweep.sides import open_side

ROOT = Path(__file__).parents[2]
SCENARIO = """\
extends: ../base.yaml
name: {name}
"""
BASE = """\
kvplan: 1
name: base
models: {m: {capacity_table: tables/m.csv}}
traffic: {c: {model: m, peak: 3 req/s, mean: 1 req/s}}
inventory:
  one: {gpu: l40s-48gb, region: north, available: 4 nodes, gpus_per_node: 1, price: $1.50/gpu/h, source: x}
"""
TABLE = "gpu,class,requests_per_s\nl40s-48gb,c,2\n"


def git(repository: Path, *arguments: str) -> str:
    """Runs git with an identity of its own, whatever the user's configuration says."""
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false", *arguments]
    return subprocess.run(command, cwd=repository, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit on main: a scenario with a parent and a capacity table. We stand in its root."""
    root = tmp_path / "repository"
    for folder in (root / "teams/eu", root / "teams/tables"):
        folder.mkdir(parents=True)
    (root / "teams/eu/prod.yaml").write_text(SCENARIO.replace("{name}", "prod"))
    (root / "teams/base.yaml").write_text(BASE)
    (root / "teams/tables/m.csv").write_text(TABLE)
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "base")
    monkeypatch.chdir(root)
    return root


def code(text: str, folder: Path) -> tuple[str, str]:
    """The code and message with which a side is refused."""
    with pytest.raises(InputError) as caught:
        open_side(text, folder)
    found = caught.value.diagnostics
    assert len(found) == 1
    assert found[0].file == text or found[0].file.startswith(text.partition(":")[0])
    return found[0].code, found[0].message


def test_a_scenario_is_read_with_all_that_it_names(repository: Path, tmp_path: Path) -> None:
    """Tests that parents and tables come from the revision, not from the working tree."""
    for path in ("teams/base.yaml", "teams/tables/m.csv", "teams/eu/prod.yaml"):
        (repository / path).unlink()
    side = open_side("main:teams/eu/prod.yaml", tmp_path / "a")
    assert side.scenario.name == "prod"
    assert dict(side.scenario.models["m"].capacity)["l40s-48gb"] == (("c", 2),)
    assert str(side.scenario.places["name"]) == "main:teams/eu/prod.yaml:2"
    assert str(side.scenario.places["traffic.c.peak"]) == "main:teams/base.yaml:4"
    assert pipeline.plan(side.scenario).totals is not None


def test_mistakes_name_the_revision(repository: Path, tmp_path: Path) -> None:
    """Tests that a diagnostic shows `main:path`, never the temporary folder."""
    (repository / "teams/base.yaml").write_text(BASE.replace("peak: 3 req/s", "peak: 3"))
    (repository / "teams/tables/m.csv").write_text("gpu,class\n")
    git(repository, "commit", "-qam", "broken")
    with pytest.raises(InputError) as caught:
        open_side("main:teams/eu/prod.yaml", tmp_path / "a")
    assert str(caught.value).startswith("main:teams/base.yaml:4:")
    assert str(tmp_path) not in str(caught.value)


def test_symbolic_links_are_followed_within_the_revision(repository: Path, tmp_path: Path) -> None:
    """Tests a linked scenario, and that a link out of the repository is not followed."""
    (repository / "teams/eu/now.yaml").symlink_to("prod.yaml")
    (repository / "teams/eu/out.yaml").symlink_to("../../../../../../etc/passwd")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "links")
    assert open_side("main:teams/eu/now.yaml", tmp_path / "a").scenario.name == "prod"
    assert code("main:teams/eu/out.yaml", tmp_path / "b")[0] == "KV953"


def test_paths_count_from_the_root_or_from_here(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests `REF:path` and `REF:./path` from a folder inside the repository."""
    monkeypatch.chdir(repository / "teams")
    assert open_side("main:teams/eu/prod.yaml", tmp_path / "a").scenario.name == "prod"
    assert open_side("main:./eu/prod.yaml", tmp_path / "b").scenario.name == "prod"
    assert open_side("HEAD~0:../teams/eu/prod.yaml", tmp_path / "c").scenario.name == "prod"


@pytest.mark.parametrize(
    ("text", "expected", "words"),
    [
        ("nope:teams/eu/prod.yaml", "KV952", "fetch it"),
        ("main:teams/eu/nope.yaml", "KV953", "count from the root"),
        ("main:teams/eu", "KV953", "there is no file"),
        ("main:../outside.yaml", "KV953", "not a path inside"),
        ("main:/etc/passwd", "KV953", "not a path inside"),
        ("main:teams/eu/prod.yaml\nHEAD:teams/base.yaml", "KV953", "not a path inside"),
        ("--help:teams/eu/prod.yaml", "KV952", "not a revision"),
        ("-c=x:teams/eu/prod.yaml", "KV952", "not a revision"),
        ("main..HEAD:teams/eu/prod.yaml", "KV952", "not a revision"),
        ("main;id:teams/eu/prod.yaml", "KV952", "not a revision"),
        ("$(id):teams/eu/prod.yaml", "KV952", "not a revision"),
        ("main :teams/eu/prod.yaml", "KV952", "not a revision"),
    ],
)
def test_refused_names(text: str, expected: str, words: str, repository: Path, tmp_path: Path) -> None:
    """Tests unknown revisions and files, paths out of the repository, and what git would take for an option."""
    found, message = code(text, tmp_path / "side")
    assert found == expected
    assert words in message


def test_a_shallow_clone_says_so(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that a missing base in a shallow clone comes with how to fetch it."""
    (repository / "more").write_text("x")
    git(repository, "checkout", "-qb", "change")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "more")
    git(tmp_path, "clone", "-q", "--depth=1", "--branch=change", f"file://{repository}", "clone")
    monkeypatch.chdir(tmp_path / "clone")
    found, message = code("main:teams/eu/prod.yaml", tmp_path / "side")
    assert (found, "fetch-depth: 0" in message) == ("KV952", True)


def test_outside_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that git's own reason is shown where there is no repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    found, message = code("main:prod.yaml", tmp_path / "side")
    assert (found, "not a git repository" in message) == ("KV951", True)


def test_without_git(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests a machine that has no git."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code("main:teams/eu/prod.yaml", tmp_path / "side") == (
        "KV951",
        "the program git is not installed; give a file instead of REF:path",
    )


def test_too_large_a_file_is_not_read(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests the bound on the size of one file."""
    monkeypatch.setattr("planner.sweep.git_side.MOST_BYTES", 20)
    assert code("main:teams/eu/prod.yaml", tmp_path / "side")[0] == "KV954"


def test_nothing_of_the_repository_runs(repository: Path, tmp_path: Path) -> None:
    """Tests that hooks, filters, text conversions and file system monitors of the repository stay silent."""
    witness = tmp_path / "witness"
    script = tmp_path / "run.sh"
    script.write_text(f"#!/bin/sh\ntouch {witness}\ncat\n")
    script.chmod(0o755)
    for hook in ("post-checkout", "pre-commit", "reference-transaction", "post-index-change"):
        shutil.copy(script, repository / ".git/hooks" / hook)
    for key in ("filter.x.smudge", "filter.x.clean", "diff.x.textconv", "core.fsmonitor", "core.pager"):
        git(repository, "config", key, str(script))
    (repository / ".git/info/attributes").write_text("* filter=x diff=x\n")
    witness.unlink(missing_ok=True)
    assert open_side("main:teams/eu/prod.yaml", tmp_path / "a").scenario.name == "prod"
    assert not witness.exists()


def test_a_file_with_a_colon_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that what exists is read as a file, and that a drive letter is no revision."""
    monkeypatch.chdir(tmp_path)
    Path("main:x.yaml").write_text(BASE)
    assert not is_git_side("main:x.yaml")
    assert not is_git_side("C:\\x.yaml")
    assert is_git_side("main:y.yaml")


def test_only_the_named_files_are_written(repository: Path, tmp_path: Path) -> None:
    """Tests that a scenario's own files are written out, and nothing else of the revision."""
    (repository / "secret.txt").write_text("x")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "secret")
    found = read_git("main:teams/eu/prod.yaml", tmp_path / "out")
    written = {path.relative_to(found.root).as_posix() for path in found.root.rglob("*") if path.is_file()}
    assert written == {"teams/eu/prod.yaml", "teams/base.yaml", "teams/tables/m.csv"}
