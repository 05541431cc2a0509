"""What traffic asks of a replica, as moments: everything that the queueing forms need to know about lengths.

The forms depend on lengths only through these numbers, and elementwise, so that many (band, candidate) pairs
can be evaluated at once: `stack` puts them into columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from planner.traffic.lengths import Served

FloatArray = NDArray[np.float64]
Quantity = float | FloatArray

BLOCK_SLACK_TOKENS = 8
"""Half of a 16-token KV block: what block rounding adds to a sequence on average."""


@dataclass(frozen=True)
class ReplicaTiming:
    """How fast a replica is: a decode step, a prompt token, and the chunk budget.

    step(b, kv) = alpha + beta * b + gamma * kv_tokens, which yields `tokens_per_step` tokens a sequence: 1, or more
    with speculative decoding, where their number varies by `tokens_variance` and KV keeps room for `draft_tokens`;
    s(new, cached) = sigma * new + fixed + per_token2 * (new * cached + new^2 / 2) * (1 + ramp / (new +
    cached)).
    """

    alpha_s: float
    beta_s: float
    gamma_s_per_token: float
    sigma_s_per_token: float
    attention_fixed_s: float
    attention_s_per_token2: float
    attention_ramp_tokens: float
    chunk_tokens: int
    tokens_per_step: float = 1.0
    tokens_variance: float = 0.0
    draft_tokens: int = 0

    def __post_init__(self) -> None:
        if not (self.alpha_s > 0 and self.sigma_s_per_token > 0):
            raise ValueError("Expected alpha_s and sigma_s_per_token above 0.")
        if self.chunk_tokens < 1:
            raise ValueError("Expected chunk_tokens of at least 1.")
        if self.tokens_per_step < 1:
            raise ValueError("Expected tokens_per_step of at least 1.")

    def prefill_s(self, new_tokens: Quantity, cached_tokens: Quantity) -> FloatArray:
        """s: what prompts add to the steps they ride on, in seconds."""
        new = np.asarray(new_tokens, dtype=np.float64)
        cached = np.asarray(cached_tokens, dtype=np.float64)
        pairs = new * cached + new * new / 2
        ramp = 1 + self.attention_ramp_tokens / np.maximum(new + cached, 1.0)
        attention = self.attention_fixed_s + self.attention_s_per_token2 * pairs * ramp
        return np.where(new > 0, self.sigma_s_per_token * new + attention, 0.0)


@dataclass(frozen=True, eq=False)
class HeldTokens:
    """Tokens of the KV pool that requests take where they are not those of their context, whole blocks included.

    `prefilling` has one entry for each prompt length that is served, `decoding` is the mean over decode steps.
    """

    prefilling: FloatArray
    decoding: float


@dataclass(frozen=True, eq=False)
class Workload:
    """Moments of one kind of request on one replica, after s (prefill seconds) and q (chunks, P_new / C).

    `alpha_s` and `decode_s`, d = E[O-1] (beta + gamma m), are over the a tokens that a step yields, `tokens_per_step`;
    `token_spread` is Var[a] / a; `context_tokens` is m, `resident_tokens` what a request holds of the pool.
    `decode_spread_s2` is d^2 / E[O-1]. `inverse_harmonic` is 1 / Oh and `counted` 1, both 0 where no answer has 16
    tokens. `slots` is E[max(1, q)]; `token_slots` and `token_prefill_s` are E[(P + 8) max(1, q)] and E[(P + 8) s],
    with all P prompt tokens.
    """

    alpha_s: Quantity
    prefill_s: Quantity
    prefill_s2: Quantity
    prefill_s3: Quantity
    chunks: Quantity
    chunks2: Quantity
    chunks3: Quantity
    prefill_chunks_s: Quantity
    prefill2_chunks_s2: Quantity
    prefill_chunks2_s: Quantity
    decode_s: Quantity
    decode_spread_s2: Quantity
    inverse_harmonic: Quantity
    counted: Quantity
    output_tokens: Quantity
    decode_steps: Quantity
    resident_tokens: Quantity
    slots: Quantity
    token_slots: Quantity
    token_prefill_s: Quantity
    context_tokens: Quantity = 0.0
    tokens_per_step: Quantity = 1.0
    token_spread: Quantity = 0.0


def workload(served: Served, timing: ReplicaTiming, holds: HeldTokens | None = None) -> Workload:
    """The moments of a band on a replica; `holds` where requests do not hold their context.

    Raises:
        ValueError: If the replica rejects every request of the band.
    """
    if not len(served.probabilities):
        raise ValueError("Expected a band of which some request fits the context limit.")
    weight = served.probabilities
    s = timing.prefill_s(served.new_tokens, served.cached_tokens)
    q = served.new_tokens / timing.chunk_tokens
    slots = np.maximum(1.0, q)
    held = served.new_tokens + served.cached_tokens + BLOCK_SLACK_TOKENS if holds is None else holds.prefilling
    resident = served.resident_tokens + timing.draft_tokens if holds is None else holds.decoding - BLOCK_SLACK_TOKENS
    steps = served.mean_decode_steps
    per_step = timing.tokens_per_step
    decode_s = steps * (timing.beta_s + timing.gamma_s_per_token * served.resident_tokens) / per_step
    harmonic = served.harmonic_decode_steps
    return Workload(
        alpha_s=timing.alpha_s / per_step,
        prefill_s=float(weight @ s),
        prefill_s2=float(weight @ s**2),
        prefill_s3=float(weight @ s**3),
        chunks=float(weight @ q),
        chunks2=float(weight @ q**2),
        chunks3=float(weight @ q**3),
        prefill_chunks_s=float(weight @ (s * q)),
        prefill2_chunks_s2=float(weight @ (s**2 * q)),
        prefill_chunks2_s=float(weight @ (s * q**2)),
        decode_s=decode_s,
        decode_spread_s2=decode_s**2 / steps if steps > 0 else 0.0,
        inverse_harmonic=1 / harmonic if harmonic else 0.0,
        counted=1.0 if harmonic else 0.0,
        output_tokens=served.mean_output_tokens,
        decode_steps=steps,
        resident_tokens=resident,
        slots=float(weight @ slots),
        token_slots=float(weight @ (held * slots)),
        token_prefill_s=float(weight @ (held * s)),
        context_tokens=served.resident_tokens,
        tokens_per_step=per_step,
        token_spread=timing.tokens_variance / per_step,
    )


def stack(workloads: Sequence[Workload]) -> Workload:
    """Many workloads as columns of shape (n, 1): the forms answer for all of them, against rows of limits."""
    columns = {
        entry.name: np.array([getattr(one, entry.name) for one in workloads], dtype=np.float64)[:, None]
        for entry in fields(Workload)
    }
    return Workload(**columns)


def retimed(work: Workload, alpha_s: FloatArray, beta_s: FloatArray, gamma_s_per_token: FloatArray) -> Workload:
    """The same requests on steps of other coefficients, which may have an axis of their own."""
    decode_s = work.decode_steps * (beta_s + gamma_s_per_token * work.context_tokens) / work.tokens_per_step
    steps = np.maximum(work.decode_steps, 1e-300)
    spread = np.where(np.asarray(work.decode_steps) > 0, decode_s**2 / steps, 0.0)
    return replace(work, alpha_s=alpha_s / work.tokens_per_step, decode_s=decode_s, decode_spread_s2=spread)


def with_axis(work: Workload) -> Workload:
    """The same workload with one more axis behind all others."""
    return Workload(**{entry.name: np.asarray(getattr(work, entry.name))[..., None] for entry in fields(Workload)})
