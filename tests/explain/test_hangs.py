"""What binds and what a step is worth, against fleets that can be counted by hand and against solving again."""

from __future__ import annotations

from itertools import product
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
  chat: {model: helper, peak: 18 req/s, mean: 1 req/s}
inventory:
  contract: {gpu: l40s-48gb, region: eu, committed: 1 node, gpus_per_node: 4, price: $0.75/gpu/h, source: "x"}
  hourly: {gpu: l40s-48gb, region: eu, available: 4 nodes, gpus_per_node: 4, price: $0.95/gpu/h, source: "x"}
  other: {gpu: a100-sxm-80gb, region: eu, available: 2 nodes, gpus_per_node: 2, price: $1.50/gpu/h, source: "x"}
reserve: {spare: {nodes: 1}}
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class on two kinds of GPUs: 2 req/s on one, 5 on the other."""
    folder = tmp_path_factory.mktemp("hangs")
    (folder / "capacity.csv").write_text("gpu,class,requests_per_s\nl40s-48gb,chat,2\na100-sxm-80gb,chat,5\n")
    (folder / "scenario.yaml").write_text(SCENARIO)
    return folder / "scenario.yaml"


@pytest.fixture(scope="module")
def answer(file: Path) -> Answer:
    """The answer for the scenario as it stands."""
    return explain(str(file), Question())


def cheapest(peak: float = 18, contract: int = 1, hourly: int = 4, other: int = 2, spare: int = 1) -> float | None:
    """The least cost a month by trying every number of nodes; replicas are GPUs."""
    found = []
    for h, o in product(range(hourly + 1), range(other + 1)):
        for used in (0, 1):
            left = (contract + h - (spare if used else 0)) * 4 if used else 0
            others = max(0, o - spare) * 2
            if left >= 0 and any(2 * a + 5 * b >= peak for a in range(left + 1) for b in range(others + 1)):
                found.append(730 * (contract * 3.0 + h * 3.8 + o * 3.0))
    return min(found, default=None)


WAYS = {
    ("inventory.contract.available", "one more node (4 GPUs)"): None,
    ("inventory.hourly.available", "one more node (4 GPUs)"): {"hourly": 5},
    ("inventory.hourly.available", "one node fewer (4 GPUs)"): {"hourly": 3},
    ("inventory.other.available", "one more node (2 GPUs)"): {"other": 3},
    ("inventory.other.available", "one node fewer (2 GPUs)"): {"other": 1},
    ("inventory.contract.committed", "one node fewer (4 GPUs)"): {"contract": 0},
    ("traffic.chat.peak", "1 req/s more"): {"peak": 19},
    ("traffic.chat.peak", "1 req/s less"): {"peak": 17},
    ("traffic.*.peak", "10% more of all traffic"): {"peak": 19.8},
    ("traffic.*.peak", "10% less of all traffic"): {"peak": 16.2},
    ("reserve.spare", "one more of the nodes"): {"spare": 2},
    ("reserve.spare", "one fewer of the nodes"): {"spare": 0},
}


def test_worth_is_the_difference_of_two_fleets_by_hand(answer: Answer) -> None:
    """Tests every step against the cheapest of all fleets."""
    base = cheapest()
    assert base is not None and float(answer.cost_per_month) == pytest.approx(base)
    seen = 0
    for row in answer.worth:
        ways = WAYS[row.path, row.step]
        if ways is None:
            continue
        expected = cheapest(**ways)
        assert (row.status == "infeasible") == (expected is None), row
        if expected is not None:
            assert float(row.effect_per_month) == pytest.approx(expected - base), row
        seen += 1
    assert seen >= 6
    assert any(float(row.effect_per_month or 0) for row in answer.worth)


def test_what_binds_is_cheaper_without(answer: Answer, file: Path) -> None:
    """Tests each line that binds: the plan of the scenario without it costs so much less."""
    kinds = {row.path: row for row in answer.binding}
    spare = kinds["reserve.spare"]
    assert spare.kind == "binds"
    less = pipeline.plan(pipeline.load(file, ["reserve.spare={nodes: 0}"]))
    assert float(less.totals.cost_per_month) == pytest.approx(
        float(answer.cost_per_month) - float(spare.saving_per_month)
    )
    for row in answer.binding:
        assert (row.kind == "binds") == (float(row.saving_per_month) > 0), row


def test_all_lines_bind_no_more_than_the_likely_ones(file: Path, answer: Answer) -> None:
    """Tests that `--all` finds what the default finds, and nothing at less than it was."""
    from planner.explain.hangs import About

    every = explain(str(file), Question(about=About(every=True)))
    rows = {row.path: row for row in every.binding}
    assert all(rows[row.path] == row for row in answer.binding)
    steps = {(row.path, row.step): row for row in every.worth}
    assert all(steps[row.path, row.step] == row for row in answer.worth)


def test_nothing_is_worth_anything_where_a_contract_is_enough(file: Path) -> None:
    """Tests that with one request a second the contract serves all: nothing that is bought by the hour matters."""
    answer = explain(str(file), Question(), sets=("traffic.chat.peak=1 req/s", "reserve.spare={nodes: 0}"))
    assert {row.effect_per_month for row in answer.worth if ".committed" not in row.path} == {"0.00"}
    assert {row.kind for row in answer.binding} == {"at_limit"}
