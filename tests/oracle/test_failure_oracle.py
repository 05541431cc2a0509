"""Zones, and spot nodes that come and go, against brute force: every choice of replicas in every zone is tried.

One GPU type of one-GPU nodes and capacity tables; two models that share nothing but nodes. A zone has one pool, or two
of one kind: nodes on demand and spot nodes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import ceil, comb
from pathlib import Path

import pytest

from planner import pipeline
from planner.plan.check import check_tree
from planner.plan.io import to_tree

GPU = "l40s-48gb"
OFFERED = 4


@dataclass(frozen=True)
class Case:
    """Rates by model, what may be shed, prices by zone, and spot nodes in the first zone where there are any."""

    rates: tuple[Fraction, ...]
    shed: tuple[int, ...]
    prices: tuple[int, ...]
    spot_cents: int
    availability: int
    confidence: int
    reclaim: int
    zones: int
    spare_nodes: int


def case(seed: int) -> Case:
    """One or two models in two or three zones."""
    rng = random.Random(seed)
    zones, reclaim = rng.choice((0, 1, 1)), rng.choice((0, 1, 2))
    models = rng.randint(1, 2)
    return Case(
        rates=tuple(Fraction(rng.choice((1, 3, 4, 5)), 2) for _ in range(models)),
        shed=tuple(rng.choice((0, 0, 50)) if zones or reclaim else 0 for _ in range(models)),
        prices=tuple(rng.choice((100, 150, 200)) for _ in range(rng.randint(2, 3))),
        spot_cents=rng.choice((30, 90)),
        availability=rng.choice((60, 90, 97, 100)),
        confidence=rng.choice((50, 90, 99)),
        reclaim=reclaim,
        zones=zones,
        spare_nodes=rng.choice((0, 0, 1)),
    )


def yaml(c: Case, folder: Path) -> Path:
    """The case as a scenario."""
    lines = ["kvplan: 1", "name: tiny", "objective: cost", "models:"]
    lines += [f"  m{i}: {{capacity_table: m{i}.csv}}" for i in range(len(c.rates))] + ["traffic:"]
    for i, (rate, shed) in enumerate(zip(c.rates, c.shed, strict=True)):
        degraded = f", when_degraded: {{shed_at_most: {shed}%}}" if shed else ""
        lines.append(f"  k{i}: {{model: m{i}, peak: {float(rate)} req/s{degraded}}}")
    lines.append("inventory:")
    common = f"gpu: {GPU}, region: eu, gpus_per_node: 1, source: made up, available: {OFFERED} nodes"
    for i, price in enumerate(c.prices):
        lines.append(f"  p{i}: {{{common}, zone: z{i}, price: ${price / 100:.2f}/gpu/h}}")
    terms = f"availability: {c.availability}%, confidence: {c.confidence}%, reclaim: {c.reclaim} nodes"
    lines.append(f"  spot: {{{common}, zone: z0, price: ${c.spot_cents / 100:.2f}/gpu/h, spot: {{{terms}}}}}")
    lines.append(f"reserve: {{spare: {{zones: {c.zones}, nodes: {c.spare_nodes}}}}}")
    for i in range(len(c.rates)):
        (folder / f"m{i}.csv").write_text(f"gpu,class,requests_per_s\n{GPU},k{i},1\n")
    path = folder / "tiny.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


def sure(c: Case, nodes: int) -> int:
    """The most of so many spot nodes that are all there as often as the case asks."""
    a = Fraction(c.availability, 100)
    chance = [comb(nodes, k) * a**k * (1 - a) ** (nodes - k) for k in range(nodes + 1)]
    return max(k for k in range(nodes + 1) if k == 0 or sum(chance[k:]) >= Fraction(c.confidence, 100))


def held(c: Case) -> list[dict[int, Fraction]]:
    """By zone: what holding so many replicas costs an hour at least, in cents."""
    found: list[dict[int, Fraction]] = []
    for zone, price in enumerate(c.prices):
        costs: dict[int, Fraction] = {0: Fraction(0)}
        for firm, spot in product(range(OFFERED + 1), range(OFFERED + 1 if zone == 0 else 1)):
            cost = firm * price + spot * c.spot_cents * Fraction(c.availability, 100)
            for count in range(1, firm + (sure(c, spot) if spot else 0) - c.spare_nodes + 1):
                costs[count] = min(cost, costs.get(count, cost))
        found.append(costs)
    return found


def choices(c: Case) -> Iterator[tuple[int, ...]]:
    """Replicas of one model by zone, enough for its promises at all times."""
    most = max(ceil(rate) for rate in c.rates) + 2
    yield from product(range(most + 1), repeat=len(c.prices))


def serves(c: Case, model: int, replicas: tuple[int, ...]) -> bool:
    """Whether a model's replicas keep its promises: all zones up, each zone gone, and spot nodes reclaimed."""
    need, kept = c.rates[model], c.rates[model] * (100 - c.shed[model]) / 100
    left = [sum(replicas) - lost for lost in replicas] if c.zones else []
    left += [sum(replicas) - min(c.reclaim, replicas[0])] if c.reclaim else []
    return sum(replicas) >= need and all(count >= kept for count in left)


def cheapest(c: Case) -> Fraction | None:
    """The least cost an hour, in cents."""
    costs, best = held(c), None
    each = [[r for r in choices(c) if serves(c, model, r)] for model in range(len(c.rates))]
    for placed in product(*each):
        counts = [sum(replicas[zone] for replicas in placed) for zone in range(len(c.prices))]
        if all(count in costs[zone] for zone, count in enumerate(counts)):
            cost = sum((costs[zone][count] for zone, count in enumerate(counts)), Fraction(0))
            best = cost if best is None else min(best, cost)
    return best


@pytest.mark.parametrize("seeds", [range(20), range(20, 40)], ids=["0-19", "20-39"])
def test_plans_that_survive_cost_what_brute_force_says(seeds: range, tmp_path: Path) -> None:
    """Tests the proved cost of spare zones, availability and reclaim, and that each plan passes its check."""
    statuses = set()
    for seed in seeds:
        c = case(seed)
        plan = pipeline.plan(pipeline.load(yaml(c, tmp_path)))
        expected = cheapest(c)
        statuses.add(plan.status)
        assert (plan.status == "optimal") == (expected is not None), (seed, plan.status)
        if plan.totals is None or expected is None:
            continue
        assert Fraction(plan.totals.cost_per_h) * 100 == pytest.approx(float(expected), abs=1e-3), seed
        assert not check_tree(to_tree(plan), "plan.json")[1], seed
    assert "optimal" in statuses
