"""Engines: the rules of each release, and what is answered for any other."""

from __future__ import annotations

import pytest

from planner.catalog import engine_ids, load_engine
from planner.catalog.types import EngineRules


def test_known_releases_in_order():
    """Three releases of vLLM have rules."""
    assert engine_ids() == ("vllm@0.19", "vllm@0.24", "vllm@0.33")


@pytest.mark.parametrize(
    ("text", "utilization_ppm", "graphs_in_budget", "in_flight_steps"),
    [
        ("vllm@0.19", 900_000, False, 1),
        ("vllm@0.24", 920_000, True, 1),
        ("vllm@0.33", 920_000, True, 2),
    ],
)
def test_rules(text, utilization_ppm, graphs_in_budget, in_flight_steps):
    """Defaults and accounting follow the release."""
    rules = load_engine(text)
    assert isinstance(rules, EngineRules)
    assert (rules.name, rules.requested, rules.block_tokens) == ("vllm", text, 16)
    assert rules.utilization_ppm == utilization_ppm
    assert rules.graphs_in_budget == graphs_in_budget
    assert rules.in_flight_steps == in_flight_steps
    assert rules.sampler_bytes_per_logit == 15
    assert rules.source


@pytest.mark.parametrize(
    ("dtype", "releases"),
    [
        ("auto", ("vllm@0.19", "vllm@0.24", "vllm@0.33")),
        ("fp8", ("vllm@0.19", "vllm@0.24", "vllm@0.33")),
        ("fp8_e5m2", ("vllm@0.19", "vllm@0.24", "vllm@0.33")),
        ("int8_per_token_head", ("vllm@0.24", "vllm@0.33")),
        ("turboquant_k8v4", ("vllm@0.24", "vllm@0.33")),
        ("nvfp4", ("vllm@0.24", "vllm@0.33")),
        ("int4_per_token_head", ("vllm@0.33",)),
        ("nvfp4_4over6", ("vllm@0.33",)),
        ("ultraquant_4bit", ("vllm@0.33",)),
    ],
)
def test_kv_dtypes_by_release(dtype, releases):
    """Each KV dtype is known from the release that brought it."""
    assert tuple(text for text in engine_ids() if dtype in load_engine(text).kv_dtypes) == releases


@pytest.mark.parametrize("text", ["vllm", "vllm@", "vllm@0.20", "vllm@latest", "sglang@0.5", "", "@", "vllm@0.24 "])
def test_other_releases_are_a_sentence(text):
    """Nothing is inferred for other releases: the answer names the known ones."""
    message = load_engine(text)
    assert isinstance(message, str)
    assert "vllm@0.24" in message
