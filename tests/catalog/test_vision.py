"""Vision towers: parameters against published totals and sums over their tensors."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.catalog import load_model
from planner.catalog.types import ModelFacts
from planner.catalog.vision import tower_params

QWEN = {
    "model_type": "qwen3_5",
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_position_embeddings": 2304,
    "out_hidden_size": 5120,
    "patch_size": 16,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}


def test_llama_4_scout_has_its_published_parameters():
    """Tower, attention, mixtures and embeddings add up to the 108,641,793,536 parameters of Llama-4-Scout.

    Source: a printed table of its modules totals 109,676,279,296, which counts one table of 202,048 x 5,120 twice.
    """
    model = load_model("llama-4-scout-17b-16e", Path())
    assert isinstance(model, ModelFacts)
    hidden, width = model.hidden_size, model.expert_ffn_size
    attention = 2 * hidden * hidden + 2 * hidden * model.kv_heads * model.head_dim
    experts = (model.experts + model.shared_experts) * 3 * hidden * width + model.experts * hidden
    text = model.layers * (attention + experts + 2 * hidden) + 2 * model.vocab_size * hidden + hidden
    assert text + model.vision_params == 109_676_279_296 - 202_048 * 5_120


def test_siglip_of_gemma_3():
    """The tower of Gemma-3 has the 417 M parameters of its paper, and a projector of 1,152 x 5,376 beside it.

    Source: arXiv 2503.19786, table 1.
    """
    model = load_model("gemma-3-27b", Path())
    assert isinstance(model, ModelFacts)
    assert model.vision_params - 1_152 * 5_376 - 1_152 == pytest.approx(417e6, rel=0.002)


def test_qwen_tower_by_its_tensors():
    """The tower of Qwen3.5 is the sum over its tensors, weights and biases one by one."""
    block = [1152] * 4 + [3 * 1152 * 1152, 3 * 1152, 1152 * 1152, 1152, 4304 * 1152, 4304, 1152 * 4304, 1152]
    merger = [1152, 1152, 4608 * 4608, 4608, 5120 * 4608, 5120]
    rest = [1152 * 3 * 2 * 16 * 16, 1152, 2304 * 1152]
    assert tower_params(QWEN, "qwen3_5", 5120) == 27 * sum(block) + sum(merger) + sum(rest)


@pytest.mark.parametrize(
    ("model_id", "text", "total"),
    [
        ("mistral-small-3.1-24b", 23_572_403_200, 24_011_361_280),
        ("qwen3-vl-2b-instruct", 1_720_574_976, 2_127_532_032),
        ("qwen3-vl-8b-instruct", 8_190_735_360, 8_767_123_696),
        ("qwen3-vl-30b-a3b-instruct", 30_532_122_624, 31_070_754_032),
    ],
)
def test_towers_fill_the_published_totals(model_id, text, total):
    """What a checkpoint holds beyond the language model of the same shape is its vision tower, to the parameter.

    Source: parameter totals that Hugging Face shows for the safetensors of these models, Qwen3-1.7B, Qwen3-8B,
    Qwen3-30B-A3B and Mistral-Small-24B.
    """
    model = load_model(model_id, Path())
    assert isinstance(model, ModelFacts)
    assert model.vision_params == total - text


def test_deepstack_adds_mergers():
    """Every deepstack layer of Qwen3-VL has one more merger, whose norm spans the merged patches."""
    plain = tower_params({**QWEN, "model_type": "qwen3_vl"}, "qwen3_vl", 5120)
    deep = tower_params({**QWEN, "model_type": "qwen3_vl", "deepstack_visual_indexes": [8, 16, 24]}, "qwen3_vl", 5120)
    assert isinstance(plain, int)
    assert isinstance(deep, int)
    assert deep - plain == 3 * (2 * 4608 + 4608 * 4608 + 4608 + 5120 * 4608 + 5120)


def test_moonvit_is_the_size_of_its_paper():
    """MoonViT of Kimi-VL has about 400 M parameters, to which the projector adds 31 M (arXiv 2504.07491)."""
    model = load_model("kimi-vl-a3b", Path())
    assert isinstance(model, ModelFacts)
    projector = 2 * 1152 + 4608 * 4608 + 4608 + 4608 * 2048 + 2048
    assert model.vision_params - projector == pytest.approx(400e6, rel=0.05)


@pytest.mark.parametrize(
    ("vision", "words"),
    [
        ({"model_type": "clip_vision_model"}, "vision tower 'clip_vision_model'"),
        ({}, "vision tower 'mine'"),
        ({"model_type": "siglip_vision_model", "hidden_size": 1152}, "intermediate_size is missing"),
        ({**QWEN, "depth": -3}, "depth is -3"),
    ],
)
def test_towers_that_are_not_understood(vision, words):
    """An unknown tower, or one whose fields do not fit, is named."""
    assert words in str(tower_params(vision, "mine", 5120))
