"""What evidence says about every claim in the preset table. Needs no torch.

Three ratios answer three questions, and a claim is held against each of them: what a file or a network sees
(serialized), what the packed codes take if a kernel could compute on them (packed), and what stays on the GPU
with the software that exists (resident). Only the last one may be planned on.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from planner.compression.codecs_data import KvSpec, kv_ids, kv_spec
from planner.compression.evidence import (
    CodecEvidence,
    Current,
    Evidence,
    Quality,
    Recall,
    Verdict,
    quality_status,
    ratio_status,
)
from planner.compression.standing import declared_quality
from planner.compression.table import Preset, RatioStatus, load_presets


@dataclass(frozen=True)
class RatioVerdict:
    """One way to count the ratio, and whether the claim is right when counted so."""

    ratio: Fraction
    status: RatioStatus


@dataclass(frozen=True)
class ClaimVerdict:
    """A preset's claims beside what was measured.

    `packed` and `resident` are at the head size and layers of the claim (skipped layers left out) and the
    prefix of the evidence; `serialized` is as measured on the evidence's model, without a status, because
    head sizes differ. `quality` has a verdict for each perplexity that was declared; `measured` is the proxy
    under both protocols.
    """

    preset: str
    declared_ratio: Fraction
    ratio_status: RatioStatus
    packed: RatioVerdict
    resident: RatioVerdict
    serialized_ratio: Fraction | None
    quality: tuple[tuple[int, Verdict], ...]
    measured: tuple[Quality, ...]
    recall: Recall | None


def judge_claims(evidence: Evidence, current: Current | None = None) -> tuple[ClaimVerdict, ...]:
    """Verdicts on all presets of the table that a codec computes.

    Args:
        evidence: A run of `validate`.
        current: What is in use now; today's codec revisions unless given.
    """
    now = current or Current(codec_revisions={name: kv_spec(name).revision for name in kv_ids()})
    presets = [preset for preset in load_presets().values() if preset.codec and not preset.is_identity]
    return tuple(_judge(preset, evidence, now) for preset in presets)


def _judge(preset: Preset, evidence: Evidence, current: Current) -> ClaimVerdict:
    row = evidence.row(preset.codec)
    spec = kv_spec(preset.codec)
    claims = declared_quality(preset)
    return ClaimVerdict(
        preset=preset.name,
        declared_ratio=preset.claim.ratio,
        ratio_status=preset.ratio_status,
        packed=_ratio(preset, spec, evidence.key.prefix_tokens, packed=True),
        resident=_ratio(preset, spec, evidence.key.prefix_tokens, packed=preset.residency == "gpu"),
        serialized_ratio=row.serialized_ratio if row else None,
        quality=tuple((claim.value_ppm, quality_status(claim, preset.codec, evidence, current)) for claim in claims),
        measured=row.quality if row else (),
        recall=_recall(row),
    )


def _ratio(preset: Preset, spec: KvSpec, prefix_tokens: int, *, packed: bool) -> RatioVerdict:
    """Bytes of one KV head in one compressed layer, by the formula that measured tensors are held against."""
    head_dim = preset.claim.head_dim
    plain = prefix_tokens * 4 * head_dim
    taken = spec.layer_bytes(1, head_dim, prefix_tokens) if packed else plain
    return RatioVerdict(Fraction(plain, taken), ratio_status(preset.claim.ratio, plain, taken))


def _recall(row: CodecEvidence | None) -> Recall | None:
    return row.recall if row else None
