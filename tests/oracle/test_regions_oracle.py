"""Two regions with residency and latency against brute force: the choices of each come from a scenario of its own."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import combinations_with_replacement, product
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linprog

from planner import pipeline
from planner.candidates import Candidate
from planner.plan.check import check_tree
from planner.plan.io import to_tree
from planner.plan.types import Plan
from planner.scenario.types import Scenario

SEEDS = 12


def text_of(rng: random.Random) -> str:
    """Three classes of one model, two regions with one or two nodes of one GPU of each of two kinds."""
    regions = ["", "\n    regions: [eu]", "\n    regions: [us]"]
    classes = []
    for name in ("a", "b", "c"):
        slo = rng.choice([250, 300, 400])
        far = rng.choice([0, 60, 120, 150, 260])
        near = rng.choice([0, 5, 90])
        pair = rng.choice([(near, far), (far, near)])
        latency = rng.choice(["", f"\n    latency: {{eu: {pair[0]}ms, us: {pair[1]}ms}}"])
        classes.append(
            f"  {name}:\n    model: m\n    peak: {rng.choice([2, 4, 7, 9])} req/s\n    mean: 1 req/s\n"
            f"    input_tokens: {{p50: 700, p95: 2_000, max: 3_000}}\n"
            f"    output_tokens: {{p50: 150, p95: 400, max: 900}}\n"
            f"    slo: {{ttft_p95: {slo}ms, tpot_p95: {rng.choice([40, 60])}ms}}{rng.choice(regions)}{latency}\n"
        )
    pools = [
        f"  {region}-{gpu[:4]}: {{gpu: {gpu}, region: {region}, available: {rng.randint(1, 2)} nodes, "
        f"gpus_per_node: 1, price: ${rng.choice([1, 2, 3])}.{rng.randint(10, 99)}/gpu/h, source: x}}\n"
        for region, gpu in (("eu", "h100-sxm-80gb"), ("us", "h100-sxm-80gb"), (rng.choice(["eu", "us"]), "l40s-48gb"))
    ]
    return (
        "kvplan: 1\nname: two\nmodels:\n  m: {ref: llama-3.1-8b, engine: vllm@0.24, weights: fp8, parallel: tp1, "
        "context_limit: 4Ki, max_batch: {min: 128, max: 128}, kv_presets: bf16}\n"
        f"traffic:\n{''.join(classes)}inventory:\n{''.join(pools)}objective: [cost]\n"
    )


def alone(scenario: Scenario, region: str) -> Scenario | None:
    """A region without the words: its pools, the classes that may come, held to what the network leaves."""
    near = {}
    for name, traffic in scenario.traffic.items():
        limit = traffic.slo.ttft_p95_us or 0
        left = limit - dict(traffic.latency_us).get(region, 0)
        if (not traffic.regions or region in traffic.regions) and left > 0:
            near[name] = replace(traffic, slo=replace(traffic.slo, ttft_p95_us=left), regions=(), latency_us=())
    pools = {name: pool for name, pool in scenario.inventory.items() if pool.region == region}
    return replace(scenario, traffic=near, inventory=pools) if near and pools else None


def best_cost(scenario: Scenario) -> int | None:
    """The least cost an hour in micro-units of every choice of configurations on every node, routed freely."""
    options: list[list[tuple[int, tuple[tuple[Candidate, dict[str, int]], ...]]]] = []
    for region in ("eu", "us"):
        own = alone(scenario, region)
        if own is None:
            continue
        table = pipeline.table(own)
        for pool in own.inventory.values():
            fitting = [
                (candidate, {table.items[k].class_name: i for i, (k, _) in enumerate(candidate.loads)})
                for candidate in table.candidates
                if candidate.config.gpu == pool.gpu.id
            ]
            options.append(
                [
                    (pool.price_micro_per_node_h * count, chosen)
                    for count in range(pool.available_nodes + 1)
                    for chosen in combinations_with_replacement(fitting, count)
                ]
            )
    best: int | None = None
    tried = sorted(product(*options), key=lambda choice: sum(cost for cost, _ in choice))
    for choice in tried:
        cost = sum(cost for cost, _ in choice)
        if best is not None and cost >= best:
            break
        if routed(scenario, [part for _, parts in choice for part in parts]):
            best = cost
    return best


def routed(scenario: Scenario, running: list[tuple[Candidate, dict[str, int]]]) -> bool:
    """Whether replicas carry all classes: every class whole, every load row within its capacity."""
    flows = [(at, name, index) for at, (_, own) in enumerate(running) for name, index in own.items()]
    if set(scenario.traffic) - {name for _, name, _ in flows}:
        return False
    rows, equal = [], []
    for at, (candidate, _) in enumerate(running):
        for row in ("gpu_time", "sequences", "kv"):
            rows.append(
                [getattr(candidate.loads[i][1], row) / candidate.capacity if f == at else 0 for f, _, i in flows]
            )
    for name in scenario.traffic:
        equal.append([float(n == name) for _, n, _ in flows])
    found = linprog(np.zeros(len(flows)), rows, np.ones(len(rows)), equal, np.ones(len(equal)), method="highs")
    return bool(found.status == 0)


def cost_of(plan: Plan) -> int | None:
    """The cost an hour that the plan proved."""
    return plan.objective[0].value if plan.objective else None


def test_two_regions_cost_what_brute_force_says(tmp_path: Path) -> None:
    """Tests residency and latency: the optimum is that of every region planned on its own, in all combinations."""
    statuses: Counter[str] = Counter()
    split = 0
    for seed in range(SEEDS):
        path = tmp_path / f"{seed}.yaml"
        path.write_text(text_of(random.Random(seed)))
        scenario = pipeline.load(path)
        plan = pipeline.plan(scenario)
        expected = best_cost(scenario)
        assert plan.status == ("optimal" if expected is not None else "infeasible"), seed
        assert cost_of(plan) == expected, seed
        assert check_tree(to_tree(plan), f"seed {seed}")[1] == []
        statuses[plan.status] += 1
        split += len({d.region for d in plan.deployments.values()}) > 1
    assert statuses["optimal"] >= SEEDS // 3 and statuses["infeasible"] >= 1 and split >= 1


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """One class that both regions may serve, far from one of them."""
    path = tmp_path_factory.mktemp("regions") / "one.yaml"
    path.write_text(
        "kvplan: 1\nname: one\nmodels:\n  m: {capacity_table: m.csv}\n"
        "traffic:\n  a: {model: m, peak: 10 req/s, mean: 5 req/s, regions: [west, east]}\n"
        "  b: {model: m, peak: 4 req/s, mean: 2 req/s, regions: east}\n"
        "inventory:\n"
        "  eu: {gpu: l40s-48gb, region: west, available: 20 nodes, gpus_per_node: 1, price: $1/gpu/h, source: x}\n"
        "  us: {gpu: l40s-48gb, region: east, available: 20 nodes, gpus_per_node: 1, price: $2/gpu/h, source: x}\n"
    )
    path.with_name("m.csv").write_text("gpu,class,requests_per_s\nl40s-48gb,a,2\nl40s-48gb,b,1\n")
    return pipeline.load(path)


def gpus(plan: Plan) -> dict[str, int]:
    """Replicas by region."""
    return {d.region: d.replicas for d in plan.deployments.values()}


def test_capacity_tables_know_regions(scenario: Scenario) -> None:
    """Tests that a measured class goes where it is cheap and a pinned one where it may: 10 / 2 there, 4 / 1 here."""
    plan = pipeline.plan(scenario)
    assert gpus(plan) == {"west": 5, "east": 4}
    served = {(route.class_name, each.region) for each in plan.deployments.values() for route in each.routing}
    assert served == {("a", "west"), ("b", "east")}


def test_a_lost_region_is_served_from_those_that_may(scenario: Scenario) -> None:
    """Tests that losing a region moves its classes only to allowed ones: a needs 5 more elsewhere, b has nowhere."""
    lost_eu = pipeline.plan(replace(scenario, reserve=replace(scenario.reserve, survive=(("west", None),))))
    assert gpus(lost_eu)["east"] == 9
    assert check_tree(to_tree(lost_eu), "plan")[1] == []
    lost_us = pipeline.plan(replace(scenario, reserve=replace(scenario.reserve, survive=(("east", None),))))
    assert lost_us.status == "infeasible"
