"""Tests of what an engine's KV dtype stores."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.calculator.storage import RAW_STORAGE, Storage, preset_ids_in_file, storage_of_flag, storage_of_preset
from planner.catalog.engines import engine_ids, load_engine
from planner.catalog.models import load_model
from planner.catalog.types import BF16_KV, EngineRules, ModelFacts
from planner.compression.table import load_presets
from planner.memory.layers import vector_bytes


def _engine(name: str) -> EngineRules:
    found = load_engine(name)
    assert isinstance(found, EngineRules)
    return found


@pytest.mark.parametrize(
    ("engine", "flag", "vector_of_128"),
    [
        ("vllm@0.24", "auto", 256),
        ("vllm@0.24", "bfloat16", 256),
        ("vllm@0.24", "fp8", 128),
        ("vllm@0.24", "nvfp4", 64 + 8),
        ("vllm@0.24", "int8-per-token-head", 128 + 4),
        ("vllm@0.33", "int4_per_token_head", 64 + 4),
        ("sglang@0.5", "fp8_e5m2", 128),
        ("sglang@0.5", "fp4_e2m1", 64 + 8),
        ("tensorrt-llm@1.2", "fp8", 128),
    ],
)
def test_bytes_of_a_vector(engine: str, flag: str, vector_of_128: int) -> None:
    """Tests bytes of a K vector of 128 elements, scales included."""
    found = storage_of_flag(_engine(engine), flag)
    assert isinstance(found, Storage)
    assert vector_bytes(128, found.kv.k_bits, found.kv) == vector_of_128


def test_every_flag_of_every_engine_is_stored_or_refused_by_name() -> None:
    """Tests that a flag of a rule set gives bytes or a sentence; only those nobody published are refused."""
    refused = {
        flag
        for name in engine_ids()
        for flag in _engine(name).kv_dtypes
        if isinstance(storage_of_flag(_engine(name), flag), str)
    }
    assert refused <= {"nvfp4_ds_mla", "nvfp4_4over6", "ultraquant_4bit"}


def test_raw_storage_agrees_with_the_preset_table() -> None:
    """Tests that no flag is stored in one way here and in another by its preset."""
    for preset in load_presets().values():
        for support in preset.supports:
            raw = RAW_STORAGE.get((support.engine, support.flag))
            if raw is not None and preset.layout_known and preset.residency == "gpu":
                assert raw[0] == preset.storage, preset.id


def test_presets_without_a_gpu_pass_where_some_gpu_does() -> None:
    """Tests that nvfp4 is counted without a GPU although Hopper has no kernel for it."""
    model = load_model("llama-3.1-8b", Path())
    assert isinstance(model, ModelFacts)
    found = storage_of_preset("nvfp4", _engine("vllm@0.24"), None, model, "bf16")
    assert isinstance(found, Storage) and found.flag == "nvfp4"


def test_the_identity_needs_no_table() -> None:
    """Tests that bf16 is two bytes an element, and that its id is the table's."""
    model = load_model("llama-3.1-8b", Path())
    assert isinstance(model, ModelFacts)
    found = storage_of_preset("bf16", _engine("vllm@0.24"), None, model, "bf16")
    assert isinstance(found, Storage) and found.kv == BF16_KV
    assert load_presets()["bf16"].is_identity
    assert preset_ids_in_file() == tuple(load_presets())
