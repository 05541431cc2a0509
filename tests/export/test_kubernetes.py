"""Manifests: valid against Kubernetes' own schemas, and consistent among themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import kubernetes_validate
import pytest
import yaml

from planner.errors import InputError
from planner.export.kubernetes import manifests, one_text
from planner.export.serving import Options, Serving, servings
from planner.export.workloads import drain_s
from planner.plan.types import Plan

VERSIONS = ("1.31", "1.34", "1.37")
Objects = list[dict[str, Any]]


def _objects(plan: Plan, options: Options) -> Objects:
    found = servings(plan, options, engine=None, source="plan.json")
    return list(yaml.safe_load_all(one_text(manifests(plan, found, options, "plan.json"))))


def _of(objects: Objects, kind: str) -> Objects:
    return [each for each in objects if each["kind"] == kind]


def _valid(objects: Objects) -> None:
    for each in objects:
        if each["apiVersion"] != "monitoring.coreos.com/v1":
            for version in VERSIONS:
                kubernetes_validate.validate(each, version, strict=True)


def _selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


@pytest.fixture(scope="module")
def objects(plan: Plan, options: Options) -> Objects:
    """All objects of the page plan."""
    return _objects(plan, options)


def test_manifests_are_valid(objects: Objects) -> None:
    """Strictly, so that no key is one that Kubernetes would drop, for its oldest and newest release meant here."""
    _valid(objects)
    assert {each["kind"] for each in objects} == {
        "Deployment", "Service", "PodDisruptionBudget", "ConfigMap", "PodMonitor", "PrometheusRule",
    }  # fmt: skip


def test_the_validator_finds_mistakes(objects: Objects) -> None:
    """A key that does not exist and a count that is no number are refused, so a pass means something."""
    first = _of(objects, "Deployment")[0]
    for wrong in ({"replcias": 3}, {"replicas": "three"}):
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate({**first, "spec": {**first["spec"], **wrong}}, "1.34", strict=True)


def test_replicas_and_gpus_are_the_plans(plan: Plan, objects: Objects) -> None:
    """Per pool: the GPUs that all pods ask for are the busy GPUs of the plan, and pods go to that pool's nodes."""
    asked: dict[str, int] = {}
    for each in _of(objects, "Deployment"):
        pod = each["spec"]["template"]["spec"]
        (pool,) = pod["nodeSelector"].values()
        gpus = pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
        asked[pool] = asked.get(pool, 0) + gpus * each["spec"]["replicas"]
    assert asked == {name: pool.gpus_busy for name, pool in plan.pools.items() if pool.gpus_busy}


def test_selectors_find_their_own_pods_only(objects: Objects) -> None:
    """Services, budgets and Deployments select the pods of their own deployment, the monitor all of them."""
    pods = {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"] for each in _of(objects, "Deployment")
    }
    for each in _of(objects, "Deployment") + _of(objects, "PodDisruptionBudget"):
        selector = each["spec"]["selector"]["matchLabels"]
        assert [name for name, labels in pods.items() if _selects(selector, labels)] == [each["metadata"]["name"]]
    for each in _of(objects, "Service"):
        assert [n for n, labels in pods.items() if _selects(each["spec"]["selector"], labels)] == [
            each["metadata"]["name"]
        ]
    (monitor,) = _of(objects, "PodMonitor")
    assert all(_selects(monitor["spec"]["selector"]["matchLabels"], labels) for labels in pods.values())


def test_router_hints_name_services_with_exact_shares(plan: Plan, objects: Objects) -> None:
    """Every class is there, every target is a Service, shares are fractions that add up to one."""
    (config,) = _of(objects, "ConfigMap")
    hints = json.loads(config["data"]["routing.json"])
    services = {each["metadata"]["name"] for each in _of(objects, "Service")}
    assert hints["plan"] == plan.hash and set(hints["classes"]) == set(plan.scenario.traffic)
    for row in hints["classes"].values():
        for interval in row["prompts"]:
            assert sum(Fraction(target["share"]) for target in interval["targets"]) == 1
            assert sum(target["weight"] for target in interval["targets"]) == 1_000_000
            assert {target["service"] for target in interval["targets"]} <= services


def test_rules_watch_the_pods_that_run(objects: Objects) -> None:
    """Every query names the instance label of a deployment, in Prometheus' spelling of the label that is copied."""
    (monitor,), (rule,) = _of(objects, "PodMonitor"), _of(objects, "PrometheusRule")
    assert monitor["spec"]["podTargetLabels"] == ["app.kubernetes.io/instance"]
    names = {each["metadata"]["labels"]["app.kubernetes.io/instance"] for each in _of(objects, "Deployment")}
    for group in rule["spec"]["groups"]:
        assert group["name"] in names
        for each in group["rules"]:
            assert f'{{app_kubernetes_io_instance="{group["name"]}"}}' in each["expr"]


def test_pods_outlive_their_longest_request(plan: Plan, found: tuple[Serving, ...], objects: Objects) -> None:
    """The last answer of 1,024 tokens at the operating TPOT, begun just within TTFT, ends before the pod does."""
    serving = found[0]
    seconds = drain_s(plan, serving)
    exact = 3 + 1024 * serving.deployment.operating_tpot_ns / 1e9  # documents: 3 s TTFT
    assert exact <= seconds < exact + 1
    pod = _of(objects, "Deployment")[0]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == seconds + 30
    assert pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", str(seconds)]


def test_updates_surge_only_onto_gpus_that_are_there(plan: Plan, options: Options) -> None:
    """With a GPU to spare a new pod starts first; without one a replica has to go first."""
    for free, surge in ((0, 0), (1, 1)):
        pools = {n: replace(pool, gpus_spare=free, gpus_idle=0) for n, pool in plan.pools.items()}
        first = _of(_objects(replace(plan, pools=pools), options), "Deployment")[0]
        assert first["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": surge, "maxUnavailable": 1 - surge}


def test_budgets_follow_spare_replicas(plan: Plan, options: Options) -> None:
    """As many evictions as the promises survive; with none to spare one, and a note that says what it costs."""
    for spare, most in ((0, 1), (1, 1), (3, 3)):
        reserve = replace(plan.scenario.reserve, spare_replicas=spare)
        other = replace(plan, scenario=replace(plan.scenario, reserve=reserve))
        budget = _of(_objects(other, options), "PodDisruptionBudget")[0]
        assert budget["spec"]["maxUnavailable"] == most
        assert ("kvplan/notes" in budget["metadata"].get("annotations", {})) is (spare == 0)


def test_a_replica_over_nodes_is_two_stateful_sets(changed: Callable[..., Plan], options: Options) -> None:
    """Rank 0 serves and is probed, ranks 1 to 3 are headless with ordinals from 1; each takes its node's GPUs."""
    plan = changed(parallel="tp2-pp4", gpus=16, pools={"h100-reserved": 2})
    objects = _objects(plan, options)
    _valid(objects)
    sets = _of(objects, "StatefulSet")
    assert [(s["spec"]["replicas"], s["spec"]["ordinals"]["start"]) for s in sets] == [(1, 0), (3, 1)] * 2
    services = {each["metadata"]["name"]: each for each in _of(objects, "Service")}
    for server, worker in zip(sets[::2], sets[1::2], strict=True):
        service = services[server["spec"]["serviceName"]]
        assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"] is True
        master = f"{server['metadata']['name']}-0.{server['spec']['serviceName']}"
        for each, serves in ((server, True), (worker, False)):
            labels = each["spec"]["template"]["metadata"]["labels"]
            assert _selects(service["spec"]["selector"], labels)
            engine = each["spec"]["template"]["spec"]["containers"][0]
            tail = ["--node-rank", "$(KVPLAN_RANK)", "--master-addr", master, *([] if serves else ["--headless"])]
            assert engine["args"][-len(tail) :] == tail
            assert engine["resources"]["limits"] == {"nvidia.com/gpu": 2}
            assert ("readinessProbe" in engine) is serves
            field = engine["env"][0]["valueFrom"]["fieldRef"]["fieldPath"]
            assert field == "metadata.labels['apps.kubernetes.io/pod-index']"
        own = [s["metadata"]["name"] for s in sets if _selects(server["spec"]["selector"]["matchLabels"], _labels(s))]
        assert own == [server["metadata"]["name"]]
    front = services["page-helpdesk-1"]["spec"]["selector"]
    assert [s["metadata"]["name"] for s in sets if _selects(front, _labels(s))] == [
        s["metadata"]["name"] for s in sets[::2]
    ]


def _labels(workload: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return found


def test_a_deployment_on_two_pools_is_two_deployments_behind_one_service(
    changed: Callable[..., Plan], options: Options
) -> None:
    """Each pool has its own node selector; the Service takes both."""
    plan = changed(pools={"h100-reserved": 1, "l40s-spot": 1})
    objects = _objects(plan, options)
    _valid(objects)
    names = [d["metadata"]["name"] for d in _of(objects, "Deployment")]
    assert names[:2] == ["page-helpdesk-1-h100-reserved", "page-helpdesk-1-l40s-spot"]
    service = next(s for s in _of(objects, "Service") if s["metadata"]["name"] == "page-helpdesk-1")
    assert sum(_selects(service["spec"]["selector"], _labels(d)) for d in _of(objects, "Deployment")) == 2


HOSTILE = ("<script>", "a: b\n- c", "$(KVPLAN_RANK)", "{{ .Values }}", "x" * 200, "Ünï", "'\"`|", "# no", "-")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_give_valid_objects(plan: Plan, text: str) -> None:
    """Names and paths that YAML, shells or clusters could trip over: valid objects, paths as they were."""
    first = next(iter(plan.deployments.values()))
    name = f"d{text}"
    inventory = {**plan.scenario.inventory, text: plan.scenario.inventory["h100-reserved"]}
    scenario = replace(plan.scenario, name=text, inventory=inventory)
    routing = tuple(replace(r, share=Fraction(1)) for r in first.routing)
    traffic = {r.class_name: plan.scenario.traffic[r.class_name] for r in routing}
    hostile = replace(
        plan,
        deployments={name: replace(first, pools={text: 2}, routing=routing)},
        scenario=replace(scenario, traffic=traffic),
    )
    path = f"/m/{text}".replace("\n", " ")
    objects = _objects(hostile, Options(model_paths={"helpdesk": path}))
    _valid(objects)
    args = _of(objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args[0] == path.replace("$(", "$$(")  # Kubernetes reads $$ as $


def test_images_follow_from_the_plan_or_are_asked_for(changed: Callable[..., Plan], plan: Plan) -> None:
    """vLLM's image of the planned release; SGLang's and AMD's have to be named."""
    paths = {"helpdesk": "/m"}

    def image(which: Plan, images: dict[str, str]) -> str:
        objects = _objects(which, Options(model_paths=paths, images=images))
        return str(_of(objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["image"])

    assert image(plan, {}) == "vllm/vllm-openai:v0.24.0"
    assert image(changed(engine={"requested": "vllm@0.24.3"}), {}) == "vllm/vllm-openai:v0.24.3"
    assert image(plan, {"vllm": "registry/own:1"}) == "registry/own:1"
    sglang = changed(engine={"name": "sglang", "requested": "sglang@0.5"})
    with pytest.raises(InputError, match=r"needs an image of sglang@0.5.*--image sglang=IMAGE \[KV962\]"):
        image(sglang, {})
    assert image(sglang, {"sglang": "registry/sglang:1"}) == "registry/sglang:1"


def test_amd_gpus_have_their_own_resource(plan: Plan, changed: Callable[..., Plan]) -> None:
    """amd.com/gpu for AMD, and no guess for a vendor without a device plugin known here."""
    for vendor, resource in (("amd", "amd.com/gpu"), ("other", None)):
        inventory = {
            name: replace(pool, gpu=replace(pool.gpu, vendor=vendor)) for name, pool in plan.scenario.inventory.items()
        }
        options = Options(model_paths={"helpdesk": "/m"}, images={"vllm": "registry/rocm:1"})
        other = changed(scenario={"inventory": inventory})
        if resource is None:
            with pytest.raises(InputError, match="no Kubernetes resource name"):
                _objects(other, options)
            continue
        limits = _of(_objects(other, options), "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]
        assert limits["resources"]["limits"] == {resource: 1}


def test_objects_never_share_a_name(plan: Plan, options: Options) -> None:
    """A deployment called like another's on a pool is refused, not overwritten."""
    two = replace(plan.deployments["helpdesk-1"], pools={"h100-reserved": 1, "l40s-spot": 1})
    clash = replace(plan, deployments={"a": two, "a-l40s-spot": plan.deployments["helpdesk-2"]})
    with pytest.raises(InputError, match=r"another Deployment is called page-a-l40s-spot already.*KV961"):
        _objects(clash, options)


def test_options_reach_every_object(plan: Plan) -> None:
    """Namespace, label key and port stand wherever they belong."""
    options = Options(model_paths={"helpdesk": "/m"}, namespace="inference", pool_label="example.com/pool", port=9000)
    objects = _objects(plan, options)
    _valid(objects)
    assert all(each["metadata"]["namespace"] == "inference" for each in objects)
    pod = _of(objects, "Deployment")[0]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"example.com/pool": "h100-reserved"}
    assert pod["containers"][0]["ports"] == [{"name": "http", "containerPort": 9000}]
    args = pod["containers"][0]["args"]
    assert args[args.index("--port") + 1] == "9000"
    assert all(port["port"] == 9000 for each in _of(objects, "Service") for port in each["spec"]["ports"])
    plain = manifests(plan, servings(plan, options, engine=None, source="p"), replace(options, alerts="file"), "p")
    assert plain[-1].name == "prometheus-rules.yaml" and set(yaml.safe_load(plain[-1].text)) == {"groups"}
