"""Tests of the interval for an architecture that nobody described."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from planner.calculator.kv import kv_answer
from planner.calculator.query import KvQuery
from planner.calculator.types import KvAnswer, Pool
from planner.errors import InputError

KINDS = ["full_attention", "linear_attention", "sliding_attention"]


@pytest.fixture
def unknown(tmp_path: Path) -> str:
    """24 layers of a type nobody knows: 8 full, 8 with windows, 8 recurrent."""
    config = {
        "model_type": "unheard-of",
        "num_hidden_layers": 24,
        "hidden_size": 2048,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "intermediate_size": 8192,
        "vocab_size": 50_000,
        "max_position_embeddings": 65_536,
        "sliding_window": 1024,
        "layer_types": KINDS * 8,
    }
    tmp_path.joinpath("config.json").write_text(json.dumps(config))
    return str(tmp_path)


def test_unknown_is_refused_by_name(unknown: str) -> None:
    """Tests that without --bound the architecture is refused, naming it and the way out."""
    with pytest.raises(InputError) as caught:
        kv_answer(KvQuery(unknown))
    assert "unheard-of" in str(caught.value) and "--bound" in str(caught.value)


def test_the_interval(unknown: str, ask: Callable[..., KvAnswer]) -> None:
    """Tests 24 full layers above, 8 full and 8 windows below, in every figure."""
    answer = ask(unknown, bound="yes", available_kv="20GiB", context="16,64Ki")
    per_layer = 2 * 4 * 128 * 2
    assert answer.low is not None
    assert answer.figures.bytes_per_token == 24 * per_layer
    assert answer.low.bytes_per_token == 16 * per_layer
    high, low = answer.figures.rows[-1], answer.low.rows[-1]
    assert high.logical_bytes == 65_536 * 24 * per_layer
    assert low.logical_bytes == 8 * per_layer * (65_536 + 1_024)
    for worst, best in zip(answer.figures.rows, answer.low.rows, strict=True):
        assert best.reserved_bytes <= worst.reserved_bytes
        assert (worst.fitting_sequences or 0) <= (best.fitting_sequences or 0)
    assert isinstance(answer.figures.pool, Pool) and isinstance(answer.low.pool, Pool)
    assert answer.figures.pool.usable_tokens < answer.low.pool.usable_tokens
    assert any("the most that it may keep" in line for line in answer.figures.estimated)


def test_short_sequences_stay_an_interval(tmp_path: Path) -> None:
    """Tests 16 tokens, where a window's extra block reserves more (12 + 2 x 12 layers) than 24 full layers do."""
    config = {
        "model_type": "unheard-of",
        "num_hidden_layers": 24,
        "hidden_size": 2048,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "max_position_embeddings": 65_536,
        "sliding_window": 1024,
        "layer_types": ["full_attention", "sliding_attention"] * 12,
    }
    tmp_path.joinpath("config.json").write_text(json.dumps(config))
    answer = kv_answer(KvQuery(str(tmp_path), contexts_tokens=(16,), available_kv_bytes=2**30, bound=True))
    assert answer.low is not None
    block_of_a_layer = 16 * 2 * 16 * 128 * 2
    assert answer.low.rows[0].reserved_bytes == 24 * block_of_a_layer
    assert answer.figures.rows[0].reserved_bytes == 36 * block_of_a_layer


def test_a_known_model_has_no_interval(ask: Callable[..., KvAnswer]) -> None:
    """Tests that --bound changes nothing where the architecture is understood."""
    answer = ask("gemma-3-27b", bound="yes")
    assert answer.low is None
    assert answer.figures == ask("gemma-3-27b").figures
