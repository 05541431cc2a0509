"""Feed-forward layers: which are mixtures, and their sizes, by parameter counts that the publishers state."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.catalog import load_model
from planner.catalog.architectures import facts_of_config
from planner.catalog.types import ModelFacts

PLAIN = {
    "hidden_size": 1024,
    "num_hidden_layers": 8,
    "num_attention_heads": 16,
    "vocab_size": 32000,
    "max_position_embeddings": 65536,
    "intermediate_size": 4096,
}


def catalog(model_id: str) -> ModelFacts:
    """A model of the catalog."""
    model = load_model(model_id, Path())
    assert isinstance(model, ModelFacts), model
    return model


def config(model_type: str, **fields: object) -> ModelFacts:
    """Facts of a small config of this type."""
    model = facts_of_config("test", {"model_type": model_type, **PLAIN, **fields}, "test")
    assert isinstance(model, ModelFacts), model
    return model


def expert_params(model: ModelFacts) -> int:
    """Parameters of routed and shared experts and their routers."""
    matrices = 3 if model.gated_ffn else 2
    a_layer = (model.experts + model.shared_experts) * matrices * model.expert_ffn_size * model.hidden_size
    return model.ffn_layers.count("moe") * (a_layer + model.experts * model.hidden_size)


@pytest.mark.parametrize(
    ("model_id", "billions"),
    [
        ("qwen3-30b-a3b", 29.0),  # 30.5 B in all, 1.5 B of them attention and embeddings (model card)
        ("qwen3-235b-a22b", 227.0),  # 234 B non-embedding parameters (model card), 6.6 B attention
        ("mixtral-8x7b", 45.1),  # 46.7 B in all (arXiv 2401.04088)
        ("gpt-oss-120b", 114.71),  # "MLP 114.71B" in table 1 of the gpt-oss model card (arXiv 2508.10925)
        ("gpt-oss-20b", 19.12),  # the same table
        ("deepseek-v3", 656.6),  # 671 B in all (arXiv 2412.19437), 14.4 B attention, embeddings and dense layers
        ("glm-4.5", 340.0),  # 355 B in all (arXiv 2508.06471)
        ("jamba-v0.1", 45.1),  # 52 B in all (arXiv 2403.19887), of which 16 mixtures of 16 experts
    ],
)
def test_experts_are_as_many_as_published(model_id, billions):
    """Experts of all layers together have the published number of parameters, within 1.5 %."""
    assert expert_params(catalog(model_id)) == pytest.approx(billions * 1e9, rel=0.015)


@pytest.mark.parametrize(
    ("model_id", "dense", "mixtures", "shared"),
    [
        ("deepseek-v3", 3, 58, 1),
        ("kimi-k2-instruct", 1, 60, 1),
        ("llama-4-maverick-17b-128e", 24, 24, 1),
        ("llama-4-scout-17b-16e", 0, 48, 1),
        ("jamba-v0.1", 16, 16, 0),
        ("ernie-4.5-21b-a3b", 1, 27, 2),
        ("qwen1.5-moe-a2.7b", 0, 24, 4),
        ("granite-4.0-h-small", 0, 40, 2),  # 1,536 beside experts of 768
        ("granite-4.0-micro", 40, 0, 0),
        ("gemma-4-26b-a4b", 0, 30, 3),  # a dense part of 2,112 beside experts of 704
        ("longcat-flash-chat", 28, 28, 6),  # two dense parts of 12,288 in every layer, experts of 2,048
        ("nemotron-3-nano-30b-a3b", 0, 23, 2),  # 3,712 beside experts of 1,856
        ("step-3.7-flash", 3, 42, 1),
    ],
)
def test_mixtures_and_shared_experts(model_id, dense, mixtures, shared):
    """Dense layers, mixtures and shared experts are counted as the configs state them."""
    model = catalog(model_id)
    assert (model.ffn_layers.count("dense"), model.ffn_layers.count("moe")) == (dense, mixtures)
    assert model.shared_experts == shared


@pytest.mark.parametrize(
    ("model_type", "fields", "pattern"),
    [
        ("qwen3_moe", {"num_experts": 8, "decoder_sparse_step": 2}, "dmdmdmdm"),
        ("qwen3_moe", {"num_experts": 8, "mlp_only_layers": [0, 7]}, "dmmmmmmd"),
        ("deepseek_v2", {"n_routed_experts": 8, "kv_lora_rank": 64, "qk_rope_head_dim": 8, "moe_layer_freq": 2,
                         "first_k_dense_replace": 1}, "ddmdmdmd"),
        ("glm4_moe", {"n_routed_experts": 8, "first_k_dense_replace": 3}, "dddmmmmm"),
        ("mimo_v2_flash", {"n_routed_experts": 8, "moe_layer_freq": [0] + [1] * 7, "hybrid_layer_pattern": [0] * 8},
         "dmmmmmmm"),
        ("llama4_text", {"num_local_experts": 8, "moe_layers": [2, 5]}, "ddmddmdd"),
        ("llama4_text", {"num_local_experts": 8, "interleave_moe_layer_step": 2}, "dmdmdmdm"),
        ("gpt_oss", {"num_local_experts": 8}, "mmmmmmmm"),
        ("llama", {}, "dddddddd"),
    ],
)  # fmt: skip
def test_which_layers_are_mixtures(model_type, fields, pattern):
    """Each way in which configs place their mixtures is read layer by layer."""
    assert "".join(layer[0] for layer in config(model_type, **fields).ffn_layers) == pattern


@pytest.mark.parametrize(
    ("model_type", "fields", "words"),
    [
        ("qwen3_moe", {}, "n_routed_experts"),
        ("qwen3_moe", {"num_experts": 8}, "moe_intermediate_size"),
        ("qwen2_moe", {"num_experts": 8, "moe_intermediate_size": 1000, "shared_expert_intermediate_size": 1500},
         "a shared expert of 1,500 beside routed ones of 1,000"),
        ("mimo_v2_flash", {"n_routed_experts": 8, "hybrid_layer_pattern": [0] * 8}, "moe_layer_freq"),
    ],
)  # fmt: skip
def test_what_the_weights_of_mixtures_need(model_type, fields, words):
    """A field that only the weights of experts need is missing, never an error and never guessed."""
    assert words in config(model_type, **fields).missing


def test_latent_experts_are_missing():
    """Experts behind a latent projection have sizes of their own, which the weights do not know yet."""
    missing = catalog("nemotron-3-super-120b-a12b-fp8").missing
    assert missing == ("expert weights behind a latent projection (moe_latent_size)",)
