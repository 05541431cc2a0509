"""`kvplan diff` and `kvplan what-if` from outside: exit codes, formats, files and git."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from planner.cli.diff import FAILURES

ROOT = Path(__file__).parents[2]
BASE = """\
kvplan: 1
name: measured
models: {m: {capacity_table: m.csv}}
traffic: {c: {model: m, peak: 3 req/s, mean: 1 req/s}}
inventory:
  one: {gpu: l40s-48gb, region: north, available: 9 nodes, gpus_per_node: 1, price: $1.50/gpu/h, source: x}
guardrails: {step: {change_above: 10%, message: ask finance}}
what_if:
  more: {traffic.c.peak: 9 req/s}
  much-more: {traffic.c.peak: 90 req/s}
"""
TABLE = "gpu,class,requests_per_s\nl40s-48gb,c,2\n"

Diff = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A scenario, the same with three times the traffic, one without a plan, and one in other words."""
    (tmp_path / "m.csv").write_text(TABLE)
    for name, peak in (("base", "3 req/s"), ("more", "9 req/s"), ("none", "90 req/s"), ("same", "180 req/min")):
        (tmp_path / f"{name}.yaml").write_text(BASE.replace("peak: 3 req/s", f"peak: {peak}"))
    return tmp_path


@pytest.fixture
def kvplan_in(folder: Path) -> Diff:
    """Runs kvplan in the folder."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if k != "KVPLAN_DEBUG"}
        environment |= {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
        command = [sys.executable, "-m", "planner", *arguments]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)

    return run


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("base.yaml", "more.yaml"), 0),
        (("base.yaml", "more.yaml", "--exit-code"), 10),
        (("base.yaml", "same.yaml", "--exit-code"), 0),
        (("base.yaml", "more.yaml", "--fail-on", "guardrails"), 5),
        (("base.yaml", "more.yaml", "--fail-on", "increase", "--exit-code"), 5),
        (("more.yaml", "base.yaml", "--fail-on", "increase"), 0),
        (("base.yaml", "none.yaml"), 0),
        (("base.yaml", "none.yaml", "--fail-on", "infeasible"), 5),
        (("base.yaml", "none.yaml", "--fail-on", "guardrails"), 5),
        (("base.yaml", "none.yaml", "--fail-on", "unproved"), 0),
        (("base.yaml", "same.yaml", *(word for reason in FAILURES for word in ("--fail-on", reason))), 0),
        (("base.yaml", "missing.yaml"), 1),
        (("base.yaml",), 2),
    ],
)
def test_exit_codes(arguments: tuple[str, ...], code: int, kvplan_in: Diff) -> None:
    """A difference is not an error unless asked; a reviewer's no is 5, wrong input 1, a wrong command line 2."""
    done = kvplan_in("diff", *arguments, "--format", "json")
    assert done.returncode == code, done.stderr
    if code == 5:
        assert done.stderr.startswith("kvplan: ")
    if code in (0, 5, 10):
        assert json.loads(done.stdout)["format_version"] == "1.0"


def test_a_crossed_guardrail_says_whom_to_ask(kvplan_in: Diff) -> None:
    """The message of the guardrail stands on stderr; the document is whole on stdout."""
    done = kvplan_in("diff", "base.yaml", "more.yaml", "--format", "json", "--fail-on", "guardrails")
    assert done.stderr == "kvplan: guardrail step is crossed by this change: ask finance\n"
    assert json.loads(done.stdout)["guardrails"][0]["crossed"] == "by_this_change"


@pytest.mark.parametrize("form", ["table", "json", "md", "github"])
def test_nothing_is_printed_for_no_difference_if_asked(form: str, kvplan_in: Diff, folder: Path) -> None:
    """`--skip-no-diff` prints nothing in any format, and leaves an empty file; without it something stands there."""
    assert kvplan_in("diff", "base.yaml", "same.yaml", "--skip-no-diff", "--format", form).stdout == ""
    (folder / "comment.md").write_text("old")
    kvplan_in("diff", "base.yaml", "same.yaml", "--skip-no-diff", "--format", form, "-o", "comment.md")
    assert (folder / "comment.md").read_text() == ""


def test_a_what_if_without_effect_prints_nothing_if_asked(kvplan_in: Diff, folder: Path) -> None:
    """`what-if --skip-no-diff` is silent when no case changes the plan, and shows everything when one does."""
    same = ("--set", "traffic.c.peak=180 req/min")
    assert kvplan_in("what-if", "base.yaml", *same).stdout.strip()
    assert kvplan_in("what-if", "base.yaml", *same, "--skip-no-diff").stdout == ""
    kvplan_in("what-if", "base.yaml", *same, "--skip-no-diff", "-o", "comment.md")
    assert (folder / "comment.md").read_text() == ""
    assert "more" in kvplan_in("what-if", "base.yaml", "--all", "--skip-no-diff").stdout


def test_equal_plans_are_one_line(kvplan_in: Diff) -> None:
    """`diff A A` prints one line for people, and a document without changes for programs."""
    done = kvplan_in("diff", "base.yaml", "base.yaml")
    assert (done.returncode, len(done.stdout.strip().splitlines())) == (0, 1)
    tree = json.loads(kvplan_in("diff", "base.yaml", "base.yaml", "--format", "json").stdout)
    assert (tree["equal"], tree["edits"], tree["deployments"], tree["margins"]) == (True, [], [], [])


def test_plans_and_revisions_are_sides(kvplan_in: Diff, folder: Path) -> None:
    """A plan document, a scenario of a revision and a plan of a revision compare like the files that they came from."""
    assert kvplan_in("solve", "base.yaml", "-q", "-o", "plan.json").returncode == 0
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "base"]):
        subprocess.run([*git, *arguments], cwd=folder, check=True, capture_output=True)
    expected = json.loads(kvplan_in("diff", "base.yaml", "more.yaml", "--format", "json").stdout)
    for base, kind in (("plan.json", "plan"), ("main:base.yaml", "git"), ("main:plan.json", "git")):
        done = kvplan_in("diff", base, "more.yaml", "--format", "json")
        tree = json.loads(done.stdout)
        assert (tree["base"]["label"], tree["base"]["kind"]) == (base, kind)
        for key in ("cost_per_month", "attribution", "interaction_per_month", "deployments", "rollout", "margins"):
            assert tree[key] == expected[key], (base, key)
        assert tree["command"] == f"kvplan diff {base} more.yaml"
        assert tree["edits"][0]["place"] == "more.yaml:4"


def test_output_is_written_whole_and_never_over_an_input(kvplan_in: Diff, folder: Path) -> None:
    """`-o` writes the formatted document and prints nothing; an input is refused before anything is solved."""
    done = kvplan_in("diff", "base.yaml", "more.yaml", "--format", "json", "-o", "diff.json")
    assert (done.returncode, done.stdout) == (0, "")
    assert json.loads((folder / "diff.json").read_text())["equal"] is False
    (folder / "child.yaml").write_text("extends: base.yaml\nname: child\n")
    for target in ("base.yaml", "m.csv"):
        before = (folder / target).read_text()
        commands = (("diff", "child.yaml", "child.yaml"), ("what-if", "child.yaml", "more"), ("solve", "child.yaml"))
        for command in commands:
            assert kvplan_in(*command, "-o", target).returncode == 2, (command, target)
        assert (folder / target).read_text() == before
    refused = kvplan_in("diff", "base.yaml", "more.yaml", "-o", "more.yaml")
    assert refused.returncode == 2
    assert "is an input" in refused.stderr


def test_what_if_one_and_several(kvplan_in: Diff) -> None:
    """One override is a diff; several blocks are one document of cases, the one without a plan among them."""
    one = json.loads(kvplan_in("what-if", "base.yaml", "--set", "traffic.c.peak=9 req/s", "--format", "json").stdout)
    assert one["cost_per_month"]["change"] == "3285.00"  # two nodes for 3 requests/s, five for 9: 3 x 1.50 x 730
    assert one["edits"][0]["place"] == "--set"
    done = kvplan_in("what-if", "base.yaml", "more", "much-more", "--format", "json")
    cases = json.loads(done.stdout)["cases"]
    assert [(case["name"], case["diff"]["head"]["status"]) for case in cases] == [
        ("more", "optimal"),
        ("much-more", "infeasible"),
    ]
    assert cases[0]["diff"]["cost_per_month"] == one["cost_per_month"]
    assert json.loads(kvplan_in("what-if", "base.yaml", "--all", "--format", "json").stdout)["cases"] == cases


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("base.yaml",), 2, "name a what_if block"),
        (("base.yaml", "mroe"), 1, "did you mean 'more'?"),
        (("base.yaml", "--set", "traffic.d.peak=9 req/s"), 1, "matches nothing"),
        (("base.yaml", "more", "--time-limit", "nan"), 2, "not a number of seconds"),
    ],
)
def test_what_if_mistakes(arguments: tuple[str, ...], code: int, words: str, kvplan_in: Diff) -> None:
    """Unknown blocks and paths are found before anything is solved."""
    done = kvplan_in("what-if", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
