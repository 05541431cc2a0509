"""What the planner asks of a source of latencies, whichever it is.

A provider answers one question for (model, engine, GPU, tensor parallelism, weights, KV storage): how long is
a decode step, how long a prefill. The answer carries where it comes from and how sure it is; everything that
is inherited or outside what was measured is named in `estimated`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Quantity = float | FloatArray
"""A number or an array of numbers; arrays are combined by numpy's broadcasting rules."""


@dataclass(frozen=True)
class LatencyBand:
    """The 10, 50 and 90 % points of measured / predicted over `n` measured rows.

    `judgement` says that they are chosen, not measured (`n` is 0 then). They are applied once, to the promises
    of the scenario, never to step times as well.
    """

    tpot_p10: Fraction
    tpot_p50: Fraction
    tpot_p90: Fraction
    ttft_p10: Fraction
    ttft_p50: Fraction
    ttft_p90: Fraction
    n: int
    judgement: bool
    source: str


class StepModel(Protocol):
    """Times of one engine step on one replica, in seconds. All methods take numbers or arrays."""

    @property
    def provider(self) -> str:
        """Who says so: `roofline`, with the kernel tables that its constants were fitted to."""

    @property
    def estimated(self) -> tuple[str, ...]:
        """Sentences that name what is inherited or extrapolated; empty when everything was fitted."""

    @property
    def band(self) -> LatencyBand:
        """How far measured latencies stray from these."""

    def decode_step_s(self, batch: Quantity, context_tokens: Quantity) -> FloatArray:
        """Seconds to decode one token for `batch` sequences of `context_tokens` tokens on average."""

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0, max_num_batched_tokens: int | None = None) -> float:
        """Seconds to prefill a prompt alone, in chunks of `max_num_batched_tokens` (None: in one chunk)."""

    def nonattention_step_s(self, decode_batch: Quantity, chunk_tokens: Quantity) -> FloatArray:
        """Seconds without attention of a step of `decode_batch` sequences and a chunk of prompt tokens."""

    def prefill_attention_s(self, new_tokens: Quantity, cached_tokens: Quantity) -> FloatArray:
        """Seconds of attention, over all layers, of `new_tokens` on top of `cached_tokens` in one chunk."""

    @property
    def prefill_attention(self) -> PrefillAttention:
        """The constants behind `prefill_attention_s`."""


@dataclass(frozen=True)
class PrefillAttention:
    """Attention of c new tokens on p cached: fixed_s + s_per_token2 (c p + c^2 / 2) (1 + ramp / (p + c)).

    `ramp_tokens` is the length at which the kernel reaches half of its final speed.
    """

    fixed_s: float
    s_per_token2: float
    ramp_tokens: float

    def seconds(self, new_tokens: Quantity, cached_tokens: Quantity) -> FloatArray:
        """Seconds over all layers; 0 for no new tokens.

        >>> attention = PrefillAttention(fixed_s=0.0, s_per_token2=2e-9, ramp_tokens=1000.0)
        >>> float(attention.seconds(1000, 0))
        0.002
        """
        new = np.asarray(new_tokens, dtype=np.float64)
        cached = np.asarray(cached_tokens, dtype=np.float64)
        pairs = new * cached + new * new / 2
        ramp = 1 + self.ramp_tokens / np.maximum(new + cached, 1.0)
        return np.where(new > 0, self.fixed_s + self.s_per_token2 * pairs * ramp, 0.0)
