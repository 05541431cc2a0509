"""Tier 0: what every codec must show before its quality is worth measuring. No model, no file, seconds.

Each check takes a codec and returns what is wrong with it in plain sentences, so that the same functions
judge the codecs of the table, another one, and codecs that tests break on purpose. Limits are computed
from the input and the codec's data, never from what the codec stored.
"""

from __future__ import annotations

import hashlib
import math
from fractions import Fraction

import torch
from torch import Tensor

from planner.compression.codecs import Codec, KvCodec, attention_bias, load_codec, packed_nbytes
from planner.compression.codecs_data import CodecSpec, EvictionRule, Kind
from planner.compression.codecs_floats import E2M1_MAX, E4M3_MAX, HALF_MAX
from planner.compression.eviction import keep_mask
from planner.compression.hadamard import rotate

SHAPES = ((1, 1, 64), (3, 200, 64), (2, 129, 96), (2, 33, 128))
"""(heads, tokens, head_dim): one token, tokens that fill no group, a head size that is no power of two."""
MEAN_SQUARED_ERROR = {4: 0.009497, 3: 0.03454}
"""Distortion of the Lloyd-Max quantizer of a unit normal variable by bits (Max 1960, table I)."""
MONOTONE = (
    ("int8-token-head", "int4-token-head", "e8-3bit", "e8-2bit"),
    ("int8-token-head", "int4-hadamard", "lloyd3", "e8-2bit"),
    ("int8-affine", "int4-affine", "int3-affine"),
    ("lloyd4", "lloyd3"),
    ("int4-group", "int2-group"),
    ("int4-channel", "int2-channel"),
)
"""Codecs of falling bits that treat their input alike: each must be more exact than the next."""

_RELATIVE = {"fp16": 2.0**-11, "bf16": 2.0**-8, "fp8-e4m3": 2.0**-4, "fp8-e5m2": 2.0**-3}
_SMALLEST_STEP = {"fp16": 2.0**-24, "bf16": 2.0**-133, "fp8-e4m3": 2.0**-9, "fp8-e5m2": 2.0**-16}
_LARGEST = {"fp16": HALF_MAX, "bf16": 3.39e38, "fp8-e4m3": E4M3_MAX, "fp8-e5m2": 57344.0}
_HALF_ROUNDING = 2.0**-11
_SLACK = 1 + 2.0**-12  # for float32 arithmetic, rotations included


def sample(heads: int, tokens: int, head_dim: int, *, seed: int = 0) -> Tensor:
    """Normal values with four channels ten times as large, as keys have them."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(heads, tokens, head_dim, generator=generator)
    x[..., [3, head_dim // 4 + 1, head_dim // 2, head_dim - 2]] *= 10
    return x


def tier0(codec: Codec) -> list[str]:
    """Everything that is wrong with a codec; empty is good."""
    return [*check_bytes(codec), *check_round_trip(codec), *check_edges(codec), *check_determinism(codec)]


def check_bytes(codec: Codec) -> list[str]:
    """The packed tensors' bytes are those of the formula, for K and V and every shape."""
    wrong = []
    kinds: tuple[Kind, ...] = ("key", "value")
    for shape in SHAPES:
        for kind in kinds:
            real = packed_nbytes(codec.encode(sample(*shape), kind=kind))
            formula = codec.packed_bytes(*shape, kind)
            if not real == formula == codec.spec.packed_bytes(*shape):
                wrong.append(f"{codec.name}: {kind} {shape}: {real} bytes packed, {formula} by the formula")
    return wrong


def check_round_trip(codec: Codec) -> list[str]:
    """Shape, type and error after a round trip."""
    wrong = []
    for shape in SHAPES:
        x = sample(*shape)
        for dtype in (torch.float16, torch.float32):
            back = codec.decode(codec.encode(x, kind="key"), dtype=dtype)
            if back.shape != x.shape or back.dtype != dtype:
                wrong.append(f"{codec.name}: {tuple(back.shape)} {back.dtype} came back, not {shape} {dtype}")
                return wrong
        wrong += [f"{codec.name}: {shape}: {what}" for what in error_excess(codec.spec, x, back)]
    return wrong


def check_edges(codec: Codec) -> list[str]:
    """Zeros, a constant, one token among zeros; the largest fp16 and tiny values stay finite."""
    wrong = []
    for shape in SHAPES:
        zero = torch.zeros(shape)
        if not torch.equal(_there_and_back(codec, zero), zero):
            wrong.append(f"{codec.name}: {shape}: zeros do not stay zeros")
        for name, x in {
            "constant": torch.full(shape, 1.5),
            "negative constant": torch.full(shape, -0.75),
            "one token": zero.index_fill(1, torch.tensor([0]), 2.0),
            "fp16 max": torch.full(shape, HALF_MAX),
            "tiny": torch.full(shape, 1e-7),
        }.items():
            back = _there_and_back(codec, x)
            if not bool(back.isfinite().all()):
                wrong.append(f"{codec.name}: {shape}: {name}: not finite")
            elif codec.spec.rotation == "none" or name not in ("fp16 max", "tiny"):
                # A rotation takes the last two out of the range of a 16-bit scale; they saturate there.
                wrong += [f"{codec.name}: {shape}: {name}: {what}" for what in error_excess(codec.spec, x, back)]
    return wrong


def check_determinism(codec: Codec) -> list[str]:
    """The same bytes and values twice, with one thread and with two; fixed scales leave them as they are."""
    x = sample(3, 200, 64)
    threads = torch.get_num_threads()
    try:
        runs = []
        for count in (1, 1, 2):
            torch.set_num_threads(count)
            runs.append(fingerprint(codec, x))
    finally:
        torch.set_num_threads(threads)
    wrong = [] if len(set(runs)) == 1 else [f"{codec.name}: not the same bytes in every run"]
    if codec.spec.family == "cast":
        once = codec.decode(codec.encode(x, kind="key"), dtype=torch.float32)
        if not torch.equal(once, _there_and_back(codec, once)):
            wrong.append(f"{codec.name}: a second round trip changes the values, and its scale is fixed")
    return wrong


def check_monotone(chain: tuple[Codec, ...]) -> list[str]:
    """Fewer bits, larger mean squared error on the same tensor."""
    x = sample(3, 1024, 64)
    errors = [float((_there_and_back(codec, x) - x).square().mean()) for codec in chain]
    pairs = zip(zip(chain, errors, strict=True), zip(chain[1:], errors[1:], strict=True), strict=False)
    return [
        f"{more.name} errs by {error:.3g}, {fewer.name} by {larger:.3g}"
        for (more, error), (fewer, larger) in pairs
        if not error < larger
    ]


def check_eviction(codec: KvCodec, tokens: int = 300) -> list[str]:
    """Kept tokens by the formula, first and recent ones among them, and no attention to the others."""
    rule = codec.spec.eviction
    k, v = sample(2, tokens, 64), sample(2, tokens, 64, seed=1)
    result = codec.apply(k, v, layer=5, layers=11, rope_theta=10_000.0)
    wrong = []
    kept, expected = int(result.keep.sum()), codec.spec.kept_tokens(tokens)
    if kept != expected:
        wrong.append(f"{codec.name}: {kept} of {tokens} tokens kept, {expected} by the formula")
    if rule is not None and not (result.keep[: rule.sink].all() and result.keep[-rule.recent :].all()):
        wrong.append(f"{codec.name}: a first or recent token is evicted")
    formula = codec.spec.layer_bytes(2, 64, tokens)
    if result.bytes != formula:
        wrong.append(f"{codec.name}: {result.bytes} bytes, {formula} by the formula")
    weights = attention_weights(k[:, -1:], result.k, result.keep)
    gone = result.k.abs().sum(dim=(0, 2)) == 0
    if float(weights[..., gone].sum()) != 0:
        wrong.append(f"{codec.name}: evicted tokens still get attention")
    return wrong


def attention_weights(queries: Tensor, key: Tensor, keep: Tensor) -> Tensor:
    """Softmax of scaled scores over the kept tokens."""
    scores = queries @ key.transpose(-1, -2) / math.sqrt(key.shape[-1])
    return (scores + attention_bias(keep, scores.dtype)).softmax(dim=-1)


def monotone_chains() -> tuple[tuple[Codec, ...], ...]:
    """The chains of `MONOTONE`, loaded."""
    return tuple(tuple(load_codec(codec_id) for codec_id in chain) for chain in MONOTONE)


def fingerprint(codec: Codec, x: Tensor | None = None) -> str:
    """Eight hex digits of what a codec makes of a fixed input: packed bytes and decoded values.

    The input is small integers, so that rotations and sums are exact and every platform agrees.
    """
    if x is None:
        x = _small_integers(2, 40, 64)
        x[..., 7] *= 4
    packed = codec.encode(x, kind="key")
    digest = hashlib.sha256()
    for name in sorted(packed):
        digest.update(packed[name].contiguous().flatten().view(torch.uint8).numpy().tobytes())
    digest.update(codec.decode(packed, dtype=torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]


def eviction_fingerprint() -> str:
    """Eight hex digits of which tokens of a fixed input are kept at 60 %."""
    keep = keep_mask(_small_integers(2, 300, 64) / 8, EvictionRule(Fraction(60, 100)))
    return hashlib.sha256(keep.numpy().tobytes()).hexdigest()[:8]


def _small_integers(heads: int, tokens: int, head_dim: int) -> Tensor:
    """Integers from -8 to 7 in a fixed disorder (a multiplicative hash of their place)."""
    steps = torch.arange(heads * tokens * head_dim, dtype=torch.int64) * 2654435761 % 2**32
    return ((steps >> 28) - 8).to(torch.float32).reshape(heads, tokens, head_dim)


def error_excess(spec: CodecSpec, x: Tensor, back: Tensor) -> list[str]:
    """Where the error of a round trip is larger than the codec's steps allow; empty is good."""
    y = rotate(x, spec.rotation)
    error = (rotate(back, spec.rotation) - y).abs()
    if spec.family == "lloyd":
        share = float((error.square().sum() / y.square().sum().clamp_min(1e-30)).sqrt())
        # A constant rotates into spikes far beyond the outermost level; only its sign and length survive.
        limit = math.sqrt(1.15 * MEAN_SQUARED_ERROR[spec.bits]) if _within_levels(y) else 1.0
        return [f"relative error {share:.3f}, at most {limit:.3f} was expected"] if share > limit else []
    excess = (error - _limits(spec, y) * _SLACK).max()
    return [f"an error is {float(excess):.3g} over its limit"] if excess > 0 else []


def _within_levels(y: Tensor) -> bool:
    """Whether the coordinates are at most about four standard deviations, as a normal variable's are."""
    norm = y.square().sum(dim=-1).sqrt()
    return bool(y.abs().amax(dim=-1).mean() * math.sqrt(y.shape[-1]) <= 4 * norm.mean())


def _limits(spec: CodecSpec, y: Tensor) -> Tensor:
    """The largest error of each (rotated) element that rounding to the nearest code can make."""
    levels = (1 << spec.bits) - 1
    amax = y.abs().amax(dim=-1, keepdim=True)
    match spec.family:
        case "cast":
            over = (y.abs() - _LARGEST[spec.id]).clamp_min(0)
            return y.abs() * _RELATIVE[spec.id] + _SMALLEST_STEP[spec.id] / 2 + over
        case "float8":
            return y.abs() * _RELATIVE["fp8-e4m3"] + amax / E4M3_MAX * _SMALLEST_STEP["fp8-e4m3"] / 2
        case "symmetric":
            return amax / (levels - 1) * (1 + (levels - 1) * _HALF_ROUNDING)
        case "zero_in_scale":
            spread = y.amax(dim=-1, keepdim=True).clamp_min(0) - y.amin(dim=-1, keepdim=True).clamp_max(0)
            return spread / levels / 2 * (1 + 2.0**-15) + amax * 2.0**-18
        case "affine":
            groups = y.unfold(-1, spec.group or y.shape[-1], spec.group or y.shape[-1])
            return _affine_limit(groups, levels).expand(groups.shape).reshape(y.shape)
        case "channel":
            parts = [y[:, start : start + spec.group] for start in range(0, y.shape[1], spec.group)]
            return torch.cat([_affine_limit(part.mT, levels).mT.expand(part.shape) for part in parts], dim=1)
        case "fp4_e4m3" | "fp4_e8m0":
            groups = y.unfold(-1, spec.group, spec.group)
            step = groups.abs().amax(dim=-1, keepdim=True) / E2M1_MAX
            step = step * 2 if spec.family == "fp4_e8m0" else step * (1 + 2.0**-4) + y.abs().max() / E4M3_MAX * 2.0**-10
            return torch.maximum(step / 4, groups.abs() / 4).expand(groups.shape).reshape(y.shape)
        case "lattice":
            # Half-integer points lie within half a step of every coordinate: no group is worse than that.
            return amax / (1 << (spec.bits - 1)) * 2**0.5 * (1 + _HALF_ROUNDING * 4)
        case _:
            raise ValueError(f"no limit is known for the family {spec.family}")


def _affine_limit(groups: Tensor, levels: int) -> Tensor:
    """Half a step, and what 16-bit scale and zero lose."""
    low, high = groups.amin(dim=-1, keepdim=True), groups.amax(dim=-1, keepdim=True)
    return (high - low) / levels / 2 + (high - low + low.abs()) * _HALF_ROUNDING + (levels + 1) * 2.0**-25


def _there_and_back(codec: Codec, x: Tensor) -> Tensor:
    return codec.decode(codec.encode(x, kind="key"), dtype=x.dtype)
