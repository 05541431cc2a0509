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
from planner.catalog.parallel import Parallel
from planner.catalog.types import EngineRules, ModelFacts, Refusal
from planner.performance.fit import affine_fit, fit_around, prefill_attention, prefill_cost, step_grid
from planner.performance.provider import (
    FloatArray,
    LatencyBand,
    Part,
    PrefillAttention,
    Quantity,
    StepModel,
    StepRequest,
)
from planner.performance.speculation import NO_SPECULATION
from planner.performance.step_model import step_model

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
NO_ATTENTION = PrefillAttention(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class PlainStep(StepModel):
    """A provider whose step is given by its coefficients: what the fit must find again."""

    alpha_s: float
    beta_s: float
    gamma_s: float
    attention: PrefillAttention = NO_ATTENTION
    provider: str = "plain"
    estimated: tuple[str, ...] = ()
    band: LatencyBand = EXACT

    def breakdown(
        self, batch: Quantity, context_tokens: Quantity, new_tokens: Quantity = 0, cached_tokens: Quantity = 0
    ) -> dict[Part, FloatArray]:
        """The affine step itself."""
        sequences = np.asarray(batch, dtype=np.float64)
        affine = self.alpha_s + self.beta_s * sequences + self.gamma_s * sequences * context_tokens
        return {"weights": np.asarray(affine), "attention": self.attention.seconds(new_tokens, cached_tokens)}


def _step(model: str, gpu: str, tp: int, weights: str) -> StepModel:
    facts, rules, card = load_model(model, Path()), load_engine("vllm@0.24"), load_gpu(gpu)
    assert isinstance(facts, ModelFacts)
    assert isinstance(rules, EngineRules)
    assert card is not None
    step = step_model(StepRequest(facts, card, rules, Parallel(tp), weights))
    assert not isinstance(step, Refusal)
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


class BentStep:
    """Experts of which b tokens touch 1 - (1 - k)^b: a concave step."""

    def __init__(self, share: float) -> None:
        self.share = share

    def decode_step_s(self, batch, context_tokens):
        """Seconds."""
        touched = 1 - (1 - self.share) ** np.asarray(batch, dtype=float)
        return 3e-3 + 20e-3 * touched + 2e-5 * batch + 1e-8 * batch * context_tokens


@pytest.mark.parametrize("tpot_s", [0.012, 0.02, 0.03, 0.04, 0.06])
@pytest.mark.parametrize("share", [4 / 128, 8 / 128])
def test_a_tangent_meets_the_step_where_it_is_operated_and_lies_above_it_elsewhere(tpot_s: float, share: float) -> None:
    """Near T / 1.6 within 5 %, where one fit for all batches is off by tens; nowhere more than that below the step."""
    grid = step_grid(BentStep(share), NO_SPECULATION, (600.0, 1_200.0, 2_400.0))
    fit = fit_around(grid, tpot_s)
    assert fit is not None
    fitted = fit.alpha_s + fit.beta_s * grid.batch + fit.gamma_s_per_token * grid.batch * grid.context
    near = np.abs(np.log(1.6 * grid.seconds / tpot_s)) < 0.1
    assert near.any()
    assert np.abs(fitted / grid.seconds - 1)[near].max() < 0.05
    assert (fitted / grid.seconds).min() > 0.95
    assert fit.mean_error < 0.04 < affine_fit(BentStep(share)).mean_error


def test_a_tangent_of_an_affine_step_is_the_step() -> None:
    """Whatever the promise, even one that no batch of the grid reaches."""
    grid = step_grid(PlainStep(6e-3, 8e-6, 43e-9), NO_SPECULATION, (500.0, 4_000.0))
    for tpot_s in (1e-3, 0.01, 0.05, 10.0):
        fit = fit_around(grid, tpot_s)
        assert fit is not None and fit.mean_error < 1e-6
        assert fit.alpha_s == pytest.approx(6e-3, rel=1e-3)


def test_a_step_through_the_origin_has_no_tangent() -> None:
    """Queueing needs an alpha above 0: the fit of all batches stands then."""

    class Proportional:
        def decode_step_s(self, batch, context_tokens):
            return 1e-4 * np.asarray(batch, dtype=float) ** 1.5

    assert fit_around(step_grid(Proportional(), NO_SPECULATION, (1_000.0,)), 0.05) is None


def test_sigma_is_the_worst_marginal_cost_up_to_the_budget() -> None:
    """sigma is what the largest of the chunk costs adds a token; a larger budget never lowers it."""
    step = _step("llama-3.1-70b", "h100-sxm-80gb", 4, "bf16")

    def without_attention(chunk: int) -> float:
        parts = step.breakdown(48, 256, chunk)
        return sum(float(seconds) for part, seconds in parts.items() if part != "attention")

    by_hand = {c: (without_attention(c) - without_attention(0)) / c for c in (512, 1024, 2048, 3000)}
    assert prefill_cost(step, 3000).sigma_s_per_token == pytest.approx(max(by_hand[c] for c in (1024, 2048, 3000)))
    assert prefill_cost(step, 512).sigma_s_per_token == pytest.approx(by_hand[512])
    sigmas = [prefill_cost(step, budget).sigma_s_per_token for budget in (1024, 2048, 4096, 8192)]
    assert sigmas == sorted(sigmas)


@settings(max_examples=50, deadline=None)
@given(fixed=st.floats(1e-5, 1e-2), square=st.floats(1e-11, 1e-8), ramp=st.floats(10, 4000))
def test_the_attention_of_a_chunk_is_found_again(fixed: float, square: float, ramp: float) -> None:
    """Where a provider's attention has the closed form, the fit returns its constants and nothing linear."""
    exact = PrefillAttention(fixed, square, ramp)
    found, linear_s_per_token = prefill_attention(PlainStep(0.01, 1e-5, 1e-8, exact))
    assert (found.fixed_s, found.s_per_token2, found.ramp_tokens) == pytest.approx((fixed, square, ramp), rel=1e-5)
    assert linear_s_per_token * 8192 < 1e-6 * exact.seconds(8192, 0)


def test_marginal_prefill_is_cheaper_than_a_solo_prompt() -> None:
    """A short prompt rides on the weight reads of the decode step: beside it, it costs less than alone."""
    step = _step("llama-3.1-70b", "h100-sxm-80gb", 4, "bf16")
    assert prefill_cost(step, 8192).seconds(512) < step.prefill_s(512)


def test_prefix_hits_save_prefill() -> None:
    """Only new tokens cost: a cached half saves half of sigma and some attention, but not all of it."""
    cost = prefill_cost(_step("llama-3.1-70b", "h100-sxm-80gb", 4, "bf16"), 8192)
    whole, half, alone = cost.seconds(8000), cost.seconds(4000, 4000), cost.seconds(4000)
    assert alone < half < whole
