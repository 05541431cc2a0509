"""The preset table: bytes, ratios and their status, and what the file may hold."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.catalog.types import KvStorage
from planner.compression.reading import PresetTableError, read_presets
from planner.compression.table import (
    bytes_per_vector,
    derive_ratio_status,
    layout_ratio,
    load_presets,
    preset_ids,
    preset_names,
)

# Bytes of K plus V of one head and token, as vLLM allocates them: `kv_cache_interface.py` (fp8: b = 1;
# NVFP4: 2 * (d/2 + d/16); per-token-head: (dk + dv) * 1 + 2 * 4, int4 (dk/2 + dv/2) + 8) and
# `TurboQuantConfig.slot_size` (k8v4 d + d/2 + 4; 4bit (d/2 + 2) + (d/2 + 4); k3v4 (3d/8 + 2) + (d/2 + 4);
# 3bit (3d/8 + 2) + (3d/8 + 4)).
VLLM_BYTES = {
    "bf16": {64: 256, 128: 512, 256: 1024},
    "fp8": {64: 128, 128: 256, 256: 512},
    "fp8-e5m2": {64: 128, 128: 256, 256: 512},
    "int8-per-token-head": {64: 136, 128: 264, 256: 520},
    "fp8-per-token-head": {64: 136, 128: 264, 256: 520},
    "int4-per-token-head": {64: 72, 128: 136, 256: 264},
    "nvfp4": {64: 72, 128: 144, 256: 288},
    "turboquant-k8v4": {64: 100, 128: 196, 256: 388},
    "turboquant-4bit-nc": {64: 70, 128: 134, 256: 262},
    "turboquant-k3v4-nc": {64: 62, 128: 118, 256: 230},
    "turboquant-3bit-nc": {64: 54, 128: 102, 256: 198},
}

# What the bytes above make of the declared ratio, at the head size of the claim, within 2 %.
RATIO_STATUS = {
    "bf16": "confirmed",
    "fp8": "confirmed",  # 2.000 / 2.0
    "fp8-e5m2": "confirmed",
    "int8-per-token-head": "confirmed",  # 1.969 / 1.95 at 256
    "fp8-per-token-head": "confirmed",
    "int4-per-token-head": "confirmed",  # 3.879 / 3.86 at 256
    "nvfp4": "confirmed",  # 3.556 / 3.56
    "turboquant-k8v4": "confirmed",  # 2.612 / 2.6
    "turboquant-4bit-nc": "confirmed",  # 3.821 / 3.8
    "turboquant-k3v4-nc": "mismatch",  # 4.339 / 3.5
    "turboquant-3bit-nc": "mismatch",  # 5.020 / 4.9: 2.4 %
    "sglang-fp8-e4m3": "confirmed",
    "sglang-fp4-e2m1": "confirmed",
    "tensorrt-llm-fp8": "confirmed",
    "lmdeploy-int8": "mismatch",  # 1.939 / 2: 3.0 %
    "lmdeploy-int4": "mismatch",  # 3.765 / 4: 5.9 %
    "kivi-2bit": "unconfirmed",
    "kvquant-3bit": "unconfirmed",
    "nexusquant-high": "superseded",
    "nexusquant-balanced": "superseded",
    "nexusquant-max": "superseded",
    # packed at a prefix of 1,024 tokens and head size 128: 8.4x, 16.1x and 29.9x
    "nexusquant-0.6.3-high": "mismatch",
    "nexusquant-0.6.3-balanced": "mismatch",
    "nexusquant-0.6.3-max": "mismatch",
}


@pytest.mark.parametrize(("preset_id", "head_dim"), [(p, d) for p in VLLM_BYTES for d in (64, 128, 256)])
def test_bytes_of_a_vector_are_the_engines_own(preset_id: str, head_dim: int) -> None:
    """K plus V bytes of every vLLM preset equal the engine's own layout, to the byte."""
    storage = load_presets()[preset_id].storage
    assert sum(bytes_per_vector(storage, head_dim)) == VLLM_BYTES[preset_id][head_dim]


def test_k_and_v_vectors_may_differ_in_size() -> None:
    """MiMo-V2 has K vectors of 192 and V vectors of 128 elements; int8 adds four bytes to each."""
    assert bytes_per_vector(load_presets()["int8-per-token-head"].storage, 192, 128) == (196, 132)


def test_every_ratio_status_is_what_the_bytes_say() -> None:
    """The status of every preset follows from its bytes and the ratio that its authors declare."""
    assert {preset.id: preset.ratio_status for preset in load_presets().values()} == RATIO_STATUS


def test_the_head_size_of_a_claim_matters() -> None:
    """int4's 3.86x was measured at head_dim 256; at 128 the same bytes give 3.765x, 2.5 % off."""
    preset = load_presets()["int4-per-token-head"]
    assert layout_ratio(preset.storage, 128) == Fraction(512, 136)
    assert derive_ratio_status(replace(preset.claim, head_dim=128), preset.storage) == "mismatch"
    assert derive_ratio_status(replace(preset.claim, head_dim=256), preset.storage) == "confirmed"


def test_turboquant_capacity_of_a_70b_follows_from_bytes_and_skipped_layers() -> None:
    """vLLM measured 2.4x and 3.4x capacity on 80 layers (blog 2026-05-11); four stay 16-bit."""
    for preset_id, published in (("turboquant-k8v4", 2.4), ("turboquant-4bit-nc", 3.4)):
        storage = load_presets()[preset_id].storage
        skipped = 2 * storage.skip_layers
        total = (80 - skipped) * sum(bytes_per_vector(storage, 128)) + skipped * 512
        assert 80 * 512 / total == pytest.approx(published, rel=0.02)


@pytest.mark.parametrize("factor", [Fraction(95, 100), Fraction(105, 100)])
@pytest.mark.parametrize("preset_id", [p for p, status in RATIO_STATUS.items() if status == "confirmed"])
def test_a_planted_ratio_is_found(preset_id: str, factor: Fraction) -> None:
    """A declared ratio that is 5 % off the bytes becomes a mismatch, whichever way."""
    preset = load_presets()[preset_id]
    planted = replace(preset.claim, ratio=layout_ratio(preset.storage, preset.claim.head_dim) * factor)
    assert replace(preset, claim=planted).ratio_status == "mismatch"


def test_the_tolerance_is_two_percent_of_the_declared_ratio() -> None:
    """Exactly 2 % off still confirms, the next fraction does not."""
    preset = load_presets()["fp8"]
    edge = Fraction(2) / Fraction(98, 100)
    assert replace(preset, claim=replace(preset.claim, ratio=edge)).ratio_status == "confirmed"
    beyond = edge + Fraction(1, 10**9)
    assert replace(preset, claim=replace(preset.claim, ratio=beyond)).ratio_status == "mismatch"


def test_no_engine_preset_stores_more_than_vllm_ever_packed() -> None:
    """The densest engine layout is TurboQuant 3-bit, 5.02x at head_dim 128."""
    most = max(layout_ratio(preset.storage, 128) for preset in load_presets().values() if preset.supports)
    assert most == Fraction(512, 102)


@given(
    bits=st.sampled_from([2, 3, 4, 8, 16]),
    group=st.sampled_from([0, 16, 32]),
    extra=st.integers(0, 8),
    head_dim=st.integers(1, 512),
)
def test_bytes_cover_the_bits_and_grow_with_the_head(bits: int, group: int, extra: int, head_dim: int) -> None:
    """A vector takes at least its bits and metadata, and a longer one never takes fewer bytes."""
    storage = KvStorage(k_bits=bits, v_bits=bits, group=group, scale_bytes=1, vector_bytes=extra)
    k_bytes, v_bytes = bytes_per_vector(storage, head_dim)
    assert k_bytes == v_bytes
    assert k_bytes * 8 >= head_dim * bits + extra * 8
    assert bytes_per_vector(storage, head_dim + 1)[0] >= k_bytes


def test_losses_are_computed_from_the_published_figures() -> None:
    """Relative drops are exact and rounded up: 45.8 -> 33.5 is 26.8559 %; > 99 % is at most 1 %."""
    rows = {row.task: row for row in load_presets()["turboquant-k3v4-nc"].quality}
    assert rows["MRCR AUC up to 256k"].value_ppm == 268_559
    assert rows["perplexity"].value_ppm == 106_300
    int8 = load_presets()["int8-per-token-head"].quality[0]
    assert (int8.value_ppm, int8.noise_ppm, int8.counted_ppm) == (0, 20_921, 20_921)
    fp8 = [row for row in load_presets()["fp8"].quality if row.model == "minimax-m2.7"]
    assert [row.value_ppm for row in fp8] == [10_000]


def test_every_row_and_claim_names_its_source() -> None:
    """Nothing in the table is without a source: claims, engines, quality rows, GPU bounds."""
    for preset in load_presets().values():
        assert preset.claim.source and preset.ratio_evidence
        assert all(support.source for support in preset.supports)
        assert all(row.source and row.model and row.task for row in preset.quality)
        assert all(support.decode_time_source for support in preset.supports if support.decode_time_factor is not None)
        assert preset.gpu.source or not preset.gpu.min_capability
        assert preset.attention_source or (preset.mla and preset.windows)


def test_views_by_engine() -> None:
    """Flags, first releases and decode factors are read by engine name."""
    preset = load_presets()["fp8-per-token-head"]
    assert preset.kv_dtype == {"vllm": "fp8_per_token_head"}
    assert preset.engines == {"vllm": "0.24"}
    assert preset.decode_time_factor == {"vllm": Fraction(1181, 1000)}
    assert load_presets()["nvfp4"].decode_time_factor == {"vllm": None}


def test_names() -> None:
    """Ids are lower case with hyphens; rows are named id@version."""
    assert preset_ids()[0] == "bf16"
    assert all(name == name.lower() and "_" not in name for name in preset_ids())
    assert "nexusquant-max@0.4.0" in preset_names()


GOOD = """
presets:
- id: x
  version: "1"
  title: x
  layout: {k_bits: 8, v_bits: 8}
  residency: gpu
  engines: {}
  gpu: {vendors: [nvidia]}
  claim: {ratio: "2", head_dim: 128, source: s}
  ratio_evidence: e
  quality:
  - {metric: accuracy_drop, scores: ["50", "49"], model: m, task: t, kind: published, source: s}
"""


def test_a_small_table_reads() -> None:
    """The smallest table reads: 50 -> 49 is a relative drop of 2 %."""
    assert read_presets(GOOD)[0].quality[0].value_ppm == 20_000


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("residency: gpu", "residency: disk", "none of"),
        ("residency: gpu", "residency: gpu\n  colour: red", "unknown keys"),
        ("  title: x\n", "", "missing"),
        ("k_bits: 8", "k_bits: eight", "int was expected"),
        ("k_bits: 8", "k_bits: true", "int was expected"),
        ("k_bits: 8", "k_bits: -8", "negative"),
        ('ratio: "2"', 'ratio: "two"', "not a decimal"),
        ('ratio: "2"', 'ratio: "0"', "above 0"),
        ('["50", "49"]', '["50"]', "a baseline and a score"),
        ('["50", "49"]', '["0", "49"]', "a baseline above 0"),
        ("metric: accuracy_drop", "metric: mood", "none of"),
        ("gpu: {vendors: [nvidia]}", "gpu: nvidia", "a mapping was expected"),
    ],
)
def test_a_broken_table_is_refused(old: str, new: str, words: str) -> None:
    """A wrong key, type or figure in the table is refused and named."""
    assert old in GOOD
    with pytest.raises(PresetTableError, match=words):
        read_presets(GOOD.replace(old, new, 1))


def test_an_id_may_not_occur_twice() -> None:
    """Two presets of the same id are refused."""
    with pytest.raises(PresetTableError, match="occur twice: x"):
        read_presets(GOOD + GOOD.replace("presets:\n", ""))


def test_importing_the_room_loads_nothing_heavy() -> None:
    """Importing the compression room loads neither torch, numpy, scipy nor ortools."""
    code = (
        "import sys, planner.compression.policy;"
        "print([m for m in ('torch', 'numpy', 'scipy', 'ortools', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
