"""From the requests and replicas of a run to the figures that promises are judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from planner.scenario.traffic import Slo
from planner.simulate.replay import Run
from planner.simulate.replica import Replica
from planner.simulate.request import Request
from planner.simulate.statistics import share_error, worst_window
from planner.simulate.stream import Stream
from planner.simulate.types import ClassResult, Minute, Replayed, SiteResult
from planner.traffic.lengths import TPOT_MIN_OUTPUT_TOKENS

FloatArray = NDArray[np.float64]
PPM = 1_000_000
MINUTE_S = 60.0


@dataclass(frozen=True)
class Judged:
    """How the latencies of a class on a deployment are held against promises: factors, and the network's time."""

    tpot_factor: float
    ttft_factor: float
    network_s: float


def judged_at(run: Run, class_name: str) -> list[Judged]:
    """For every deployment of a run, how a class is judged there."""
    sites = [run.fleet.sites[name] for name in run.sites]
    return [Judged(*site.confidence, site.network_s.get(class_name, 0.0)) for site in sites]


class Served:
    """Times of the requests of a class that were served, as arrays: those of the engine, and as they are judged."""

    def __init__(self, requests: Sequence[Request], judged: Sequence[Judged]) -> None:
        done = [request for request in requests if not request.refused]
        self.arrival_s = np.array([request.arrival_s for request in done], dtype=np.float64)
        self.site = np.array([request.site for request in done], dtype=np.int64)
        self.wait_s = np.array([request.started_s for request in done], dtype=np.float64) - self.arrival_s
        self.end_s = np.array([request.end_s for request in done], dtype=np.float64)
        first_s = np.array([request.first_s for request in done], dtype=np.float64)
        outputs = np.array([request.output_tokens for request in done], dtype=np.float64)
        self.ttft_s = first_s - self.arrival_s
        self.counts = outputs >= TPOT_MIN_OUTPUT_TOKENS
        self.tpot_s = (self.end_s - first_s) / np.maximum(outputs - 1, 1)
        by_site = np.array([astuple(one) for one in judged], dtype=np.float64).reshape(-1, 3)[self.site]
        self.judged_tpot_s = self.tpot_s * by_site[:, 0]
        self.judged_ttft_s = self.ttft_s * by_site[:, 1] + by_site[:, 2]


def judged_p95(stream: Stream, requests: Sequence[Request], judged: Sequence[Judged], metric: str) -> float | None:
    """The p95 of the worst ten minutes that a promise of some requests is held against."""
    served = Served(requests, judged)
    if metric == "ttft_p95":
        return _p95(served.arrival_s, served.judged_ttft_s, stream)
    return _p95(served.arrival_s[served.counts], served.judged_tpot_s[served.counts], stream)


def measured(run: Run, slos: dict[str, Slo]) -> Replayed:
    """All figures of a run."""
    served = [
        Served(requests, judged_at(run, stream.class_name))
        for stream, requests in zip(run.streams, run.requests, strict=True)
    ]
    horizon_s = max((stream.end_s for stream in run.streams), default=0.0)
    return Replayed(
        seed=run.seed,
        policy=run.policy,
        failure=_failure(run),
        classes=tuple(
            _class(stream, requests, one, slos[stream.class_name])
            for stream, requests, one in zip(run.streams, run.requests, served, strict=True)
        ),
        sites=tuple(_site(run, name, served, horizon_s) for name in run.sites),
        minutes=_minutes(run, served, horizon_s),
    )


def _failure(run: Run) -> str:
    if run.failure is None:
        return ""
    back = f", back at {run.failure.back_s:.0f} s"
    if run.failure.back_s == float("inf"):
        back = f", not replaced: {run.failure.why_not}"
    return f"{run.failure.node} lost at {run.failure.at_s:.0f} s{back}"


def _class(stream: Stream, requests: Sequence[Request], served: Served, slo: Slo) -> ClassResult:
    later = served.arrival_s >= stream.warm_up_s
    counts = later & served.counts
    attained = _attained(stream, requests, served, slo)
    share = round(attained.mean() * PPM) if attained is not None and len(attained) else None
    error = round(share_error(attained) * PPM) if attained is not None and len(attained) else 0
    waits = served.wait_s[later]
    duration = stream.end_s
    return ClassResult(
        class_name=stream.class_name,
        source=stream.source,
        requests=len(requests),
        refused=sum(request.refused for request in requests),
        cut_short=sum(
            request.output_tokens < asked and not request.refused
            for request, asked in zip(requests, stream.output_tokens.tolist(), strict=True)
        ),
        duration_s=duration,
        rate_rps=len(requests) / duration if duration else 0.0,
        input_tokens=sum(request.prompt_tokens for request in requests if not request.refused),
        output_tokens=sum(request.emitted_tokens for request in requests),
        cached_tokens=sum(request.first_cached_tokens for request in requests),
        ttft=worst_window(served.arrival_s, served.ttft_s, stream.warm_up_s),
        tpot=worst_window(served.arrival_s[counts], served.tpot_s[counts], stream.warm_up_s),
        judged_ttft_s=_p95(served.arrival_s, served.judged_ttft_s, stream),
        judged_tpot_s=_p95(served.arrival_s[counts], served.judged_tpot_s[counts], stream),
        wait_mean_s=float(waits.mean()) if len(waits) else 0.0,
        wait_p95_s=float(np.percentile(waits, 95)) if len(waits) else 0.0,
        in_system=float((served.end_s - served.arrival_s).sum() / duration) if duration else 0.0,
        preemptions=sum(request.preemptions for request in requests),
        retries=sum(request.retries for request in requests),
        attained_ppm=share,
        attained_low_ppm=max(0, share - error) if share is not None else None,
        attained_high_ppm=min(PPM, share + error) if share is not None else None,
    )


def _p95(arrival_s: FloatArray, values: FloatArray, stream: Stream) -> float | None:
    found = worst_window(arrival_s, values, stream.warm_up_s)
    return found.p95 if found is not None else None


def _attained(stream: Stream, requests: Sequence[Request], served: Served, slo: Slo) -> NDArray[np.bool_] | None:
    """Which requests after the warm-up met every limit of their class; None where nothing was promised of them."""
    if slo.ttft_p95_us is None and slo.tpot_p95_us is None:
        return None
    good = np.ones(len(served.arrival_s), dtype=np.bool_)
    if slo.tpot_p95_us is not None:
        good &= ~served.counts | (served.judged_tpot_s <= slo.tpot_p95_us / 1e6)
    if slo.ttft_p95_us is not None:
        good &= served.judged_ttft_s <= slo.ttft_p95_us / 1e6
    lost = sum(request.refused and request.arrival_s >= stream.warm_up_s for request in requests)
    return np.concatenate([good[served.arrival_s >= stream.warm_up_s], np.zeros(lost, dtype=np.bool_)])


def _site(run: Run, name: str, served: Sequence[Served], horizon_s: float) -> SiteResult:
    replicas = run.replicas[name]
    number = run.sites.index(name)
    samples = [sample for replica in replicas for sample in replica.samples if sample[0] <= horizon_s]
    looks = max(1, sum(_looks(replica, horizon_s) for replica in replicas))
    kv = np.zeros(looks)
    for position, (_, _, _, held) in enumerate(samples[:looks]):
        kv[position] = held / replicas[0].rules.pool.usable_blocks
    ttft, tpot = {}, {}
    for stream, one in zip(run.streams, served, strict=True):
        here = (one.site == number) & (one.arrival_s >= stream.warm_up_s)
        found = worst_window(one.arrival_s[here], one.ttft_s[here], stream.warm_up_s)
        gaps = here & one.counts
        gap = worst_window(one.arrival_s[gaps], one.tpot_s[gaps], stream.warm_up_s)
        ttft.update({stream.class_name: found.p95} if found else {})
        tpot.update({stream.class_name: gap.p95} if gap else {})
    fullest = max(1 - replica.pool.least_free / replica.rules.pool.usable_blocks for replica in replicas)
    return SiteResult(
        name=name,
        replicas=len(replicas),
        busy_ppm=round(min(1.0, _busy(replicas, horizon_s)) * PPM),
        running_mean=sum(sample[1] for sample in samples) / looks,
        running_max=max((sample[1] for sample in samples), default=0),
        waiting_mean=sum(sample[2] for sample in samples) / looks,
        waiting_max=max((sample[2] for sample in samples), default=0),
        kv_mean_ppm=round(float(kv.mean()) * PPM),
        kv_p99_ppm=round(float(np.percentile(kv, 99)) * PPM),
        kv_max_ppm=round(fullest * PPM),
        preemptions=sum(replica.totals.preemptions for replica in replicas),
        steps=sum(replica.totals.steps for replica in replicas),
        ttft_p95_s=ttft,
        tpot_p95_s=tpot,
    )


def _looks(replica: Replica, horizon_s: float) -> int:
    """Moments at which a replica was looked at or would have been, had it not been idle."""
    return max(0, int((horizon_s - replica.started_s) // replica.sample_s))


def _busy(replicas: Sequence[Replica], horizon_s: float) -> float:
    available = sum(max(0.0, horizon_s - replica.started_s) for replica in replicas)
    return sum(replica.totals.busy_s for replica in replicas) / available if available else 0.0


def _minutes(run: Run, served: Sequence[Served], horizon_s: float) -> tuple[Minute, ...]:
    """A point for every minute in which requests arrive."""
    count = int(horizon_s // MINUTE_S) + 1
    edges: FloatArray = np.arange(count + 1, dtype=np.float64) * MINUTE_S
    rates = [np.histogram(stream.arrival_s, edges)[0] / MINUTE_S for stream in run.streams]
    latencies = [_p95_by_minute(one, edges) for one in served]
    looks = [_looked_at(run.replicas[name], count) for name in run.sites]
    return tuple(
        Minute(
            at_s=float(edges[minute]),
            rate_rps=tuple(float(rate[minute]) for rate in rates),
            ttft_p95_s=tuple(values[minute] for values in latencies),
            running=tuple(float(look[minute, 0]) for look in looks),
            waiting=tuple(float(look[minute, 1]) for look in looks),
            kv_ppm=tuple(round(float(look[minute, 2]) * PPM) for look in looks),
        )
        for minute in range(count)
    )


def _p95_by_minute(served: Served, edges: FloatArray) -> list[float | None]:
    order = np.argsort(served.arrival_s, kind="stable")
    cuts = np.searchsorted(served.arrival_s[order], edges)
    ttft = served.ttft_s[order]
    return [float(np.percentile(ttft[a:b], 95)) if b > a else None for a, b in pairwise(cuts.tolist())]


def _looked_at(replicas: Sequence[Replica], count: int) -> FloatArray:
    """Mean running and waiting requests and held share of KV in each minute, over all replicas and looks at them."""
    sums = np.zeros((count, 3))
    for replica in replicas:
        blocks = replica.rules.pool.usable_blocks
        for at_s, running, waiting, held in replica.samples:
            minute = int(at_s // MINUTE_S)
            if minute < count:
                sums[minute] += (running, waiting, held / blocks / len(replicas))
    return sums * (replicas[0].sample_s / MINUTE_S)
