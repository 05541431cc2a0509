"""One solved plan for all tests of the exports, and ways to look at what is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from planner import pipeline
from planner.export.serving import Options, Serving, servings
from planner.plan.types import Deployment, Plan

SCENARIO = Path(__file__).parents[1] / "data/scenarios/page.yaml"
PATHS = {"helpdesk": "/models/llama-3.1-8b"}


@cache
def _solved() -> Plan:
    return pipeline.plan(pipeline.load(SCENARIO))


@pytest.fixture(scope="session")
def plan() -> Plan:
    """The plan of the page scenario: several deployments on two pools, and classes that share some of them."""
    return _solved()


@pytest.fixture(scope="session")
def options() -> Options:
    """Options that name the one checkpoint."""
    return Options(model_paths=PATHS)


@pytest.fixture(scope="session")
def found(plan: Plan, options: Options) -> tuple[Serving, ...]:
    """The deployments, ready to be written."""
    return servings(plan, options, engine="vllm", source="plan.json")


@pytest.fixture(scope="session")
def changed(plan: Plan) -> Callable[..., Plan]:
    """The plan with values of its first deployment, its engine or its scenario changed; it need not hold."""

    def change(*, engine: dict[str, Any] | None = None, scenario: dict[str, Any] | None = None, **values: Any) -> Plan:
        name = sorted(plan.deployments)[0]
        first: Deployment = replace(plan.deployments[name], **values)
        models = dict(plan.scenario.models)
        if engine:
            spec = models[first.model]
            assert spec.engine is not None
            models[first.model] = replace(spec, engine=replace(spec.engine, **engine))
        new = replace(plan.scenario, models=models, **(scenario or {}))
        return replace(plan, deployments={**plan.deployments, name: first}, scenario=new)

    return change


@pytest.fixture(scope="session")
def objects() -> Callable[[str], list[dict[str, Any]]]:
    """The documents of a YAML text."""
    return lambda text: list(yaml.safe_load_all(text))
