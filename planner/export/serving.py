"""Deployments of a plan, ready to be written for an engine, or every reason why one cannot be.

What an engine release cannot run was refused when the plan was made. What is refused here is a plan for another
engine (its memory and latency were computed with other rules), a deployment without an engine (a capacity table has
no flags), and whatever the target's own format cannot say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from planner.catalog.parallel import Parallel, parse_parallel
from planner.catalog.types import EngineRules
from planner.compression.table import Preset, load_presets
from planner.errors import Diagnostic, InputError
from planner.plan.types import Deployment, Plan
from planner.scenario.types import Speculative

Target = Literal["vllm", "sglang", "kubernetes"]
Alerts = Literal["operator", "file", "none"]

PORT = 8000
"""vLLM's default port of `vllm serve`; SGLang is given the same."""

QUANTIZE_ON_LOAD = {("vllm", "fp8"): "fp8", ("sglang", "fp8"): "fp8"}
"""(engine, weights) -> value of `--quantization` that makes these weights from a 16-bit checkpoint while it loads."""


@dataclass(frozen=True)
class Options:
    """What a plan does not know: where checkpoints and images are, and how the cluster names things."""

    model_paths: Mapping[str, str] = field(default_factory=dict)
    """Deployment or model name of the scenario -> what the engine loads; a deployment's own entry wins."""
    images: Mapping[str, str] = field(default_factory=dict)
    """Engine name -> container image."""
    namespace: str | None = None
    pool_label: str = "kvplan/pool"
    """Key of the node label whose value is the pool's name."""
    port: int = PORT
    quantize_on_load: bool = False
    alerts: Alerts = "operator"


@dataclass(frozen=True)
class Serving:
    """One deployment of the plan with everything that its flags need."""

    name: str
    deployment: Deployment
    engine: EngineRules
    shape: Parallel
    model_path: str
    checkpoint: str
    kv_dtype: str
    quantization: str | None
    nodes_per_replica: int
    vendor: str
    notes: tuple[str, ...]
    speculative: Speculative | None = None


def servings(plan: Plan, options: Options, *, engine: str | None, source: str) -> tuple[Serving, ...]:
    """Every deployment of the plan, ready to be written.

    Args:
        plan: The plan document.
        options: What the plan does not know.
        engine: The engine that the target is for; None takes whatever the plan has (Kubernetes).
        source: The plan's file, for messages.

    Raises:
        InputError: every reason why the plan cannot be exported, and every path that is missing.
    """
    problems: list[Diagnostic] = []

    def refuse(message: str, code: str = "KV961") -> None:
        problems.append(Diagnostic(source, 0, 0, code, message))

    if not plan.deployments:
        refuse(f"the plan is {plan.status} and has no deployments to export; export one that `kvplan solve` found")
    presets = load_presets()
    found = [_serving(name, plan, options, engine, presets, refuse) for name in sorted(plan.deployments)]
    models = {d.model for d in plan.deployments.values()}
    for name in sorted({*options.model_paths} - {*plan.deployments} - models if models else ()):
        known = ", ".join(sorted(models))
        refuse(f"--model-path names '{name}', which the plan does not deploy; write one of {known}", "KV962")
    if problems:
        raise InputError(problems)
    return tuple(each for each in found if each is not None)


def _serving(
    name: str,
    plan: Plan,
    options: Options,
    wanted: str | None,
    presets: Mapping[str, Preset],
    refuse: Callable[..., None],
) -> Serving | None:
    deployment = plan.deployments[name]
    spec = plan.scenario.models.get(deployment.model)
    if spec is None or spec.engine is None or spec.facts is None:
        refuse(f"{deployment.model} is planned from a capacity table, which knows no engine flags; deploy it by hand")
        return None
    engine = spec.engine
    if wanted is not None and engine.name != wanted:
        refuse(
            f"{deployment.model} is planned for {engine.requested}; its memory and latency were computed with that "
            f"engine's rules, so it cannot be exported to {wanted}; write `engine: {wanted}@...` and solve again"
        )
        return None
    shape = parse_parallel(deployment.parallel)
    if isinstance(shape, str) or shape.gpus * deployment.replicas != deployment.gpus or not deployment.replicas:
        refuse(f"{name}: {deployment.gpus} GPUs are not {deployment.replicas} replicas of '{deployment.parallel}'")
        return None
    kv_dtype = _kv_dtype(name, deployment, engine, presets, refuse)
    nodes = _nodes(name, deployment, shape, refuse)
    path = options.model_paths.get(name, options.model_paths.get(deployment.model))
    checkpoint = f"{spec.facts.id} with {deployment.weights} weights"
    problem = "is missing" if path is None else _unusable(path)
    if path is None or problem:
        refuse(
            f"{deployment.model} serves {checkpoint}, and the path of that checkpoint {problem}; "
            f"write --model-path {deployment.model}=PATH (a folder, or a repository that the engine can fetch)",
            "KV962",
        )
    quantization = None
    if options.quantize_on_load and deployment.weights != spec.facts.native_weights:
        quantization = QUANTIZE_ON_LOAD.get((engine.name, deployment.weights))
        if quantization is None:
            refuse(f"{name}: {engine.requested} makes no {deployment.weights} weights while it loads; drop the option")
    if path is None or problem or kv_dtype is None or nodes is None or _engine_refuses(name, engine, shape, refuse):
        return None
    vendor = _vendor(plan, deployment)
    drafts = spec.speculative
    notes = (*_notes(deployment, checkpoint, quantization, kv_dtype, engine), *_draft_notes(drafts, engine))
    return Serving(
        name, deployment, engine, shape, path, checkpoint, kv_dtype, quantization, nodes, vendor, notes, drafts
    )


def _kv_dtype(
    name: str, deployment: Deployment, engine: EngineRules, presets: Mapping[str, Preset], refuse: Callable[..., None]
) -> str | None:
    preset = presets.get(deployment.kv_preset)
    flag = preset.kv_dtype.get(engine.name) if preset else None
    if flag is None or flag not in engine.kv_dtypes:
        refuse(f"{name}: {engine.requested} has no KV dtype for the preset '{deployment.kv_preset}'; solve again")
        return None
    return flag


def _nodes(name: str, deployment: Deployment, shape: Parallel, refuse: Callable[..., None]) -> int | None:
    """Nodes that one replica spans."""
    per_node = deployment.gpus_per_node
    if shape.gpus <= per_node:
        return 1
    if per_node < 1 or shape.gpus % per_node or shape.dp > 1:
        refuse(
            f"{name}: a replica of {shape.gpus} GPUs on nodes of {per_node} is not exported yet; whole nodes "
            "without data parallelism are"
        )
        return None
    return shape.gpus // per_node


def _vendor(plan: Plan, deployment: Deployment) -> str:
    """Who makes the GPUs of this deployment; all its pools have the same ones."""
    pools = plan.scenario.inventory
    return next((pools[name].gpu.vendor for name in sorted(deployment.pools) if name in pools), "")


def _engine_refuses(name: str, engine: EngineRules, shape: Parallel, refuse: Callable[..., None]) -> bool:
    """SGLang splits data and decode-context ranks in another way than the shape means, so it gets none of them."""
    if engine.name == "sglang" and (shape.dp > 1 or shape.dcp > 1):
        refuse(f"{name}: data and decode-context parallelism are not exported to SGLang yet; plan it with tp, pp, ep")
        return True
    return False


def _unusable(path: str) -> str:
    """What is wrong with a path that goes into scripts and manifests; empty when nothing is."""
    if not path or path != path.strip() or not path.isprintable():
        return "is empty or holds blanks at its ends, line breaks or other control characters"
    return "begins with '-', which engines read as a flag" if path.startswith("-") else ""


def _draft_notes(drafts: Speculative | None, engine: EngineRules) -> tuple[str, ...]:
    """Speculative decoding that is planned and that no flag written here turns on."""
    if drafts is None or (engine.name == "vllm" and drafts.draft != "eagle"):
        return ()
    planned = f"speculative decoding is planned: {drafts.draft}, {drafts.draft_tokens} drafted tokens"
    return (f"{planned}; add your engine's flags and your draft, the plan holds only with them",)


def _notes(
    deployment: Deployment, checkpoint: str, quantization: str | None, kv_dtype: str, engine: EngineRules
) -> tuple[str, ...]:
    """What whoever deploys must make true, because no flag does."""
    if quantization:
        notes = [f"loads a 16-bit checkpoint and makes {deployment.weights} weights of it (--quantization)"]
    else:
        notes = [f"the checkpoint must be {checkpoint}; the engine reads the format from it"]
    if engine.name == "vllm" and kv_dtype == "auto" and deployment.weights != "bf16" and not quantization:
        # vLLM `resolve_kv_cache_dtype_string`: `auto` takes what the checkpoint's quantization_config names.
        notes.append(
            "16-bit KV is planned: the checkpoint's quantization_config must name no KV dtype (kv_cache_scheme)"
        )
    if engine.name == "sglang" and not deployment.gpu_memory_utilization_ppm:
        notes.append("--mem-fraction-static is left to SGLang's own rule, as planned")
    return tuple(notes)
