"""How long decoding took, and how long it should have: load and speed told apart.

While a replica decodes for b sequences of S tokens, a token takes decode(b, S), and every prompt that is computed
beside them holds all of them up. So the time that requests spend decoding is

    sum of (end - first token) = f * sum over tokens of decode(b, S) + sum over prompts of prefill * sequences beside it

with b and S as they were, whatever brought them about. f is the speed of the machine and the model alone. The right
side is not exact (chunks meet steps, batches are seen at some moments only), so a replay of the same requests, where
f is 1, says by how much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.simulate.fleet import Site
from planner.verify.answers import Answers, FloatArray, IntArray

MOMENTS = 1_500
"""Moments at which batches are looked at, over all replicas of a group."""

MOST_PROMPTS = 10_000
"""Prompts whose prefill is timed; of more, every n-th."""


@dataclass(frozen=True)
class Work:
    """Seconds over all requests of a group: spent decoding, and as predicted for decoding and for prompts beside it.

    `batch` and `context_tokens` are means over the tokens that were decoded.
    """

    spent_s: float
    decode_s: float
    prefill_s: float
    tokens: float
    batch: float
    context_tokens: float
    requests: int

    @property
    def step_s(self) -> float:
        """The mean decode step as predicted, at the batch and context of each moment."""
        return self.decode_s / self.tokens

    @property
    def ratio(self) -> float:
        """Spent over predicted."""
        return self.spent_s / (self.decode_s + self.prefill_s)


def decode_factor(actual: Work, replayed: Work) -> float:
    """f of the actual requests: how much longer a decode step takes at the same batch and context."""
    spent_s = actual.spent_s / replayed.ratio
    return max(0.01, (spent_s - actual.prefill_s) / actual.decode_s)


def step_factor(actual: Work, replayed: Work) -> float:
    """The same if prompts take longer by the same factor: what corrects all steps at once."""
    return actual.ratio / replayed.ratio


def work(answers: Answers, sites: Sequence[Site], replicas: int, hit_share: float) -> Work | None:
    """The work of a group of replicas; None where nothing was decoded.

    Requests that were preempted do not count, as they waited in between. Where the log does not say which replica
    answered, all of them count as equally loaded.
    """
    good = (
        np.isfinite(answers.first_s + answers.end_s) & (answers.end_s > answers.first_s) & (answers.output_tokens > 1)
    )
    answers = answers.where(good)
    if not answers.count:
        return None
    names = np.char.add(np.char.add(answers.deployment, "/"), answers.replica)
    told = bool((answers.replica != "").all())
    parts = [answers.where(names == name) for name in np.unique(names)] if told else [answers]
    share = 1.0 if told else float(replicas)
    looked = [_looked(part, share, max(50, MOMENTS // len(parts))) for part in parts]
    decode_s = prefill_s = tokens = batches = contexts = 0.0
    for part, (rates, batch, context, seconds) in zip(parts, looked, strict=True):
        own = [site for site in sites if site.name == str(part.deployment[0])] or list(sites)
        steps = np.array([decode_step_s(own, b, c) for b, c in zip(batch.tolist(), context.tolist(), strict=True)])
        decode_s += float((rates * steps).sum() * seconds)
        tokens += float(rates.sum() * seconds)
        batches += float((rates * batch).sum() * seconds)
        contexts += float((rates * context).sum() * seconds)
        prefill_s += _held_up(part, own[0], share, hit_share)
    if tokens <= 0 or decode_s <= 0:
        return None
    counted = ~(answers.preemptions > 0)
    spent_s = float((answers.end_s - answers.first_s)[counted].sum())
    return Work(spent_s, decode_s, prefill_s, tokens, batches / tokens, contexts / tokens, answers.count)


def _looked(answers: Answers, share: float, moments: int) -> tuple[FloatArray, FloatArray, FloatArray, float]:
    """Tokens/s of all, batch and mean context of one replica at moments in the middle of equal times."""
    start, end = float(answers.first_s.min()), float(answers.end_s.max())
    seconds = (end - start) / moments
    at: FloatArray = start + (np.arange(moments, dtype=np.float64) + 0.5) * seconds
    speed = (answers.output_tokens - 1) / (answers.end_s - answers.first_s)
    counted = np.where(answers.preemptions > 0, 0.0, speed)
    one = np.ones(answers.count)
    total = _active(answers, one, at)
    base = _active(answers, answers.input_tokens - speed * answers.first_s, at)
    slope = _active(answers, speed, at)
    resident = base + slope * at
    context = np.where(total > 0, resident / np.maximum(total, 1.0), 0.0)
    return _active(answers, counted, at), np.maximum(total / share, (total > 0) * 1.0), context, seconds


def _active(answers: Answers, weights: FloatArray, at: FloatArray) -> FloatArray:
    """The sum of weights over the requests that decode at each moment."""
    return _before(answers.first_s, weights, at) - _before(answers.end_s, weights, at)


def _before(times: FloatArray, weights: FloatArray, at: FloatArray) -> FloatArray:
    order = np.argsort(times, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(weights[order])])
    return sums[np.searchsorted(times[order], at, side="left")]


def decode_step_s(sites: Sequence[Site], batch: float, context: float) -> float:
    """Seconds of a decode step; straight between whole batches, the mean of deployments that are not told apart."""
    if batch <= 0:
        return 0.0
    total = 0.0
    for site in sites:
        low, tokens = int(batch), min(int(context), site.rules.context_limit_tokens)
        below = site.steps.decode_s(max(1, low), tokens)
        part = batch - low if low else 0.0
        above = site.steps.decode_s(low + 1, tokens) if part else below
        total += (below + part * (above - below)) * len(site.nodes)
    return total / sum(len(site.nodes) for site in sites)


def _held_up(answers: Answers, site: Site, share: float, hit_share: float) -> float:
    """Seconds that prompts took from those that decoded beside them, over all of them."""
    order: IntArray = np.argsort(answers.first_s, kind="stable")
    stride = -(-len(order) // MOST_PROMPTS)
    chosen = order[::stride]
    counted: NDArray[np.float64] = np.where(answers.preemptions > 0, 0.0, 1.0)
    beside = _active(answers, counted, answers.first_s[chosen]) / share
    total = 0.0
    for index, others in zip(chosen.tolist(), beside.tolist(), strict=True):
        if others > 0:
            prompt = int(answers.input_tokens[index])
            cached = answers.cached_tokens[index]
            cached = min(int(prompt * hit_share if np.isnan(cached) else cached), prompt - 1)
            total += others * _prefill(site, prompt - cached, cached, round(others))
    return total * stride


def _prefill(site: Site, new_tokens: int, cached_tokens: int, batch: int) -> float:
    """Seconds that a prompt adds to the steps of a batch, chunk by chunk."""
    rules, steps = site.rules, site.steps
    batch = max(1, min(batch, rules.max_num_seqs))
    budget, at, total = max(1, rules.max_num_batched_tokens - batch), 0, 0.0
    while at < new_tokens:
        size = min(budget, new_tokens - at)
        total += steps.beside_s(batch, size) + steps.attention_s(size, cached_tokens + at)
        at += size
    return total
