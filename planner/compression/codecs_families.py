"""The arithmetic of the codecs: one class per family, each with real packed storage.

Shapes: `encode` takes [heads, tokens, head_dim] and gives named tensors whose first two dimensions are heads
and tokens (family channel: heads and groups of tokens for its scales). Where a codec has a scale, it
quantizes with the scale as stored, so encoder and decoder agree to the bit. A zero vector has scale 0 and
codes 0. Scales that 16 bits cannot hold saturate: then the result is clipped, but finite.

A tensor without dimensions is a scalar of the layer: engines keep it with the weights, it takes nothing per
token.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from planner.compression.codecs_data import CodecSpec, Family, Kind, check_head_dim
from planner.compression.codecs_floats import (
    E2M1_MAX,
    E4M3_MAX,
    HALF_MAX,
    lloyd_max,
    nearest_e2m1,
    nearest_level,
    power_of_two_above,
    saturated,
    value_of_e2m1,
)
from planner.compression.hadamard import rotate, rotate_back
from planner.compression.lattice import nearest_points, point, rank
from planner.compression.packing import pack_codes, pack_words, split_last, unpack_codes, unpack_words

Packed = Mapping[str, Tensor]


@dataclass(frozen=True)
class TableCodec:
    """A codec of `codecs.yaml`. Families override `_pack` and `_unpack`; both work in float32."""

    spec: CodecSpec

    @property
    def name(self) -> str:
        """`id@revision`."""
        return self.spec.name

    @property
    def bits(self) -> int:
        """Nominal bits of an element, without scales."""
        return self.spec.bits

    def encode(self, x: Tensor, *, kind: Kind) -> dict[str, Tensor]:
        """Pack [heads, tokens, head_dim] into real tensors; sub-byte codes share bytes."""
        del kind  # every codec of the table treats K and V alike; which one codes K is the preset's choice
        check_head_dim(x.shape[-1])
        return self._pack(rotate(x.to(torch.float32), self.spec.rotation))

    def decode(self, packed: Packed, *, dtype: torch.dtype) -> Tensor:
        """[heads, tokens, head_dim] as an attention kernel would see it."""
        return rotate_back(self._unpack(packed), self.spec.rotation).to(dtype)

    def packed_bytes(self, heads: int, tokens: int, head_dim: int, kind: Kind) -> int:
        """Bytes of all tensors of `encode`, but for scalars of the layer."""
        del kind
        return self.spec.packed_bytes(heads, tokens, head_dim)

    def _pack(self, x: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError

    def _unpack(self, packed: Packed) -> Tensor:
        raise NotImplementedError


class Cast(TableCodec):
    """A float type as it is: 16-bit, or fp8 with scale 1 and saturation."""

    def _pack(self, x: Tensor) -> dict[str, Tensor]:
        types = {
            "fp16": torch.float16,
            "bf16": torch.bfloat16,
            "fp8-e4m3": torch.float8_e4m3fn,
            "fp8-e5m2": torch.float8_e5m2,
        }
        return {"codes": saturated(x, types[self.spec.id])}

    def _unpack(self, packed: Packed) -> Tensor:
        return packed["codes"].to(torch.float32)


class Float8(TableCodec):
    """fp8 e4m3 with one fp32 scale per vector: amax / 448."""

    def _pack(self, x: Tensor) -> dict[str, Tensor]:
        scale = x.abs().amax(dim=-1, keepdim=True) / E4M3_MAX
        return {"codes": saturated(_over(x, scale), torch.float8_e4m3fn), "scale": scale}

    def _unpack(self, packed: Packed) -> Tensor:
        return packed["codes"].to(torch.float32) * packed["scale"]


class Symmetric(TableCodec):
    """Signed integers of one scale per vector: amax / (2^(bits - 1) - 1), fp32 or fp16 by its bytes."""

    @property
    def largest(self) -> int:
        """Largest code; the smallest is its negative."""
        return (1 << (self.spec.bits - 1)) - 1

    def _pack(self, x: Tensor) -> dict[str, Tensor]:
        scale_type = torch.float32 if self.spec.extra_bytes == 4 else torch.float16
        scale = saturated(x.abs().amax(dim=-1, keepdim=True) / self.largest, scale_type)
        codes = _over(x, scale.to(torch.float32)).round().clamp(-self.largest, self.largest)
        return {"codes": pack_codes(codes + self.largest, self.spec.bits), "scale": scale}

    def _unpack(self, packed: Packed) -> Tensor:
        codes = unpack_codes(packed["codes"], self.spec.bits).to(torch.float32) - self.largest
        return codes * packed["scale"].to(torch.float32)


class Affine(TableCodec):
    """Unsigned integers between the smallest and the largest element of a group, fp16 scale and zero."""

    def _pack(self, x: Tensor) -> dict[str, Tensor]:
        check_groups(x.shape[-1], self.spec.group)
        groups = split_last(x, self.spec.group or x.shape[-1])
        codes, scale, zero = _affine(groups, self.spec.bits)
        return {"codes": pack_codes(codes.flatten(-2), self.spec.bits), "scale": scale, "zero": zero}

    def _unpack(self, packed: Packed) -> Tensor:
        codes = unpack_codes(packed["codes"], self.spec.bits).to(torch.float32)
        groups = split_last(codes, codes.shape[-1] // packed["scale"].shape[-2])
        return (groups * packed["scale"].to(torch.float32) + packed["zero"].to(torch.float32)).flatten(-2)


class Channel(TableCodec):
    """As `Affine`, but a group is one channel over `group` consecutive tokens; the last group may be short."""

    def _pack(self, x: Tensor) -> dict[str, Tensor]:
        tokens = x.shape[-2]
        missing = -tokens % self.spec.group
        if missing:  # repeat the last token: it widens no group's range
            x = torch.cat((x, x[:, -1:].expand(-1, missing, -1)), dim=-2)
        groups = x.reshape(x.shape[0], -1, self.spec.group, x.shape[-1]).transpose(-1, -2)
        codes, scale, zero = _affine(groups, self.spec.bits)
        codes = codes.transpose(-1, -2).flatten(-3, -2)[:, :tokens]
        packed = pack_codes(codes, self.spec.bits).clone()
        return {"codes": packed, "scale": scale.squeeze(-1), "zero": zero.squeeze(-1)}

    def _unpack(self, packed: Packed) -> Tensor:
        codes = unpack_codes(packed["codes"], self.spec.bits).to(torch.float32)
        group_of_token = torch.arange(codes.shape[-2]) // self.spec.group
        scale, zero = (packed[name].to(torch.float32)[:, group_of_token] for name in ("scale", "zero"))
        return codes * scale + zero


class ZeroInScale(TableCodec):
    """Unsigned 4-bit codes, a 4-bit zero point, and an fp32 scale that carries it in its lowest bits."""

    def _pack(self, x: Tensor) -> dict[str, Tensor]:
        largest = (1 << self.spec.bits) - 1
        low = x.amin(dim=-1, keepdim=True).clamp_max(0)  # 0 is always within the range, so the zero point fits
        high = x.amax(dim=-1, keepdim=True).clamp_min(0)
        plain_scale = (high - low) / largest
        zero = _over(-low, plain_scale).round().clamp(0, largest)
        scale_bits = (plain_scale.view(torch.int32) & ~largest) | zero.to(torch.int32)
        scale = torch.where(plain_scale > 0, scale_bits, 0).view(torch.float32)
        codes = (_over(x, scale).round() + zero).clamp(0, largest)
        return {"codes": pack_codes(codes, self.spec.bits), "scale": scale}

    def _unpack(self, packed: Packed) -> Tensor:
        scale = packed["scale"]
        zero = (scale.view(torch.int32) & ((1 << self.spec.bits) - 1)).to(torch.float32)
        return (unpack_codes(packed["codes"], self.spec.bits).to(torch.float32) - zero) * scale


class Fp4(TableCodec):
    """fp4 e2m1 with one byte of scale per group: e4m3 under an fp32 scale of the tensor, or a power of two."""

    def _pack(self, x: Tensor) -> dict[str, Tensor]:
        check_groups(x.shape[-1], self.spec.group)
        groups = split_last(x, self.spec.group)
        wanted = groups.abs().amax(dim=-1, keepdim=True) / E2M1_MAX
        packed: dict[str, Tensor] = {}
        if self.spec.family == "fp4_e4m3":
            packed["tensor_scale"] = (wanted.amax() / E4M3_MAX).clamp_min(torch.finfo(torch.float32).tiny)
            packed["scale"] = saturated(wanted / packed["tensor_scale"], torch.float8_e4m3fn)
        else:
            packed["scale"] = power_of_two_above(wanted)
        codes = nearest_e2m1(_over(groups, self._scale(packed)))
        return {"codes": pack_codes(codes.flatten(-2), 4), **packed}

    def _unpack(self, packed: Packed) -> Tensor:
        values = split_last(value_of_e2m1(unpack_codes(packed["codes"], 4)), self.spec.group)
        return (values * self._scale(packed)).flatten(-2)

    def _scale(self, packed: Packed) -> Tensor:
        if self.spec.family == "fp4_e4m3":
            return packed["scale"].to(torch.float32) * packed["tensor_scale"]
        return torch.exp2(packed["scale"].to(torch.float32) - 127)


class Lloyd(TableCodec):
    """Lloyd-Max levels of a normal distribution for the direction of a rotated vector, fp16 for its length.

    After rotation the coordinates of a unit vector are close to normal with variance 1 / head_dim. The
    decoded direction is scaled back to unit length (norm correction).
    """

    def _pack(self, x: Tensor) -> dict[str, Tensor]:
        norm = _length(x)
        codes = nearest_level(_over(x, norm) * math.sqrt(x.shape[-1]), lloyd_max(self.spec.bits))
        return {"codes": pack_codes(codes, self.spec.bits), "norm": saturated(norm, torch.float16)}

    def _unpack(self, packed: Packed) -> Tensor:
        codes = unpack_codes(packed["codes"], self.spec.bits).to(torch.int32)
        direction = torch.tensor(lloyd_max(self.spec.bits))[codes]
        length = _length(direction)
        return direction * (packed["norm"].to(torch.float32) / length)


class Lattice(TableCodec):
    """Groups of eight rotated elements as ranks of lattice points; one fp16 scale per vector."""

    def _pack(self, x: Tensor) -> dict[str, Tensor]:
        levels = 1 << self.spec.bits
        scale = saturated(x.abs().amax(dim=-1, keepdim=True) / (levels / 2), torch.float16)
        points = nearest_points(split_last(_over(x, scale.to(torch.float32)), 8), levels)
        return {"codes": pack_words(rank(points, levels), self.spec.block_bits), "scale": scale}

    def _unpack(self, packed: Packed) -> Tensor:
        points = point(unpack_words(packed["codes"], self.spec.block_bits), 1 << self.spec.bits)
        return points.flatten(-2) * packed["scale"].to(torch.float32)


def codec_class(family: Family) -> type[TableCodec]:
    """The class of a family."""
    classes: dict[Family, type[TableCodec]] = {
        "cast": Cast,
        "float8": Float8,
        "symmetric": Symmetric,
        "affine": Affine,
        "channel": Channel,
        "zero_in_scale": ZeroInScale,
        "fp4_e4m3": Fp4,
        "fp4_e8m0": Fp4,
        "lloyd": Lloyd,
        "lattice": Lattice,
    }
    return classes[family]


def check_groups(head_dim: int, group: int) -> None:
    """Refuse head sizes that do not divide into the groups of a codec.

    Raises:
        ValueError: `head_dim` is no multiple of `group`.
    """
    if group and head_dim % group:
        raise ValueError(f"head_dim {head_dim}: a multiple of the group size {group} was expected")


def _affine(groups: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """(codes, fp16 scale, fp16 zero) of groups that lie in the last dimension."""
    largest = (1 << bits) - 1
    groups = groups.clamp(-HALF_MAX, HALF_MAX)
    low, high = groups.amin(dim=-1, keepdim=True), groups.amax(dim=-1, keepdim=True)
    scale, zero = saturated((high - low) / largest, torch.float16), saturated(low, torch.float16)
    codes = _over(groups - zero.to(torch.float32), scale.to(torch.float32)).round().clamp(0, largest)
    return codes, scale, zero


def _length(x: Tensor) -> Tensor:
    """Euclidean length of each vector; summed in float64, so that the order of the sum cannot show."""
    return x.to(torch.float64).square().sum(dim=-1, keepdim=True).sqrt().to(torch.float32)


def _over(x: Tensor, scale: Tensor) -> Tensor:
    """x / scale, and 0 where the scale is 0."""
    return torch.where(scale > 0, x / torch.where(scale > 0, scale, 1.0), 0.0)
