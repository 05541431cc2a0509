"""What the roofline does not time is refused by name, never timed as something else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from planner.catalog import load_engine, load_gpu, load_model
from planner.catalog.parallel import Parallel, parse_parallel
from planner.catalog.types import Bottleneck, ModelFacts, Refusal
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


CASES = {
    "only bounded, not understood": {"bound": "high"},
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


def test_a_provider_that_is_absent_is_refused() -> None:
    """Providers that are not there yet say so."""
    gpu, engine = load_gpu("h100-sxm-80gb"), load_engine("vllm@0.24")
    assert gpu is not None and not isinstance(engine, str)
    refused = step_model(StepRequest(llama(), gpu, engine), "silicon")
    assert isinstance(refused, Refusal)
    assert "silicon" in refused.message


@pytest.mark.parametrize("text", ["tp1", "tp8", "tp4-pp2", "tp4-dp2", "tp8-dcp2", "tp4-dp2-ep", "tp2-pp2-dp2-dcp2-ep"])
def test_every_kind_of_shape_is_timed(text: str) -> None:
    """Tensor, pipeline, data, context and expert parallelism are timed, alone and together."""
    shape = parse_parallel(text)
    assert isinstance(shape, Parallel)
    assert not isinstance(step(shape), Refusal)


def test_a_format_that_is_only_unknown_to_memory_is_timed() -> None:
    """A checkpoint quantized in an unnamed way has known matrices: the format is asked for by name."""
    facts = replace(llama(), missing=("weights quantized with 'strange'",))
    gpu, engine = load_gpu("h100-sxm-80gb"), load_engine("vllm@0.24")
    assert gpu is not None and not isinstance(engine, str)
    assert not isinstance(step_model(StepRequest(facts, gpu, engine)), Refusal)
