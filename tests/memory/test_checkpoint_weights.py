"""Weights of a checkpoint: tensors by name, split as the engine splits them, against the architecture's own sum."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from planner.catalog import load_model
from planner.catalog.checkpoint_types import TensorInfo
from planner.catalog.parallel import Parallel
from planner.catalog.types import ModelFacts, Refusal
from planner.memory.checkpoint_weights import tensor_split, weight_bytes_of_tensors
from planner.memory.weights import weight_bytes


def model(model_id: str) -> ModelFacts:
    """A catalog model that must load."""
    found = load_model(model_id, Path())
    assert isinstance(found, ModelFacts), found
    return found


def bf16(name: str, *shape: int) -> TensorInfo:
    """A 16-bit tensor."""
    size = 2
    for side in shape:
        size *= side
    return TensorInfo(name, "BF16", shape, size)


def llama_tensors(facts: ModelFacts) -> list[TensorInfo]:
    """The tensors of a Llama checkpoint, as its safetensors index lists them."""
    hidden, kv = facts.hidden_size, facts.kv_heads * facts.head_dim
    found = [bf16("model.embed_tokens.weight", facts.vocab_size, hidden), bf16("model.norm.weight", hidden)]
    found.append(bf16("lm_head.weight", facts.vocab_size, hidden))
    for layer in range(facts.layers):
        at = f"model.layers.{layer}"
        found += [bf16(f"{at}.self_attn.{name}_proj.weight", rows, hidden) for name, rows in (("k", kv), ("v", kv))]
        found += [bf16(f"{at}.self_attn.{name}_proj.weight", hidden, hidden) for name in ("q", "o")]
        found += [bf16(f"{at}.mlp.{name}_proj.weight", facts.ffn_size, hidden) for name in ("gate", "up")]
        found.append(bf16(f"{at}.mlp.down_proj.weight", hidden, facts.ffn_size))
        found += [bf16(f"{at}.{name}_layernorm.weight", hidden) for name in ("input", "post_attention")]
    return found


@pytest.mark.parametrize(
    "shape",
    [Parallel(1), Parallel(2), Parallel(8), Parallel(16), Parallel(2, pp=2), Parallel(1, pp=3), Parallel(1, dp=4)],
)
def test_a_llama_checkpoint_equals_its_architecture(shape):
    """Summed by name, Llama-3.1-8B is the same on every stage and shape, but for steps of the allocator."""
    facts = model("llama-3.1-8b")
    tensors = llama_tensors(facts)
    for stage in range(shape.pp):
        got = weight_bytes_of_tensors(tensors, facts, shape, stage)
        assert got == pytest.approx(weight_bytes(facts, "bf16", shape, stage=stage), rel=0.005)
    assert weight_bytes_of_tensors(tensors, facts, Parallel()) == weight_bytes(facts, "bf16", Parallel())


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("model.layers.0.self_attn.q_proj.weight", "column"),
        ("model.layers.0.self_attn.k_proj.bias", "kv"),
        ("model.layers.0.self_attn.kv_a_proj_with_mqa.weight", "replicated"),
        ("model.layers.0.self_attn.kv_b_proj.weight_scale_inv", "column"),
        ("model.layers.0.self_attn.o_proj.weight", "row"),
        ("model.layers.0.mlp.gate.weight", "replicated"),
        ("model.layers.0.mlp.experts.5.up_proj.weight_packed", "expert"),
        ("model.layers.0.mlp.experts.gate_up_proj_blocks", "expert"),
        ("model.layers.0.block_sparse_moe.experts.3.w2.weight", "expert"),
        ("model.layers.0.mlp.shared_experts.down_proj.weight", "row"),
        ("model.layers.0.linear_attn.in_proj_qkvz.weight", "column"),
        ("model.layers.0.linear_attn.out_proj.weight", "row"),
        ("model.layers.0.input_layernorm.weight", "replicated"),
        ("language_model.model.embed_tokens.weight", "vocabulary"),
        ("lm_head.weight", "vocabulary"),
        ("vision_tower.encoder.layers.0.self_attn.q_proj.weight", "vision"),
        ("transformer.h.0.attn.c_attn.weight", "column"),
        ("blk.0.attn_k.weight", "kv"),
        ("blk.0.attn_output.weight", "row"),
        ("blk.0.ffn_gate_inp.weight", "replicated"),
        ("blk.0.ffn_down_exps.weight", "expert"),
        ("blk.0.ssm_out.weight", "row"),
        ("token_embd.weight", "vocabulary"),
        ("output.weight", "vocabulary"),
        ("output_norm.weight", "replicated"),
        ("something.unheard_of.weight", "replicated"),
    ],
)
def test_splits_by_name(name, split):
    """Names of safetensors and GGUF files: columns, rows, experts, vocabulary; the unknown stays whole."""
    assert tensor_split(name) == split


def test_experts_spread_over_all_ranks():
    """An expert tensor is divided by tp * dp, in slices or whole; a router stays on every rank."""
    facts = replace(model("mixtral-8x7b"), rope_positions=0)
    expert = [bf16("model.layers.0.block_sparse_moe.experts.0.w1.weight", 14336, 4096)]
    whole = 2 * 14336 * 4096
    assert weight_bytes_of_tensors(expert, facts, Parallel(2, dp=2)) == whole // 4
    assert weight_bytes_of_tensors(expert, facts, Parallel(2, dp=2, ep=True)) == whole // 4
    router = [bf16("model.layers.0.block_sparse_moe.gate.weight", 8, 4096)]
    assert weight_bytes_of_tensors(router, facts, Parallel(2, dp=2)) == 2 * 8 * 4096


def test_prediction_layers_are_not_loaded():
    """DeepSeek-V3 stores a 62nd layer for multi-token prediction, which engines skip unless they speculate."""
    facts = replace(model("deepseek-v3"), rope_positions=0)
    without = weight_bytes_of_tensors([bf16("model.layers.60.input_layernorm.weight", 7168)], facts, Parallel())
    draft = [bf16("model.layers.61.eh_proj.weight", 7168, 14336), bf16("mtp.fc.weight", 7168, 14336)]
    tensors = [bf16("model.layers.60.input_layernorm.weight", 7168), *draft]
    assert weight_bytes_of_tensors(tensors, facts, Parallel()) == without


def test_tied_embeddings_are_counted_once_a_stage():
    """A tied model keeps its embedding on the first and the last stage, and a stored copy of the head is dropped."""
    facts = replace(model("llama-3.2-1b"), rope_positions=0)
    table = bf16("model.embed_tokens.weight", 128_256, 2048)
    size = table.size_bytes
    head = bf16("lm_head.weight", 128_256, 2048)
    assert weight_bytes_of_tensors([table], facts, Parallel()) == size
    assert weight_bytes_of_tensors([table, head], facts, Parallel()) == size
    stages = [weight_bytes_of_tensors([table], facts, Parallel(1, pp=2), stage) for stage in (0, 1)]
    assert stages == [size, size]


def test_wide_floats_are_loaded_in_16_bits():
    """A matrix stored in fp32 is loaded in 16 bits; a scale is not a matrix and keeps its bytes."""
    facts = replace(model("llama-3.1-8b"), rope_positions=0)
    wide = TensorInfo("model.layers.0.mlp.up_proj.weight", "F32", (14336, 4096), 4 * 14336 * 4096)
    scale = TensorInfo("model.layers.0.mlp.up_proj.weight_scale", "F32", (14336, 1), 4 * 14336)
    assert weight_bytes_of_tensors([wide], facts, Parallel()) == 2 * 14336 * 4096
    assert weight_bytes_of_tensors([scale], facts, Parallel()) == 4 * 14336


def test_a_checkpoint_helps_where_the_config_does_not():
    """Missing fields do not matter once the tensors are known; no tensors and bad shapes are refused."""
    facts = replace(model("llama-3.1-8b"), missing=("intermediate_size",))
    assert isinstance(weight_bytes(facts, "bf16", Parallel()), Refusal)
    assert isinstance(weight_bytes_of_tensors(llama_tensors(model("llama-3.1-8b")), facts, Parallel()), int)
    assert isinstance(weight_bytes_of_tensors([], facts, Parallel()), Refusal)
    tensors = llama_tensors(model("llama-3.1-8b"))
    assert isinstance(weight_bytes_of_tensors(tensors, model("llama-3.1-8b"), Parallel(3)), Refusal)
