"""Evidence about presets and the verdicts that follow from it. Verdicts are derived here, never typed in.

A tier-2 run of `validate` writes one evidence file: what it measured, and the key under which that holds
(codec revisions, torch, transformers, weights, texts, window shape). This file needs no torch: it reads
evidence, compares claims with it, and tells when evidence has gone stale.

Like is compared with like only. A perplexity measured on a small model says nothing certain about another
one: it is a proxy, which ranks and warns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Literal

from planner.compression.statistics import PplDelta
from planner.compression.table import RATIO_TOLERANCE, RatioStatus

Protocol = Literal["prefix_continuation", "write_time"]
QualityStatus = Literal["confirmed", "refuted", "unconfirmed", "proxy_only", "superseded"]

PROTOCOLS: tuple[Protocol, ...] = ("prefix_continuation", "write_time")
FORMAT_VERSION = "1.0"
LEAST_TOLERANCE_PPM = 5_000
"""Half a point of perplexity: below it, windows of a kilotoken and another build of torch differ by themselves."""
RELATIVE_TOLERANCE = Fraction(1, 2)
CONTEXT_BAND = 2
"""Evidence answers for prefixes up to this many times longer or shorter than its own."""
CONTROL_LIMIT_PCT = 0.05
"""Largest perplexity difference between 16-bit and exact KV that a sound harness shows."""
DIGITS = 6


@dataclass(frozen=True)
class EvidenceKey:
    """What evidence holds for. `texts` is name -> sha256."""

    model: str
    weights_sha256: str
    torch: str
    transformers: str
    texts: Mapping[str, str]
    prefix_tokens: int
    scored_tokens: int
    windows: int
    seed: int


@dataclass(frozen=True)
class Quality:
    """Perplexity under one protocol, with the NLL difference of every window (nats a token)."""

    protocol: Protocol
    ppl: PplDelta
    nll_differences: tuple[float, ...]


@dataclass(frozen=True)
class Recall:
    """Key-value questions that were answered exactly, with the preset and with 16-bit KV."""

    hits: int
    baseline_hits: int
    questions: int

    @property
    def rate(self) -> float | None:
        """Hits over those with 16-bit KV: the model itself finds only some; None where it finds none."""
        return self.hits / self.baseline_hits if self.baseline_hits else None


@dataclass(frozen=True)
class CodecEvidence:
    """What was measured of one preset.

    Bytes are of one prefix of `EvidenceKey.prefix_tokens` tokens over all layers: `packed_bytes` of the very
    tensors that were scored, `serialized_bytes` after DEFLATE of the codes, `resident_bytes` what lies on the
    GPU (16-bit where no engine computes on the packed form). `attention_error` is the relative L2 error of
    each layer's attention output for exact queries.
    """

    id: str
    revision: str
    plain_bytes: int
    packed_bytes: int
    serialized_bytes: int
    resident_bytes: int
    quality: tuple[Quality, ...]
    attention_error: tuple[float, ...]
    recall: Recall | None = None

    @property
    def serialized_ratio(self) -> Fraction:
        """16-bit bytes over entropy-coded bytes: what a file or a network sees."""
        return Fraction(self.plain_bytes, self.serialized_bytes)

    def of(self, protocol: Protocol) -> Quality | None:
        """The measurement under a protocol."""
        return next((quality for quality in self.quality if quality.protocol == protocol), None)


@dataclass(frozen=True)
class Evidence:
    """One run: its key, the 16-bit control, and a row for each preset."""

    key: EvidenceKey
    control: tuple[Quality, ...]
    rows: tuple[CodecEvidence, ...]
    tier: int = 2
    format_version: str = FORMAT_VERSION

    def row(self, preset: str) -> CodecEvidence | None:
        """The row of a preset by id."""
        return next((row for row in self.rows if row.id == preset), None)


@dataclass(frozen=True)
class DeclaredQuality:
    """A perplexity claim: on which model (and weights, protocol and prefix, where it says), how much."""

    value_ppm: int
    model: str
    weights_sha256: str = ""
    protocol: Protocol | None = None
    prefix_tokens: int | None = None
    superseded: bool = False


@dataclass(frozen=True)
class Current:
    """What is in use now; an empty field is not known and not compared."""

    codec_revisions: Mapping[str, str] = field(default_factory=dict)
    torch: str = ""
    transformers: str = ""
    weights_sha256: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """A status and the sentence that gives its numbers."""

    status: QualityStatus
    reason: str


def ratio_status(declared: Fraction, plain_bytes: int, packed_bytes: int, *, superseded: bool = False) -> RatioStatus:
    """What measured bytes say of a declared ratio: confirmed iff |plain / packed - declared| <= 2 % of declared.

    >>> ratio_status(Fraction(2), 23_592_960, 11_796_480)
    'confirmed'
    >>> ratio_status(Fraction("2.1"), 23_592_960, 11_796_480)  # 5 % off
    'mismatch'
    """
    if superseded:
        return "superseded"
    gap = abs(Fraction(plain_bytes, packed_bytes) - declared)
    return "confirmed" if gap <= RATIO_TOLERANCE * declared else "mismatch"


def tolerance_ppm(declared_ppm: int) -> Fraction:
    """How far above a declared loss a measurement may lie: max(0.5 points, half of the declared loss).

    >>> tolerance_ppm(4_000), tolerance_ppm(26_000)
    (Fraction(5000, 1), Fraction(13000, 1))
    """
    return max(Fraction(LEAST_TOLERANCE_PPM), declared_ppm * RELATIVE_TOLERANCE)


def stale_because(evidence: Evidence, row: CodecEvidence, current: Current) -> tuple[str, ...]:
    """What has changed since the evidence was made; empty while it still holds."""
    key = evidence.key
    pairs = [
        (f"codec {row.id}", row.revision, current.codec_revisions.get(row.id, "")),
        ("torch", key.torch, current.torch),
        ("transformers", key.transformers, current.transformers),
        ("weights", key.weights_sha256, current.weights_sha256),
        *((f"text {name}", digest, current.texts.get(name, "")) for name, digest in sorted(key.texts.items())),
    ]
    return tuple(f"{what}: {was[:12]} measured, {now[:12]} now" for what, was, now in pairs if now and now != was)


def quality_status(
    declared: DeclaredQuality, preset: str, evidence: Evidence | None, current: Current | None = None
) -> Verdict:
    """Whether a declared perplexity increase stands.

    confirmed iff the upper end of the 95 % interval <= declared + tolerance, refuted iff the lower end lies
    above it, unconfirmed otherwise and wherever like does not meet like. Another model's measurement is
    `proxy_only`. Tolerance: `tolerance_ppm`.
    """
    if declared.superseded:
        return Verdict("superseded", "the source itself replaced this claim")
    row = evidence.row(preset) if evidence else None
    if evidence is None or row is None:
        return Verdict("unconfirmed", "not measured")
    stale = stale_because(evidence, row, current or Current())
    if stale:
        return Verdict("unconfirmed", "the evidence is stale: " + "; ".join(stale))
    key = evidence.key
    if not _same_model(declared, key):
        return Verdict("proxy_only", f"declared on {declared.model}, measured on {key.model}")
    if declared.protocol is None:
        return Verdict("unconfirmed", "the claim does not say how it was measured")
    measured = row.of(declared.protocol)
    if measured is None:
        return Verdict("unconfirmed", f"not measured with {declared.protocol}")
    if not _same_band(declared.prefix_tokens, key.prefix_tokens):
        return Verdict("unconfirmed", f"measured at a prefix of {key.prefix_tokens} tokens, not at the claim's")
    return _gate(declared.value_ppm, measured.ppl)


def _same_model(declared: DeclaredQuality, key: EvidenceKey) -> bool:
    weights = not declared.weights_sha256 or declared.weights_sha256 == key.weights_sha256
    return weights and declared.model == key.model


def _same_band(declared_tokens: int | None, measured_tokens: int) -> bool:
    if declared_tokens is None:
        return False
    low, high = sorted((declared_tokens, measured_tokens))
    return high <= CONTEXT_BAND * low


def _gate(declared_ppm: int, measured: PplDelta) -> Verdict:
    limit = declared_ppm + tolerance_ppm(declared_ppm)
    low, high = (pct_to_ppm(end) for end in (measured.ci95_low_pct, measured.ci95_high_pct))
    numbers = (
        f"measured {measured.mean_pct:+.2f} % [{measured.ci95_low_pct:+.2f}, {measured.ci95_high_pct:+.2f}], "
        f"declared {declared_ppm / 10_000:+.2f} %, limit {float(limit) / 10_000:+.2f} %"
    )
    if high <= limit:
        return Verdict("confirmed", numbers)
    return Verdict("refuted" if low > limit else "unconfirmed", numbers)


def pct_to_ppm(pct: float) -> int:
    """Percent to the nearest whole ppm.

    >>> pct_to_ppm(2.6)
    26000
    """
    return round(pct * 10_000)


def disagreements(committed: Evidence, fresh: Evidence) -> tuple[str, ...]:
    """Presets and protocols whose 95 % intervals in two runs do not meet; revisions that differ are skipped."""
    found = []
    for row in fresh.rows:
        old = committed.row(row.id)
        if old is None or old.revision != row.revision:
            continue
        for quality in row.quality:
            before = old.of(quality.protocol)
            if before is not None and not _overlap(before.ppl, quality.ppl):
                found.append(f"{row.id} {quality.protocol}: {_range(before.ppl)} committed, {_range(quality.ppl)} now")
    return tuple(found)


def _overlap(one: PplDelta, other: PplDelta) -> bool:
    return one.ci95_low_pct <= other.ci95_high_pct and other.ci95_low_pct <= one.ci95_high_pct


def _range(ppl: PplDelta) -> str:
    return f"[{ppl.ci95_low_pct:+.2f}, {ppl.ci95_high_pct:+.2f}] %"


def to_json(evidence: Evidence) -> str:
    """The evidence file: keys sorted, floats to six decimals, one final newline."""
    return json.dumps(_rounded(asdict(evidence)), sort_keys=True, indent=1) + "\n"


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, Mapping):
        return {str(name): _rounded(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return value


def from_json(text: str) -> Evidence:
    """Evidence from its file.

    Raises:
        ValueError: It is not an evidence file of this major version.
    """
    from pydantic import TypeAdapter

    tree = json.loads(text)
    version = str(tree.get("format_version", "")) if isinstance(tree, dict) else ""
    if version.split(".")[0] != FORMAT_VERSION.split(".")[0]:
        raise ValueError(f"evidence format {version!r} is not understood: this kvplan reads {FORMAT_VERSION}")
    return TypeAdapter(Evidence).validate_python(tree)
