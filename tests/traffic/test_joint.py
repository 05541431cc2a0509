"""Tests of joint lengths: texts that carry them, bands of them, and what a replica makes of them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.scenario.traffic import TraceUse
from planner.traffic import joint
from planner.traffic.joint import in_ppm, pair_texts, pairs_of, rounded
from planner.traffic.lengths import Band, ClassLengths, bands, joined, served, trace_lengths
from planner.traffic.trace import read_trace
from planner.traffic.trace_use import facts_of, rates_of, windowed

TRACES = Path(__file__).parents[2] / "scenarios" / "traces"
PAIRS = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 40)), min_size=1, max_size=60)


@given(PAIRS)
def test_texts_carry_every_pair(pairs: list[tuple[int, int]]) -> None:
    """Tests that texts and pairs are two forms of the same requests."""
    texts, rounding = pair_texts(np.array([p for p, _ in pairs]), np.array([o for _, o in pairs]))
    assert rounding == 0
    assert sorted(pairs) == [(p, o) for p, o, count in pairs_of(texts) for _ in range(count)]


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=400))
def test_parts_of_a_million_add_up_at_every_place(counts: list[int]) -> None:
    """Tests that running sums are right to one part in a million."""
    parts = in_ppm(counts)
    assert sum(parts) == 1_000_000
    total, below, shown = sum(counts), 0, 0
    for count, part in zip(counts, parts, strict=True):
        below, shown = below + count, shown + part
        assert 0 <= Fraction(below * 1_000_000, total) - shown < 1


@pytest.mark.parametrize("text", ["", "5", "5 ", "5 0", "0 5", "5 x", "5 5*0", "5 ５", "5 7 6", "5 -1", "5 1*2*3"])
def test_texts_that_are_none_are_refused(text: str) -> None:
    """Tests that a plan changed by hand is not read as something else."""
    with pytest.raises(ValueError, match="Expected"):
        pairs_of((text,))


def test_many_pairs_are_rounded_to_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that rounding keeps means within its step, and the longest as it is."""
    monkeypatch.setattr(joint, "MOST_PAIRS", 6_000)
    random = np.random.default_rng(3)
    prompts = np.exp(random.normal(7, 1, 50_000)).astype(np.int64) + 1
    outputs = np.exp(random.normal(5, 1, 50_000)).astype(np.int64) + 1
    texts, rounding = pair_texts(prompts, outputs)
    pairs = pairs_of(texts)
    assert rounding in joint.ROUNDINGS and len(pairs) <= 6_000
    mean = sum(p * count for p, _, count in pairs) / 50_000
    assert mean == pytest.approx(prompts.mean(), rel=0.005)
    assert max(p for p, *_ in pairs) == prompts.max()
    assert np.abs(rounded(prompts, rounding) / prompts - 1).max() <= 1 / rounding


@settings(max_examples=80, deadline=None)
@given(pairs=PAIRS, limit=st.integers(2, 110), reusable=st.sampled_from([0, 400_000]), cut=st.integers(1, 60))
def test_a_band_serves_its_own_requests(pairs: list[tuple[int, int]], limit: int, reusable: int, cut: int) -> None:
    """Tests shares and moments of every band against a loop over its requests."""
    weights = dict.fromkeys(pairs, 0)
    for pair in pairs:
        weights[pair] += 1
    ordered = sorted(weights)
    lengths = trace_lengths(tuple(pair_texts(np.array([p for p, _ in pairs]), np.array([o for _, o in pairs]))[0]))
    ppm = dict(zip(ordered, in_ppm([weights[pair] for pair in ordered]), strict=True))
    for band in bands(lengths, [cut]):
        own = {pair: ppm[pair] for pair in ordered if band.lower_tokens < pair[0] <= band.upper_tokens}
        total = sum(own.values())
        assert band.weight_ppm == total
        found = served(band, limit, reusable)
        kept = {(p, min(o, limit - p)): 0 for p, o in own if p < limit}
        for (p, o), weight in own.items():
            if p < limit:
                kept[p, min(o, limit - p)] += weight
        inside = sum(kept.values())
        assert found.rejected == Fraction(total - inside, total)
        assert found.cut_short == Fraction(sum(w for (p, o), w in own.items() if p < limit < p + o), total)
        if not inside:
            continue
        steps = sum((o - 1) * w for (_, o), w in kept.items())
        resident = sum(((o - 1) * p + o * (o - 1) / 2) * w for (p, o), w in kept.items())
        assert found.mean_prompt_tokens == pytest.approx(sum(p * w for (p, _), w in kept.items()) / inside)
        assert found.mean_decode_steps == pytest.approx(steps / inside)
        assert found.resident_tokens == pytest.approx(resident / steps if steps else 0.0)
        long = {(p, o): w for (p, o), w in kept.items() if o >= 16}
        if long:
            harmonic = sum(long.values()) / sum(w / (o - 1) for (_, o), w in long.items())
            assert found.harmonic_decode_steps == pytest.approx(harmonic)
        assert band.mean_output_tokens == Fraction(sum(o * w for (_, o), w in own.items()), total)


def test_independent_lengths_are_a_joint_distribution_too() -> None:
    """Tests that both ways to serve a band agree where every prompt has the same outputs."""
    prompts, outputs = ((10, 250_000), (40, 750_000)), ((4, 200_000), (30, 800_000))
    product = tuple(tuple((o, w * weight // 1_000_000) for o, w in outputs) for _, weight in prompts)
    pooled = ((4, 200_000), (30, 800_000))
    for limit in (12, 41, 60, 200):
        apart = served(Band(0, 40, 1_000_000, prompts, outputs), limit, 300_000)
        together = served(Band(0, 40, 1_000_000, prompts, pooled, product), limit, 300_000)
        for name in ("rejected", "cut_short"):
            assert getattr(apart, name) == getattr(together, name)
        for name in ("mean_output_tokens", "resident_tokens", "harmonic_decode_steps", "mean_decode_steps"):
            assert getattr(apart, name) == pytest.approx(getattr(together, name))


def test_bands_join_to_what_they_were_cut_from() -> None:
    """Tests that adjacent bands of a trace are one band again."""
    lengths = trace_lengths(("10 3 4", "20 5*3", "70 2 9"))
    (whole,) = bands(lengths, [])
    parts = bands(lengths, [10, 50])
    assert len(parts) == 3
    assert joined(parts) == whole
    assert isinstance(lengths, ClassLengths)


@pytest.mark.parametrize(("name", "correlated"), [("conv", 1_154.697), ("code", 2_047.848)])
def test_the_azure_lengths_keep_their_moments(name: str, correlated: float) -> None:
    """Tests that what a plan carries has the trace's own moments, together and apart."""
    trace = read_trace(TRACES / f"azure_llm_2023_{name}.csv.gz")
    facts = facts_of(trace, TraceUse("log.csv"))
    assert not isinstance(facts, str) and facts.rounding == 0
    found = served(bands(trace_lengths(facts.lengths), [])[0], 1_000_000)
    prompt, output = trace.input_tokens.astype(float), trace.output_tokens.astype(float)
    assert found.mean_prompt_tokens == pytest.approx(correlated, rel=1e-4)
    assert found.mean_output_tokens == pytest.approx(output.mean(), rel=1e-3)
    resident = ((output - 1) * prompt + output * (output - 1) / 2).sum() / (output - 1).sum()
    assert found.resident_tokens == pytest.approx(resident, rel=1e-3)


def test_a_window_is_a_part_of_a_trace() -> None:
    """Tests rates and requests of ten minutes against the rows themselves."""
    trace = read_trace(TRACES / "azure_llm_2023_conv.csv.gz")
    use = TraceUse("log.csv", Fraction(2), 10_000_000, start_us=600_000_000, end_us=1_200_000_000)
    part = windowed(trace, use)
    facts = facts_of(trace, use)
    assert not isinstance(part, str) and not isinstance(facts, str)
    inside = (trace.arrival_s >= 600) & (trace.arrival_s < 1200)
    assert facts.requests == part.requests == int(inside.sum())
    assert facts.span_us == 600_000_000
    peak, mean = rates_of(use, facts)
    assert mean == pytest.approx(2 * facts.requests / 600, abs=1e-6)
    assert peak == pytest.approx(2 * facts.busiest / 10, abs=1e-6) and peak >= 2 * Fraction(facts.busiest, 10)


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (TraceUse("log.csv", start_us=7_200_000_000), "no request came in its window"),
        (TraceUse("log.csv", peak_window_us=7_200_000_000), "less than its peak_window"),
        (TraceUse("log.csv", end_us=5_000_000), "less than its peak_window"),
    ],
)
def test_a_class_that_a_trace_cannot_serve_is_told_why(use: TraceUse, said: str) -> None:
    """Tests windows without requests, and peak windows longer than the trace."""
    found = facts_of(read_trace(TRACES / "azure_llm_2023_code.csv.gz"), use)
    assert isinstance(found, str) and said in found
