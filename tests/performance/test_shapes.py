"""What one rank multiplies: matrices fused, split and counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.catalog import load_model
from planner.catalog.parallel import Parallel
from planner.catalog.types import ModelFacts
from planner.performance.roofline.shapes import Matrix, rank_matrices


def _model(name: str) -> ModelFacts:
    facts = load_model(name, Path())
    assert isinstance(facts, ModelFacts)
    return facts


def test_llama_on_two_ranks() -> None:
    """Four matrices a layer and the head: Q, K and V are one, gate and up are one, each rank has half."""
    assert rank_matrices(_model("llama-3.1-8b"), Parallel(2)) == {
        Matrix(3072, 4096): 32,
        Matrix(4096, 2048): 32,
        Matrix(14336, 4096): 32,
        Matrix(4096, 7168): 32,
        Matrix(64128, 4096, "sampled", plain=True): 1,
    }


def test_kv_heads_are_repeated() -> None:
    """Eight ranks of 4 KV heads hold one each: 8 query heads and a whole K and V head of 128."""
    found = rank_matrices(_model("qwen3-235b-a22b"), Parallel(8))
    assert found[Matrix(8 * 128 + 2 * 128, 4096)] == 94


def test_latent_attention_has_its_own_rows() -> None:
    """DeepSeek-V3: down projections whole on every rank and fused; the absorbed halves meet decoded tokens only, the
    expansion those of a prompt; experts are not among the matrices."""
    found = rank_matrices(_model("deepseek-v3"), Parallel(8))
    assert found[Matrix(1536 + 576, 7168, latent=True)] == 61
    assert found[Matrix(16 * 256, 512, "decode", plain=True)] == 61
    assert found[Matrix(16 * 256, 512, "prompt", latent=True)] == 61
    assert found[Matrix(256, 7168, plain=True)] == 58  # router
    assert found[Matrix(2 * 2048 // 8, 7168)] == 58  # gate and up of the shared expert
    assert max(matrix.inner for matrix in found) == 7168


@pytest.mark.parametrize("name", ["llama-3.1-8b", "qwen3-32b", "gemma-3-27b", "phi-4"])
def test_elements_are_those_of_the_model(name: str) -> None:
    """All matrices of one rank hold the model's parameters but the embedding (counted once) and norms: known counts."""
    parameters = {"llama-3.1-8b": 8.030e9, "qwen3-32b": 32.76e9, "gemma-3-27b": 27.01e9, "phi-4": 14.66e9}[name]
    model = _model(name)
    elements = sum(count * matrix.columns * matrix.inner for matrix, count in rank_matrices(model, Parallel()).items())
    embedding = 0 if model.tied_embeddings else model.vocab_size * model.hidden_size
    assert elements + embedding == pytest.approx(parameters, rel=2e-3)
