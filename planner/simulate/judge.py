"""Promises against replays: what was measured, by what margin, and whether it held in every one of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from planner.plan.types import Plan
from planner.simulate.replay import Run
from planner.simulate.types import ClassResult, Metric, Replayed, Verdict

PPM = 1_000_000

STEADY_PPM = 10_000
"""A batch is in time when its queue grows by less than 1 % of the rate: what the replay is long enough to show."""


def verdicts(plan: Plan, runs: Sequence[Run], replays: Sequence[Replayed]) -> tuple[Verdict, ...]:
    """One row a class and promise, the worst of all replays."""
    found: dict[tuple[str, Metric], Verdict] = {}
    for run, replayed in zip(runs, replays, strict=True):
        for verdict in _of_one(plan, run, replayed):
            key = (verdict.class_name, verdict.metric)
            if key not in found or verdict.margin_ppm < found[key].margin_ppm:
                found[key] = verdict
    return tuple(found[key] for key in sorted(found))


def _of_one(plan: Plan, run: Run, replayed: Replayed) -> Iterable[Verdict]:
    for number, result in enumerate(replayed.classes):
        name = result.class_name
        traffic = plan.scenario.traffic[name]
        slo = traffic.slo
        if slo.finish_within_us is not None:
            measured = _finish_us(run, number, result, slo.finish_within_us)
            yield _verdict(plan, name, "finish_within", "us", measured, slo.finish_within_us)
        latencies: tuple[tuple[Metric, float | None, int | None], ...] = (
            ("ttft_p95", result.judged_ttft_s, slo.ttft_p95_us),
            ("tpot_p95", result.judged_tpot_s, slo.tpot_p95_us),
        )
        for metric, seconds, limit_us in latencies:
            if limit_us is not None and seconds is not None:
                yield _verdict(plan, name, metric, "us", round(seconds * 1e6), limit_us)
        shares: tuple[tuple[Metric, int, int], ...] = (
            ("rejected", result.refused, traffic.rejected_at_most_ppm),
            ("cut_short", result.cut_short, traffic.cut_short_at_most_ppm),
        )
        for metric, count, limit_ppm in shares:
            if count or limit_ppm:
                share = -(-count * PPM // max(1, result.requests))
                yield _verdict(plan, name, metric, "ppm", share, limit_ppm)


def _verdict(plan: Plan, name: str, metric: Metric, unit: Literal["us", "ppm"], measured: int, limit: int) -> Verdict:
    margin = (limit - measured) * PPM // limit if limit else -measured
    return Verdict(name, metric, unit, measured, _predicted(plan, name, metric), limit, margin, measured <= limit)


def _predicted(plan: Plan, name: str, metric: Metric) -> int:
    """What the plan says, the worst of its deployments; shares over all of them."""
    if metric in ("rejected", "cut_short"):
        shares = (
            (route.rejected if metric == "rejected" else route.cut_short) * route.share * route.band_ppm
            for deployment in plan.deployments.values()
            for route in deployment.routing
            if route.class_name == name
        )
        return round(sum(shares))
    predicted = (
        promise.predicted_us
        for deployment in plan.deployments.values()
        for promise in deployment.promises
        if promise.class_name == name and promise.metric == metric
    )
    return max(predicted, default=0)


def _finish_us(run: Run, number: int, result: ClassResult, limit_us: int) -> int:
    """limit x rate / (rate - growth of the queue): requests come at the rate that finishing in time needs."""
    stream, requests = run.streams[number], run.requests[number]
    start_s, end_s = stream.warm_up_s, stream.end_s
    if end_s <= start_s:
        return limit_us
    waiting = [
        sum(not one.refused and one.arrival_s <= at_s < one.started_s for one in requests) for at_s in (start_s, end_s)
    ]
    growth_rps = max(0, waiting[1] - waiting[0]) / (end_s - start_s)
    if growth_rps * PPM <= STEADY_PPM * result.rate_rps:
        return limit_us
    left_rps = result.rate_rps - growth_rps
    return round(limit_us * result.rate_rps / left_rps) if left_rps > 0 else limit_us * PPM
