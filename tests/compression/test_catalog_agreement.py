"""The preset table and the engine rules of the catalog agree on who has which KV dtype."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.catalog import engine_ids, load_engine, load_gpu, load_model
from planner.catalog.types import EngineRules, GpuFacts, ModelFacts
from planner.compression.policy import Usable, judge
from planner.compression.table import load_presets
from planner.scenario.types import CompressionPolicy

ON_VLLM = tuple(preset.id for preset in load_presets().values() if preset.support("vllm"))

# What a B200 and an A100 can use for Llama-3.3-70B with bf16 weights, per release.
FP8_FAMILY = {"bf16", "fp8", "fp8-e5m2"}
B200_0_24 = FP8_FAMILY | {
    "int8-per-token-head",
    "fp8-per-token-head",
    "nvfp4",
    "turboquant-k8v4",
    "turboquant-4bit-nc",
}
USABLE = {
    ("vllm@0.19", "b200-sxm-180gb"): FP8_FAMILY,
    ("vllm@0.24", "b200-sxm-180gb"): B200_0_24,
    ("vllm@0.33", "b200-sxm-180gb"): B200_0_24 | {"int4-per-token-head"},
    ("vllm@0.19", "a100-sxm-80gb"): FP8_FAMILY,
    ("vllm@0.24", "a100-sxm-80gb"): B200_0_24 - {"nvfp4", "fp8-per-token-head"},
    ("vllm@0.33", "mi300x"): {"bf16", "fp8", "int8-per-token-head", "int4-per-token-head"},
}


@pytest.mark.parametrize("preset_id", ON_VLLM)
def test_flags_appear_exactly_from_the_first_release_on(preset_id: str) -> None:
    """Each vLLM flag is in the rules of its first release and all later ones, and in none before, from 0.19 on."""
    support = load_presets()[preset_id].support("vllm")
    assert support is not None
    for name in engine_ids():
        rules = load_engine(name)
        assert isinstance(rules, EngineRules)
        if rules.name != "vllm" or tuple(int(part) for part in rules.version.split(".")) < (0, 19):
            continue  # the table of presets starts at 0.19, which is not when fp8 appeared
        numbers = [tuple(int(part) for part in version.split(".")) for version in (rules.version, support.min_version)]
        assert (support.flag in rules.kv_dtypes) is (numbers[0] >= numbers[1])


@pytest.mark.parametrize(("engine_name", "gpu_id"), sorted(USABLE))
def test_what_a_platform_can_use(engine_name: str, gpu_id: str) -> None:
    """Real engines, GPUs and a real model from the catalog: exactly these presets are usable."""
    engine, gpu = load_engine(engine_name), load_gpu(gpu_id)
    model = load_model("llama-3.3-70b-instruct", Path())
    assert isinstance(engine, EngineRules) and isinstance(gpu, GpuFacts) and isinstance(model, ModelFacts)
    verdicts = {
        preset.id: judge(preset, engine=engine, gpu=gpu, model=model, policy=CompressionPolicy(), weights="bf16")
        for preset in load_presets().values()
    }
    assert {key for key, verdict in verdicts.items() if isinstance(verdict, Usable)} == USABLE[engine_name, gpu_id]
