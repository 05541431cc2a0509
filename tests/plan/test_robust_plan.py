"""Plans for a band: they hold anywhere in it, say what that costs, and are found out when they do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner import pipeline
from planner.candidates import CandidateTable, build_table
from planner.plan.check import check_tree
from planner.plan.io import digest, to_json, to_tree
from planner.plan.robustness import robust_notes
from planner.plan.time_view import shown_alone
from planner.plan.types import Plan
from planner.scenario.robust import worst
from planner.scenario.types import Robust, Scenario
from planner.simulate.session import Question, simulate
from planner.simulate.stream import Stream, longer
from planner.traffic.lengths import class_lengths

SCENARIO = """
kvplan: 1
name: band
models:
  m: {ref: llama-3.1-8b, engine: vllm@0.24, weights: fp8, parallel: tp1, context_limit: 16Ki, kv_presets: bf16,
      max_batch: {min: 64, max: 64}}
traffic:
  chat:
    model: m
    peak: 20 req/s
    mean: 5 req/s
    input_tokens: {p50: 900, p95: 4_000, p99: 7_000, max: 10_000}
    output_tokens: {p50: 150, p95: 400, max: 900}
    slo: {ttft_p95: 800ms, tpot_p95: 45ms}
inventory:
  h100: {gpu: h100-sxm-80gb, region: r, available: 12 nodes, gpus_per_node: 1, price: $2/gpu/h, source: x}
robust: {traffic: +60%, context_tail: +40%}
"""


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """A class in a wide band."""
    path = tmp_path_factory.mktemp("band") / "scenario.yaml"
    path.write_text(SCENARIO)
    return pipeline.load(path)


@pytest.fixture(scope="module")
def plan(scenario: Scenario) -> Plan:
    """Its plan."""
    return pipeline.plan(scenario)


def test_the_price_is_that_of_two_solves(scenario: Scenario, plan: Plan) -> None:
    """Tests cost with and without the band against plain solves of both ends."""
    ends = [pipeline.plan(each) for each in (worst(scenario), replace(scenario, robust=None))]
    assert plan.totals is not None and plan.robustness is not None
    assert [each.totals.cost_per_month for each in ends if each.totals] == [
        plan.totals.cost_per_month,
        plan.robustness.cost_per_month,
    ]
    price = Fraction(plan.totals.cost_per_month) - Fraction(plan.robustness.cost_per_month or 0)
    assert Fraction(plan.robustness.price_per_month or 0) == price > 0
    assert "up to 60% more traffic and 40% longer long prompts" in robust_notes(plan)[0]
    assert plan.models["m"].tokens_per_month == ends[1].models["m"].tokens_per_month  # tokens are priced as written
    assert sum(route.requests_per_s for d in plan.deployments.values() for route in d.routing) == 32
    assert check_tree(to_tree(plan), "plan")[1] == []


@pytest.mark.parametrize("band", [(0, 0), (600_000, 0), (0, 400_000), (310_000, 170_000), (599_999, 399_999)])
def test_the_fleet_holds_anywhere_in_the_band(scenario: Scenario, plan: Plan, band: tuple[int, int]) -> None:
    """Tests that the nodes bought for the worst serve every other point of the band."""
    bought = {
        name: replace(pool, committed_nodes=plan.pools[name].nodes, available_nodes=0)
        for name, pool in scenario.inventory.items()
    }
    assert pipeline.plan(worst(replace(scenario, inventory=bought, robust=Robust(*band)))).status == "optimal"


def loads_at(scenario: Scenario, traffic_ppm: int, tail_ppm: int) -> dict[str, tuple[int, ...]]:
    """The three loads of the whole class on every configuration."""
    table: CandidateTable = build_table(replace(scenario, robust=Robust(traffic_ppm, tail_ppm)))
    whole = {k for k, item in enumerate(table.items) if item.weight_ppm == 1_000_000}
    return {
        candidate.config.name: (load.gpu_time, load.sequences, load.kv)
        for candidate in table.candidates
        for k, load in candidate.loads
        if k in whole
    }


def test_every_row_grows_with_the_band(scenario: Scenario) -> None:
    """Tests the reason why the worst is at the end: no load shrinks with the tail, all are in proportion to traffic."""
    tails = [loads_at(scenario, 0, tail_ppm) for tail_ppm in (0, 100_000, 250_000, 400_000)]
    for less, more in pairwise(tails):
        assert less.keys() & more.keys()
        for name in less.keys() & more.keys():
            assert all(a <= b for a, b in zip(less[name], more[name], strict=True)), name
    for name, amounts in loads_at(scenario, 500_000, 0).items():
        assert amounts == pytest.approx([1.5 * amount for amount in tails[0][name]], rel=1e-9)


def altered(plan: Plan, change: Callable[[dict[str, Any]], None]) -> list[str]:
    """What the check says of a changed document with its hash made right."""
    tree = json.loads(to_json(plan))
    change(tree)
    tree["hash"] = digest(tree)
    return [str(finding) for finding in check_tree(tree, "plan")[1]]


def test_altered_prices_are_found(plan: Plan) -> None:
    """Tests that a wrong price, a missing or impossible second solve, and another band do not stand."""
    assert any("price_per_month" in row for row in altered(plan, lambda t: t["robustness"].update(price_per_month="1")))
    assert any("robustness" in row for row in altered(plan, lambda t: t.update(robustness=None)))
    assert any("robustness.cost" in row for row in altered(plan, lambda t: t["robustness"].update(status="unknown")))
    assert altered(plan, lambda t: t["scenario"]["robust"].update(traffic_ppm=700_000))
    assert any("robustness" in row for row in altered(plan, lambda t: t["scenario"].update(robust=None)))
    assert altered(plan, lambda t: t["scenario"]["traffic"]["chat"].update(prompt_tail_ppm=1))


def test_replays_are_at_the_worst_end(scenario: Scenario, plan: Plan) -> None:
    """Tests that the fleet is replayed at the highest rate with the longer prompts."""
    answer = simulate(plan, Question(seconds=40.0), "plan")
    (stream,) = answer.runs[0].streams
    lengths = class_lengths(worst(scenario).traffic["chat"])
    assert lengths is not None and "at 32 requests/s" in stream.source
    assert set(stream.prompt_tokens.tolist()) <= {tokens for tokens, _ in lengths.prompts}
    assert int(stream.prompt_tokens.max()) > 10_000


def test_traces_grow_request_by_request(scenario: Scenario) -> None:
    """Tests that a trace's requests keep their order of length, and those of one length stay of one length."""
    prompts = np.array([50, 900, 900, 20, 4_000, 100, 70, 60, 5_000, 30])
    stream = Stream("chat", np.arange(10.0), prompts, np.full(10, 20), "log.csv")
    traffic = worst(scenario).traffic["chat"]
    after = longer(stream, traffic)
    assert np.array_equal(np.argsort(after.prompt_tokens, kind="stable"), np.argsort(prompts, kind="stable"))
    assert after.prompt_tokens[1] == after.prompt_tokens[2] > 900 and after.prompt_tokens[3] == 20
    assert after.source == "log.csv, long prompts 40% longer"


def test_a_band_over_time_and_losses(tmp_path: Path) -> None:
    """Tests a calendar, growth and a lost node under a band: rates of every period and month grow, and check agrees."""
    path = tmp_path / "scenario.yaml"
    path.with_name("m.csv").write_text("gpu,class,requests_per_s\nl40s-48gb,c,1\n")
    path.write_text(
        "kvplan: 1\nname: time\nhorizon: 2mo\nmodels:\n  m: {capacity_table: m.csv}\n"
        "calendar: {timezone: UTC, periods: {day: Mon-Sun 08:00-20:00, night: rest}}\n"
        "traffic:\n  c: {model: m, rate: {day: {peak: 10 req/s}, night: {peak: 5 req/s}}, growth: 10%/mo}\n"
        "inventory:\n"
        "  p: {gpu: l40s-48gb, region: r, available: 30 nodes, gpus_per_node: 1, price: $1/gpu/h, source: x}\n"
        "reserve: {survive: {p: 1 node}}\nrobust: {traffic: +20%}\n"
    )
    plan = pipeline.plan(pipeline.load(path))
    assert plan.time is not None and plan.robustness is not None
    nodes = {name: part.pools["p"].nodes for name, part in plan.time.situations.items()}
    assert nodes == {"m01-day": 13, "m01-night": 7, "m02-day": 15, "m02-night": 8}  # ceil(1.2 x 10, 5, 11, 5.5) + 1
    assert Fraction(plan.robustness.price_per_month or 0) == Fraction(
        (2 + 1 + 3 + 1) * 365, 2
    )  # 11, 6, 12, 7 as written
    assert check_tree(to_tree(plan), "plan")[1] == []


def test_daily_batches_run_at_the_end_of_the_band(tmp_path: Path) -> None:
    """Tests that a batch has room for the most requests of the band, of which a part waits for other periods."""
    (tmp_path / "m.csv").write_text("gpu,class,requests_per_s\nl40s-48gb,chat,1\nl40s-48gb,nightly,1\n")
    path = tmp_path / "scenario.yaml"
    path.write_text(
        "kvplan: 1\nname: band\nmodels: {m: {capacity_table: m.csv}}\n"
        "calendar: {timezone: UTC, periods: {day: 'Mon-Sun 08:00-20:00', night: rest}}\n"
        "traffic:\n  chat: {model: m, rate: {day: {peak: 4 req/s}, night: {peak: 1 req/s}}}\n"
        "  nightly: {model: m, requests: 86_400/day, slo: {finish_within: 15h}}\n"
        "inventory:\n  a: {gpu: l40s-48gb, region: eu, gpus_per_node: 1, available: 20 nodes, price: $1/gpu/h, "
        "source: x}\nrobust: {traffic: +50%}\n"
    )
    plan = pipeline.plan(pipeline.load(path))
    assert plan.time is not None and any(part.waiting for part in plan.time.situations.values())
    for part in plan.time.situations.values():
        routed = [each for one in part.deployments.values() for each in one.routing if each.class_name == "nightly"]
        assert part.batches["nightly"] == sum(each.requests_per_s for each in routed)
    room = sum(part.batches["nightly"] * part.hours * 3_600 for part in plan.time.situations.values())
    assert room * 24 / 730 >= Fraction(86_400 * 3, 2)
    replayed = shown_alone(replace(plan, scenario=worst(plan.scenario))).scenario.traffic
    assert replayed["nightly"].peak_rps == plan.time.situations[plan.time.shown].batches["nightly"]
    assert not check_tree(to_tree(plan), "plan.json")[1]
