"""Where a preset stands: what the committed evidence says of its claims, derived when the table is loaded.

The best tier that measured a codec speaks for every preset that is composed of it, and it only speaks while the
codec is the one that was measured: another revision drops the row to unconfirmed. Bytes are judged on packed
tensors; the perplexity of a small model is a proxy, which ranks, warns, and meets a floor under `allow_proxy` only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib import resources

from planner.compression.codecs_data import KvSpec, kv_ids, kv_spec
from planner.compression.evidence import (
    CodecEvidence,
    Current,
    DeclaredQuality,
    Evidence,
    Quality,
    QualityStatus,
    Verdict,
    from_json,
    pct_to_ppm,
    quality_status,
    ratio_status,
    stale_because,
)
from planner.compression.table import Preset, QualityRow, RatioStatus

SHAPES = {"smollm2-135m-instruct-q4_1": (30, 3, 64)}
"""Evidence model -> its layers, KV heads and head size, by which measured bytes are computed again."""

PROTOCOL_WORDS = {"prefix_continuation": "prefix read exactly", "write_time": "compressed as written"}


@dataclass(frozen=True)
class Committed:
    """One evidence file that ships with kvplan."""

    file: str
    sha256: str
    evidence: Evidence


@dataclass(frozen=True)
class Standing:
    """What evidence says of a preset. `quality` has a verdict for each perplexity that its sources declare."""

    ratio_status: RatioStatus
    ratio_reason: str
    quality_status: QualityStatus
    quality: tuple[tuple[DeclaredQuality, Verdict], ...] = ()
    source: Committed | None = None
    row: CodecEvidence | None = None

    def refuted_on(self, model_id: str) -> str:
        """Why a declared quality is refuted on this very model; "" where it is not."""
        verdicts = (v for declared, v in self.quality if declared.model == model_id and v.status == "refuted")
        return next((verdict.reason for verdict in verdicts), "")


def committed_evidence() -> tuple[Committed, ...]:
    """The evidence files of this kvplan, the highest tier first."""
    folder = resources.files("planner.compression").joinpath("evidence")
    found = []
    for file in folder.iterdir():
        if file.name.endswith(".json"):
            text = file.read_text(encoding="utf-8")
            found.append(Committed(file.name, hashlib.sha256(text.encode()).hexdigest(), from_json(text)))
    return tuple(sorted(found, key=lambda each: (-each.evidence.tier, each.file)))


def revisions() -> Current:
    """The codecs as they are now; torch, weights and texts are what they are wherever a run is repeated."""
    return Current(codec_revisions={name: kv_spec(name).revision for name in kv_ids()})


def with_standing(preset: Preset, committed: Sequence[Committed], current: Current | None = None) -> Preset:
    """The preset with its standing, and with what was measured of it as proxy rows."""
    standing = stand(preset, committed, current or revisions())
    return replace(preset, standing=standing, quality=(*preset.quality, *_proxies(standing)))


def stand(preset: Preset, committed: Sequence[Committed], current: Current) -> Standing:
    """What the evidence says of one preset.

    Args:
        preset: The row as the file has it.
        committed: Evidence files, the best first.
        current: What is in use now; what differs from the evidence makes it stale.
    """
    if preset.is_identity:
        return Standing("confirmed", "16 bits an element", "confirmed")
    source = _source(preset.codec, committed, current)
    row = source.evidence.row(preset.codec) if source else None
    stale = stale_because(source.evidence, row, current) if source and row else ()
    ratio, reason = _ratio(preset, source, row, stale)
    evidence = source.evidence if source else None
    verdicts = tuple((each, quality_status(each, preset.codec, evidence, current)) for each in declared_quality(preset))
    status = _quality(preset, verdicts, measured=row is not None and not stale)
    return Standing(ratio, reason, status, verdicts, source, row if not stale else None)


def _source(codec: str, committed: Sequence[Committed], current: Current) -> Committed | None:
    """The best file that measured the codec: one that still holds, else one that does not."""
    rows = [(each, row) for each in committed if (row := each.evidence.row(codec)) is not None]
    fresh = (each for each, row in rows if not stale_because(each.evidence, row, current))
    return next(fresh, rows[0][0] if rows else None)


def declared_quality(preset: Preset) -> tuple[DeclaredQuality, ...]:
    """The perplexities that its sources declare; what was measured here is no claim."""
    superseded = bool(preset.claim.superseded_by)
    return tuple(
        DeclaredQuality(row.value_ppm, row.model, row.weights_sha256, row.protocol, row.prefix_tokens, superseded)
        for row in preset.quality
        if row.metric == "ppl_increase" and row.kind != "proxy"
    )


def _ratio(
    preset: Preset, source: Committed | None, row: CodecEvidence | None, stale: tuple[str, ...]
) -> tuple[RatioStatus, str]:
    """Whether packed tensors bear the declared ratio out, and the sentence with the numbers."""
    claim = preset.claim
    if claim.superseded_by:
        return "superseded", claim.superseded_by
    if claim.not_comparable:
        return "unconfirmed", claim.not_comparable
    if not preset.codec:
        return "unconfirmed", "no codec computes it"
    if source is None or row is None:
        return "unconfirmed", "its bytes were not measured"
    if stale:
        return "unconfirmed", f"the evidence is stale: {'; '.join(stale)}"
    spec, key = kv_spec(preset.codec), source.evidence.key
    shape = SHAPES.get(key.model)
    if shape is None:
        return "unconfirmed", f"nothing is known of the shape of {key.model}"
    expected = spec.sequence_bytes(*shape, key.prefix_tokens)
    if row.packed_bytes != expected:
        return "mismatch", f"its packed tensors took {row.packed_bytes:,} bytes, the formula says {expected:,}"
    plain, packed = claim_bytes(spec, claim.head_dim, key.prefix_tokens)
    ratio = float(Fraction(plain, packed))
    reason = f"packed tensors give {ratio:.2f}x at head size {claim.head_dim}, declared {float(claim.ratio):g}x"
    return ratio_status(claim.ratio, plain, packed), reason


def claim_bytes(spec: KvSpec, head_dim: int, prefix_tokens: int) -> tuple[int, int]:
    """(16-bit, packed) bytes of one KV head in one compressed layer: what ratios are declared for."""
    return prefix_tokens * 4 * head_dim, spec.layer_bytes(1, head_dim, prefix_tokens)


def _quality(preset: Preset, verdicts: tuple[tuple[DeclaredQuality, Verdict], ...], *, measured: bool) -> QualityStatus:
    """The one word for all claims: a refuted one spoils the row, one proxy leaves it a proxy."""
    if preset.claim.superseded_by:
        return "superseded"
    statuses = {verdict.status for _, verdict in verdicts}
    if "refuted" in statuses:
        return "refuted"
    if statuses == {"confirmed"}:
        return "confirmed"
    return "proxy_only" if measured else "unconfirmed"


def _proxies(standing: Standing) -> tuple[QualityRow, ...]:
    """The measurement as rows that only `allow_proxy` admits; the upper end of the interval is what counts."""
    if standing.source is None or standing.row is None:
        return ()
    key = standing.source.evidence.key
    return tuple(
        _proxy(quality, key.model, key.prefix_tokens, standing.source.file) for quality in standing.row.quality
    )


def _proxy(quality: Quality, model: str, prefix_tokens: int, file: str) -> QualityRow:
    ppl = quality.ppl
    return QualityRow(
        metric="ppl_increase",
        value_ppm=max(0, pct_to_ppm(ppl.mean_pct)),
        model=model,
        task=f"perplexity, {PROTOCOL_WORDS[quality.protocol]}",
        kind="proxy",
        source=f"evidence/{file}",
        figures=f"{ppl.mean_pct:+.2f} % [{ppl.ci95_low_pct:+.2f}, {ppl.ci95_high_pct:+.2f}]",
        samples=ppl.windows,
        noise_ppm=max(0, pct_to_ppm(ppl.ci95_high_pct)),
        protocol=quality.protocol,
        prefix_tokens=prefix_tokens,
    )
