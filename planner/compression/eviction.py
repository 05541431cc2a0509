"""Token eviction: which tokens of a prefix are kept, and how the others disappear from attention.

An evicted token gets an attention bias of minus infinity, so its weight is exactly 0. Overwriting its key
with zeros would not do: a zero key still has score 0 and takes its share of the softmax.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from planner.compression.codecs_data import EvictionRule

OBSERVED_TOKENS = 32
"""How many of the last keys stand in for the queries to come (nexusquant-kv 0.6.3: obs_window)."""


def importance(key: Tensor) -> Tensor:
    """Score of each token: the attention that the last keys, taken as queries, pay to it.

    softmax(K_last K^T / sqrt(d)) over all tokens, summed over the last 32 keys, averaged over heads.
    Source: read from nexusquant-kv 0.6.3 (the key-key scorer), after SnapKV, arXiv 2404.14469.

    Args:
        key: [heads, tokens, head_dim] of one layer, with rotary positions.

    Returns:
        [tokens], sums to min(32, tokens).
    """
    key = key.to(torch.float32)
    queries = key[:, -OBSERVED_TOKENS:]
    scores = queries @ key.transpose(-1, -2) / math.sqrt(key.shape[-1])
    return scores.softmax(dim=-1).sum(dim=-2).mean(dim=0)


def keep_mask(key: Tensor, rule: EvictionRule) -> Tensor:
    """Which tokens of a prefix stay: the first, the recent ones and the best scored in between.

    Equal scores are settled for the earlier token, so that the mask is the same on every machine.

    Args:
        key: [heads, tokens, head_dim] of the layer that scores (the first one).
        rule: How many.

    Returns:
        bool [tokens] with `rule.kept_tokens(tokens)` times True.
    """
    tokens = key.shape[-2]
    kept = rule.kept_tokens(tokens)
    keep = torch.ones(tokens, dtype=torch.bool)
    if kept == tokens:
        return keep
    middle = slice(rule.sink, tokens - rule.recent)
    order = importance(key)[middle].argsort(descending=True, stable=True)
    keep[middle] = False
    keep[rule.sink + order[: kept - rule.sink - rule.recent]] = True
    return keep


def attention_bias(keep: Tensor, dtype: torch.dtype) -> Tensor:
    """What to add to attention scores: 0 for kept tokens, minus infinity for evicted ones. [tokens]."""
    return torch.zeros(keep.shape, dtype=dtype).masked_fill(~keep, -torch.inf)
