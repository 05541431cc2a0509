"""`kvplan report`: which documents it takes, where it writes, and what it says without its extra."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from click.testing import CliRunner

from planner.cli.main import kvplan as kvplan_group

ROOT = Path(__file__).parents[2]
DIFF = ROOT / "tests/report/data/diff-traffic.json"

Run = Callable[..., "CompletedProcess[str]"]

needs_extra = pytest.importorskip("altair", reason="needs the report extra")


def test_a_plan_becomes_a_file(kvplan: Run, plan_file: Path, tmp_path: Path) -> None:
    """-o writes the page and nothing else is said."""
    target = tmp_path / "plan.html"
    done = kvplan("report", str(plan_file), "-o", str(target), "--as-of", "2026-12-01")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    text = target.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>") and text.endswith("</html>\n")
    assert "Ages are to 2026-12-01" in text


def test_a_diff_becomes_a_page_on_stdout() -> None:
    """Without -o the page is the one document on standard output."""
    done = CliRunner().invoke(kvplan_group, ["report", str(DIFF)])
    assert done.exit_code == 0
    assert "<h1>prod-eu" in done.output and "+$19,388.80" in done.output


def test_presets_are_solved_on_request(plan_file: Path, tmp_path: Path, kvplan: Run) -> None:
    """--solve-presets puts one row a preset on the page."""
    solved = tmp_path / "plan.json"
    assert kvplan("solve", "tests/data/scenarios/small.yaml", "-q", "-o", str(solved)).returncode == 0
    done = CliRunner().invoke(kvplan_group, ["report", str(solved), "--solve-presets"])
    assert done.exit_code == 0
    assert "Each preset alone" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((str(DIFF), "--solve-presets"), "takes a plan, not a diff"),
        ((str(DIFF), "--format", "md", "--solve-presets"), "--format html only"),
        ((str(DIFF), "--as-of", "soon"), "does not match the format"),
        ((str(DIFF), "-o", str(DIFF)), "is an input"),
    ],
)
def test_wrong_command_lines_are_refused(arguments: tuple[str, ...], message: str) -> None:
    """Flags that do not go together end with 2 and a sentence."""
    done = CliRunner().invoke(kvplan_group, ["report", *arguments])
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())


def test_a_file_that_is_no_document_is_wrong_input(kvplan: Run, tmp_path: Path) -> None:
    """Something else than a plan or diff exits with 1 and a code."""
    other = tmp_path / "other.json"
    other.write_text('{"a": 1}', encoding="utf-8")
    done = kvplan("report", str(other))
    assert done.returncode == 1 and "KV803" in done.stderr


def test_without_its_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing packages are named with the command that installs them."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "vl_convert" else object())
    done = CliRunner().invoke(kvplan_group, ["report", str(DIFF)])
    assert done.exit_code == 1
    assert "vl-convert" in done.output and "pip install 'kvplan[report]'" in done.output
