"""Tests of the verdicts on the claims of the preset table."""

from __future__ import annotations

from fractions import Fraction

import pytest

from planner.compression.evidence import CodecEvidence, Evidence, EvidenceKey, Quality
from planner.compression.statistics import PplDelta
from planner.compression.table import load_presets
from planner.compression.validate_claims import ClaimVerdict, judge_claims


@pytest.fixture(scope="module")
def claims() -> dict[str, ClaimVerdict]:
    """Verdicts with one measured row: NexusQuant balanced, +30 % on SmolLM2 at 1,024 tokens."""
    from planner.compression.codecs_data import kv_spec

    quality = (Quality("prefix_continuation", PplDelta(30.0, 20.0, 45.0, 60.0, 16), (0.3,)),)
    revision = kv_spec("nexusquant-balanced").revision
    row = CodecEvidence("nexusquant-balanced", revision, 2_359_296, 162_000, 150_000, 2_359_296, quality, (0.5,))
    key = EvidenceKey("smollm2-135m-instruct-q4_1", "b179", "2.13.0", "5.23.0", {}, 1024, 384, 16, 1)
    return {claim.preset: claim for claim in judge_claims(Evidence(key, (), (row,)))}


@pytest.mark.parametrize(
    ("preset", "declared", "kept", "packed_status"),
    [
        # kept of 1,024: 33 + floor(992 * (1 - rate)); a vector is 38 bytes: 16 groups of 18 bits, a 2-byte scale
        ("nexusquant-high@0.4.0", 10, 677, "confirmed"),
        ("nexusquant-balanced@0.4.0", 17, 429, "mismatch"),
        ("nexusquant-max@0.4.0", 33, 231, "mismatch"),
    ],
)
def test_the_claims_of_the_articles(
    claims: dict[str, ClaimVerdict], preset: str, declared: int, kept: int, packed_status: str
) -> None:
    """Tests 10x, 17x and 33x: packed 10.19x, 16.08x and 29.86x by hand, 1.00x on the GPU, where none is confirmed."""
    claim = claims[preset]
    assert claim.declared_ratio == declared
    assert claim.packed.ratio == Fraction(1024 * 256, kept * 38)
    assert claim.packed.status == packed_status
    assert (claim.resident.ratio, claim.resident.status) == (1, "mismatch")
    assert claim.ratio_status == "superseded"
    assert [verdict.status for _, verdict in claim.quality] == ["superseded"]


def test_a_proxy_is_shown_and_certifies_nothing(claims: dict[str, ClaimVerdict]) -> None:
    """Tests that the measured figures stand beside the claim, with the serialized ratio as measured."""
    balanced = claims["nexusquant-balanced@0.4.0"]
    assert balanced.measured[0].ppl.mean_pct == 30.0
    assert balanced.serialized_ratio == Fraction(2_359_296, 150_000)
    assert claims["fp8@vllm-0.19"].measured == ()
    k8v4 = claims["turboquant-k8v4@vllm-0.24"]
    assert [(ppm, verdict.status) for ppm, verdict in k8v4.quality] == [(11_700, "unconfirmed")]  # not in this run


def test_ratios_of_engine_layouts_agree_with_the_table(claims: dict[str, ClaimVerdict]) -> None:
    """Tests that packed tensors and the preset table come to the same verdict wherever an engine packs the bytes."""
    packed = {preset.name for preset in load_presets().values() if preset.residency == "gpu"}
    engines = [claim for claim in claims.values() if claim.ratio_status in ("confirmed", "mismatch")]
    engines = [claim for claim in engines if claim.preset in packed]
    assert len(engines) >= 10
    for claim in engines:
        assert claim.packed == claim.resident
        assert claim.resident.status == claim.ratio_status, claim.preset
