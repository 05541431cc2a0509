"""Every row of the program by itself: a sound plan against a scenario that one line makes too tight for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from planner import pipeline
from planner.plan.rows import broken_rows
from planner.plan.types import Plan

SCENARIO = """\
kvplan: 1
name: rows
models:
  m:
    ref: llama-3.1-8b
    engine: vllm@0.24
    weights: bf16
    parallel: tp2
    context_limit: [2Ki, 8Ki]
    max_batch: {min: 64, max: 64}
    kv_presets: bf16
    replicas: {min: 2, max: 8}
    max_configurations: 4
traffic:
  chat:
    model: m
    peak: 9 req/s
    mean: 1 req/s
    rejected_at_most: 20%
    cut_short_at_most: 20%
    input_tokens: {p50: 900, max: 3_000}
    output_tokens: {p50: 180, max: 1_000}
    slo: {ttft_p95: 900ms, tpot_p95: 40ms}
inventory:
  paid: {gpu: a100-sxm-80gb, region: r, committed: 1 nodes, gpus_per_node: 4, price: $1.29/gpu/h, source: x}
  more: {gpu: l40s-48gb, region: r, available: 3 nodes, gpus_per_node: 2, price: $1.55/gpu/h, source: x}
limits:
  quota: {max: 100, per_node: {paid: 1, more: 2}, source: x}
reserve: {utilization: 100%}
budget: {monthly: $90_000, power: 90kW}
"""
Make = Callable[..., Plan]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scenario's file."""
    file = tmp_path_factory.mktemp("rows") / "scenario.yaml"
    file.write_text(SCENARIO)
    return file


@pytest.fixture(scope="module")
def sound(path: Path) -> Plan:
    """A plan in which every row holds."""
    plan = pipeline.plan(pipeline.load(path, ["inventory.more.available=3 nodes", "traffic.chat.peak=30 req/s"]))
    assert plan.status == "optimal" and broken_rows(plan) == []
    assert plan.pools["more"].nodes > 0
    return plan


TIGHTER = {
    "budget.monthly": "budget.monthly=$1_000",
    "budget.power": "budget.power=1kW",
    "limits.quota": "limits.quota.max=0.5",
    "inventory.more.available": "inventory.more.available=0 nodes",
    "inventory.paid.committed": "inventory.paid.committed=2 nodes",
    "models.m.replicas.min": "models.m.replicas.min=7",
    "models.m.replicas.max": "models.m.replicas.max=1",
    "packing.": "reserve.spare.nodes=1",
    "deployments.m": "reserve.spare.replicas=1",
    "traffic.chat.slo.tpot_p95": "traffic.chat.slo.tpot_p95=39ms",
    "traffic.chat.slo.ttft_p95": "traffic.chat.slo.ttft_p95=850ms",
}


@pytest.mark.parametrize("row", TIGHTER)
def test_a_tighter_line_breaks_its_row(row: str, path: Path, sound: Plan) -> None:
    """The same plan under one tighter line: the row that this line makes is named."""
    sets = ["traffic.chat.peak=30 req/s"]
    if row == "models.m.replicas.max":
        sets.append("models.m.replicas.min=1")
    plan = replace(sound, scenario=pipeline.load(path, [*sets, TIGHTER[row]]))
    assert any(name.startswith(row) for name, _, _ in broken_rows(plan))


def test_shares_loads_and_configurations(path: Path, sound: Plan) -> None:
    """Half a route breaks the demand; half a capacity the load; one configuration too many and a share are named."""
    name, deployment = next(iter(sound.deployments.items()))
    route = deployment.routing[0]
    half = replace(deployment, routing=(replace(route, share=route.share / 2), *deployment.routing[1:]))
    assert "demand.chat" in _names(replace(sound, deployments={**sound.deployments, name: half}))
    negative = replace(deployment, routing=(replace(route, share=Fraction(-1, 3)), *deployment.routing[1:]))
    assert f"deployments.{name}.routing.{route.item}.share" in _names(
        replace(sound, deployments={**sound.deployments, name: negative})
    )
    small = replace(deployment, loads=tuple(replace(row, capacity=row.capacity // 100) for row in deployment.loads))
    assert f"deployments.{name}.loads.gpu_time" in _names(
        replace(sound, deployments={**sound.deployments, name: small})
    )
    rejecting = replace(deployment, routing=tuple(replace(r, rejected=Fraction(9, 10)) for r in deployment.routing))
    assert "traffic.chat.rejected_at_most" in _names(
        replace(sound, deployments=dict.fromkeys(sound.deployments, rejecting))
    )
    other = replace(deployment, max_batch=8)
    tight = pipeline.load(path, ["models.m.max_configurations=1", "traffic.chat.peak=30 req/s"])
    two = replace(sound, scenario=tight, deployments={**sound.deployments, "extra": other})
    assert "models.m.max_configurations" in _names(two)


def test_a_promise_that_is_not_kept(sound: Plan) -> None:
    """A prediction above the promise, and a promise that is not stated, are named by their scenario line."""
    name, deployment = next(iter(sound.deployments.items()))
    late = tuple(replace(p, predicted_us=p.limit_us + 1) for p in deployment.promises)
    changed = {**sound.deployments, name: replace(deployment, promises=late)}
    assert "traffic.chat.slo.tpot_p95" in _names(replace(sound, deployments=changed))
    changed = {**sound.deployments, name: replace(deployment, promises=())}
    assert {"traffic.chat.slo.tpot_p95", "traffic.chat.slo.ttft_p95"} <= _names(replace(sound, deployments=changed))


def test_the_proof_rows(sound: Plan) -> None:
    """A bound above its value, and an optimal plan that misses its bound."""
    first = sound.objective[0]
    assert first.bound is not None
    for bound in (first.bound + 1, first.bound - 1):
        changed = (replace(first, bound=bound), *sound.objective[1:])
        assert _names(replace(sound, objective=changed)) == {f"objective.{first.name}.bound"}
    open_plan = replace(sound, status="feasible", objective=(replace(first, bound=first.bound - 1),))
    assert _names(open_plan) == set()


def test_replicas_beside_each_other(sound: Plan) -> None:
    """Replicas of 2 GPUs fill nodes of 4 in pairs: a third one needs a second node."""
    deployments = {}
    for name, deployment in sound.deployments.items():
        count = deployment.replicas + (20 if deployment.gpu == "a100-sxm-80gb" else 0)
        deployments[name] = replace(deployment, replicas=count, gpus=2 * count)
    assert any(
        name.startswith(("packing.", "deployments.")) for name in _names(replace(sound, deployments=deployments))
    )


def _names(plan: Plan) -> set[str]:
    return {name for name, _, _ in broken_rows(plan)}
