"""Scenarios without a plan whose causes are known: exactly those are told, and every repair, applied, solves.

The scenarios stand in tests/data/infeasible; the first line of each says what is wrong with it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from planner import pipeline
from planner.explain.session import Question, explain
from planner.explain.types import Answer

FOLDER = Path(__file__).parents[1] / "data/infeasible"

CAUSES: dict[str, list[set[str]]] = {
    "budget": [{"traffic.chat.peak", "budget.monthly"}],
    "stock": [{"traffic.chat.peak", "inventory.hourly.available"}],
    "power": [{"traffic.chat.peak", "budget.power"}],
    "contract": [{"inventory.reserved.committed", "budget.monthly"}],
    "moves": [{"traffic.chat.peak", "change.max_replicas_moved"}],
    "quota": [{"traffic.chat.peak", "limits.vcpu-quota.max"}],
    "replicas": [{"traffic.chat.peak", "models.helper.replicas.max"}],
    "spare": [{"traffic.chat.peak", "inventory.hourly.available", "reserve.spare"}],
    "survive": [{"traffic.chat.peak", "inventory.hourly.available", "reserve.survive.hourly"}],
    "two": [
        {"traffic.chat.peak", "inventory.hourly.available"},
        {"traffic.search.peak", "inventory.reserved.committed"},
    ],
    "calendar": [{"traffic.chat.rate.work.peak", "traffic.chat.growth", "inventory.hourly.available"}],
    "promise": [{"traffic.chat.slo.tpot_p95"}],
    "context": [
        {"models.helper.context_limit", "traffic.chat.rejected_at_most"},
        {"models.helper.context_limit", "traffic.chat.cut_short_at_most"},
    ],
    "quality": [{"models.helper.kv_presets", "traffic.chat.quality.max_accuracy_drop"}],
}
"""Every minimal conflict of every scenario."""

REPAIRS: dict[str, dict[str, tuple[str, ...]]] = {
    "budget": {"traffic": ("traffic.chat.peak=16 req/s",), "budget": ("budget.monthly=$8_322",)},
    "stock": {"traffic": ("traffic.chat.peak=16 req/s",), "stock": ("inventory.hourly.available=3 nodes",)},
    "power": {"traffic": ("traffic.chat.peak=16 req/s",), "budget": ("budget.power=4.2kW",)},
    "contract": {"stock": ("inventory.reserved.committed=2 nodes",), "budget": ("budget.monthly=$17_520",)},
    "moves": {"traffic": ("traffic.chat.peak=6 req/s",), "limits": ("change.max_replicas_moved=2",)},
    "quota": {"traffic": ("traffic.chat.peak=16 req/s",), "limits": ("limits.vcpu-quota.max=288",)},
    "replicas": {"traffic": ("traffic.chat.peak=16 req/s",), "models": ("models.helper.replicas.max=9",)},
    "spare": {
        "traffic": ("traffic.chat.peak=16 req/s",),
        "stock": ("inventory.hourly.available=4 nodes",),
        "reserve": ("reserve.spare.nodes=0",),
    },
    "survive": {
        "traffic": ("traffic.chat.peak=16 req/s",),
        "stock": ("inventory.hourly.available=4 nodes",),
        "reserve": ("reserve={spare: {nodes: 0}}",),
    },
    "two": {
        "traffic": ("traffic.chat.peak=16 req/s", "traffic.search.peak=12 req/s"),
        "stock": ("inventory.hourly.available=3 nodes", "inventory.reserved.committed=2 nodes"),
    },
    "calendar": {
        "traffic": ("traffic.chat.rate.work.peak=14.2 req/s",),
        "stock": ("inventory.hourly.available=4 nodes",),
    },
    "quality": {"models": ("models.helper.kv_presets=[int8-per-token-head, bf16]",)},
}
"""The repairs that reckoning on paper gives; those of promises depend on latencies and are only solved again."""


@cache
def answer(name: str) -> Answer:
    """The answer for a scenario, computed once."""
    return explain(str(FOLDER / f"{name}.yaml"), Question())


@pytest.mark.parametrize("name", CAUSES)
def test_exactly_the_causes(name: str) -> None:
    """Tests that all minimal conflicts are told, each verified, and no other."""
    found = answer(name)
    assert found.status == "infeasible"
    assert sorted(sorted(conflict.paths) for conflict in found.conflicts) == sorted(map(sorted, CAUSES[name]))
    assert all(conflict.verified for conflict in found.conflicts)
    assert not found.unfinished


@pytest.mark.parametrize("name", CAUSES)
def test_repairs_solve(name: str) -> None:
    """Tests that every repair, applied as its `--set` texts, gives a plan, and that some family has one."""
    solved = [repair for repair in answer(name).repairs if repair.status == "solved"]
    assert solved
    for repair in solved:
        scenario = pipeline.load(FOLDER / f"{name}.yaml", [change.set for change in repair.changes])
        plan = pipeline.plan(scenario)
        assert plan.status == "optimal"
        assert plan.totals is not None
        assert repair.cost_per_month is not None
        assert float(repair.cost_per_month) == pytest.approx(float(plan.totals.cost_per_month), abs=0.006)


@pytest.mark.parametrize("name", REPAIRS)
def test_repairs_are_the_least(name: str) -> None:
    """Tests that the repairs are those that reckoning gives."""
    found = {repair.family: repair for repair in answer(name).repairs if repair.status == "solved"}
    assert {family: tuple(c.set for c in repair.changes) for family, repair in found.items()} == REPAIRS[name]


def test_moves_are_no_part_of_a_plans_month() -> None:
    """Tests that the first line has the cost of the plan, and a note that steps count what moves cost: one replica more
    is $693.50 a month and one move of $100."""
    found = explain(str(FOLDER / "moves.yaml"), Question(), ("change.max_replicas_moved=9",))
    assert found.cost_per_month == "2774.00"
    assert [row.effect_per_month for row in found.worth if row.step == "10% more of all traffic"] == ["793.50"]
    assert "moves" in found.notes[0]


def test_several_families_repair_where_conflicts_are_left_out(tmp_path: Path) -> None:
    """Tests that there is a repair by several lines although only one of several conflicts was looked for."""
    (tmp_path / "l40s.csv").write_text((FOLDER / "l40s.csv").read_text())
    text = (FOLDER / "budget.yaml").read_text().replace("available: 8 nodes", "available: 2 nodes")
    limits = "limits: {q: {max: 2, per_node: {hourly: 1}, source: x}}\n"
    (tmp_path / "s.yaml").write_text(text + limits + "reserve: {spare: {nodes: 2}}\n")
    keep = ("models.helper.replicas={min: 9}",)
    found = explain(str(tmp_path / "s.yaml"), Question(conflicts=1), keep)
    repair = found.repairs[-1]
    assert found.unfinished and repair.family == "together" and repair.status == "solved"
    scenario = pipeline.load(tmp_path / "s.yaml", [*keep, *(change.set for change in repair.changes)])
    assert pipeline.plan(scenario).status == "optimal"
