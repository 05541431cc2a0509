"""Speculative decoding: a draft proposes tokens, one step of the model checks them, and several may be kept.

A step checks c = drafted + 1 tokens of every sequence. Its matrices see c times as many tokens; the cache of a sequence
is read once for all of them, so the step is that of c b sequences with a context of S / c:

    STEP_spec(b, S) = (1 + overhead) STEP(c b, S / c)

and yields a tokens for each sequence on average. Where a window is shorter than the context this reads up to c windows
in place of one: never too little.

Source: Leviathan et al., Fast Inference from Transformers via Speculative Decoding (ICML 2023), for the number of kept
tokens; it is a measurement of the user's, not a prediction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.performance.provider import FloatArray, Part, Quantity, StepModel

BISECTIONS = 60
"""Halvings of [0, 1], beyond the precision of a float."""


@dataclass(frozen=True)
class Speculation:
    """Tokens drafted in a step, tokens that a step yields on average (1 to drafted + 1), and the time of the draft as a
    share of the step that checks it. The defaults are no speculation."""

    drafted_tokens: int = 0
    accepted_tokens: float = 1.0
    step_overhead: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.accepted_tokens <= self.drafted_tokens + 1:
            raise ValueError("Expected accepted_tokens between 1 and drafted_tokens + 1.")

    def parts(self, step: StepModel, batch: Quantity, context_tokens: Quantity) -> dict[Part, FloatArray]:
        """Seconds of every part of a step that checks, without the time of the draft.

        The engine's own time is of sequences, not of the tokens that are checked.
        """
        checked = self.drafted_tokens + 1
        tokens = np.asarray(batch, dtype=np.float64) * checked
        parts = step.breakdown(tokens, np.asarray(context_tokens, dtype=np.float64) / checked)
        if self.drafted_tokens and "overhead" in parts:
            parts = {**parts, "overhead": step.breakdown(batch, context_tokens)["overhead"]}
        return parts

    def step_s(self, step: StepModel, batch: Quantity, context_tokens: Quantity) -> FloatArray:
        """Seconds of a step that drafts and checks, for `batch` sequences of `context_tokens` tokens."""
        if not self.drafted_tokens:
            return step.decode_step_s(batch, context_tokens)
        parts = self.parts(step, batch, context_tokens)
        return np.asarray((1 + self.step_overhead) * sum(parts.values(), start=np.float64(0)))

    @property
    def token_variance(self) -> float:
        """Variance of the tokens that a step yields, were each drafted token kept with the same chance p.

        Tokens = 1 + N with P(N >= i) = p^i for i = 1 .. drafted, and p such that the mean is `accepted_tokens`.

        >>> round(Speculation(3, 2.4).token_variance, 2)
        1.5
        """
        powers = np.arange(1, self.drafted_tokens + 1)
        low, high = 0.0, 1.0
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if (middle**powers).sum() < self.accepted_tokens - 1 else (low, middle)
        chances = low**powers
        return float(((2 * powers - 1) * chances).sum() - chances.sum() ** 2)


NO_SPECULATION = Speculation()


class TokenSteps(StepModel):
    """Steps of a replica that speculates, cut so that each yields one token: what a replay token by token asks for.

    A decode step is 1 / accepted of the step that drafts and checks; what a prompt's chunk adds is whole.
    """

    def __init__(self, step: StepModel, speculation: Speculation) -> None:
        self.provider, self.estimated, self.band = step.provider, step.estimated, step.band
        self._step, self._speculation = step, speculation

    def breakdown(
        self, batch: Quantity, context_tokens: Quantity, new_tokens: Quantity = 0, cached_tokens: Quantity = 0
    ) -> dict[Part, FloatArray]:
        """Seconds of every part of a step that yields one token for each sequence."""
        checked = self._speculation.drafted_tokens + 1
        tokens = np.asarray(batch, dtype=np.float64) * checked
        context = np.asarray(context_tokens, dtype=np.float64) / checked
        share = (1 + self._speculation.step_overhead) / self._speculation.accepted_tokens
        decode = self._speculation.parts(self._step, batch, context_tokens)
        alone = self._step.breakdown(tokens, context)
        whole = self._step.breakdown(tokens, context, new_tokens, cached_tokens)
        zero = np.float64(0)
        return {
            part: np.asarray(whole[part] - alone.get(part, zero) + share * decode.get(part, zero)) for part in whole
        }
