"""Conflicts against brute force: tiny fleets whose every subset of lines is judged by arithmetic of its own."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations, product
from math import ceil
from pathlib import Path

import pytest

from planner.explain.conflicts import conflicts, hitting_sets
from planner.explain.lines import lines_of
from planner.explain.probes import Probes
from planner.explain.source import open_source
from planner.explain.tables import Tables

SEEDS = (2, 3, 5, 8, 13, 21)
TINY = Fraction(1, 1_000_000)
NO_LIMIT = 10**9


@dataclass(frozen=True)
class Fleet:
    """A scenario in eight numbers. A GPU of pool `one` serves 1 req/s of either class, one of `two` 2 of chat or 3 of
    search; nodes have two GPUs, at $1 and $3 an hour each."""

    chat: Fraction
    search: Fraction
    one: int
    two: int
    replicas: int
    spare: int
    budget: int
    committed: int

    def has_plan(self) -> bool:
        """Whether some replicas of both kinds carry everything within the limits."""
        most = min(16, self.replicas)
        return any(self._holds(y1, y2) for y1, y2 in product(range(most + 1), repeat=2) if y1 + y2 <= self.replicas)

    def _holds(self, y1: int, y2: int) -> bool:
        nodes_one = ceil(Fraction(y1, 2)) + (self.spare if y1 else 0)
        nodes_two = ceil(Fraction(y2, 2)) + (self.spare if y2 else 0)
        cost = 730 * (2 * nodes_one + 6 * max(nodes_two, self.committed))
        if nodes_one > self.one or nodes_two > self.two or cost > self.budget:
            return False
        searched = min(self.search, 3 * Fraction(y2))  # what `two` does best, first
        chatted = min(self.chat, 2 * (y2 - searched / 3))
        return self.search - searched + self.chat - chatted <= y1

    def loosened(self, paths: Iterable[str]) -> Fleet:
        """The same with some lines loosened."""
        fleet = self
        for path in paths:
            fleet = {
                "traffic.chat.peak": lambda f: replace(f, chat=f.chat * TINY),
                "traffic.search.peak": lambda f: replace(f, search=f.search * TINY),
                "inventory.one.available": lambda f: replace(f, one=NO_LIMIT),
                "inventory.two.committed": lambda f: replace(f, two=NO_LIMIT, committed=0),
                "models.helper.replicas.max": lambda f: replace(f, replicas=NO_LIMIT),
                "reserve.spare": lambda f: replace(f, spare=0),
                "budget.monthly": lambda f: replace(f, budget=NO_LIMIT),
            }[path](fleet)
        return fleet

    def text(self) -> str:
        """The scenario."""
        text = f"""\
kvplan: 1
name: tiny
models:
  helper: {{capacity_table: capacity.csv, replicas: {{max: {self.replicas}}}}}
traffic:
  chat: {{model: helper, peak: {self.chat} req/s, mean: 1 req/s}}
  search: {{model: helper, peak: {self.search} req/s, mean: 1 req/s}}
inventory:
  one: {{gpu: l40s-48gb, region: eu, available: {self.one} nodes, gpus_per_node: 2, price: $1/gpu/h, source: x}}
  two: {{gpu: h100-sxm-80gb, region: eu, committed: {self.two} nodes, gpus_per_node: 2, price: $3/gpu/h, source: x}}
reserve: {{spare: {{nodes: {self.spare}}}}}
budget: {{monthly: ${self.budget}}}
"""
        return text.replace(": 1 nodes", ": 1 node")


TABLE = """\
gpu,class,requests_per_s
l40s-48gb,chat,1
l40s-48gb,search,1
h100-sxm-80gb,chat,2
h100-sxm-80gb,search,3
"""


@pytest.mark.parametrize("seed", SEEDS)
def test_conflicts_are_all_minimal_ones(seed: int, tmp_path: Path) -> None:
    """Tests that the conflicts are exactly the minimal sets of lines that leave no plan, of all subsets."""
    rng = random.Random(seed)
    two, budget = rng.randint(1, 2), rng.randint(5, 13) * 1_000
    chat, search = Fraction(rng.randint(4, 9)), Fraction(rng.randint(2, 5))
    fleet = Fleet(chat, search, rng.randint(1, 2), two, rng.randint(4, 7), rng.randint(0, 1), budget, two)
    (tmp_path / "capacity.csv").write_text(TABLE)
    (tmp_path / "scenario.yaml").write_text(fleet.text())
    source = open_source(str(tmp_path / "scenario.yaml"), tmp_path / "work")
    lines = lines_of(source)
    paths = frozenset(line.path for line in lines)
    minimal: list[frozenset[str]] = []
    for size in range(len(lines) + 1):
        for kept in map(frozenset, combinations(sorted(paths), size)):
            if not any(known <= kept for known in minimal) and not fleet.loosened(paths - kept).has_plan():
                minimal.append(kept)
    probes = Probes(source, lines, Tables(source.scenario), time.monotonic() + 60, lambda _: None)
    found = conflicts(probes, most=20, first_s=60)
    assert minimal
    assert found.complete
    assert {frozenset(lines[index].path for index in each.lines) for each in found.found} == set(minimal)


def test_hitting_sets_are_the_minimal_ones() -> None:
    """Tests minimal hitting sets against all subsets, for random families of sets."""
    rng = random.Random(7)
    for _ in range(50):
        sets = [frozenset(rng.sample(range(6), rng.randint(1, 3))) for _ in range(rng.randint(0, 5))]
        every = [frozenset(chosen) for size in range(7) for chosen in combinations(range(6), size)]
        hits = [chosen for chosen in every if all(chosen & each for each in sets)]
        assert set(hitting_sets(sets)) == {chosen for chosen in hits if not any(other < chosen for other in hits)}
