"""Why there is no plan: the reason is real, and what is offered is enough and not a cent too much."""

import re
from pathlib import Path

import pytest

from planner import pipeline
from planner.plan.types import Plan


def solve(repository: Path, *sets: str) -> Plan:
    """A plan of the first example under overrides."""
    path = repository / "examples" / "01-first-plan" / "scenario.yaml"
    return pipeline.plan(pipeline.load(path, ["traffic.questions.peak=60 req/s", *sets]))


@pytest.mark.parametrize(
    ("limit", "path", "less"),
    [
        (
            "budget.monthly=$100",
            "budget.monthly",
            lambda text: f"${float(text.strip('$').replace('_', '')) - 0.01:.2f}",
        ),
        ("budget.power=100W", "budget.power", lambda text: f"{float(text[:-2]) * 1000 - 1:.0f}W"),
    ],
)
def test_the_repair_is_enough_and_nothing_less_is(repository: Path, limit: str, path: str, less) -> None:
    """Applying the offered value gives a plan; one cent or watt less is infeasible again."""
    plan = solve(repository, limit)
    assert (plan.status, [c.path for c in plan.conflicts]) == ("infeasible", [path])
    offered = plan.conflicts[0].repair.partition(": ")[2]
    assert solve(repository, f"{path}={offered}").status == "optimal"
    assert solve(repository, f"{path}={less(offered)}").status == "infeasible"


def test_too_little_stock_names_the_pools_that_would_do(repository: Path) -> None:
    """With one node of each kind more nodes of a pool are needed, and with those there is a plan."""
    sets = ["inventory.h100.available=1 node", "inventory.l40s.available=1 node", "traffic.questions.peak=200 req/s"]
    plan = solve(repository, *sets)
    assert plan.status == "infeasible" and plan.conflicts
    for conflict in plan.conflicts:
        path, _, nodes = conflict.repair.partition(": ")
        need = int(re.match(r"\d+", nodes).group())
        assert solve(repository, *sets, f"{path}={need} nodes").status == "optimal"
        assert solve(repository, *sets, f"{path}={need - 1} nodes").status == "infeasible"


def test_an_impossible_promise_is_told_in_the_user_s_words(repository: Path) -> None:
    """No GPU decodes an 8B model in 1 ms a token: the reason has the number, the nearest value does."""
    plan = solve(repository, "traffic.questions.slo.tpot_p95=1ms")
    assert plan.status == "infeasible"
    (conflict,) = plan.conflicts
    assert conflict.path == "traffic.questions"
    assert "tpot_p95 of questions is" in conflict.message and "(limit 1 ms)" in conflict.message
    metric, value = conflict.repair.split(" ")
    assert metric == "tpot_p95"
    wide = ["inventory.h100.available=400 nodes", "inventory.l40s.available=400 nodes"]
    assert solve(repository, f"traffic.questions.slo.tpot_p95={value}", *wide).status == "optimal"


def test_limits_that_only_together_leave_no_plan_are_named_as_such(repository: Path) -> None:
    """A tiny budget and a tiny stock: dropping either alone is not enough."""
    sets = ["inventory.h100.available=1 node", "inventory.l40s.available=1 node", "traffic.questions.peak=200 req/s"]
    plan = solve(repository, *sets, "budget.monthly=$100")
    assert plan.status == "infeasible"
    assert "several do at once" in plan.conflicts[0].message
