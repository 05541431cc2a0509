"""The time of attention: decoding, prefilling, windows, chunks and latents."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.catalog import load_gpu
from planner.catalog.types import AttentionKv, GpuFacts
from planner.performance.roofline.attention import (
    DecodeConstants,
    PrefillConstants,
    decode_attention_s,
    pairs,
    prefill_attention_s,
    seen_tokens,
)
from planner.performance.roofline.build import decode_constants, prefill_constants
from planner.performance.roofline.constants import Kernels, kernels_for

FULL = AttentionKv(8, 128, 128)
SLIDING = AttentionKv(8, 128, 128, "sliding", 128)
CHUNKED = AttentionKv(8, 128, 128, "chunked", 128)


def _found(gpu: str, engine: str, op: str, dtype: str) -> tuple[GpuFacts, dict[str, float]]:
    card = load_gpu(gpu)
    assert card is not None
    kernels = kernels_for(card, engine)
    assert isinstance(kernels, Kernels)
    found = kernels.find(op, dtype)
    assert found is not None
    return card, found


@pytest.mark.parametrize(
    ("batch", "context", "microseconds"), [(1, 4096, 16.87), (64, 4096, 353.57), (256, 1024, 364.38)]
)
def test_measured_decode(batch: int, context: int, microseconds: float) -> None:
    """8B's heads on an H100 under vLLM 0.24 (kernel tables of aiconfigurator-core 0.12.0), within 15 %."""
    card, found = _found("h100-sxm-80gb", "vllm", "decode", "bf16/128")
    seconds = decode_attention_s(
        batch, context, 32, 2 * 8 * 128 * 2, 4 * 32 * 128, decode_constants(found), card.bandwidth_bytes_per_s, 989e12
    )
    assert float(seconds) * 1e6 == pytest.approx(microseconds, rel=0.15)


@pytest.mark.parametrize(
    ("batch", "context", "microseconds"), [(1, 4096, 18.37), (64, 4096, 90.88), (256, 1024, 94.37)]
)
def test_measured_latent_decode(batch: int, context: int, microseconds: float) -> None:
    """Sixteen heads of DeepSeek-V3 on an H200 under TensorRT-LLM 1.3 (the same tables), within 25 %."""
    card, found = _found("h200-sxm-141gb", "tensorrt-llm", "latent_decode", "bf16")
    flops = 2 * 16 * (576 + 512)
    constants = decode_constants(found)
    seconds = decode_attention_s(batch, context, 16, 576 * 2, flops, constants, card.bandwidth_bytes_per_s, 989e12)
    assert float(seconds) * 1e6 == pytest.approx(microseconds, rel=0.25)


@pytest.mark.parametrize(("tokens", "microseconds"), [(1024, 35.52), (4096, 264.31), (16384, 3310.38)])
def test_measured_prefill(tokens: int, microseconds: float) -> None:
    """8B's heads on an H100 under vLLM 0.24 (the same tables), within 20 %."""
    card, found = _found("h100-sxm-80gb", "vllm", "prefill", "bf16/128")
    work = pairs(FULL, tokens, 0)
    seconds = prefill_attention_s(tokens, work, tokens, 4 * 32 * 128, prefill_constants(found), card.bf16_flops)
    assert float(seconds) * 1e6 == pytest.approx(microseconds, rel=0.2)


def test_decode_by_hand() -> None:
    """Every term, compute and reads in quadrature."""
    constants = DecodeConstants(0.9, 10e-6, 2e-9, 0.1e-9, compute_fraction=0.5)
    read, compute = 8 * 1000 * 1152 / (0.9 * 4.8e12), 8 * 1000 * 34816 / (0.5 * 989e12)
    expected = 10e-6 + (read**2 + compute**2) ** 0.5 + 2e-9 * 8 * 16 + 0.1e-9 * 1000
    found = decode_attention_s(8, 1000, 16, 1152, 34816, constants, 4.8e12, 989e12)
    assert float(found) == pytest.approx(expected, rel=1e-12)
    assert float(decode_attention_s(0, 1000, 16, 1152, 34816, constants, 4.8e12, 989e12)) == 0.0


def test_prefill_by_hand() -> None:
    """Pairs at the achieved rate, with the ramp, and the launch; nothing for no tokens."""
    constants = PrefillConstants(0.5, 1000.0, 10e-6)
    expected = 10e-6 + 5e5 * 16384 / (0.5 * 989e12) * (1 + 1000 / 1000)
    assert float(prefill_attention_s(1000, 5e5, 1000, 16384, constants, 989e12)) == pytest.approx(expected, rel=1e-12)
    assert float(prefill_attention_s(0, 0, 0, 16384, constants, 989e12)) == 0.0


@settings(max_examples=60, deadline=None)
@given(new=st.integers(1, 700), cached=st.integers(0, 700), kind=st.sampled_from([FULL, SLIDING, CHUNKED]))
def test_pairs_are_those_that_a_mask_counts(new: int, cached: int, kind: AttentionKv) -> None:
    """The closed form is the area under the mask: within one pair for each new token of a count by hand."""
    positions = np.arange(cached, cached + new)
    earlier = {"full": positions, "sliding": np.minimum(positions, 128), "chunked": positions % 128}[kind.reach]
    assert float(pairs(kind, new, cached)) == pytest.approx(float(earlier.sum()), abs=new)


def test_windows_bound_what_is_seen() -> None:
    """A window or chunk ends what a decoded token reads; full reach does not."""
    assert [float(seen_tokens(kind, 1000)) for kind in (FULL, SLIDING, CHUNKED)] == [1000, 128, 128]
    assert float(seen_tokens(SLIDING, 50)) == 50
