"""Step times in constant time: a provider's answers on a grid, interpolated.

    step(b, S, c, p) = decode(b, S) + beside(b, c) + attention(c, p)

for b sequences of S tokens on average and a chunk of c prompt tokens on p cached ones. `decode` and `attention` are
the provider's own; `beside` is what the chunk adds to all other parts. Batches, contexts and chunks lie on a grid of
four points an octave, straight between them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from planner.performance.provider import FloatArray, StepModel

LONGEST_TOKENS = 1 << 21
"""Contexts that the grid covers."""

REFERENCE_CONTEXT_TOKENS = 256
"""Context at which the parts beside attention are asked for; they do not depend on it."""


def knots(last: int) -> list[int]:
    """0 to 8 one by one, then four points an octave, up to the first that is not below `last`.

    >>> knots(20)
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20]
    """
    found = list(range(9))
    while found[-1] < last:
        found.append(found[-1] + max(1, 1 << (found[-1].bit_length() - 3)))
    return found


def place(value: int) -> tuple[int, float]:
    """Index of the knot at or below a whole number, and how far it lies towards the next one.

    >>> place(15), knots(20)[place(15)[0]]
    ((11, 0.5), 14)
    """
    if value < 8:
        return value, 0.0
    shift = value.bit_length() - 3
    return (value >> shift) + 4 * shift, (value & ((1 << shift) - 1)) / (1 << shift)


class StepTable:
    """The steps of one replica; the provider is asked for a batch of the grid when it is first needed."""

    def __init__(self, model: StepModel, longest_context_tokens: int, max_num_batched_tokens: int) -> None:
        self._model = model
        self._contexts = np.array(knots(min(longest_context_tokens, LONGEST_TOKENS) + 1), dtype=np.float64)
        self._chunks = np.array(knots(max_num_batched_tokens), dtype=np.float64)
        self._decode: dict[int, list[float]] = {}
        self._beside: dict[int, list[float]] = {}
        chunks, cached = np.meshgrid(self._chunks, self._contexts, indexing="ij")
        self._attention: list[list[float]] = self._prefill_attention(chunks, cached).tolist()
        self.attention_launch_s = self._attention[1][0]
        """What attention over the shortest chunk takes: several chunks of one step pay it once."""

    def decode_s(self, batch: int, context_tokens: int) -> float:
        """Seconds of a step that decodes one token for `batch` sequences of this mean context."""
        row = self._decode.get(batch)
        if row is None:
            row = self._decode_row(batch)
        index, part = place(context_tokens)
        low = row[index]
        return low + part * (row[index + 1] - low) if part else low

    def beside_s(self, batch: int, chunk_tokens: int) -> float:
        """Seconds that prompt tokens add to a step of `batch` sequences, without their attention."""
        row = self._beside.get(batch)
        if row is None:
            row = self._beside_row(batch)
        index, part = place(chunk_tokens)
        low = row[index]
        return low + part * (row[index + 1] - low) if part else low

    def attention_s(self, new_tokens: int, cached_tokens: int) -> float:
        """Seconds of attention of new tokens on cached ones, over all layers."""
        row, down = place(new_tokens)
        column, right = place(cached_tokens)
        upper = self._attention[row]
        value = upper[column] + right * (upper[column + 1] - upper[column]) if right else upper[column]
        if not down:
            return value
        lower = self._attention[row + 1]
        below = lower[column] + right * (lower[column + 1] - lower[column]) if right else lower[column]
        return value + down * (below - value)

    def _decode_row(self, batch: int) -> list[float]:
        row = _between(batch, self._decode, self._decode_row)
        if row is None:
            row = np.asarray(self._model.decode_step_s(float(batch), self._contexts)).tolist()
        self._decode[batch] = row
        return row

    def _beside_row(self, batch: int) -> list[float]:
        row = _between(batch, self._beside, self._beside_row)
        if row is None:
            context = float(REFERENCE_CONTEXT_TOKENS if batch else 0)
            with_chunk = self._model.mixed_step_s(float(batch), context, self._chunks)
            alone = float(self._model.decode_step_s(float(batch), context)) if batch else 0.0
            attention = np.array([column[0] for column in self._attention])
            beside = np.asarray(with_chunk) - alone - attention
            beside[0] = 0.0
            row = beside.tolist()
        self._beside[batch] = row
        return row

    def _prefill_attention(self, new_tokens: FloatArray, cached_tokens: FloatArray) -> FloatArray:
        parts = self._model.breakdown(0.0, 0.0, new_tokens, cached_tokens)
        attention = np.broadcast_to(np.asarray(parts.get("attention", 0.0)), new_tokens.shape).copy()
        attention[0, :] = 0.0
        return attention


def _between(batch: int, rows: dict[int, list[float]], ask: Callable[[int], list[float]]) -> list[float] | None:
    """The row of a batch from those of the grid on both sides of it; None where it lies on the grid."""
    _, part = place(batch)
    if not part:
        return None
    step = 1 << (batch.bit_length() - 3)
    below = batch // step * step
    low, high = (rows.get(each) or ask(each) for each in (below, below + step))
    return [a + part * (b - a) for a, b in zip(low, high, strict=True)]
