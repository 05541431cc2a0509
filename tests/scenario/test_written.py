"""Tests that a resolved scenario written back means what it meant."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner import pipeline, units
from planner.attach import attach
from planner.scenario import written
from planner.scenario.checks import Lookup
from planner.scenario.resolve import resolve_tree
from planner.scenario.source import Findings
from planner.scenario.types import Scenario

ROOT = Path(__file__).parents[2]
SCENARIOS = (
    "scenarios/prod.yaml",
    "examples/01-first-plan/scenario.yaml",
    "examples/02-mixed-gpus/scenario.yaml",
    "tests/data/scenarios/small.yaml",
    "tests/data/scenarios/page.yaml",
    "tests/data/scenarios/places.yaml",
)


def meaning(scenario: Scenario) -> Scenario:
    """What a scenario says, without where it says it and what it left out."""
    return replace(scenario, defaults=(), what_if=(), places={})


def read_back(scenario: Scenario, path: Path) -> Scenario:
    """The scenario of its own written form."""
    findings = Findings()
    found = resolve_tree(written.written(scenario, str(path)), Lookup(path.parent), findings)
    assert found is not None, findings.items
    return attach(found)


@pytest.mark.parametrize("name", SCENARIOS)
def test_written_scenarios_read_back(name: str) -> None:
    """Tests that every shipped scenario survives being written and read."""
    scenario = pipeline.load(ROOT / name)
    assert meaning(read_back(scenario, ROOT / name)) == meaning(scenario)


@pytest.mark.parametrize(
    "override",
    [
        "reserve.spare={replicas: 2}",
        "reserve.spare={nodes: 3}",
        "reserve={utilization: 87.6543%, kv_headroom: 12.5%, confidence: p50}",
        "budget={monthly: $81_234.56, power: 61.5kW, pue: 1.27}",
        "models.assistant.engine_args={gpu_memory_utilization: 0.875, max_num_batched_tokens: 4_096}",
        "models.assistant.replicas={min: 3, max: 9}",
        "models.assistant.engine_args={max_num_batched_tokens: [2_048, 8_192]}",
        "models.assistant.speculative={draft: eagle, draft_tokens: 3, accepted_tokens: 2.4, step_overhead: 12.5%,"
        " memory: 2GiB/gpu, source: a bench}",
        "models.assistant.max_batch={max: 64}",
        "compression={policy: allow_published, allow_proxy: true}",
        "objective=[gpus, cost]",
        "traffic.chat.peak=1_100 req/min",
        "traffic.nightly.requests=1_234.5/day",
        "traffic.chat.input_tokens={p50: 900, p99.95: 8_000, max: 12_000}",
        "traffic.agents.quality={max_ppl_increase: 1.5%}",
        "inventory.h100-reserved.price=$23.604/node/h",
        "inventory.h100-reserved.spot=true",
        "horizon=17d",
        "guardrails.step={cost_above: $60_000.5}",
    ],
)
def test_written_values_read_back(override: str) -> None:
    """Tests every kind of value of the language in a form that the shipped files do not use."""
    path = ROOT / "scenarios/prod.yaml"
    scenario = pipeline.load(path, [override])
    assert meaning(read_back(scenario, path)) == meaning(scenario)


@given(st.fractions(min_value=Fraction(1, 10**6), max_value=10**6, max_denominator=3_600_000))
def test_rates_are_exact_or_refused(rate: Fraction) -> None:
    """Tests that a rate is written so that it reads back exactly, or not at all."""
    try:
        text = written.rate(rate)
    except written.UnwritableError:
        return
    assert units.parse_rate(text) == rate


@given(st.integers(1, 10**14))
def test_whole_values_are_exact(value: int) -> None:
    """Tests durations, money, shares and token counts against their readers."""
    assert units.parse_duration_us(written.duration(value)) == value
    assert units.parse_money(written.money(value, "€")).micro == value
    assert units.parse_share_ppm(written.share(value % 1_000_001)) == value % 1_000_001
    count = value % units.MAX_TOKENS + 1
    assert units.parse_tokens(written.tokens(count)) == count
