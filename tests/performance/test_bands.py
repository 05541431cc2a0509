"""Bands: which measured group answers for a request, and what the file may hold."""

import json
from dataclasses import replace
from fractions import Fraction
from importlib.resources import files
from pathlib import Path

import pytest

from planner.catalog import load_engine, load_gpu, load_model
from planner.catalog.types import EngineRules, GpuFacts, ModelFacts
from planner.performance import bands as module
from planner.performance.bands import JUDGED, band_for, kind_of
from planner.performance.provider import StepRequest

OWN = ("h100-sxm-80gb", "vllm", "fp8", "dense")
POINTS = (Fraction(9, 10), Fraction(1), Fraction(6, 5))


def request(model: str = "llama-3.1-8b", weights: str = "fp8") -> StepRequest:
    facts, gpu, rules = load_model(model, Path()), load_gpu("h100-sxm-80gb"), load_engine("vllm@0.24")
    assert isinstance(facts, ModelFacts)
    assert isinstance(gpu, GpuFacts)
    assert isinstance(rules, EngineRules)
    return StepRequest(facts, gpu, rules, weights=weights)


def known(monkeypatch: pytest.MonkeyPatch, **groups: module.Group) -> None:
    rows = {group: module._Quantiles(int(n[1:]), POINTS, POINTS) for n, group in groups.items()}
    monkeypatch.setattr(module, "_bands", lambda provider: rows)


@pytest.mark.parametrize(
    ("group", "words"),
    [
        (OWN, "30 measured rows of dense models in fp8 with vllm on h100-sxm-80gb"),
        (("h100-sxm-80gb", "vllm", "*", "dense"), "dense models in all dtypes with vllm on h100-sxm-80gb"),
        (("*", "vllm", "*", "dense"), "dense models in all dtypes with vllm on all GPUs"),
        (("*", "vllm", "*", "*"), "models of all kinds in all dtypes with vllm on all GPUs"),
    ],
)
def test_the_finest_group_that_was_measured_answers_and_says_so(
    monkeypatch: pytest.MonkeyPatch, group: module.Group, words: str
) -> None:
    """Each coarser group stands in only where no finer one is known."""
    coarsest = ("*", "vllm", "*", "*")
    known(monkeypatch, n30=group, n99=coarsest if group != coarsest else ("*", "sglang", "*", "*"))
    band = band_for(request(), "roofline")
    assert (band.n, band.judgement) == (30, False)
    assert words in band.source
    assert (band.tpot_p10, band.tpot_p50, band.tpot_p90) == POINTS


def test_without_rows_the_band_is_a_judgement(monkeypatch: pytest.MonkeyPatch) -> None:
    """No rows of the engine at all: flagged, with n = 0."""
    known(monkeypatch, n40=("*", "sglang", "*", "*"))
    assert band_for(request(), "roofline") is JUDGED
    assert JUDGED.n == 0
    assert JUDGED.judgement


def test_fp8_of_mixtures_of_experts_is_scaled_by_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of `fp8_block` answer for a mixture of experts asked for in fp8."""
    known(monkeypatch, n25=("h100-sxm-80gb", "vllm", "fp8_block", "moe"))
    assert band_for(request("qwen3-235b-a22b-fp8"), "roofline").n == 25


def test_kinds() -> None:
    """DeepSeek is told by its attention, although its layers are mixtures of experts too."""
    dense = request().model
    assert kind_of(dense) == "dense"
    assert kind_of(replace(dense, experts=8)) == "moe"
    assert kind_of(replace(dense, experts=8, kv_lora_rank=512)) == "mla"


def test_the_written_bands_are_ordered_and_have_rows_enough() -> None:
    """p10 <= p50 <= p90 for both figures of every group, and no group is smaller than the file says."""
    file = json.loads(files("planner.performance").joinpath("bands.json").read_text(encoding="utf-8"))
    for groups in file["providers"].values():
        assert groups
        for group in groups:
            assert group["tpot"] == sorted(group["tpot"])
            assert group["ttft"] == sorted(group["ttft"])
            assert group["n"] >= file["fewest_rows"]
