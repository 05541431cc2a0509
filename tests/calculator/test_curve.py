"""Tests of the curve of KV against context."""

from __future__ import annotations

from collections.abc import Callable

from planner.calculator.curve import kv_curve
from planner.calculator.inputs import Inputs


def test_the_curve_rises_and_ends_where_asked(inputs: Callable[..., Inputs]) -> None:
    """Tests monotone points from one token to the longest context, logical never above reserved."""
    curve = kv_curve(inputs("gemma-3-27b", context="4Ki,64Ki", engine="vllm@0.19"))
    assert (curve.points[0].tokens, curve.points[-1].tokens) == (1, 65_536)
    for one, two in zip(curve.points, curve.points[1:], strict=False):
        assert one.logical_bytes <= two.logical_bytes
        assert one.reserved_bytes <= two.reserved_bytes
        assert one.logical_bytes <= one.reserved_bytes
    assert (curve.available_bytes, curve.meets_tokens) == (None, None)


def test_where_it_meets_the_memory(inputs: Callable[..., Inputs]) -> None:
    """Tests 4 GiB over 524,288 B a token: 8,192 tokens alone, 4,096 each for two sequences."""
    alone = kv_curve(inputs("llama-2-7b", context="16Ki", available_kv="4GiB"))
    assert alone.meets_tokens == 8_192
    two = kv_curve(inputs("llama-2-7b", context="16Ki", available_kv="4GiB", batch="2"))
    assert two.meets_tokens == 4_096
    roomy = kv_curve(inputs("llama-2-7b", available_kv="40GiB"))
    assert roomy.meets_tokens is None
