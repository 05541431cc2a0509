"""A small scenario with room for every property: two classes, three kinds of nodes, all physics."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from planner import pipeline
from planner.plan.types import Plan

BASE = """\
kvplan: 1
name: base
models:
  m:
    ref: llama-3.1-8b
    engine: vllm@0.24
    weights: bf16
    parallel: [tp1]
    context_limit: [8Ki]
    max_batch: {min: 64, max: 64}
    kv_presets: [bf16]
traffic:
  chat:
    model: m
    peak: 9 req/s
    mean: 1 req/s
    input_tokens: {p50: 700, p95: 2_500, max: 6_000}
    output_tokens: {p50: 180, p95: 450, max: 1_024}
    slo: {ttft_p95: 800ms, tpot_p95: 40ms}
  papers:
    model: m
    peak: 1 req/s
    mean: 0.05 req/s
    input_tokens: {p50: 2_200, p95: 5_500, max: 7_000}
    output_tokens: {p50: 200, p95: 600, max: 1_000}
    slo: {ttft_p95: 2s, tpot_p95: 60ms}
inventory:
  big: {gpu: h100-sxm-80gb, region: north, available: 3 nodes, gpus_per_node: 1, price: $2.95/gpu/h, source: x}
  small: {gpu: l40s-48gb, region: north, available: 4 nodes, gpus_per_node: 1, price: $1.55/gpu/h, source: x}
  pair: {gpu: a100-sxm-80gb, region: south, available: 2 nodes, gpus_per_node: 2, price: $1.29/gpu/h, source: x}
"""
"""Numbers of no one; prices near list prices."""

MEASURED = """\
kvplan: 1
name: measured
models:
  m: {capacity_table: m.csv}
traffic:
  short: {model: m, peak: 3 req/s, mean: 1 req/s}
  long: {model: m, peak: 2 req/s, mean: 1 req/s}
inventory:
  one: {gpu: l40s-48gb, region: north, available: 4 nodes, gpus_per_node: 1, price: $1.55/gpu/h, source: x}
  two: {gpu: a100-sxm-80gb, region: north, available: 3 nodes, gpus_per_node: 2, price: $1.29/gpu/h, source: x}
  paid: {gpu: l40s-48gb, region: north, committed: 1 nodes, gpus_per_node: 1, price: $1.20/gpu/h, source: x}
"""
"""The same on capacity tables, which plan in a hundredth of a second."""

TABLE = """\
gpu,class,requests_per_s
l40s-48gb,short,1
l40s-48gb,long,0.4
a100-sxm-80gb,short,1.5
a100-sxm-80gb,long,1.2
"""

Solve = Callable[..., Plan]


@pytest.fixture(scope="session")
def solve(tmp_path_factory: pytest.TempPathFactory) -> Solve:
    """Plans a scenario's text with overrides; without a text, the one with physics."""
    path = tmp_path_factory.mktemp("property") / "scenario.yaml"
    path.with_name("m.csv").write_text(TABLE)

    def plan(*sets: str, text: str = BASE) -> Plan:
        path.write_text(text)
        return pipeline.plan(pipeline.load(path, sets))

    return plan


@pytest.fixture(scope="session")
def base() -> str:
    """The scenario with physics."""
    return BASE


@pytest.fixture(scope="session")
def measured() -> str:
    """The scenario on a capacity table."""
    return MEASURED
