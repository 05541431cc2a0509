"""The time of a matrix multiplication, and whose constants answer for which weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.catalog import load_gpu, load_model
from planner.catalog.types import GpuFacts, ModelFacts
from planner.performance.roofline.build import gemm_constants
from planner.performance.roofline.constants import Kernels, kernels_for
from planner.performance.roofline.gemm import GemmConstants, GemmRates, gemm_rates, gemm_s
from planner.performance.roofline.rates import expert_format, matrix_format, matrix_rates
from planner.performance.roofline.shapes import Matrix

IDEAL = GemmRates(1e15, 4e12, 8.0, 5e-6, 0.0, 0.0, 0.0, 2.0)
# GPU, engine, format, tokens, columns = inner, measured us: kernel tables of aiconfigurator-core 0.12.0.
MEASURED = [
    ("h100-sxm-80gb", "vllm", "bf16", 1, 8192, 51.64),
    ("h100-sxm-80gb", "vllm", "bf16", 64, 8192, 47.36),
    ("h100-sxm-80gb", "vllm", "bf16", 4096, 8192, 697.75),
    ("h100-sxm-80gb", "tensorrt-llm", "fp8", 1, 8192, 37.40),
    ("h100-sxm-80gb", "tensorrt-llm", "fp8", 4096, 8192, 446.60),
    ("b200-sxm-180gb", "tensorrt-llm", "nvfp4", 64, 8192, 22.80),
    ("b200-sxm-180gb", "tensorrt-llm", "nvfp4", 4096, 8192, 146.28),
]


def _gpu(name: str) -> GpuFacts:
    facts = load_gpu(name)
    assert facts is not None
    return facts


def _model(name: str) -> ModelFacts:
    facts = load_model(name, Path())
    assert isinstance(facts, ModelFacts)
    return facts


@pytest.mark.parametrize(("gpu", "engine", "dtype", "tokens", "side", "microseconds"), MEASURED)
def test_measured_kernels(gpu: str, engine: str, dtype: str, tokens: int, side: int, microseconds: float) -> None:
    """Square matrices of 8,192 come out within 20 % of the measured kernel on each engine and format."""
    card = _gpu(gpu)
    kernels = kernels_for(card, engine)
    assert isinstance(kernels, Kernels)
    found = kernels.find("gemm", dtype)
    assert found is not None
    flops, size = matrix_rates(card, dtype)
    rates = gemm_rates(gemm_constants(found), flops, card.bandwidth_bytes_per_s, size)
    assert float(gemm_s(tokens, side, side, rates)) * 1e6 == pytest.approx(microseconds, rel=0.2)


def test_by_hand() -> None:
    """Every term of the formula, written out for one matrix of one rank."""
    constants = GemmConstants(0.8, 0.9, 2.0, 3e-6, 0.2e-9, 1.5, 2.5)
    rates = gemm_rates(constants, 1e15, 3e12, 2.0)
    compute, read = 2 * 100 * 6144 * 4096 / 0.8e15, 6144 * 4096 * 2 / 2.7e12
    expected = (compute**2 + read**2) ** 0.5 + 3e-6 + 4096 * 0.2e-9 + 100 * (1.5 * 4096 + 2.5 * 6144) / 3e12
    assert float(gemm_s(100, 6144, 4096, rates)) == pytest.approx(expected, rel=1e-12)


def test_no_tokens_take_no_time() -> None:
    """A matrix that no token of the step meets costs nothing, not even its launch."""
    assert gemm_s(np.array([0, 1]), 4096, 4096, IDEAL)[0] == 0.0


@settings(max_examples=100, deadline=None)
@given(m=st.integers(1, 20_000), n=st.integers(1, 60_000), k=st.integers(1, 60_000))
def test_never_below_either_roof(m: int, n: int, k: int) -> None:
    """No multiplication is faster than its arithmetic or its weight reads at full rate, nor falls with m."""
    seconds = float(gemm_s(m, n, k, IDEAL))
    assert seconds >= max(2 * m * n * k / 1e15, 2 * n * k / 4e12)
    assert float(gemm_s(m + 1, n, k, IDEAL)) >= seconds


def test_arrays_of_matrices_answer_as_numbers_do() -> None:
    """One call for many matrices is the same as one call for each."""
    columns, inner = np.array([4096.0, 6144.0]), np.array([1024.0, 512.0])
    both = gemm_s(np.array([[7.0], [9.0]]), columns, inner, IDEAL)
    assert both.shape == (2, 2)
    assert both[1, 1] == pytest.approx(float(gemm_s(9, 6144, 512, IDEAL)), rel=1e-15)


@pytest.mark.parametrize(
    ("model", "gpu", "weights", "matrix", "kernels"),
    [
        ("llama-3.1-8b", "h100-sxm-80gb", "fp8", Matrix(6144, 4096), "fp8"),
        ("llama-3.1-8b", "h100-sxm-80gb", "fp8", Matrix(128256, 4096, "sampled", plain=True), "bf16"),
        ("deepseek-v3", "h200-sxm-141gb", "fp8", Matrix(2112, 7168, latent=True), "fp8_block"),
        ("deepseek-v3.1-nvfp4", "b200-sxm-180gb", "nvfp4", Matrix(2112, 7168, latent=True), "bf16"),
        ("deepseek-v3.1-nvfp4", "b200-sxm-180gb", "nvfp4", Matrix(36864, 7168), "nvfp4"),
        ("gpt-oss-120b", "h100-sxm-80gb", "mxfp4", Matrix(5120, 2880), "bf16"),
        ("llama-3.1-8b", "h100-sxm-80gb", "nvfp4", Matrix(6144, 4096), "w4a16"),
        ("llama-3.1-8b", "h100-sxm-80gb", "fp16", Matrix(6144, 4096), "bf16"),
    ],
)
def test_which_kernels_run_a_matrix(model: str, gpu: str, weights: str, matrix: Matrix, kernels: str) -> None:
    """Heads and routers stay 16-bit, mxfp4 is for experts, latent attention of nvfp4 checkpoints is 16-bit, and
    nvfp4 without its tensor cores is unpacked."""
    assert matrix_format(_model(model), _gpu(gpu), weights, matrix) == kernels


def test_static_scales_are_those_of_the_checkpoint() -> None:
    """TensorRT-LLM multiplies an fp8 checkpoint with its own scales, and looks for them where it quantizes itself."""
    h100, matrix = _gpu("h100-sxm-80gb"), Matrix(10240, 8192)
    named = {
        name: matrix_format(_model(name), h100, "fp8", matrix, engine)
        for name, engine in (("llama-3.1-70b", "tensorrt-llm"), ("llama-3.1-70b-instruct-fp8", "tensorrt-llm"))
    }
    assert list(named.values()) == ["fp8", "fp8_static"]
    assert matrix_format(_model("llama-3.1-70b-instruct-fp8"), h100, "fp8", matrix, "vllm") == "fp8"


def test_experts_have_the_format_of_the_checkpoint() -> None:
    """fp8 experts are scaled by blocks, mxfp4 experts are mxfp4."""
    h100 = _gpu("h100-sxm-80gb")
    assert expert_format(_model("gpt-oss-120b"), h100, "mxfp4") == "mxfp4"
    assert expert_format(_model("qwen3-235b-a22b-fp8"), h100, "fp8") == "fp8_block"
