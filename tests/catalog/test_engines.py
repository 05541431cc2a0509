"""Engines: the rules of each release, which one answers for any other, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.catalog import engine_ids, load_engine
from planner.catalog.types import EngineRules

VLLM = tuple(f"vllm@{release}" for release in ("0.6", "0.11", "0.15", "0.17", "0.19", "0.21", "0.24", "0.30", "0.33"))
GIB = 2**30


def rules(text: str) -> EngineRules:
    """Rules that must exist."""
    found = load_engine(text)
    assert isinstance(found, EngineRules), found
    return found


def test_known_releases_in_order():
    """Three engines have rule sets, each in the order of its releases, each with a source."""
    assert engine_ids() == ("sglang@0.5", "tensorrt-llm@1.0", "tensorrt-llm@1.2", *VLLM)
    for text in engine_ids():
        found = rules(text)
        assert f"{found.name}@{found.version}" == found.requested == text
        assert not found.is_inferred
        assert found.source and found.defaults and found.non_torch
        assert found.defaults[0].from_bytes == 0


@pytest.mark.parametrize(
    ("text", "version", "is_inferred"),
    [
        ("vllm@0.20.1", "0.19", True),
        ("vllm@0.19.0", "0.19", False),
        ("vllm@v0.24", "0.24", False),
        ("vllm@0.24.0", "0.24", False),
        ("vllm@0.24.1", "0.24", True),
        ("vllm@0.15.2rc1", "0.15", True),
        ("vllm@0.10.2", "0.6", True),  # 0.10 is newer than 0.9 and older than 0.11
        ("vllm@0.16.0", "0.15", True),
        ("vllm@0.8.5.post1", "0.6", True),
        ("vllm@0.21.1.dev3+g1a2b3c", "0.21", True),
        ("vllm@1.0", "0.33", True),
        ("sglang@0.5.23", "0.5", True),
        ("tensorrt-llm@1.2.1", "1.2", True),
        ("tensorrt-llm@1.1", "1.0", True),
    ],
)
def test_the_newest_rules_that_are_not_newer(text, version, is_inferred):
    """Releases compare as numbers; what was written is kept, and it is told whether the rules were inferred."""
    found = rules(text)
    assert (found.version, found.is_inferred, found.requested) == (version, is_inferred, text)


@given(st.integers(0, 2), st.integers(0, 60), st.integers(0, 9))
def test_rules_never_come_from_a_newer_release(major, minor, patch):
    """For any release the rules are those of the newest row that is not newer, or it is refused as too old."""
    found = load_engine(f"vllm@{major}.{minor}.{patch}")
    rows = [tuple(int(part) for part in text.partition("@")[2].split(".")) for text in VLLM]
    older = [row for row in rows if row <= (major, minor)]
    if not older:
        assert isinstance(found, str) and "older than" in found
    else:
        assert isinstance(found, EngineRules)
        assert tuple(int(part) for part in found.version.split(".")) == max(older)


@pytest.mark.parametrize(
    ("text", "utilization_ppm", "graphs_in_budget", "in_flight_steps", "sampler", "null_blocks", "prints"),
    [
        ("vllm@0.6", 900_000, False, 1, 38, 0, False),
        ("vllm@0.11", 900_000, False, 1, 38, 1, False),
        ("vllm@0.16", 900_000, False, 1, 38, 1, False),
        ("vllm@0.17", 900_000, False, 1, 15, 1, False),
        ("vllm@0.19", 900_000, False, 1, 15, 1, False),
        ("vllm@0.20", 900_000, False, 1, 15, 1, False),
        ("vllm@0.21", 900_000, True, 1, 15, 1, True),
        ("vllm@0.24", 920_000, True, 1, 15, 1, True),
        ("vllm@0.33", 920_000, True, 2, 15, 1, True),
    ],
)
def test_rules_of_vllm(text, utilization_ppm, graphs_in_budget, in_flight_steps, sampler, null_blocks, prints):
    """Defaults and accounting follow the release."""
    found = rules(text)
    assert (found.name, found.block_tokens) == ("vllm", 16)
    assert found.utilization_ppm == utilization_ppm
    assert found.graphs_in_budget == graphs_in_budget
    assert found.in_flight_steps == in_flight_steps
    assert found.sampler_bytes_per_logit == sampler
    assert found.null_blocks == null_blocks
    assert found.prints_concurrency_tokens == prints


def test_the_tier_of_large_gpus_is_new_in_0_33():
    """16,384 batched tokens from 160 GiB on exist in 0.33 only."""
    assert [rules(text).large_gpu_bytes for text in VLLM] == [0] * 8 + [160 * GIB]


def test_rules_of_sglang():
    """SGLang pages hold one token; windows get 0.8 of the tokens, states 0.9 of the memory of tokens."""
    found = rules("sglang@0.5")
    assert (found.block_tokens, found.utilization_ppm, found.null_blocks) == (1, 0, 0)
    assert (found.window_pool_ppm, found.state_pool_ppm) == (800_000, 900_000)
    assert [tier.batched_tokens for tier in found.defaults] == [2048, 2048, 4096, 8192, 16384]
    assert {"auto", "fp8_e5m2", "fp8_e4m3", "fp4_e2m1", "mxfp8"} <= set(found.kv_dtypes)


def test_rules_of_tensorrt_llm():
    """TensorRT-LLM takes 0.9 of what is free, in blocks of 32 tokens."""
    for text in ("tensorrt-llm@1.0", "tensorrt-llm@1.2"):
        found = rules(text)
        assert (found.block_tokens, found.utilization_ppm) == (32, 900_000)
        assert set(found.kv_dtypes) == {"auto", "fp8", "nvfp4"}


@pytest.mark.parametrize(
    ("dtype", "first"),
    [
        ("auto", "0.6"),
        ("fp8", "0.6"),
        ("fp8_e5m2", "0.6"),
        ("fp8_ds_mla", "0.11"),
        ("int8_per_token_head", "0.24"),
        ("turboquant_k8v4", "0.24"),
        ("nvfp4", "0.24"),
        ("int4_per_token_head", "0.33"),
        ("nvfp4_4over6", "0.33"),
        ("ultraquant_4bit", "0.33"),
    ],
)
def test_kv_dtypes_by_release(dtype, first):
    """Each KV dtype of vLLM is known from the release that brought it, and from then on."""
    assert tuple(text for text in VLLM if dtype in rules(text).kv_dtypes) == VLLM[VLLM.index(f"vllm@{first}") :]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("vllm", ("names no release", "vllm@0.24")),
        ("vllm@", ("names no release",)),
        ("vllm@latest", ("'latest' is no release of vllm", "vllm@0.24")),
        ("vllm@0.24 ", ("is no release",)),
        ("vllm@24", ("is no release",)),
        ("vllm@0.٢", ("is no release",)),
        ("vllm@0." + "9" * 5000, ("is no release",)),
        ("vllm@0.5.5", ("older than", "vllm@0.6")),
        ("sglang@0.4.9", ("older than", "sglang@0.5")),
        ("tensorrt-llm@0.20", ("older than", "tensorrt-llm@1.0")),
        ("lmdeploy@0.9", ("engine 'lmdeploy' is not supported yet", "sglang@0.5")),
        ("tensorrt_llm@1.0", ("not supported yet", "tensorrt-llm@1.0")),
        ("", ("not supported yet",)),
        ("@", ("not supported yet",)),
    ],
)
def test_what_is_refused(text, words):
    """Unknown engines, missing and malformed releases, and releases older than all rules: a sentence with the list."""
    message = load_engine(text)
    assert isinstance(message, str)
    for word in words:
        assert word in message
