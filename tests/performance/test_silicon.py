"""The provider on kernel tables: what it refuses, how it adds kernels up, and that its notices stay inside."""

from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from planner.catalog import load_engine, load_gpu, load_model
from planner.catalog.parallel import Parallel
from planner.catalog.types import EngineRules, GpuFacts, ModelFacts, Refusal
from planner.performance import silicon as module
from planner.performance.overhead import NO_OVERHEAD
from planner.performance.provider import StepRequest
from planner.performance.silicon import Kernel, SiliconStepModel, part_of, silicon
from planner.performance.step_model import step_model

needs_package = pytest.mark.skipif(find_spec(module.PACKAGE) is None, reason="needs kvplan[silicon]")


class Tables:
    """Decode: 1 ms of matrices and 1 us a resident token. Prefill: 2 us a token, and 1 ns a pair, in the package's
    way: scaled by new tokens over the whole length."""

    def decode_step_per_op(self, gen_tokens: int, isl: int, osl: int) -> list[Kernel]:
        return [("generation_qkv_gemm", 1.0, 0.0, ""), ("generation_attention", gen_tokens * isl / 1e3, 0.0, "")]

    def mixed_step_breakdown_per_op(
        self, ctx_tokens: int, gen_tokens: int, isl: int, osl: int, prefix: int = 0
    ) -> tuple[list[Kernel], list[Kernel], list[Kernel]]:
        pairs = (isl - prefix) * isl * ctx_tokens / isl
        return (
            [("context_qkv_gemm", 1.0 + ctx_tokens * 2e-3, 0.0, "")],
            [("context_attention", pairs * 1e-6, 0.0, "")],
            [("generation_attention", gen_tokens * isl / 1e3, 0.0, "")],
        )


def request(
    model: str = "llama-3.1-8b",
    gpu: str = "h100-sxm-80gb",
    engine: str = "vllm@0.24",
    shape: Parallel = Parallel(),  # noqa: B008
    weights: str = "bf16",
    kv_dtype: str = "auto",
) -> StepRequest:
    facts, card, rules = load_model(model, Path()), load_gpu(gpu), load_engine(engine)
    assert isinstance(facts, ModelFacts)
    assert isinstance(card, GpuFacts)
    assert isinstance(rules, EngineRules)
    return StepRequest(facts, card, rules, shape, weights, kv_dtype)


def step(ranks: int = 1, factor: float = 1.0) -> SiliconStepModel:
    return SiliconStepModel(Tables(), ranks, factor, NO_OVERHEAD, "silicon", ())


def test_without_the_package_the_refusal_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command to install stands in the sentence that the user reads."""
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    answer = step_model(request(), "silicon")
    assert isinstance(answer, Refusal)
    assert "pip install 'kvplan[silicon]'" in answer.message


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (request(gpu="v100-sxm-32gb"), "v100-sxm-32gb"),
        (request(shape=Parallel(4, pp=2)), "tp4-pp2"),
        (request(weights="int8"), "int8"),
        (request(kv_dtype="nvfp4"), "nvfp4"),
    ],
)
def test_what_is_not_covered_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, asked: StepRequest, named: str
) -> None:
    """A GPU, shape or dtype without kernels is named, whether or not the package is there."""
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    answer = silicon(asked)
    assert isinstance(answer, Refusal)
    assert named in answer.message


def test_kernels_of_a_decode_step_add_up_by_part() -> None:
    """1 ms of matrices and 64 x 1,000 resident tokens at 1 us each."""
    parts = step().breakdown(64, 1000)
    assert {part: float(value) for part, value in parts.items()} == pytest.approx(
        {"weights": 1e-3, "attention": 64e-3, "overhead": 0.0}
    )


def test_prefill_beside_decode_has_matrices_once_and_both_attentions() -> None:
    """The chunk's attention covers its prefix, and decode attention reads its own contexts."""
    parts = step().breakdown(8, 500, 1000, 3000)
    assert float(parts["weights"]) == pytest.approx(3e-3)
    assert float(parts["attention"]) == pytest.approx((1000 * 4000 * 1e-6 + 8 * 500 / 1e3) / 1e3)


def test_arrays_broadcast_and_keep_their_shape() -> None:
    """A column of batches and a row of contexts give a table of steps."""
    steps = step().decode_step_s(np.array([[1.0], [4.0]]), np.array([100.0, 200.0]))
    assert steps == pytest.approx(np.array([[1.1, 1.2], [1.4, 1.8]]) / 1e3)


def test_data_parallel_ranks_share_sequences_and_prompts() -> None:
    """With four ranks each decodes a quarter, but never less than one sequence."""
    shared = step(ranks=4)
    assert float(shared.decode_step_s(64, 1000)) == pytest.approx(float(step().decode_step_s(16, 1000)))
    assert float(shared.decode_step_s(1, 1000)) == pytest.approx(float(step().decode_step_s(1, 1000)))


def test_decode_time_factor_leaves_prefill_alone() -> None:
    """Twice the decode time, the same prefill; beside a chunk only the decode step is added once more."""
    slow = step(factor=2.0)
    assert float(slow.decode_step_s(4, 100)) == pytest.approx(2 * float(step().decode_step_s(4, 100)))
    assert slow.prefill_s(1000) == pytest.approx(step().prefill_s(1000))
    extra = float(slow.mixed_step_s(4, 100, 500)) - float(step().mixed_step_s(4, 100, 500))
    assert extra == pytest.approx(float(step().decode_step_s(4, 100)))


@pytest.mark.parametrize(
    ("kernel", "part"),
    [
        ("generation_moe_pre_dispatch", "all_reduce"),
        ("generation_moe_overlap", "experts"),
        ("generation_gdn_ar", "all_reduce"),
        ("context_mla_block", "attention"),
        ("generation_add_norm_1", "elementwise"),
        ("context_logits_gemm", "logits"),
        ("context_gate_ffn1_gemm", "weights"),
    ],
)
def test_every_kernel_belongs_to_one_part(kernel: str, part: str) -> None:
    """Names as the package writes them."""
    assert part_of(kernel) == part


@needs_package
@pytest.mark.parametrize("model", ["llama-3.1-8b", "llama-3.3-70b-instruct", "gpt-oss-120b", "deepseek-r1"])
def test_models_of_the_catalog_are_found_by_their_shape(model: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The package answers for them, under a release that the figure names, and nothing reaches stdout."""
    answer = step_model(request(model, "h200-sxm-141gb", shape=Parallel(8), weights="fp8"), "silicon")
    if model == "gpt-oss-120b":
        answer = step_model(request(model, "h200-sxm-141gb", shape=Parallel(8), weights="mxfp4"), "silicon")
    assert isinstance(answer, SiliconStepModel)
    assert "silicon, vllm 0.24" in answer.provider
    assert 1e-3 < float(answer.decode_step_s(8, 1000)) < 0.1
    assert capfd.readouterr().out == ""


@needs_package
def test_probing_names_what_the_tables_lack() -> None:
    """No int4 kernels on SGLang for H100: refused with the model, GPU and shape, not with a traceback."""
    answer = step_model(request("kimi-k2.5", weights="w4a16", shape=Parallel(8)), "silicon")
    assert isinstance(answer, Refusal)
    assert "kimi-k2.5 on h100-sxm-80gb" in answer.message


def test_the_band_is_a_judgement_until_measured() -> None:
    """Its quantiles are ordered and flagged."""
    band = step().band
    assert band.judgement
    assert band.tpot_p10 <= band.tpot_p50 == Fraction(1) <= band.tpot_p90
