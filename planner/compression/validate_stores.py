"""What the queries of a measured model see: exact KV, a compressed prefix, or KV quantized as it is written.

Two protocols, never mixed (their numbers differ, and each is what somebody means by "perplexity with a
quantized cache"):

- prefix_continuation: the prompt is read with exact KV, then its cache is compressed once (and evicted),
  and the continuation is read on top. Continuation tokens stay 16-bit. It flatters a codec, because the
  prompt itself was read without error.
- write_time: every token is stored compressed as engines do it, so the queries of the prompt see
  compressed keys too and errors feed on each other. Where a preset keeps a recent window, a query sees its
  last tokens in 16 bits. Eviction happens once, where the prompt ends. Presets that leave decoded tokens in
  16 bits do so here.

Evicted tokens are left out of the keys or masked; they are never zero keys.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from planner.compression.codecs import KvCodec
from planner.compression.language_model import Seen


@dataclass
class Recorded:
    """K and V of a prefix, and what a continuation asked of each layer; all [batch, heads, tokens, head_dim]."""

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)


@dataclass
class ExactStore:
    """Plain causal attention over the tokens of one forward; keeps K and V in `recorded`."""

    recorded: Recorded = field(default_factory=Recorded)

    def exchange(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Seen:
        """Everything is visible as it is."""
        del layer, queries
        self.recorded.keys.append(keys)
        self.recorded.values.append(values)
        return Seen(keys, values, None)


@dataclass(frozen=True)
class Prefix:
    """A prefix as a continuation finds it: per layer K and V of the tokens that are left, and their bytes."""

    tokens: int
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    packed_bytes: int


@dataclass
class PrefixStore:
    """A continuation over a stored prefix. Its own K and V go through 16 bits unless `exact`."""

    prefix: Prefix
    exact: bool = False
    queries: list[Tensor] | None = None
    own: Recorded | None = None

    def exchange(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Seen:
        """The prefix and the causal part of the continuation."""
        if not self.exact:
            keys, values = half(keys), half(values)
        if self.queries is not None:
            self.queries.append(queries)
        if self.own is not None:
            self.own.keys.append(keys)
            self.own.values.append(values)
        return over_prefix(self.prefix, layer, keys, values)


def over_prefix(prefix: Prefix, layer: int, keys: Tensor, values: Tensor) -> Seen:
    """What continuation queries see in a layer: the whole stored prefix, then themselves causally."""
    batch, _, own, _ = keys.shape
    before_keys, before_values = (part[layer].expand(batch, -1, -1, -1) for part in (prefix.keys, prefix.values))
    before = before_keys.shape[2]
    mask = torch.ones(own, before + own, dtype=torch.bool).tril(before)
    return Seen(torch.cat((before_keys, keys), 2), torch.cat((before_values, values), 2), mask)


def half(x: Tensor) -> Tensor:
    """x as 16-bit storage gives it back, in fp32. Values beyond fp16 saturate."""
    largest = torch.finfo(torch.float16).max
    return x.clamp(-largest, largest).to(torch.float16).to(x.dtype)


def exact_prefix(recorded: Recorded) -> Prefix:
    """The prefix as it was computed, fp32; bytes as 16-bit storage would take."""
    size = sum(part.numel() * 2 for part in (*recorded.keys, *recorded.values))
    return Prefix(recorded.keys[0].shape[2], tuple(recorded.keys), tuple(recorded.values), size)


def compress_prefix(codec: KvCodec, recorded: Recorded, rope_theta: float) -> Prefix:
    """Send a prefix through a preset, layer by layer; evicted tokens are left out.

    Layer 0's keys decide what is evicted, for all layers.
    """
    layers = len(recorded.keys)
    keep = codec.keep_mask(recorded.keys[0][0])
    keys: list[Tensor] = []
    values: list[Tensor] = []
    size = 0
    for layer in range(layers):
        k, v = recorded.keys[layer][0], recorded.values[layer][0]
        result = codec.apply(k, v, layer=layer, layers=layers, rope_theta=rope_theta, keep=keep)
        keys.append(result.k[:, keep].unsqueeze(0))
        values.append(result.v[:, keep].unsqueeze(0))
        size += result.bytes
    return Prefix(recorded.keys[0].shape[2], tuple(keys), tuple(values), size)


@dataclass
class WriteTimeStore:
    """One forward over prompt and continuation with K and V compressed as they are written.

    `recorded`, where given, keeps what was written, before compression.
    """

    codec: KvCodec
    layers: int
    prefix_tokens: int
    rope_theta: float
    recorded: Recorded | None = None
    _mask: Tensor | None = None

    def exchange(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Seen:
        """Compressed K and V, and beside them the 16-bit ones that recent windows still hold."""
        del queries
        spec, tokens = self.codec.spec, keys.shape[2]
        if self.recorded is not None:
            self.recorded.keys.append(keys)
            self.recorded.values.append(values)
        if layer == 0:
            self._mask = self._visible(self.codec.keep_mask(keys[0, :, : self.prefix_tokens]), tokens)
        if spec.is_plain(layer, self.layers):
            return Seen(half(keys), half(values), self._plain_mask(tokens))
        everything = replace(self.codec, spec=replace(spec, residual_tokens=0, eviction=None))
        result = everything.apply(
            keys[0],
            values[0],
            layer=layer,
            layers=self.layers,
            rope_theta=self.rope_theta,
            decoded_tokens=tokens - self.prefix_tokens,
        )
        stored_keys, stored_values = result.k.unsqueeze(0), result.v.unsqueeze(0)
        if not spec.residual_tokens:
            return Seen(stored_keys, stored_values, self._mask)
        both_keys = torch.cat((stored_keys, half(keys)), 2)
        both_values = torch.cat((stored_values, half(values)), 2)
        return Seen(both_keys, both_values, self._mask)

    def _visible(self, keep: Tensor, tokens: int) -> Tensor | None:
        """[queries, keys]: causal, evicted tokens hidden from the continuation, recent ones in 16 bits."""
        spec = self.codec.spec
        if bool(keep.all()) and not spec.residual_tokens:
            return None
        visible = torch.ones(tokens, tokens, dtype=torch.bool).tril()
        visible[self.prefix_tokens :, : self.prefix_tokens] &= keep
        if not spec.residual_tokens:
            return visible
        group = spec.key.group if spec.key.family == "channel" else 1
        coded = coded_at_write(tokens, spec.residual_tokens, group)
        return torch.cat((visible & coded, visible & ~coded), 1)

    def _plain_mask(self, tokens: int) -> Tensor | None:
        """The same for a 16-bit layer: eviction applies there too, recent windows do not."""
        if self._mask is None or self._mask.shape[1] == tokens:
            return self._mask
        return self._mask[:, :tokens] | self._mask[:, tokens:]


def coded_at_write(tokens: int, residual_tokens: int, group: int) -> Tensor:
    """Which keys a query finds compressed: [queries, keys], True for a group that lies before the window.

    Key j is compressed for query i once its whole group of tokens has left the last `residual_tokens`
    tokens: (floor(j / group) + 1) * group <= i + 1 - residual. Source: KIVI, arXiv 2402.02750, section 3.3
    (keys are quantized by whole groups; the rest is the residual).

    >>> coded_at_write(4, 1, 2).int().tolist()
    [[0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]]
    """
    group_end = (torch.arange(tokens) // group + 1) * group
    return group_end.unsqueeze(0) <= torch.arange(tokens).unsqueeze(1) + 1 - residual_tokens
