"""Plans over time and for losses: one situation is the plan without time, and every changed value is found."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from planner import pipeline
from planner.errors import InputError
from planner.plan.check import check_tree
from planner.plan.diff import Explained, diff_plans, side_of
from planner.plan.io import parse, to_tree
from planner.plan.rows import broken_rows
from planner.plan.time_view import shown_alone
from planner.plan.types import Plan

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/07-calendar/scenario.yaml"
MIXED = ROOT / "examples/02-mixed-gpus/scenario.yaml"


@pytest.fixture(scope="module")
def plan() -> Plan:
    """The plan of the example: six months of two periods, commitments and a loss."""
    return pipeline.plan(pipeline.load(EXAMPLE))


@pytest.mark.parametrize(
    "word",
    [
        "calendar: {timezone: UTC, periods: {always: Mon-Sun 00:00-24:00}}",
        "traffic: {short-in-short-out: {growth: [100%]}}",
        "traffic: {short-in-short-out: {growth: 5%/mo}}",
    ],
)
def test_one_situation_is_the_plan_without_time(word: str, tmp_path: Path) -> None:
    """Tests that one period, or one month with its growth, gives exactly the plan without them."""
    plain = pipeline.plan(pipeline.load(MIXED))
    path = tmp_path / "timed.yaml"
    path.write_text(f"extends: {MIXED}\n{word}\n")
    timed = pipeline.plan(pipeline.load(path))
    assert timed.time is not None
    assert timed.totals == plain.totals
    assert timed.models == plain.models
    assert timed.deployments == plain.deployments
    assert timed.pools == plain.pools
    assert timed.limits == plain.limits
    assert not check_tree(to_tree(timed), "plan.json")[1]


def test_a_plan_over_time_holds_and_reads_back(plan: Plan) -> None:
    """Tests the check of the example, and that its document reads back as the same plan."""
    tree = to_tree(plan)
    assert plan.status == "optimal" and plan.time is not None
    assert check_tree(copy.deepcopy(tree), "plan.json")[1] == []
    assert to_tree(parse(tree, "plan.json")) == tree


def test_the_situation_shown_stands_alone(plan: Plan) -> None:
    """Tests that the costliest situation is a plan of its own: the traffic, replicas and rows of that moment."""
    alone = shown_alone(plan)
    assert plan.time is not None and plan.time.shown == "m06-work" and alone.time is None
    assert alone.scenario.traffic["chat"].peak_rps == 18 * Fraction(106, 100) ** 5
    assert not broken_rows(alone)
    assert shown_alone(alone) is alone


def test_money_of_the_situations_adds_up(plan: Plan) -> None:
    """Tests that months, pools and kinds of money all give the same total."""
    time = plan.time
    assert time is not None and plan.totals is not None
    total = Fraction(plan.totals.cost_over_horizon)
    spent = time.spent
    assert Fraction(spent.total) == total
    assert sum(Fraction(part) for part in (spent.committed, spent.rented, spent.started)) == pytest.approx(total)
    assert sum(Fraction(month.total) for month in time.months.values()) == pytest.approx(float(total), abs=1e-4)
    starts = Fraction(spent.started)
    assert sum(Fraction(s.cost) for s in time.situations.values()) + starts == pytest.approx(float(total), abs=1e-4)
    assert sum(Fraction(pool.cost_per_month) for pool in plan.pools.values()) * 6 == pytest.approx(
        float(total), abs=1e-4
    )


def test_what_is_shed_follows_priority(plan: Plan) -> None:
    """Tests that nothing of the first class is shed while the second has more to give, and no class sheds too much."""
    assert plan.time is not None
    for situation in plan.time.situations.values():
        for after in situation.losses:
            shed = {name: after.shed.get(name, Fraction(0)) for name in ("chat", "search")}
            assert shed["chat"] <= Fraction(1, 10) and shed["search"] <= Fraction(1, 2)
            assert shed["search"] == Fraction(1, 2) or shed["chat"] == 0


def _set(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(tree: dict[str, Any]) -> None:
        for step in path[:-1]:
            tree = tree[step]  # type: ignore[index]
        tree[path[-1]] = value  # type: ignore[index]

    return change


NIGHT = ("time", "situations", "m01-night")
BROKEN = {
    "nodes of a period": (_set(*NIGHT, "pools", "contract", "nodes", value=2), "m01-night"),
    "rented nodes that nothing needs": (_set(*NIGHT, "pools", "by-the-hour", "nodes", value=1), "m01-night"),
    "replicas of a period": (_set(*NIGHT, "deployments", "helper", "replicas", value=8), "m01-night"),
    "a share of a period": (_set(*NIGHT, "deployments", "helper", "routing", 0, "share", value="1/2"), "demand.chat"),
    "a share after a loss": (
        _set(*NIGHT, "losses", 0, "deployments", "helper", "routing", 0, "share", value="1/2"),
        "losses.by-the-hour",
    ),
    "replicas left": (_set(*NIGHT, "losses", 0, "deployments", "helper", "replicas", value=9), "helper.replicas"),
    "what is shed": (_set(*NIGHT, "losses", 0, "shed", "search", value="3/5"), "shed.search"),
    "an item that is shed": (_set(*NIGHT, "losses", 0, "shed_items", "search", value="1/3"), "demand.search"),
    "a contract kept": (_set("time", "commitments", "contract", 1, "kept", value=3), "commitments"),
    "a purchase": (_set("time", "commitments", "quarter", 1, "bought", value=9), "commitments.quarter.m03.bought"),
    "money of a month": (_set("time", "months", "m01", "total", value="1.00"), "months.m01.total"),
    "stranded money": (_set("time", "spent", "stranded", value="0.00"), "spent.stranded"),
    "what is owed": (_set("time", "owed_later", value="0.00"), "owed_later"),
    "hours": (_set(*NIGHT, "hours", value="730"), "m01-night.hours"),
    "a situation that is gone": (lambda tree: tree["time"]["situations"].pop("m01-night"), "m01-night"),
    "no time at all": (_set("time", value=None), "m01-night"),
    "a loss that is gone": (_set(*NIGHT, "losses", value=[]), "losses.by-the-hour"),
    "another loss": (_set("scenario", "reserve", "survive", value=[["by-the-hour", 2]]), "by-the-hour"),
    "another period": (_set("scenario", "calendar", "periods", 0, 1, 0, value=[480, 1201]), "calendar"),
    "more growth": (_set("scenario", "traffic", "chat", "growth_ppm", value=70_000), "chat"),
    "another table": (_set("scenario", "traffic", "search", "growth_table_ppm", 1, value=1_100_000), "search"),
    "another term": (_set("scenario", "inventory", "quarter", "term_months", value=4), "quarter"),
    "another notice": (_set("scenario", "inventory", "contract", "notice_months", value=3), "contract"),
    "another start-up": (_set("scenario", "inventory", "by-the-hour", "start_up_us", value=60_000_000), "started"),
    "a smaller budget": (_set("scenario", "budget", "total_micro", value=40_000_000_000), "budget.total"),
    "a smaller month": (_set("scenario", "budget", "monthly_micro", value=8_000_000_000), "budget.monthly"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_changed_value_is_found(name: str, plan: Plan) -> None:
    """Tests that the check, without the hash, leads to each value over time that was changed by hand."""
    tree = to_tree(plan)
    change, word = BROKEN[name]
    change(tree)
    try:
        rows = [str(finding) for finding in check_tree(tree, "plan.json", use_hash=False)[1]]
    except InputError as error:
        rows = [diagnostic.message for diagnostic in error.diagnostics]
    assert any(word in row for row in rows), rows[:5]


def test_a_plan_for_losses_alone_holds() -> None:
    """Tests a loss without time: a region of two may go, and the other one serves all."""
    scenario = pipeline.load(MIXED, sets=["inventory.a100.region=eu-north", "reserve={survive: {eu-north: all}}"])
    plan = pipeline.plan(scenario)
    assert plan.status == "optimal" and plan.time is None and len(plan.losses) == 1
    left = plan.losses[0].deployments
    gone = [name for name, d in plan.deployments.items() if d.region == "eu-north"]
    assert all(not left[name].replicas and not left[name].routing for name in gone)
    assert not check_tree(to_tree(plan), "plan.json")[1]
    tree = to_tree(plan)
    tree["losses"] = []
    assert check_tree(tree, "plan.json", use_hash=False)[1]


def test_the_diff_names_situations_and_purchases(plan: Plan) -> None:
    """Tests the sentences of a diff over time, and that a plan equals itself."""
    assert plan.time is not None
    night = plan.time.situations["m01-night"]
    pools = {**night.pools, "by-the-hour": replace(night.pools["by-the-hour"], nodes=2)}
    rows = plan.time.commitments["quarter"]
    changed = replace(
        plan,
        hash="",
        time=replace(
            plan.time,
            situations={**plan.time.situations, "m01-night": replace(night, pools=pools)},
            commitments={**plan.time.commitments, "quarter": (rows[0], replace(rows[1], bought=1), *rows[2:])},
        ),
        losses=(replace(plan.losses[0], shed={}),),
    )
    sides = side_of(plan, "base", "plan"), side_of(changed, "head", "plan")
    notes = diff_plans(plan, changed, sides, Explained(), "").notes
    assert "m01-night: nodes by-the-hour 0 -> 2" in notes
    assert "m03: 3 -> 1 nodes of quarter bought" in notes
    assert any(note.startswith("after the loss of 1 node of by-the-hour search sheds") for note in notes)
    assert diff_plans(plan, plan, sides, Explained(), "").equal
