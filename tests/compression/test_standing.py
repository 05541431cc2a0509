"""Statuses are derived from evidence, and turn when a claim, a byte, a codec or a measurement does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import pytest

from planner.compression.codecs_data import kv_spec
from planner.compression.evidence import Current, PplDelta
from planner.compression.standing import Committed, Standing, committed_evidence, revisions, stand, with_standing
from planner.compression.table import Preset, QualityRow, load_presets

PROXY = "smollm2-135m-instruct-q4_1"
MEASURED_IN_TIER_1 = ("fp8", "int8-per-token-head", "int4-per-token-head", "nvfp4", "turboquant-4bit-nc")


@pytest.fixture(scope="module")
def committed() -> tuple[Committed, ...]:
    """The evidence that ships with kvplan."""
    return committed_evidence()


def bare(preset_id: str) -> Preset:
    """A row as the file has it, without what evidence adds."""
    preset = load_presets()[preset_id]
    return replace(preset, standing=None, quality=tuple(row for row in preset.quality if row.kind != "proxy"))


def edited(committed: tuple[Committed, ...], codec: str, **changes: object) -> tuple[Committed, ...]:
    """Copies of the evidence files in which the row of a codec is changed."""
    found = []
    for each in committed:
        rows = tuple(replace(row, **changes) if row.id == codec else row for row in each.evidence.rows)  # type: ignore[arg-type]
        found.append(replace(each, evidence=replace(each.evidence, rows=rows)))
    return tuple(found)


def declared(value_ppm: int, *, prefix_tokens: int, model: str = PROXY) -> QualityRow:
    """A perplexity that is declared on the model that was measured."""
    return QualityRow(
        "ppl_increase", value_ppm, model, "perplexity", "published", "a test", "", protocol="write_time",
        prefix_tokens=prefix_tokens,
    )  # fmt: skip


def verdicts(standing: Standing) -> Iterator[str]:
    """The statuses of all declared perplexities."""
    return (verdict.status for _, verdict in standing.quality)


@pytest.mark.parametrize("preset_id", MEASURED_IN_TIER_1)
def test_engine_rows_are_confirmed_by_measured_bytes(preset_id: str, committed: tuple[Committed, ...]) -> None:
    """Bytes of packed tensors equal the formula, the formula gives the claim, and the quality is a proxy's."""
    found = stand(bare(preset_id), committed, revisions())
    assert (found.ratio_status, found.quality_status) == ("confirmed", "proxy_only")
    assert load_presets()[preset_id].ratio_status == "confirmed"
    assert found.source is not None and found.source.evidence.tier == max(each.evidence.tier for each in committed)


@pytest.mark.parametrize("factor", [Fraction(95, 100), Fraction(105, 100)])
def test_a_claim_off_by_five_percent_is_a_mismatch(factor: Fraction, committed: tuple[Committed, ...]) -> None:
    """The declared ratio is moved, the bytes stay."""
    row = bare("fp8")
    planted = replace(row, claim=replace(row.claim, ratio=row.claim.ratio * factor))
    assert stand(planted, committed, revisions()).ratio_status == "mismatch"
    assert with_standing(planted, committed).ratio_status == "mismatch"


@pytest.mark.parametrize("factor", [0.95, 1.05])
def test_bytes_off_by_five_percent_are_a_mismatch(factor: float, committed: tuple[Committed, ...]) -> None:
    """The measured bytes are moved in a copy of the evidence: they are no longer those of the formula."""
    row = next(row for each in committed if (row := each.evidence.row("fp8")))
    planted = edited(committed, "fp8", packed_bytes=int(row.packed_bytes * factor))
    found = with_standing(bare("fp8"), planted)
    assert found.ratio_status == "mismatch"
    assert found.standing is not None and "the formula says" in found.standing.ratio_reason


def test_another_codec_revision_drops_the_row_to_unconfirmed(committed: tuple[Committed, ...]) -> None:
    """Evidence about a codec that computes otherwise says nothing; it is no proxy row either."""
    now = revisions()
    changed = replace(now, codec_revisions={**now.codec_revisions, "fp8": "00000000"})
    found = with_standing(bare("fp8"), committed, changed)
    assert found.standing is not None and found.standing.row is None
    assert (found.ratio_status, found.standing.quality_status) == ("unconfirmed", "unconfirmed")
    assert "stale" in found.standing.ratio_reason
    assert all(row.kind != "proxy" for row in found.quality)
    assert with_standing(bare("int8-per-token-head"), committed, changed).ratio_status == "confirmed"


@pytest.mark.parametrize(
    "changed",
    [
        {"torch": "1.0.0"},
        {"transformers": "1.0.0"},
        {"weights_sha256": "0" * 64},
        {"texts": {"topics": "0" * 64}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_another_torch_weights_or_text_drops_it_too(
    changed: dict[str, object], committed: tuple[Committed, ...]
) -> None:
    """Every part of the key of the evidence counts where it is known."""
    current = Current(codec_revisions=revisions().codec_revisions, **changed)  # type: ignore[arg-type]
    assert stand(bare("fp8"), committed, current).ratio_status == "unconfirmed"


def test_without_evidence_a_row_is_unconfirmed() -> None:
    """A layout alone confirms nothing once the table is loaded with evidence."""
    assert with_standing(bare("fp8"), ()).ratio_status == "unconfirmed"
    assert with_standing(bare("bf16"), ()).ratio_status == "confirmed"


@pytest.mark.parametrize(
    ("points", "status"), [(0, "confirmed"), (-1, "refuted"), (5, "confirmed")], ids=["as-is", "planted", "modest"]
)
def test_a_quality_declared_on_the_proxy_itself(points: int, status: str, committed: tuple[Committed, ...]) -> None:
    """Moved one point beyond tolerance and interval it is refuted; a narrow interval of 10.0 % to 10.4 % by hand."""
    narrow = PplDelta(10.2, 10.0, 10.4, 11.0, 16)
    row = next(row for each in committed if (row := each.evidence.row("fp8")))
    quality = tuple(replace(each, ppl=narrow) for each in row.quality)
    evidence = edited(committed, "fp8", quality=quality)
    prefix = evidence[0].evidence.key.prefix_tokens
    # tolerance max(0.5 points, half): 6.94 % is the least that 10.4 % confirms, 6.66 % the most that 10.0 % refutes
    value = {0: 69_400, -1: 66_600 - 10_000, 5: 120_000}[points]
    planted = replace(bare("fp8"), quality=(declared(value, prefix_tokens=prefix),))
    found = with_standing(planted, evidence)
    assert found.standing is not None
    assert list(verdicts(found.standing)) == [status]
    assert found.standing.quality_status == status
    assert bool(found.standing.refuted_on(PROXY)) == (status == "refuted")
    assert not found.standing.refuted_on("llama-3.3-70b-instruct")


def test_a_proxy_never_refutes_another_model(committed: tuple[Committed, ...]) -> None:
    """However small the declared loss, a small model's perplexity is shown beside it and no more."""
    planted = replace(bare("int4-per-token-head"), quality=(declared(0, prefix_tokens=512, model="llama-3.1-8b"),))
    found = with_standing(planted, committed)
    assert found.standing is not None and list(verdicts(found.standing)) == ["proxy_only"]


def test_proxy_rows_count_the_upper_end_of_the_interval(committed: tuple[Committed, ...]) -> None:
    """Both protocols become rows that name the file; what they vouch for is the interval's worse end."""
    rows = [row for row in load_presets()["int4-per-token-head"].quality if row.kind == "proxy"]
    source = next(each for each in committed if each.evidence.row("int4-per-token-head"))
    measured = source.evidence.row("int4-per-token-head")
    assert measured is not None
    assert [row.protocol for row in rows] == [quality.protocol for quality in measured.quality]
    for row, quality in zip(rows, measured.quality, strict=True):
        assert row.counted_ppm == round(quality.ppl.ci95_high_pct * 10_000)
        assert row.source == f"evidence/{source.file}" and row.model == PROXY


def test_the_table_file_holds_no_status() -> None:
    """No word of a verdict stands in presets.yaml as a key."""
    from planner.compression.names import PRESETS_FILE

    text = PRESETS_FILE.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if not line.startswith("#")]
    assert not any("status" in line for line in rows)


def test_every_codec_of_the_table_exists_and_packs_the_tables_bytes() -> None:
    """Where an engine packs a preset, its composition takes the bytes of the layout, at every head size."""
    from planner.compression.table import layout_ratio

    compared = 0
    for preset in load_presets().values():
        if not preset.codec or not preset.layout_known:
            continue
        for head_dim in (64, 128, 256):
            plain, packed = 1000 * 4 * head_dim, kv_spec(preset.codec).layer_bytes(1, head_dim, 1000)
            assert Fraction(plain, packed) == layout_ratio(preset.storage, head_dim), preset.id
        compared += 1
    assert compared >= 14


def test_committed_evidence_is_of_the_pinned_model_and_texts() -> None:
    """Weights are those that the package pins, texts are pinned ones, and every revision is today's."""
    from planner.compression.language_model import STANDARD_SHA256
    from planner.compression.texts import PINS

    for each in committed_evidence():
        key = each.evidence.key
        assert key.weights_sha256 == STANDARD_SHA256
        assert all(digest in PINS[name].values() for name, digest in key.texts.items())
        for row in each.evidence.rows:
            assert row.revision == kv_spec(row.id).revision, row.id
