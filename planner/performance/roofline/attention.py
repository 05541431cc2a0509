"""Attention over a KV cache: reading it for every decoded token, and the pairs of tokens of a prompt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.catalog.types import AttentionKv
from planner.performance.provider import FloatArray, Quantity


@dataclass(frozen=True)
class DecodeConstants:
    """Decode attention: fraction of bandwidth, launch, and seconds per (sequence and query head) and cached token.

    `compute_fraction` counts where every byte meets many query heads, as in latent attention; 0: never the limit.
    `token_s` is the walk over one sequence, which more sequences do not lengthen.
    """

    memory_fraction: float
    fixed_s: float
    head_s: float
    token_s: float
    compute_fraction: float = 0.0


@dataclass(frozen=True)
class PrefillConstants:
    """Prefill attention: fraction of peak FLOP/s, length at half speed in tokens, launch."""

    compute_fraction: float
    ramp_tokens: float
    fixed_s: float


def decode_attention_s(
    batch: Quantity,
    context_tokens: Quantity,
    heads: Quantity,
    token_bytes: Quantity,
    token_flops: Quantity,
    constants: DecodeConstants,
    bandwidth_bytes_per_s: float,
    flops_per_s: float,
) -> FloatArray:
    """Seconds of one layer: t0 + sqrt(Tr^2 + Tc^2) + c b heads + s S; 0 for no sequences.

    Tr = b S token_bytes / (e B), Tc = b S token_flops / (e_c F). Shapes are those of one rank.

    >>> ideal = DecodeConstants(memory_fraction=1.0, fixed_s=0.0, head_s=0.0, token_s=0.0)
    >>> read = decode_attention_s(64, 4096, 32, 2 * 8 * 128 * 2, 4 * 32 * 128, ideal, 3.35e12, 989e12)
    >>> f"{float(read) * 1e6:.0f} us"  # 8B: 1.07 GB of keys and values in a layer
    '321 us'
    """
    sequences = np.asarray(batch, dtype=np.float64)
    tokens = sequences * context_tokens
    read = tokens * np.asarray(token_bytes) / (constants.memory_fraction * bandwidth_bytes_per_s)
    if constants.compute_fraction:
        read = np.hypot(read, tokens * np.asarray(token_flops) / (constants.compute_fraction * flops_per_s))
    walk = constants.head_s * sequences * heads + constants.token_s * np.asarray(context_tokens)
    return np.where(sequences > 0, constants.fixed_s + read + walk, 0.0)


def prefill_attention_s(
    new_tokens: Quantity,
    pairs: Quantity,
    length_tokens: Quantity,
    pair_flops: Quantity,
    constants: PrefillConstants,
    flops_per_s: float,
) -> FloatArray:
    """Seconds of one layer: t0 + pairs pair_flops (1 + ramp / length) / (e F); 0 for no new tokens.

    `length_tokens` is how far back the last token looks.
    """
    ramp = 1 + constants.ramp_tokens / np.maximum(length_tokens, 1.0)
    work = np.asarray(pairs) * pair_flops / (constants.compute_fraction * flops_per_s) * ramp
    return np.where(np.asarray(new_tokens) > 0, constants.fixed_s + work, 0.0)


def seen_tokens(kind: AttentionKv, context_tokens: Quantity) -> FloatArray:
    """Cached tokens that a new token attends to. A chunk is counted as a whole one: the most it can be."""
    context = np.asarray(context_tokens, dtype=np.float64)
    return context if kind.reach == "full" else np.minimum(context, kind.window_tokens)


def pairs(kind: AttentionKv, new_tokens: Quantity, cached_tokens: Quantity) -> FloatArray:
    """(query, key) pairs of a chunk of new tokens on top of cached ones: G(p + c) - G(p).

    G(x) = x^2 / 2 with full reach; W x - W^2 / 2 beyond a window W; W^2 / 2 for every whole chunk and r^2 / 2 for
    the rest of chunked attention.

    >>> float(pairs(AttentionKv(8, 128, 128), 1000, 0))
    500000.0
    >>> float(pairs(AttentionKv(8, 128, 128, "sliding", 100), 1000, 0))  # 900 tokens see 100, the first fewer
    95000.0
    """
    cached = np.asarray(cached_tokens, dtype=np.float64)
    return _pairs_up_to(kind, cached + new_tokens) - _pairs_up_to(kind, cached)


def _pairs_up_to(kind: AttentionKv, tokens: FloatArray) -> FloatArray:
    window = kind.window_tokens
    if kind.reach == "sliding":
        return np.where(tokens <= window, tokens**2 / 2, window * tokens - window**2 / 2)
    if kind.reach == "chunked":
        return np.asarray((tokens // window) * window**2 / 2 + (tokens % window) ** 2 / 2)
    return tokens**2 / 2
