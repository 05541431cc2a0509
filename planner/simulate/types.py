"""What a replay says, as frozen records. Times are seconds unless a name says otherwise; shares are ppm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from planner.plan.certificate import Metric as Metric


@dataclass(frozen=True)
class Percentiles:
    """Of the worst ten minutes, which begin at `from_s`; `p95_low` to `p95_high` is the 95 % interval of p95."""

    p50: float
    p95: float
    p99: float
    p95_low: float
    p95_high: float
    from_s: float
    count: int


@dataclass(frozen=True)
class Verdict:
    """A promise in the replay: microseconds for latencies, ppm of the class's requests for shares.

    `measured` of a latency is with the scenario's `confidence` and the network, as the plan's own prediction is.
    `margin_ppm` is what is left of the limit (of all requests, where the limit is 0), below 0 where the promise failed.
    Of several replays it is the worst one.
    """

    class_name: str
    metric: Metric
    unit: Literal["us", "ppm"]
    measured: int
    predicted: int
    limit: int
    margin_ppm: int
    kept: bool


@dataclass(frozen=True)
class ClassResult:
    """One class in one replay. Percentiles are None where no request counts.

    `attained_ppm` is the share of all requests that met every limit by themselves, with its 95 % interval; refused
    ones met none; it and `judged_ttft_s` and `judged_tpot_s`, the p95 of the worst ten minutes, are with the confidence
    of the deployments that answered. `in_system` is the mean number of requests in the fleet: rate x mean time there.
    """

    class_name: str
    source: str
    requests: int
    refused: int
    cut_short: int
    duration_s: float
    rate_rps: float
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    ttft: Percentiles | None
    tpot: Percentiles | None
    judged_ttft_s: float | None
    judged_tpot_s: float | None
    wait_mean_s: float
    wait_p95_s: float
    in_system: float
    preemptions: int
    retries: int
    attained_ppm: int | None
    attained_low_ppm: int | None
    attained_high_ppm: int | None


@dataclass(frozen=True)
class SiteResult:
    """One deployment in one replay: shares of the time from the first to the last arrival.

    Running and waiting requests are of one replica, KV is the part of its pool that running ones hold. `ttft_p95_s` and
    `tpot_p95_s` are by class.
    """

    name: str
    replicas: int
    busy_ppm: int
    running_mean: float
    running_max: int
    waiting_mean: float
    waiting_max: int
    kv_mean_ppm: int
    kv_p99_ppm: int
    kv_max_ppm: int
    preemptions: int
    steps: int
    ttft_p95_s: dict[str, float]
    tpot_p95_s: dict[str, float]


@dataclass(frozen=True)
class Minute:
    """A point of the time line. Lists go by class (rates, p95 of those that arrived) and by deployment."""

    at_s: float
    rate_rps: tuple[float, ...]
    ttft_p95_s: tuple[float | None, ...]
    running: tuple[float, ...]
    waiting: tuple[float, ...]
    kv_ppm: tuple[int, ...]


@dataclass(frozen=True)
class Replayed:
    """One replay with one seed."""

    seed: int
    policy: str
    failure: str
    classes: tuple[ClassResult, ...]
    sites: tuple[SiteResult, ...]
    minutes: tuple[Minute, ...]


@dataclass(frozen=True)
class Simulation:
    """All replays of a plan and what they mean for its promises.

    `left_out` names the classes that cannot be simulated, `traces` the SHA-256 of every trace by class.
    """

    plan: str
    plan_hash: str
    confidence: str
    verdicts: tuple[Verdict, ...]
    replays: tuple[Replayed, ...]
    left_out: dict[str, str]
    traces: dict[str, str]
    sources: dict[str, str]

    @property
    def kept(self) -> bool:
        """Whether every promise held in every replay."""
        return all(verdict.kept for verdict in self.verdicts)
