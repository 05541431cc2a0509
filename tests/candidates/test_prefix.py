"""Tests of prefix hits: counted only where the pool has room, diluted by random routing, and never beyond what is
declared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner import pipeline
from planner.candidates.prefix import _supported
from planner.scenario.traffic import PrefixRouting, PrefixUse
from planner.scenario.types import Scenario

SCENARIO = """
kvplan: 1
name: prefix
models:
  assistant:
    {ref: llama-3.1-8b, engine: vllm@0.24, weights: fp8, parallel: tp1, context_limit: 32Ki, kv_presets: bf16}
traffic:
  agents:
    model: assistant
    peak: 12 req/s
    mean: 5 req/s
    input_tokens: {p50: 5_000, p95: 17_000, max: 28_000}
    output_tokens: {p50: 200, p95: 700, max: 2_048}
    prefix: {reusable: 60%, working_set: 200_000}
    slo: {ttft_p95: 3s, tpot_p95: 50ms}
inventory:
  h100:
    {gpu: h100-sxm-80gb, region: r, available: 4 nodes, gpus_per_node: 1, price: $2.95/gpu/h, source: list price}
"""


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """Agents that share most of their prompts."""
    path = tmp_path_factory.mktemp("prefix") / "prefix.yaml"
    path.write_text(SCENARIO, encoding="utf-8")
    return pipeline.load(path)


def counted(scenario: Scenario, working_set_tokens: int, routing: PrefixRouting) -> set[int]:
    """Shares that any candidate counts."""
    agents = replace(scenario.traffic["agents"], prefix=PrefixUse(working_set_tokens, routing))
    table = pipeline.table(replace(scenario, traffic={"agents": agents}))
    return {load.cached_ppm for candidate in table.candidates for _, load in candidate.loads}


def test_hits_need_room(scenario: Scenario) -> None:
    """Tests that a small working set is found whole, a larger one in part, and one beyond all pools not at all."""
    sizes = (1_000, 300_000, 600_000, 1_000_000, 2_000_000, 3_000_000, 5_000_000_000)
    shares = [max(counted(scenario, tokens, "prefix_aware")) for tokens in sizes]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == 600_000 and shares[-1] == 0
    assert any(0 < share < 600_000 for share in shares)


def test_random_routing_finds_less(scenario: Scenario) -> None:
    """Tests that with several replicas a prefix is on another one most of the time."""
    assert max(counted(scenario, 1_000, "random")) <= max(counted(scenario, 1_000, "prefix_aware")) / 2


def test_a_word_alone_is_taken(scenario: Scenario) -> None:
    """Tests that without a working set the declared share counts."""
    agents = replace(scenario.traffic["agents"], prefix=None)
    table = pipeline.table(replace(scenario, traffic={"agents": agents}))
    assert {load.cached_ppm for c in table.candidates for _, load in c.loads} == {600_000}


@given(
    st.integers(0, 1_000_000),
    st.integers(1, 10**9),
    st.floats(-1e9, 1e9),
    st.floats(0, 5),
    st.integers(1, 100),
    st.sampled_from(["random", "prefix_aware"]),
)
def test_no_more_is_counted_than_declared(
    declared: int, tokens: int, room: float, part: float, replicas: int, routing: PrefixRouting
) -> None:
    """Tests bounds: nothing without room, never above what is declared."""
    share = _supported(declared, PrefixUse(tokens, routing), room, part, replicas)
    assert 0 <= share <= declared
    if room <= 0 and part > 0:
        assert share == 0


def test_the_plan_says_what_it_is_without_hits(scenario: Scenario, tmp_path: Path) -> None:
    """Tests the second solve, the promises without hits, the notes, and that they are checked."""
    from planner.plan.io import to_json

    aware = replace(scenario.traffic["agents"], prefix=PrefixUse(100_000, "prefix_aware"))
    defaults = tuple(row for row in scenario.defaults if row[0] != "traffic.agents.prefix.routing")
    plan = pipeline.plan(replace(scenario, traffic={"agents": aware}, defaults=defaults))
    assert plan.without_hits is not None and plan.totals is not None
    assert plan.without_hits.cost_per_month is not None
    assert float(plan.without_hits.cost_per_month) >= float(plan.totals.cost_per_month)
    shares = {route.cached_ppm for d in plan.deployments.values() for route in d.routing}
    assert max(shares) > 0
    for deployment in plan.deployments.values():
        for promise in deployment.promises:
            assert promise.without_hits_us is not None
            assert promise.without_hits_us >= promise.predicted_us
    assert any("of prompt tokens are counted as cached; without hits" in note for note in plan.warnings)
    assert any(note.startswith("without prefix hits a plan costs $") for note in plan.warnings)
    path = tmp_path / "plan.json"
    path.write_text(to_json(plan), encoding="utf-8")
    assert pipeline.check(path) == []
    changed = to_json(plan).replace(f'"cached_ppm": {max(shares)}', '"cached_ppm": 0')
    path.write_text(changed, encoding="utf-8")
    assert pipeline.check(path)
