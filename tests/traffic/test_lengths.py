"""Percentiles to histograms to bands to what a replica serves."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import exp, log
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.scenario.traffic import Lengths
from planner.traffic.lengths import Band, ClassLengths, Histogram, bands, histogram, served

CHAT = Lengths(((500_000, 900), (950_000, 6_000), (990_000, 14_000)), 30_000)
ANSWERS = Lengths(((500_000, 320), (950_000, 900), (990_000, 1_800)), 4_096)


def _at(lengths: Histogram, ppm: float) -> int:
    """The smallest length whose cumulative weight reaches a probability."""
    reached = 0
    for tokens, weight in lengths:
        reached += weight
        if reached >= ppm:
            return tokens
    return lengths[-1][0]


@st.composite
def _lengths(draw: st.DrawFn) -> Lengths:
    tokens = sorted(draw(st.lists(st.integers(1, 100_000), min_size=3, max_size=3)))
    longest = tokens[-1] + draw(st.integers(0, 100_000))
    return Lengths(((500_000, tokens[0]), (950_000, tokens[1]), (990_000, tokens[2])), longest)


@st.composite
def _histograms(draw: st.DrawFn) -> Histogram:
    tokens = sorted(draw(st.sets(st.integers(1, 500), min_size=1, max_size=6)))
    cuts = sorted(draw(st.sets(st.integers(1, 999_999), min_size=len(tokens) - 1, max_size=len(tokens) - 1)))
    edges = [0, *cuts, 1_000_000]
    return tuple((token, upper - lower) for token, lower, upper in zip(tokens, edges[:-1], edges[1:], strict=True))


@settings(max_examples=100, deadline=None)
@given(_lengths())
def test_weights_are_exact(lengths: Lengths) -> None:
    """Weights are positive whole ppm that add up to a million over growing lengths from 1 to the maximum."""
    rows = histogram(lengths)
    assert sum(weight for _, weight in rows) == 1_000_000
    assert all(weight > 0 for _, weight in rows)
    tokens = [token for token, _ in rows]
    assert tokens == sorted(set(tokens))
    assert tokens[0] >= 1
    assert tokens[-1] == lengths.max_tokens


@settings(max_examples=100, deadline=None)
@given(_lengths())
def test_declared_percentiles_come_back(lengths: Lengths) -> None:
    """A declared percentile lies between the representatives of the bins on both sides of it."""
    rows = histogram(lengths)
    for (ppm, tokens), half_bin in zip(lengths.percentiles, (10_000, 5_000, 500), strict=True):
        assert _at(rows, ppm - half_bin) <= tokens + 0.5
        assert _at(rows, ppm + half_bin + 1) >= tokens - 0.5


def test_the_log_is_linear_in_the_normal_quantile() -> None:
    """Two percentiles of a lognormal law give it back, and its slope continues below the first point."""
    normal, mu, sigma = NormalDist(), log(900), 0.8
    points = tuple((ppm, round(exp(mu + sigma * normal.inv_cdf(ppm / 1e6)))) for ppm in (500_000, 950_000))
    rows = histogram(Lengths(points, round(exp(mu + sigma * normal.inv_cdf(0.9999)))))
    assert len(rows) == 73
    for ppm in (10_000, 250_000, 730_000, 945_000, 994_500, 999_250):
        expected = exp(mu + sigma * normal.inv_cdf(ppm / 1e6))
        assert _at(rows, ppm) == pytest.approx(expected, rel=0.002, abs=1)
    mean = sum(tokens * weight for tokens, weight in rows) / 1e6
    assert mean == pytest.approx(exp(mu + sigma**2 / 2), rel=0.01)


def test_a_constant_length_is_one_row() -> None:
    """Percentiles that are all the same make a single length; no percentiles leave only the maximum."""
    assert histogram(Lengths(((500_000, 512), (990_000, 512)), 512)) == ((512, 1_000_000),)
    assert histogram(Lengths((), 7)) == ((7, 1_000_000),)


def test_azure_conversation() -> None:
    """Azure LLM 2023 conversation from its percentiles: means within 25 %, shares past a limit nearly right.

    The trace itself (19,366 requests, CC-BY 4.0): prompts mean 1,155, outputs mean 211; 14.0 % of the prompts
    reach 2,048 tokens and 2.1 % reach 4,096. Three percentiles hold the tail but not the shape between them.
    """
    prompts = histogram(Lengths(((500_000, 1_020), (950_000, 4_083), (990_000, 4_142)), 14_050))
    outputs = histogram(Lengths(((500_000, 129), (950_000, 451), (990_000, 601)), 1_000))
    assert sum(tokens * weight for tokens, weight in prompts) / 1e6 == pytest.approx(1_155, rel=0.25)
    assert sum(tokens * weight for tokens, weight in outputs) / 1e6 == pytest.approx(211, rel=0.25)
    band = bands(ClassLengths(prompts, outputs), [])[0]
    assert float(served(band, 4_143).rejected) == pytest.approx(0.01, abs=0.0005)
    assert float(served(band, 2_048).rejected) == pytest.approx(0.140, abs=0.07)
    assert float(served(band, 4_096).rejected) == pytest.approx(0.0215, abs=0.02)
    assert served(band, 15_050).cut_short == 0


@settings(max_examples=200, deadline=None)
@given(_histograms(), _histograms(), st.lists(st.integers(-5, 600), max_size=4))
def test_bands_partition_the_prompts(inputs: Histogram, outputs: Histogram, cuts: list[int]) -> None:
    """Every prompt is in exactly one band, inside its bounds, and no two bands share a side of a cut."""
    parts = bands(ClassLengths(inputs, outputs), cuts)
    assert tuple(row for band in parts for row in band.prompts) == inputs
    for band in parts:
        assert band.weight_ppm == sum(weight for _, weight in band.prompts)
        assert all(band.lower_tokens < tokens <= band.upper_tokens for tokens, _ in band.prompts)
        assert not any(band.lower_tokens < cut < band.upper_tokens for cut in cuts)
        assert band.outputs == outputs
    for lower, upper in pairwise(parts):
        assert lower.upper_tokens <= upper.lower_tokens


@settings(max_examples=200, deadline=None)
@given(_histograms(), _histograms(), st.integers(1, 1_100), st.integers(0, 1_000_000))
def test_served_by_brute_force(inputs: Histogram, outputs: Histogram, limit: int, reusable_prefix_ppm: int) -> None:
    """Shares and moments agree with an enumeration of every (prompt, output) pair in exact arithmetic."""
    band = bands(ClassLengths(inputs, outputs), [])[0]
    pairs = [(p, o, wp * wo) for p, wp in inputs for o, wo in outputs]
    total = Fraction(10**12)
    kept = [(p, min(o, limit - p), w) for p, o, w in pairs if p < limit]
    result = served(band, limit, reusable_prefix_ppm)
    assert result.rejected == sum((w for p, _, w in pairs if p >= limit), Fraction(0)) / total
    assert result.cut_short == sum((w for p, o, w in pairs if p < limit < p + o), Fraction(0)) / total
    if not kept:
        assert len(result.probabilities) == 0
        return
    mass = sum(w for _, _, w in kept)
    steps = Fraction(sum((o - 1) * w for _, o, w in kept), mass)
    assert result.mean_output_tokens == pytest.approx(float(steps + 1), rel=1e-9)
    assert result.mean_decode_steps == pytest.approx(float(steps), rel=1e-9, abs=1e-9)
    if steps:
        held = sum((Fraction((o - 1) * p) + Fraction(o * (o - 1), 2)) * w for p, o, w in kept) / mass
        assert result.resident_tokens == pytest.approx(float(held / steps), rel=1e-9)
    counted = [(o, w) for _, o, w in kept if o >= 16]
    if counted:
        harmonic = sum(w for _, w in counted) / sum(Fraction(w, o - 1) for o, w in counted)
        assert result.harmonic_decode_steps == pytest.approx(float(harmonic), rel=1e-9)
    else:
        assert result.harmonic_decode_steps is None
    assert result.served_share == 1 - result.rejected


def test_limits_at_the_edges() -> None:
    """A prompt as long as the limit is rejected; one that just fits is neither rejected nor cut."""
    band = Band(0, 100, 1_000_000, ((90, 500_000), (100, 500_000)), ((10, 1_000_000),))
    at = served(band, 100)
    assert (at.rejected, at.cut_short) == (Fraction(1, 2), 0)
    below = served(band, 99)
    assert (below.rejected, below.cut_short) == (Fraction(1, 2), Fraction(1, 2))
    above = served(band, 109)
    assert (above.rejected, above.cut_short) == (0, Fraction(1, 2))
    assert (served(band, 110).rejected, served(band, 110).cut_short) == (0, 0)
    assert served(band, 90).rejected == 1


def test_resident_context_is_length_biased() -> None:
    """A running request is more likely one with a long answer, so it holds more than E[P] + E[O] / 2."""
    band = bands(ClassLengths(histogram(CHAT), histogram(ANSWERS)), [])[0]
    result = served(band, 65_536)
    assert result.resident_tokens > result.mean_prompt_tokens + result.mean_output_tokens / 2


def test_prefix_hits_split_prompts_and_keep_their_kv() -> None:
    """A reusable prefix of 35 % moves 35 % of every prompt to cached and changes no resident context."""
    band = bands(ClassLengths(histogram(CHAT), histogram(ANSWERS)), [])[0]
    plain, hits = served(band, 65_536), served(band, 65_536, 350_000)
    np.testing.assert_allclose(hits.new_tokens, 0.65 * plain.new_tokens)
    np.testing.assert_allclose(hits.new_tokens + hits.cached_tokens, plain.new_tokens)
    assert hits.resident_tokens == plain.resident_tokens
    assert served(band, 65_536, 1_000_000).new_tokens.min() == 1.0


def test_truncation_of_the_design_example() -> None:
    """With a limit of 8,192 the class loses its prompts past 8,191 tokens and cuts few answers."""
    rows = bands(ClassLengths(histogram(CHAT), histogram(ANSWERS)), [8_192 - 4_096, 8_191])
    results = [served(band, 8_192) for band in rows]
    assert [result.rejected for result in results] == [0, 0, 1]
    assert results[0].cut_short == 0
    assert 0 < results[1].cut_short < Fraction(1, 20)
