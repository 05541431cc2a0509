"""The roofline against published reference numbers, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.catalog import load_engine, load_gpu, load_model
from planner.catalog.parallel import Parallel
from planner.catalog.types import Bottleneck, EngineRules, GpuFacts, ModelFacts, Refusal
from planner.performance.constants import constants_for
from planner.performance.provider import StepRequest
from planner.performance.roofline import RooflineStepModel, roofline

GRID = Path(__file__).parents[1] / "data" / "roofline_grid.json"
GPUS = {
    "h100_sxm": "h100-sxm-80gb",
    "h200_sxm": "h200-sxm-141gb",
    "a100_sxm": "a100-sxm-80gb",
    "l40s": "l40s-48gb",
    "b200_sxm": "b200-sxm-180gb",
}
MODELS = {
    "meta-llama/Meta-Llama-3.1-8B": "llama-3.1-8b",
    "meta-llama/Meta-Llama-3.1-70B": "llama-3.1-70b",
    "Qwen/Qwen3-32B": "qwen3-32b",
}
# model, weights, GPU, tp, isl, osl, batch, prefill ms (batch 1, one chunk), decode step ms at isl + osl / 2.
# Source: published reference points of this roofline on the vLLM kernel tables of aiconfigurator 0.12.0; the
# static estimates of that tool lie within 12 % of them.
REFERENCE = [
    ("llama-3.1-8b", "bf16", "h100-sxm-80gb", 1, 4000, 500, 1, 86.1, 6.40),
    ("llama-3.1-8b", "bf16", "h100-sxm-80gb", 1, 4000, 500, 64, 86.1, 18.35),
    ("llama-3.1-8b", "bf16", "a100-sxm-80gb", 1, 4000, 500, 16, 250.1, 17.40),
    ("llama-3.1-8b", "bf16", "l40s-48gb", 1, 4000, 500, 16, 297.0, 35.77),
    ("llama-3.1-70b", "bf16", "h100-sxm-80gb", 4, 4000, 500, 16, 254.3, 17.61),
    ("llama-3.1-70b", "bf16", "h100-sxm-80gb", 8, 16000, 1000, 64, 654.5, 25.45),
    ("llama-3.1-70b", "bf16", "h200-sxm-141gb", 4, 4000, 500, 64, 247.7, 19.25),
    ("llama-3.1-70b", "bf16", "a100-sxm-80gb", 4, 4000, 500, 16, 666.8, 31.91),
    ("llama-3.1-70b", "fp8", "h100-sxm-80gb", 2, 4000, 500, 16, 389.1, 21.00),
    ("llama-3.1-70b", "bf16", "b200-sxm-180gb", 2, 4000, 500, 64, 218.0, 22.27),
]


def _model(name: str) -> ModelFacts:
    facts = load_model(name, Path())
    assert isinstance(facts, ModelFacts), facts
    return facts


def _gpu(name: str) -> GpuFacts:
    facts = load_gpu(name)
    assert facts is not None
    return facts


def _engine() -> EngineRules:
    rules = load_engine("vllm@0.24")
    assert isinstance(rules, EngineRules), rules
    return rules


def _step(model: str, gpu: str, tp: int, weights: str = "bf16", kv: str = "auto") -> RooflineStepModel:
    step = roofline(StepRequest(_model(model), _gpu(gpu), _engine(), Parallel(tp), weights, kv))
    assert isinstance(step, RooflineStepModel), step
    return step


def _refusal(model: ModelFacts, gpu: GpuFacts, tp: int, weights: str = "bf16", kv: str = "auto") -> Refusal:
    refused = roofline(StepRequest(model, gpu, _engine(), Parallel(tp), weights, kv))
    assert isinstance(refused, Refusal)
    return refused


@pytest.mark.parametrize("case", REFERENCE, ids=[str(number) for number in range(1, 11)])
def test_worked_reference_numbers(
    case: tuple[str, str, str, int, int, int, int, float, float],
) -> None:
    """The ten published reference points come out within 1 %."""
    model, weights, gpu, tp, isl, osl, batch, prefill_ms, decode_ms = case
    step = _step(model, gpu, tp, weights)
    assert step.prefill_s(isl) * 1e3 == pytest.approx(prefill_ms, rel=0.01)
    assert float(step.decode_step_s(batch, isl + osl / 2)) * 1e3 == pytest.approx(decode_ms, rel=0.01)


def test_grid_of_an_independent_implementation() -> None:
    """Every (model, GPU, tp, weights) of the reference grid agrees to the digits that were printed."""
    rows = json.loads(GRID.read_text())["rows"]
    assert len(rows) == 67
    for row in rows:
        weights = {"bfloat16": "bf16", "fp8": "fp8"}[row["gemm"]]
        step = _step(MODELS[row["model"]], GPUS[row["system"]], row["tp"], weights)
        prefill_ms = step.prefill_s(row["isl"]) * 1e3
        decode_ms = float(step.decode_step_s(row["batch"], row["isl"] + row["osl"] / 2)) * 1e3
        assert prefill_ms == pytest.approx(row["roof_prefill_ms_b1"], rel=1e-3), row
        assert decode_ms == pytest.approx(row["roof_decode_step_ms"], rel=1e-3), row


def test_fp8_kv_shortens_a_long_context_step_by_a_quarter() -> None:
    """70B on four H100, batch 64 at 16,500 tokens: 45.7 ms with 16-bit KV, 33.3 with fp8 (published)."""
    wide = float(_step("llama-3.1-70b", "h100-sxm-80gb", 4).decode_step_s(64, 16_500))
    narrow = float(_step("llama-3.1-70b", "h100-sxm-80gb", 4, kv="fp8").decode_step_s(64, 16_500))
    assert wide * 1e3 == pytest.approx(45.7, rel=0.01)
    assert narrow * 1e3 == pytest.approx(33.3, rel=0.01)


def test_other_kv_dtypes_read_their_stored_bytes_with_16_bit_constants() -> None:
    """An unmeasured dtype of 2 bytes is exactly 16-bit KV, one of 1 byte halves the bytes; flagged."""
    request = StepRequest(_model("llama-3.1-8b"), _gpu("h100-sxm-80gb"), _engine(), kv_dtype="int8_per_token_head")
    wide = _step("llama-3.1-8b", "h100-sxm-80gb", 1)
    same = roofline(replace(request, kv_bytes_per_element=Fraction(2)))
    half = roofline(replace(request, kv_bytes_per_element=Fraction(1)))
    assert isinstance(same, RooflineStepModel)
    assert isinstance(half, RooflineStepModel)
    assert float(same.decode_step_s(32, 4096)) == float(wide.decode_step_s(32, 4096))
    # 32 layers * 2 * 32 * 4096 * 8 heads * 128 elements, one byte less each, at 0.904 of 3.35 TB/s
    saved_s = 32 * 2 * 32 * 4096 * 8 * 128 / (0.904 * 3.35e12)
    difference = float(wide.decode_step_s(32, 4096) - half.decode_step_s(32, 4096))
    assert difference == pytest.approx(saved_s, rel=1e-9)
    assert "int8_per_token_head" in half.estimated[-1]
    with pytest.raises(ValueError, match="kv_bytes_per_element"):
        roofline(request)


def test_decode_time_factor_scales_the_decode_step_only() -> None:
    """A preset's published decode-time factor multiplies the step and leaves prefill alone."""
    request = StepRequest(_model("llama-3.1-8b"), _gpu("h100-sxm-80gb"), _engine())
    plain = _step("llama-3.1-8b", "h100-sxm-80gb", 1)
    slow = roofline(replace(request, decode_time_factor=Fraction(5, 4)))
    assert isinstance(slow, RooflineStepModel)
    assert float(slow.decode_step_s(8, 512)) == pytest.approx(1.25 * float(plain.decode_step_s(8, 512)))
    assert slow.prefill_s(4000) == plain.prefill_s(4000)


def test_measured_gpus_are_not_flagged() -> None:
    """A measured GPU with a model inside the fitted shapes has no flag, and says which kernels it uses."""
    step = _step("llama-3.1-70b", "h100-sxm-80gb", 4)
    assert step.estimated == ()
    assert step.provider == "roofline, vLLM 0.24.0 kernels of h100-sxm-80gb"


@pytest.mark.parametrize(
    ("gpu", "reference", "link_note"),
    [
        ("a100-sxm-40gb", "a100-sxm-80gb", False),
        ("a10g-24gb", "a100-sxm-80gb", True),  # no NVLink: all-reduce of the L40S
        ("l4-24gb", "l40s-48gb", False),
        ("h100-pcie-80gb", "h100-sxm-80gb", True),
    ],
)
def test_other_gpus_inherit_and_are_flagged(gpu: str, reference: str, link_note: bool) -> None:
    """A GPU without measurements uses the constants of its architecture at its own rates, and says so."""
    step = _step("llama-3.1-8b", gpu, 1)
    assert reference in step.provider
    assert gpu in step.estimated[0]
    assert any("all-reduce" in note for note in step.estimated) == link_note
    own = _gpu(gpu)
    assert step.constants.bandwidth_bytes_per_s == own.bandwidth_bytes_per_s
    assert step.constants.bf16_flops == own.bf16_flops


def test_decode_of_an_inheriting_gpu_scales_with_its_bandwidth() -> None:
    """A100 40 GB against 80 GB: batch 1 decode is bandwidth bound, so it slows by nearly 2,039 / 1,555."""
    small = float(_step("llama-3.1-8b", "a100-sxm-40gb", 1).decode_step_s(1, 4000))
    large = float(_step("llama-3.1-8b", "a100-sxm-80gb", 1).decode_step_s(1, 4000))
    assert small / large == pytest.approx(2039 / 1555, rel=0.05)
    assert small / large < 2039 / 1555


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("mixtral-8x7b", "mixture-of-experts"),
        ("qwen3-30b-a3b", "mixture-of-experts"),
        ("mistral-7b-v0.1", "sliding-window"),
        ("gemma-3-27b", "sliding-window"),
    ],
)
def test_architectures_without_constants_are_refused_by_name(model: str, words: str) -> None:
    """What the roofline does not time is refused with the part of the architecture and the model named."""
    refused = _refusal(_model(model), _gpu("h100-sxm-80gb"), 1)
    assert refused.bottleneck is Bottleneck.ARCHITECTURE
    assert words in refused.message
    assert model in refused.message


def test_mla_is_refused() -> None:
    """A latent KV cache is refused even where experts are not in the way."""
    facts = replace(_model("llama-3.1-8b"), id="latent", kv_lora_rank=512)
    assert "MLA" in _refusal(facts, _gpu("h100-sxm-80gb"), 1).message


@pytest.mark.parametrize(
    ("gpu", "tp", "weights", "kv", "bottleneck", "words"),
    [
        ("mi300x", 1, "bf16", "auto", Bottleneck.GPU, "covers a100-sxm-80gb"),  # no relative was measured
        ("t4-16gb", 1, "bf16", "auto", Bottleneck.GPU, "no latency figures for t4-16gb"),
        ("a100-sxm-80gb", 1, "fp8", "auto", Bottleneck.GPU, "no fp8 matrix kernels"),
        ("a100-sxm-80gb", 1, "bf16", "fp8", Bottleneck.GPU, "fp8 KV cache was not measured"),
        ("h100-sxm-80gb", 1, "int4", "auto", Bottleneck.GPU, "weights int4 are not timed"),
        ("h100-sxm-80gb", 3, "bf16", "auto", Bottleneck.PARALLEL, "not for tp3"),
        ("h100-sxm-80gb", 16, "bf16", "auto", Bottleneck.PARALLEL, "not for tp16"),
    ],
)
def test_refusals_name_the_reason(gpu: str, tp: int, weights: str, kv: str, bottleneck: Bottleneck, words: str) -> None:
    """Each thing that has no constants is refused as a value, with its bottleneck and a sentence."""
    refused = _refusal(_model("llama-3.1-8b"), _gpu(gpu), tp, weights, kv)
    assert refused.bottleneck is bottleneck
    assert words in refused.message


def test_shapes_that_do_not_divide_are_refused() -> None:
    """Thirty-six query heads do not split over eight GPUs; four is the nearest shape that does."""
    facts = replace(_model("llama-3.1-8b"), heads=36, kv_heads=4)
    refused = _refusal(facts, _gpu("h100-sxm-80gb"), 8)
    assert refused.bottleneck is Bottleneck.PARALLEL
    assert refused.nearest == "tp4"


def test_other_engines_are_refused() -> None:
    """The constants are of vLLM kernels and of no other engine's."""
    engine = replace(_engine(), name="sglang")
    refused = roofline(StepRequest(_model("llama-3.1-8b"), _gpu("h100-sxm-80gb"), engine))
    assert isinstance(refused, Refusal)
    assert refused.bottleneck is Bottleneck.ENGINE


def test_shapes_outside_the_fit_are_flagged() -> None:
    """Multi-head attention (one query head a KV head) lies outside the measured ratios of 4 to 8."""
    notes = _step("llama-2-7b", "h100-sxm-80gb", 1).estimated
    assert any("query heads a KV head" in note for note in notes)


def test_kv_heads_are_replicated_beyond_their_number() -> None:
    """With more GPUs than KV heads each keeps one whole head, so decode attention stops shrinking."""
    facts = replace(_model("llama-3.1-8b"), kv_heads=2)
    gpu, engine = _gpu("h100-sxm-80gb"), _engine()
    heads = []
    for tp in (2, 4, 8):
        step = roofline(StepRequest(facts, gpu, engine, Parallel(tp)))
        assert isinstance(step, RooflineStepModel)
        heads.append(step.shapes.kv_heads)
    assert heads == [1, 1, 1]


def test_step_by_hand() -> None:
    """The step of 8B on two H100 with 5 decodes and a chunk of 300 tokens, every term written out."""
    m, h, f, vocabulary = 305, 4096, 14336, 128256

    def gemm(tokens: int, n: float, k: float) -> float:
        compute = 2 * tokens * n * k / (0.813 * 989e12)
        memory = 2 * (n * k + tokens * k + tokens * n) / (0.875 * 3.35e12)
        return (compute**3.41 + memory**3.41) ** (1 / 3.41) + 3.81e-6

    def all_reduce(moved: float) -> float:
        return min(4.2e-6 + moved / (0.51 * 450e9), 101.7e-6 + moved / (0.764 * 450e9))

    def elementwise(moved: float) -> float:
        return 2e-6 + moved / (0.8 * 3.35e12)

    layer = gemm(m, 3072, h) + gemm(m, h, 2048) + gemm(m, f, h) + gemm(m, h, f / 2)
    layer += 2 * all_reduce(2 * m * h) + 2 * elementwise(8 * m * h) + elementwise(6 * m * f / 2)
    expected = 32 * layer + gemm(6, vocabulary / 2, h) + all_reduce(0)
    step = _step("llama-3.1-8b", "h100-sxm-80gb", 2)
    parts = step.breakdown(5, 1000, 300)
    assert float(sum(parts.values())) == pytest.approx(float(step.mixed_step_s(5, 1000, 300)), rel=1e-12)
    assert float(sum(parts.values()) - parts["attention"]) == pytest.approx(expected, rel=1e-12)


def test_chunks_add_up() -> None:
    """A prefill in chunks is the sum of its steps: slower than one chunk, and exactly the two steps it is."""
    step = _step("llama-3.1-70b", "h100-sxm-80gb", 4)
    first = float(step.mixed_step_s(0, 0, 8192, 0))
    second = float(step.mixed_step_s(0, 0, 1808, 8192))
    assert step.prefill_s(10_000, 0, 8192) == pytest.approx(first + second, rel=1e-12)
    assert step.prefill_s(10_000, 0, 8192) > step.prefill_s(10_000)
    assert step.prefill_s(1808, 8192) == pytest.approx(second, rel=1e-12)


def test_constants_of_every_measured_gpu() -> None:
    """Five GPUs have their own rows; fractions of peak lie in (0, 1], all-reduce for 2, 4 and 8 GPUs."""
    for name in GPUS.values():
        row = constants_for(_gpu(name))
        assert not isinstance(row, Refusal)
        assert row.reference == name
        assert set(row.all_reduce) == {2, 4, 8}
        fractions = [row.gemm_bf16.compute_fraction, row.gemm_bf16.memory_fraction]
        fractions += [row.decode_bf16.memory_fraction, row.prefill.compute_fraction]
        assert all(0 < fraction <= 1 for fraction in fractions)


@settings(max_examples=50, deadline=None)
@given(
    batch=st.integers(1, 512),
    context=st.integers(1, 100_000),
    gpu=st.sampled_from(sorted(GPUS.values())),
    tp=st.sampled_from([1, 2, 4, 8]),
)
def test_more_work_never_takes_less_time(batch: int, context: int, gpu: str, tp: int) -> None:
    """A step grows with its batch and its context, and arrays answer as numbers do."""
    step = _step("llama-3.1-8b", gpu, tp)
    grid = step.decode_step_s(np.array([batch, batch + 1, batch]), np.array([context, context, context + 1]))
    assert grid[0] == pytest.approx(float(step.decode_step_s(batch, context)), rel=1e-12)
    assert grid[1] > grid[0]
    assert grid[2] > grid[0]
