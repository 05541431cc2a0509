"""Alert rules: queries that parse, thresholds from the plan, severities that follow from what a metric can prove."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import promql_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.export.alerts import METRICS, allowed_kv_share, rule_group
from planner.export.serving import Options, Serving, servings
from planner.plan.types import Deployment, Plan, Promise, Route

Rules = dict[str, dict[str, Any]]


def _rules(plan: Plan, serving: Serving) -> Rules:
    group: Any = rule_group(plan, serving, "page-x")
    assert group["name"] == "page-x"
    return {rule["alert"] + ("" if rule["labels"]["severity"] == "page" else "/w"): rule for rule in group["rules"]}


def _threshold(rule: dict[str, Any]) -> Fraction:
    """The number behind the first comparison."""
    found = re.search(r"[<>] ([0-9.]+)", rule["expr"])
    assert found is not None
    return Fraction(found[1])


def _serving(plan: Plan, options: Options, name: str, change: Callable[[Deployment], Deployment]) -> Serving:
    deployments = {**plan.deployments, name: change(plan.deployments[name])}
    found = servings(replace(plan, deployments=deployments), options, engine="vllm", source="plan.json")
    return next(each for each in found if each.name == name)


def test_every_query_is_promql(plan: Plan, found: tuple[Serving, ...]) -> None:
    """Prometheus' own grammar takes all of them, for both engines' metric names."""
    for serving in found:
        for name in METRICS:
            other = replace(serving, engine=replace(serving.engine, name=name))
            for rule in _rules(plan, other).values():
                promql_parser.parse(rule["expr"])
                assert set(re.findall(r"[a-z]+:[a-z_]+", rule["expr"])) <= _names(name)


def _names(engine: str) -> set[str]:
    metrics = METRICS[engine]
    histograms = {f"{name}_{part}" for name in (metrics.ttft, metrics.tpot) for part in ("bucket", "count")}
    return histograms | {metrics.kv_usage, metrics.waiting, metrics.preempted, metrics.finished}


def test_two_limits_in_one_histogram(plan: Plan, found: tuple[Serving, ...]) -> None:
    """questions promise 800 ms and documents 3 s on one deployment: only above 3 s is a promise surely broken."""
    serving = found[0]
    assert {route.class_name for route in serving.deployment.routing} == {"questions", "documents"}
    rules = _rules(plan, serving)
    assert _threshold(rules["KvplanP95TTFTAbovePromise"]) == 3
    assert _threshold(rules["KvplanP95TTFTNearPromise/w"]) == Fraction("0.8")
    assert _threshold(rules["KvplanP95TPOTAbovePromise"]) == Fraction("0.05")
    assert _threshold(rules["KvplanP95TPOTNearPromise/w"]) == Fraction("0.04")
    assert "documents" in rules["KvplanP95TTFTAbovePromise"]["annotations"]["description"]


_TIMES = st.lists(st.integers(1, 5_000), min_size=1, max_size=60)


@given(_TIMES, _TIMES, st.integers(1, 5_000), st.integers(1, 5_000))
def test_the_loosest_limit_proves_a_broken_promise(one: list[int], other: list[int], a: int, b: int) -> None:
    """Whenever more than 5 % of a mixture is above the loosest limit, more than 5 % of a class is above its own."""

    def broken(times: list[int], limit: int) -> bool:
        return sum(time > limit for time in times) * 20 > len(times)

    if broken(one + other, max(a, b)):
        assert broken(one, a) or broken(other, b)


def _batch(plan: Plan) -> Route:
    """The first route of digest, which has no promise but to finish."""
    routes = (route for deployment in plan.deployments.values() for route in deployment.routing)
    return next(route for route in routes if route.class_name == "digest")


def test_a_batch_in_the_mix_leaves_only_warnings(plan: Plan, options: Options) -> None:
    """digest has no TTFT, so its requests may be the slow ones: nothing pages, and waiting is by design."""
    name = next(name for name, each in plan.deployments.items() if "questions" in {r.class_name for r in each.routing})
    mixed = _serving(plan, options, name, lambda d: replace(d, routing=(*d.routing, _batch(plan))))
    rules = _rules(plan, mixed)
    assert "KvplanP95TTFTAbovePromise" not in rules and "KvplanWaitingAbovePlan" not in rules
    assert _threshold(rules["KvplanP95TTFTNearPromise/w"]) == Fraction("0.8")


def test_a_batch_alone_is_watched_by_its_rate(plan: Plan, options: Options) -> None:
    """digest needs 60,000 requests in 5 hours; a deployment of its own takes its share of that."""

    def alone(deployment: Deployment) -> Deployment:
        routes = tuple(route for route in deployment.routing if route.class_name == "digest")
        promises = tuple(promise for promise in deployment.promises if promise.class_name == "digest")
        return replace(deployment, routing=routes, promises=promises)

    name = next(name for name, each in plan.deployments.items() if _batch(plan) in each.routing)
    serving = _serving(plan, options, name, alone)
    rules = _rules(plan, serving)
    share = sum(route.share for route in serving.deployment.routing)
    expected = float(share * Fraction(60_000, 5 * 3600))
    assert float(_threshold(rules["KvplanBatchBehindPlan"])) == pytest.approx(expected, rel=1e-5)
    assert not any("TTFT" in name or "TPOT" in name for name in rules)


def test_waiting_follows_littles_law(plan: Plan, options: Options) -> None:
    """20 requests/s that may wait 3 s: 60 in the queue."""
    rate = Route("i", "documents", (1, 9), 1_000_000, Fraction(1), Fraction(20), Fraction(0), Fraction(0), 0)
    promise = Promise("documents", "ttft_p95", 1_000_000, 3_000_000, "roofline", "p90")
    serving = _serving(plan, options, "helpdesk-1", lambda d: replace(d, routing=(rate,), promises=(promise,)))
    rules = _rules(plan, serving)
    assert _threshold(rules["KvplanWaitingAbovePlan"]) == 60
    assert _threshold(rules["KvplanDemandAbovePlan/w"]) == 20


def test_kv_use_is_held_to_the_row(plan: Plan, found: tuple[Serving, ...]) -> None:
    """Utilization 95 % over the margin of 1.2: 79 % on average; a headroom of 50 % doubles the margin's part."""
    assert allowed_kv_share(plan) == Fraction(95, 120)
    assert float(_threshold(_rules(plan, found[0])["KvplanKvUseAbovePlan/w"])) == pytest.approx(0.95 / 1.2, abs=1e-6)
    reserve = replace(plan.scenario.reserve, kv_headroom_ppm=500_000, utilization_ppm=1_000_000)
    assert allowed_kv_share(replace(plan, scenario=replace(plan.scenario, reserve=reserve))) == Fraction(1, 2)


def test_missing_replicas_page_after_spare_ones(plan: Plan, found: tuple[Serving, ...]) -> None:
    """Spare replicas may be missing; nodes that take 3 minutes to start get them."""
    replicas = found[1].deployment.replicas
    assert replicas > 1
    assert _threshold(_rules(plan, found[1])["KvplanReplicasBelowPlan"]) == replicas
    reserve = replace(plan.scenario.reserve, spare_replicas=1)
    pools = {
        name: replace(pool, start_up_us=170_000_000) if name in found[1].deployment.pools else pool
        for name, pool in plan.scenario.inventory.items()
    }
    other = replace(plan, scenario=replace(plan.scenario, reserve=reserve, inventory=pools))
    rule = _rules(other, found[1])["KvplanReplicasBelowPlan"]
    assert _threshold(rule) == replicas - 1 and rule["for"] == "3m"


def test_names_open_no_templates(plan: Plan, options: Options) -> None:
    """Prometheus expands {{ }} in annotations; a name from a plan must not reach that."""
    named = replace(plan, deployments={"{{ query }}": plan.deployments["helpdesk-1"]})
    (serving,) = servings(named, options, engine="vllm", source="plan.json")
    for rule in _rules(named, serving).values():
        assert not any("{{" in text for text in rule["annotations"].values())


def test_small_numbers_are_written_without_exponents(plan: Plan, options: Options) -> None:
    """A class of one request an hour still gives decimals that PromQL reads."""
    rare = Route("i", "documents", (1, 9), 1_000_000, Fraction(1), Fraction(1, 360_000), Fraction(0), Fraction(0), 0)
    serving = _serving(plan, options, "helpdesk-1", lambda d: replace(d, routing=(rare,)))
    assert "> 0.00000277778" in _rules(plan, serving)["KvplanDemandAbovePlan/w"]["expr"]
