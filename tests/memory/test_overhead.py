"""Overheads: the activation peak by its cause, buffers by release and GPU, server defaults of three engines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from planner.catalog import load_engine, load_gpu, load_model
from planner.catalog.parallel import Parallel
from planner.memory.overhead import (
    activation_bytes,
    default_max_num_batched_tokens,
    default_max_num_seqs,
    doubts,
    expert_workspace_bytes,
    graph_sequences,
    non_torch_bytes,
    sglang_reserved_bytes,
)

GIB = 2**30
MIB = 2**20


@pytest.mark.parametrize(
    ("model_id", "release", "tp", "logged_gib", "within"),
    [
        ("codellama-7b", "vllm@0.19", 1, 0.77, 0.03),  # forward pass: the vocabulary is small
        ("llama-3.1-8b", "vllm@0.19", 1, 1.89, 0.03),  # sampler
        ("qwen3-30b-a3b", "vllm@0.19", 1, 2.68, 0.03),  # sampler and expert workspace
        ("mixtral-8x7b", "vllm@0.19", 2, 1.21, 0.03),  # forward pass and expert workspace
        ("gemma-3-4b", "vllm@0.19", 1, 3.89, 0.03),  # sampler and embeddings of images
        ("gemma-3-27b", "vllm@0.19", 1, 3.99, 0.03),
        ("qwen3-14b", "vllm@0.16", 1, 5.64, 0.07),  # 38 bytes a logit before 0.17
        ("qwen3-14b", "vllm@0.17", 1, 2.23, 0.03),
    ],
)
def test_activation_peak_by_its_cause(model_id, release, tp, logged_gib, within):
    """Each moment of the dummy run, and each of its additions, meets a start-up log (8,192 tokens, 1,024 sequences)."""
    peak = activation_bytes(load_model(model_id, Path()), load_engine(release), Parallel(tp), 1024, 8192)
    assert peak / GIB == pytest.approx(logged_gib, abs=within)


def test_fp32_models_hold_wider_logits():
    """Llama-3.1-8B in fp32 logged 2.21 GiB against 1.89 in 16 bits."""
    model, engine = load_model("llama-3.1-8b", Path()), load_engine("vllm@0.19")
    peak = activation_bytes(model, engine, Parallel(), 1024, 8192, element_bytes=4)
    assert peak / GIB == pytest.approx(2.21, abs=0.02)


def test_the_sampler_runs_on_the_last_stage_only():
    """Under pipeline parallelism the first stage has the forward pass, with hidden states to pass on."""
    model, engine, shape = load_model("llama-3.1-8b", Path()), load_engine("vllm@0.19"), Parallel(1, pp=2)
    first, last = (activation_bytes(model, engine, shape, 1024, 8192, stage=stage) for stage in (0, 1))
    assert first == 2 * 8192 * (3 * 14336 + 4 * 4096) + 4 * 8192 * 4096
    assert last == 15 * 1024 * 128256 + 2 * 8192 * 4096


def test_expert_workspace_over_ranks():
    """Mixtral: 2 * T * k * (max(2 * Im, H) + max(Im, H)); slices divide Im, whole experts do not, dp meets tokens."""
    model = load_model("mixtral-8x7b", Path())
    assert expert_workspace_bytes(model, Parallel(), 1000) == 2 * 1000 * 2 * (28672 + 14336)
    assert expert_workspace_bytes(model, Parallel(4), 1000) == 2 * 1000 * 2 * (7168 + 4096)
    assert expert_workspace_bytes(model, Parallel(2, dp=2), 1000) == 2 * 2000 * 2 * (7168 + 4096)
    assert expert_workspace_bytes(model, Parallel(4, ep=True), 1000) == 2 * 1000 * 2 * (28672 + 14336)
    assert expert_workspace_bytes(replace(model, native_weights="mxfp4"), Parallel(), 1000) == 0


@pytest.mark.parametrize(
    ("gpu_id", "engine_id", "sequences", "tokens"),
    [
        ("h100-sxm-80gb", "vllm@0.6", 256, 2048),
        ("h100-sxm-80gb", "vllm@0.19", 1024, 8192),
        ("h100-sxm-80gb", "vllm@0.33", 1024, 8192),
        ("a100-sxm-80gb", "vllm@0.24", 256, 2048),
        ("a100-pcie-80gb", "vllm@0.33", 256, 2048),
        ("l40s-48gb", "vllm@0.24", 256, 2048),
        ("h200-sxm-141gb", "vllm@0.33", 1024, 8192),
        ("b200-sxm-180gb", "vllm@0.24", 1024, 8192),
        ("b200-sxm-180gb", "vllm@0.33", 1024, 16384),
        ("t4-16gb", "sglang@0.5", 2048, 2048),
        ("rtx-5090-32gb", "sglang@0.5", 2048, 2048),
        ("l40s-48gb", "sglang@0.5", 2048, 4096),
        ("a100-sxm-80gb", "sglang@0.5", 2048, 8192),
        ("b200-sxm-180gb", "sglang@0.5", 2048, 16384),
        ("t4-16gb", "tensorrt-llm@1.2", 2048, 8192),
        ("h100-sxm-80gb", "tensorrt-llm@1.0", 2048, 8192),
    ],
)
def test_server_defaults(gpu_id, engine_id, sequences, tokens):
    """Defaults follow engine, release and size of the GPU, except on A100 in vLLM."""
    gpu, engine = load_gpu(gpu_id), load_engine(engine_id)
    assert default_max_num_seqs(gpu, engine) == sequences
    assert default_max_num_batched_tokens(gpu, engine) == tokens


@pytest.mark.parametrize(
    ("gpu_id", "engine_id", "tp", "gib"),
    [
        ("h100-sxm-80gb", "vllm@0.19", 1, 0.25),
        ("h100-sxm-80gb", "vllm@0.19", 2, 2.08),
        ("h100-sxm-80gb", "vllm@0.19", 4, 2.16),
        ("h100-sxm-80gb", "vllm@0.19", 8, 2.2),
        ("h100-sxm-80gb", "vllm@0.19", 16, 2.2),
        ("h100-sxm-80gb", "vllm@0.16", 1, 0.13),
        ("h100-sxm-80gb", "vllm@0.17", 1, 0.13),
        ("h100-sxm-80gb", "vllm@0.8", 1, 1.79),
        ("h100-sxm-80gb", "vllm@0.8", 2, 3.58),
        ("rtx-3090-24gb", "vllm@0.6.5", 1, 0.35),
        ("l40s-48gb", "vllm@0.24", 1, 0.25),
        ("l40s-48gb", "vllm@0.24", 4, 0.3),
    ],
)
def test_non_torch(gpu_id, engine_id, tp, gib):
    """Communication buffers grow with the ranks over NVLink, stay small over PCIe, and were larger in V0."""
    assert non_torch_bytes(load_gpu(gpu_id), load_engine(engine_id), tp) == pytest.approx(gib * GIB, abs=1)


@pytest.mark.parametrize(
    ("gpu_id", "shape", "mebibytes"),
    [
        ("h100-sxm-80gb", Parallel(8), 512 + 8192 * 3 // 2 + 8 * 128 + 2 * 512),
        ("h100-sxm-80gb", Parallel(1), 512 + 8192 * 3 // 2 + 128 + 2 * 256),
        ("rtx-4090-24gb", Parallel(1), 512 + 2048 * 3 // 2 + 128 + 2 * 24),
        ("rtx-4090-24gb", Parallel(4), 512 + 2048 * 3 // 2 + 4 * 128 + 2 * 80),
        ("b200-sxm-180gb", Parallel(4, dp=2), 512 + 16384 * 3 // 2 + 4 * 128 + 2 * 512 + 512 * 2 * 9 // 2),
    ],
)
def test_what_sglang_reserves(gpu_id, shape, mebibytes):
    """The arithmetic of `_handle_gpu_memory_settings`, worked by hand."""
    gpu, engine = load_gpu(gpu_id), load_engine("sglang@0.5.23")
    chunk = default_max_num_batched_tokens(gpu, engine)
    assert sglang_reserved_bytes(gpu, engine, shape, chunk) == mebibytes * MIB


def test_sglang_keeps_ten_gib_on_large_gpus():
    """Above 60 GiB the reserve never falls below 10 GiB, however small the chunks; below there is no floor."""
    engine = load_engine("sglang@0.5")
    assert sglang_reserved_bytes(load_gpu("h100-sxm-80gb"), engine, Parallel(), 2048) == 10 * GIB
    assert sglang_reserved_bytes(load_gpu("l40s-48gb"), engine, Parallel(), 2048) < 4 * GIB
    assert graph_sequences(load_gpu("l40s-48gb"), engine, 4) == 160


@pytest.mark.parametrize(
    ("model_id", "gpu_id", "engine_id", "shape", "words"),
    [
        ("llama-3.1-8b", "h100-sxm-80gb", "vllm@0.24", Parallel(4), ()),
        ("llama-3.1-8b", "h100-sxm-80gb", "vllm@0.24", Parallel(8), ("tp8",)),
        ("llama-3.1-8b", "h100-sxm-80gb", "vllm@0.24", Parallel(1, pp=2), ("pipeline",)),
        ("mixtral-8x7b", "h100-sxm-80gb", "vllm@0.24", Parallel(1, dp=2), ("data or expert",)),
        ("llama-3.1-8b", "a100-sxm-80gb", "vllm@0.24", Parallel(), ("a100-sxm-80gb",)),
        ("llama-3.1-8b", "mi300x", "vllm@0.24", Parallel(), ("AMD",)),
        ("gemma-3-27b", "h100-sxm-80gb", "vllm@0.24", Parallel(), ("vision tower",)),
        ("llama-3.1-8b", "h100-sxm-80gb", "sglang@0.5", Parallel(), ("sglang",)),
    ],
)
def test_what_was_not_measured_is_named(model_id, gpu_id, engine_id, shape, words):
    """Where no log stands behind a figure, the reason is named."""
    found = doubts(load_model(model_id, Path()), load_gpu(gpu_id), load_engine(engine_id), shape)
    assert len(found) == len(words)
    for word in words:
        assert any(word in reason for reason in found)
