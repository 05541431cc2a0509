"""Tests of explanations of scenarios without a plan: conflicts and repairs of a fleet that reckoning on paper knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner import pipeline
from planner.explain.session import Question, explain
from planner.explain.types import Answer

SCENARIO = """\
kvplan: 1
name: tiny
models:
  helper: {capacity_table: capacity.csv}
traffic:
  chat: {model: helper, peak: 18 req/s, mean: 9 req/s}
inventory:
  contract: {gpu: l40s-48gb, region: eu, committed: 1 node, gpus_per_node: 4, price: $0.75/gpu/h, source: "x"}
  hourly: {gpu: l40s-48gb, region: eu, available: 2 nodes, gpus_per_node: 4, price: $0.95/gpu/h, source: "x"}
reserve: {spare: {nodes: 1}}
budget: {monthly: $4_000}
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine GPUs of 2 req/s each are needed: three nodes, and one to spare; two cost $4,964 a month, and so on."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "capacity.csv").write_text("gpu,class,requests_per_s\nl40s-48gb,chat,2\n")
    (folder / "scenario.yaml").write_text(SCENARIO)
    return folder / "scenario.yaml"


@pytest.fixture(scope="module")
def answer(file: Path) -> Answer:
    """The answer for the scenario as it stands."""
    return explain(str(file), Question())


def test_all_minimal_conflicts(answer: Answer) -> None:
    """Tests that spare against budget, demand against stock, and demand against budget are told, and nothing else."""
    assert {frozenset(conflict.paths) for conflict in answer.conflicts} == {
        frozenset({"budget.monthly", "reserve.spare"}),
        frozenset({"budget.monthly", "traffic.chat.peak"}),
        frozenset(
            {
                "traffic.chat.peak",
                "inventory.contract.committed",
                "inventory.hourly.available",
                "reserve.spare",
            }
        ),
    }
    assert all(conflict.verified for conflict in answer.conflicts)
    assert not answer.unfinished


def test_lines_say_where_they_stand(file: Path, answer: Answer) -> None:
    """Tests that every line has its value as written and its place."""
    lines = {line.path: line for conflict in answer.conflicts for line in conflict.lines}
    assert lines["budget.monthly"].value == "$4_000"
    assert lines["budget.monthly"].place == f"{file}:11"


def test_combination_solves(file: Path, answer: Answer) -> None:
    """Tests that no family is enough here, and that the combination, applied, has a plan."""
    *families, together = answer.repairs
    assert {repair.status for repair in families} == {"none"}
    assert together.family == "together"
    scenario = pipeline.load(file, [change.set for change in together.changes])
    assert pipeline.plan(scenario).status == "optimal"


def test_repairs_are_the_least(file: Path) -> None:
    """Tests that with no budget each family's repair solves, and that one step less does not."""
    answer = explain(str(file), Question(), ("budget.monthly=$100_000",))
    repairs = {repair.family: repair for repair in answer.repairs}
    assert {family: repair.changes[0].set for family, repair in repairs.items()} == {
        "traffic": "traffic.chat.peak=16 req/s",
        "stock": "inventory.contract.committed=2 nodes",
        "reserve": "reserve.spare.nodes=0",
    }
    for repair in repairs.values():
        sets = ["budget.monthly=$100_000", *(change.set for change in repair.changes)]
        assert pipeline.plan(pipeline.load(file, sets)).status == "optimal"
    close = pipeline.load(file, ["budget.monthly=$100_000", "traffic.chat.peak=16.1 req/s"])
    assert pipeline.plan(close).status == "infeasible"


def test_names_with_dots(file: Path, tmp_path: Path) -> None:
    """Tests that lines of names with dots are found where they were written."""
    text = SCENARIO.replace("chat:", '"a.chat":').replace("hourly:", '"by.the.hour":')
    (tmp_path / "capacity.csv").write_text((file.parent / "capacity.csv").read_text().replace(",chat,", ",a.chat,"))
    (tmp_path / "scenario.yaml").write_text(text)
    answer = explain(str(tmp_path / "scenario.yaml"), Question(), ("budget.monthly=$100_000",))
    lines = {line.path: line.value for line in answer.conflicts[0].lines}
    assert lines["traffic.a.chat.peak"] == "18 req/s"
    assert lines["inventory.by.the.hour.available"] == "2 nodes"
    assert {repair.status for repair in answer.repairs} == {"solved"}


def test_unfinished_is_said(file: Path) -> None:
    """Tests that conflicts beyond those asked for, and repairs that need all of them, are said to be missing."""
    answer = explain(str(file), Question(conflicts=1))
    assert len(answer.conflicts) == 1
    assert answer.unfinished == ("there are more conflicts than 1: --conflicts shows more",)


def test_nothing_helps(file: Path) -> None:
    """Tests that a class that no GPU can serve blames the model and the GPUs."""
    (file.parent / "none.csv").write_text("gpu,class,requests_per_s\nl40s-48gb,chat,0\n")
    (file.parent / "none.yaml").write_text(SCENARIO.replace("capacity.csv", "none.csv"))
    (conflict,) = explain(str(file.parent / "none.yaml"), Question()).conflicts
    assert conflict.paths == ("models.helper.capacity_table", "inventory.contract.gpu", "inventory.hourly.gpu")
    assert conflict.verified
    assert "0 requests/s" in conflict.text
