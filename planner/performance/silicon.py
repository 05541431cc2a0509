"""The provider on measured kernel tables: aiconfigurator-core, an optional extra, all of it in this file.

A step is looked up kernel by kernel in tables measured by the package's authors (H100, H200, A100, L40S, B200, GB200,
B300, GB300 and RTX PRO 6000; vLLM, SGLang and TensorRT-LLM) and added up, and the engine's own time is added
(overhead.py). The package is loaded when a step model is asked for; without it the answer is a refusal that says how
to get it.

Its release is named in every figure. It writes notices to its log and to stdout while it loads: neither reaches ours.
Source: ai-dynamo/aiconfigurator, `aiconfigurator_core.sdk.engine.EngineHandle`, 0.12.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np

from planner.catalog import load_model
from planner.catalog.types import Bottleneck, ModelFacts, Refusal
from planner.performance.bands import JUDGED, band_for
from planner.performance.overhead import EngineOverhead, engine_overhead
from planner.performance.provider import FloatArray, LatencyBand, Part, Quantity, StepModel, StepRequest

PACKAGE = "aiconfigurator_core"
QUANTIZATION_FILE = "_hf_quant_config.json"
INSTALL = "pip install 'kvplan[silicon]'"

SYSTEMS = {
    "h100-sxm-80gb": "h100_sxm",
    "h100-pcie-80gb": "h100_pcie",
    "h200-sxm-141gb": "h200_sxm",
    "a100-sxm-80gb": "a100_sxm",
    "a100-sxm-40gb": "a100_sxm",
    "l40s-48gb": "l40s",
    "b200-sxm-180gb": "b200_sxm",
    "b300-sxm-288gb": "b300_sxm",
    "gb200-nvl72": "gb200",
    "gb300-nvl72": "gb300",
    "rtx-pro-6000-bw-se-96gb": "rtx_pro_6000_server",
}
BACKENDS = {"vllm": "vllm", "sglang": "sglang", "tensorrt-llm": "trtllm"}
MODES = {"bf16": "bfloat16", "fp16": "bfloat16", "fp8": "fp8", "nvfp4": "nvfp4", "w4a16": "int4_wo"}
STATIC_FP8 = {"trtllm"}
"""Engines whose fp8 checkpoints bring the scales of activations along: no kernels that look for them in every step."""

SLOW_BLOCK_FP8 = {("b200_sxm", "vllm"), ("b300_sxm", "vllm"), ("gb200", "vllm"), ("gb300", "vllm")}
"""Tables of block-scaled matrices with a floor of 0.18 ms that end-to-end runs do not show: MiniMax-M2.5 would be 2.2
times slower than measured. Per-tensor tables stand in."""

KV_MODES = dict.fromkeys(("auto", "bf16", "bfloat16", "fp16", "float16"), "bfloat16")
KV_MODES |= dict.fromkeys(("fp8", "fp8_e4m3", "fp8-e4m3"), "fp8")

PARTS_BY_NAME: tuple[tuple[str, Part], ...] = (
    ("dispatch", "all_reduce"),
    ("allreduce", "all_reduce"),
    ("_ar", "all_reduce"),
    ("p2p", "all_reduce"),
    ("router", "experts"),
    ("moe", "experts"),
    ("logits", "logits"),
    ("attention", "attention"),
    ("mla", "attention"),
    ("recurrence", "attention"),
    ("scan", "attention"),
    ("conv1d", "attention"),
    ("norm", "elementwise"),
    ("act_gate", "elementwise"),
    ("embedding", "elementwise"),
    ("merge", "elementwise"),
)
"""The first word found in a kernel's name says which part of the step it is; the rest are matrices: weights."""

Kernel = tuple[str, float, float, str]
"""Name, milliseconds, energy and the origin of one kernel of a step."""


class Handle(Protocol):
    """What is used of the package's `EngineHandle`."""

    def decode_step_per_op(self, gen_tokens: int, isl: int, osl: int) -> list[Kernel]:
        """Kernels of a step that decodes for `gen_tokens` sequences of `isl` + `osl` / 2 tokens."""

    def mixed_step_breakdown_per_op(
        self, ctx_tokens: int, gen_tokens: int, isl: int, osl: int, prefix: int = 0
    ) -> tuple[list[Kernel], list[Kernel], list[Kernel]]:
        """Kernels without attention, of prefill attention and of decode attention."""


@dataclass(frozen=True)
class SiliconStepModel(StepModel):
    """Step times of one replica from kernel tables. Counts are dealt out evenly over `ranks` of data parallelism."""

    handle: Handle
    ranks: int
    decode_time_factor: float
    engine_overhead: EngineOverhead
    provider: str
    estimated: tuple[str, ...]
    band: LatencyBand = JUDGED

    def breakdown(
        self, batch: Quantity, context_tokens: Quantity, new_tokens: Quantity = 0, cached_tokens: Quantity = 0
    ) -> dict[Part, FloatArray]:
        """Kernels of every step, added up by part. Each distinct step is one look-up: about 50 microseconds."""
        axes = np.broadcast_arrays(*(np.asarray(each, np.float64) for each in (batch, context_tokens, new_tokens)))
        axes = np.broadcast_arrays(*axes, np.asarray(cached_tokens, np.float64))
        steps = [
            self._step(*(float(each) for each in step)) for step in zip(*(axis.flat for axis in axes), strict=True)
        ]
        parts = sorted({part for step in steps for part in step})
        return {part: np.array([step.get(part, 0.0) for step in steps]).reshape(axes[0].shape) for part in parts}

    def _step(self, batch: float, context: float, new: float, cached: float) -> dict[Part, float]:
        sequences, tokens = _share(batch, self.ranks), _share(new, self.ranks)
        if not sequences and not tokens:
            return {}
        seconds: dict[Part, float] = {"overhead": float(self.engine_overhead.seconds(sequences))}
        for kernels, factor in self._kernels(sequences, round(context), tokens, round(cached)):
            for name, milliseconds, _, _ in kernels:
                part = part_of(name)
                seconds[part] = seconds.get(part, 0.0) + factor * milliseconds / 1e3
        return seconds

    def _kernels(self, batch: int, context: int, new: int, cached: int) -> Iterator[tuple[Sequence[Kernel], float]]:
        decode = self.handle.decode_step_per_op(batch, max(1, context), 1) if batch else []
        if not new:
            yield decode, self.decode_time_factor
            return
        length = cached + new
        shared, prefill, _ = self.handle.mixed_step_breakdown_per_op(new, batch, length, 1, cached)
        yield shared, 1.0
        yield prefill, length / new  # the package scales by new / length, also where the prefix is no work
        if batch:
            yield self.handle.mixed_step_breakdown_per_op(0, batch, max(1, context), 1)[2], 1.0
            yield decode, self.decode_time_factor - 1


def part_of(kernel: str) -> Part:
    """The part of a step that a kernel of the package belongs to.

    >>> part_of("generation_moe_post_dispatch"), part_of("context_gate_ffn1_gemm")
    ('all_reduce', 'weights')
    """
    return next((part for word, part in PARTS_BY_NAME if word in kernel), "weights")


def is_installed() -> bool:
    """Whether the package with the kernel tables is there."""
    return find_spec(PACKAGE) is not None


def silicon(request: StepRequest) -> SiliconStepModel | Refusal:
    """Step times from kernel tables, or why there are none: what is not covered is named."""
    if not is_installed():
        return Refusal(
            Bottleneck.ENGINE, f"the silicon provider needs a package that is not installed: {INSTALL}", "roofline"
        )
    refusal = _refusal(request)
    if refusal:
        return refusal
    config = model_config(request.model)
    if config is None:
        text = f"the silicon provider knows no model of the shape of {request.model.id}"
        return Refusal(Bottleneck.ARCHITECTURE, text, "roofline")
    system, backend = SYSTEMS[request.gpu.id], BACKENDS[request.engine.name]
    with _quiet():
        tables = _tables(system, backend)
        handle = _compiled(request, config, system, backend, tables) if tables else "no tables for this pair"
    if isinstance(handle, str):
        text = f"the silicon provider has no kernels for {_what(request)}: {handle}"
        return Refusal(Bottleneck.ENGINE, text, "roofline")
    return SiliconStepModel(
        handle=handle,
        ranks=request.shape.dp,
        decode_time_factor=float(request.decode_time_factor),
        engine_overhead=engine_overhead(request.engine.name),
        provider=f"silicon, {request.engine.name} {tables} kernels of {system} ({PACKAGE} {version(PACKAGE)})",
        estimated=_estimated(request, str(tables)),
        band=band_for(request, "silicon"),
    )


def _refusal(request: StepRequest) -> Refusal | None:
    shape = request.shape
    if request.gpu.id not in SYSTEMS:
        covered = ", ".join(SYSTEMS)
        return Refusal(Bottleneck.GPU, f"the silicon provider has no kernels of {request.gpu.id}, only of {covered}")
    if request.engine.name not in BACKENDS:
        return Refusal(Bottleneck.ENGINE, f"the silicon provider has no kernels of {request.engine.name}")
    if shape.pp > 1 or shape.dcp > 1:
        text = f"the silicon provider does not time {shape}: pipeline or decode-context parallelism"
        return Refusal(Bottleneck.PARALLEL, text, f"tp{shape.tp}")
    if request.weights not in MODES and request.weights != request.model.native_weights:
        return Refusal(Bottleneck.GPU, f"the silicon provider has no kernels of {request.weights} weights")
    if request.kv_dtype not in KV_MODES:
        return Refusal(Bottleneck.GPU, f"the silicon provider has no kernels on {request.kv_dtype} KV", "bf16, fp8")
    return None


def _compiled(request: StepRequest, config: Path, system: str, backend: str, tables: str) -> Handle | str:
    """The package's engine, probed once for each kind of step; or what it lacks, in its own words.

    The config is handed over in a folder: the package would fetch a model that it is given by name.
    """
    from aiconfigurator_core.sdk.engine import EngineHandle

    shape, (matrices, experts) = request.shape, _modes(request, system, backend)
    ranks = shape.expert_ranks if request.model.is_moe else 1
    try:
        with TemporaryDirectory() as folder:
            for name, path in (("config.json", config), ("hf_quant_config.json", _quantization_file(config))):
                if path.exists():
                    copyfile(path, Path(folder) / name)
            handle: Handle = EngineHandle.compile(
                folder,
                system,
                backend,
                backend_version=tables,
                tp_size=shape.tp,
                attention_dp_size=shape.dp,
                moe_tp_size=1 if shape.ep else ranks,
                moe_ep_size=ranks if shape.ep else 1,
                gemm_quant_mode=matrices,
                moe_quant_mode=experts,
                kvcache_quant_mode=KV_MODES[request.kv_dtype],
                fmha_quant_mode="bfloat16",
            )
        handle.decode_step_per_op(8, 1024, 1)
        handle.mixed_step_breakdown_per_op(1024, 8, 1024, 1)
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        return str(error).splitlines()[0][:200]
    return handle


def _modes(request: StepRequest, system: str, backend: str) -> tuple[str | None, str | None]:
    """The package's names of the matrices' and the experts' weights; None: what the checkpoint's config says.

    The fp8 of published mixtures of experts is scaled by blocks of 128 x 128.
    """
    if request.weights == "fp8" and request.model.is_moe:
        return "fp8" if (system, backend) in SLOW_BLOCK_FP8 else "fp8_block", "fp8_block"
    native = request.weights == request.model.native_weights
    if native and request.weights == "fp8" and backend in STATIC_FP8:
        return "fp8_static", None
    if request.weights not in MODES:
        return None, None
    return MODES[request.weights], MODES[request.weights]


def _tables(system: str, backend: str) -> str | None:
    """The release whose kernels the package answers with; it must be asked for by its number."""
    from aiconfigurator_core.sdk import perf_database

    resolve: Callable[[str, str, str], str] = perf_database.resolve_query_version
    try:
        return resolve(system, backend, "current")
    except (LookupError, RuntimeError, ValueError):
        return None


@cache
def model_config(model: ModelFacts) -> Path | None:
    """The config of a model of this shape among those that the package ships, or None.

    One with the same weights comes first: its quantization is read where weights are the checkpoint's own.
    """
    spec = find_spec(PACKAGE)
    folder = Path(spec.origin).parent / "model_configs" if spec and spec.origin else Path()
    found = []
    for config in sorted(folder.glob("*_config.json")):
        facts = None if config.name.endswith(QUANTIZATION_FILE) else load_model(str(config), Path())
        if isinstance(facts, ModelFacts) and _same_shape(facts, model):
            found.append((facts.native_weights != model.native_weights, config))
    return min(found)[1] if found else None


def _quantization_file(config: Path) -> Path:
    return config.with_name(config.name.removesuffix("_config.json") + QUANTIZATION_FILE)


def _same_shape(one: ModelFacts, other: ModelFacts) -> bool:
    def shape(model: ModelFacts) -> tuple[object, ...]:
        heads = (model.heads, model.kv_heads, model.head_dim, model.q_lora_rank, model.kv_lora_rank)
        experts = (model.experts, model.experts_per_token, model.expert_ffn_size, model.shared_experts)
        return model.layers, model.hidden_size, model.ffn_size, model.vocab_size, heads, experts, model.kv_layers

    return shape(one) == shape(other)


def _estimated(request: StepRequest, tables: str) -> tuple[str, ...]:
    notes = []
    if tables.split(".")[:2] != request.engine.version.split(".")[:2]:
        notes.append(f"{request.engine.name} {request.engine.version} is timed with kernels of {tables}")
    if SYSTEMS[request.gpu.id] == "a100_sxm" and request.gpu.id != "a100-sxm-80gb":
        notes.append(f"{request.gpu.id} is timed with kernels of a100-sxm-80gb")
    return tuple(notes)


def _what(request: StepRequest) -> str:
    return f"{request.model.id} on {request.gpu.id}, {request.engine.name}, {request.shape}, {request.weights}"


def _share(count: float, ranks: int) -> int:
    """Of a count on all ranks, that of the fullest rank; 0 stays 0."""
    return max(1, round(count / ranks)) if count > 0 else 0


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the package's notices out of stdout and of the log."""
    logger = logging.getLogger(PACKAGE)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
