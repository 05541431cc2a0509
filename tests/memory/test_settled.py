"""Shapes that engines refuse before they look at memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.catalog import load_model
from planner.catalog.parallel import Parallel
from planner.catalog.types import Bottleneck, Refusal
from planner.memory.kv import pool_layout


@pytest.mark.parametrize(
    ("model_id", "shape", "says", "nearest"),
    [
        ("llama-3.1-8b", Parallel(64), "32 attention heads", "tp32"),
        ("deepseek-v3", Parallel(3), "128 attention heads", "tp2"),  # latents themselves are never split
        ("llama-3.1-8b", Parallel(2, ep=True), "no experts", "tp2"),
    ],
)
def test_shapes_that_no_engine_starts(kv_setup, model_id, shape, says, nearest):
    """vLLM asserts that tp divides the attention heads, and refuses expert parallelism of dense models.

    Source: vLLM `config/model.py` (`verify_with_parallel_config`).
    """
    model = load_model(model_id, Path())
    refusal = pool_layout(kv_setup(model, shape=shape))
    assert isinstance(refusal, Refusal)
    assert refusal.bottleneck is Bottleneck.PARALLEL
    assert says in refusal.message
    assert refusal.nearest == nearest


def test_experts_spread(kv_setup):
    """A mixture takes expert parallelism, and its KV stays as it is."""
    model = load_model("qwen3-30b-a3b", Path())
    assert not isinstance(pool_layout(kv_setup(model, shape=Parallel(2, dp=2, ep=True))), Refusal)
