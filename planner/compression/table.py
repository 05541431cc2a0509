"""The preset table: how KV presets are stored, where they run, what they claim, what is known of them.

Two things are kept apart. The *ratio* is settled by bytes: a preset's storage says how many bytes one K
and one V vector take, packed tensors say whether that is so, and the ratio that its authors declare is only
a claim to check against both (`ratio_status`). The *quality* is a list of rows that others published or that
were measured here, each with its own metric, model and source; what a row may be used for is decided in
`policy`. What evidence says of a row stands in `Preset.standing`, attached when the table is loaded.

Planning never uses a scalar ratio: memory works from `Preset.storage`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Literal

from planner.catalog.types import BF16_KV, KvStorage
from planner.compression.names import preset_name

if TYPE_CHECKING:
    from planner.compression.evidence import Protocol
    from planner.compression.standing import Standing

Metric = Literal["accuracy_drop", "ppl_increase"]
EvidenceKind = Literal["published_by_engine", "published", "measured", "proxy"]
RatioStatus = Literal["confirmed", "mismatch", "superseded", "unconfirmed"]
Residency = Literal["gpu", "at_rest"]

RATIO_TOLERANCE = Fraction(2, 100)
"""How far a declared ratio may be from the bytes, relative to the declared value."""


@dataclass(frozen=True)
class Claim:
    """The ratio to 16-bit KV that the authors declare, and for which head size.

    `not_comparable` says why the claim is about something else than KV bytes (empty when it is about KV
    bytes); `superseded_by` says what replaced it (empty when it stands).
    """

    ratio: Fraction
    head_dim: int
    source: str
    not_comparable: str = ""
    superseded_by: str = ""


@dataclass(frozen=True)
class QualityRow:
    """One published or measured loss against 16-bit KV, relative, in ppm, never below 0.

    `noise_ppm` is the smallest relative difference that the source says it can tell, 0 where it states
    none. `within_noise` marks a difference that the source itself puts inside its own spread without
    giving the spread as a number: such a row is shown, but neither meets nor breaks a floor.
    `upper_bound` marks figures like "more than 98 % recovered", where the true loss is smaller. `protocol`,
    `prefix_tokens` and `weights_sha256` say how a perplexity was measured, where the source does.
    """

    metric: Metric
    value_ppm: int
    model: str
    task: str
    kind: EvidenceKind
    source: str
    figures: str
    samples: int | None = None
    noise_ppm: int = 0
    within_noise: bool = False
    upper_bound: bool = False
    protocol: Protocol | None = None
    prefix_tokens: int | None = None
    weights_sha256: str = ""

    @property
    def counted_ppm(self) -> int:
        """The loss that this row vouches for: a score cannot certify a smaller loss than its own noise."""
        return max(self.value_ppm, self.noise_ppm)


@dataclass(frozen=True)
class GpuGate:
    """Which GPUs can run a preset. Compute capabilities are NVIDIA's; other vendors go by name only.

    From `min_capability` up and below `below_capability` it runs; under `native_capability` only
    standard attention with a head size of `emulated_head_dims` does, and its speed there is not
    measured. "" means no such bound.
    """

    vendors: tuple[str, ...]
    min_capability: str = ""
    below_capability: str = ""
    native_capability: str = ""
    emulated_head_dims: tuple[int, ...] = ()
    source: str = ""


@dataclass(frozen=True)
class EngineSupport:
    """How one engine runs a preset: the value of its KV dtype flag, the first release (0: any), its speed.

    `decode_time_factor` multiplies the time of a decode step against 16-bit KV at the same batch; None
    is unknown.
    """

    engine: str
    flag: str
    min_version: str
    source: str
    decode_time_factor: Fraction | None = None
    decode_time_source: str = ""


@dataclass(frozen=True)
class Preset:
    """One row of the table: a codec at a version. `storage` is what lies on the GPU, 16-bit if unpacked."""

    id: str
    version: str
    title: str
    storage: KvStorage
    layout_known: bool
    residency: Residency
    supports: tuple[EngineSupport, ...]
    gpu: GpuGate
    claim: Claim
    ratio_evidence: str
    quality: tuple[QualityRow, ...]
    evicts: bool = False
    recall_measured: bool = False
    mla: bool = True
    windows: bool = True
    attention_source: str = ""
    weights_excluded: tuple[str, ...] = ()
    weights_source: str = ""
    cautions: tuple[str, ...] = ()
    head_dim_cautions: tuple[tuple[int, str], ...] = ()
    codec: str = ""
    """The composition of `codecs.yaml` that computes it; "" where nothing does."""
    standing: Standing | None = None
    """What the committed evidence says; None for a row that was not loaded with it."""

    @property
    def name(self) -> str:
        """`id@version`, the name that `compression.allow` takes."""
        return preset_name(self.id, self.version)

    @property
    def kv_dtype(self) -> dict[str, str]:
        """Engine -> value of its KV dtype flag."""
        return {support.engine: support.flag for support in self.supports}

    @property
    def engines(self) -> dict[str, str]:
        """Engine -> first release that has the preset."""
        return {support.engine: support.min_version for support in self.supports}

    @property
    def decode_time_factor(self) -> dict[str, Fraction | None]:
        """Engine -> published decode time against 16-bit KV, None where nobody published it."""
        return {support.engine: support.decode_time_factor for support in self.supports}

    @property
    def is_identity(self) -> bool:
        """Whether it is plain 16-bit KV: no loss, on every engine and GPU."""
        return self.layout_known and self.residency == "gpu" and self.storage == BF16_KV

    @property
    def ratio_status(self) -> RatioStatus:
        """What the bytes say about the claim; always derived, never typed in.

        A layout on the GPU must first give the declared ratio by its formula; then packed tensors must have
        taken the bytes of that formula, with the codec as it is now.
        """
        stated = derive_ratio_status(self.claim, self.storage if self.layout_known else None)
        if self.standing is None or self.is_identity or stated == "superseded":
            return stated
        if self.residency == "gpu" and stated != "confirmed":
            return stated
        return self.standing.ratio_status

    def support(self, engine: str) -> EngineSupport | None:
        """How `engine` runs it, or None."""
        return next((support for support in self.supports if support.engine == engine), None)


def bytes_per_vector(storage: KvStorage, head_dim: int, v_head_dim: int | None = None) -> tuple[int, int]:
    """Bytes of one K and of one V vector of one head and token.

    ceil(d * bits / 8) + ceil(d / group) * scale_bytes (group 0: none) + vector_bytes, for K and V each.
    Source: vLLM 0.33 `kv_cache_interface.py` (per-token-head: one fp32 scale a vector; NVFP4: one fp8
    scale per 16).

    Args:
        storage: How the preset stores a vector.
        head_dim: Elements of a K vector.
        v_head_dim: Elements of a V vector where the model's differ.

    Returns:
        (K bytes, V bytes).

    >>> bytes_per_vector(KvStorage(k_bits=4, v_bits=4, group=16, scale_bytes=1), 128)  # NVFP4
    (72, 72)
    >>> bytes_per_vector(KvStorage(k_bits=8, v_bits=8, vector_bytes=4), 128)  # int8-per-token-head
    (132, 132)
    """
    k_bytes = _vector_bytes(storage, storage.k_bits, head_dim)
    v_bytes = _vector_bytes(storage, storage.v_bits, head_dim if v_head_dim is None else v_head_dim)
    return k_bytes, v_bytes


def _vector_bytes(storage: KvStorage, bits: int, elements: int) -> int:
    groups = -(-elements // storage.group) if storage.group else 0
    return -(-elements * bits // 8) + groups * storage.scale_bytes + storage.vector_bytes


def layout_ratio(storage: KvStorage, head_dim: int) -> Fraction:
    """Bytes of a 16-bit K and V vector over the preset's bytes, of a layer that is compressed.

    >>> float(layout_ratio(KvStorage(k_bits=8, v_bits=8), 128))
    2.0
    """
    return Fraction(sum(bytes_per_vector(BF16_KV, head_dim)), sum(bytes_per_vector(storage, head_dim)))


def derive_ratio_status(claim: Claim, storage: KvStorage | None) -> RatioStatus:
    """Compare a declared ratio with the bytes at the head size of the claim; None is a layout nobody
    knows.

    confirmed iff |bytes ratio - declared| <= 2 % of the declared ratio, in exact fractions.
    """
    if claim.superseded_by:
        return "superseded"
    if storage is None or claim.not_comparable:
        return "unconfirmed"
    gap = abs(layout_ratio(storage, claim.head_dim) - claim.ratio)
    return "confirmed" if gap <= RATIO_TOLERANCE * claim.ratio else "mismatch"


def load_presets() -> dict[str, Preset]:
    """The preset table of this kvplan, id -> preset, in the order of `presets.yaml`; validated, read once.

    Every row carries what the committed evidence says of it.
    """
    return {preset.id: preset for preset in _presets()}


def preset_ids() -> tuple[str, ...]:
    """All preset ids, in the order of the table."""
    return tuple(preset.id for preset in _presets())


def preset_names() -> tuple[str, ...]:
    """All `id@version`, the names that `compression.allow` may hold."""
    return tuple(preset.name for preset in _presets())


@cache
def _presets() -> tuple[Preset, ...]:
    from planner.compression.reading import read_presets
    from planner.compression.standing import committed_evidence, with_standing

    committed = committed_evidence()
    return tuple(with_standing(preset, committed) for preset in read_presets())
