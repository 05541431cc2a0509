"""The package nexusquant-kv 0.6.3 beside the codecs that are written from its description.

Runs only where that package is installed (`pip install --no-deps nexusquant-kv==0.6.3 zstandard`): it is a cross-check,
never a dependency.
"""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from importlib import metadata

import pytest

VERSION = "0.6.3"


def _installed() -> str:
    try:
        return metadata.version("nexusquant-kv")
    except metadata.PackageNotFoundError:
        return ""


if importlib.util.find_spec("torch") is None or _installed() != VERSION:
    pytest.skip(f"the cross-check needs torch and nexusquant-kv=={VERSION}", allow_module_level=True)
else:
    import torch
    from nexusquant.integrations.huggingface import _EVICT_PRESETS
    from nexusquant.pipeline import NexusQuantEvict, NexusQuantQuantOnly

    from planner.compression.codecs import load_kv_codec
    from planner.compression.codecs_checks import sample
    from planner.compression.codecs_data import EvictionRule, kv_spec
    from planner.compression.eviction import importance, keep_mask

ROPE_THETA = 1e5
MSE_TOLERANCE = 0.02
"""Relative. The package keeps fp32 scales, which it does not store, and lets half-integer points reach the clamp."""


def _package(k: torch.Tensor, v: torch.Tensor, key_bits: int) -> tuple[torch.Tensor, torch.Tensor, int]:
    """(K, V, bytes of the cache at run time) after the package's quantization without eviction."""
    cache = ((k[None].half().clone(), v[None].half().clone()),)
    compressor = NexusQuantQuantOnly(key_bits=key_bits, value_bits=2, rope_base=ROPE_THETA)
    ((key, value),) = _layers(compressor.compress(_Cache(cache)))
    return key[0].float(), value[0].float(), key.nbytes + value.nbytes


class _Layer:
    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        self.keys, self.values = keys, values


class _Cache:
    """As much of a transformers 5 DynamicCache as the package touches."""

    def __init__(self, layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]) -> None:
        self.layers = [_Layer(*layer) for layer in layers]

    def __len__(self) -> int:
        return len(self.layers)


def _layers(cache: _Cache) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(layer.keys, layer.values) for layer in cache.layers]


@pytest.mark.parametrize(("kv_id", "key_bits"), [("e8-k3v2", 3), ("e8-k2v2", 2)])
@pytest.mark.parametrize("head_dim", [64, 128])
def test_same_error_on_the_same_cache(kv_id: str, key_bits: int, head_dim: int) -> None:
    """K and V of K3V2 and K2V2 err alike, within 2 %, and the package frees no memory at run time."""
    k, v = sample(3, 256, head_dim), sample(3, 256, head_dim, seed=1)
    theirs_k, theirs_v, theirs_bytes = _package(k, v, key_bits)
    codec = load_kv_codec(kv_id)
    ours = codec.apply(k, v, layer=0, layers=1, rope_theta=ROPE_THETA)
    for mine, other, original in ((ours.k, theirs_k, k), (ours.v, theirs_v, v)):
        error = float((mine - original).square().mean())
        assert error == pytest.approx(float((other - original).square().mean()), rel=MSE_TOLERANCE)
    plain_bytes = 2 * 2 * 3 * 256 * head_dim
    assert theirs_bytes == plain_bytes  # 1.00x: 16-bit values are written back into the cache
    assert ours.bytes == codec.spec.layer_bytes(3, head_dim, 256) < plain_bytes / 4.4


def test_same_tokens_are_kept() -> None:
    """The scores agree; the package keeps one token fewer or as many where its float product falls short."""
    key = sample(3, 500, 64)
    for percent in (35, 60, 80):
        package = NexusQuantEvict(eviction_rate=percent / 100, rope_base=ROPE_THETA)
        scores = package._score_importance(key[None])
        assert torch.allclose(scores[0], importance(key), atol=1e-4)
        theirs = package._build_keep_mask(scores, 500)[0]
        ours = keep_mask(key, EvictionRule(Fraction(percent, 100)))
        assert 0 <= int(ours.sum()) - int(theirs.sum()) <= 1
        assert bool(ours[theirs].all())


def test_presets_are_those_of_the_package() -> None:
    """Bits and rates of the 0.6.3 presets; balanced and max did not move since 0.4.0, high did."""
    ours = {
        "high": kv_spec("nexusquant-0.6.3-high"),
        "asym": kv_spec("nexusquant-0.6.3-asym"),
        "balanced": kv_spec("nexusquant-balanced"),
        "max": kv_spec("nexusquant-max"),
    }
    assert ours.keys() == _EVICT_PRESETS.keys()
    for name, preset in _EVICT_PRESETS.items():
        assert ours[name].eviction == EvictionRule(Fraction(str(preset["eviction_rate"])))
        bits = (preset.get("key_bits", preset["bits"]), preset["bits"])
        assert (ours[name].key.bits, ours[name].value.bits) == bits
    assert kv_spec("nexusquant-high").key.bits == 2
