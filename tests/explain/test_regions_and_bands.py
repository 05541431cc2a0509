"""Residency and bands as reasons: a class that may not go elsewhere, and a forecast that nobody believes."""

from __future__ import annotations

import pytest

from planner.explain.session import Question, explain
from planner.explain.types import Answer

SCENARIO = """\
kvplan: 1
name: tiny
models:
  helper: {capacity_table: capacity.csv}
traffic:
  chat: {model: helper, peak: 3 req/s, regions: west}
inventory:
  near: {gpu: l40s-48gb, region: west, available: 3 nodes, gpus_per_node: 1, price: $1/gpu/h, source: "x"}
  far: {gpu: l40s-48gb, region: east, available: 3 nodes, gpus_per_node: 1, price: $1/gpu/h, source: "x"}
robust: {traffic: +20%}
"""


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> Answer:
    """Three nodes carry 3 req/s as written; a fifth more needs a fourth, which only stands in the east."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "capacity.csv").write_text("gpu,class,requests_per_s\nl40s-48gb,chat,1\n")
    (folder / "scenario.yaml").write_text(SCENARIO)
    return explain(str(folder / "scenario.yaml"), Question())


def test_the_conflict_names_region_and_band(answer: Answer) -> None:
    """Tests that each of the four lines is needed for it, and no other."""
    (conflict,) = answer.conflicts
    assert set(conflict.paths) == {
        "traffic.chat.peak",
        "traffic.chat.regions",
        "inventory.near.available",
        "robust.traffic",
    }
    assert conflict.verified


def test_repairs_open_a_region_or_narrow_the_band(answer: Answer) -> None:
    """Tests that a further region and a band of nothing are repairs, as they are written."""
    changes = {(change.path, change.after) for repair in answer.repairs for change in repair.changes}
    assert ("traffic.chat.regions", "[west, east]") in changes
    assert ("robust.traffic", "+0%") in changes
    assert ("inventory.near.available", "4 nodes") in changes
