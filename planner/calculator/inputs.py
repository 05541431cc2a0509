"""From names to facts: the model, engine, GPU and KV storage of a question, every unknown name at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches

from planner.calculator.query import KvQuery
from planner.calculator.storage import (
    FLOAT32,
    Storage,
    preset_ids_in_file,
    storage_of_flag,
    storage_of_preset,
    unknown_preset,
)
from planner.calculator.types import Taken
from planner.catalog.checkpoint_types import Checkpoint
from planner.catalog.engines import engine_ids, load_engine
from planner.catalog.files import model_paths
from planner.catalog.gpus import gpu_ids, load_gpu
from planner.catalog.models import hub_ids, load_model
from planner.catalog.parallel import Parallel
from planner.catalog.types import EngineRules, GpuFacts, ModelFacts, StateKv
from planner.errors import Diagnostic
from planner.memory.formats import weight_formats
from planner.units import quote

WEIGHT_NAMES = {"bfloat16": "bf16", "fp16": "bf16", "float16": "bf16", "w8a8": "int8", "int4": "w4a16", "awq": "w4a16"}
"""Other names of the same bytes."""


@dataclass(frozen=True)
class Inputs:
    """A question with its names looked up, and the defaults that this took."""

    query: KvQuery
    model: ModelFacts
    low: ModelFacts | None
    engine: EngineRules
    gpu: GpuFacts | None
    storage: Storage
    weights: str
    shape: Parallel
    checkpoint: Checkpoint | None
    defaults: tuple[Taken, ...]


def look_up(query: KvQuery) -> Inputs | tuple[Diagnostic, ...]:
    """Facts for every name of a question, or every name that has none."""
    taken: list[Taken] = []
    wrong: list[Diagnostic] = []
    model, low = _models(query, wrong)
    engine = _engine(query, taken, wrong)
    gpu = _gpu(query, wrong)
    checkpoint = _checkpoint(query) if model is not None else None
    weights = _weights(query, model, checkpoint, taken, wrong)
    shape = query.shape or Parallel()
    if query.shape is None:
        taken.append(Taken("--parallel", "tp1", "one GPU"))
    storage = None
    if engine is not None and query.preset is not None and query.kv_dtype is not None:
        message = "--preset and --kv-dtype both say how KV is stored; leave one out"
        wrong.append(Diagnostic("--preset", 0, 0, "KV212", message))
    elif engine is not None and model is not None and (gpu is not None or query.gpu is None):
        storage = _storage(query, engine, gpu, model, weights, taken, wrong)
    elif query.preset is not None and query.preset not in preset_ids_in_file():
        wrong.append(Diagnostic("--preset", 0, 0, "KV701", unknown_preset(query.preset)))
    if wrong or model is None or engine is None or storage is None:
        return tuple(wrong)
    return Inputs(query, model, low, engine, gpu, storage, weights, shape, checkpoint, tuple(taken))


def _checkpoint(query: KvQuery) -> Checkpoint | None:
    """What lies on the disk beside the config, whose tensors say what the weights take; None for the catalog."""
    if query.weights_bytes is not None or query.weights is not None or query.gpu is None:
        return None
    if query.kv_dtype == FLOAT32:
        return None  # Tensors are widened while they load.
    if query.model in model_paths() or "\0" in query.model:
        return None
    lower = query.model.lower()
    if not (query.base_dir / query.model).exists() and (lower in model_paths() or lower in hub_ids()):
        return None
    from planner.catalog.checkpoint import read_checkpoint

    found = read_checkpoint(query.model, query.base_dir)
    return found if isinstance(found, Checkpoint) and found.total_bytes else None


def _models(query: KvQuery, wrong: list[Diagnostic]) -> tuple[ModelFacts | None, ModelFacts | None]:
    """The model, or with `--bound` the upper and the lower end where its architecture is not understood."""
    facts = load_model(query.model, query.base_dir, bound="high" if query.bound else "")
    if isinstance(facts, str):
        bounded = not query.bound and isinstance(load_model(query.model, query.base_dir, bound="high"), ModelFacts)
        hint = "; --bound gives an interval instead" if bounded else ""
        wrong.append(Diagnostic("MODEL", 0, 0, "KV417", facts + hint))
        return None, None
    if facts.unsupported:
        message = f"{facts.id}: memory is not understood yet: {', '.join(facts.unsupported)}"
        wrong.append(Diagnostic("MODEL", 0, 0, "KV417", message))
        return None, None
    low = load_model(query.model, query.base_dir, bound="low") if facts.bound else None
    return _with_state(facts, query), _with_state(low, query) if isinstance(low, ModelFacts) else None


def _with_state(facts: ModelFacts, query: KvQuery) -> ModelFacts:
    """The model with its recurrent matrix in the type that was asked for."""
    size = query.state_element_bytes
    if size is None:
        return facts
    layers = (
        replace(layer, state_element_bytes=size) if isinstance(layer, StateKv) else layer for layer in facts.kv_layers
    )
    return replace(facts, kv_layers=tuple(layers))


def newest_engine(name: str = "vllm") -> str | None:
    """The newest rule set of an engine: what is taken when no release is named; None for an unknown engine."""
    return next((row for row in reversed(engine_ids()) if row.startswith(f"{name}@")), None)


def _engine(query: KvQuery, taken: list[Taken], wrong: list[Diagnostic]) -> EngineRules | None:
    name = query.engine or "vllm"
    newest = newest_engine(name)
    if newest is not None:
        why = "the newest vLLM rules" if query.engine is None else f"the newest rules of {name}; it names no release"
        taken.append(Taken("--engine", newest, why))
    engine = load_engine(newest or name)
    if isinstance(engine, str):
        wrong.append(Diagnostic("--engine", 0, 0, "KV419", engine))
        return None
    return engine


def _gpu(query: KvQuery, wrong: list[Diagnostic]) -> GpuFacts | None:
    if query.gpu is None:
        return None
    gpu = load_gpu(query.gpu.lower())
    if gpu is None:
        wrong.append(Diagnostic("--gpu", 0, 0, "KV418", _unknown_gpu(query.gpu)))
    return gpu


def _unknown_gpu(name: str) -> str:
    known = gpu_ids()
    plain = name[:100].lower().replace(" ", "-").replace("_", "-")
    near = [each for each in known if each.startswith(plain)] or get_close_matches(plain, known, n=3, cutoff=0.5)
    hint = (
        f"did you mean {' or '.join(quote(each) for each in near[:3])}?" if near else f"write one of {', '.join(known)}"
    )
    return f"no GPU {quote(name)} in the catalog; {hint}"


def _weights(
    query: KvQuery,
    model: ModelFacts | None,
    checkpoint: Checkpoint | None,
    taken: list[Taken],
    wrong: list[Diagnostic],
) -> str:
    """The weight format as asked, or the one that the config names."""
    native = model.native_weights if model is not None else "bf16"
    if query.weights is None and query.kv_dtype == FLOAT32 and native in ("bf16", "fp16"):
        if query.weights_bytes is None and query.gpu is not None:
            taken.append(Taken("--weights", "fp32", "loaded with --dtype float32"))
        return "fp32"
    if query.weights is None:
        if query.weights_bytes is None and query.gpu is not None:
            taken.append(Taken("--weights", native, "the checkpoint's tensors" if checkpoint else "as the config says"))
        return native
    name = WEIGHT_NAMES.get(query.weights.lower(), query.weights.lower())
    if name not in weight_formats():
        message = f"no weight format {quote(query.weights)}; write one of {', '.join(weight_formats())}"
        wrong.append(Diagnostic("--weights", 0, 0, "KV502", message))
    return name


def _storage(
    query: KvQuery,
    engine: EngineRules,
    gpu: GpuFacts | None,
    model: ModelFacts,
    weights: str,
    taken: list[Taken],
    wrong: list[Diagnostic],
) -> Storage | None:
    if query.kv_dtype is not None:
        storage, flag, code = storage_of_flag(engine, query.kv_dtype), "--kv-dtype", "KV212"
    else:
        if query.preset is None:
            taken.append(Taken("--preset", "bf16", "16-bit KV"))
        storage, flag, code = (
            storage_of_preset(query.preset or "bf16", engine, gpu, model, weights),
            "--preset",
            "KV701",
        )
    if isinstance(storage, str):
        wrong.append(Diagnostic(flag, 0, 0, code, storage))
        return None
    return storage
