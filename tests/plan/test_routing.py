"""Router hints: disjoint intervals whose exact shares say what the plan says."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner import pipeline
from planner.errors import InputError
from planner.plan.routing import Interval, intervals
from planner.plan.types import Plan, Route

SCENARIO = Path(__file__).parents[1] / "data/scenarios/page.yaml"


@pytest.fixture(scope="module")
def plan() -> Plan:
    """The plan of the page scenario."""
    return pipeline.plan(pipeline.load(SCENARIO))


def _route(first: int, last: int, share: Fraction) -> Route:
    return Route("i", "questions", (first, last), 1, share, Fraction(1), Fraction(0), Fraction(0), 0)


def _routed(plan: Plan, routes: dict[str, tuple[Route, ...]]) -> Plan:
    first = next(iter(plan.deployments.values()))
    return replace(plan, deployments={name: replace(first, routing=rows) for name, rows in routes.items()})


def test_runs_are_cut_where_bands_end(plan: Plan) -> None:
    """Half of all prompts on one deployment, the other half by length on two: two intervals of halves."""
    half = Fraction(1, 2)
    routes = {
        "all": (_route(10, 900, half),),
        "long": (_route(501, 900, half),),
        "short": (_route(10, 500, half),),
    }
    found = intervals(_routed(plan, routes), "questions", "plan.json")
    assert found == (
        Interval(0, 500, (("all", half), ("short", half))),
        Interval(501, None, (("all", half), ("long", half))),
    )


def test_prompts_between_bands_go_to_the_longer_one(plan: Plan) -> None:
    """A prompt longer than the longest of a band may be too long for its limit; shorter ones always fit."""
    routes = {"a": (_route(10, 500, Fraction(1)),), "b": (_route(600, 900, Fraction(1)),)}
    found = intervals(_routed(plan, routes), "questions", "plan.json")
    assert [(i.from_tokens, i.to_tokens, i.shares[0][0]) for i in found] == [(0, 500, "a"), (501, None, "b")]


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), min_size=1, max_size=3), min_size=1, max_size=5)
)
def test_shares_of_each_band_come_back(bands: list[list[tuple[int, int]]]) -> None:
    """Routing each band by itself, whatever the shares, gives one interval a band with exactly these shares."""
    expected: list[dict[str, Fraction]] = []
    routes: dict[str, tuple[Route, ...]] = {}
    for number, band in enumerate(bands):
        total = sum(weight for _, weight in band)
        shares: dict[str, Fraction] = {}
        for target, weight in band:
            shares[f"d{target}"] = shares.get(f"d{target}", Fraction(0)) + Fraction(weight, total)
        expected.append(shares)
        for name, share in shares.items():
            routes[name] = (*routes.get(name, ()), _route(number * 100 + 1, number * 100 + 90, share))
    found = intervals(_routed(_PLAN[0], routes), "questions", "plan.json")
    assert [dict(interval.shares) for interval in found] == expected
    assert [interval.from_tokens for interval in found] == [0, *(i * 100 + 91 for i in range(len(bands) - 1))]
    for interval in found:
        weights = interval.weights
        assert sum(weights.values()) == 1_000_000
        assert all(abs(weights[name] - share * 1_000_000) < 1 for name, share in interval.shares)


_PLAN: list[Plan] = []


@pytest.fixture(scope="module", autouse=True)
def _keep(plan: Plan) -> None:
    _PLAN[:] = [plan]


def test_a_plan_whose_shares_do_not_add_up_is_refused(plan: Plan) -> None:
    """A router that drops traffic is worse than none."""
    with pytest.raises(InputError, match=r"shares of prompts .* add up to 0; .*KV961"):
        intervals(_routed(plan, {"a": (_route(1, 9, Fraction(0)),)}), "questions", "plan.json")


def test_the_plan_of_the_page_scenario(plan: Plan) -> None:
    """Every class of a solved plan is routed completely, and the shares are those of its routes."""
    for name in plan.scenario.traffic:
        for interval in intervals(plan, name, "plan.json"):
            assert sum(share for _, share in interval.shares) == 1
    (only,) = intervals(plan, "documents", "plan.json")
    assert (only.from_tokens, only.to_tokens) == (0, None)
