"""Deployments and StatefulSets: where the replicas of one deployment run, and what they ask of a node.

A replica inside one node is a pod of a Deployment, one Deployment for each pool. A replica over several nodes is a
StatefulSet of its rank 0, which serves, and one of the other ranks, whose ordinals begin at 1, so that the index of a
pod is its rank.
"""

from __future__ import annotations

from fractions import Fraction

from planner.errors import Diagnostic, InputError
from planner.export.files import Yaml
from planner.export.flags import COMMANDS, arguments, rank_arguments, settings
from planner.export.names import dns_label, label_value
from planner.export.serving import Options, Serving
from planner.plan.types import Plan
from planner.traffic.lengths import class_lengths

GPU_RESOURCES = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu"}
"""Vendor -> resource name. Source: the NVIDIA and AMD device plugins for Kubernetes."""

VLLM_IMAGE = "vllm/vllm-openai"
"""The engine's published image; its tags are `v` and the release."""

STARTUP_MINUTES = 60
"""How long a pod may load before it counts as failed. A judgement: large checkpoints come over the network."""

SHUTDOWN_S = 30
"""Kubernetes' default grace, on top of the time for running requests."""

INSTANCE = "app.kubernetes.io/instance"
ROLE = "kvplan/role"
SERVER = "server"
WORKER = "worker"


def instance_name(plan: Plan, serving: Serving) -> str:
    """The name of a deployment in the cluster: scenario and deployment."""
    return dns_label(f"{plan.scenario.name}-{serving.name}")


def labels(plan: Plan, serving: Serving) -> dict[str, Yaml]:
    """What selects the pods of a deployment, over all pools."""
    return {
        "app.kubernetes.io/name": serving.engine.name,
        INSTANCE: instance_name(plan, serving),
        "app.kubernetes.io/part-of": label_value(plan.scenario.name),
    }


def metadata(name: str, own: dict[str, Yaml], options: Options, notes: tuple[str, ...] = ()) -> dict[str, Yaml]:
    """Metadata of an object."""
    found: dict[str, Yaml] = {"name": name}
    if options.namespace:
        found["namespace"] = options.namespace
    found["labels"] = {**own, "app.kubernetes.io/managed-by": "kvplan"}
    if notes:
        found["annotations"] = {"kvplan/notes": "; ".join(notes)}
    return found


def image(serving: Serving, options: Options, source: str) -> str:
    """The container image: the one given, or vLLM's own of the planned release for NVIDIA GPUs.

    Raises:
        InputError: nothing was given and the engine has no image whose tag follows from the plan.
    """
    engine = serving.engine
    given = options.images.get(engine.name)
    if given:
        return given
    if engine.name == "vllm" and serving.vendor == "nvidia":
        release = engine.requested.partition("@")[2] or engine.version
        return f"{VLLM_IMAGE}:v{release}{'.0' if release.count('.') == 1 else ''}"
    asked = f"{engine.requested} for {serving.deployment.gpu}"
    message = f"{serving.name} needs an image of {asked}; write --image {engine.name}=IMAGE"
    raise InputError([Diagnostic(source, 0, 0, "KV962", message)])


def drain_s(plan: Plan, serving: Serving) -> int:
    """Seconds that the longest request may still run: TTFT limit + longest output x operating TPOT, rounded up."""
    deployment = serving.deployment
    longest = 0
    for route in deployment.routing:
        lengths = class_lengths(plan.scenario.traffic[route.class_name])
        longest = max(longest, lengths.outputs[-1][0] if lengths else 0)
    longest = min(longest, deployment.context_limit_tokens)
    ttft_us = max((p.limit_us for p in deployment.promises if p.metric == "ttft_p95"), default=0)
    total_s = Fraction(ttft_us, 1_000_000) + Fraction(longest * deployment.operating_tpot_ns, 1_000_000_000)
    return -int(-total_s // 1)


def workloads(plan: Plan, serving: Serving, options: Options, source: str) -> list[dict[str, Yaml]]:
    """All Deployments or StatefulSets of one deployment of the plan."""
    if serving.vendor not in GPU_RESOURCES:
        message = f"{serving.name}: no Kubernetes resource name is known for GPUs of {serving.deployment.gpu}"
        raise InputError([Diagnostic(source, 0, 0, "KV961", message)])
    found: list[dict[str, Yaml]] = []
    for pool, count in sorted(serving.deployment.pools.items()):
        if serving.nodes_per_replica == 1:
            found.append(_deployment(plan, serving, pool, count, options, source))
        else:
            for replica in range(count):
                found += _ranks(plan, serving, pool, replica, options, source)
    return found


def _deployment(plan: Plan, serving: Serving, pool: str, count: int, options: Options, source: str) -> dict[str, Yaml]:
    own = {**labels(plan, serving), "kvplan/pool": label_value(pool)}
    name = _pool_name(plan, serving, pool)
    words = _words(serving, options)
    spec: dict[str, Yaml] = {
        "replicas": count,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": _surge(plan, serving, pool)},
        "selector": {"matchLabels": {**own}},
        "template": {
            "metadata": {"labels": {**own, ROLE: SERVER}},
            "spec": _pod(plan, serving, pool, words, options, source, serves=True),
        },
    }
    own_metadata = metadata(name, own, options, serving.notes)
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": own_metadata, "spec": spec}


def _ranks(
    plan: Plan, serving: Serving, pool: str, replica: int, options: Options, source: str
) -> list[dict[str, Yaml]]:
    """A replica over several nodes: a headless Service for the ranks to meet, rank 0, and the others."""
    name = dns_label(f"{_pool_name(plan, serving, pool)}-r{replica}", 40)
    own = {**labels(plan, serving), "kvplan/pool": label_value(pool), "kvplan/replica": name}
    port: Yaml = {"name": "http", "port": options.port}
    meeting: dict[str, Yaml] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name, own, options),
        # Ranks look for each other before any of them is ready.
        "spec": {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {**own}, "ports": [port]},
    }
    found = [meeting]
    for role, first, count in ((SERVER, 0, 1), (WORKER, 1, serving.nodes_per_replica - 1)):
        words = _words(serving, options)
        words += rank_arguments(serving.engine.name, "$(KVPLAN_RANK)", f"{name}-{SERVER}-0.{name}")
        if role == WORKER and serving.engine.name == "vllm":
            words.append("--headless")
        selected = {**own, ROLE: role}
        spec: dict[str, Yaml] = {
            "replicas": count,
            "serviceName": name,
            "podManagementPolicy": "Parallel",
            "ordinals": {"start": first},
            "selector": {"matchLabels": {**selected}},
            "template": {
                "metadata": {"labels": {**selected}},
                "spec": _pod(plan, serving, pool, words, options, source, serves=role == SERVER),
            },
        }
        own_metadata = metadata(f"{name}-{role}", selected, options, serving.notes)
        found.append({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": own_metadata, "spec": spec})
    return found


def _pool_name(plan: Plan, serving: Serving, pool: str) -> str:
    alone = len(serving.deployment.pools) == 1
    return instance_name(plan, serving) if alone else dns_label(f"{plan.scenario.name}-{serving.name}-{pool}")


def _surge(plan: Plan, serving: Serving, pool: str) -> Yaml:
    """A new pod first where the pool has GPUs to spare for it; else one replica is missing while it is renewed."""
    bought = plan.pools.get(pool)
    free = bought.gpus_spare + bought.gpus_idle if bought else 0
    surge = 1 if free >= serving.shape.gpus else 0
    return {"maxSurge": surge, "maxUnavailable": 1 - surge}


def _words(serving: Serving, options: Options) -> list[str]:
    """The engine's arguments; Kubernetes expands $(NAME) in arguments, and a path may hold one."""
    words = (word for words in arguments(settings(serving, options)) for word in words)
    return [word.replace("$(", "$$(") for word in words]


def _pod(
    plan: Plan, serving: Serving, pool: str, words: list[str], options: Options, source: str, *, serves: bool
) -> Yaml:
    """One rank group on one node."""
    drain = drain_s(plan, serving)
    gpus: Yaml = {GPU_RESOURCES[serving.vendor]: serving.shape.gpus // serving.nodes_per_replica}
    container: dict[str, Yaml] = {
        "name": "engine",
        "image": image(serving, options, source),
        "command": list(COMMANDS[serving.engine.name]),
        "args": [*words],
        "resources": {"limits": gpus},
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],  # noqa: S108
    }
    if serving.nodes_per_replica > 1:
        index: Yaml = {"fieldRef": {"fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']"}}
        container["env"] = [{"name": "KVPLAN_RANK", "valueFrom": index}]
    if serves:
        container["ports"] = [{"name": "http", "containerPort": options.port}]
        container |= _probes()
        # Endpoints lose the pod at once; requests that run get the time of the longest before the engine is told.
        container["lifecycle"] = {"preStop": {"exec": {"command": ["sleep", str(drain)]}}}
    return {
        "nodeSelector": {options.pool_label: label_value(pool)},
        "terminationGracePeriodSeconds": drain + SHUTDOWN_S if serves else SHUTDOWN_S,
        "containers": [container],
        # Tensor-parallel ranks exchange data over shared memory, of which a container has 64 MiB otherwise.
        "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}],
    }


def _probes() -> dict[str, Yaml]:
    """/health answers once the engine has loaded, and no longer when it is dead. Source: vLLM and SGLang servers."""
    get: Yaml = {"path": "/health", "port": "http"}
    return {
        "startupProbe": {"httpGet": get, "periodSeconds": 10, "failureThreshold": STARTUP_MINUTES * 6},
        "readinessProbe": {"httpGet": get, "periodSeconds": 5, "failureThreshold": 2},
        "livenessProbe": {"httpGet": get, "periodSeconds": 10, "failureThreshold": 6, "timeoutSeconds": 5},
    }
