"""Plans of scenarios in which a fleet runs: moves, what stays, the judgement as it is, and what check finds of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import pytest

from planner import pipeline
from planner.candidates.fleet import Start, running_start
from planner.plan.check import check_tree
from planner.plan.diff_changes import CONFIG_FIELDS
from planner.plan.io import to_tree
from planner.plan.moves import deployed, fleet_of
from planner.plan.rollout import rollout
from planner.plan.types import Deployment, Plan
from planner.scenario.checks import Lookup
from planner.scenario.resolve import resolve_tree
from planner.scenario.source import Findings
from planner.scenario.types import Scenario
from planner.scenario.written import written

SMALL = Path(__file__).parents[1] / "data" / "scenarios" / "fleet.yaml"


@cache
def loaded(*sets: str) -> Scenario:
    return pipeline.load(SMALL, sets)


@cache
def solved(*sets: str) -> Plan:
    return pipeline.plan(loaded(*sets))


@cache
def judged(*sets: str) -> Plan:
    return pipeline.as_is(loaded(*sets))


def findings(plan: Plan) -> list[str]:
    return [finding.row for finding in check_tree(to_tree(plan), "plan.json", use_hash=False)[1]]


def running(plan: Plan) -> dict[int, int]:
    """Replicas by context limit, which tells the configurations of this scenario apart."""
    found: dict[int, int] = {}
    for deployment in plan.deployments.values():
        found[deployment.context_limit_tokens] = found.get(deployment.context_limit_tokens, 0) + deployment.replicas
    return found


def test_a_start_is_what_a_rollout_compares() -> None:
    """Moves are counted by the fields by which a rollout knows that a replica needs no restart."""
    assert [field.name for field in fields(Start)] == list(CONFIG_FIELDS)
    assert set(CONFIG_FIELDS) <= {field.name for field in fields(Deployment)}


def test_what_runs_stays_where_it_costs_nothing() -> None:
    """Both replicas that run stay, although another configuration of equal cost would be chosen from nothing."""
    plan = solved()
    assert running(plan)[6_144] == 2
    assert "does not name context_limit 6,144" in " ".join(plan.warnings)
    assert plan.objective[-1].name == "replicas_moved"
    assert plan.objective[-1].value == plan.moves[0].moved == plan.objective[-1].bound
    assert findings(plan) == []


def test_a_running_fleet_alone_changes_no_cost() -> None:
    """Offering what runs beside the choices of the model costs nothing, and moves come last."""
    without = pipeline.plan(replace(loaded(), current={}))
    assert solved().totals is not None and without.totals is not None
    assert solved().totals.cost_per_month == without.totals.cost_per_month
    assert without.moves == () and without.as_is is None
    assert len(without.objective) == 3


def test_what_the_model_does_not_name_never_grows() -> None:
    """Twice the traffic starts replicas of the model's own choices; those that run only stay."""
    plan = solved("traffic.chat.peak=12 req/s")
    assert running(plan)[6_144] <= 2
    grown = replace(plan.deployments["assistant-1"], replicas=4, gpus=4, pools={"l40s": 4})
    assert any("current.old" in row for row in findings(replace(plan, deployments={"assistant-1": grown})))


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        (("current.old.keep=[replicas]",), {6_144: 2}),  # exactly these stay, whatever else starts
        (("current.old.keep=[context_limit]", "traffic.chat.peak=2 req/s"), None),  # nothing else may run there
    ],
)
def test_what_must_stay_stays(sets: tuple[str, ...], expected: dict[int, int] | None) -> None:
    """Kept replicas stay in number; a kept value stays the only one on its nodes."""
    plan = solved(*sets)
    assert plan.status == "optimal"
    assert findings(plan) == []
    if expected is None:
        assert set(running(plan)) == {6_144}
    else:
        assert running(plan)[6_144] == expected[6_144]


def test_too_few_moves_leave_no_plan() -> None:
    """Where the fleet cannot serve as it is, a limit of no moves is the reason why there is no plan."""
    plan = solved("traffic.chat.peak=12 req/s", "change.max_replicas_moved=0")
    assert plan.status == "infeasible"
    assert [conflict.path for conflict in plan.conflicts] == ["change.max_replicas_moved"]
    assert findings(plan) == []


def test_moves_cost_money_once() -> None:
    """The cost of moves stands beside the monthly cost, and the first objective counts both over the horizon."""
    sets = ("traffic.chat.peak=12 req/s", "change.cost=$7/replica")
    plan = solved(*sets)
    assert plan.totals is not None
    (moves,) = plan.moves
    assert Fraction(moves.cost) == 7 * moves.moved > 0
    assert plan.objective[0].value == (Fraction(plan.totals.cost_over_horizon) + Fraction(moves.cost)) * 10**6
    assert plan.objective[0].unit == "micro-$"
    assert findings(plan) == []
    assert findings(replace(plan, moves=(replace(moves, started=0),))) != []


def test_moves_are_those_of_the_rollout() -> None:
    """A plan near another one moves as many replicas as the rollout between both starts and stops."""
    base = solved()
    scenario = replace(loaded("traffic.chat.peak=12 req/s"), current={}, near=fleet_of(base))
    head = pipeline.plan(scenario)
    steps, _ = rollout(base, head)
    counted = sum(step.count for step in steps if step.action in ("start", "stop"))
    assert head.moves[-1].since == "near"
    assert head.moves[-1].moved == counted == head.objective[-1].value
    assert findings(head) == []


def test_a_plan_judged_under_its_own_scenario_is_itself() -> None:
    """The fleet of a plan, fixed, keeps everything at the same cost with the same replicas."""
    plan = solved()
    again = pipeline.judge(loaded(), fleet_of(plan))
    assert again.status == "optimal" and again.as_is is not None and again.as_is.holds
    assert deployed(again.deployments) == deployed(plan.deployments)
    assert again.totals == plan.totals
    assert findings(again) == []


def test_the_fleet_as_it_is_keeps_little_traffic() -> None:
    """With less traffic the running replicas keep every promise; the judgement has the margins of the plan."""
    plan = judged("traffic.chat.peak=1 req/s")
    assert plan.status == "optimal" and plan.as_is is not None
    assert running(plan) == {6_144: 2}
    assert plan.as_is.holds and plan.as_is.broken == ()
    assert {row.path for row in plan.as_is.rows} >= {"traffic.chat.slo.tpot_p95", "deployments.assistant.load"}
    assert findings(plan) == []


def test_an_overload_is_exact() -> None:
    """At the peak divided by the load that the judgement names, the same fleet is loaded to exactly 100 %."""
    plan = judged("traffic.chat.peak=12 req/s")
    assert plan.status == "infeasible" and plan.as_is is not None
    row = next(row for row in plan.as_is.broken if row.path == "traffic.chat.peak")
    assert row.factor is not None and row.factor > 1
    assert "traffic.chat.peak" in [conflict.path for conflict in plan.conflicts]
    assert findings(plan) == []
    fits = replace(
        loaded().traffic["chat"], peak_rps=12 / row.factor * Fraction(999_999, 10**6), mean_rps=Fraction(1, 2)
    )
    assert pipeline.as_is(replace(loaded(), traffic={"chat": fits})).status == "optimal"
    over = replace(fits, peak_rps=12 / row.factor * Fraction(1_000_001, 10**6))
    assert pipeline.as_is(replace(loaded(), traffic={"chat": over})).status == "infeasible"


def test_a_promise_that_the_fleet_cannot_keep_says_which_it_could() -> None:
    """A TPOT below that of an idle replica is broken with the value that would do; the replicas still cost money."""
    plan = judged("traffic.chat.slo.tpot_p95=5ms")
    assert plan.status == "infeasible" and plan.as_is is not None
    (row,) = plan.as_is.broken
    assert row.path == "traffic.chat" and "nearest: tpot_p95" in row.text
    assert Fraction(plan.as_is.cost_per_month) > 0
    assert findings(plan) == []


def test_replicas_that_may_serve_nothing_stay_idle() -> None:
    """Replicas too slow for every promise are no reason against the fleet: others serve, and they may stay or stop."""
    sets = ("traffic.chat.slo.tpot_p95=18ms", "models.assistant.weights=[fp8, bf16]", "current.old.weights=bf16")
    slow = loaded(*sets).current["old"]
    fast = replace(slow, name="fast", weights="fp8", context_limit_tokens=8_192)
    scenario = replace(loaded(*sets), current={"old": slow, "fast": fast})
    light = replace(scenario.traffic["chat"], peak_rps=Fraction(1), mean_rps=Fraction(1, 2))
    plan = pipeline.as_is(replace(scenario, traffic={"chat": light}))
    assert plan.status == "optimal"
    idle = next(each for each in plan.deployments.values() if each.weights == "bf16")
    assert (idle.replicas, idle.routing, idle.operating_tpot_ns) == (2, (), 0)
    assert findings(plan) == []


def test_what_must_stay_does_not_bind_the_fleet_as_it_is() -> None:
    """A fleet that is at odds with its own `keep` runs all the same."""
    scenario = loaded("traffic.chat.peak=1 req/s", "current.old.keep=[max_batch]")
    other = replace(scenario.current["old"], name="other", max_batch=32, keep=())
    plan = pipeline.as_is(replace(scenario, current={**scenario.current, "other": other}))
    assert plan.status == "optimal"
    assert sorted(each.max_batch for each in plan.deployments.values()) == [16, 32]
    assert findings(plan) == []


def test_limits_on_nodes_are_held_against_the_nodes_that_it_takes() -> None:
    """A budget below what the fleet costs, and spare nodes that the stock has not, are broken by their own factors."""
    plan = judged("traffic.chat.peak=1 req/s", "budget.monthly=$1_000", "reserve.spare={nodes: 4}")
    assert plan.as_is is not None
    broken = {row.path: row for row in plan.as_is.broken}
    assert set(broken) == {"budget.monthly", "reserve.spare"}
    budget = broken["budget.monthly"]
    assert budget.used == Fraction(plan.as_is.cost_per_month)
    assert budget.factor is not None and budget.factor > 1
    assert findings(plan) == []


def test_every_plan_says_what_doing_nothing_means() -> None:
    """A plan of a scenario with a fleet carries the judgement, and a diff shows the head's."""
    plan = solved("traffic.chat.peak=12 req/s")
    assert plan.as_is is not None and not plan.as_is.holds
    assert pipeline.diff(solved(), plan).as_is == plan.as_is


def _as_is(change: Callable[[Plan], object]) -> Callable[[Plan], Plan]:
    return lambda plan: replace(plan, as_is=change(plan))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        _as_is(lambda plan: None),
        _as_is(lambda plan: replace(plan.as_is, cost_per_month="1.00")),  # type: ignore[type-var]
        _as_is(lambda plan: replace(plan.as_is, nodes={})),  # type: ignore[type-var]
        _as_is(lambda plan: replace(plan.as_is, gpus=1)),  # type: ignore[type-var]
        _as_is(lambda plan: replace(plan.as_is, holds=True)),  # type: ignore[type-var]
        _as_is(lambda plan: replace(plan.as_is, rows=tuple(replace(r, holds=True) for r in plan.as_is.rows))),  # type: ignore[type-var, union-attr]
    ],
)
def test_a_judgement_changed_by_hand_is_found(change: Callable[[Plan], Plan]) -> None:
    """Check finds a judgement that is missing, costs something else, or contradicts its own rows."""
    assert findings(change(solved("traffic.chat.peak=12 req/s"))) != []


def test_the_fleet_is_written_as_it_was_read() -> None:
    """The normal form of a scenario has the same fleet and change."""
    scenario = loaded("current.old.keep=[replicas, kv_preset]", "change={max_replicas_moved: 3, cost: $5.25/replica}")
    again = resolve_tree(written(scenario, "again.yaml"), Lookup(SMALL.parent), Findings())
    assert again is not None
    assert (again.current, again.change) == (scenario.current, scenario.change)
    assert running_start(again, again.current["old"]) == running_start(scenario, scenario.current["old"])
