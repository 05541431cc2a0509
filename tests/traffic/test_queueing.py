"""The queueing forms: against a simulated replica, in their limits, and in their monotonicity."""

from __future__ import annotations

import heapq
import random
from collections import deque
from dataclasses import replace
from itertools import pairwise
from math import inf, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.catalog.types import Bottleneck
from planner.scenario.traffic import Lengths
from planner.traffic.lengths import Band, ClassLengths, Histogram, Served, bands, histogram, served
from planner.traffic.queueing import (
    ReplicaTiming,
    capacity,
    capacity_of,
    load_per_rps,
    p95_tpot_s,
    p95_ttft_s,
    stack,
    tpot_grid,
    workload,
)

# Orders of magnitude of Llama-3.1-8B on one H100 and Llama-3.1-70B on four, bf16 (a roofline's affine fit).
SMALL = ReplicaTiming(6.1e-3, 8.2e-6, 43e-9, 18.7e-6, 4e-4, 7.6e-10, 1200.0, 8192)
LARGE = ReplicaTiming(15.1e-3, 34.7e-6, 27e-9, 58.4e-6, 1e-3, 9.5e-10, 1200.0, 8192)
# Percentiles of the Azure LLM inference traces of 2023 (CC-BY 4.0): conversation and code completion.
CHAT = (
    histogram(Lengths(((500_000, 1_020), (950_000, 4_083), (990_000, 4_142)), 14_050)),
    histogram(Lengths(((500_000, 129), (950_000, 451), (990_000, 601)), 1_000)),
)
CODE = (
    histogram(Lengths(((500_000, 1_469), (990_000, 7_436)), 7_437)),
    histogram(Lengths(((500_000, 8), (950_000, 100), (990_000, 251)), 1_000)),
)


def _served(prompts: Histogram, outputs: Histogram, limit: int = 65_536, reusable_ppm: int = 0) -> Served:
    return served(bands(ClassLengths(prompts, outputs), [])[0], limit, reusable_ppm)


def _constant(prompt: int, output: int) -> Served:
    return served(Band(0, prompt, 1_000_000, ((prompt, 1_000_000),), ((output, 1_000_000),)), 10**6)


def _steps(timing: ReplicaTiming, tokens: int, generator: random.Random) -> int:
    """Steps that yield so many tokens; with speculation each drafted one is kept with the same chance."""
    if timing.tokens_per_step == 1:
        return tokens
    chances = np.linspace(0, 1, 100_001)
    means = sum(chances**i for i in range(1, timing.draft_tokens + 1))
    keep = float(chances[np.searchsorted(means, timing.tokens_per_step - 1)])
    count = 0
    while tokens > 0:
        kept = 0
        while kept < timing.draft_tokens and generator.random() < keep:
            kept += 1
        tokens -= 1 + kept
        count += 1
    return count


def _simulate(
    timing: ReplicaTiming, lengths: tuple[Histogram, Histogram], rate_rps: float, count: int
) -> tuple[float, float]:
    """p95 TPOT (answers of 16 tokens or more) and p95 TTFT of a replica with continuous batching.

    Poisson arrivals, first come first served, chunked prefill in the budget that decodes leave, no KV limit.
    Nothing here is shared with the forms but the step times.
    """
    generator = random.Random(1)
    prompts = generator.choices(*map(list, zip(*lengths[0], strict=True)), k=count)
    outputs = generator.choices(*map(list, zip(*lengths[1], strict=True)), k=count)
    steps = [_steps(timing, output - 1, generator) for output in outputs]
    per_token = {prompt: float(timing.prefill_s(prompt, 0)) / prompt for prompt, _ in lengths[0]}
    arrivals, clock = [], 0.0
    for _ in range(count):
        clock += generator.expovariate(rate_rps)
        arrivals.append(clock)
    first, last = [0.0] * count, [0.0] * count
    waiting: deque[list[int]] = deque()
    ends: list[tuple[int, int]] = []
    now, arrived, finished, step, batch, kv, growth = 0.0, 0, 0, 0, 0, 0.0, 0.0
    while finished < count:
        while arrived < count and arrivals[arrived] <= now:
            waiting.append([arrived, prompts[arrived]])
            arrived += 1
        if not waiting and not batch:
            now = arrivals[arrived]
            continue
        budget, work, prefilled = timing.chunk_tokens - batch, 0.0, []
        while waiting and budget > 0:
            head = waiting[0]
            chunk = min(head[1], budget)
            budget -= chunk
            head[1] -= chunk
            work += chunk * per_token[prompts[head[0]]]
            if not head[1]:
                prefilled.append(waiting.popleft()[0])
        now += timing.alpha_s + timing.beta_s * batch + timing.gamma_s_per_token * kv + work
        step += 1
        kv += growth
        while ends and ends[0][0] == step:
            done = heapq.heappop(ends)[1]
            last[done] = now
            batch -= 1
            kv -= prompts[done] + outputs[done] - 1
            growth -= (outputs[done] - 1) / steps[done]
            finished += 1
        for new in prefilled:
            first[new] = last[new] = now
            if outputs[new] == 1:
                finished += 1
                continue
            heapq.heappush(ends, (step + steps[new], new))
            growth += (outputs[new] - 1) / steps[new]
            batch += 1
            kv += prompts[new]
    warm = range(count // 10, count)
    gaps = [(last[i] - first[i]) / (outputs[i] - 1) for i in warm if outputs[i] >= 16]
    return float(np.quantile(gaps, 0.95)), float(np.quantile([first[i] - arrivals[i] for i in warm], 0.95))


@pytest.mark.parametrize(
    ("timing", "lengths", "tpot_s"),
    [
        (SMALL, CHAT, 0.020),
        (SMALL, CHAT, 0.030),
        (SMALL, CHAT, 0.050),
        (replace(SMALL, chunk_tokens=2048), CODE, 0.020),
        (replace(SMALL, chunk_tokens=2048), CODE, 0.030),
        (LARGE, CHAT, 0.050),
    ],
)
def test_tpot_capacity_against_a_simulated_replica(
    timing: ReplicaTiming, lengths: tuple[Histogram, Histogram], tpot_s: float
) -> None:
    """The rate of the form lies within 0.90 to 1.08 of the simulated one: the published accuracy."""
    cap = float(capacity(_served(*lengths), timing, tpot_s, inf).cap_rps)
    assert _simulate(timing, lengths, cap / 1.08, 10_000)[0] <= tpot_s
    assert _simulate(timing, lengths, cap / 0.90, 10_000)[0] >= tpot_s


@pytest.mark.parametrize(
    ("timing", "lengths", "ttft_s"),
    [
        (SMALL, CHAT, 0.4),
        (SMALL, CHAT, 0.8),
        (replace(SMALL, chunk_tokens=2048), CODE, 0.4),
        (replace(SMALL, chunk_tokens=2048), CODE, 0.8),
        (LARGE, CHAT, 0.8),
        (LARGE, CHAT, 1.5),
    ],
)
def test_ttft_capacity_against_a_simulated_replica(
    timing: ReplicaTiming, lengths: tuple[Histogram, Histogram], ttft_s: float
) -> None:
    """The rate of the form lies within 0.87 to 1.05 of the simulated one: the published accuracy."""
    cap = float(capacity(_served(*lengths), timing, inf, ttft_s).cap_rps)
    assert _simulate(timing, lengths, cap / 1.05, 10_000)[1] <= ttft_s
    assert _simulate(timing, lengths, cap / 0.87, 10_000)[1] >= ttft_s


DRAFTED = replace(SMALL, alpha_s=7.2e-3, beta_s=30e-6, tokens_per_step=2.4, tokens_variance=1.51, draft_tokens=3)
"""Steps that check four tokens and keep 2.4 of them."""


@pytest.mark.parametrize(("tpot_s", "ttft_s"), [(0.012, inf), (0.020, inf), (inf, 0.4), (inf, 0.8)])
def test_speculation_against_a_simulated_replica(tpot_s: float, ttft_s: float) -> None:
    """Steps that yield a random number of tokens: the forms hold with the same accuracy as without."""
    cap = float(capacity(_served(*CHAT), DRAFTED, tpot_s, ttft_s).cap_rps)
    slower, faster = (_simulate(DRAFTED, CHAT, cap / part, 4_000) for part in ((1.08, 0.88)))
    assert slower[0] <= tpot_s and slower[1] <= ttft_s
    assert faster[0] >= tpot_s or faster[1] >= ttft_s


def test_a_token_a_step_is_no_speculation() -> None:
    """Two tokens in steps of twice the time are one token a step, but for the wait and the spread of whole steps."""
    double = replace(SMALL, alpha_s=2 * SMALL.alpha_s, beta_s=2 * SMALL.beta_s, tokens_per_step=2.0)
    double = replace(double, gamma_s_per_token=2 * SMALL.gamma_s_per_token)
    band = _served(*CHAT)
    assert float(p95_tpot_s(band, double, 4.0)) == pytest.approx(float(p95_tpot_s(band, SMALL, 4.0)), rel=1e-12)
    assert float(p95_ttft_s(band, double, 4.0)) > float(p95_ttft_s(band, SMALL, 4.0))


def test_published_ratio_of_p95_to_mean_tpot() -> None:
    """The p95 is 1.2 to 1.7 times the mean gap for chat and 2.2 to 3.4 times for code (published)."""
    for timing, lengths, tpot_s, low, high in (
        (SMALL, CHAT, 0.030, 1.2, 1.7),
        (LARGE, CHAT, 0.050, 1.2, 1.7),
        (replace(SMALL, chunk_tokens=2048), CODE, 0.030, 2.2, 3.4),
    ):
        band = _served(*lengths)
        cap = float(capacity(band, timing, tpot_s, inf).cap_rps)
        work = workload(band, timing)
        mean_gap = timing.alpha_s / (1 - cap * (work.prefill_s + work.decode_s))
        assert low < tpot_s / mean_gap < high


def test_an_idle_replica() -> None:
    """As the rate falls to 0, TPOT falls to alpha and TTFT to the prompt's own steps and half a step."""
    band = _constant(1000, 200)
    assert float(p95_tpot_s(band, SMALL, 0.0)) == pytest.approx(SMALL.alpha_s, rel=1e-12)
    own_s = float(SMALL.prefill_s(1000, 0)) + SMALL.alpha_s * 1000 / 8192 + SMALL.alpha_s * 1.5
    spread_s = SMALL.alpha_s / sqrt(12)
    ttft = float(p95_ttft_s(band, SMALL, 0.0))
    assert own_s < ttft < own_s + 2 * spread_s


def test_forms_by_hand() -> None:
    """One constant length at one rate, every quantity written out."""
    x, prompt, output = 4.0, 2000, 101
    s = 18.7e-6 * prompt + 4e-4 + 7.6e-10 * prompt**2 / 2 * (1 + 1200 / prompt)
    m = prompt + output / 2
    d = 100 * (8.2e-6 + 43e-9 * m)
    gap = 6.1e-3 / (1 - x * (s + d))
    rp, steps = x * s, 100
    eta, batch = x * d / (1 - rp), x * 100 * gap
    tpot = gap * (1 + 2.6 * sqrt(x * s**2 / ((1 - rp) ** 2 * steps * gap) + eta**2 / (batch * (1 - eta))))
    band = _constant(prompt, output)
    assert float(p95_tpot_s(band, SMALL, x)) == pytest.approx(tpot, rel=1e-12)

    step = gap * (1 - rp)
    z = s + step * prompt / 8192
    r = x * z
    wait = x * z**2 / (2 * (1 - r))
    mean = wait + z + step + gap / 2
    variance = wait**2 + x * z**3 / (3 * (1 - r)) + gap**2 / 12
    from scipy.stats import gamma

    expected = gamma.ppf(0.95, mean**2 / variance, scale=variance / mean)
    assert float(p95_ttft_s(band, SMALL, x)) == pytest.approx(expected, rel=1e-9)

    load = load_per_rps(band, SMALL, 0.03, x)
    first = step + s / (1 - rp)
    assert float(load.first_token_s) == pytest.approx(first, rel=1e-12)
    assert float(load.sequences) == pytest.approx(101 * 0.03 + first, rel=1e-12)
    assert float(load.kv_tokens) == pytest.approx(100 * 0.03 * (m + 8) + (prompt + 8) * first, rel=1e-12)


def test_long_prompts_hold_their_slot_for_every_chunk() -> None:
    """A prompt of four chunks waits for at least four decode steps before its first token."""
    timing = replace(SMALL, chunk_tokens=1024)
    work = workload(_constant(4096, 100), timing)
    assert work.slots == 4.0
    assert workload(_constant(512, 100), timing).slots == 1.0


def test_capacity_meets_its_limits() -> None:
    """At the cap the limiting form equals its promise, TTFT at the rate before its factor of 0.9."""
    band = _served(*CHAT)
    result = capacity(band, SMALL, np.array([0.02, 0.03]), np.array([[0.4], [inf]]))
    assert result.cap_rps.shape == (2, 2)
    np.testing.assert_allclose(p95_tpot_s(band, SMALL, result.tpot_rps), [0.02, 0.03], rtol=1e-9)
    before_factor = float(result.ttft_rps[0, 0]) / 0.9
    assert float(p95_ttft_s(band, SMALL, before_factor)) == pytest.approx(0.4, rel=1e-9)
    np.testing.assert_array_equal(result.cap_rps, np.minimum(result.tpot_rps, result.ttft_rps))


def test_without_promises_the_queues_are_stable() -> None:
    """Infinite limits leave r < 1 and u < 1: both forms are finite at the cap and infinite just above."""
    band = _served(*CHAT)
    cap = float(capacity(band, SMALL, inf, inf).cap_rps)
    assert np.isfinite(p95_ttft_s(band, SMALL, cap))
    assert np.isfinite(p95_tpot_s(band, SMALL, cap))
    assert float(p95_ttft_s(band, SMALL, cap * (1 + 1e-9))) == inf
    work = workload(band, SMALL)
    assert float(p95_tpot_s(band, SMALL, 1.001 / (work.prefill_s + work.decode_s))) == inf


def test_limits_that_no_rate_keeps() -> None:
    """A TPOT below alpha and a TTFT below the idle one leave no rate, and the limit that failed is named."""
    band = _served(*CHAT)
    slow = capacity(band, SMALL, 0.006, 1.0)
    assert float(slow.cap_rps) == 0.0
    assert slow.bottleneck() is Bottleneck.TPOT
    late = capacity(band, SMALL, 0.03, 0.01)
    assert float(late.cap_rps) == 0.0
    assert late.bottleneck() is Bottleneck.TTFT
    assert bool(late.failed_ttft)
    assert not bool(late.failed_tpot)
    assert capacity(band, SMALL, 0.03, 1.0).bottleneck() is None


def test_short_answers_have_no_tpot_percentile() -> None:
    """Where no answer has 16 tokens the p95 is the mean gap: no spread, but the load rows still keep it."""
    band = _constant(1000, 10)
    work = workload(band, SMALL)
    assert band.harmonic_decode_steps is None
    gap = SMALL.alpha_s / (1 - 3.0 * (work.prefill_s + work.decode_s))
    assert float(p95_tpot_s(band, SMALL, 3.0)) == pytest.approx(gap, rel=1e-12)


def test_answers_of_one_token_have_no_decode() -> None:
    """With nothing to decode TPOT bounds nothing, even below alpha: the prefill queue alone sets the rate."""
    band = _constant(1000, 1)
    result = capacity(band, SMALL, np.array([0.001, 0.03]), 0.5)
    assert not result.failed_tpot.any()
    assert result.cap_rps[0] == result.cap_rps[1] == float(result.ttft_rps)
    load = load_per_rps(band, SMALL, 0.03, result.cap_rps)
    assert np.isfinite(load.kv_tokens).all()


def test_a_rejected_band_is_not_computed() -> None:
    """A band of which nothing fits has no moments: asking for them is a mistake of the caller."""
    with pytest.raises(ValueError, match="fits the context limit"):
        workload(_served(*CHAT, limit=10), SMALL)


@pytest.mark.parametrize(
    "change",
    [
        {"alpha_s": 0.0},  # a step takes time
        {"alpha_s": float("nan")},
        {"sigma_s_per_token": 0.0},  # prompts cost something
        {"chunk_tokens": 0},
    ],
)
def test_impossible_timings_are_refused(change: dict[str, float]) -> None:
    """Parameters outside their range raise when they are made."""
    with pytest.raises(ValueError, match="Expected"):
        replace(SMALL, **change)  # type: ignore[arg-type]


def test_stacked_workloads_answer_as_single_ones() -> None:
    """Many (band, replica) pairs at once give the rates that each gives alone."""
    pairs = [(_served(*CHAT), SMALL), (_served(*CODE), LARGE), (_constant(1000, 1), SMALL)]
    tpot, ttft = np.array([0.016, 0.02, 0.05]), 0.7
    together = capacity_of(stack([workload(band, timing) for band, timing in pairs]), tpot, ttft)
    for row, (band, timing) in enumerate(pairs):
        alone = capacity(band, timing, tpot, ttft)
        np.testing.assert_allclose(together.cap_rps[row], alone.cap_rps, rtol=1e-11)


def test_tpot_grid_is_absolute() -> None:
    """A looser promise keeps every point of a tighter one; points lie above alpha, the promise last."""
    tight, loose = tpot_grid(0.030, 0.0061), tpot_grid(0.045, 0.0061)
    assert tight[-1] == 0.030
    assert loose[-1] == 0.045
    assert set(tight[:-1]) <= set(loose)
    assert min(tight) > 0.0061
    assert all(upper / lower <= 1.15 + 1e-12 for lower, upper in pairwise(loose))
    assert tpot_grid(0.005, 0.0061) == (0.005,)
    assert tpot_grid(None, 0.01) == pytest.approx((0.015, 0.02, 0.03, 0.05, 0.08))


lengths_of_a_class = st.tuples(st.integers(20, 6_000), st.floats(1.1, 8.0), st.integers(2, 800), st.floats(1.1, 8.0))


def _law(p50: int, spread: float) -> Histogram:
    return histogram(Lengths(((500_000, p50), (990_000, round(p50 * spread))), round(p50 * spread * 1.5)))


@settings(max_examples=60, deadline=None)
@given(lengths_of_a_class, st.floats(0.008, 0.1), st.floats(0.1, 5.0), st.floats(1.0, 2.0))
def test_looser_promises_carry_more(
    law: tuple[int, float, int, float], tpot_s: float, ttft_s: float, looser: float
) -> None:
    """The cap never falls when a promise is loosened, and never exceeds either stability limit."""
    band = _served(_law(law[0], law[1]), _law(law[2], law[3]))
    tpot, ttft = np.array([tpot_s, tpot_s * looser, inf]), np.array([[ttft_s], [ttft_s * looser], [inf]])
    caps = capacity(band, SMALL, tpot, ttft).cap_rps
    assert (np.diff(caps, axis=0) >= -1e-9).all()
    assert (np.diff(caps, axis=1) >= -1e-9).all()
    work = workload(band, SMALL)
    assert caps.max() * (work.prefill_s + work.decode_s) < 1


@settings(max_examples=60, deadline=None)
@given(lengths_of_a_class, st.integers(1, 3_000), st.floats(0.008, 0.1), st.floats(0.2, 5.0))
def test_longer_prompts_carry_less(
    law: tuple[int, float, int, float], longer: int, tpot_s: float, ttft_s: float
) -> None:
    """The same answers to prompts that are all longer never raise the cap."""
    prompts, outputs = _law(law[0], law[1]), _law(law[2], law[3])
    grown = tuple((tokens + longer, weight) for tokens, weight in prompts)
    short = capacity(_served(prompts, outputs), SMALL, tpot_s, inf).cap_rps
    long = capacity(_served(grown, outputs), SMALL, tpot_s, inf).cap_rps
    assert long <= short * (1 + 1e-9)
    idle = [float(p95_ttft_s(_served(rows, outputs), SMALL, 0.0)) for rows in (prompts, grown)]
    assert idle[1] > idle[0]


@settings(max_examples=60, deadline=None)
@given(lengths_of_a_class, st.floats(1.1, 4.0), st.floats(0.2, 5.0))
def test_longer_answers_leave_less_room_for_prompts(
    law: tuple[int, float, int, float], longer: float, ttft_s: float
) -> None:
    """With the same prompts, answers that are all longer never raise the rate that keeps a TTFT promise."""
    prompts, outputs = _law(law[0], law[1]), _law(law[2], law[3])
    grown = tuple((round(tokens * longer) + index, weight) for index, (tokens, weight) in enumerate(outputs))
    short = capacity(_served(prompts, outputs), SMALL, inf, ttft_s).cap_rps
    long = capacity(_served(prompts, grown), SMALL, inf, ttft_s).cap_rps
    assert long <= short * (1 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(lengths_of_a_class, st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_latency_grows_with_the_rate(law: tuple[int, float, int, float], one: float, two: float) -> None:
    """Both percentiles grow with the rate, from the idle replica to the stability limit."""
    band = _served(_law(law[0], law[1]), _law(law[2], law[3]))
    cap = float(capacity(band, SMALL, inf, inf).cap_rps)
    x = np.array(sorted((one, two))) * cap
    for form in (p95_tpot_s, p95_ttft_s):
        low, high = form(band, SMALL, x)
        assert low <= high * (1 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(lengths_of_a_class, st.integers(0, 900_000), st.floats(0.01, 0.08))
def test_prefix_hits_never_cost(law: tuple[int, float, int, float], hit: int, tpot_s: float) -> None:
    """Cached prompt tokens never lower the TPOT-bound rate, and a decoding request holds as much KV."""
    prompts, outputs = _law(law[0], law[1]), _law(law[2], law[3])
    plain, hits = _served(prompts, outputs), _served(prompts, outputs, reusable_ppm=hit)
    before = capacity(plain, SMALL, tpot_s, inf).tpot_rps
    after = capacity(hits, SMALL, tpot_s, inf).tpot_rps
    assert after >= before * (1 - 1e-9)
    assert hits.resident_tokens == plain.resident_tokens
