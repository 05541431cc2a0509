"""What the planner asks of a source of latencies, whichever it is.

A request names a replica: model, GPU, engine, parallel shape, weights and KV storage. A provider answers with a
`StepModel`: how long one engine step takes, part by part. The answer carries where it comes from and how sure
it is; everything that is inherited or outside what was measured is named in `estimated`.
`planner.performance.step_model` asks a provider by its name.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from planner.catalog.parallel import Parallel
from planner.catalog.types import EngineRules, GpuFacts, ModelFacts

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


ProviderName = Literal["roofline", "silicon", "measured"]

Part = Literal["weights", "attention", "experts", "all_reduce", "elementwise", "logits", "overhead"]
"""Where the time of a step goes: matrices of the layers but the routed experts; attention and recurrent layers; routed
experts and their router; all communication between GPUs; norms and activations; the output head; the engine itself."""

PARTS: tuple[Part, ...] = ("weights", "attention", "experts", "all_reduce", "elementwise", "logits", "overhead")


@dataclass(frozen=True)
class StepRequest:
    """The replica whose steps are asked for.

    `kv_dtype` is the engine's name of the KV dtype, `kv_bytes_per_element` the stored bytes of one element with its
    scales (None: what the dtype says). `decode_time_factor` multiplies what decoding takes, as published ratios of
    TPOT do.
    """

    model: ModelFacts
    gpu: GpuFacts
    engine: EngineRules
    shape: Parallel = field(default_factory=Parallel)
    weights: str = "bf16"
    kv_dtype: str = "auto"
    kv_bytes_per_element: Fraction | None = None
    decode_time_factor: Fraction = Fraction(1)


class StepModel(Protocol):
    """Times of one engine step of one replica, in seconds. Numbers or arrays may be given.

    A step decodes one token for each of `batch` sequences that hold `context_tokens` tokens on average, and
    prefills `new_tokens` of prompts beside them, on top of `cached_tokens` that are there already. Both counts are
    of the whole replica: shapes with dp or pp deal them out evenly. A provider inherits all but `breakdown`.
    """

    provider: str
    """Who says so, such as `roofline` with the kernel tables that its constants were fitted to."""
    estimated: tuple[str, ...]
    """Sentences that name what is inherited or extrapolated; empty when everything was fitted."""
    band: LatencyBand
    """How far measured latencies stray from these."""

    @abstractmethod
    def breakdown(
        self,
        batch: Quantity,
        context_tokens: Quantity,
        new_tokens: Quantity = 0,
        cached_tokens: Quantity = 0,
    ) -> dict[Part, FloatArray]:
        """Seconds of every part of a step; the step is their sum. Absent parts take no time."""

    def mixed_step_s(
        self, batch: Quantity, context_tokens: Quantity, new_tokens: Quantity, cached_tokens: Quantity = 0
    ) -> FloatArray:
        """Seconds of a step that decodes and prefills: the sum of its parts."""
        parts = self.breakdown(batch, context_tokens, new_tokens, cached_tokens)
        return np.asarray(sum(parts.values(), start=np.float64(0)))

    def decode_step_s(self, batch: Quantity, context_tokens: Quantity) -> FloatArray:
        """Seconds of a step that only decodes."""
        return self.mixed_step_s(batch, context_tokens, 0)

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0, max_num_batched_tokens: int | None = None) -> float:
        """Seconds to prefill a prompt alone, in chunks of `max_num_batched_tokens` (None: in one chunk)."""
        size = max_num_batched_tokens or max(new_tokens, 1)
        starts = np.arange(0, new_tokens, size, dtype=np.float64)
        return float(self.mixed_step_s(0, 0, np.minimum(size, new_tokens - starts), cached_tokens + starts).sum())


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
