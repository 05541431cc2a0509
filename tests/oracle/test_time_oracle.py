"""Scenarios over time and with losses against brute force, from the YAML to the money: every choice of nodes is tried.

One GPU type of one-GPU nodes and capacity tables: a class is served where replicas x rate reach its peak, so splits are
exact by arithmetic alone and replicas are as many as the nodes.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, product
from math import ceil
from pathlib import Path

import pytest

from planner import pipeline
from planner.plan.check import check_tree
from planner.plan.io import to_tree

GPU = "l40s-48gb"
HOURS = Fraction(730)


@dataclass(frozen=True)
class Case:
    """A random case in plain numbers; the week is cut in `parts` by share of the hours."""

    parts: tuple[tuple[str, str, Fraction], ...]
    months: int
    rates: dict[str, dict[str, Fraction]]
    growth: dict[str, tuple[int, ...]]
    served: dict[str, Fraction]
    kept: int
    notice: int | None
    offered: int
    term: int | None
    prices: tuple[int, int]
    start_up_min: int
    lost: int
    shed: dict[str, int]
    total: int | None


def case(seed: int) -> Case:
    """One or two periods, one to three months, one or two classes of one model, two pools of the same kind."""
    rng = random.Random(seed)
    halves = (("day", "Mon-Sun 08:00-20:00", Fraction(1, 2)), ("night", "rest", Fraction(1, 2)))
    thirds = (("day", "Mon-Sun 08:00-16:00", Fraction(1, 3)), ("night", "rest", Fraction(2, 3)))
    parts = rng.choice((halves, thirds, (("", "", Fraction(1)),)))
    months = rng.choice((1, 2, 3))
    names = ["chat", "code"][: rng.randint(1, 2)]
    lost = rng.choice((0, 0, 1))
    return Case(
        parts=parts,
        months=months,
        rates={n: {p: Fraction(rng.choice((1, 2, 3, 5)), 2) for p, _, _ in parts} for n in names},
        growth={n: tuple(rng.choice((100, 100, 150, 200, 0)) for _ in range(months)) for n in names},
        served={n: Fraction(rng.choice(("0.75", "1", "1.5"))) for n in names},
        kept=rng.choice((0, 1, 2)),
        notice=rng.choice((None, 1, 2)),
        offered=rng.choice((3, 5)),
        term=rng.choice((None, None, 1, 2, 3)),
        prices=(rng.choice((1, 2)), rng.choice((2, 3))),
        start_up_min=rng.choice((0, 0, 60)),
        lost=lost,
        shed={n: rng.choice((0, 40)) if lost else 0 for n in names},
        total=rng.choice((None, None, None, 4_000)),
    )


def yaml(c: Case, folder: Path) -> Path:
    """The case as a scenario."""
    lines = ["kvplan: 1", "name: tiny", f"horizon: {c.months}mo", "objective: cost"]
    calendar = bool(c.parts[0][0])
    if calendar:
        lines.append("calendar:\n  timezone: UTC\n  periods:")
        lines += [f"    {name}: {text}" for name, text, _ in c.parts]
    lines += ["models: {m: {capacity_table: m.csv}}", "traffic:"]
    for name, rates in c.rates.items():
        peaks = ", ".join(f"{p}: {{peak: {float(rate)} req/s}}" for p, rate in rates.items())
        lines.append(f"  {name}:\n    model: m")
        lines.append(f"    rate: {{{peaks}}}" if calendar else f"    peak: {float(rates[''])} req/s")
        lines.append(f"    growth: [{', '.join(f'{g}%' for g in c.growth[name])}]")
        if c.shed[name]:
            lines.append(f"    when_degraded: {{shed_at_most: {c.shed[name]}%}}")
    lines.append("inventory:")
    common = f"gpu: {GPU}, region: eu, gpus_per_node: 1, source: made up"
    if c.kept:
        notice = f", notice: {c.notice}mo" if c.notice else ""
        lines.append(f"  own: {{{common}, committed: {c.kept} nodes, price: ${c.prices[0]}.00/gpu/h{notice}}}")
    extra = f", term: {c.term}mo" if c.term else (f", start_up: {c.start_up_min}min" if c.start_up_min else "")
    lines.append(f"  more: {{{common}, available: {c.offered} nodes, price: ${c.prices[1]}.00/gpu/h{extra}}}")
    if c.lost:
        lines.append(f"reserve: {{survive: {{more: {c.lost} node}}}}")
    if c.total:
        lines.append(f"budget: {{total: ${c.total}}}")
    rows = ["gpu,class,requests_per_s", *(f"{GPU},{name},{float(rate)}" for name, rate in c.served.items())]
    (folder / "m.csv").write_text("\n".join(rows) + "\n")
    path = folder / "tiny.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


def needed(c: Case, month: int, period: str) -> int:
    """The fewest nodes: for all traffic, and beside the lost ones for all that may not be shed."""
    loads = {n: c.rates[n][period] * c.growth[n][month] / 100 / c.served[n] for n in c.rates}
    if not any(loads.values()):
        return 0
    kept = sum(load * (100 - c.shed[n]) / 100 for n, load in loads.items())
    return max(ceil(sum(loads.values())), ceil(kept) + c.lost if kept else 0)


def cheapest(c: Case) -> Fraction | None:
    """The least money over the horizon, by trying every purchase; nodes beside the committed ones follow from need."""
    best = None
    keeps = [k for k in product(range(c.kept + 1), repeat=c.months) if _may_keep(c, k)]
    buys = list(product(range(c.offered + 1), repeat=c.months)) if c.term else [(0,) * c.months]
    for keep in keeps:
        for buy in buys:
            cost = _cost(c, keep, buy)
            if cost is not None and (c.total is None or cost <= c.total):
                best = cost if best is None else min(best, cost)
    return best


def _may_keep(c: Case, keep: tuple[int, ...]) -> bool:
    fixed = c.months if c.notice is None else c.notice
    return all(n == c.kept for n in keep[:fixed]) and all(a >= b for a, b in pairwise(keep))


def _cost(c: Case, keep: tuple[int, ...], buy: tuple[int, ...]) -> Fraction | None:
    own, more = c.prices
    total = Fraction(0)
    for month in range(c.months):
        live = sum(buy[max(0, month + 1 - c.term) : month + 1]) if c.term else 0
        if live > c.offered:
            return None
        total += (own * keep[month] + more * live) * HOURS
        rented = []
        for period, _, part in c.parts:
            missing = needed(c, month, period) - keep[month] - live
            if missing > 0 and (c.term or missing > c.offered):
                return None
            rented.append((max(0, missing), part))
        total += min(_rent(c, [n for n, _ in rented], [part for _, part in rented]))
    return total


def _rent(c: Case, least: list[int], parts: list[Fraction]) -> list[Fraction]:
    """Money of every way to rent at least so many nodes in the periods, start-ups included: once a day each."""
    costs = []
    for nodes in product(*(range(n, c.offered + 1) for n in least)):
        hours = sum(n * part * HOURS for n, part in zip(nodes, parts, strict=True))
        if len(nodes) == 2 and not c.term:
            hours += abs(nodes[0] - nodes[1]) * Fraction(c.start_up_min, 60) * 7 * HOURS / 168
        costs.append(c.prices[1] * hours if not c.term else Fraction(0))
    return costs


@pytest.mark.parametrize("seeds", [range(30), range(30, 60)], ids=["0-29", "30-59"])
def test_plans_over_time_cost_what_brute_force_says(seeds: range, tmp_path: Path) -> None:
    """Tests the proved cost of periods, months, commitments, starts and losses, and that each plan passes its check."""
    statuses = set()
    for seed in seeds:
        c = case(seed)
        scenario = pipeline.load(yaml(c, tmp_path))
        plan = pipeline.plan(scenario)
        expected = cheapest(c)
        statuses.add(plan.status)
        assert (plan.status == "optimal") == (expected is not None), (seed, plan.status)
        if plan.totals is None or expected is None:
            continue
        assert Fraction(plan.totals.cost_over_horizon) == pytest.approx(float(expected), abs=1e-6), seed
        assert not check_tree(to_tree(plan), "plan.json")[1], seed
    assert statuses == {"optimal", "infeasible"}
