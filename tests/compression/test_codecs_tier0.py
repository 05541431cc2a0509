"""Tier 0 of the codecs: bytes, errors, edges, determinism; and planted errors that it must find."""

from __future__ import annotations

import doctest
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import pytest

try:
    import torch
    from torch import Tensor

    from planner.compression.codecs import KvCodec, KvResult, codec_ids, kv_codec_ids, load_codec, load_kv_codec
    from planner.compression.codecs_checks import (
        check_bytes,
        check_eviction,
        check_monotone,
        check_round_trip,
        eviction_fingerprint,
        fingerprint,
        monotone_chains,
        sample,
        tier0,
    )
    from planner.compression.codecs_data import CODECS_FILE, EvictionRule, codec_spec
    from planner.compression.codecs_families import Affine, Lattice, Lloyd, Symmetric, TableCodec
    from planner.compression.hadamard import apply_rope
except ModuleNotFoundError as missing:
    if missing.name != "torch":
        raise
    pytest.skip("the codecs need torch: pip install 'kvplan[validate]'", allow_module_level=True)

ROOM = ("codecs", "codecs_checks", "codecs_families", "codecs_floats", "eviction", "hadamard", "lattice", "packing")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tests share two cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("codec_id", codec_ids())
def test_codec_passes_tier_0(codec_id: str) -> None:
    """Packed bytes to the byte, errors within half a step, zeros, constants, extremes, same bytes again."""
    assert tier0(load_codec(codec_id)) == []


@pytest.mark.parametrize("chain", monotone_chains(), ids=lambda chain: " > ".join(codec.spec.id for codec in chain))
def test_fewer_bits_err_more(chain: tuple[TableCodec, ...]) -> None:
    """8 bits are more exact than 4, 4 than 3, 3 than 2, on the same tensor."""
    assert check_monotone(chain) == []
    assert check_monotone(chain[::-1]) != []


@pytest.mark.parametrize("kv_id", kv_codec_ids())
@pytest.mark.parametrize("percent", [0, 35, 80])
def test_eviction_composes_with_every_preset(kv_id: str, percent: int) -> None:
    """Count, window, bytes and exact zeros in the attention weights, with and without eviction."""
    codec = load_kv_codec(kv_id)
    assert check_eviction(codec.with_eviction(EvictionRule(Fraction(percent, 100))) if percent else codec) == []


@pytest.mark.parametrize("codec_id", codec_ids())
def test_revision_is_the_fingerprint_of_the_arithmetic(codec_id: str) -> None:
    """Evidence is kept under the revision, so changed arithmetic must change it: write the new one into the file."""
    assert codec_spec(codec_id).revision == fingerprint(load_codec(codec_id)), CODECS_FILE.name


def test_eviction_revision_is_its_fingerprint() -> None:
    """Likewise for which tokens are kept."""
    assert f'eviction_revision: "{eviction_fingerprint()}"' in CODECS_FILE.read_text(encoding="utf-8")


@pytest.mark.parametrize("module", ROOM)
def test_examples_in_the_docstrings(module: str) -> None:
    """The examples of the torch modules are true."""
    failed, _ = doctest.testmod(importlib.import_module(f"planner.compression.{module}"))
    assert failed == 0


@dataclass(frozen=True)
class ScaleForgotten(Symmetric):
    """Decodes as if every scale were 1."""

    def _unpack(self, packed: Mapping[str, Tensor]) -> Tensor:
        return super()._unpack({**packed, "scale": torch.ones_like(packed["scale"])})


@dataclass(frozen=True)
class ZeroForgotten(Affine):
    """Decodes as if every group began at 0."""

    def _unpack(self, packed: Mapping[str, Tensor]) -> Tensor:
        return super()._unpack({**packed, "zero": torch.zeros_like(packed["zero"])})


@dataclass(frozen=True)
class NormForgotten(Lloyd):
    """Decodes directions without their length."""

    def _unpack(self, packed: Mapping[str, Tensor]) -> Tensor:
        return super()._unpack({**packed, "norm": torch.ones_like(packed["norm"])})


@dataclass(frozen=True)
class HighBitLost(Affine):
    """Loses the highest bit of every second 4-bit code."""

    def _pack(self, x: Tensor) -> dict[str, Tensor]:
        packed = super()._pack(x)
        return {**packed, "codes": packed["codes"] & 0x7F}


@dataclass(frozen=True)
class LowBitLost(Affine):
    """Loses the lowest bit of every second 4-bit code."""

    def _pack(self, x: Tensor) -> dict[str, Tensor]:
        packed = super()._pack(x)
        return {**packed, "codes": packed["codes"] & 0xFE}


@dataclass(frozen=True)
class RankBitLost(Lattice):
    """Loses one bit of one lattice rank in each vector."""

    def _pack(self, x: Tensor) -> dict[str, Tensor]:
        packed = super()._pack(x)
        codes = packed["codes"].clone()
        codes[..., 2] &= 0xFE
        return {**packed, "codes": codes}


@dataclass(frozen=True)
class NotPacked(Symmetric):
    """Stores 4-bit codes in whole bytes."""

    def _pack(self, x: Tensor) -> dict[str, Tensor]:
        packed = super()._pack(x)
        return {**packed, "unused": packed["codes"].clone()}


@pytest.mark.parametrize(
    ("broken", "codec_id"),
    [
        (ScaleForgotten, "int8-token-head"),
        (ScaleForgotten, "int4-hadamard"),
        (ZeroForgotten, "int4-affine"),
        (ZeroForgotten, "int2-group"),
        (NormForgotten, "lloyd4"),
        (HighBitLost, "int4-affine"),
        (LowBitLost, "int4-affine"),
        (RankBitLost, "e8-3bit"),
        (RankBitLost, "e8-2bit"),
    ],
)
def test_planted_error_is_found(broken: type[TableCodec], codec_id: str) -> None:
    """A forgotten scale, zero or norm and a lost bit show in the round trip, while the bytes still fit."""
    codec = broken(codec_spec(codec_id))
    assert check_bytes(codec) == []
    assert check_round_trip(codec) != []


def test_unpacked_codes_are_found() -> None:
    """A codec that does not really pack shows in the bytes, while the round trip is perfect."""
    codec = NotPacked(codec_spec("int4-hadamard"))
    assert check_round_trip(codec) == []
    assert check_bytes(codec) != []


@dataclass(frozen=True)
class MaskDropped(KvCodec):
    """Overwrites evicted tokens with zeros and forgets to mask them."""

    def apply(self, k: Tensor, v: Tensor, **rest: int | float) -> KvResult:
        result = super().apply(k, v, **rest)
        return replace(result, keep=torch.ones_like(result.keep))


@dataclass(frozen=True)
class WindowDropped(KvCodec):
    """Keeps the right number of tokens, but the wrong ones."""

    def keep_mask(self, key: Tensor) -> Tensor:
        return super().keep_mask(key).flip(0)


@pytest.mark.parametrize("kv_id", ["nexusquant-max", "evict-60"])
def test_dropped_mask_is_found(kv_id: str) -> None:
    """Zeroed keys still draw attention: both the count and the weights give it away."""
    codec = load_kv_codec(kv_id)
    found = check_eviction(MaskDropped(codec.spec, codec.key, codec.value, codec.plain))
    assert len(found) == 2
    assert any("still get attention" in what for what in found)
    assert check_eviction(WindowDropped(codec.spec, codec.key, codec.value, codec.plain)) != []


def test_wrong_formula_is_found() -> None:
    """A composition whose bytes are off by one byte a vector shows against the packed tensors."""
    codec = load_kv_codec("int8-per-token-head")
    narrow = replace(codec.spec.key, extra_bytes=3)
    assert check_eviction(replace(codec, spec=replace(codec.spec, key=narrow))) != []


def test_residual_and_skipped_layers_pass_through_16_bits() -> None:
    """KIVI's last 128 tokens and TurboQuant's first two layers come back as fp16, the rest does not."""
    k, v = sample(2, 300, 64), sample(2, 300, 64, seed=1)
    kivi = load_kv_codec("kivi-2bit").apply(k, v, layer=0, layers=4)
    assert torch.equal(kivi.k[:, -128:], k[:, -128:].half().float())
    assert not torch.allclose(kivi.v[:, :-128], v[:, :-128], atol=0.05)
    assert kivi.plain_bytes == 2 * 128 * 4 * 64
    turbo = load_kv_codec("turboquant-4bit-nc")
    assert torch.equal(turbo.apply(k, v, layer=1, layers=8).k, k.half().float())
    assert not torch.equal(turbo.apply(k, v, layer=2, layers=8).k, k.half().float())


def test_decoded_tokens_stay_16_bit_where_only_the_prefix_is_compressed() -> None:
    """Generated tokens are never evicted, cost 16 bits there, and the bytes are those of the formula."""
    codec = load_kv_codec("nexusquant-max")
    k, v = sample(2, 300, 64), sample(2, 300, 64, seed=1)
    result = codec.apply(k, v, layer=0, layers=1, rope_theta=1e5, decoded_tokens=40)
    assert result.keep[-40:].all()
    assert torch.equal(result.k[:, -40:], k[:, -40:].half().float())
    assert result.bytes == codec.spec.layer_bytes(2, 64, 260, 40)
    coded = load_kv_codec("fp8").apply(k, v, layer=0, layers=1, decoded_tokens=40)
    assert coded.plain_bytes == 0


def test_mask_of_the_scoring_layer_serves_all_layers() -> None:
    """A mask handed in is used as it is, over the prefix or over all tokens."""
    codec = load_kv_codec("nexusquant-high")
    k, v = sample(2, 200, 64), sample(2, 200, 64, seed=1)
    keep = codec.keep_mask(k)
    other = codec.apply(k.flip(1), v, layer=7, layers=30, rope_theta=1e5, keep=keep)
    assert torch.equal(other.keep, keep)
    assert other.bytes == codec.spec.layer_bytes(2, 64, 200)


def test_rope_theta_is_demanded() -> None:
    """A preset that codes keys without positions refuses to guess the model's rope_theta."""
    k = sample(1, 8, 64)
    with pytest.raises(ValueError, match="rope_theta was expected"):
        load_kv_codec("e8-k3v2").apply(k, k, layer=0, layers=1)


def test_keys_are_turned_back_by_their_own_positions() -> None:
    """The same key at every position is one lattice point once turned back; after eviction positions have gaps."""
    same = torch.ones(2, 150, 64)
    k = apply_rope(same, torch.arange(1000, 1150), 1e5)
    codec = load_kv_codec("nexusquant-balanced")
    result = codec.apply(k, same, layer=0, layers=1, rope_theta=1e5, first_position=1000)
    assert 0 < int(result.keep.sum()) < 150
    assert torch.allclose(result.k[:, result.keep], k[:, result.keep], atol=1e-4)
    wrong = codec.apply(k, same, layer=0, layers=1, rope_theta=1e4, first_position=1000)
    assert not torch.allclose(wrong.k[:, wrong.keep], k[:, wrong.keep], atol=1e-2)


def test_half_precision_input_comes_back_in_kind() -> None:
    """Rotations of 16-bit keys are done in float32, so the type does not add to the error."""
    k = sample(2, 100, 64).half()
    codec = load_kv_codec("e8-k3v2")
    low = codec.apply(k, k, layer=0, layers=1, rope_theta=1e5)
    high = codec.apply(k.float(), k.float(), layer=0, layers=1, rope_theta=1e5)
    assert low.k.dtype == torch.float16
    assert torch.equal(low.k, high.k.half())
