"""Prometheus rules for what the plan promises and what it assumes, with the engine's own metric names.

A metric counts all requests of a deployment, whatever their class. Where classes with several limits share one:

- Were every class within its own limit, at most 5 % of all requests would be above the loosest limit. A p95 above the
  loosest limit therefore proves a broken promise: severity `page`.
- A p95 above the tightest limit may come from the other classes: severity `warning`.
- With a class that has no such promise in the mix nothing is proved: both are warnings.

Rates and percentiles look at ten minutes, as promises do. Percentiles come from histogram buckets, so between two
bucket bounds they are interpolated. Thresholds are the plan's own numbers: limits, peak rates, load rows; by Little's
law, a mean queue above peak rate x limit is a mean wait above the limit.

Source: vLLM 0.19 to 0.33 `v1/metrics/loggers.py`; SGLang 0.5.23 `observability/metrics_collector.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

from planner.export.files import Yaml
from planner.export.serving import Serving
from planner.plan.types import Plan, Promise
from planner.report import numbers

WINDOW = "10m"
BATCH_WINDOW = "1h"

FEWEST_REQUESTS = 20
"""Requests of a window from which a p95 means something: 5 % of them is one request."""

INSTANCE_LABEL = "app_kubernetes_io_instance"
"""Label of every sample that names the deployment; a PodMonitor makes it from the pod's label."""


@dataclass(frozen=True)
class Metrics:
    """Names of one engine's metrics. Histograms without `_bucket`, counters as Prometheus shows them."""

    ttft: str
    tpot: str
    kv_usage: str
    waiting: str
    preempted: str
    finished: str
    tpot_meaning: str


METRICS = {
    "vllm": Metrics(
        ttft="vllm:time_to_first_token_seconds",
        tpot="vllm:request_time_per_output_token_seconds",
        kv_usage="vllm:kv_cache_usage_perc",
        waiting="vllm:num_requests_waiting",
        preempted="vllm:num_preemptions_total",
        finished="vllm:request_success_total",
        tpot_meaning="per request, short answers included",
    ),
    "sglang": Metrics(
        ttft="sglang:time_to_first_token_seconds",
        tpot="sglang:inter_token_latency_seconds",
        kv_usage="sglang:token_usage",
        waiting="sglang:num_queue_reqs",
        preempted="sglang:num_retracted_requests_total",
        finished="sglang:num_requests_total",
        tpot_meaning="per token: SGLang has no histogram per request",
    ),
}


@dataclass(frozen=True)
class _Subject:
    """One deployment seen by its alerts."""

    plan: Plan
    serving: Serving
    instance: str
    metrics: Metrics

    @property
    def selector(self) -> str:
        """The samples of this deployment; `instance` is a DNS label, so nothing in it needs an escape."""
        return f'{{{INSTANCE_LABEL}="{self.instance}"}}'

    @property
    def peak_rps(self) -> Fraction:
        """Requests/s of the deployment when its classes are at their peak."""
        return sum((route.requests_per_s for route in self.serving.deployment.routing), Fraction(0))

    def promises(self, metric: str) -> list[Promise]:
        """Promises of one kind as the engine is held to them, tightest first: its metrics know no network."""
        found = [p for p in self.serving.deployment.promises if p.metric == metric]
        return sorted(map(_at_engine, found), key=lambda p: (p.limit_us, p.class_name))

    def all_promise(self, metric: str) -> bool:
        """Whether every class that comes here has a promise of this kind."""
        promised = {p.class_name for p in self.promises(metric)}
        return {route.class_name for route in self.serving.deployment.routing} <= promised


def _at_engine(promise: Promise) -> Promise:
    """A promise less the network."""
    predicted_us, limit_us = promise.predicted_us - promise.network_us, promise.limit_us - promise.network_us
    return replace(promise, predicted_us=predicted_us, limit_us=limit_us)


def rule_group(plan: Plan, serving: Serving, instance: str) -> dict[str, Yaml]:
    """The rules of one deployment. `instance` is the value of its `app.kubernetes.io/instance` label."""
    subject = _Subject(plan, serving, instance, METRICS[serving.engine.name])
    rules = [*_latency(subject, "ttft_p95"), *_latency(subject, "tpot_p95")]
    rules += [*_queue(subject), *_kv(subject), _demand(subject), _replicas(subject)]
    return {"name": instance, "rules": list(rules)}


def _latency(subject: _Subject, metric: str) -> list[Yaml]:
    promises = subject.promises(metric)
    if not promises:
        return []
    word = metric.removesuffix("_p95").upper()
    name = subject.metrics.ttft if metric == "ttft_p95" else subject.metrics.tpot
    quantile = f"histogram_quantile(0.95, sum by (le) (rate({name}_bucket{subject.selector}[{WINDOW}])))"
    enough = f"sum(increase({name}_count{subject.selector}[{WINDOW}])) >= {FEWEST_REQUESTS}"
    proves = subject.all_promise(metric)
    limits = sorted({promise.limit_us for promise in promises})
    rules: list[Yaml] = []
    for limit_us in dict.fromkeys((limits[-1], limits[0])):
        page = proves and limit_us == limits[-1]
        classes = [p for p in promises if p.limit_us == limit_us]
        planned = ", ".join(f"{p.class_name} {numbers.time_pair(p.predicted_us, p.limit_us)}" for p in classes)
        meaning = f" ({subject.metrics.tpot_meaning})" if word == "TPOT" else ""
        what = "breaks a promise" if page else "may break a promise: other classes are in the same histogram"
        rules.append(
            _rule(
                subject,
                f"KvplanP95{word}{'AbovePromise' if page else 'NearPromise'}",
                f"{quantile} > {_number(Fraction(limit_us, 1_000_000))} and {enough}",
                "page" if page else "warning",
                f"p95 {word}{meaning} of {subject.serving.name} {what}",
                f"planned/limit: {planned}; provider {classes[0].provider}, {classes[0].band}",
            )
        )
    return rules


def _queue(subject: _Subject) -> list[Yaml]:
    """Waiting requests; batches wait by design, so for them the rate at which they are done is watched."""
    metrics, selector = subject.metrics, subject.selector
    promises = subject.promises("ttft_p95")
    if promises and subject.all_promise("ttft_p95"):
        most = subject.peak_rps * Fraction(promises[-1].limit_us, 1_000_000)
        return [
            _rule(
                subject,
                "KvplanWaitingAbovePlan",
                f"sum(avg_over_time({metrics.waiting}{selector}[{WINDOW}])) > {_number(most)}",
                "page",
                f"requests wait longer for {subject.serving.name} than TTFT allows, on average",
                f"more than peak rate x limit: {_rate(subject.peak_rps)} x "
                f"{numbers.duration(Fraction(promises[-1].limit_us, 1000))}",
            )
        ]
    batch = subject.promises("finish_within")
    if not batch or not subject.all_promise("finish_within"):
        return []
    done = f"sum(rate({metrics.finished}{selector}[{BATCH_WINDOW}])) < {_number(subject.peak_rps)}"
    waiting = f"sum(min_over_time({metrics.waiting}{selector}[{BATCH_WINDOW}])) > 0"
    return [
        _rule(
            subject,
            "KvplanBatchBehindPlan",
            f"{done} and {waiting}",
            "page",
            f"{subject.serving.name} works off its batch more slowly than planned while requests wait",
            f"needed: {_rate(subject.peak_rps)}; done/limit: "
            + ", ".join(f"{p.class_name} {numbers.time_pair(p.predicted_us, p.limit_us)}" for p in batch),
        )
    ]


def _kv(subject: _Subject) -> list[Yaml]:
    """KV use above what the load row allows on average, and requests that lost their KV to others."""
    row = next((row for row in subject.serving.deployment.loads if row.name == "kv"), None)
    if row is None:
        return []
    allowed = allowed_kv_share(subject.plan)
    ppm = int(allowed * 1_000_000)
    planned = numbers.percent(int(allowed * row.used_ppm))
    metrics, selector = subject.metrics, subject.selector
    return [
        _rule(
            subject,
            "KvplanKvUseAbovePlan",
            f"avg(avg_over_time({metrics.kv_usage}{selector}[{WINDOW}])) > {_number(Fraction(ppm, 1_000_000))}",
            "warning",
            f"KV use of {subject.serving.name} is above what the plan allows on average",
            f"the row allows {numbers.percent(ppm)} of the pool, planned at peak: {planned}; "
            "longer prompts or answers, or more requests than the scenario says",
        ),
        _rule(
            subject,
            "KvplanPreemptions",
            f"sum(increase({metrics.preempted}{selector}[{WINDOW}])) > 0",
            "warning",
            f"{subject.serving.name} preempts requests: its KV pool is full",
            "the plan keeps room for swings, so that this stays rare",
        ),
    ]


def allowed_kv_share(plan: Plan) -> Fraction:
    """Mean share of a KV pool that the kv row allows: reserve.utilization / KV margin."""
    from planner.candidates.demand import kv_margin

    reserve = plan.scenario.reserve
    return Fraction(reserve.utilization_ppm, 1_000_000) / Fraction(str(kv_margin(reserve)))


def _demand(subject: _Subject) -> Yaml:
    return _rule(
        subject,
        "KvplanDemandAbovePlan",
        f"sum(rate({subject.metrics.finished}{subject.selector}[{WINDOW}])) > {_number(subject.peak_rps)}",
        "warning",
        f"{subject.serving.name} gets more requests over ten minutes than the plan expects in the worst minute",
        f"planned peak: {_rate(subject.peak_rps)}; solve the scenario again with the new peak",
    )


def _replicas(subject: _Subject) -> Yaml:
    """Fewer replicas than the promises need; nodes that take a while to start get that while."""
    deployment = subject.serving.deployment
    need = max(1, deployment.replicas - subject.plan.scenario.reserve.spare_replicas)
    pools = [pool for name, pool in subject.plan.scenario.inventory.items() if name in deployment.pools]
    wait_us = max((pool.start_up_us or 0 for pool in pools), default=0)
    up = f"up{subject.selector}"
    return _rule(
        subject,
        "KvplanReplicasBelowPlan",
        f"(sum({up}) or vector(0)) < {need}",
        "page",
        f"{subject.serving.name} runs fewer replicas than its promises need",
        f"needed: {need} of {deployment.replicas}",
        wait_min=-(-wait_us // 60_000_000),
    )


def _rule(
    subject: _Subject, alert: str, expr: str, severity: str, summary: str, description: str, wait_min: int = 0
) -> Yaml:
    # Prometheus expands templates in annotations, so a name from the plan must not open one.
    texts = {"summary": summary, "description": description, "plan": subject.plan.hash[:19]}
    rule: dict[str, Yaml] = {"alert": alert, "expr": expr}
    if wait_min:
        rule["for"] = f"{wait_min}m"
    rule["labels"] = {"severity": severity, "deployment": subject.instance}
    rule["annotations"] = {key: text.replace("{{", "{ {") for key, text in texts.items()}
    return rule


def _number(value: Fraction) -> str:
    """A decimal for PromQL, to six significant digits."""
    return format(Decimal(f"{float(value):.6g}"), "f")


def _rate(value: Fraction) -> str:
    return numbers.rate(value)
