"""A plan, and logs of fleets that differ from it in one thing, for all tests of looking back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from planner import pipeline
from planner.plan.types import Plan
from planner.scenario.traffic import Lengths, TrafficClass
from planner.scenario.types import Adjust, ModelSpec
from planner.simulate.fleet import Fleet, fleet_of
from planner.simulate.logs import metrics_json, metrics_text, requests_csv
from planner.simulate.replay import Run, replay
from planner.simulate.session import rate_rps
from planner.simulate.stream import generated
from planner.verify.session import Answer, Question, verify

SCENARIO = Path(__file__).parents[1] / "data/scenarios/verify.yaml"
SECONDS = 90.0

Planted = Callable[..., Run]


@pytest.fixture(scope="session")
def plan() -> Plan:
    """Two busy replicas of one deployment, with prefix hits."""
    return pipeline.plan(pipeline.load(SCENARIO))


@pytest.fixture(scope="session")
def planted(plan: Plan) -> Planted:
    """What a fleet does that is as planned but for one thing."""

    def run(error: str = "", seed: int = 1) -> Run:
        other = ERRORS.get(error, lambda same: same)(plan)
        fleet = fleet_of(other, "plan.json")
        if error == "kv_pool":
            fleet = _half_pools(fleet)
        rng, times = np.random.default_rng(seed), 2 if error == "traffic" else 1
        streams = [
            generated(other.scenario.traffic[name], times * rate_rps(plan, name), rng, cv=1.0, seconds=SECONDS)
            for name in sorted(fleet.routing)
        ]
        return replay(fleet, streams, seed=seed)

    return run


@pytest.fixture
def looked_back(plan: Plan, tmp_path: Path) -> Callable[..., Answer]:
    """The look back at a run, by its own log and metrics."""

    def look(run: Run, form: str = ".json") -> Answer:
        log, metrics = tmp_path / "log.csv", tmp_path / f"metrics{form}"
        log.write_text(requests_csv(run), encoding="utf-8")
        metrics.write_text((metrics_json if form == ".json" else metrics_text)(run), encoding="utf-8")
        return verify(plan, Question({"": str(log)}, str(metrics)), "plan.json")

    return look


def _models(plan: Plan, change: Callable[[ModelSpec], ModelSpec]) -> Plan:
    models = {name: change(model) for name, model in plan.scenario.models.items()}
    return replace(plan, scenario=replace(plan.scenario, models=models))


def _traffic(plan: Plan, change: Callable[[TrafficClass], TrafficClass]) -> Plan:
    traffic = {name: change(one) for name, one in plan.scenario.traffic.items()}
    return replace(plan, scenario=replace(plan.scenario, traffic=traffic))


def _longer(lengths: Lengths | None) -> Lengths:
    assert lengths is not None
    return Lengths(tuple((ppm, tokens * 3 // 2) for ppm, tokens in lengths.percentiles), lengths.max_tokens * 3 // 2)


def _half_pools(fleet: Fleet) -> Fleet:
    sites = {}
    for name, site in fleet.sites.items():
        pool = replace(site.rules.pool, usable_blocks=site.rules.pool.usable_blocks // 2)
        sites[name] = replace(site, rules=replace(site.rules, pool=pool))
    return replace(fleet, sites=sites)


ERRORS: dict[str, Callable[[Plan], Plan]] = {
    "decode": lambda plan: _models(plan, lambda model: replace(model, adjust=Adjust(0, 200_000, "planted"))),
    "prefix_hits": lambda plan: _traffic(plan, lambda one: replace(one, reusable_prefix_ppm=0)),
    "outputs": lambda plan: _traffic(plan, lambda one: replace(one, output_tokens=_longer(one.output_tokens))),
    "prompts": lambda plan: _traffic(plan, lambda one: replace(one, input_tokens=_longer(one.input_tokens))),
}
"""20 % slower decode, no prefix hits, longer answers or prompts; twice the traffic and half the pool are no plan's."""
