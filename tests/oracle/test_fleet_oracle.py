"""Running fleets against brute force: every choice of replicas is tried, with moves, their money, and what must stay.

Capacity tables and one class a model: a model is served where replicas x rate reach its peak, so splits are exact by
arithmetic alone. The oracle shares no code with the solver.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from pathlib import Path

import pytest

from planner import pipeline
from planner.plan.check import check_tree
from planner.plan.io import to_tree
from planner.scenario.fleet import Running

HOURS = 730
KINDS = ("l40s", "a100")
GPUS = {"l40s": "l40s-48gb", "a100": "a100-sxm-80gb"}

Choice = dict[tuple[str, str], int]
"""Replicas by (model, kind of nodes)."""


@dataclass(frozen=True)
class Case:
    """A random case in plain numbers: pools are (kind, committed, available, GPUs a node, price of a GPU)."""

    peaks: dict[str, int]
    rates: dict[str, dict[str, int]]
    pools: dict[str, tuple[str, int, int, int, int]]
    current: tuple[tuple[str, str, int, bool], ...]
    near: tuple[tuple[str, str, int], ...]
    most: int | None
    cost: int
    total: int | None


def case(seed: int) -> Case:
    """One or two models on two kinds of nodes, one of which two pools offer; something runs already."""
    rng = random.Random(seed)
    models = ["chat", "code"][: rng.randint(1, 2)]
    size = rng.choice((1, 2))
    pools = {
        "kept": ("l40s", rng.choice((0, 1)), 1, size, rng.choice((1, 2))),
        "more": ("l40s", 0, 1, size, rng.choice((1, 2, 3))),
        "big": ("a100", rng.choice((0, 0, 1)), rng.choice((1, 2)), rng.choice((1, 2)), rng.choice((2, 3, 4))),
    }
    left = {name: (committed + more) * gpus for name, (_, committed, more, gpus, _) in pools.items()}
    current = []
    for model, pool in product(models, pools):
        count = rng.randint(0, min(2, left[pool]))
        left[pool] -= count
        if count and rng.random() < 0.7:
            current.append((model, pool, count, rng.random() < 0.25))
    near = tuple((m, p, rng.randint(1, 2)) for m, p in product(models, ("kept", "big")) if rng.random() < 0.5)
    return Case(
        peaks={model: rng.randint(1, 8) for model in models},
        rates={model: {"l40s": rng.randint(1, 3), "a100": rng.randint(2, 5)} for model in models},
        pools=pools,
        current=tuple(current),
        near=near if rng.random() < 0.4 else (),
        most=rng.choice((None, 0, 1, 2, 3)) if current else None,
        cost=rng.choice((0, 0, 100, 700, 3_000)) if current else 0,
        total=rng.choice((None, None, 4_000, 7_000)),
    )


def yaml(c: Case, folder: Path) -> Path:
    """The case as a scenario."""
    lines = ["kvplan: 1", "name: tiny", "models:"]
    for model, rates in c.rates.items():
        lines.append(f"  {model}: {{capacity_table: {model}.csv}}")
        rows = [f"{GPUS[kind]},{model},{rate}" for kind, rate in rates.items()]
        (folder / f"{model}.csv").write_text("\n".join(["gpu,class,requests_per_s", *rows]) + "\n")
    lines.append("traffic:")
    lines += [f"  {model}: {{model: {model}, peak: {peak} req/s}}" for model, peak in c.peaks.items()]
    lines.append("inventory:")
    for name, (kind, committed, more, gpus, price) in c.pools.items():
        held = f"committed: {committed} nodes, " if committed else ""
        lines.append(
            f"  {name}: {{gpu: {GPUS[kind]}, region: here, {held}available: {more} nodes, gpus_per_node: {gpus}, "
            f'price: ${price}/gpu/h, source: "a test"}}'
        )
    if c.current:
        lines.append("current:")
    for number, (model, pool, count, keeps) in enumerate(c.current):
        keep = ", keep: [replicas]" if keeps else ""
        lines.append(f"  r{number}: {{model: {model}, pool: {pool}, replicas: {count}{keep}}}")
    change = [f"max_replicas_moved: {c.most}"] if c.most is not None else []
    change += [f"cost: ${c.cost}/replica"] if c.cost else []
    lines += [f"change: {{{', '.join(change)}}}"] if change else []
    lines += [f"budget: {{total: ${c.total}}}"] if c.total else []
    path = folder / "tiny.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


def running(c: Case, rows: Iterator[tuple[str, str, int]]) -> Choice:
    """Replicas that run by model and kind of nodes."""
    found: Choice = {}
    for model, pool, count in rows:
        kind = c.pools[pool][0]
        found[model, kind] = found.get((model, kind), 0) + count
    return found


def moved(before: Choice, after: Choice) -> int:
    """Replicas that start or stop."""
    return sum(abs(after.get(key, 0) - before.get(key, 0)) for key in {*before, *after})


def bought(c: Case, kind: str, gpus: int) -> list[tuple[int, int]]:
    """(cost an hour, GPUs) of every choice of nodes of a kind that holds so many GPUs."""
    own = [(k, v) for k, v in c.pools.items() if v[0] == kind]
    found = []
    for counts in product(*(range(v[1], v[1] + v[2] + 1) for _, v in own)):
        size = sum(n * v[3] for n, (_, v) in zip(counts, own, strict=True))
        if size >= gpus:
            found.append((sum(n * v[3] * v[4] for n, (_, v) in zip(counts, own, strict=True)), size))
    return found


def served(c: Case, choice: Choice) -> bool:
    """Whether the replicas of every model reach its peak."""
    return all(
        sum(choice.get((model, kind), 0) * c.rates[model][kind] for kind in KINDS) >= peak
        for model, peak in c.peaks.items()
    )


def best(c: Case) -> tuple[int, int, int] | None:
    """(money over the horizon in dollars, GPUs, moves to the last fleet) of the best plan; None if there is none."""
    today = running(c, ((m, p, n) for m, p, n, _ in c.current))
    near = running(c, iter(c.near)) or today
    stock = {kind: sum((v[1] + v[2]) * v[3] for v in c.pools.values() if v[0] == kind) for kind in KINDS}
    keys = list(product(c.peaks, KINDS))
    found = []
    for counts in product(*(range(stock[kind] + 1) for _, kind in keys)):
        choice = dict(zip(keys, counts, strict=True))
        if not served(c, choice) or not stays(c, choice):
            continue
        once = moved(today, choice)
        if c.most is not None and once > c.most:
            continue
        offers = [bought(c, kind, sum(n for (_, k), n in choice.items() if k == kind)) for kind in KINDS]
        for parts in product(*offers):
            money = sum(cost for cost, _ in parts) * HOURS + once * c.cost
            if c.total is None or money <= c.total:
                found.append((money, sum(gpus for _, gpus in parts), moved(near, choice) if today or c.near else 0))
    return min(found, default=None)


def stays(c: Case, choice: Choice) -> bool:
    """Whether replicas that must stay do: exactly so many where every entry of their kind says so, else at least."""
    for model, kind in {(m, c.pools[p][0]) for m, p, _, keeps in c.current if keeps}:
        entries = [(n, keeps) for m, p, n, keeps in c.current if (m, c.pools[p][0]) == (model, kind)]
        kept = sum(n for n, keeps in entries if keeps)
        if choice[model, kind] < kept or (all(keeps for _, keeps in entries) and choice[model, kind] > kept):
            return False
    return True


@pytest.mark.parametrize("seed", range(40))
def test_plans_from_a_running_fleet_are_the_best_ones(seed: int, tmp_path: Path) -> None:
    """Cost with the money of moves, GPUs, and the fewest moves among equals are those of brute force; check agrees."""
    c = case(seed)
    scenario = pipeline.load(yaml(c, tmp_path))
    near = {f"n{i}": Running(f"n{i}", m, p, n) for i, (m, p, n) in enumerate(c.near)}
    scenario = replace(scenario, near=near)
    plan = pipeline.plan(scenario)
    wanted = best(c)
    assert plan.status == ("infeasible" if wanted is None else "optimal")
    assert check_tree(to_tree(plan), "plan.json")[1] == []
    if wanted is None:
        return
    values = {stage.name: stage.value for stage in plan.objective}
    money = Fraction(values["cost"], 10**6) * (1 if c.cost else HOURS)
    assert (money, values["gpus"], values.get("replicas_moved", 0)) == wanted
    assert not c.current or Fraction(plan.moves[0].cost) == plan.moves[0].moved * c.cost


@pytest.mark.parametrize("seed", range(40))
def test_the_fleet_as_it_is_serves_or_does_not(seed: int, tmp_path: Path) -> None:
    """Exactly the running replicas run, in the pools where they stand; without enough of them there is no plan."""
    c = case(seed)
    if not c.current:
        pytest.skip("nothing runs")
    scenario = pipeline.load(yaml(c, tmp_path))
    plan = pipeline.as_is(scenario)
    today = running(c, ((m, p, n) for m, p, n, _ in c.current))
    nodes = {
        pool: max(v[1], -(-sum(n for _, p, n, _ in c.current if p == pool) // v[3])) for pool, v in c.pools.items()
    }
    per_h = sum(nodes[pool] * v[3] * v[4] for pool, v in c.pools.items())
    holds = served(c, today) and (c.total is None or per_h * HOURS <= c.total)
    assert plan.status == ("optimal" if holds else "infeasible")
    assert check_tree(to_tree(plan), "plan.json")[1] == []
    assert plan.as_is is not None and plan.as_is.holds == holds
    assert Fraction(plan.as_is.cost_per_month) == per_h * HOURS
    rows = {row.path: row for row in plan.as_is.rows}
    for model, peak in c.peaks.items() if not served(c, today) else ():
        carried = sum(today.get((model, kind), 0) * c.rates[model][kind] for kind in KINDS)
        assert rows[f"traffic.{model}.peak" if carried else f"traffic.{model}"].factor == (
            Fraction(peak, carried) if carried else None
        )
    if holds:
        assert plan.totals is not None
        assert Fraction(plan.totals.cost_per_h) == per_h
        assert {name: pool.nodes for name, pool in plan.pools.items()} == nodes
        stands = {(d.model, pool): n for d in plan.deployments.values() for pool, n in d.pools.items()}
        assert stands == {(m, p): n for m, p, n, _ in c.current}


@pytest.mark.parametrize("seed", range(8))
def test_the_least_load_of_a_mix_is_exact(seed: int, tmp_path: Path) -> None:
    """Two classes that two kinds of GPUs serve at different rates: at the peaks divided by the load that the judgement
    names the fleet carries both, and at a millionth more it does not."""
    rng = random.Random(seed)
    rates = {kind: [rng.randint(1, 6) for _ in "ab"] for kind in KINDS}
    rows = [f"{GPUS[kind]},{name},{rate}" for kind in KINDS for name, rate in zip("ab", rates[kind], strict=True)]
    (tmp_path / "m.csv").write_text("\n".join(["gpu,class,requests_per_s", *rows]) + "\n")
    rest = 'region: r, available: 4 nodes, gpus_per_node: 1, price: $1/gpu/h, source: "a test"'
    lines = ["kvplan: 1", "name: mix", "models: {m: {capacity_table: m.csv}}", "inventory:"]
    lines += [f"  {kind}: {{gpu: {GPUS[kind]}, {rest}}}" for kind in KINDS]
    lines += ["traffic:", *(f"  {name}: {{model: m, peak: {rng.randint(20, 90)} req/s}}" for name in "ab")]
    lines += ["current:", *(f"  {kind}: {{model: m, pool: {kind}, replicas: {rng.randint(1, 4)}}}" for kind in KINDS)]
    path = tmp_path / "mix.yaml"
    path.write_text("\n".join(lines) + "\n")
    scenario = pipeline.load(path)
    plan = pipeline.as_is(scenario)
    assert plan.as_is is not None
    loads = {row.factor for row in plan.as_is.broken}
    assert len(loads) == 1
    load = loads.pop()
    assert load is not None and load > 1
    for factor, status in ((load, "optimal"), (load * Fraction(999_999, 10**6), "infeasible")):
        traffic = {
            name: replace(each, peak_rps=each.peak_rps / factor, mean_rps=each.peak_rps / factor)
            for name, each in scenario.traffic.items()
        }
        assert pipeline.as_is(replace(scenario, traffic=traffic)).status == status
