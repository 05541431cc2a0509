"""Certificates: plans that a replay breaks are solved again with what it taught."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from planner import pipeline
from planner.plan.certificate import NOT_SIMULATED, Certificate, broken_certificate, cut_text
from planner.plan.check import check_tree
from planner.plan.io import to_json
from planner.plan.types import Plan
from planner.scenario.types import Cut, Scenario
from planner.simulate.session import Question

SCENARIO = Path(__file__).parents[2] / "examples/01-first-plan/scenario.yaml"
SHORT = Question(seconds=60, seeds=(1, 2))


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    """One class on one model; any pool may grow."""
    found = pipeline.load(SCENARIO, sets=["traffic.questions.peak=40 req/s", "traffic.questions.slo.tpot_p95=15ms"])
    pools = {name: replace(pool, available_nodes=40) for name, pool in found.inventory.items()}
    return replace(found, inventory=pools)


@pytest.fixture(scope="module")
def bursts(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Half a minute of 40 requests/s, all of them in the first fifth of every ten seconds."""
    path = tmp_path_factory.mktemp("trace") / "bursts.csv"
    rows = [f"{10 * (n // 400) + 2 * (n % 400) / 400},1500,200" for n in range(1200)]
    path.write_text("arrival_s,input_tokens,output_tokens\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def certified(scenario: Scenario, bursts: str) -> tuple[Plan, list[str]]:
    """A plan that the bursts broke at first, and the lines that said so."""
    lines: list[str] = []
    plan = pipeline.certify(scenario, replace(SHORT, traces={"questions": bursts}), report=lines.append)
    return plan, lines


def test_bursts_cost_replicas(scenario: Scenario, certified: tuple[Plan, list[str]]) -> None:
    """The plan that holds is dearer than the one that Poisson arrivals asked for, and each round is told."""
    plan, lines = certified
    certificate = plan.certificate
    assert certificate.status == "certified"
    assert len(certificate.rounds) == len(lines) >= 2
    assert certificate.rounds[0].failed and certificate.rounds[0].learned and not certificate.rounds[-1].failed
    costs = [Fraction(one.cost_per_month or 0) for one in certificate.rounds]
    assert costs[-1] > costs[0] == Fraction(pipeline.plan(scenario).totals.cost_per_month)
    assert all(margin.kept for margin in certificate.margins)
    assert len(certificate.traces["questions"]) == 64


def test_a_certified_plan_passes_the_check(certified: tuple[Plan, list[str]]) -> None:
    """Its table is derived again with the cuts that it carries."""
    plan, _ = certified
    assert plan.scenario.cuts
    assert check_tree(json.loads(to_json(plan)), "plan.json")[1] == []


def test_a_replay_of_the_plan_repeats_the_certificate(certified: tuple[Plan, list[str]], bursts: str) -> None:
    """`kvplan simulate` on the document says the same."""
    plan, _ = certified
    again = pipeline.simulate(plan, replace(SHORT, traces={"questions": bursts}))
    measured = {(one.class_name, one.metric): one.measured for one in again.simulation.verdicts}
    assert measured == {(one.class_name, one.metric): one.measured for one in plan.certificate.margins}


def test_steady_traffic_is_certified_at_once(scenario: Scenario) -> None:
    """Poisson arrivals keep what the closed forms promised of them."""
    plan = pipeline.certify(scenario, replace(SHORT, seconds=200))
    assert (plan.certificate.status, len(plan.certificate.rounds), plan.scenario.cuts) == ("certified", 1, ())


def test_what_no_plan_keeps(scenario: Scenario, bursts: str) -> None:
    """Where the inventory ends before the bursts are served, the plan is infeasible and says which promise fell."""
    small = {name: replace(pool, available_nodes=4) for name, pool in scenario.inventory.items()}
    question = replace(SHORT, traces={"questions": bursts}, scale=2.0)
    plan = pipeline.certify(replace(scenario, inventory=small), question)
    assert (plan.status, plan.certificate.status) == ("infeasible", "refuted")
    assert "of questions" in plan.certificate.reason
    assert check_tree(json.loads(to_json(plan)), "plan.json")[1] == []


def test_a_scenario_without_a_plan_is_not_simulated(scenario: Scenario) -> None:
    """What has no plan to begin with is infeasible for its own reasons."""
    none = {name: replace(pool, available_nodes=0) for name, pool in scenario.inventory.items()}
    plan = pipeline.certify(replace(scenario, inventory=none), SHORT)
    assert (plan.status, plan.certificate) == ("infeasible", NOT_SIMULATED)


@pytest.mark.parametrize(
    ("change", "row"),
    [
        (lambda c: replace(c, status="refuted"), "certificate.status"),
        (lambda c: replace(c, margins=()), "certificate.status"),
        (lambda c: replace(c, rounds=()), "certificate.rounds"),
        (lambda c: replace(c, margins=tuple(replace(m, measured=m.measured + 1) for m in c.margins)), "margin_ppm"),
        (lambda c: replace(c, margins=tuple(replace(m, kept=False) for m in c.margins)), "kept"),
        (lambda c: replace(c, margins=c.margins[1:]), "limit None"),
        (lambda c: NOT_SIMULATED, "scenario.cuts"),
    ],
)
def test_a_forged_certificate_is_found(
    certified: tuple[Plan, list[str]], change: Callable[[Certificate], Certificate], row: str
) -> None:
    """Whatever contradicts the plan or itself is a finding."""
    plan, _ = certified
    forged = replace(plan, certificate=change(plan.certificate))
    findings = check_tree(json.loads(to_json(forged)), "plan.json", use_hash=False)[1]
    assert any(row in str(finding) for finding in findings)


def test_a_cut_that_no_round_learned_is_found(certified: tuple[Plan, list[str]]) -> None:
    """Lower loads may not come from nowhere."""
    plan, _ = certified
    cut = Cut("helpdesk", "h100-sxm-80gb", "tp1", "bf16", "bf16", "questions", None)
    scenario = replace(plan.scenario, cuts=(cut,))
    broken = list(broken_certificate(plan.certificate, scenario, {}, has_plan=True))
    assert ("scenario.cuts", cut_text(cut), "learned in a round") in broken
