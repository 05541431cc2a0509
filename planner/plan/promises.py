"""What a deployment keeps: its promises at the load that the plan gives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Literal

from planner.candidates import Candidate, DemandItem
from planner.candidates.confidence import band_text, factors
from planner.candidates.demand import predicted
from planner.candidates.regions import network_us
from planner.plan.types import LoadRow, Promise, StepTimes
from planner.scenario.traffic import TrafficClass
from planner.scenario.types import Scenario
from planner.units import MAX_DURATION_US


def step_times(candidate: Candidate) -> StepTimes | None:
    """The fitted step behind a candidate's loads."""
    timing = candidate.timing
    if timing is None:
        return None
    return StepTimes(
        alpha_ns=_ns(timing.alpha_s),
        beta_ns=_ns(timing.beta_s),
        gamma_ns=_ns(timing.gamma_s_per_token),
        prefill_ns_per_token=_ns(timing.sigma_s_per_token),
        fit_mean_error_ppm=round(candidate.fit_mean_error * 1_000_000),
        fit_max_error_ppm=round(candidate.fit_max_error * 1_000_000),
        tokens_per_step=timing.tokens_per_step,
        full_chunk_ns=_ns(float(timing.prefill_s(timing.chunk_tokens, 0))),
    )


def _ns(seconds: float) -> float:
    return round(seconds * 1e9, 6)


def promises(
    scenario: Scenario,
    items: tuple[DemandItem, ...],
    candidate: Candidate,
    region: str,
    shares: Sequence[tuple[int, Fraction]],
    loads: Sequence[LoadRow],
) -> tuple[Promise, ...]:
    """One row a class and promise: the worst over its bands here, at this deployment's GPU time, with confidence and
    the network time to the region."""
    if candidate.timing is None:
        return ()
    result: list[Promise] = []
    by_class: dict[str, list[int]] = {}
    for k, _ in shares:
        by_class.setdefault(items[k].class_name, []).append(k)
    for name in sorted(by_class):
        own = _class_promises(scenario, scenario.traffic[name], items, candidate, by_class[name], loads)
        result.extend(_with_network(row, network_us(scenario.traffic[name], region)) for row in own)
    return tuple(result)


def _with_network(row: Promise, network: int) -> Promise:
    """A promise on TTFT as the users see it."""
    if row.metric != "ttft_p95" or not network:
        return row
    without = None if row.without_hits_us is None else min(row.without_hits_us + network, MAX_DURATION_US)
    return replace(row, predicted_us=row.predicted_us + network, without_hits_us=without, network_us=network)


def _class_promises(
    scenario: Scenario,
    traffic: TrafficClass,
    items: tuple[DemandItem, ...],
    candidate: Candidate,
    own: list[int],
    loads: Sequence[LoadRow],
) -> list[Promise]:
    assert candidate.timing is not None and candidate.band is not None
    slo, rows = traffic.slo, []
    if slo.finish_within_us is not None:
        busiest = max(row.used_ppm for row in loads)
        predicted = -(-slo.finish_within_us * busiest // 1_000_000)
        rows.append(
            Promise(traffic.name, "finish_within", predicted, slo.finish_within_us, "load rows", "at full load")
        )
        return rows
    gpu_time = sum((term.amount * term.share for term in loads[0].terms), Fraction(0))
    load = float(gpu_time / (candidate.unit * loads[0].replicas_counted))
    tpot, ttft, dry_tpot, dry_ttft = 0.0, 0.0, 0.0, 0.0
    hits = any(dict(candidate.loads)[k].cached_ppm for k in own)
    factor_tpot, factor_ttft = factors(candidate.band, scenario.reserve.confidence)
    for k in own:
        one_tpot, one_ttft = _predict(items, k, candidate, load, dict(candidate.loads)[k].cached_ppm)
        tpot, ttft = max(tpot, one_tpot), max(ttft, one_ttft)
        if hits:
            one_tpot, one_ttft = _predict(items, k, candidate, load, 0)
            dry_tpot, dry_ttft = max(dry_tpot, one_tpot), max(dry_ttft, one_ttft)
    provider = candidate.provider.partition(",")[0]
    band = band_text(candidate.band, scenario.reserve.confidence)
    latencies: tuple[tuple[Literal["tpot_p95", "ttft_p95"], float, float, int | None], ...] = (
        ("tpot_p95", tpot * float(factor_tpot), dry_tpot * float(factor_tpot), slo.tpot_p95_us),
        ("ttft_p95", ttft * float(factor_ttft), dry_ttft * float(factor_ttft), slo.ttft_p95_us),
    )
    for metric, value, dry, limit in latencies:
        if limit is not None:
            without = round(min(dry * 1e6, MAX_DURATION_US)) if hits else None
            rows.append(Promise(traffic.name, metric, round(value * 1e6), limit, provider, band, without))
    return rows


def _predict(
    items: tuple[DemandItem, ...], k: int, candidate: Candidate, load: float, reusable_ppm: int
) -> tuple[float, float]:
    """p95 TPOT and TTFT of this band alone at the rate that makes the replica as busy as the mix does."""
    assert candidate.timing is not None
    amount = dict(candidate.loads)[k].gpu_time
    rate = load * float(items[k].peak_rps * candidate.unit / amount) * float(1 - dict(candidate.loads)[k].rejected)
    return predicted(candidate.timing, items[k], candidate.config.context_limit_tokens, reusable_ppm, rate)
