"""A replica under a closed loop: a fixed number of users, each of whom asks again as soon as the answer is there.

This is what `vllm bench serve --max-concurrency`, GuideLLM and AIPerf measure, so it is where predictions and
measurements meet. Plans use the queueing of the traffic room instead, since users of a service do not wait for
each other.

    running b = min(users, max_num_seqs, requests that the KV pool holds at their mean length; at their full length
                    where the engine starts none that it may have to evict)
    TPOT = STEP(b, input + output / 2) / accepted + (1 - w) (b - 1) / (output - 1) * dT
    TTFT = T_pf + STEP(b) + w (b - 1) dT + 20 ms
    rate X = b / (TTFT + (output - 1) TPOT), and with more users than run: TTFT = users / X - (output - 1) TPOT

dT is what one prompt adds to the decode steps it rides on. In steady state each request sees the prefill of every
other one exactly once: while it decodes, or, for a share w, before its own first token. A run of n rounds whose users
start together and drift apart has w = 1 / (2 n), half of the first round; users in lockstep, all of equal lengths on
an engine that prefills first, have w = 1/2. The sum of both is the same. Users beyond the KV pool wait in the engine's
queue: the rate stays, and TTFT grows by 1 / X with each of them (Little's law): the KV cliff.

Source: continuous batching with chunked prefill as in Sarathi-Serve (Agrawal et al., OSDI 2024); J. D. C. Little,
Operations Research 9 (1961). The share 0.05 and 20 ms: see docs/performance-accuracy.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.performance.provider import FloatArray, Part, StepModel
from planner.performance.speculation import NO_SPECULATION, Speculation

FIRST_WAVE_SHARE = 0.05
"""w of a run of ten rounds, as the measured runs are."""

SERVER_S = 0.020
"""Tokenizer, HTTP and the scheduler before the first token."""


@dataclass(frozen=True)
class Users:
    """What every user of the loop asks for, in tokens a request.

    `cached_tokens` of the prompt are found in the prefix cache. `first_wave_share` is w: how much the users are in
    step.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    speculation: Speculation = NO_SPECULATION
    first_wave_share: float = FIRST_WAVE_SHARE

    @property
    def mean_context_tokens(self) -> float:
        """Mean length of a sequence while it decodes: the prompt and half of the answer."""
        return self.input_tokens + self.output_tokens / 2


@dataclass(frozen=True)
class Limits:
    """What the engine lets run at once. None: nothing is known that limits it."""

    max_num_batched_tokens: int
    max_num_seqs: int | None = None
    pool_sequences: int | None = None
    """Requests that the KV pool holds: of mean length, or of full length where answers are reserved."""

    def running(self, users: int) -> int:
        """How many of the users' requests run at once."""
        known = [limit for limit in (self.max_num_seqs, self.pool_sequences) if limit is not None]
        return max(1, min([users, self.max_num_batched_tokens, *known]))


@dataclass(frozen=True)
class ClosedLoop:
    """The steady state of the loop; times are means in seconds."""

    users: int
    running: int
    prefill_s: float
    decode_step_s: float
    tpot_s: float
    ttft_s: float
    requests_per_s: float
    output_tokens_per_s: float
    breakdown_s: dict[Part, float]
    """Parts of the decode step; their sum is the step."""


def closed_loop(step: StepModel, users: Users, limits: Limits, count: int, ttft_factor: float = 1.0) -> ClosedLoop:
    """The steady state with `count` users.

    Args:
        step: times of one engine step.
        users: what each of them asks for; at least two output tokens, since the first is not a gap.
        limits: what the engine lets run at once.
        count: users in the loop.
        ttft_factor: measured over predicted TTFT of a request that does not wait for KV.
    """
    running = limits.running(count)
    parts = _decode_parts(step, users, running)
    decode_s = sum(parts.values())
    gaps = users.output_tokens - 1
    prefill_s = step.prefill_s(_new_tokens(users), users.cached_tokens, limits.max_num_batched_tokens)
    others_s = (running - 1) * _beside_decode_s(step, users, limits, running - 1)
    waited_s = users.first_wave_share * others_s
    tpot_s = decode_s / users.speculation.accepted_tokens + (others_s - waited_s) / gaps
    alone_s = ttft_factor * (prefill_s + decode_s + waited_s + SERVER_S)
    rate = running / (alone_s + gaps * tpot_s)
    return ClosedLoop(
        users=count,
        running=running,
        prefill_s=prefill_s,
        decode_step_s=decode_s,
        tpot_s=tpot_s,
        ttft_s=count / rate - gaps * tpot_s,
        requests_per_s=rate,
        output_tokens_per_s=rate * users.output_tokens,
        breakdown_s=parts,
    )


def _new_tokens(users: Users) -> int:
    """Prompt tokens to prefill: the last one always, since its output is the first token."""
    return max(1, users.input_tokens - users.cached_tokens)


def _decode_parts(step: StepModel, users: Users, running: int) -> dict[Part, float]:
    """Parts of a decode step, in seconds; with speculation those of `Speculation.step_s`."""
    overhead = users.speculation.step_overhead
    parts = users.speculation.parts(step, running, users.mean_context_tokens)
    seconds = {part: float(value) for part, value in parts.items()}
    if overhead:
        seconds["overhead"] = seconds.get("overhead", 0.0) + overhead * sum(seconds.values())
    return seconds


def _beside_decode_s(step: StepModel, users: Users, limits: Limits, decoding: int) -> float:
    """dT: what one prompt adds to the steps of `decoding` sequences, over the chunks that the budget leaves it."""
    if decoding < 1:
        return 0.0
    checked = users.speculation.drafted_tokens + 1
    sequences, context = decoding * checked, users.mean_context_tokens / checked
    chunk = max(1, limits.max_num_batched_tokens - sequences)
    starts = np.arange(0, _new_tokens(users), chunk, dtype=np.float64)
    new: FloatArray = np.minimum(chunk, _new_tokens(users) - starts)
    beside = step.mixed_step_s(sequences, context, new, users.cached_tokens + starts)
    return float((beside - step.decode_step_s(sequences, context)).sum())
