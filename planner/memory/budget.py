"""What an engine has left for KV on one GPU: its budget less weights, activations, buffers and graphs.

vLLM: budget = utilization * total; it profiles a dummy run and takes weights, the activation peak, buffers and
(from 0.21) CUDA graphs from it. The identity holds on 72 single-stage start-up logs within 0.02 GiB.
SGLang: budget = what is free before loading * mem_fraction_static; no profiling run, activations and graphs
live in the rest. TensorRT-LLM: a share of what is free after loading and a profiling run.
Source: vLLM `gpu_worker.py` (`determine_available_memory`); SGLang 0.5 `server_args.py` and `model_runner`;
TensorRT-LLM reference of `KvCacheConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from planner.catalog.parallel import Parallel
from planner.catalog.types import Bottleneck, EngineRules, GpuFacts, ModelFacts, Refusal
from planner.memory.overhead import (
    CUDA_GRAPHS_GIB,
    GIB,
    activation_bytes,
    doubts,
    expert_workspace_bytes,
    is_multimodal,
    non_torch_bytes,
    sglang_reserved_bytes,
)

Step = tuple[str, str, int, str]
"""A line of the arithmetic: what, the formula with its numbers, bytes, source."""

_VISION_SHARE = Fraction(95, 100)
"""SGLang lowers mem_fraction_static for multimodal models by this factor, and more for large towers."""


@dataclass(frozen=True)
class KvBudget:
    """Bytes on one GPU of a stage.

    budget_bytes = weights_bytes + activation_bytes + non_torch_bytes + cuda_graph_bytes + other_bytes +
    available_bytes, exactly. `margin_bytes`, kept free where nothing was measured, is part of
    `non_torch_bytes`. What the engine holds outside its budget is total_bytes - budget_bytes.
    """

    total_bytes: int
    budget_bytes: int
    weights_bytes: int
    activation_bytes: int
    non_torch_bytes: int
    cuda_graph_bytes: int
    other_bytes: int
    available_bytes: int
    margin_bytes: int
    estimated: tuple[str, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class _Case:
    """What the rules of an engine look at."""

    model: ModelFacts
    gpu: GpuFacts
    engine: EngineRules
    shape: Parallel
    stage: int
    weights_bytes: int
    max_num_seqs: int
    max_num_batched_tokens: int
    utilization_ppm: int
    element_bytes: int

    @property
    def non_torch_bytes(self) -> int:
        """CUDA context and communication buffers."""
        return non_torch_bytes(self.gpu, self.engine, self.shape.tp)

    @property
    def activation_bytes(self) -> int:
        """Peak of the dummy run."""
        return activation_bytes(
            self.model,
            self.engine,
            self.shape,
            self.max_num_seqs,
            self.max_num_batched_tokens,
            stage=self.stage,
            element_bytes=self.element_bytes,
        )


@dataclass(frozen=True)
class _Parts:
    """Budget and components of an engine, and the lines that lead to them."""

    budget: int
    activation: int
    non_torch: int
    graphs: int
    estimated: tuple[str, ...]
    steps: tuple[Step, ...]


def kv_budget(
    model: ModelFacts,
    gpu: GpuFacts,
    engine: EngineRules,
    shape: Parallel,
    stage: int,
    *,
    weights_bytes: int,
    max_num_seqs: int,
    max_num_batched_tokens: int,
    utilization_ppm: int | None = None,
    extra_bytes: int = 0,
    keep_margin: bool = True,
    element_bytes: int = 2,
) -> KvBudget | Refusal:
    """The bytes that a stage has for KV on each of its GPUs, or why there are none.

    Args:
        weights_bytes: weights on one GPU of the stage.
        utilization_ppm: the engine's memory share; None is its default (SGLang: by rule).
        extra_bytes: memory that something else takes, such as an adapter; counted as `other_bytes`.
        keep_margin: whether 0.5 GiB (1 GiB above tp 1) stays free where no measurement stands behind the rule.
        element_bytes: bytes of an activation; 4 for models that run in fp32.

    >>> from pathlib import Path
    >>> from planner.catalog import load_engine, load_gpu, load_model
    >>> model, gpu = load_model("llama-3.1-8b", Path()), load_gpu("h100-sxm-80gb")
    >>> budget = kv_budget(model, gpu, load_engine("vllm@0.19"), Parallel(), 0, weights_bytes=16_094_076_928,
    ...     max_num_seqs=1024, max_num_batched_tokens=8192, utilization_ppm=950_000)
    >>> round(budget.available_bytes / 2**30, 1)  # log: 58.11
    58.1
    """
    found = _doubts(model, gpu, engine, shape)
    margin = (GIB // 2 if shape.tp == 1 else GIB) if keep_margin and found else 0
    rules = {"vllm": _vllm, "sglang": _sglang, "tensorrt-llm": _tensorrt_llm}[engine.name]
    utilization = engine.utilization_ppm if utilization_ppm is None else utilization_ppm
    case = _Case(
        model,
        gpu,
        engine,
        shape,
        stage,
        weights_bytes,
        max_num_seqs,
        max_num_batched_tokens,
        utilization,
        element_bytes,
    )
    parts = rules(case)
    used = weights_bytes + parts.activation + parts.non_torch + margin + parts.graphs + extra_bytes
    available = parts.budget - used
    if available <= 0:
        return _too_heavy(model, gpu, shape, weights_bytes, used - weights_bytes, parts.budget)
    graphs = _graphs_refusal(gpu, engine, parts.budget)
    if graphs is not None:
        return graphs
    if margin:
        found += (f"non-torch memory includes a margin of {'0.5' if shape.tp == 1 else '1'} GiB for that",)
    return KvBudget(
        total_bytes=gpu.memory_bytes,
        budget_bytes=parts.budget,
        weights_bytes=weights_bytes,
        activation_bytes=parts.activation,
        non_torch_bytes=parts.non_torch + margin,
        cuda_graph_bytes=parts.graphs,
        other_bytes=extra_bytes,
        available_bytes=available,
        margin_bytes=margin,
        estimated=_memory_doubt(gpu) + found + parts.estimated,
        steps=_steps(gpu, engine, parts, weights_bytes, margin, extra_bytes, available),
    )


def _vllm(case: _Case) -> _Parts:
    """The budget is a share of the total; everything is taken from it."""
    total = case.gpu.memory_bytes
    budget = total * case.utilization_ppm // 1_000_000
    graphs = -((-CUDA_GRAPHS_GIB * GIB) // 1) if case.engine.graphs_in_budget else 0
    activation = case.activation_bytes
    steps: tuple[Step, ...] = (
        ("budget", f"{_share(case.utilization_ppm)} x {_gib(total)}", budget, "vLLM --gpu-memory-utilization"),
        ("activations", _activation_formula(case), activation, "fit on 65 vLLM start-up logs (0.043 GiB mean error)"),
    )
    if not graphs:
        return _Parts(budget, activation, case.non_torch_bytes, 0, (), steps)
    steps += (("CUDA graphs", "mean of 61 logs, 0.51 to 1.85 GiB", graphs, "vLLM start-up logs"),)
    estimated = ("CUDA graphs: mean of logs, 0.51 to 1.85 GiB seen",)
    return _Parts(budget, activation, case.non_torch_bytes, graphs, estimated, steps)


def _sglang(case: _Case) -> _Parts:
    """available = free after loading - free before loading * (1 - mem_fraction_static).

    Context and communication buffers stand before loading, so they are outside the share: the budget here is
    the share of what is free plus these. Activations and graphs live in the rest.
    """
    non_torch = case.non_torch_bytes
    free = case.gpu.memory_bytes - non_torch
    share = Fraction(case.utilization_ppm, 1_000_000)
    formula = f"{_share(case.utilization_ppm)} x {_gib(free)} free + context"
    estimated: tuple[str, ...] = ()
    if not case.utilization_ppm:
        share, formula, estimated = _static_share(case, free)
    budget = non_torch + int(free * share)
    source = "SGLang 0.5 server_args.py (_handle_gpu_memory_settings)"
    return _Parts(budget, 0, non_torch, 0, estimated, (("budget", formula, budget, source),))


def _static_share(case: _Case, free_bytes: int) -> tuple[Fraction, str, tuple[str, ...]]:
    """mem_fraction_static by default: 1 - reserved / driver memory, to three decimals."""
    reserved = sglang_reserved_bytes(case.gpu, case.engine, case.shape, case.max_num_batched_tokens)
    driver = case.gpu.driver_bytes or case.gpu.memory_bytes
    share = max(Fraction(round(Fraction(driver - reserved, driver) * 1_000), 1_000), Fraction(0))
    formula = f"(1 - {_gib(reserved)} reserved / {_gib(driver)}) x {_gib(free_bytes)} free + context"
    if not is_multimodal(case.model):
        return share, formula, ()
    return (
        share * _VISION_SHARE,
        f"0.95 x {formula}",
        ("share of a multimodal model: 0.95 of it, less for large towers",),
    )


def _tensorrt_llm(case: _Case) -> _Parts:
    """free_gpu_memory_fraction of what weights, context and the profiling run leave; the rest stays unused."""
    total, activation, non_torch = case.gpu.memory_bytes, case.activation_bytes, case.non_torch_bytes
    free = max(0, total - case.weights_bytes - non_torch - activation)
    budget = total - free * (1_000_000 - case.utilization_ppm) // 1_000_000
    formula = f"{_gib(total)} - (1 - {_share(case.utilization_ppm)}) x {_gib(free)} free after loading"
    steps: tuple[Step, ...] = (
        ("budget", formula, budget, "TensorRT-LLM KvCacheConfig.free_gpu_memory_fraction"),
        ("activations", _activation_formula(case), activation, "forward pass as measured with vLLM"),
    )
    return _Parts(budget, activation, non_torch, 0, ("activation peak: forward pass as in vLLM",), steps)


def _activation_formula(case: _Case) -> str:
    """The peak with its numbers, as `activation_bytes` computes it."""
    model, shape, tokens, size = case.model, case.shape, case.max_num_batched_tokens, case.element_bytes
    hidden, width, per_logit = model.hidden_size, -(-model.ffn_size // shape.tp), case.engine.sampler_bytes_per_logit
    text = f"{size} x {tokens} x (3 x {width} + 4 x {hidden})"
    text += f" + {2 * size} x {tokens} x {hidden}" if shape.pp > 1 else ""
    if per_logit and case.stage == shape.pp - 1:
        rows = min(case.max_num_seqs, tokens)
        text = f"max({per_logit - 2 + size} x {rows} x {model.vocab_size} + {size} x {tokens} x {hidden}, {text})"
    text += f" + {expert_workspace_bytes(model, shape, tokens)} for experts" if model.is_moe else ""
    return text + (f" + {2 * size} x {tokens} x {hidden} for images" if is_multimodal(model) else "")


def _steps(
    gpu: GpuFacts,
    engine: EngineRules,
    parts: _Parts,
    weights_bytes: int,
    margin_bytes: int,
    extra_bytes: int,
    available_bytes: int,
) -> tuple[Step, ...]:
    """All lines, from the GPU's memory to what is available; labels in the order of a table."""
    found: list[Step] = [("GPU memory", gpu.id, gpu.memory_bytes, gpu.source)]
    found += parts.steps[:1]
    found.append(("weights", "tensor by tensor, on this GPU", weights_bytes, "vLLM model definitions"))
    found += parts.steps[1:]
    found.append(("non-torch", "CUDA context, communication buffers", parts.non_torch, engine.source))
    if margin_bytes:
        found.append(("margin", "kept free where nothing was measured", margin_bytes, "kvplan"))
    if extra_bytes:
        found.append(("other", "as given", extra_bytes, "user"))
    found.append(("available", "budget - all of the above", available_bytes, "identity of the engine"))
    return tuple(found)


def _doubts(model: ModelFacts, gpu: GpuFacts, engine: EngineRules, shape: Parallel) -> tuple[str, ...]:
    missing = ("activation peak: fields are missing from the config",) if model.missing else ()
    return doubts(model, gpu, engine, shape) + missing


def _memory_doubt(gpu: GpuFacts) -> tuple[str, ...]:
    return ("GPU memory total: driver figure less 1 %",) if gpu.memory_estimated else ()


def _graphs_refusal(gpu: GpuFacts, engine: EngineRules, budget_bytes: int) -> Refusal | None:
    """vLLM releases that capture CUDA graphs outside their budget need the rest of the GPU to hold them."""
    graphs_bytes = int(CUDA_GRAPHS_GIB * GIB)
    if engine.name != "vllm" or engine.graphs_in_budget or gpu.memory_bytes - budget_bytes >= graphs_bytes:
        return None
    most_percent = 100 * (gpu.memory_bytes - graphs_bytes) // gpu.memory_bytes
    message = (
        f"{engine.requested} captures CUDA graphs ({_gib(graphs_bytes)}) outside its budget; only "
        f"{_gib(gpu.memory_bytes - budget_bytes)} of {gpu.id} stay free"
    )
    return Refusal(Bottleneck.MEMORY, message, f"gpu_memory_utilization: 0.{most_percent:02d}")


def _too_heavy(
    model: ModelFacts, gpu: GpuFacts, shape: Parallel, weights_bytes: int, rest_bytes: int, budget_bytes: int
) -> Refusal:
    message = (
        f"{model.id} needs {_gib(weights_bytes + rest_bytes)} on each GPU at {shape} "
        f"(weights {_gib(weights_bytes)}, activations and buffers {_gib(rest_bytes)}); "
        f"{gpu.id} has {_gib(budget_bytes)} to give"
    )
    return Refusal(Bottleneck.MEMORY, message)


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / GIB:.2f} GiB"


def _share(ppm: int) -> str:
    return f"{ppm / 1_000_000:g}"
