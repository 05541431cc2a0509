"""Pipeline stages: published splits, and that every layer stands on exactly one stage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.memory.stages import ceil_div, stage_layers


@pytest.mark.parametrize(
    ("layers", "pp", "sizes"),
    [
        (32, 2, [16, 16]),
        (61, 2, [31, 30]),  # the last stage holds the output head, so the extra layer goes before it
        (61, 4, [15, 15, 16, 15]),
        (62, 4, [15, 16, 16, 15]),
        (63, 4, [16, 16, 16, 15]),
        (2, 4, [0, 1, 1, 0]),
    ],
)
def test_vllm_splits(layers, pp, sizes):
    """The remainder goes to the last stage but one, then to the one before it, as get_pp_indices does."""
    assert [len(stage) for stage in stage_layers(layers, pp)] == sizes
    assert [len(stage) for stage in stage_layers(layers, pp, "sglang")] == sizes


def test_tensorrt_llm_fills_the_first_stages():
    """TensorRT-LLM splits like torch.tensor_split: the first stages take the remainder."""
    assert [len(stage) for stage in stage_layers(62, 4, "tensorrt-llm")] == [16, 16, 15, 15]


@given(st.integers(0, 200), st.integers(1, 16), st.sampled_from(["vllm", "sglang", "tensorrt-llm"]))
def test_every_layer_stands_on_one_stage(layers, pp, engine):
    """Stages follow each other without gaps, and differ by at most one layer."""
    stages = stage_layers(layers, pp, engine)
    assert [layer for stage in stages for layer in stage] == list(range(layers))
    assert max(map(len, stages)) - min(map(len, stages)) <= 1


@given(st.integers(0, 10**9), st.integers(1, 10**6))
def test_ceil_div(amount, unit):
    """The units hold the amount, and one less does not."""
    assert (ceil_div(amount, unit) - 1) * unit < max(amount, 1)
    assert ceil_div(amount, unit) * unit >= amount
