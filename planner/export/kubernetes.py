"""A plan as Kubernetes objects: workloads, Services, disruption budgets, router hints, alert rules.

Written for apps/v1, policy/v1 and v1 as in Kubernetes 1.31 and later (StatefulSet ordinals, pod index label), and
monitoring.coreos.com/v1 of the Prometheus operator.
"""

from __future__ import annotations

import json

from planner.errors import Diagnostic, InputError
from planner.export.alerts import rule_group
from planner.export.files import File, Yaml, document, documents, header
from planner.export.names import dns_label, file_name, label_value
from planner.export.serving import Options, Serving
from planner.export.workloads import INSTANCE, ROLE, SERVER, instance_name, labels, metadata, workloads
from planner.plan.routing import intervals
from planner.plan.types import Plan

TEMPLATE = "kubernetes template 1"
"""Version of the manifests of this room; it goes up when what they contain changes."""

WRITTEN_FOR = "Kubernetes 1.31 and later (apps/v1, policy/v1, v1)"
OPERATOR = "the Prometheus operator (monitoring.coreos.com/v1)"
ROUTING_FORMAT = "kvplan-routing/1"


def manifests(plan: Plan, found: tuple[Serving, ...], options: Options, source: str) -> tuple[File, ...]:
    """One file for each deployment, one with the router hints, one with the alerts unless there are to be none.

    Raises:
        InputError: an image is missing, or the plan's routing does not add up.
    """
    files = []
    taken: set[tuple[Yaml, Yaml]] = set()
    for serving in found:
        trees = [
            *workloads(plan, serving, options, source),
            _service(plan, serving, options),
            _budget(plan, serving, options),
        ]
        _unique(trees, taken, serving, source)
        head = header(plan, f"{TEMPLATE} for {WRITTEN_FOR}", (f"{serving.name}: {note}" for note in serving.notes))
        files.append(File(f"{file_name(serving.name)}.yaml", head + documents(trees)))
    head = header(plan, f"{TEMPLATE} for {WRITTEN_FOR}; {ROUTING_FORMAT}")
    files.append(File("router-hints.yaml", head + document(_hints(plan, found, options, source))))
    if options.alerts != "none":
        files.append(_alerts(plan, found, options))
    return tuple(files)


def _unique(trees: list[dict[str, Yaml]], taken: set[tuple[Yaml, Yaml]], serving: Serving, source: str) -> None:
    """Two objects of one name would replace each other without a word."""
    for tree in trees:
        own = tree["metadata"]
        key = (tree["kind"], own["name"] if isinstance(own, dict) else None)
        if key in taken:
            message = f"{serving.name}: another {key[0]} is called {key[1]} already; rename the model or the pool"
            raise InputError([Diagnostic(source, 0, 0, "KV961", message)])
        taken.add(key)


def one_text(files: tuple[File, ...]) -> str:
    """All manifests as one stream of documents, as `kubectl apply -f -` reads them."""
    return "---\n".join(file.text for file in files)


def _service(plan: Plan, serving: Serving, options: Options) -> dict[str, Yaml]:
    own = labels(plan, serving)
    port: Yaml = {"name": "http", "port": options.port, "targetPort": "http"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(instance_name(plan, serving), own, options),
        "spec": {"selector": {**own, ROLE: SERVER}, "ports": [port]},
    }


def _budget(plan: Plan, serving: Serving, options: Options) -> dict[str, Yaml]:
    """As many evictions at once as the plan keeps spare replicas, and one where it keeps none: nodes must drain."""
    own = labels(plan, serving)
    spare = plan.scenario.reserve.spare_replicas if serving.nodes_per_replica == 1 else 0
    notes: tuple[str, ...] = ()
    if not spare:
        notes = ("the plan keeps no spare replica: while one is evicted, promises do not hold at peak",)
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(instance_name(plan, serving), own, options, notes),
        "spec": {"maxUnavailable": max(1, spare), "selector": {"matchLabels": {**own}}},
    }


def _hints(plan: Plan, found: tuple[Serving, ...], options: Options, source: str) -> dict[str, Yaml]:
    services = {serving.name: instance_name(plan, serving) for serving in found}
    classes: dict[str, Yaml] = {}
    for name, traffic in sorted(plan.scenario.traffic.items()):
        rows: list[Yaml] = []
        for interval in intervals(plan, name, source):
            weights = interval.weights
            targets: list[Yaml] = [
                {"service": services[target], "share": str(share), "weight": weights[target]}
                for target, share in interval.shares
            ]
            rows.append({"from_tokens": interval.from_tokens, "to_tokens": interval.to_tokens, "targets": targets})
        classes[name] = {"model": traffic.model, "prompts": rows}
    hints = {"format": ROUTING_FORMAT, "plan": plan.hash, "port": options.port, "classes": classes}
    own: dict[str, Yaml] = {"app.kubernetes.io/part-of": label_value(plan.scenario.name)}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(dns_label(f"{plan.scenario.name}-router-hints"), own, options),
        "data": {"routing.json": json.dumps(hints, indent=2) + "\n"},
    }


def _alerts(plan: Plan, found: tuple[Serving, ...], options: Options) -> File:
    groups: list[Yaml] = [rule_group(plan, serving, instance_name(plan, serving)) for serving in found]
    rules: dict[str, Yaml] = {"groups": groups}
    if options.alerts == "file":
        lines = (f"samples must carry the pod's label {INSTANCE} as app_kubernetes_io_instance",)
        head = header(plan, f"{TEMPLATE}: a Prometheus rules file", lines)
        return File("prometheus-rules.yaml", head + document(rules))
    own: dict[str, Yaml] = {"app.kubernetes.io/part-of": label_value(plan.scenario.name)}
    name = dns_label(f"{plan.scenario.name}-kvplan")
    api = "monitoring.coreos.com/v1"
    monitor: dict[str, Yaml] = {
        "apiVersion": api,
        "kind": "PodMonitor",
        "metadata": metadata(name, own, options),
        "spec": {
            "selector": {"matchLabels": {**own, ROLE: SERVER}},
            "podTargetLabels": [INSTANCE],
            "podMetricsEndpoints": [{"port": "http", "path": "/metrics"}],
        },
    }
    rule: dict[str, Yaml] = {
        "apiVersion": api,
        "kind": "PrometheusRule",
        "metadata": metadata(name, own, options),
        "spec": rules,
    }
    return File("alerts.yaml", header(plan, f"{TEMPLATE} for {OPERATOR}") + documents([monitor, rule]))
