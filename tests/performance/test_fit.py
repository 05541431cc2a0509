"""The affine step and the marginal cost of prefill."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.catalog import load_engine, load_gpu, load_model
from planner.catalog.types import EngineRules, ModelFacts
from planner.performance.fit import affine_fit, prefill_cost
from planner.performance.provider import FloatArray, LatencyBand, PrefillAttention, Quantity
from planner.performance.roofline import RooflineStepModel, step_model

PAIRS = [
    ("llama-3.1-8b", "h100-sxm-80gb", 1, "bf16"),
    ("llama-3.1-8b", "a100-sxm-80gb", 1, "bf16"),
    ("llama-3.1-8b", "l40s-48gb", 1, "bf16"),
    ("llama-3.1-70b", "h100-sxm-80gb", 4, "bf16"),
    ("llama-3.1-70b", "h200-sxm-141gb", 4, "bf16"),
    ("llama-3.1-70b", "h100-sxm-80gb", 2, "fp8"),
    ("llama-3.1-70b", "b200-sxm-180gb", 2, "bf16"),
]


EXACT = LatencyBand(*[Fraction(1)] * 6, n=1, judgement=False, source="exact")
FREE_ATTENTION = PrefillAttention(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class PlainStep:
    """A provider whose step is given by its coefficients: what the fit must find again."""

    alpha_s: float
    beta_s: float
    gamma_s: float
    provider: str = "plain"
    estimated: tuple[str, ...] = ()
    band: LatencyBand = EXACT
    prefill_attention: PrefillAttention = FREE_ATTENTION

    def decode_step_s(self, batch: Quantity, context_tokens: Quantity) -> FloatArray:
        """The affine step itself."""
        sequences = np.asarray(batch, dtype=np.float64)
        return np.asarray(self.alpha_s + self.beta_s * sequences + self.gamma_s * sequences * context_tokens)

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0, max_num_batched_tokens: int | None = None) -> float:
        """Linear in the new tokens."""
        return self.beta_s * new_tokens

    def nonattention_step_s(self, decode_batch: Quantity, chunk_tokens: Quantity) -> FloatArray:
        """A weight read of alpha, hidden behind the compute of large steps."""
        tokens = np.asarray(decode_batch, dtype=np.float64) + chunk_tokens
        return np.maximum(self.alpha_s, self.beta_s * tokens)

    def prefill_attention_s(self, new_tokens: Quantity, cached_tokens: Quantity) -> FloatArray:
        """No attention."""
        return np.zeros(1)


def _step(model: str, gpu: str, tp: int, weights: str) -> RooflineStepModel:
    facts, rules, card = load_model(model, Path()), load_engine("vllm@0.24"), load_gpu(gpu)
    assert isinstance(facts, ModelFacts)
    assert isinstance(rules, EngineRules)
    assert card is not None
    step = step_model(facts, card, rules, tp=tp, weights=weights, kv_dtype="auto")
    assert isinstance(step, RooflineStepModel)
    return step


@pytest.mark.parametrize(("model", "gpu", "tp", "weights"), PAIRS)
def test_fit_errors_stay_within_the_published_ones(model: str, gpu: str, tp: int, weights: str) -> None:
    """On measured kernel tables the affine step errs by at most 4.2 % on average and 16 % at worst."""
    fit = affine_fit(_step(model, gpu, tp, weights))
    assert fit.mean_error <= 0.042
    assert fit.max_error <= 0.16
    assert min(fit.alpha_s, fit.beta_s, fit.gamma_s_per_token) >= 0


def test_alpha_is_about_the_time_of_reading_the_weights() -> None:
    """8B in bf16 on an H100: 15 GB of weights at 87.5 % of 3.35 TB/s take 5.1 ms; alpha holds it."""
    fit = affine_fit(_step("llama-3.1-8b", "h100-sxm-80gb", 1, "bf16"))
    weights_bytes = 2 * (32 * (4096 * 6144 + 4096 * 4096 + 3 * 4096 * 14336) + 4096 * 128256)
    reading_s = weights_bytes / (0.875 * 3.35e12)
    assert reading_s < fit.alpha_s < 1.5 * reading_s


def test_gamma_is_the_time_of_reading_a_token() -> None:
    """70B on four H100: 2 heads of 128, K and V, 80 layers, 2 bytes, at 90.4 % of 3.35 TB/s: 27 ns."""
    fit = affine_fit(_step("llama-3.1-70b", "h100-sxm-80gb", 4, "bf16"))
    token_s = 80 * 2 * 2 * 128 * 2 / (0.904 * 3.35e12)
    assert fit.gamma_s_per_token == pytest.approx(token_s, rel=0.02)


@settings(max_examples=50, deadline=None)
@given(
    alpha=st.floats(1e-3, 5e-2),
    beta=st.floats(1e-6, 1e-3),
    gamma=st.floats(1e-9, 1e-6),
)
def test_an_affine_step_is_found_again(alpha: float, beta: float, gamma: float) -> None:
    """The fit of an exactly affine provider returns its coefficients and no error."""
    fit = affine_fit(PlainStep(alpha, beta, gamma))
    assert (fit.alpha_s, fit.beta_s, fit.gamma_s_per_token) == pytest.approx((alpha, beta, gamma), rel=1e-6)
    assert fit.max_error < 1e-8


def test_no_coefficient_is_negative() -> None:
    """A step that falls with the batch would fit a negative beta: it is held at 0, and the error tells."""
    fit = affine_fit(PlainStep(0.01, -1e-5, 1e-7))
    assert fit.beta_s == 0.0
    assert fit.alpha_s > 0
    assert fit.max_error > 0.01


def test_nonnegative_fit_agrees_with_scipy() -> None:
    """The constrained fit is the optimum that scipy's solver finds."""
    from scipy.optimize import nnls

    from planner.performance.fit import _nonnegative_least_squares

    generator = np.random.default_rng(7)
    for _ in range(100):
        features, target = generator.normal(size=(12, 3)), generator.normal(size=12)
        expected = nnls(features, target)[0]
        assert _nonnegative_least_squares(features, target) == pytest.approx(expected, abs=1e-9)


def test_sigma_is_the_worst_marginal_cost_up_to_the_budget() -> None:
    """sigma is what the largest of the chunk costs adds a token; a larger budget never lowers it."""
    step = _step("llama-3.1-70b", "h100-sxm-80gb", 4, "bf16")
    base = float(step.nonattention_step_s(48, 0))
    by_hand = max(float(step.nonattention_step_s(48, c) - base) / c for c in (1024, 2048, 3000))
    assert prefill_cost(step, 3000).sigma_s_per_token == pytest.approx(by_hand, rel=1e-12)
    assert prefill_cost(step, 512).sigma_s_per_token == pytest.approx(
        float(step.nonattention_step_s(48, 512) - base) / 512, rel=1e-12
    )
    sigmas = [prefill_cost(step, budget).sigma_s_per_token for budget in (1024, 2048, 4096, 8192)]
    assert sigmas == sorted(sigmas)


def test_marginal_prefill_is_cheaper_than_a_solo_prompt() -> None:
    """A short prompt rides on the weight reads of the decode step: beside it, it costs less than alone."""
    step = _step("llama-3.1-70b", "h100-sxm-80gb", 4, "bf16")
    assert prefill_cost(step, 8192).seconds(512) < step.prefill_s(512)


def test_prefix_hits_save_prefill() -> None:
    """Only new tokens cost: a cached half saves half of sigma and some attention, but not all of it."""
    cost = prefill_cost(_step("llama-3.1-70b", "h100-sxm-80gb", 4, "bf16"), 8192)
    whole, half, alone = cost.seconds(8000), cost.seconds(4000, 4000), cost.seconds(4000)
    assert alone < half < whole
