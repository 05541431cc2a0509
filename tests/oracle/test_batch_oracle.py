"""Daily batches in a calendar against brute force: every choice of replicas in every period, every start of a window.

One GPU type of one-GPU nodes and a capacity table: what interactive traffic leaves of a period is room for the batch,
and a plan holds exactly if every window that the batch may have leaves room for a whole day of it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from planner import pipeline
from planner.plan.check import check_tree
from planner.plan.io import to_tree
from planner.scenario.calendar import WEEK_MINUTES, missing, parse_spans

GPU = "l40s-48gb"
OFFERED = 6
STEP_MINUTES = 60
WEEKS = (
    {"day": "Mon-Sun 08:00-20:00", "night": "rest"},
    {"work": "Mon-Fri 08:00-18:00", "rest": "rest"},
    {"day": "Mon-Sun 08:00-20:00", "eve": "Mon-Sun 20:00-22:00", "night": "rest"},
    {"day": "Mon-Sat 06:00-21:00", "sunday": "Sun 00:00-24:00", "night": "rest"},
)


@dataclass(frozen=True)
class Case:
    """A week, interactive rates by period, the batch in requests a day and hours, and nodes that may be lost."""

    week: dict[str, str]
    rates: dict[str, Fraction]
    requests: int
    within_h: int
    arrives_h: int | None
    served: Fraction
    lost: int


def case(seed: int) -> Case:
    """Periods of whole hours, so that windows that start on the hour are all that matter."""
    rng = random.Random(seed)
    week = rng.choice(WEEKS)
    return Case(
        week=week,
        rates={name: Fraction(rng.choice((0, 1, 3, 5)), 2) for name in week},
        requests=rng.choice((30_000, 60_000, 120_000)),
        within_h=rng.choice((4, 8, 12, 24)),
        arrives_h=rng.choice((None, 7, 20)),
        served=Fraction(rng.choice(("0.5", "1", "2.5"))),
        lost=rng.choice((0, 0, 1)),
    )


def yaml(c: Case, folder: Path) -> Path:
    """The case as a scenario."""
    arrives = "" if c.arrives_h is None else f", arrives: {c.arrives_h:02d}:00"
    periods = ", ".join(f"{name}: '{text}'" for name, text in c.week.items())
    rates = ", ".join(f"{name}: {{peak: {float(rate)} req/s}}" for name, rate in c.rates.items())
    chat = f"  chat: {{model: m, rate: {{{rates}}}}}\n" if any(c.rates.values()) else ""
    (folder / "m.csv").write_text(
        "gpu,class,requests_per_s\n" + (f"{GPU},chat,1\n" if chat else "") + f"{GPU},batch,{float(c.served)}\n"
    )
    path = folder / "tiny.yaml"
    path.write_text(
        "kvplan: 1\nname: tiny\nobjective: cost\nmodels: {m: {capacity_table: m.csv}}\ncalendar:\n  timezone: UTC\n"
        f"  periods: {{{periods}}}\ntraffic:\n{chat}"
        f"  batch: {{model: m, requests: {c.requests}/day, slo: {{finish_within: {c.within_h}h}}{arrives}}}\n"
        f"inventory:\n  a: {{gpu: {GPU}, region: eu, gpus_per_node: 1, available: {OFFERED} nodes, price: $1.00/gpu/h, "
        "source: made up}\n" + (f"reserve: {{survive: {{a: {c.lost} node}}}}\n" if c.lost else "")
    )
    return path


def windows(c: Case) -> tuple[np.ndarray, np.ndarray]:
    """Hours of each period within every window (rows), and hours of each period in a week."""
    named = {name: parse_spans(text) for name, text in c.week.items()}
    rest = missing([span for spans in named.values() for span in spans])
    minutes = np.zeros((len(named), WEEK_MINUTES))
    for p, spans in enumerate(named.values()):
        for start, end in spans or rest:
            minutes[p, start:end] = 1
    twice = np.cumsum(np.hstack([np.zeros((len(named), 1)), minutes, minutes]), axis=1) / 60
    starts = range(0, WEEK_MINUTES, STEP_MINUTES)
    if c.arrives_h is not None:
        starts = range(c.arrives_h * 60, WEEK_MINUTES, 24 * 60)
    hours = np.array([twice[:, start + c.within_h * 60] - twice[:, start] for start in starts])
    return hours, minutes.sum(axis=1) / 60


def cheapest(c: Case) -> Fraction | None:
    """The least cost of a month, one a node and hour."""
    hours, week = windows(c)
    rates = np.array([float(rate) for rate in c.rates.values()])
    best = None
    for replicas in product(range(OFFERED + 1), repeat=len(week)):
        left = np.array(replicas) - (c.lost if c.lost else 0)
        room = np.maximum(left, 0) - rates
        if (room < 0).any():
            continue
        done = hours @ (room * float(c.served)) * 3_600
        if (done < c.requests - 1e-6).any():
            continue
        cost = sum(Fraction(count * int(each), 168) * 730 for count, each in zip(replicas, week, strict=True))
        best = cost if best is None else min(best, cost)
    return best


@pytest.mark.parametrize("seeds", [range(12), range(12, 24)], ids=["0-11", "12-23"])
def test_batches_fill_what_others_leave_at_the_cost_of_brute_force(seeds: range, tmp_path: Path) -> None:
    """Tests the proved cost of batches that may wait, with losses, and that each plan passes its check."""
    statuses, waits = set(), 0
    for seed in seeds:
        c = case(seed)
        plan = pipeline.plan(pipeline.load(yaml(c, tmp_path)))
        expected = cheapest(c)
        statuses.add(plan.status)
        assert (plan.status == "optimal") == (expected is not None), (seed, plan.status)
        if plan.totals is None or expected is None or plan.time is None:
            continue
        assert Fraction(plan.totals.cost_over_horizon) == pytest.approx(float(expected), abs=1e-6), seed
        assert not check_tree(to_tree(plan), "plan.json")[1], seed
        waits += any(part.waiting for part in plan.time.situations.values())
    assert "optimal" in statuses
    assert waits
