"""Regions and network times in the candidate table: nothing near is lost, nothing far is offered, reasons say why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner import pipeline
from planner.candidates import CandidateTable, build_table
from planner.candidates.regions import engine_limit_us, keeps, loads_in, local_classes
from planner.catalog.types import Bottleneck
from planner.scenario.types import Scenario

TEXT = """
kvplan: 1
name: near-and-far
models:
  m: {ref: llama-3.1-8b, engine: vllm@0.24, weights: bf16, parallel: tp1, context_limit: 16Ki, kv_presets: bf16}
traffic:
  chat:
    model: m
    peak: 3 req/s
    mean: 1 req/s
    input_tokens: {p50: 4_000, p95: 7_000, max: 9_000}
    output_tokens: {p50: 60, p95: 200, max: 400}
    slo: {ttft_p95: 900ms, tpot_p95: 80ms}
    latency: {eu-west: 0ms, us-east: 300ms, ap-south: 700ms}
  pinned:
    model: m
    peak: 1 req/s
    mean: 1 req/s
    input_tokens: {p50: 4_000, p95: 7_000, max: 9_000}
    output_tokens: {p50: 60, p95: 200, max: 400}
    slo: {ttft_p95: 900ms, tpot_p95: 80ms}
    regions: [eu-west]
inventory:
  eu: {gpu: h100-sxm-80gb, region: eu-west, available: 3 nodes, gpus_per_node: 1, price: $3/gpu/h, source: x}
  us: {gpu: h100-sxm-80gb, region: us-east, available: 3 nodes, gpus_per_node: 1, price: $2/gpu/h, source: x}
  ap: {gpu: h100-sxm-80gb, region: ap-south, available: 3 nodes, gpus_per_node: 1, price: $1/gpu/h, source: x}
"""


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """Prompts so long that TTFT binds, with regions near, far and too far."""
    path = tmp_path_factory.mktemp("regions") / "scenario.yaml"
    path.write_text(TEXT)
    return pipeline.load(path)


@pytest.fixture(scope="module")
def table(scenario: Scenario) -> CandidateTable:
    """Its candidates."""
    return build_table(scenario)


def test_limits_at_the_engine(scenario: Scenario) -> None:
    """Tests promise - network, never below 0, and what keeps it."""
    chat = scenario.traffic["chat"]
    assert [engine_limit_us(chat, region) for region in ("eu-west", "us-east", "ap-south")] == [
        900_000,
        600_000,
        200_000,
    ]
    far = replace(chat, latency_us=(("us-east", 1_000_000),))
    assert engine_limit_us(far, "us-east") == 0 and not keeps(far, "us-east", 1, factor=1)
    assert keeps(chat, "us-east", 600_000_000, factor=1) and not keeps(chat, "us-east", 600_000_001, factor=1)
    assert not keeps(chat, "us-east", 500_000_000, factor=2) and keeps(chat, "us-east", 300_000_000, factor=2)
    assert not keeps(chat, "us-east", 0, factor=1) and not keeps(scenario.traffic["pinned"], "us-east", 1, factor=1)


def test_every_region_keeps_its_own_best_configurations(scenario: Scenario, table: CandidateTable) -> None:
    """Tests that the loads on offer in a region are the least that a scenario of that region alone would have: looser
    promises elsewhere take none of them away."""
    local = local_classes(scenario)
    for region, left_us in (("eu-west", 900_000), ("us-east", 600_000)):
        chat = replace(
            scenario.traffic["chat"], latency_us=(), slo=replace(scenario.traffic["chat"].slo, ttft_p95_us=left_us)
        )
        own = {name: pool for name, pool in scenario.inventory.items() if pool.region == region}
        traffic = {"chat": chat} | (
            {"pinned": replace(scenario.traffic["pinned"], regions=())} if region == "eu-west" else {}
        )
        apart = build_table(replace(scenario, traffic=traffic, inventory=own))
        offered = {
            candidate.config: {
                table.items[k].name: load for k, load in loads_in(scenario, table.items, candidate, region, local)
            }
            for candidate in table.candidates
        }
        for candidate in apart.candidates:
            mine = {apart.items[k].name: load for k, load in candidate.loads}
            assert offered[candidate.config] == mine, (region, candidate.config.name)
    nothing = [loads_in(scenario, table.items, candidate, "ap-south", local) for candidate in table.candidates]
    assert not any(nothing)


def test_reasons_name_region_and_numbers(table: CandidateTable) -> None:
    """Tests that what the network leaves, what is needed, and where a class may run stand in the rejections."""
    slow = next(r for r in table.rejections if "ap-south" in r.subject and r.bottleneck is Bottleneck.TTFT)
    assert slow.class_name == "chat"
    assert (
        "ttft_p95 of chat in ap-south: promise 900 ms, network 700 ms, 200 ms left, an idle replica needs"
        in slow.message
    )
    assert slow.nearest is not None and slow.nearest.startswith("ttft_p95 98")
    barred = [r for r in table.rejections if r.bottleneck is Bottleneck.REGION]
    assert sorted(r.subject for r in barred) == ["m in ap-south", "m in us-east"]
    assert {(r.class_name, r.message, r.nearest) for r in barred if "us-east" in r.subject} == {
        ("pinned", "pinned may run in eu-west only", "regions [eu-west, us-east]")
    }
    assert not [r for r in table.rejections if "us-east" in r.subject and r.bottleneck is Bottleneck.TTFT]


def test_regions_that_do_not_differ_change_nothing(scenario: Scenario) -> None:
    """Tests that naming every region with no network time gives the table of a scenario without the words."""
    everywhere = tuple(sorted({pool.region for pool in scenario.inventory.values()}))
    zero = tuple((region, 0) for region in everywhere)
    named = {n: replace(t, regions=everywhere, latency_us=zero) for n, t in scenario.traffic.items()}
    plain = {n: replace(t, regions=(), latency_us=()) for n, t in scenario.traffic.items()}
    one, other = (build_table(replace(scenario, traffic=traffic)) for traffic in (named, plain))
    assert one.candidates == other.candidates
