"""What vLLM's metrics say of a group of replicas, whatever release named them.

Names changed: `gpu_cache_usage_perc` is `kv_cache_usage_perc` since 0.11, `gpu_prefix_cache_*` are `prefix_cache_*`,
and `time_per_output_token_seconds` is `inter_token_latency_seconds`. Shares are from 0 to 1, times are seconds.
Source: vLLM documentation, Production Metrics (0.5 to 0.24) and design/metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from planner.errors import Diagnostic, InputError
from planner.verify.exposition import Series, read_series

ENGINE = "vllm:"
OTHER_ENGINES = {
    "sglang": "SGLang", "trtllm": "TensorRT-LLM", "nv_inference": "Triton", "tgi": "Text Generation Inference",
    "lmdeploy": "LMDeploy", "llamacpp": "llama.cpp",
}  # fmt: skip

RUNNING = ("num_requests_running",)
WAITING = ("num_requests_waiting",)
KV_USE = ("kv_cache_usage_perc", "gpu_cache_usage_perc")
PREEMPTIONS = ("num_preemptions_total", "num_preemptions")
PROMPT_TOKENS = ("prompt_tokens_total", "prompt_tokens")
OUTPUT_TOKENS = ("generation_tokens_total", "generation_tokens")
QUERIES = ("prefix_cache_queries_total", "gpu_prefix_cache_queries_total", "prefix_cache_queries")
HITS = ("prefix_cache_hits_total", "gpu_prefix_cache_hits_total", "prefix_cache_hits")
TTFT = ("time_to_first_token_seconds",)
GAP = ("inter_token_latency_seconds", "time_per_output_token_seconds")
REQUEST_TPOT = ("request_time_per_output_token_seconds",)
CACHE = ("cache_config_info",)
NAMED = (*RUNNING, *WAITING, *KV_USE, *PREEMPTIONS, *PROMPT_TOKENS, *OUTPUT_TOKENS, *QUERIES, *HITS)

INSTANCE = ("instance", "pod", "kubernetes_pod_name", "host")
"""Labels that tell replicas apart, the first that is there."""


@dataclass(frozen=True)
class Measured:
    """Of one group of replicas. Gauges are means over time, of one replica; counts are of all. None: not said.

    `is_snapshot`: gauges are one look at whole requests, no mean. `pool_tokens` is of one replica.
    """

    replicas: int | None
    is_snapshot: bool
    running: float | None
    running_max: float | None
    waiting: float | None
    kv_use: float | None
    preemptions: float | None
    prompt_tokens: float | None
    output_tokens: float | None
    hit_share: float | None
    ttft_s: float | None
    requests: float | None
    token_gap_s: float | None
    request_gap_s: float | None
    pool_tokens: int | None


class Metrics:
    """The series of a file of vLLM's metrics."""

    def __init__(self, path: str, series: Sequence[Series]) -> None:
        self.path = path
        self.series = tuple(one for one in series if one.name.startswith(ENGINE))

    def models(self) -> tuple[str, ...]:
        """Models by the names that the servers know."""
        return tuple(sorted({one.label("model_name") for one in self.series if one.label("model_name")}))

    def chosen(self, keep: Callable[[Series], bool]) -> Metrics:
        """Some of the series."""
        return Metrics(self.path, [one for one in self.series if keep(one)])

    def named(self, names: Sequence[str], end: str = "") -> list[Series]:
        """The series of the first of some names that is there."""
        for name in names:
            found = [one for one in self.series if one.name == ENGINE + name + end]
            if found:
                return found
        return []


def read_metrics(path: str) -> Metrics:
    """vLLM's metrics of a file.

    Raises:
        InputError: the file cannot be read (KV731, KV732), or its metrics are another engine's or cannot be (KV733).
    """
    series = read_series(path)
    metrics = Metrics(path, series)
    if not metrics.series:
        raise InputError([Diagnostic(path, 0, 0, "KV733", _foreign(series))])
    wrong = list(_impossible(metrics))
    if wrong:
        raise InputError([Diagnostic(path, 0, 0, "KV733", text) for text in wrong])
    return metrics


def _foreign(series: Sequence[Series]) -> str:
    names = sorted({one.name for one in series})
    for start, engine in OTHER_ENGINES.items():
        if any(name.startswith(start) for name in names):
            return f"these are metrics of {engine} ({names[0]}); verify reads vLLM's, whose names begin with {ENGINE}"
    shown = ", ".join(names[:3])
    return f"no metric of vLLM (names begin with {ENGINE}) among {shown}; save the /metrics of the engine itself"


def _impossible(metrics: Metrics) -> list[str]:
    """Values that no vLLM shows: other units, or a file that was cut off within a histogram."""
    found = []
    uses = [value for one in metrics.named(KV_USE) for _, value in one.points]
    if uses and max(uses) > 1:
        found.append(f"KV use of {max(uses):g}: vLLM's is a share from 0 to 1; were percents saved?")
    for name in NAMED:
        values = [value for one in metrics.named((name,)) for _, value in one.points]
        if any(not 0 <= value < float("inf") for value in values):
            found.append(f"{ENGINE}{name} has a value below 0 or none at all; was the scrape damaged?")
    for names in (TTFT, GAP, REQUEST_TPOT):
        buckets, counts = metrics.named(names, "_bucket"), metrics.named(names, "_count")
        if buckets and (not counts or not metrics.named(names, "_sum")):
            found.append(f"{buckets[0].name.removesuffix('_bucket')} has no _sum or _count; was the file cut off?")
    return found


def measured(metrics: Metrics, planned_replicas: int) -> Measured:
    """The figures of all replicas whose series are there; as many as planned where no label tells them apart."""
    told = {_replica(one) for one in metrics.series}
    replicas = planned_replicas if told <= {""} else len(told)
    running = metrics.named(RUNNING)
    looks = [value for one in running for _, value in one.points]
    queries, hits = _total(metrics.named(QUERIES)), _total(metrics.named(HITS))
    return Measured(
        replicas=None if told <= {""} else replicas,
        is_snapshot=bool(running) and all(len(one.points) == 1 and one.points[0][1].is_integer() for one in running),
        running=_gauge(running, replicas),
        running_max=max(looks, default=None),
        waiting=_gauge(metrics.named(WAITING), replicas),
        kv_use=_gauge(metrics.named(KV_USE), len(metrics.named(KV_USE))),
        preemptions=_total(metrics.named(PREEMPTIONS)),
        prompt_tokens=_total(metrics.named(PROMPT_TOKENS)),
        output_tokens=_total(metrics.named(OUTPUT_TOKENS)),
        hit_share=hits / queries if queries and hits is not None else None,
        ttft_s=_mean(metrics, TTFT),
        requests=_total(metrics.named(TTFT, "_count")),
        token_gap_s=_mean(metrics, GAP),
        request_gap_s=_mean(metrics, REQUEST_TPOT),
        pool_tokens=_pool_tokens(metrics.named(CACHE)),
    )


def _replica(series: Series) -> str:
    """What tells a replica from others; engines of one data-parallel replica share it."""
    for name in INSTANCE:
        if series.label(name):
            return series.label(name)
    return ""


def _gauge(series: Sequence[Series], parts: int) -> float | None:
    """Sum over the series of their means over time, by parts. A series without a point at some time was 0 then."""
    times = {at for one in series for at, _ in one.points}
    if not series or not times:
        return None
    return sum(value for one in series for _, value in one.points) / len(times) / max(1, parts)


def _total(series: Sequence[Series]) -> float | None:
    """How much counters grew; those of a single scrape, since their servers started. A restart begins at 0 again."""
    if not series:
        return None
    return sum(_growth([value for _, value in one.points]) for one in series)


def _growth(values: Sequence[float]) -> float:
    """
    >>> _growth([5.0]), _growth([5.0, 7.0, 1.0])
    (5.0, 3.0)
    """
    if len(values) == 1:
        return values[0]
    return sum(later - earlier if later >= earlier else later for earlier, later in pairwise(values))


def _mean(metrics: Metrics, names: Sequence[str]) -> float | None:
    count, total = _total(metrics.named(names, "_count")), _total(metrics.named(names, "_sum"))
    return total / count if count and total is not None else None


def _pool_tokens(series: Sequence[Series]) -> int | None:
    """Blocks x tokens a block, as the engine reports them; None where replicas differ or it does not."""
    found = {(one.label("num_gpu_blocks"), one.label("block_size")) for one in series}
    if len(found) != 1:
        return None
    blocks, size = next(iter(found))
    return int(blocks) * int(size) if blocks.isdigit() and size.isdigit() else None
