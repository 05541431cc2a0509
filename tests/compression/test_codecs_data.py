"""Names, compositions and byte formulas of the codecs, without torch."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.catalog.types import BF16_KV
from planner.compression.codecs_data import (
    EvictionRule,
    codec_ids,
    codec_spec,
    kv_ids,
    kv_spec,
    lattice_points,
)
from planner.compression.table import bytes_per_vector, load_presets

HEADS, LAYERS = 8, 80

# The ratio to 16-bit of NexusQuant's presets at nominal bits and head size 128, by (prefix, decoded) tokens: 512 bytes
# over K and V at 3 or 2 bits with one fp16 scale a vector, the kept tokens of nexusquant-kv 0.6.3, and decoded tokens
# in 16 bits. (4096, 1024) is what a "33x" preset is worth to a chat request.
NOMINAL_RATIOS = {
    "e8-k3v2": {
        (256, 0): 6.1,
        (1024, 0): 6.1,
        (32768, 0): 6.1,
        (4096, 256): 4.7,
        (4096, 1024): 3.0,
        (32768, 1024): 5.3,
    },
    "nexusquant-0.6.3-high": {
        (256, 0): 8.8,
        (1024, 0): 9.2,
        (4096, 0): 9.3,
        (32768, 0): 9.4,
        (4096, 256): 6.3,
        (4096, 1024): 3.5,
        (32768, 1024): 7.5,
    },
    "nexusquant-balanced": {
        (256, 0): 15.8,
        (1024, 0): 18.0,
        (4096, 0): 18.6,
        (32768, 0): 18.8,
        (4096, 256): 9.1,
        (4096, 1024): 4.1,
        (32768, 1024): 12.2,
    },
    "nexusquant-max": {
        (256, 0): 25.0,
        (1024, 0): 33.4,
        (4096, 0): 36.5,
        (32768, 0): 37.5,
        (4096, 256): 11.8,
        (4096, 1024): 4.5,
        (32768, 1024): 17.8,
    },
}


@pytest.mark.parametrize("kv_id", [kv_id for kv_id in kv_ids() if kv_spec(kv_id).preset])
@pytest.mark.parametrize("head_dim", [64, 96, 128, 256])
def test_bytes_are_those_of_the_preset_table(kv_id: str, head_dim: int) -> None:
    """A composition that names a row of the preset table takes that row's bytes, K and V together."""
    spec = kv_spec(kv_id)
    storage = load_presets()[spec.preset].storage
    assert spec.layer_bytes(HEADS, head_dim, 1000) == 1000 * HEADS * sum(bytes_per_vector(storage, head_dim))
    assert (spec.skip_first, spec.skip_last) == (storage.skip_layers, storage.skip_layers)


def test_every_packed_row_of_the_table_has_a_codec() -> None:
    """Each preset whose layout is known is computed by exactly one composition of the same id."""
    packed = {preset.id for preset in load_presets().values() if preset.layout_known}
    assert packed == {kv_spec(kv_id).preset for kv_id in kv_ids() if kv_spec(kv_id).preset}
    assert all(kv_spec(kv_id).preset in ("", kv_id) for kv_id in kv_ids())


def test_claimed_presets_are_compositions() -> None:
    """Every preset of the source articles has a composition, and 0.6.3 high is another one than 0.4.0 high."""
    codecs = {preset.name: preset.codec for preset in load_presets().values() if preset.id.startswith("nexusquant-")}
    assert {name.partition("@")[2] for name in codecs} == {"0.4.0", "0.6.3"}
    assert len(codecs) == 6
    assert set(codecs.values()) <= set(kv_ids())
    assert kv_spec(codecs["nexusquant-high@0.4.0"]).key != kv_spec(codecs["nexusquant-high@0.6.3"]).key
    assert codecs["nexusquant-max@0.4.0"] == codecs["nexusquant-max@0.6.3"]


@pytest.mark.parametrize("kv_id", NOMINAL_RATIOS)
def test_ratio_falls_with_decoded_tokens(kv_id: str) -> None:
    """Nominal bytes give the published-style ratios at long prompts and far less once tokens are decoded."""
    for (prefix, decoded), expected in NOMINAL_RATIOS[kv_id].items():
        plain = kv_spec("fp16").sequence_bytes(LAYERS, HEADS, 128, prefix, decoded)
        coded = kv_spec(kv_id).sequence_bytes(LAYERS, HEADS, 128, prefix, decoded, nominal=True)
        assert plain / coded == pytest.approx(expected, abs=0.05), (prefix, decoded)


def test_real_lattice_bytes_exceed_nominal_ones() -> None:
    """A clamped 3-bit lattice point has 38,300,577 values, more than 24 bits tell apart; K3V2 is 5.6x, not 6.1x."""
    assert lattice_points(8) == (9**8 + 1) // 2 + 8**8 == 38_300_577 > 2**24
    assert lattice_points(4) == (5**8 + 1) // 2 + 4**8 == 260_849 <= 2**18
    spec = kv_spec("e8-k3v2")
    assert spec.layer_bytes(1, 128, 1) == 16 * 26 // 8 + 2 + 16 * 18 // 8 + 2 == 92
    assert spec.layer_bytes(1, 128, 1, nominal=True) == 84


def test_skipped_layers_and_residual_tokens_stay_16_bit() -> None:
    """TurboQuant keeps four of 30 layers 16-bit, so it cannot exceed 7.5x; KIVI keeps 128 tokens."""
    spec = kv_spec("turboquant-3bit-nc")
    plain = kv_spec("fp16").layer_bytes(HEADS, 64, 512)
    assert spec.sequence_bytes(30, HEADS, 64, 512) == 26 * spec.layer_bytes(HEADS, 64, 512) + 4 * plain
    kivi = kv_spec("kivi-2bit")
    assert kivi.layer_bytes(HEADS, 128, 128) == 128 * HEADS * 512
    assert kivi.layer_bytes(HEADS, 128, 1152) == HEADS * (1024 * 256 * 3 // 8 + 128 * 512)


def test_revision_follows_everything_that_is_computed() -> None:
    """A changed codec revision, residual or eviction changes the preset's revision; the same data do not."""
    spec = kv_spec("nexusquant-high")
    assert spec.revision == replace(spec).revision
    changed = [
        replace(spec, key=replace(spec.key, revision="other")),
        replace(spec, residual_tokens=1),
        replace(spec, rope_removed=False),
        replace(spec, eviction=EvictionRule(Fraction(36, 100))),
    ]
    assert len({spec.revision, *(other.revision for other in changed)}) == 5
    assert len({kv_spec(kv_id).name for kv_id in kv_ids()}) == len(kv_ids())


def test_file_holds_the_types_that_it_should() -> None:
    """Numbers are numbers and revisions are text: YAML reads an unquoted 0e123456 as a float."""
    for spec in map(codec_spec, codec_ids()):
        assert all(type(number) is int for number in (spec.bits, spec.group, spec.extra_bytes)), spec.id
        assert isinstance(spec.revision, str) and len(spec.revision) == 8, spec.id
        assert spec.source
    for kv in map(kv_spec, kv_ids()):
        assert all(type(number) is int for number in (kv.residual_tokens, kv.skip_first, kv.skip_last)), kv.id
        assert all(type(flag) is bool for flag in (kv.rope_removed, kv.decoded_16bit)), kv.id


def test_identity_is_16_bit() -> None:
    """The 16-bit composition takes two bytes an element."""
    assert kv_spec("bf16").layer_bytes(1, 128, 1) == sum(bytes_per_vector(BF16_KV, 128)) == 512


@pytest.mark.parametrize("head_dim", [0, 4, 100])
def test_odd_head_sizes_are_refused(head_dim: int) -> None:
    """Codes of any width end on a whole byte only for multiples of eight."""
    with pytest.raises(ValueError, match="a multiple of 8 was expected"):
        codec_spec("fp8-e4m3").packed_bytes(1, 1, head_dim)


def test_data_need_no_torch() -> None:
    """The planner and the reports may import names and bytes where torch is not installed."""
    code = (
        "import sys; from planner.compression.codecs_data import kv_ids, kv_spec;"
        "[kv_spec(i).layer_bytes(8, 128, 1000) for i in kv_ids()]; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@given(
    tokens=st.integers(0, 5000),
    percent=st.integers(0, 100),
    more=st.integers(0, 50),
)
def test_eviction_keeps_what_the_formula_says(tokens: int, percent: int, more: int) -> None:
    """Kept tokens never exceed the prefix, keep the window, and grow with it; the floor is exact."""
    rule = EvictionRule(Fraction(percent, 100))
    kept = rule.kept_tokens(tokens)
    assert min(tokens, 33) <= kept <= tokens
    assert rule.kept_tokens(tokens + more) >= kept
    if percent > 0 and kept < tokens:
        assert kept == 33 + (tokens - 32) * (100 - percent) // 100


@given(tokens=st.integers(0, 3000), decoded=st.integers(0, 500), kv_id=st.sampled_from(kv_ids()))
def test_coded_bytes_never_exceed_16_bit_by_more_than_scales(tokens: int, decoded: int, kv_id: str) -> None:
    """No composition takes more than plain 16-bit KV, at head size 64."""
    plain = kv_spec("fp16").layer_bytes(HEADS, 64, tokens, decoded)
    spec = kv_spec(kv_id)
    # A last, short group of tokens pays for a whole scale per channel.
    short_groups = 4 * 64 * HEADS if spec.key.family == "channel" else 0
    assert spec.layer_bytes(HEADS, 64, tokens, decoded) <= plain + short_groups
