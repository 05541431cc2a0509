"""Bytes of requests: linear where an engine writes compressed vectors, by the request where it is compressed later."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.catalog import load_model
from planner.catalog.parallel import Parallel
from planner.catalog.types import ModelFacts, Refusal
from planner.compression.codecs_data import kv_spec
from planner.compression.requests import codec_shape, is_linear, mean_block_tokens, request_blocks
from planner.compression.table import load_presets
from planner.memory.kv import kv_bytes_per_token

LINEAR = [preset.id for preset in load_presets().values() if preset.codec and preset.layout_known]


def llama() -> ModelFacts:
    """Llama-3.3-70B: 80 layers, 8 KV heads of 128."""
    facts = load_model("llama-3.3-70b-instruct", Path())
    assert isinstance(facts, ModelFacts)
    return facts


@given(st.integers(0, 200_000), st.integers(0, 10_000))
def test_the_linear_row_is_exact_for_everything_an_engine_packs(prefix: int, decoded: int) -> None:
    """sequence_bytes(prompt, decoded) = tokens * bytes a token, to the byte, for every preset with a layout."""
    facts = llama()
    for preset_id in LINEAR:
        preset = load_presets()[preset_id]
        spec = kv_spec(preset.codec)
        assert is_linear(spec)
        token = kv_bytes_per_token(facts, preset.storage, Parallel())
        assert spec.sequence_bytes(80, 8, 128, prefix, decoded) == (prefix + decoded) * token, preset_id


def test_presets_that_keep_something_whole_are_not_linear() -> None:
    """Residual windows, eviction, 16-bit decoded tokens and groups of tokens need the request itself."""
    for name in ("kivi-2bit", "evict-60", "e8-k2v2", "nexusquant-balanced"):
        assert not is_linear(kv_spec(name))


@pytest.mark.parametrize(
    ("codec", "prompt", "decoded", "blocks"),
    [
        # 16-bit: a block a 16 tokens
        ("fp16", 4096, 0, 256),
        ("fp16", 4096, 1, 257),
        # 16 tokens inside the residual window of 128 stay 16-bit
        ("kivi-2bit", 16, 0, 1),
        # 3,968 coded tokens of 96 bytes (2 bits and 32 bits per 32, K and V) and 128 of 512 bytes, 8,192 a block
        ("kivi-2bit", 4096, 0, -(-(3968 * 96 * 2 // 2 + 128 * 512) // 8192)),
        # 39 % stay of 1,024: 33 + floor(992 * 0.4) = 429 of 76 bytes, and 1,000 decoded ones of 512 bytes
        ("nexusquant-balanced", 1024, 1000, -(-(429 * 76 + 1000 * 512) // 8192)),
    ],
)
def test_blocks_of_a_request_by_hand(codec: str, prompt: int, decoded: int, blocks: int) -> None:
    """Head size 128, blocks of 16 tokens: 8,192 bytes of K and V of one head in one layer."""
    assert request_blocks(codec, 80, 128, prompt, decoded, 16) == blocks


def brute(codec: str, prompts: dict[int, int], outputs: dict[int, int], limit: int) -> float:
    """The mean over every decode step of every request, one by one."""
    held = steps = 0
    for prompt, prompt_weight in prompts.items():
        for output, weight in outputs.items():
            for step in range(1, min(output, limit - prompt)):
                held += prompt_weight * weight * 16 * request_blocks(codec, 2, 64, prompt, step, 16)
                steps += prompt_weight * weight
    return held / steps


@given(
    st.dictionaries(st.integers(1, 900), st.integers(1, 5), min_size=1, max_size=3),
    st.dictionaries(st.integers(2, 120), st.integers(1, 5), min_size=1, max_size=3),
    st.sampled_from(["fp16", "kivi-2bit", "e8-k2v2", "nexusquant-balanced"]),
)
def test_the_mean_over_steps_bounds_the_brute_force_one(
    prompts: dict[int, int], outputs: dict[int, int], codec: str
) -> None:
    """Never below the sum over single steps, and above it by less than a stretch of steps can hide."""
    exact = brute(codec, prompts, outputs, 1000)
    answers = tuple(sorted(outputs.items()))
    requests = [(prompt, weight, answers) for prompt, weight in sorted(prompts.items())]
    found = mean_block_tokens(codec, (2, 64), requests, 1000, 16)
    assert exact <= found * (1 + 1e-12)
    assert found <= exact + 32


def test_models_that_mix_layers_are_refused() -> None:
    """Windows, latent attention and states have no composition that packs them."""
    for name in ("gemma-3-27b", "deepseek-v3"):
        facts = load_model(name, Path())
        assert isinstance(facts, ModelFacts)
        assert isinstance(codec_shape("kivi-2bit", facts), Refusal)
    assert codec_shape("kivi-2bit", llama()) == (80, 128)
