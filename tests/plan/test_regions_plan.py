"""Plans of several regions: promises with the network, who is served where, and what is done with both downstream."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from fractions import Fraction
from typing import Any

import pytest

from planner import pipeline
from planner.export.alerts import rule_group
from planner.export.serving import Options, servings
from planner.plan.check import check_tree
from planner.plan.diff import Explained, diff_plans, side_of
from planner.plan.io import digest, to_json, to_tree
from planner.plan.moves import fleet_of
from planner.plan.regions import served_in
from planner.plan.types import Plan
from planner.report.html.plan_page import View, plan_page
from planner.report.plan_csv import plan_csv
from planner.report.plan_markdown import plan_markdown
from planner.report.text import plan_text
from planner.scenario.traffic import PeriodRate
from planner.scenario.types import Calendar, Robust, Scenario
from planner.simulate.session import Question, simulate
from planner.verify.compare import _limit_s, _predicted

SCENARIO = """
kvplan: 1
name: regions
models:
  m: {ref: llama-3.1-8b, engine: vllm@0.24, weights: fp8, parallel: tp1, context_limit: 8Ki, kv_presets: fp8,
      max_batch: {min: 128, max: 128}}
traffic:
  pinned:
    model: m
    peak: 20 req/s
    mean: 3 req/s
    input_tokens: {p50: 900, p95: 3_000, max: 6_000}
    output_tokens: {p50: 150, p95: 400, max: 900}
    slo: {ttft_p95: 500ms, tpot_p95: 40ms}
    regions: eu-west
  roaming:
    model: m
    peak: 50 req/s
    mean: 5 req/s
    input_tokens: {p50: 900, p95: 3_000, max: 6_000}
    output_tokens: {p50: 150, p95: 400, max: 900}
    slo: {ttft_p95: 500ms, tpot_p95: 40ms}
    latency: {eu-west: 10ms, us-east: 120ms}
inventory:
  eu: {gpu: h100-sxm-80gb, region: eu-west, available: 4 nodes, gpus_per_node: 1, price: $3/gpu/h, source: x}
  us: {gpu: h100-sxm-80gb, region: us-east, available: 4 nodes, gpus_per_node: 1, price: $2/gpu/h, source: x}
"""


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """One class that stays, one that may travel."""
    path = tmp_path_factory.mktemp("regions") / "scenario.yaml"
    path.write_text(SCENARIO)
    return pipeline.load(path)


@pytest.fixture(scope="module")
def plan(scenario: Scenario) -> Plan:
    """Its plan: dear nodes for those who stay, cheap ones far away for some of the others."""
    return pipeline.plan(scenario)


def test_promises_count_the_network(plan: Plan) -> None:
    """Tests that a predicted TTFT is that of the engine and the way there, and that the rest is what engines keep."""
    assert plan.status == "optimal" and check_tree(to_tree(plan), "plan")[1] == []
    networks = {"eu-west": 10_000, "us-east": 120_000}
    seen = set()
    for deployment in plan.deployments.values():
        for promise in deployment.promises:
            roams = promise.class_name == "roaming" and promise.metric == "ttft_p95"
            assert promise.network_us == (networks[deployment.region] if roams else 0)
            assert promise.network_us < promise.predicted_us <= promise.limit_us
            seen.add((promise.class_name, deployment.region))
            if promise.metric == "ttft_p95":
                assert deployment.operating_ttft_ns <= (promise.limit_us - promise.network_us) * 1_000
    assert seen == {("pinned", "eu-west"), ("roaming", "eu-west"), ("roaming", "us-east")}


def test_who_is_served_where(plan: Plan) -> None:
    """Tests the parts of each class by region: they add up, and residency holds."""
    rows = {(row.class_name, row.region): row for row in served_in(plan)}
    assert rows["pinned", "eu-west"].share == 1
    assert sum(row.share for (name, _), row in rows.items() if name == "roaming") == Fraction(1)
    far = rows["roaming", "us-east"]
    assert far.network_us == 120_000 and far.engine_us is not None and far.limit_us == 500_000


def test_every_page_shows_it(plan: Plan) -> None:
    """Tests the table of regions on the terminal, in Markdown, CSV and HTML."""
    share = served_in(plan)[-1].share
    text, markdown = plan_text(plan), plan_markdown(plan)
    assert "TTFT p95 at the engine" in text and "120 ms" in text
    assert "## Regions" in markdown and "| `roaming` | us-east |" in markdown
    rows = [row for row in csv.DictReader(io.StringIO(plan_csv(plan))) if row["section"] == "region"]
    assert [row["name"] for row in rows] == ["pinned eu-west", "roaming eu-west", "roaming us-east"]
    assert rows[2]["note"] == "network 120 ms" and Fraction(rows[2]["used"]) == pytest.approx(float(share) * 100)
    page = plan_page(plan, View(date(2026, 11, 22), 50))
    assert "Regions" in [table.caption for section in page.sections for table in section.tables]


def altered(plan: Plan, change: Callable[[dict[str, Any]], None]) -> list[str]:
    """What the check says of a changed document with its hash made right."""
    tree = json.loads(to_json(plan))
    change(tree)
    tree["hash"] = digest(tree)
    return [str(finding) for finding in check_tree(tree, "plan")[1]]


def test_altered_regions_are_found(plan: Plan) -> None:
    """Tests that a class outside of its regions, a network left out, and a nearer region do not stand."""
    far = next(name for name, each in plan.deployments.items() if each.region == "us-east")

    def near(tree: dict[str, Any]) -> None:
        for promise in tree["deployments"][far]["promises"]:
            promise["predicted_us"] -= promise["network_us"]
            promise["network_us"] = 0

    assert any("network" in row for row in altered(plan, near))
    moved = altered(plan, lambda t: t["scenario"]["traffic"]["roaming"].update(regions=["eu-west"]))
    assert any("traffic.roaming.regions" in row and "us-east" in row for row in moved)
    assert altered(plan, lambda t: t["scenario"]["traffic"]["roaming"].update(latency_us=[["us-east", 400_000]]))
    assert altered(plan, lambda t: t["scenario"]["traffic"]["roaming"].update(latency_us=[["us-east", -1]]))


def test_engines_are_watched_without_the_network(plan: Plan) -> None:
    """Tests that alerts and looks back hold engines to what the network leaves: 380 ms of 500 ms."""
    found = servings(plan, Options(model_paths={"m": "/models/m"}), engine="vllm", source="plan.json")
    far = next(each for each in found if each.deployment.region == "us-east")
    rules: Any = rule_group(plan, far, "far")["rules"]
    (rule,) = [rule for rule in rules if rule["alert"].startswith("KvplanP95TTFT")]
    assert "> 0.38 and" in rule["expr"]
    promised = max(p.predicted_us - p.network_us for d in plan.deployments.values() for p in d.promises
                   if p.class_name == "roaming" and p.metric == "ttft_p95")  # fmt: skip
    assert _predicted(plan, "roaming", "ttft_p95") == promised / 1e6
    assert _limit_s(plan, "roaming", "ttft_p95") == 0.49


def test_replays_are_judged_with_the_network(plan: Plan) -> None:
    """Tests that what is held against the promise is the replay's TTFT and the network on top."""
    answer = simulate(plan, Question(seconds=60.0), "plan")
    far = {name: replace(d, region="nowhere") for name, d in plan.deployments.items()}
    nearby = simulate(replace(plan, deployments=far), Question(seconds=60.0), "plan")
    with_network, without = (
        next(v.measured for v in each.simulation.verdicts if (v.class_name, v.metric) == ("roaming", "ttft_p95"))
        for each in (answer, nearby)
    )
    assert 10_000 <= with_network - without <= 120_000
    assert all(verdict.kept for verdict in answer.simulation.verdicts)


def test_a_diff_says_what_a_band_costs(scenario: Scenario, plan: Plan) -> None:
    """Tests that a band on one side only is told with its price."""
    banded = pipeline.plan(replace(scenario, robust=Robust(traffic_ppm=300_000)))
    sides = side_of(plan, "base", "plan"), side_of(banded, "head", "plan")
    notes = diff_plans(plan, banded, sides, Explained(), "").notes
    assert any(note.startswith("head: every promise holds for up to 30% more traffic") for note in notes)
    assert "base: no band, the plan holds for the traffic as written" in notes


def test_a_lost_region_and_periods(scenario: Scenario) -> None:
    """Tests that what may travel is served elsewhere after a loss, period by period, and check agrees."""
    week = Calendar("UTC", (("day", ((0, 7 * 12 * 60),)), ("night", ((7 * 12 * 60, 7 * 24 * 60),))))
    roaming = scenario.traffic["roaming"]
    rates = (PeriodRate("day", Fraction(50), Fraction(5)), PeriodRate("night", Fraction(4), Fraction(2)))
    traffic = {**scenario.traffic, "roaming": replace(roaming, rates=rates, mean_rps=Fraction(7, 2))}
    both = replace(
        scenario, traffic=traffic, calendar=week, reserve=replace(scenario.reserve, survive=(("us-east", None),))
    )
    plan = pipeline.plan(both)
    assert plan.status == "optimal" and plan.time is not None
    for part in plan.time.situations.values():
        left = part.losses[0].deployments
        assert sum(each.replicas for name, each in left.items() if part.deployments[name].region == "eu-west") >= 1
        assert all(not each.routing for name, each in left.items() if part.deployments[name].region == "us-east")
    assert check_tree(to_tree(plan), "plan")[1] == []


def test_a_fleet_that_stands_too_far_away(plan: Plan, scenario: Scenario) -> None:
    """Tests that a fleet judged where a class may not go, or is too far to be served, names just that line."""
    fleet = {name: each for name, each in fleet_of(plan).items() if each.pool == "us"}
    judged = pipeline.judge(scenario, fleet)
    assert judged.as_is is not None
    assert "may run in eu-west only" in next(r.text for r in judged.as_is.broken if r.path == "traffic.pinned.regions")
    far = replace(scenario.traffic["roaming"], latency_us=(("eu-west", 0), ("us-east", 499_000)))
    judged = pipeline.judge(replace(scenario, traffic={"roaming": far}), fleet)
    assert judged.as_is is not None
    assert [row.path for row in judged.as_is.broken] == ["traffic.roaming.slo.ttft_p95"]
