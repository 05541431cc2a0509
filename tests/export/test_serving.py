"""What a plan must be to be exported, and every reason why it cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from planner import pipeline
from planner.errors import InputError
from planner.export.serving import Options, servings
from planner.plan.types import Plan

ROOT = Path(__file__).parents[2]
PATHS = {"helpdesk": "/models/llama-3.1-8b"}


def _problems(plan: Plan, options: Options, engine: str | None = "vllm") -> list[str]:
    with pytest.raises(InputError) as caught:
        servings(plan, options, engine=engine, source="plan.json")
    return [str(diagnostic) for diagnostic in caught.value.diagnostics]


def test_a_missing_path_is_asked_for_once_with_the_format_of_its_weights(plan: Plan) -> None:
    """A model with several deployments gives one message, which names model, weights and flag."""
    (problem,) = _problems(plan, Options())
    assert "helpdesk serves llama-3.1-8b with bf16 weights" in problem
    assert "--model-path helpdesk=PATH" in problem and "[KV962]" in problem


def test_a_path_for_a_model_that_is_not_there_is_a_mistake(plan: Plan) -> None:
    """A misspelled name must not leave a model without its path unnoticed."""
    problems = _problems(plan, Options(model_paths={"helpdesc": "/m", **PATHS}))
    assert problems == [
        "plan.json: error: --model-path names 'helpdesc', which the plan does not deploy; write one of helpdesk [KV962]"
    ]


def test_a_deployment_may_have_its_own_checkpoint(plan: Plan) -> None:
    """The name of a deployment wins over that of its model."""
    found = servings(plan, Options(model_paths={**PATHS, "helpdesk-2": "/other"}), engine=None, source="plan.json")
    paths = {each.name: each.model_path for each in found}
    assert paths.pop("helpdesk-2") == "/other"
    assert set(paths.values()) == {"/models/llama-3.1-8b"}


@pytest.mark.parametrize("path", ["-h", "--config=/etc/x", " /m", "/m\n", "", "/m\x1b[31m", "/m\u202e"])
def test_paths_that_read_as_something_else_are_refused(plan: Plan, path: str) -> None:
    """Flags, blanks at the ends and control characters never reach a command line."""
    assert any("[KV962]" in problem for problem in _problems(plan, Options(model_paths={"helpdesk": path})))


def test_a_vllm_plan_is_not_exported_to_sglang(plan: Plan) -> None:
    """Its numbers were computed with vLLM's rules; the message says what to do."""
    (problem,) = _problems(plan, Options(model_paths=PATHS), "sglang")
    assert "helpdesk is planned for vllm@0.24" in problem
    assert "write `engine: sglang@...` and solve again [KV961]" in problem


def test_a_capacity_table_has_no_flags() -> None:
    """A model planned from published requests/s has no engine to configure."""
    plan = pipeline.plan(pipeline.load(ROOT / "examples/02-mixed-gpus/scenario.yaml"))
    assert any("capacity table" in problem and "[KV961]" in problem for problem in _problems(plan, Options(), None))


def test_a_plan_without_deployments_is_refused(plan: Plan) -> None:
    """An infeasible plan says so."""
    (problem,) = _problems(replace(plan, status="infeasible", deployments={}), Options())
    assert "the plan is infeasible and has no deployments" in problem


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kv_preset": "int4-per-token-head"}, "no KV dtype for the preset 'int4-per-token-head'"),  # 0.33 only
        ({"kv_preset": "sglang-fp8-e4m3"}, "no KV dtype"),  # a preset of another engine
        ({"kv_preset": "no-such"}, "no KV dtype"),
        ({"parallel": "tp2"}, "2 GPUs are not 2 replicas of 'tp2'"),
        ({"parallel": "$(reboot)"}, "GPUs are not"),
        ({"parallel": "tp3", "gpus": 6}, "3 GPUs on nodes of 2"),  # no whole nodes
    ],
)
def test_deployments_that_no_flag_can_say(changed: Callable[..., Plan], values: dict[str, Any], said: str) -> None:
    """Each is named with its number."""
    problems = _problems(changed(**values), Options(model_paths=PATHS))
    assert any(said in problem and "[KV961]" in problem for problem in problems)


def test_sglang_gets_no_data_parallel_shape(changed: Callable[..., Plan]) -> None:
    """SGLang's data parallelism splits other ranks than the shape means."""
    plan = changed(engine={"name": "sglang", "requested": "sglang@0.5"}, parallel="tp1-dp2", gpus=4)
    assert any("not exported to SGLang yet" in problem for problem in _problems(plan, Options(model_paths=PATHS), None))


def test_a_replica_over_whole_nodes_knows_how_many(changed: Callable[..., Plan], options: Options) -> None:
    """Eight GPUs on nodes of two are four nodes."""
    plan = changed(parallel="tp2-pp4", gpus=16)
    assert servings(plan, options, engine="vllm", source="plan.json")[0].nodes_per_replica == 4


def test_quantizing_on_load_is_said_only_where_weights_are_not_the_models_own(changed: Callable[..., Plan]) -> None:
    """fp8 of a 16-bit model needs the flag, its 16-bit weights do not."""
    options = Options(model_paths=PATHS, quantize_on_load=True)
    found = servings(changed(weights="fp8"), options, engine="vllm", source="plan.json")
    assert found[0].quantization == "fp8"
    assert {each.quantization for each in found[1:]} == {None}
    assert "makes fp8 weights of it" in found[0].notes[0]
    assert any("makes no mxfp4 weights" in problem for problem in _problems(changed(weights="mxfp4"), options))


def test_a_16_bit_kv_plan_warns_of_checkpoints_that_ask_for_less(changed: Callable[..., Plan]) -> None:
    """`auto` follows the checkpoint's own config in vLLM, so a quantized one could bring fp8 KV unasked."""
    found = servings(changed(weights="fp8"), Options(model_paths=PATHS), engine="vllm", source="plan.json")
    assert any("kv_cache_scheme" in note for note in found[0].notes)
    assert not any("kv_cache_scheme" in note for note in found[1].notes)


@pytest.mark.parametrize("shape", ["pp2", "tp0", "tp4-ep-dp2", "tp\u0664", "tp8-dcp3", "tp99999999999999999999"])
def test_what_is_no_shape_is_refused(shape: str, changed: Callable[..., Plan]) -> None:
    """Shapes are read as the catalog writes them; one that somebody edited into a plan is named, not guessed."""
    assert any(f"replicas of '{shape}'" in text for text in _problems(changed(parallel=shape), Options(PATHS)))
