"""Whole scenarios against brute force over every choice of replicas and nodes, with exact splits of the traffic.

The oracle reads the scenario and the candidate table, never the constraint program, so that a row that the program
gets wrong shows up here. It shares no code with the solver: groups, packing, limits and the linear program are its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import product
from math import ceil
from pathlib import Path

import pytest

from planner import pipeline
from planner.candidates import Candidate, CandidateTable
from planner.plan.check import check_tree
from planner.plan.io import to_tree
from planner.plan.types import Plan
from planner.scenario.types import HOURS_PER_MONTH, Pool, Scenario

MOST_CHOICES = 30_000
"""Replica choices of one scenario that are tried; larger scenarios are skipped and counted."""

COMPARED = 300
SEEDS = 480

Zero = Fraction(0)
Row = tuple[list[Fraction], Fraction]


def least(objective: list[Fraction], equal: list[Row], at_most: list[Row]) -> Fraction | None:
    """min c x, A x = b, G x <= h, x >= 0 by the two-phase simplex method on fractions; None if there is no x.

    Bland's rule, so that it ends. Source: Bertsimas and Tsitsiklis, Introduction to Linear Optimization, chapter 3.
    """
    count, slacks = len(objective), len(at_most)
    rows: list[list[Fraction]] = []
    for index, (coefficients, right) in enumerate([*at_most, *equal]):
        slack = [Fraction(int(j == index)) for j in range(slacks)]
        row = [*coefficients, *slack]
        sign = -1 if right < 0 else 1
        rows.append([sign * value for value in (*row, right)])
    width, artificial = count + slacks, len(rows)
    for index, row in enumerate(rows):
        row[width:width] = [Fraction(int(j == index)) for j in range(artificial)]
    basis = [width + index for index in range(artificial)]
    first = [Zero] * width + [Fraction(1)] * artificial + [Zero]
    for row in rows:
        first = [a - b for a, b in zip(first, row, strict=True)]
    for index in range(artificial):
        first[width + index] = Zero
    _pivot_all(rows, basis, first, width + artificial)
    if first[-1] != 0:
        return None
    second = [*objective, *([Zero] * (slacks + artificial)), Zero]
    for index, column in enumerate(basis):
        if second[column]:
            second = [a - second[column] * b for a, b in zip(second, rows[index], strict=True)]
    _pivot_all(rows, basis, second, width, forbidden=width)
    return -second[-1]


def _pivot_all(
    rows: list[list[Fraction]], basis: list[int], goal: list[Fraction], columns: int, forbidden: int = 10**9
) -> None:
    while True:
        entering = next((j for j in range(columns) if goal[j] < 0), None)
        if entering is None:
            return
        best: tuple[Fraction, int, int] | None = None
        for index, row in enumerate(rows):
            stuck = basis[index] >= forbidden and row[entering] != 0
            if row[entering] > 0 or stuck:
                ratio = Zero if stuck else row[-1] / row[entering]
                if best is None or (ratio, basis[index]) < best[:2]:
                    best = (ratio, basis[index], index)
        assert best is not None, "unbounded"
        _, _, out = best
        pivot = rows[out][entering]
        rows[out] = [value / pivot for value in rows[out]]
        for index, row in enumerate(rows):
            if index != out and row[entering]:
                factor = row[entering]
                rows[index] = [a - factor * b for a, b in zip(row, rows[out], strict=True)]
        factor = goal[entering]
        goal[:] = [a - factor * b for a, b in zip(goal, rows[out], strict=True)]
        basis[out] = entering


@dataclass(frozen=True)
class Option:
    """A configuration on a kind of node: what may run, how often at most."""

    candidate: Candidate
    kind: tuple[str, str, int]
    most: int


def kind_of(pool: Pool) -> tuple[str, str, int]:
    """What replicas can tell apart about a pool."""
    return (pool.gpu.id, pool.region, pool.gpus_per_node)


@cache
def fits(parts: tuple[int, ...], free: tuple[int, ...]) -> bool:
    """Whether replicas fit into nodes, by trying every node for the first one. Both are sorted."""
    if not parts:
        return True
    if sum(parts) > sum(free):
        return False
    for position, room in enumerate(free):
        if room >= parts[0] and room not in free[:position]:
            rest = (*free[:position], room - parts[0], *free[position + 1 :])
            if fits(parts[1:], tuple(sorted(rest))):
                return True
    return False


@cache
def nodes_needed(sizes: tuple[int, ...], gpus_per_node: int, most: int) -> int | None:
    """The fewest nodes that hold replicas of these sizes; None if the stock does not."""
    return next((n for n in range(most + 1) if fits(sizes, (gpus_per_node,) * n)), None)


def purchases(scenario: Scenario) -> Iterator[tuple[dict[tuple[str, str, int], int], dict[str, int]]]:
    """Every number of nodes of every pool that limits, budget and power allow: nodes a kind, cost and GPUs."""
    pools = list(scenario.inventory.values())
    for counts in product(*(range(p.committed_nodes, p.committed_nodes + p.available_nodes + 1) for p in pools)):
        bought = {pool.name: n for pool, n in zip(pools, counts, strict=True)}
        cost = sum(pool.price_micro_per_gpu_h * pool.gpus_per_node * n for pool, n in zip(pools, counts, strict=True))
        watts = sum(pool.gpu.tdp_w * pool.gpus_per_node * n for pool, n in zip(pools, counts, strict=True))
        budget = scenario.budget
        if budget.monthly_micro is not None and cost * HOURS_PER_MONTH > budget.monthly_micro:
            continue
        if budget.power_mw is not None and Fraction(watts * 1_000 * budget.pue_ppm, 1_000_000) > budget.power_mw:
            continue
        if any(sum(a * bought[pool] for pool, a in lim.per_node) > lim.max for lim in scenario.limits.values()):
            continue
        kinds: dict[tuple[str, str, int], int] = {}
        for pool, n in zip(pools, counts, strict=True):
            kinds[kind_of(pool)] = kinds.get(kind_of(pool), 0) + n
        gpus = sum(pool.gpus_per_node * n for pool, n in zip(pools, counts, strict=True))
        yield kinds, {"cost": cost, "gpus": gpus}


class Oracle:
    """Brute force over one scenario and its candidate table."""

    def __init__(self, scenario: Scenario, table: CandidateTable) -> None:
        self.scenario, self.table = scenario, table
        self.stock: dict[tuple[str, str, int], int] = {}
        for pool in scenario.inventory.values():
            self.stock[kind_of(pool)] = self.stock.get(kind_of(pool), 0) + pool.committed_nodes + pool.available_nodes
        self.options = [
            Option(candidate, kind, nodes * (kind[2] // candidate.config.gpus))
            for candidate in table.candidates
            for kind, nodes in self.stock.items()
            if candidate.config.gpu == kind[0] and candidate.config.gpus <= kind[2]
        ]

    @property
    def choices(self) -> int:
        """How many replica choices there are at most."""
        total = 1
        for option in self.options:
            total *= option.most + 1
        return total

    def solve(self) -> tuple[int, ...] | None:
        """The best values of the objectives in their order, or None if no choice works."""
        scenario = self.scenario
        offers = list(purchases(scenario))
        order = scenario.objective
        bought_order = [name for name in order if name != "quality_loss"]
        found: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        for choice in product(*(range(option.most + 1) for option in self.options)):
            needed = self._nodes(choice)
            if needed is None or not self._counts_hold(choice):
                continue
            able = [worth for kinds, worth in offers if all(kinds[kind] >= n for kind, n in needed.items())]
            if able:
                found.append((min(tuple(worth[name] for name in bought_order) for worth in able), choice))
        best: tuple[int, ...] | None = None
        lossy = "quality_loss" in order
        for bought, choice in sorted(found):
            if best is not None and order[0] != "quality_loss" and bought[0] > best[0]:
                break
            values = dict(zip(bought_order, bought, strict=True))
            floor = tuple(values.get(name, 0) for name in order)
            if best is not None and floor >= best:
                continue
            loss = self.loss(choice, minimize=lossy)
            if loss is None:
                continue
            values["quality_loss"] = ceil(loss)
            value = tuple(values[name] for name in order)
            best = value if best is None else min(best, value)
        return best

    def _nodes(self, choice: tuple[int, ...]) -> dict[tuple[str, str, int], int] | None:
        """Nodes that a choice needs of every kind, spare ones included; None if the stock does not hold them."""
        sizes: dict[tuple[str, str, int], list[int]] = {}
        for option, replicas in zip(self.options, choice, strict=True):
            if replicas:
                sizes.setdefault(option.kind, []).extend([option.candidate.config.gpus] * replicas)
        needed = {}
        for kind, parts in sizes.items():
            nodes = nodes_needed(tuple(sorted(parts, reverse=True)), kind[2], self.stock[kind])
            if nodes is None or nodes + self.scenario.reserve.spare_nodes > self.stock[kind]:
                return None
            needed[kind] = nodes + self.scenario.reserve.spare_nodes
        return needed

    def _counts_hold(self, choice: tuple[int, ...]) -> bool:
        for name, model in self.scenario.models.items():
            own = [(o, n) for o, n in zip(self.options, choice, strict=True) if n and o.candidate.config.model == name]
            total = sum(n for _, n in own)
            if total < model.replicas.min or (model.replicas.max is not None and total > model.replicas.max):
                return False
            kinds = {option.candidate.config for option, _ in own}
            if model.max_configurations is not None and len(kinds) > model.max_configurations:
                return False
        return True

    def loss(self, choice: tuple[int, ...], *, minimize: bool) -> Fraction | None:
        """The least quality loss over all routings of a choice (0 if it does not count); None if nothing routes."""
        spare = self.scenario.reserve.spare_replicas
        live = [(o, n - spare) for o, n in zip(self.options, choice, strict=True) if n > spare]
        flows = [(k, c, load) for c, (option, _) in enumerate(live) for k, load in option.candidate.loads]
        at_most: list[Row] = []
        for c, (option, counted) in enumerate(live):
            for row in ("gpu_time", "sequences", "kv") if option.candidate.memory else ("gpu_time",):
                scale = Fraction(1, option.candidate.capacity * counted)
                uses = [getattr(load, row) * scale if c == at else Zero for _, at, load in flows]
                if any(uses):
                    at_most.append((uses, Fraction(1)))
        for name, traffic in self.scenario.traffic.items():
            for key, ppm in (("rejected", traffic.rejected_at_most_ppm), ("cut_short", traffic.cut_short_at_most_ppm)):
                uses = [
                    getattr(load, key) * self.table.items[k].weight_ppm
                    if self.table.items[k].class_name == name
                    else Zero
                    for k, _, load in flows
                ]
                if any(uses):
                    at_most.append((uses, Fraction(ppm)))
        equal: list[Row] = []
        for demand in self.table.demands:
            covers = [Fraction(int(k in demand.items)) for k, _, _ in flows]
            if not any(covers):
                return None
            equal.append((covers, Fraction(1)))
        losses = [self.table.items[k].output_tokens_per_s * load.loss_ppm if minimize else Zero for k, _, load in flows]
        return least(losses, equal, at_most)


def test_the_oracles_simplex_on_a_published_program() -> None:
    """The oracle's linear program solver gets the optimum -136 of example 3.5 of Bertsimas and Tsitsiklis."""
    rows: list[Row] = [
        ([Fraction(1), Fraction(2), Fraction(2)], Fraction(20)),
        ([Fraction(2), Fraction(1), Fraction(2)], Fraction(20)),
        ([Fraction(2), Fraction(2), Fraction(1)], Fraction(20)),
    ]
    assert least([Fraction(-10), Fraction(-12), Fraction(-12)], [], rows) == -136
    assert least([Fraction(1)], [([Fraction(1)], Fraction(2))], [([Fraction(1)], Fraction(1))]) is None


def _values(plan: Plan) -> tuple[int, ...]:
    return tuple(stage.value for stage in plan.objective)


def test_brute_force_and_backends_agree(
    write_scenario: Callable[[int, Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On hundreds of random scenarios brute force, CP-SAT and HiGHS find the same optimum, and check finds nothing."""
    compared = infeasible = physical = 0
    for seed in range(SEEDS):
        scenario = pipeline.load(write_scenario(seed, tmp_path))
        table = pipeline.table(scenario)
        oracle = Oracle(scenario, table)
        if oracle.choices > MOST_CHOICES:
            continue
        monkeypatch.setattr(pipeline, "table", lambda _, known=table: known)
        plans = {name: pipeline.plan(scenario, pipeline.Options(backend=name)) for name in ("cpsat", "mathopt")}
        if seed % 5 == 0:
            plans["auto"] = pipeline.plan(scenario)
        monkeypatch.undo()
        best = oracle.solve()
        for name, plan in plans.items():
            assert plan.status == ("infeasible" if best is None else "optimal"), (seed, name, plan.run.proof)
            assert best is None or _values(plan) == best, (seed, name)
            assert plan.hash == plans["cpsat"].hash, (seed, name)
        findings = check_tree(to_tree(plans["cpsat"]), f"seed {seed}")[1]
        assert not findings, (seed, [str(finding) for finding in findings])
        compared += 1
        infeasible += best is None
        physical += seed % 3 == 0
    assert compared >= COMPARED
    assert 40 <= infeasible <= compared // 2
    assert physical >= 60


def test_a_deployment_of_spare_replicas_only(tmp_path: Path) -> None:
    """A replica minimum that is cheapest met by a replica that carries nothing: 2 x $3 serve, 1 x $1 makes up three."""
    path = tmp_path / "scenario.yaml"
    path.with_name("m.csv").write_text("gpu,class,requests_per_s\nh100-sxm-80gb,c,2\nl40s-48gb,c,0.01\n")
    path.write_text(
        "kvplan: 1\nname: spare\nmodels:\n  m: {capacity_table: m.csv, replicas: {min: 3}}\n"
        "traffic:\n  c: {model: m, peak: 2 req/s, mean: 2 req/s}\ninventory:\n"
        "  a: {gpu: h100-sxm-80gb, region: r, available: 3 nodes, gpus_per_node: 1, price: $3/gpu/h, source: x}\n"
        "  b: {gpu: l40s-48gb, region: r, available: 1 nodes, gpus_per_node: 1, price: $1/gpu/h, source: x}\n"
        "reserve: {spare: {replicas: 1}}\n"
    )
    plan = pipeline.plan(pipeline.load(path))
    assert plan.totals is not None and plan.totals.cost_per_h == "7.00"
    assert sorted((d.gpu, d.replicas, len(d.routing)) for d in plan.deployments.values()) == [
        ("h100-sxm-80gb", 2, 1),
        ("l40s-48gb", 1, 0),
    ]
    assert check_tree(to_tree(plan), "plan.json")[1] == []
