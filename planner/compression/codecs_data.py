"""What the codecs and the presets composed of them are: data and integer bytes, without torch.

`codecs.yaml` names the arithmetic of every codec and its revision; the arithmetic itself is in
`codecs_families`. The byte formulas here are what the planner and the reports may use where torch is not
installed; the tests hold them against `nbytes` of packed tensors, to the byte.
"""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Literal

Family = Literal[
    "cast", "float8", "symmetric", "affine", "zero_in_scale", "channel", "fp4_e4m3", "fp4_e8m0", "lloyd", "lattice"
]
Rotation = Literal["none", "hadamard", "signed"]
Kind = Literal["key", "value"]

CODECS_FILE = Path(__file__).with_name("codecs.yaml")
ELEMENTS_PER_BLOCK = 8
"""Head sizes are multiples of this, so that codes of any width end on a whole byte; it is E8's dimension."""


@dataclass(frozen=True)
class CodecSpec:
    """One codec: how the elements of a K or V vector become bits. Field meanings are at the top of the file."""

    id: str
    revision: str
    family: Family
    bits: int
    source: str
    group: int = 0
    extra_bytes: int = 0
    rotation: Rotation = "none"

    @property
    def name(self) -> str:
        """`id@revision`, the key under which evidence about it is kept."""
        return f"{self.id}@{self.revision}"

    @property
    def block_bits(self) -> int:
        """Bits of eight elements: 8 * bits, but for a lattice the bits of a point's rank.

        >>> codec_spec("e8-3bit").block_bits, codec_spec("int4-affine").block_bits
        (26, 32)
        """
        if self.family == "lattice":
            return (lattice_points(1 << self.bits) - 1).bit_length()
        return ELEMENTS_PER_BLOCK * self.bits

    def packed_bytes(self, heads: int, tokens: int, head_dim: int, *, nominal: bool = False) -> int:
        """Bytes of `tokens` vectors of `heads` heads.

        heads * (tokens * ceil(head_dim / 8 * block_bits / 8) + scales), with scales = tokens *
        ceil(head_dim / group) * extra_bytes, or head_dim * ceil(tokens / group) * extra_bytes where a
        channel shares them. One scale per layer or tensor lies with the weights and is not counted.

        Args:
            heads: KV heads.
            tokens: Vectors per head.
            head_dim: Elements of a vector, a multiple of 8.
            nominal: Count a lattice point with `bits` per element, as its authors do, not by its rank.

        >>> codec_spec("nvfp4").packed_bytes(1, 1, 128)
        72
        >>> codec_spec("int2-channel").packed_bytes(8, 128, 128)  # 2 bits and 32 per 32: 3 an element
        49152
        """
        blocks = check_head_dim(head_dim) // ELEMENTS_PER_BLOCK
        block_bits = ELEMENTS_PER_BLOCK * self.bits if nominal else self.block_bits
        codes = tokens * -(-blocks * block_bits // 8)
        if self.family == "channel":
            scales = head_dim * -(-tokens // self.group) * self.extra_bytes
        else:
            scales = tokens * -(-head_dim // (self.group or head_dim)) * self.extra_bytes
        return heads * (codes + scales)


@dataclass(frozen=True)
class EvictionRule:
    """Which tokens of a prefix are dropped: all but the first `sink`, the last `recent` and the best scored."""

    rate: Fraction
    sink: int = 1
    recent: int = 32

    def kept_tokens(self, tokens: int) -> int:
        """Tokens of a prefix that stay.

        min(S, recent + sink + floor(max(0, S - recent) * (1 - rate))), and S at rate 0.
        Source: read from nexusquant-kv 0.6.3 `_build_keep_mask` (sink 1, recent 32).

        >>> EvictionRule(Fraction(35, 100)).kept_tokens(1024)  # 32 + 1 + floor(992 * 0.65)
        677
        """
        if self.rate == 0:
            return tokens
        scored = max(0, tokens - self.recent) * (1 - self.rate)
        return min(tokens, self.recent + self.sink + scored.numerator // scored.denominator)


@dataclass(frozen=True)
class KvSpec:
    """A preset as it is computed: codecs of K and V, what stays 16-bit, what is dropped."""

    id: str
    key: CodecSpec
    value: CodecSpec
    preset: str = ""
    residual_tokens: int = 0
    skip_first: int = 0
    skip_last: int = 0
    rope_removed: bool = False
    decoded_16bit: bool = False
    eviction: EvictionRule | None = None

    @property
    def revision(self) -> str:
        """Fingerprint of the codecs' revisions and of everything else that changes the result."""
        whole = repr((self.key.name, self.value.name, *astuple(self)[4:], _eviction_revision()))
        return hashlib.sha256(whole.encode()).hexdigest()[:8]

    @property
    def name(self) -> str:
        """`id@revision`."""
        return f"{self.id}@{self.revision}"

    def is_plain(self, layer: int, layers: int) -> bool:
        """Whether a layer stays 16-bit."""
        return layer < self.skip_first or layer >= layers - self.skip_last

    def kept_tokens(self, prefix_tokens: int) -> int:
        """Tokens of a prefix that are not evicted."""
        return self.eviction.kept_tokens(prefix_tokens) if self.eviction else prefix_tokens

    def coded_tokens(self, prefix_tokens: int, decoded_tokens: int = 0) -> int:
        """Tokens of a compressed layer that are coded; the rest of the kept ones stay 16-bit.

        max(0, kept(S) + T - residual), without T where decoded tokens stay 16-bit.
        """
        decoded = 0 if self.decoded_16bit else decoded_tokens
        return max(0, self.kept_tokens(prefix_tokens) + decoded - self.residual_tokens)

    def layer_bytes(
        self,
        heads: int,
        head_dim: int,
        prefix_tokens: int,
        decoded_tokens: int = 0,
        *,
        plain: bool = False,
        nominal: bool = False,
    ) -> int:
        """Bytes of K and V of one sequence in one layer.

        heads * (coded tokens * (K + V bytes) + other kept tokens * 4 * head_dim).

        >>> kv_spec("fp8").layer_bytes(8, 128, 1000)  # Llama-3.1-8B: a layer of 1000 tokens
        2048000
        """
        whole = self.kept_tokens(prefix_tokens) + decoded_tokens
        coded = 0 if plain else self.coded_tokens(prefix_tokens, decoded_tokens)
        packed = sum(codec.packed_bytes(heads, coded, head_dim, nominal=nominal) for codec in (self.key, self.value))
        return packed + (whole - coded) * heads * 4 * head_dim

    def sequence_bytes(
        self,
        layers: int,
        heads: int,
        head_dim: int,
        prefix_tokens: int,
        decoded_tokens: int = 0,
        *,
        nominal: bool = False,
    ) -> int:
        """Bytes of K and V of one sequence over all layers; see `layer_bytes`.

        Args:
            layers: Layers that hold KV.
            heads: KV heads.
            head_dim: Elements of a K and of a V vector.
            prefix_tokens: Tokens of the prompt, before eviction.
            decoded_tokens: Tokens generated after it; never evicted.
            nominal: Lattice points by their nominal bits.

        >>> spec = kv_spec("nexusquant-max")
        >>> plain = kv_spec("fp16").sequence_bytes(80, 8, 128, 4096, 1024)
        >>> f"{plain / spec.sequence_bytes(80, 8, 128, 4096, 1024, nominal=True):.1f}"  # "33x", really
        '4.5'
        """
        skipped = sum(self.is_plain(layer, layers) for layer in range(layers))
        shape = (heads, head_dim, prefix_tokens, decoded_tokens)
        coded = self.layer_bytes(*shape, nominal=nominal)
        return (layers - skipped) * coded + skipped * self.layer_bytes(*shape, plain=True)


def lattice_points(levels: int) -> int:
    """Points that the clamped lattice codec can choose from in eight dimensions.

    Integer points of [-levels/2, levels/2] with an even sum, ((levels + 1)^8 + 1) / 2, and half-integer
    points inside, levels^8.

    >>> lattice_points(4)  # 18 bits
    260849
    """
    return whole_points(levels) + int(levels**ELEMENTS_PER_BLOCK)


def whole_points(levels: int) -> int:
    """The integer points among them.

    >>> whole_points(4)
    195313
    """
    return int((levels + 1) ** ELEMENTS_PER_BLOCK + 1) // 2


def check_head_dim(head_dim: int) -> int:
    """The head size, if the codecs can pack it.

    Raises:
        ValueError: It is not a multiple of 8; no model of the catalog has such a size.
    """
    if head_dim <= 0 or head_dim % ELEMENTS_PER_BLOCK:
        raise ValueError(f"head_dim {head_dim}: a multiple of {ELEMENTS_PER_BLOCK} was expected")
    return head_dim


def codec_ids() -> tuple[str, ...]:
    """All codecs, in the order of the file."""
    return tuple(_codecs())


def codec_spec(codec_id: str) -> CodecSpec:
    """One codec by id."""
    return _codecs()[codec_id]


def kv_ids() -> tuple[str, ...]:
    """All presets that can be computed, in the order of the file."""
    return tuple(_presets())


def kv_spec(kv_id: str) -> KvSpec:
    """One computed preset by id."""
    return _presets()[kv_id]


@dataclass(frozen=True)
class _CodecsFile:
    """The file as parsed; unknown or missing keys of a row fail in the records' constructors."""

    eviction_revision: str
    codecs: list[dict[str, Any]]
    presets: list[dict[str, Any]]


@cache
def _file() -> _CodecsFile:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return _CodecsFile(**yaml.load(CODECS_FILE.read_text(encoding="utf-8"), Loader=loader))  # noqa: S506 (a safe loader)


def _eviction_revision() -> str:
    return _file().eviction_revision


@cache
def _codecs() -> dict[str, CodecSpec]:
    specs = [CodecSpec(**row) for row in _file().codecs]
    return {spec.id: spec for spec in specs}


@cache
def _presets() -> dict[str, KvSpec]:
    specs = [_kv_spec(dict(row)) for row in _file().presets]
    return {spec.id: spec for spec in specs}


def _kv_spec(row: dict[str, Any]) -> KvSpec:
    key, value = (_codecs()[row.pop(name)] for name in ("key", "value"))
    percent = Fraction(row.pop("evict", "0"))
    rope = row.pop("rope", "kept")
    if rope not in ("kept", "removed"):
        raise ValueError(f"{CODECS_FILE.name}: rope: {rope!r}; kept or removed was expected")
    eviction = EvictionRule(percent / 100) if percent else None
    return KvSpec(key=key, value=value, rope_removed=rope == "removed", eviction=eviction, **row)
