"""Settings that the calculator must not pass over in silence."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from planner.calculator.fits import fits
from planner.calculator.inputs import Inputs
from planner.calculator.query import read_query
from planner.calculator.types import Budget, KvAnswer, Pool
from planner.report.kv_explain import explain_text
from planner.report.kv_fits import fits_text

Ask = Callable[..., KvAnswer]
GIB = 2**30


def test_a_server_in_float32(ask: Ask) -> None:
    """Tests the log of Llama-3.1-8B with --dtype float32: weights 29.98, peak 2.21, 42.80 GiB for KV.

    Source: llm-d-incubation/llm-d-planner@d3121e059da8, meta-llama-llama-3--h100-80gb--tp1pp1dp1--8192-dtf32.log.
    """
    answer = ask(
        "llama-3.1-8b",
        engine="vllm@0.19",
        gpu="h100-sxm-80gb",
        kv_dtype="float32",
        max_model_len="8192",
        gpu_memory_utilization="0.95",
    )
    budget, pool = answer.figures.budget, answer.figures.pool
    assert isinstance(budget, Budget) and isinstance(pool, Pool)
    sizes = {part.name: part.size_bytes / GIB for part in budget.components}
    assert sizes["weights_bytes"] == pytest.approx(29.98, abs=0.02)
    assert sizes["activation_bytes"] == pytest.approx(2.21, abs=0.02)
    assert pool.available_bytes / GIB == pytest.approx(42.80, abs=0.05)
    assert ("--weights", "fp32") in [(each.flag, each.value) for each in answer.defaults]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"gpu_memory_utilization": "0.5", "weights_gib": "3"}, "--gpu-memory-utilization, --weights-gib: no effect"),
        ({"available_kv": "9GiB", "max_num_seqs": "8"}, "--max-num-seqs: no effect, --available-kv skips the budget"),
        ({"mamba_cache": "align"}, "--mamba-cache: no effect, llama-3.1-8b has no recurrent layers"),
        ({"hybrid": "no"}, "--disable-hybrid-kv-cache-manager: no effect, llama-3.1-8b has no windows"),
    ],
)
def test_flags_that_change_nothing_are_said(ask: Ask, flags: dict[str, str], says: str) -> None:
    """Tests that a flag without effect is named."""
    assert any(says in line for line in ask("llama-3.1-8b", **flags).warnings)
    assert not any("no effect" in line for line in ask("llama-3.1-8b").warnings)


def test_blocks_are_known_without_memory(ask: Ask) -> None:
    """Tests Qwen3.8-27B with fp8 KV, whose log prints blocks of 1,568 tokens, with and without a pool."""
    settings = {"engine": "vllm@0.24", "kv_dtype": "fp8", "max_model_len": "131072"}
    bare, pooled = ask("qwen3.8-27b", **settings), ask("qwen3.8-27b", **settings, available_kv="4.99GiB")
    pool = pooled.figures.pool
    assert isinstance(pool, Pool)
    layout = bare.figures.layout
    assert (layout.block_tokens, layout.groups) == (pool.block_tokens, pool.groups) == (1_568, 4)
    assert layout.block_bytes == pool.block_bytes
    assert layout.state_bytes_per_sequence == pool.state_bytes_per_sequence > 0


@pytest.mark.parametrize(("name", "rules"), [("sglang", "sglang"), ("tensorrt-llm", "tensorrt-llm"), ("vllm", "vllm")])
def test_an_engine_without_a_release_takes_the_newest_rules(ask: Ask, name: str, rules: str) -> None:
    """Tests that the default is taken as without any engine, and said."""
    answer = ask("llama-3.1-8b", engine=name)
    assert answer.engine.name == rules
    assert [each.value for each in answer.defaults if each.flag == "--engine"] == [answer.engine.requested]


def test_a_name_without_its_organization(ask: Ask) -> None:
    """Tests that logs and tools may leave the organization of a hub id out."""
    assert ask("DeepSeek-R1-Distill-Llama-8B").figures.bytes_per_token == 131_072


def test_a_share_that_rounds_to_nothing() -> None:
    """Tests that less than a millionth is refused, since 0 would mean the engine's own share."""
    _, mistakes = read_query({"gpu-memory-utilization": "0.0000001"}, model="llama-3.1-8b")
    assert [mistake.flag for mistake in mistakes] == ["--gpu-memory-utilization"]


def test_too_small_gpus_share_a_line(inputs: Callable[..., Inputs]) -> None:
    """Tests that GPUs that hold nothing are named, shape by shape, and explained only where one is asked for."""
    many = fits_text(fits(inputs("deepseek-v3")))
    assert "tp8 of t4-16gb, rtx-5070-ti-16gb" in many
    assert "deepseek-v3 needs" not in many
    one = fits_text(fits(inputs("deepseek-v3", gpu="h100-sxm-80gb")))
    assert "h100-sxm-80gb tp8: deepseek-v3 needs" in one


def test_no_margin_no_word_of_it(ask: Ask) -> None:
    """Tests that the arithmetic speaks of the margin only where plans keep one."""
    measured = ask("llama-3.1-8b", engine="vllm@0.19", gpu="h100-sxm-80gb")
    assert "margin" not in explain_text(measured, 100)
    assert "margin left free" in explain_text(ask("llama-3.1-8b", engine="vllm@0.19", gpu="l40s-48gb"), 100)
