"""What the roofline does not time is refused by name, never timed as something else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from planner.catalog import load_engine, load_gpu, load_model
from planner.catalog.parallel import Parallel
from planner.catalog.types import AttentionKv, Bottleneck, ModelFacts, Refusal, StateKv
from planner.performance.provider import StepModel, StepRequest
from planner.performance.step_model import step_model


def llama() -> ModelFacts:
    """Llama-3.1-8B, which is timed."""
    facts = load_model("llama-3.1-8b", Path())
    assert not isinstance(facts, str)
    return facts


def step(shape: Parallel) -> StepModel | Refusal:
    """Llama-3.1-8B on H100s in a shape."""
    gpu, engine = load_gpu("h100-sxm-80gb"), load_engine("vllm@0.24")
    assert gpu is not None and not isinstance(engine, str)
    return step_model(StepRequest(llama(), gpu, engine, shape))


FULL = AttentionKv(8, 128, 128)
CASES = {
    "recurrent layers": {"kv_layers": (FULL, StateKv("gdn", 32, 128, 128, 16, 4)) * 16},
    "sliding-window attention": {"kv_layers": (replace(FULL, reach="sliding", window_tokens=4096),) * 32},
    "chunked local attention": {"kv_layers": (replace(FULL, reach="chunked", window_tokens=8192),) * 32},
    "only bounded, not understood": {"bound": "high"},
    "layers that keep different KV": {"kv_layers": (FULL,) * 16 + (None,) * 16},
    "mixture-of-experts layers": {"experts": 8},
    "(MLA)": {"kv_lora_rank": 512},
    "lacks what the roofline provider times: ffn_size": {"missing": ("ffn_size",)},
    "strange rope": {"unsupported": ("strange rope",)},
}


@pytest.mark.parametrize("words", CASES)
def test_an_architecture_is_refused_by_name(words: str) -> None:
    """Each kind of layer that is not timed has its own words, and the model's id."""
    gpu, engine = load_gpu("h100-sxm-80gb"), load_engine("vllm@0.24")
    assert gpu is not None and not isinstance(engine, str)
    refused = step_model(StepRequest(replace(llama(), **CASES[words]), gpu, engine))
    assert isinstance(refused, Refusal)
    assert refused.bottleneck is Bottleneck.ARCHITECTURE
    assert words in refused.message and "llama-3.1-8b" in refused.message


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (Parallel(4, pp=2), "pipeline parallelism"),
        (Parallel(4, dp=2), "data parallelism inside a replica"),
        (Parallel(4, dcp=2), "decode context parallelism"),
        (Parallel(4, ep=True), "expert parallelism"),
        (Parallel(4, 2, 2, 2, True), "pipeline parallelism, data parallelism inside a replica, decode context"),
    ],
)
def test_a_shape_is_refused_by_name(shape: Parallel, words: str) -> None:
    """Every part of a shape beyond tensor parallelism is named, with the plain shape as the nearest."""
    refused = step(shape)
    assert isinstance(refused, Refusal)
    assert (refused.bottleneck, refused.nearest) == (Bottleneck.PARALLEL, "tp4")
    assert words in refused.message and str(shape) in refused.message


def test_a_provider_that_is_absent_is_refused() -> None:
    """Providers that are not there yet say so."""
    gpu, engine = load_gpu("h100-sxm-80gb"), load_engine("vllm@0.24")
    assert gpu is not None and not isinstance(engine, str)
    refused = step_model(StepRequest(llama(), gpu, engine), "silicon")
    assert isinstance(refused, Refusal)
    assert "silicon" in refused.message


def test_tensor_parallelism_alone_is_not_refused() -> None:
    """Plain shapes pass to the tests of the step model."""
    assert not any(isinstance(step(Parallel(tp)), Refusal) for tp in (1, 2, 4, 8))
