"""`kvplan validate --format github`: each mistake as an annotation at its line."""

from __future__ import annotations

import re
from pathlib import Path

from click.testing import CliRunner

from planner.cli.main import kvplan as kvplan_group

PAGE = Path(__file__).parents[1] / "data/scenarios/page.yaml"


def _run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(kvplan_group, ["validate", *words], standalone_mode=False)
    assert result.exception is None
    return result.return_value, result.output


def test_mistakes_are_commands_on_stdout(tmp_path: Path) -> None:
    """Every mistake is one `::error` line with file, line, column and code; the exit code is that of wrong input."""
    broken = tmp_path / "a,b.yaml"
    text = PAGE.read_text(encoding="utf-8")
    broken.write_text(text.replace("budget:", "budget: {}\nbugdet: 5%\nbudgets:", 1), encoding="utf-8")
    code, output = _run("--format", "github", str(broken))
    lines = output.splitlines()
    assert code == 1 and lines
    shown = re.escape(str(broken).replace(",", "%2C"))
    for line in lines:
        assert re.match(rf"::error file={shown},line=\d+(,col=\d+)?,title=KV\d+::.", line)


def test_good_files_say_so() -> None:
    """A file without mistakes has no annotation, and the command ends well."""
    code, output = _run("--format", "github", str(PAGE))
    assert code == 0 and "ok (" in output and "::" not in output
