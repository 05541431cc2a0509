"""The default provider: step times from a roofline with a few fitted constants per GPU, engine and kernel.

    STEP = sum over layers of (matrices + attention or recurrence + experts + collectives + elementwise)
           + output head, on one rank of the replica, the others doing the same at the same time.

With dp the tokens of a step are dealt to the data-parallel ranks, which meet in the experts. With pp a step is one turn
of the pipeline: every sequence decodes one token while pp micro-batches follow each other through the stages.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.catalog.parallel import Parallel
from planner.performance.provider import FloatArray, LatencyBand, Part, Quantity, StepModel
from planner.performance.roofline.terms import Load, Term


@dataclass(frozen=True)
class RooflineStepModel(StepModel):
    """Step times of one replica: the sum of its terms."""

    terms: tuple[Term, ...]
    shape: Parallel
    decode_time_factor: float
    provider: str
    estimated: tuple[str, ...]
    band: LatencyBand

    def breakdown(
        self,
        batch: Quantity,
        context_tokens: Quantity,
        new_tokens: Quantity = 0,
        cached_tokens: Quantity = 0,
    ) -> dict[Part, FloatArray]:
        """STEP part by part; what decoding alone would take is multiplied by the preset's decode-time factor."""
        parts = self._parts(_load(batch, context_tokens, new_tokens, cached_tokens, self.shape))
        extra = self.decode_time_factor - 1
        if not extra:
            return parts
        alone = self._parts(_load(batch, context_tokens, 0, 0, self.shape))
        return {part: seconds + extra * alone[part] for part, seconds in parts.items()}

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0, max_num_batched_tokens: int | None = None) -> float:
        """Seconds to prefill a prompt alone, in chunks of `max_num_batched_tokens` (None: in one chunk).

        One rank of dp does it all; in a pipeline a chunk follows the one before it from stage to stage.
        """
        size = max_num_batched_tokens or max(new_tokens, 1)
        starts = np.arange(0, new_tokens, size, dtype=np.float64)
        chunks = np.minimum(size, new_tokens - starts)
        parts = self._parts(_load(0, 0, chunks, cached_tokens + starts, Parallel()))
        seconds = np.broadcast_to(sum(parts.values(), start=np.float64(0)), chunks.shape)
        if not seconds.size:
            return 0.0
        return float(seconds.sum() / self.shape.pp + seconds[-1] * (1 - 1 / self.shape.pp))

    def _parts(self, load: Load) -> dict[Part, FloatArray]:
        parts: dict[Part, FloatArray] = {}
        for term in self.terms:
            seconds = term.seconds(load)
            parts[term.part] = parts[term.part] + seconds if term.part in parts else seconds
        return parts


def _load(batch: Quantity, context: Quantity, new: Quantity, cached: Quantity, shape: Parallel) -> Load:
    """The load of one rank: micro-batches of a pipeline, each dealt to the ranks of dp."""
    groups = shape.dp * shape.pp
    return Load(
        decodes=_dealt(batch, groups),
        context=np.asarray(context, dtype=np.float64),
        new=_dealt(new, groups),
        cached=np.asarray(cached, dtype=np.float64),
        everywhere=_dealt(batch, shape.pp) + _dealt(new, shape.pp),
    )


def _dealt(count: Quantity, groups: int) -> FloatArray:
    """A share of the tokens; no rank that has work gets less than a whole one."""
    whole = np.asarray(count, dtype=np.float64)
    return whole if groups == 1 else np.maximum(whole / groups, np.minimum(whole, 1.0))
