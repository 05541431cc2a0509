"""KV codecs in torch: real packed storage, and presets composed of them.

Only this file and its neighbors `codecs_*`, `eviction`, `hadamard`, `lattice`, `packing` and `validate*` know torch;
`codecs_data` (names, revisions, byte formulas) does not. A preset is measured by what `KvCodec.apply` hands back: K
and V as attention would see them after a round trip through packed tensors, which tokens are left, and the bytes of
those very tensors. Quality and bytes can therefore not come from different pipelines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from planner.compression.codecs_data import (
    CodecSpec,
    EvictionRule,
    Kind,
    KvSpec,
    codec_ids,
    codec_spec,
    kv_ids,
    kv_spec,
)
from planner.compression.codecs_families import codec_class
from planner.compression.eviction import attention_bias, keep_mask
from planner.compression.hadamard import apply_rope

__all__ = [
    "Codec",
    "KvCodec",
    "KvResult",
    "attention_bias",
    "codec_ids",
    "kv_codec_ids",
    "load_codec",
    "load_kv_codec",
    "packed_nbytes",
]


class Codec(Protocol):
    """Packs the K or V vectors of one layer and unpacks them again."""

    @property
    def name(self) -> str:
        """`id@revision`; the revision changes with the arithmetic."""

    @property
    def spec(self) -> CodecSpec:
        """What kind of codec it is."""

    def encode(self, x: Tensor, *, kind: Kind) -> dict[str, Tensor]:
        """Pack [heads, tokens, head_dim]."""

    def decode(self, packed: Mapping[str, Tensor], *, dtype: torch.dtype) -> Tensor:
        """Unpack to [heads, tokens, head_dim]."""

    def packed_bytes(self, heads: int, tokens: int, head_dim: int, kind: Kind) -> int:
        """What `packed_nbytes` of `encode` must be."""


@dataclass(frozen=True)
class KvResult:
    """K and V of one layer after a round trip, and what their packed form took.

    `k` and `v` have the shape and dtype of what went in; evicted tokens hold zeros and must be masked by
    `keep` (see `attention_bias`) or left out. `coded_bytes` are packed tensors, `plain_bytes` the tokens
    or layers that stay 16-bit.
    """

    k: Tensor
    v: Tensor
    keep: Tensor
    coded_bytes: int
    plain_bytes: int

    @property
    def bytes(self) -> int:
        """Bytes of this layer's K and V."""
        return self.coded_bytes + self.plain_bytes


@dataclass(frozen=True)
class KvCodec:
    """A preset that can be computed: codecs of K and V and the rules around them."""

    spec: KvSpec
    key: Codec
    value: Codec
    plain: Codec

    @property
    def name(self) -> str:
        """`id@revision`."""
        return self.spec.name

    def with_eviction(self, rule: EvictionRule) -> KvCodec:
        """The same with tokens evicted first."""
        return replace(self, spec=replace(self.spec, eviction=rule))

    def keep_mask(self, key: Tensor) -> Tensor:
        """Which tokens of a prefix stay, by the keys of the layer that scores; bool [tokens]."""
        if self.spec.eviction is None:
            return torch.ones(key.shape[-2], dtype=torch.bool)
        return keep_mask(key, self.spec.eviction)

    def apply(
        self,
        k: Tensor,
        v: Tensor,
        *,
        layer: int,
        layers: int,
        rope_theta: float | None = None,
        keep: Tensor | None = None,
        first_position: int = 0,
        decoded_tokens: int = 0,
    ) -> KvResult:
        """Send K and V of one layer through their packed form.

        Kept tokens are gathered; all but the last `residual_tokens` are packed and unpacked, the others
        go through 16 bits; then everything is put back in place.

        Args:
            k: [heads, tokens, head_dim], with rotary positions.
            v: [heads, tokens, head_dim].
            layer: Index of the layer; the first and last may stay 16-bit.
            layers: Layers of the model.
            rope_theta: The model's rope_theta; needed where the preset codes K without positions.
            keep: The mask to use, bool over the prefix or over all tokens; usually `keep_mask` of layer 0's
                keys. Without it, this layer's own keys decide.
            first_position: Position of the first token in its sequence.
            decoded_tokens: How many of the last tokens were generated after the prefix: never evicted, and
                16-bit where the preset compresses a prefix only.

        Raises:
            ValueError: The preset removes rotary positions and `rope_theta` is missing.
        """
        tokens = k.shape[-2]
        prefix = tokens - decoded_tokens
        keep = self.keep_mask(k[:, :prefix]) if keep is None else keep
        keep = torch.cat((keep, torch.ones(tokens - keep.shape[0], dtype=torch.bool)))
        places = keep.nonzero().squeeze(-1)
        kept_prefix = int(keep[:prefix].sum())
        coded = max(0, kept_prefix + (0 if self.spec.decoded_16bit else decoded_tokens) - self.spec.residual_tokens)
        if self.spec.is_plain(layer, layers):
            coded = 0
        positions = first_position + places[:coded]
        theta = self._theta(rope_theta)
        key_rows, key_coded, key_plain = self._round_trip(self.key, k[:, places], coded, "key", positions, theta)
        value_rows, value_coded, value_plain = self._round_trip(self.value, v[:, places], coded, "value", positions)
        return KvResult(
            k=torch.zeros_like(k).index_copy(1, places, key_rows),
            v=torch.zeros_like(v).index_copy(1, places, value_rows),
            keep=keep,
            coded_bytes=key_coded + value_coded,
            plain_bytes=key_plain + value_plain,
        )

    def _theta(self, rope_theta: float | None) -> float | None:
        if self.spec.rope_removed and rope_theta is None:
            raise ValueError(f"{self.spec.id} codes keys without rotary positions: rope_theta was expected")
        return rope_theta if self.spec.rope_removed else None

    def _round_trip(
        self, codec: Codec, x: Tensor, coded: int, kind: Kind, positions: Tensor, theta: float | None = None
    ) -> tuple[Tensor, int, int]:
        """(decoded, bytes of the first `coded` tokens, bytes of the rest)."""
        parts: list[Tensor] = []
        sizes = [0, 0]
        for place, (part, used) in enumerate(((x[:, :coded], codec), (x[:, coded:], self.plain))):
            if part.shape[1] == 0:
                continue
            turn = theta if place == 0 else None
            source = part if turn is None else apply_rope(part.to(torch.float32), positions, turn, back=True)
            packed = used.encode(source, kind=kind)
            sizes[place] = packed_nbytes(packed)
            decoded = used.decode(packed, dtype=torch.float32)
            parts.append(decoded if turn is None else apply_rope(decoded, positions, turn))
        return torch.cat(parts, dim=1).to(x.dtype), sizes[0], sizes[1]


def packed_nbytes(packed: Mapping[str, Tensor]) -> int:
    """Bytes of packed tensors; scalars of a layer lie with the weights and take nothing per token."""
    return sum(tensor.nbytes for tensor in packed.values() if tensor.dim() > 0)


def load_codec(codec_id: str) -> Codec:
    """One codec by id.

    >>> load_codec("int4-affine").packed_bytes(8, 1, 128, "value")
    544
    """
    spec = codec_spec(codec_id)
    return codec_class(spec.family)(spec)


def kv_codec_ids() -> tuple[str, ...]:
    """All presets that can be computed."""
    return kv_ids()


def load_kv_codec(kv_id: str) -> KvCodec:
    """One computed preset by id.

    >>> k = v = torch.ones(1, 2, 64)
    >>> load_kv_codec("fp8").apply(k, v, layer=0, layers=1).bytes
    256
    """
    spec = kv_spec(kv_id)
    return KvCodec(spec, load_codec(spec.key.id), load_codec(spec.value.id), load_codec("fp16"))
