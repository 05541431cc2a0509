"""Spot nodes that can be counted on: the binomial quantile against every outcome, and what must be asked for."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import pytest

from planner.candidates.spot import asked_for, counted, counted_on, most_counted, steps
from planner.catalog import load_gpu
from planner.catalog.types import GpuFacts
from planner.scenario.types import Pool, SpotTerms


def pool(nodes: int, terms: SpotTerms) -> Pool:
    """A spot pool of so many nodes."""
    gpu = load_gpu("l40s-48gb")
    assert isinstance(gpu, GpuFacts)
    return Pool("spot", gpu, "eu", 4, 0, nodes, 1_000_000, "page", spot=True, terms=terms)


@pytest.mark.parametrize("availability", [300_000, 900_000, 970_000, 999_999])
@pytest.mark.parametrize("confidence", [500_000, 990_000, 999_000])
def test_nodes_counted_on_are_all_there_often_enough(availability: int, confidence: int) -> None:
    """Tests the most nodes that are there with the confidence asked for against all 2^n outcomes."""
    there = Fraction(availability, 1_000_000)
    for nodes in range(7):
        chance = [Fraction(0)] * (nodes + 1)
        for outcome in product((0, 1), repeat=nodes):
            chance[sum(outcome)] += there ** sum(outcome) * (1 - there) ** (nodes - sum(outcome))
        most = max(k for k in range(nodes + 1) if k == 0 or sum(chance[k:]) >= Fraction(confidence, 1_000_000))
        assert counted_on(SpotTerms(availability, confidence), nodes) == most


def test_one_more_node_counts_for_one_at_most_and_steps_say_when_it_counts_for_none() -> None:
    """Tests what must be asked for, for every number of nodes that can be counted on, and the steps between them."""
    own = pool(60, SpotTerms(930_000, 995_000))
    assert all(0 <= counted(own, n) - counted(own, n - 1) <= 1 for n in range(1, 61))
    for nodes in range(most_counted(own) + 1):
        asked = asked_for(own, nodes)
        assert counted(own, asked) >= nodes
        assert asked == 0 or counted(own, asked - 1) < nodes
        assert asked - nodes == sum(step <= nodes for step in steps(own))
    with pytest.raises(ValueError, match="at most"):
        asked_for(own, most_counted(own) + 1)


def test_a_node_that_is_always_there_is_counted_on_and_costs_its_price() -> None:
    """Tests that without availability nothing is kept back, and that a node is paid while it is there, rounded up."""
    assert (steps(pool(9, SpotTerms())), counted(pool(9, SpotTerms()), 9)) == ((), 9)
    assert pool(9, SpotTerms()).price_micro_per_node_h == 4_000_000
    assert pool(9, SpotTerms(333_333)).price_micro_per_node_h == 1_333_332
    assert pool(9, SpotTerms(999_999)).price_micro_per_node_h == 3_999_996


def test_endless_stock_is_counted_on_at_once() -> None:
    """Tests that more nodes than a file may offer, as explanations ask for, are not counted one by one."""
    endless = pool(1_000_000, SpotTerms(930_000))
    assert (steps(endless), most_counted(endless), asked_for(endless, 7)) == ((), 1_000_000, 7)
