"""Tests of the verdicts that follow from evidence, and of the evidence that ships with kvplan."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.compression.codecs_data import kv_spec
from planner.compression.evidence import (
    CONTROL_LIMIT_PCT,
    PROTOCOLS,
    CodecEvidence,
    Current,
    DeclaredQuality,
    Evidence,
    EvidenceKey,
    Quality,
    Recall,
    disagreements,
    from_json,
    quality_status,
    ratio_status,
    stale_because,
    to_json,
)
from planner.compression.standing import committed_evidence
from planner.compression.statistics import PplDelta

MODEL = "smollm2-135m-instruct-q4_1"
RENEW = "renew the evidence: tests/bench/compression/tier.sh 2"


def evidence_of(low_pct: float, mean_pct: float, high_pct: float) -> Evidence:
    """One preset, K2V2 on SmolLM2, measured with the prefix protocol at 1,024 tokens."""
    ppl = PplDelta(mean_pct, low_pct, high_pct, high_pct + 1.0, 16)
    quality = (Quality("prefix_continuation", ppl, (0.1, 0.2)),)
    row = CodecEvidence("e8-k2v2", "r1", 1000, 250, 200, 1000, quality, (0.25, 0.5), Recall(3, 4, 8))
    key = EvidenceKey(MODEL, "b179", "2.13.0", "5.23.0", {"topics": "3a8f"}, 1024, 384, 16, 1)
    return Evidence(key, (), (row,))


def declared(value_pct: str, **changes: object) -> DeclaredQuality:
    """A claim made on SmolLM2 itself, with the same protocol and prefix."""
    claim = DeclaredQuality(int(Fraction(value_pct) * 10_000), MODEL, "b179", "prefix_continuation", 1024)
    return replace(claim, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ratio", "status"),
    [
        ("4", "confirmed"),
        ("4.08", "confirmed"),  # |4 - 4.08| = 0.08 <= 0.0816
        ("4.09", "mismatch"),  # 0.09 > 0.0818
        ("4.2", "mismatch"),  # planted: 5 % too high
        ("3.8", "mismatch"),  # planted: 5 % too low
    ],
)
def test_a_ratio_that_is_off_is_a_mismatch(ratio: str, status: str) -> None:
    """Tests that bytes of 4.00x confirm claims within 2 % and turn the verdict at 5 %."""
    assert ratio_status(Fraction(ratio), 4000, 1000) == status


def test_a_superseded_ratio_is_neither_right_nor_wrong() -> None:
    """Tests that a claim its authors replaced is not judged."""
    assert ratio_status(Fraction(10), 4000, 1000, superseded=True) == "superseded"


@pytest.mark.parametrize(
    ("claim", "status"),
    [
        ("22.1", "confirmed"),  # the measured mean; limit 33.15 > 26.96
        ("17.98", "confirmed"),  # limit 26.97, just above the upper end
        ("17.97", "unconfirmed"),  # limit 26.955 lies inside the interval
        ("11.71", "unconfirmed"),  # limit 17.565 >= 17.56
        ("11.70", "refuted"),  # limit 17.55 < 17.56
        ("0.4", "refuted"),  # limit 0.9: the least tolerance of half a point
    ],
)
def test_the_gate_of_a_quality_claim(claim: str, status: str) -> None:
    """Tests the limits of a measured +22.1 % [17.56, 26.96] with tolerance max(0.5, half the claim)."""
    assert quality_status(declared(claim), "e8-k2v2", evidence_of(17.56, 22.1, 26.96)).status == status


@given(st.integers(0, 300_000), st.integers(0, 100_000), st.integers(0, 400_000))
def test_a_claim_moved_one_point_beyond_tolerance_and_interval_is_refuted(value: int, below: int, above: int) -> None:
    """Tests the planted error: whatever was declared, measurements one point above the limit refute it."""
    limit_pct = float(value + max(Fraction(5_000), Fraction(value, 2))) / 10_000
    low = limit_pct + 1.0
    measured = evidence_of(low, low + below / 10_000, low + (below + above) / 10_000)
    claim = declared("0", value_ppm=value)
    assert quality_status(claim, "e8-k2v2", measured).status == "refuted"
    honest = evidence_of(limit_pct - 2.0, limit_pct - 1.5, limit_pct - 1.0)
    assert quality_status(claim, "e8-k2v2", honest).status == "confirmed"


@given(st.lists(st.integers(0, 400_000), min_size=2, max_size=6))
def test_a_larger_claim_never_fares_worse(values: list[int]) -> None:
    """Tests that the verdict only moves from refuted over unconfirmed to confirmed as the claim grows."""
    order = ["refuted", "unconfirmed", "confirmed"]
    measured = evidence_of(5.0, 9.0, 14.0)
    found = [
        order.index(quality_status(declared("0", value_ppm=value), "e8-k2v2", measured).status)
        for value in sorted(values)
    ]
    assert found == sorted(found)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"model": "mistral-7b", "weights_sha256": ""}, "proxy_only"),
        ({"weights_sha256": "0000"}, "proxy_only"),  # other weights are another model
        ({"protocol": "write_time"}, "unconfirmed"),  # not measured so
        ({"protocol": None}, "unconfirmed"),
        ({"prefix_tokens": 2049}, "unconfirmed"),  # more than twice the measured 1,024
        ({"prefix_tokens": 2048}, "refuted"),
        ({"prefix_tokens": None}, "unconfirmed"),
        ({"superseded": True}, "superseded"),
    ],
)
def test_like_is_compared_with_like_only(changes: dict[str, object], status: str) -> None:
    """Tests that another model, protocol or context never refutes a claim that this one would refute."""
    measured = evidence_of(17.56, 22.1, 26.96)
    assert quality_status(declared("0.4", **changes), "e8-k2v2", measured).status == status


def test_what_was_not_measured_is_unconfirmed() -> None:
    """Tests a preset without a row, and no evidence at all."""
    assert quality_status(declared("1"), "kivi-2bit", evidence_of(1, 2, 3)).status == "unconfirmed"
    assert quality_status(declared("1"), "e8-k2v2", None).status == "unconfirmed"


@pytest.mark.parametrize(
    "current",
    [
        Current(codec_revisions={"e8-k2v2": "r2"}),
        Current(torch="2.14.1"),
        Current(transformers="5.24.0"),
        Current(weights_sha256="ffff"),
        Current(texts={"topics": "dec4"}),
    ],
)
def test_a_changed_hash_makes_evidence_stale(current: Current) -> None:
    """Tests that a change of codec, library, weights or text drops a confirmed claim to unconfirmed."""
    measured = evidence_of(1.0, 2.0, 3.0)
    claim = declared("20")
    same = Current({"e8-k2v2": "r1"}, "2.13.0", "5.23.0", "b179", {"topics": "3a8f"})
    assert quality_status(claim, "e8-k2v2", measured, same).status == "confirmed"
    assert len(stale_because(measured, measured.rows[0], current)) == 1
    verdict = quality_status(claim, "e8-k2v2", measured, current)
    assert verdict.status == "unconfirmed"
    assert "stale" in verdict.reason


def test_ratios_of_a_row() -> None:
    """Tests that packed, serialized and GPU-resident ratios are three different things."""
    row = evidence_of(1, 2, 3).rows[0]
    assert row.serialized_ratio == 5
    assert (row.plain_bytes / row.packed_bytes, row.plain_bytes / row.resident_bytes) == (4, 1)


def test_recall_is_relative_to_the_models_own() -> None:
    """Tests 3 of 4 hits, and that a model without any hit says nothing."""
    assert Recall(3, 4, 8).rate == 0.75
    assert Recall(0, 0, 8).rate is None


def test_evidence_survives_its_file() -> None:
    """Tests that writing and reading gives the same evidence, and that other major versions are refused."""
    evidence = evidence_of(17.56, 22.1, 26.96)
    assert from_json(to_json(evidence)) == evidence
    with pytest.raises(ValueError, match=r"evidence format '2\.0'"):
        from_json(to_json(evidence).replace('"format_version": "1.0"', '"format_version": "2.0"'))


def test_intervals_that_do_not_meet_disagree() -> None:
    """Tests that two runs disagree only where their intervals are apart and the codec is the same."""
    old, near, far = evidence_of(1, 2, 3), evidence_of(2.9, 4, 5), evidence_of(3.1, 4, 5)
    assert disagreements(old, near) == ()
    assert disagreements(old, far) == ("e8-k2v2 prefix_continuation: [+1.00, +3.00] % committed, [+3.10, +5.00] % now",)
    other = replace(far, rows=(replace(far.rows[0], revision="r2"),))
    assert disagreements(old, other) == ()


def committed(tier: int) -> list[Evidence]:
    """The evidence of a tier that ships with kvplan; there is some of each."""
    found = [each.evidence for each in committed_evidence() if each.evidence.tier == tier]
    assert found
    return found


@pytest.mark.parametrize("tier", [1, 2])
def test_the_committed_evidence_is_of_todays_codecs(tier: int) -> None:
    """Tests that no codec changed since the evidence was made, and that its 16-bit control is clean."""
    for evidence in committed(tier):
        assert evidence.key.weights_sha256.startswith("b179c952")
        for row in evidence.rows:
            assert row.revision == kv_spec(row.id).revision, f"{row.id} changed; {RENEW}"
        assert [quality.protocol for quality in evidence.control] == list(PROTOCOLS)
        assert all(abs(quality.ppl.mean_pct) < CONTROL_LIMIT_PCT for quality in evidence.control)


def test_the_committed_bytes_are_the_byte_formula() -> None:
    """Tests that every measured byte count is what the table's formula says for SmolLM2 (30 layers, 3 heads of 64)."""
    for evidence in (*committed(1), *committed(2)):
        for row in evidence.rows:
            assert row.packed_bytes == kv_spec(row.id).sequence_bytes(30, 3, 64, evidence.key.prefix_tokens)
            assert row.plain_bytes == 30 * 3 * 64 * 2 * 2 * evidence.key.prefix_tokens


def test_a_planted_claim_on_the_measured_model_is_refuted() -> None:
    """Tests with committed numbers: K2V2 declared one point too low beyond tolerance and interval is refuted."""
    for evidence in committed(2):
        row = evidence.row("e8-k2v2")
        assert row is not None
        for quality in row.quality:
            honest = round(quality.ppl.mean_pct * 10_000)
            # declared + declared / 2 + 1 point = the lower end: the claim that is just wrong enough
            planted = int((quality.ppl.ci95_low_pct - 1.0) / 1.5 * 10_000)
            claim = DeclaredQuality(honest, evidence.key.model, "", quality.protocol, evidence.key.prefix_tokens)
            assert quality_status(claim, row.id, evidence).status != "refuted"
            assert quality_status(replace(claim, value_ppm=planted), row.id, evidence).status == "refuted"
