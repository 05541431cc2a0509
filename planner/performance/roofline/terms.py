"""The terms of a step: each knows its shapes and constants, and how long a load keeps one rank busy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from planner.catalog.types import AttentionKv, StateKv
from planner.performance.overhead import EngineOverhead
from planner.performance.provider import FloatArray, Part
from planner.performance.roofline.attention import (
    DecodeConstants,
    PrefillConstants,
    decode_attention_s,
    pairs,
    prefill_attention_s,
    seen_tokens,
)
from planner.performance.roofline.collective import (
    AllReduceConstants,
    TransferConstants,
    all_reduce_s,
    elementwise_s,
    transfer_s,
)
from planner.performance.roofline.experts import ExpertConstants, ExpertShape, experts_s
from planner.performance.roofline.gemm import GemmRates, gemm_s
from planner.performance.roofline.recurrent import RecurrentConstants, recurrent_s


@dataclass(frozen=True)
class Load:
    """What one step asks of one rank. `everywhere` are the tokens of all data-parallel ranks together."""

    decodes: FloatArray
    context: FloatArray
    new: FloatArray
    cached: FloatArray
    everywhere: FloatArray

    @property
    def tokens(self) -> FloatArray:
        """Tokens that every matrix of the rank multiplies."""
        return self.decodes + self.new


class Term(Protocol):
    """Part of a step, and the seconds it takes."""

    part: Part

    def seconds(self, load: Load) -> FloatArray:
        """Seconds over all layers that have this term."""


@dataclass(frozen=True)
class Matrices(Term):
    """Matrix multiplications, evaluated as one array: `counts` times each, on one of four numbers of tokens."""

    part: Part
    columns: FloatArray
    inner: FloatArray
    counts: FloatArray
    rows: tuple[int, ...]
    """For each matrix: 0 all tokens, 1 decoded ones, 2 new and cached ones, 3 those whose logits are wanted."""
    rates: GemmRates

    def seconds(self, load: Load) -> FloatArray:
        """Sum of the multiplications; the last axis of the arrays is that of the matrices."""
        prompt = np.where(load.new > 0, load.new + load.cached, 0.0)
        sampled = load.decodes + np.minimum(load.new, 1.0)
        tokens = np.stack(np.broadcast_arrays(load.tokens, load.decodes, prompt, sampled), axis=-1)
        times = gemm_s(tokens[..., list(self.rows)], self.columns, self.inner, self.rates)
        return np.asarray((times * self.counts).sum(axis=-1))


@dataclass(frozen=True)
class Attention(Term):
    """Attention of `layers` layers of one kind; `heads` query heads of a rank."""

    layers: int
    kind: AttentionKv
    heads: float
    token_bytes: float
    token_flops: float
    pair_flops: float
    decode: DecodeConstants
    prefill: PrefillConstants
    bandwidth_bytes_per_s: float
    flops_per_s: float
    context_ranks: int = 1
    """Ranks that share the tokens of a sequence (decode context parallelism)."""
    part: Part = "attention"

    def seconds(self, load: Load) -> FloatArray:
        """Decoding and prefilling run as two kernels."""
        decode = decode_attention_s(
            load.decodes,
            seen_tokens(self.kind, load.context) / self.context_ranks,
            self.heads * self.context_ranks,
            self.token_bytes,
            self.token_flops * self.context_ranks,
            self.decode,
            self.bandwidth_bytes_per_s,
            self.flops_per_s,
        )
        prefill = prefill_attention_s(
            load.new,
            pairs(self.kind, load.new, load.cached),
            seen_tokens(self.kind, load.new + load.cached),
            self.pair_flops,
            self.prefill,
            self.flops_per_s,
        )
        return self.layers * (decode + prefill)


@dataclass(frozen=True)
class Recurrent(Term):
    """Recurrent layers of one kind."""

    layers: int
    kind: StateKv
    ranks: int
    constants: RecurrentConstants
    bandwidth_bytes_per_s: float
    part: Part = "attention"

    def seconds(self, load: Load) -> FloatArray:
        """States of the decoded sequences, and the scan of the chunk."""
        args = self.kind, self.ranks, self.constants, self.bandwidth_bytes_per_s
        return self.layers * recurrent_s(load.decodes, load.new, *args)


@dataclass(frozen=True)
class Experts(Term):
    """The routed experts of `layers` layers: all tokens of the replica meet the experts of a rank."""

    layers: int
    shape: ExpertShape
    constants: ExpertConstants
    flops_per_s: float
    bandwidth_bytes_per_s: float
    weight_bytes: float
    part: Part = "experts"

    def seconds(self, load: Load) -> FloatArray:
        """The busiest rank decides."""
        rates = self.flops_per_s, self.bandwidth_bytes_per_s, self.weight_bytes
        return self.layers * experts_s(load.everywhere, self.shape, self.constants, *rates)


@dataclass(frozen=True)
class AllReduce(Term):
    """`count` reductions of the hidden vectors of a step over the ranks of tp."""

    count: int
    hidden: int
    ranks: int
    constants: AllReduceConstants
    link_bytes_per_s: float
    part: Part = "all_reduce"

    def seconds(self, load: Load) -> FloatArray:
        """Messages of 2 m h bytes."""
        once = all_reduce_s(2 * load.tokens * self.hidden, self.ranks, self.constants, self.link_bytes_per_s)
        return np.where(load.tokens > 0, self.count * once, 0.0)


@dataclass(frozen=True)
class Transfers(Term):
    """`count` gathers, scatters or hops of vectors of `width` 16-bit elements, `share` of which cross the link."""

    count: int
    width: float
    share: float
    of: Literal["everywhere", "tokens", "decodes"]
    """Whose vectors: of all data-parallel ranks, of this rank, or of its decoded tokens."""
    constants: TransferConstants
    link_bytes_per_s: float
    part: Part = "all_reduce"

    def seconds(self, load: Load) -> FloatArray:
        """Messages of 2 m width bytes."""
        tokens = {"everywhere": load.everywhere, "tokens": load.tokens, "decodes": load.decodes}[self.of]
        once = transfer_s(2 * tokens * self.width * self.share, self.constants, self.link_bytes_per_s)
        return np.where(tokens > 0, self.count * once, 0.0)


@dataclass(frozen=True)
class Elementwise(Term):
    """`count` kernels that move `token_bytes` for every token: norms, activations, residuals."""

    count: int
    token_bytes: float
    bandwidth_bytes_per_s: float
    part: Part = "elementwise"

    def seconds(self, load: Load) -> FloatArray:
        """A launch and the bytes, each time."""
        once = elementwise_s(load.tokens * self.token_bytes, self.bandwidth_bytes_per_s)
        return np.where(load.tokens > 0, self.count * once, 0.0)


@dataclass(frozen=True)
class EngineTime(Term):
    """The engine itself: scheduling, sampling and sending tokens, once a step and for each sequence that decodes."""

    overhead: EngineOverhead
    part: Part = "overhead"

    def seconds(self, load: Load) -> FloatArray:
        """Seconds of a step; none where there is nothing to do."""
        return np.where(load.tokens > 0, self.overhead.seconds(load.decodes), 0.0)
