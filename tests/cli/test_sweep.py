"""`kvplan sweep` from outside."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIRST = "examples/01-first-plan/scenario.yaml"
GRID = ("--vary", "traffic.questions.slo.tpot_p95=6ms,12ms,40ms", "--jobs", "1")


def test_the_three_formats_say_the_same(kvplan) -> None:
    """Table, CSV and JSON have one row a plan, in the order of the grid, with the same costs; exit 0."""
    table, rows, tree = (kvplan("sweep", FIRST, *GRID, "--format", form) for form in ("table", "csv", "json"))
    assert [done.returncode for done in (table, rows, tree)] == [0, 0, 0]
    assert [done.stderr for done in (table, rows, tree)] == ["", "", ""]
    parsed = list(csv.DictReader(io.StringIO(rows.stdout)))
    document = json.loads(tree.stdout)
    assert [row["status"] for row in parsed] == ["infeasible", "optimal", "optimal"]
    assert [row["status"] for row in document["rows"]] == [row["status"] for row in parsed]
    assert [row["traffic.questions.slo.tpot_p95"] for row in parsed] == ["6ms", "12ms", "40ms"]
    for row, stored in zip(parsed, document["rows"], strict=True):
        assert row["cost_per_month"] == (stored["cost_per_month"] or "")
        assert row["plan_hash"] == stored["hash"]
    shown = re.findall(r"OPTIMAL +\$([\d,.]+)", table.stdout)
    assert [text.replace(",", "") for text in shown] == [row["cost_per_month"] for row in parsed[1:]]
    assert "\n1 6ms      INFEASIBLE " in table.stdout
    assert "no plan      1: traffic.questions: no configuration" in table.stdout


def test_a_row_is_the_plan_of_solve(kvplan) -> None:
    """The hash of a row is that of `solve` with the same override."""
    value = "traffic.questions.peak=30 req/s"
    swept = json.loads(kvplan("sweep", FIRST, "--vary", value, "--jobs", "1", "--format", "json").stdout)
    solved = json.loads(kvplan("solve", FIRST, "--set", value, "--format", "json").stdout)
    assert swept["rows"][0]["hash"] == solved["hash"]


def test_too_many_plans_are_refused_before_any(kvplan) -> None:
    """A grid above --max-plans exits 2 and names its size."""
    args = ("--vary", "a=1,2,3", "--vary", "b=1,2", "--max-plans", "5")
    done = kvplan("sweep", FIRST, *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert "3 x 2 is 6 plans" in done.stderr


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ((), 2),
        (("--vary", "traffic.questions.peak=6"), 1),
        (("--vary", "no.such.path=6"), 1),
        (("--vary", "traffic.questions.peak"), 1),
        (("--vary", "traffic.questions.peak=6 req/s", "--jobs", "0"), 2),
        (("--vary", "traffic.questions.peak=6 req/s", "--time-limit", "nan"), 2),
        (("--vary", "traffic.questions.peak=6 req/s", "-o", FIRST), 2),
    ],
)
def test_mistakes_leave_stdout_empty(kvplan, args: tuple[str, ...], code: int) -> None:
    """Wrong values exit 1, wrong options 2; nothing is printed or overwritten."""
    before = (ROOT / FIRST).read_bytes()
    done = kvplan("sweep", FIRST, *args)
    assert (done.returncode, done.stdout) == (code, "")
    assert (ROOT / FIRST).read_bytes() == before


def test_output_goes_to_a_file(kvplan, tmp_path: Path) -> None:
    """-o writes the document that stdout would have had."""
    path = tmp_path / "grid.csv"
    done = kvplan("sweep", FIRST, *GRID, "--format", "csv", "-o", str(path))
    assert (done.returncode, done.stdout) == (0, "")
    assert path.read_text() == kvplan("sweep", FIRST, *GRID, "--format", "csv").stdout


def test_cells_are_no_formulas() -> None:
    """A cell that a spreadsheet would run begins with an apostrophe."""
    from planner.report.sweep import sweep_csv
    from planner.sweep.grid import invalid_row
    from planner.sweep.types import Axis, Sweep

    rows = (invalid_row(("=1+1",), "@SUM(A1)"),)
    text = sweep_csv(Sweep("1.0", "f", "n", "$", (), (), (Axis("-a", ("=1+1",)),), rows))
    header, row = csv.reader(io.StringIO(text))
    assert header[0] == "'-a" and row[0] == "'=1+1" and "'@SUM(A1)" in row
