"""Every kind of architecture plans end to end: experts, latents, windows, states, and shapes of several dimensions."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from planner import pipeline
from planner.catalog.parallel import parse_parallel
from planner.performance.fit import ONE_FIT_MEAN_ERROR
from planner.plan.check import check_tree
from planner.plan.io import to_json
from planner.plan.types import Plan
from planner.report.plan_markdown import plan_markdown
from planner.report.text import plan_text

SCENARIO = Path(__file__).resolve().parents[1] / "data" / "scenarios" / "architectures.yaml"
MODELS = ("experts", "packed", "latent", "windows", "states", "stages")


@cache
def solved() -> Plan:
    """The plan of all of them, each on nodes of its own choice."""
    return pipeline.plan(pipeline.load(SCENARIO))


def test_all_of_them_are_planned_and_checked() -> None:
    """One proved plan, every deployment of it derived again."""
    plan = solved()
    assert plan.status == "optimal"
    assert {each.model for each in plan.deployments.values()} == set(MODELS)
    assert check_tree(json.loads(to_json(plan)), "plan.json")[1] == []


@pytest.mark.parametrize("model", MODELS)
def test_promises_hold_with_the_provider_named(model: str) -> None:
    """Predictions with their band stay within the promises; steps have small fit errors."""
    for each in (d for d in solved().deployments.values() if d.model == model):
        assert each.provider and each.band is not None and each.step is not None
        assert all(promise.predicted_us <= promise.limit_us for promise in each.promises)
        assert each.step.fit_mean_error_ppm <= ONE_FIT_MEAN_ERROR * 1_000_000
        assert each.step.full_chunk_ns > 0


@pytest.mark.parametrize("model", MODELS)
def test_replicas_take_the_gpus_of_their_shape_inside_a_node(model: str) -> None:
    """tp x pp x dp GPUs each, and no more than a node has."""
    for each in (d for d in solved().deployments.values() if d.model == model):
        shape = parse_parallel(each.parallel)
        assert not isinstance(shape, str)
        assert each.gpus == each.replicas * shape.gpus
        assert shape.gpus == shape.tp * shape.pp * shape.dp <= each.gpus_per_node


def test_pages_show_step_times_of_all() -> None:
    """Terminal and Markdown name every deployment's provider and fit."""
    plan = solved()
    for page in (plan_text(plan, 160, verbose=True), plan_markdown(plan)):
        assert all(name in page for name in plan.deployments)
        assert "empty step" in page


def test_a_choice_of_shapes_is_one_dimension_among_others() -> None:
    """The latent model is offered whole experts and repeated attention; what does not start says so."""
    plan = solved()
    (latent,) = (each for each in plan.deployments.values() if each.model == "latent")
    assert latent.parallel in ("tp8-ep", "tp1-dp8-ep", "tp4-dp2-ep")
    assert latent.gpus == 8 * latent.replicas
