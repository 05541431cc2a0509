"""Overheads: the rule against start-up logs, engine defaults, and where the figures are estimates."""

from __future__ import annotations

from statistics import mean

import pytest

from planner.catalog import load_engine, load_gpu
from planner.memory.overhead import (
    activation_bytes,
    default_max_num_batched_tokens,
    default_max_num_seqs,
    non_torch_bytes,
    overheads,
)

GIB = 2**30


def measured(logs):
    """H100 logs of 0.17 and later that print every component, in the model's own 16-bit type."""
    return [
        log
        for log in logs
        if log.version.startswith(("0.17", "0.19")) and log.activation_gib is not None and "float32" not in log.kv_dtype
    ]


def test_activation_peak_of_logs(logs):
    """The activation peak is off by 0.06 GiB on average and by 0.31 at most, as the fit says."""
    engine = load_engine("vllm@0.19")
    errors = [
        activation_bytes(log.model, engine, log.tp, 1024, log.batched_tokens) / GIB - log.activation_gib
        for log in measured(logs)
    ]
    assert len(errors) >= 20
    assert mean(map(abs, errors)) < 0.06
    assert max(map(abs, errors)) < 0.31


@pytest.mark.parametrize(
    ("model_id", "tp", "sequences", "logged_gib"),
    [
        ("codellama-7b", 1, 1024, 0.77),  # forward pass: the vocabulary is small
        ("llama-3.1-8b", 1, 1024, 1.89),  # sampler
        ("qwen3-30b-a3b", 1, 1024, 2.68),  # sampler and expert workspace
        ("mixtral-8x7b", 2, 1024, 1.21),  # forward pass and expert workspace
    ],
)
def test_activation_peak_by_its_cause(facts, model_id, tp, sequences, logged_gib):
    """Each of the two moments, and the workspace of experts, meets a log within 0.03 GiB."""
    peak = activation_bytes(facts(model_id), load_engine("vllm@0.19"), tp, sequences, 8192)
    assert peak / GIB == pytest.approx(logged_gib, abs=0.03)


def test_pool_rule_of_logs(logs):
    """With the logged weights, the pool is off by 0.08 GiB on average and by 0.31 at most."""
    engine, gpu = load_engine("vllm@0.19"), load_gpu("h100-sxm-80gb")
    errors = []
    for log in measured(logs):
        rest = overheads(
            log.model, gpu, engine, tp=log.tp, max_num_seqs=1024, max_num_batched_tokens=log.batched_tokens
        )
        used = (rest.total_bytes - rest.margin_bytes) / GIB
        errors.append(log.utilization * log.total_gib - log.weights_gib - used - log.available_gib)
    assert mean(map(abs, errors)) < 0.08
    assert max(map(abs, errors)) < 0.31


def test_logs_obey_the_identity(logs):
    """In each log the pool is the budget less its printed parts, within rounding and 0.02 GiB."""
    for log in measured(logs):
        parts = log.weights_gib + log.activation_gib + log.non_torch_gib
        assert log.utilization * log.total_gib - parts == pytest.approx(log.available_gib, abs=0.041)


@pytest.mark.parametrize(
    ("gpu_id", "engine_id", "sequences", "tokens"),
    [
        ("h100-sxm-80gb", "vllm@0.19", 1024, 8192),
        ("h100-sxm-80gb", "vllm@0.33", 1024, 8192),
        ("a100-sxm-80gb", "vllm@0.24", 256, 2048),
        ("a100-pcie-80gb", "vllm@0.33", 256, 2048),
        ("l40s-48gb", "vllm@0.24", 256, 2048),
        ("h200-sxm-141gb", "vllm@0.33", 1024, 8192),
        ("b200-sxm-180gb", "vllm@0.24", 1024, 8192),
        ("b200-sxm-180gb", "vllm@0.33", 1024, 16384),
    ],
)
def test_server_defaults(gpu_id, engine_id, sequences, tokens):
    """Defaults follow the size of the GPU, except on A100, and 0.33 has one more tier."""
    gpu, engine = load_gpu(gpu_id), load_engine(engine_id)
    assert default_max_num_seqs(gpu, engine) == sequences
    assert default_max_num_batched_tokens(gpu, engine) == tokens


@pytest.mark.parametrize(
    ("gpu_id", "tp", "gib"),
    [
        ("h100-sxm-80gb", 1, 0.25),
        ("h100-sxm-80gb", 2, 2.08),
        ("h100-sxm-80gb", 4, 2.16),
        ("h100-sxm-80gb", 8, 2.2),
        ("l40s-48gb", 1, 0.25),
        ("l40s-48gb", 4, 0.3),
    ],
)
def test_non_torch(gpu_id, tp, gib):
    """Communication buffers grow with the ranks over NVLink and stay small over PCIe."""
    assert non_torch_bytes(load_gpu(gpu_id), tp) == pytest.approx(gib * GIB, abs=1)


@pytest.mark.parametrize(
    ("model_id", "gpu_id", "tp", "margin_gib", "words"),
    [
        ("llama-3.1-8b", "h100-sxm-80gb", 1, 0, ()),
        ("llama-3.1-8b", "h100-sxm-80gb", 4, 0, ()),
        ("llama-3.1-8b", "h100-sxm-80gb", 8, 1, ("tp8",)),
        ("llama-3.1-8b", "a100-sxm-80gb", 1, 0.5, ("a100-sxm-80gb",)),
        ("llama-3.1-8b", "h200-sxm-141gb", 2, 1, ("h200-sxm-141gb", "driver figure")),
        ("llama-3.1-8b", "mi300x", 1, 0.5, ("AMD",)),
        ("gemma-3-27b", "h100-sxm-80gb", 1, 0.5, ("vision tower",)),
    ],
)
def test_what_was_not_measured_is_flagged(facts, model_id, gpu_id, tp, margin_gib, words):
    """Where no log stands behind a figure, a margin is kept and the reason is named."""
    rest = overheads(
        facts(model_id),
        load_gpu(gpu_id),
        load_engine("vllm@0.24"),
        tp=tp,
        max_num_seqs=256,
        max_num_batched_tokens=2048,
    )
    assert rest.margin_bytes == margin_gib * GIB
    assert bool(rest.estimated) == bool(words)
    for word in words:
        assert any(word in reason for reason in rest.estimated)


def test_graphs_are_in_the_budget_from_0_21(facts):
    """Releases before 0.21 capture CUDA graphs outside the budget; later ones lose 1.05 GiB of it."""
    sizes = [
        overheads(
            facts("llama-3.1-8b"),
            load_gpu("h100-sxm-80gb"),
            load_engine(release),
            tp=1,
            max_num_seqs=256,
            max_num_batched_tokens=2048,
        ).cuda_graph_bytes
        for release in ("vllm@0.19", "vllm@0.24", "vllm@0.33")
    ]
    assert sizes == [0, 1_127_428_916, 1_127_428_916]
