"""Routed experts: how many a step touches, and how long their grouped multiplication takes."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.catalog import load_gpu
from planner.performance.roofline.build import expert_constants
from planner.performance.roofline.constants import Kernels, kernels_for
from planner.performance.roofline.experts import ExpertConstants, ExpertShape, experts_s, touched_experts

DEEPSEEK_TP8 = ExpertShape(256, 8, 7168, 2048 / 8)
PLAIN = ExpertConstants(1.0, 1.0, 8.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@pytest.mark.parametrize(("tokens", "microseconds"), [(64, 316.24), (512, 457.82), (8192, 2050.15)])
def test_measured_experts(tokens: int, microseconds: float) -> None:
    """DeepSeek-V3's experts in slices of 8 on an H200 under SGLang 0.5.14 (kernel tables of aiconfigurator-core
    0.12.0, fp8 in blocks), within 25 %."""
    card = load_gpu("h200-sxm-141gb")
    assert card is not None
    kernels = kernels_for(card, "sglang")
    assert isinstance(kernels, Kernels)
    found = kernels.find("experts", "fp8_block")
    assert found is not None
    rates = card.fp8_flops, card.bandwidth_bytes_per_s, 1.0
    seconds = experts_s(tokens, DEEPSEEK_TP8, expert_constants(found), *rates)
    assert float(seconds) * 1e6 == pytest.approx(microseconds, rel=0.25)


@pytest.mark.parametrize(("tokens", "experts", "per_token"), [(1, 128, 8), (3, 8, 2), (16, 128, 4), (64, 256, 8)])
def test_touched_experts_by_inclusion(tokens: int, experts: int, per_token: int) -> None:
    """An expert is missed by one token with C(E - 1, k) / C(E, k), by all of them with its power."""
    missed = (comb(experts - 1, per_token) / comb(experts, per_token)) ** tokens
    shape = ExpertShape(experts, per_token, 1, 1)
    assert float(touched_experts(tokens, shape)) == pytest.approx(experts * (1 - missed), rel=1e-9)


def test_touched_experts_of_drawn_tokens() -> None:
    """Mean over drawn choices agrees with the closed form."""
    generator = np.random.default_rng(3)
    shape = ExpertShape(64, 6, 1, 1)
    drawn = [
        len({int(expert) for _ in range(20) for expert in generator.choice(64, 6, replace=False)}) for _ in range(300)
    ]
    assert float(np.mean(drawn)) == pytest.approx(float(touched_experts(20, shape)), rel=0.02)


@settings(max_examples=60, deadline=None)
@given(tokens=st.integers(1, 10_000), ranks=st.sampled_from([1, 2, 8]), spread=st.floats(0.4, 1.0))
def test_touched_experts_stay_within_the_rank(tokens: int, ranks: int, spread: float) -> None:
    """Never more than a rank holds, never less than its share of one token's choice, never falling with tokens."""
    shape = ExpertShape(128, 8, 4096, 1536, ranks)
    touched = float(touched_experts(tokens, shape, spread))
    assert min(1.0, 8 / ranks) <= touched <= 128 / ranks
    assert float(touched_experts(tokens + 1, shape, spread)) >= touched


def test_a_small_step_reads_what_it_touches() -> None:
    """One token reads eight experts: three matrices of 7,168 x 256 at full bandwidth, in fp8."""
    seconds = float(experts_s(1, DEEPSEEK_TP8, PLAIN, 1979e12, 4.8e12, 1.0))
    assert seconds == pytest.approx(8 * 3 * 7168 * 256 / 4.8e12, rel=1e-3)


def test_a_large_step_is_arithmetic() -> None:
    """At 16,384 tokens every expert is busy: two operations a weight and row."""
    seconds = float(experts_s(16384, DEEPSEEK_TP8, PLAIN, 1979e12, 4.8e12, 1.0))
    assert seconds == pytest.approx(2 * 16384 * 8 * 3 * 7168 * 256 / 1979e12, rel=1e-3)


def test_whole_experts_are_uneven() -> None:
    """Under expert parallelism the busiest rank decides: `hot` adds to its rows, and to no row without ranks."""
    uneven = ExpertConstants(1.0, 1.0, 8.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0)
    whole = ExpertShape(256, 8, 7168, 2048, 8)
    even_s, hot_s = (float(experts_s(16384, whole, c, 1979e12, 4.8e12, 1.0)) for c in (PLAIN, uneven))
    assert hot_s / even_s == pytest.approx(1 + 7 / 8, rel=1e-3)
    slices = (float(experts_s(16384, DEEPSEEK_TP8, c, 1979e12, 4.8e12, 1.0)) for c in (PLAIN, uneven))
    assert len(set(slices)) == 1


def test_no_tokens_take_no_time() -> None:
    """A step without tokens launches nothing."""
    assert float(experts_s(0, DEEPSEEK_TP8, PLAIN, 1979e12, 4.8e12, 1.0)) == 0.0
