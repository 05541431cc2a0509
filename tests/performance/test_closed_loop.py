"""Tests of the closed loop: its formulas by hand, Little's law, and what happens beyond the KV pool."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.catalog import load_engine, load_gpu, load_model
from planner.catalog.parallel import Parallel
from planner.catalog.types import Refusal
from planner.performance.closed_loop import FIRST_WAVE_SHARE, SERVER_S, Limits, Users, closed_loop
from planner.performance.provider import FloatArray, LatencyBand, Part, Quantity, StepModel, StepRequest
from planner.performance.speculation import Speculation
from planner.performance.step_model import step_model


class Linear(StepModel):
    """Steps of 10 ms, 1 us a token in the step and 1 ns a cached token of a decoding sequence."""

    provider = "linear"
    estimated = ()
    band = LatencyBand(*[Fraction(1)] * 6, n=0, judgement=True, source="none")

    def breakdown(
        self, batch: Quantity, context_tokens: Quantity, new_tokens: Quantity = 0, cached_tokens: Quantity = 0
    ) -> dict[Part, FloatArray]:
        """Weights: what every step takes and each token; attention: what is read of the cache."""
        tokens = np.asarray(batch, dtype=np.float64) + np.asarray(new_tokens, dtype=np.float64)
        read = np.asarray(batch, dtype=np.float64) * context_tokens
        return {"weights": 0.010 + 1e-6 * tokens, "attention": 1e-9 * read}


LIMITS = Limits(max_num_batched_tokens=8192)
USERS = Users(input_tokens=1000, output_tokens=101)


def _llama(tp: int = 1) -> StepModel:
    model, gpu = load_model("llama-3.1-8b", Path()), load_gpu("h100-sxm-80gb")
    engine = load_engine("vllm@0.24")
    assert not isinstance(model, str) and gpu is not None and not isinstance(engine, str)
    step = step_model(StepRequest(model, gpu, engine, Parallel(tp)))
    assert not isinstance(step, Refusal)
    return step


def test_one_user_by_hand() -> None:
    """Tests that a single user sees bare steps: TPOT is the step, TTFT the prefill, one step and the server."""
    loop = closed_loop(Linear(), USERS, LIMITS, 1)
    step = 0.010 + 1e-6 + 1e-9 * 1050.5
    assert loop.tpot_s == pytest.approx(step)
    assert loop.prefill_s == pytest.approx(0.011)
    assert loop.ttft_s == pytest.approx(0.011 + step + SERVER_S)
    assert loop.requests_per_s == pytest.approx(1 / (loop.ttft_s + 100 * step))


def test_other_prefills_by_hand() -> None:
    """Tests that each request sees the prefill of every other one once: 1,000 tokens of 1 us ride on its steps."""
    loop = closed_loop(Linear(), USERS, LIMITS, 11)
    step = 0.010 + 11e-6 + 1e-9 * 11 * 1050.5
    assert loop.decode_step_s == pytest.approx(step)
    assert loop.tpot_s == pytest.approx(step + (1 - FIRST_WAVE_SHARE) * 10 / 100 * 0.001)
    assert loop.ttft_s == pytest.approx(0.011 + step + FIRST_WAVE_SHARE * 10 * 0.001 + SERVER_S)


def test_cached_tokens_save_prefill_only() -> None:
    """Tests that prefix hits shorten the prefill and what others see of it, not the decode step."""
    plain = closed_loop(Linear(), USERS, LIMITS, 11)
    hit = closed_loop(Linear(), Users(1000, 101, cached_tokens=400), LIMITS, 11)
    assert hit.decode_step_s == plain.decode_step_s
    assert hit.prefill_s == pytest.approx(plain.prefill_s - 0.0004)
    assert hit.tpot_s == pytest.approx(plain.tpot_s - (1 - FIRST_WAVE_SHARE) * 10 / 100 * 0.0004)


def test_users_in_step_wait_before_the_first_token_instead() -> None:
    """Tests that the share w only moves the others' prefills: half of them before the token, the same rate."""
    loose, lockstep = (closed_loop(Linear(), Users(1000, 101, first_wave_share=w), LIMITS, 11) for w in (0.0, 0.5))
    assert lockstep.ttft_s - loose.ttft_s == pytest.approx(0.5 * 10 * 0.001)
    assert lockstep.requests_per_s == pytest.approx(loose.requests_per_s)


def test_accepted_tokens_share_a_step() -> None:
    """Tests that a step that checks 3 tokens and keeps 2 has three times the tokens and half the time a token."""
    loop = closed_loop(Linear(), Users(1000, 101, speculation=Speculation(2, 2.0)), LIMITS, 1)
    step = 0.010 + 3e-6 + 1e-9 * 1050.5
    assert loop.decode_step_s == pytest.approx(step)
    assert loop.tpot_s == pytest.approx(step / 2)


def test_the_drafts_own_time_is_overhead() -> None:
    """Tests that a step overhead of 10 % makes the step 10 % longer and stands in the breakdown."""
    loop = closed_loop(Linear(), Users(1000, 101, speculation=Speculation(2, 2.0, 0.1)), LIMITS, 1)
    bare = 0.010 + 3e-6 + 1e-9 * 1050.5
    assert loop.decode_step_s == pytest.approx(1.1 * bare)
    assert loop.breakdown_s["overhead"] == pytest.approx(0.1 * bare)


def test_beyond_the_pool_the_rate_stays_and_users_wait() -> None:
    """Tests the KV cliff: 5 of 20 users run, the rate is that of 5, each further user waits 1 / rate longer."""
    limits = Limits(max_num_batched_tokens=8192, pool_sequences=5)
    full, over, more = (closed_loop(_llama(), USERS, limits, count) for count in (5, 20, 21))
    assert (over.running, over.tpot_s, over.requests_per_s) == (5, full.tpot_s, full.requests_per_s)
    assert over.ttft_s > 20 * full.ttft_s
    assert more.ttft_s - over.ttft_s == pytest.approx(1 / full.requests_per_s)


@given(count=st.integers(1, 600), pool=st.integers(1, 600), output=st.integers(2, 2000), prompt=st.integers(1, 9000))
def test_littles_law(count: int, pool: int, output: int, prompt: int) -> None:
    """Tests that users = rate x (TTFT + gaps x TPOT), and that the parts of the step add up, whatever is asked."""
    users = Users(prompt, output)
    loop = closed_loop(Linear(), users, Limits(2048, 256, pool), count)
    assert loop.requests_per_s * (loop.ttft_s + (output - 1) * loop.tpot_s) == pytest.approx(count)
    assert sum(loop.breakdown_s.values()) == pytest.approx(loop.decode_step_s)
    assert loop.running == min(count, pool, 256)


def test_chunks_share_the_budget_with_decodes() -> None:
    """Tests that a chunk costs others what its tokens cost, however many chunks there are, and alone a step each."""
    wide, narrow = (closed_loop(Linear(), USERS, Limits(budget), 100) for budget in (8192, 200))
    assert narrow.tpot_s == pytest.approx(wide.tpot_s)
    assert narrow.prefill_s == pytest.approx(wide.prefill_s + 4 * 0.010)


def test_a_measured_row_of_the_grid() -> None:
    """Tests a row measured at tp1: Llama-3.1-8B in bf16, 4,000 in, 500 out, 64 users: decode steps of 18.2 ms."""
    loop = closed_loop(_llama(), Users(4000, 500), LIMITS, 64)
    assert loop.decode_step_s - loop.breakdown_s["overhead"] == pytest.approx(18.23e-3, rel=0.05)
    assert loop.prefill_s == pytest.approx(88.1e-3, rel=0.05)
