"""What a replayed fleet would have logged: a line for every request, and vLLM's metrics.

Source of names and buckets: vLLM `v1/metrics/loggers.py` (0.11 to 0.24).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import merge

from planner.simulate.replay import Run
from planner.simulate.replica import Replica
from planner.simulate.request import Request

COLUMNS = (
    *("class", "deployment", "replica", "arrival_s", "input_tokens", "output_tokens", "cached_tokens", "queue_s"),
    *("ttft_s", "tpot_s", "e2e_s", "preemptions", "refused"),
)

TTFT_BUCKETS_S = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0),
    *(80.0, 160.0, 640.0, 2560.0),
)
TPOT_BUCKETS_S = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
LATENCY_BUCKETS_S = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0),
    *(960.0, 1920.0, 7680.0),
)

Labels = tuple[tuple[str, str], ...]
Value = int | float | str | None


@dataclass(frozen=True)
class Sample:
    """One value of a series; `at_s` None is the end of the run."""

    name: str
    labels: Labels
    value: float
    at_s: float | None = None


def request_rows(run: Run) -> Iterable[tuple[Value, ...]]:
    """A row a request in order of arrival, in the order of `COLUMNS`; latencies are None where it was refused."""
    for request in merge(*run.requests, key=lambda one: one.arrival_s):
        times: tuple[Value, ...] = (None, None, None, None)
        if not request.refused:
            steps = request.output_tokens - 1
            times = (
                round(request.started_s - request.arrival_s, 6),
                round(request.first_s - request.arrival_s, 6),
                round((request.end_s - request.first_s) / steps, 6) if steps else None,
                round(request.end_s - request.arrival_s, 6),
            )
        yield (
            run.streams[request.class_index].class_name,
            run.sites[request.site] if request.site >= 0 else "",
            request.place,
            round(request.arrival_s, 6),
            request.prompt_tokens,
            request.output_tokens,
            request.first_cached_tokens,
            *times,
            request.preemptions,
            int(request.refused),
        )


def requests_csv(run: Run) -> str:
    """The request log as CSV; `kvplan trace summarize` reads it."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(request_rows(run))
    return stream.getvalue()


def requests_jsonl(run: Run) -> str:
    """The request log as JSON Lines."""
    return "".join(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in request_rows(run))


def metrics_text(run: Run) -> str:
    """Prometheus text as one scrape sees it when the last answer is out; gauges are means over the time under load."""
    lines: list[str] = []
    seen: set[str] = set()
    for sample in (*_gauges(run, means=True), *_counters(run), *_histograms(run)):
        family = sample.name
        for end in ("_bucket", "_sum", "_count"):
            family = family.removesuffix(end)
        if family not in seen:
            seen.add(family)
            kind = "gauge" if family in _GAUGES else "counter" if family.endswith("_total") else "histogram"
            lines.append(f"# TYPE {family} {kind}")
        labels = ",".join(f'{name}="{value}"' for name, value in sample.labels)
        lines.append(f"{sample.name}{{{labels}}} {sample.value:.10g}")
    return "\n".join(lines) + "\n"


def metrics_json(run: Run) -> str:
    """The same as the answer to Prometheus range queries: gauges every ten seconds, counters at start and end."""
    end_s = _end_s(run)
    series: dict[tuple[str, Labels], list[tuple[float, str]]] = {}
    for sample in _gauges(run, means=False):
        series.setdefault((sample.name, sample.labels), []).append((sample.at_s or 0.0, f"{sample.value:.10g}"))
    for sample in (*_counters(run), *_histograms(run)):
        series[sample.name, sample.labels] = [(0.0, "0"), (end_s, f"{sample.value:.10g}")]
    result = [
        {"metric": {"__name__": name, **dict(labels)}, "values": [list(value) for value in values]}
        for (name, labels), values in series.items()
    ]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}) + "\n"


_GAUGES = ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc")


def _end_s(run: Run) -> float:
    return max((request.end_s for requests in run.requests for request in requests), default=0.0)


def _labels(replica: Replica, model: str) -> Labels:
    return (("model_name", model), ("engine", "0"), ("instance", f"{replica.name}/{replica.number}"))


def _gauges(run: Run, *, means: bool) -> Iterable[Sample]:
    horizon_s = max((stream.end_s for stream in run.streams), default=0.0)
    for position, name in enumerate(_GAUGES):
        for site in run.sites:
            for replica in run.replicas[site]:
                blocks = replica.rules.pool.usable_blocks
                samples = [(at, values[position]) for at, *values in replica.samples if at <= horizon_s]
                values = [(at, value / blocks if position == 2 else float(value)) for at, value in samples]
                labels = _labels(replica, run.fleet.sites[site].model)
                if means:
                    looks = max(1, int((horizon_s - replica.started_s) // replica.sample_s))
                    yield Sample(name, labels, sum(value for _, value in values) / looks)
                else:
                    yield from (Sample(name, labels, value, at) for at, value in values)


def _counters(run: Run) -> Iterable[Sample]:
    found: dict[tuple[str, int], list[Request]] = _by_replica(run)
    names = ("prompt_tokens", "generation_tokens", "num_preemptions", "request_success", "prefix_cache_queries",
             "prefix_cache_hits")  # fmt: skip
    for position, name in enumerate(names):
        for site in run.sites:
            for replica in run.replicas[site]:
                own = found.get((site, replica.number), [])
                values = (
                    sum(one.prompt_tokens for one in own),
                    sum(one.emitted_tokens for one in own),
                    sum(one.preemptions for one in own),
                    len(own),
                    sum(one.prompt_tokens for one in own),
                    sum(one.first_cached_tokens for one in own),
                )
                yield Sample(
                    f"vllm:{name}_total", _labels(replica, run.fleet.sites[site].model), float(values[position])
                )


def _histograms(run: Run) -> Iterable[Sample]:
    found = _by_replica(run)
    for name, buckets, of in (
        ("vllm:time_to_first_token_seconds", TTFT_BUCKETS_S, lambda one: one.first_s - one.arrival_s),
        ("vllm:request_time_per_output_token_seconds", TPOT_BUCKETS_S, _tpot_s),
        ("vllm:request_queue_time_seconds", LATENCY_BUCKETS_S, lambda one: one.started_s - one.arrival_s),
        ("vllm:e2e_request_latency_seconds", LATENCY_BUCKETS_S, lambda one: one.end_s - one.arrival_s),
    ):
        for site in run.sites:
            for replica in run.replicas[site]:
                own = found.get((site, replica.number), [])
                values = sorted(of(one) for one in own)
                yield from _histogram(name, _labels(replica, run.fleet.sites[site].model), buckets, values)


def _tpot_s(request: Request) -> float:
    return (request.end_s - request.first_s) / max(1, request.output_tokens - 1)


def _histogram(name: str, labels: Labels, buckets: Sequence[float], values: Sequence[float]) -> Iterable[Sample]:
    """Cumulative counts up to each bound, their sum and number."""
    at = 0
    for bound in buckets:
        while at < len(values) and values[at] <= bound:
            at += 1
        yield Sample(f"{name}_bucket", (*labels, ("le", f"{bound:g}")), at)
    yield Sample(f"{name}_bucket", (*labels, ("le", "+Inf")), len(values))
    yield Sample(f"{name}_sum", labels, sum(values))
    yield Sample(f"{name}_count", labels, len(values))


def _by_replica(run: Run) -> dict[tuple[str, int], list[Request]]:
    found: dict[tuple[str, int], list[Request]] = {}
    for requests in run.requests:
        for request in requests:
            if not request.refused:
                found.setdefault((run.sites[request.site], request.place), []).append(request)
    return found
