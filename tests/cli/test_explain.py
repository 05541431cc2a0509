"""Tests of `kvplan explain` for scenarios without a plan: one document on stdout, whole files, mistakes with codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from planner.cli.main import kvplan
from planner.errors import InputError

FOLDER = Path(__file__).parents[1] / "data/infeasible"
STOCK = str(FOLDER / "stock.yaml")


def run(*arguments: str) -> tuple[int, str]:
    """Exit code and standard output."""
    result = CliRunner().invoke(kvplan, ["explain", *arguments], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return int(result.return_value or 0), result.stdout


def test_json_has_the_paths_of_conflicts() -> None:
    """Tests the keys that programs read."""
    code, text = run(STOCK, "--format", "json")
    answer = json.loads(text)
    assert code == 0
    assert answer["status"] == "infeasible"
    assert answer["conflicts"] == [["traffic.chat.peak", "inventory.hourly.available"]]
    (details,) = answer["conflict_details"]
    assert details["verified"] is True
    assert details["lines"][1] == {
        "path": "inventory.hourly.available",
        "place": f"{STOCK}:9",
        "value": "2 nodes",
    }
    assert [repair["family"] for repair in answer["repairs"]] == ["traffic", "stock"]
    assert answer["repairs"][1]["changes"][0]["set"] == "inventory.hourly.available=3 nodes"
    assert {"binding", "worth", "unfinished"} <= set(answer)


def test_table_shows_what_to_write() -> None:
    """Tests that the page has conflicts with places and repairs as `--set` texts."""
    code, text = run(STOCK)
    assert code == 0
    assert "conflict 1" in text
    assert '--set "inventory.hourly.available=3 nodes"   (was 2 nodes)' in text


def test_markdown(tmp_path: Path) -> None:
    """Tests Markdown in a file."""
    target = tmp_path / "reasons.md"
    assert run(STOCK, "--format", "md", "-o", str(target)) == (0, "")
    text = target.read_text()
    assert text.startswith("### kvplan explain: stock is **infeasible** 1 conflict")
    assert "| `inventory.hourly.available` | 2 nodes |" in text


def test_a_plan_carries_its_scenario(tmp_path: Path) -> None:
    """Tests that the plan document of an infeasible scenario is explained like the scenario itself."""
    target = tmp_path / "plan.json"
    solved = CliRunner().invoke(kvplan, ["solve", STOCK, "-o", str(target)], standalone_mode=False)
    assert solved.return_value == 3
    assert "kvplan explain names every conflict" in solved.stdout
    of_file, of_plan = (json.loads(run(each, "--format", "json")[1]) for each in (STOCK, str(target)))
    assert of_plan["conflicts"] == of_file["conflicts"]
    assert of_plan["repairs"] == of_file["repairs"]


def test_a_plan_has_no_blocks(tmp_path: Path) -> None:
    """Tests that a what_if block of a plan document is refused with what to do instead."""
    target = tmp_path / "plan.json"
    CliRunner().invoke(kvplan, ["solve", STOCK, "-o", str(target)], standalone_mode=False)
    with pytest.raises(InputError, match=r"a plan has no what_if block 'more'.*KV416"):
        run(str(target), "--what-if", "more")


def test_a_wrong_override_is_told() -> None:
    """Tests that mistakes in `--set` are those of every command."""
    with pytest.raises(InputError, match="KV302"):
        run(STOCK, "--set", "traffic.chat.foo=1")
