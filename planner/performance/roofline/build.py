"""From a request to the terms of its step: shapes of the model and the parallel shape, constants of the kernels."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from fractions import Fraction

import numpy as np

from planner.catalog.tensors import shares_kv
from planner.catalog.types import AttentionKv, Bottleneck, ModelFacts, Refusal, StateKv
from planner.performance.bands import band_for
from planner.performance.overhead import engine_overhead
from planner.performance.provider import Part, StepRequest
from planner.performance.roofline.attention import DecodeConstants, PrefillConstants
from planner.performance.roofline.collective import AllReduceConstants, TransferConstants
from planner.performance.roofline.constants import NS, US, Kernels, kernels_for
from planner.performance.roofline.experts import ExpertConstants, ExpertShape
from planner.performance.roofline.gemm import GemmConstants, GemmRates, gemm_rates
from planner.performance.roofline.rates import (
    EXPERT_STAND_INS,
    MATRIX_STAND_INS,
    expert_format,
    matrix_format,
    matrix_rates,
)
from planner.performance.roofline.recurrent import RecurrentConstants
from planner.performance.roofline.refusals import refusal
from planner.performance.roofline.shapes import Matrix, rank_matrices
from planner.performance.roofline.step import RooflineStepModel
from planner.performance.roofline.terms import (
    AllReduce,
    Attention,
    Elementwise,
    EngineTime,
    Experts,
    Matrices,
    Recurrent,
    Term,
    Transfers,
)

KV_16BIT = ("auto", "bf16", "bfloat16", "fp16", "float16")
KV_FP8 = ("fp8", "fp8_e4m3", "fp8_e5m2", "fp8-e5m2")

_NAMES = {"vllm": "vLLM", "sglang": "SGLang", "tensorrt-llm": "TensorRT-LLM"}

SPARSE_TOKENS = 2048
"""Tokens that sparse attention picks for a query: `index_topk` of DeepSeek-V3.2 and GLM-5."""

_ROWS = ("all", "decode", "prompt", "sampled")


def roofline(request: StepRequest) -> RooflineStepModel | Refusal:
    """The step times of a replica, or why the roofline cannot time it.

    16-bit and fp8 KV have measured kernels; other dtypes are timed as 16-bit kernels that read
    `kv_bytes_per_element`, and flagged.
    Source: kernels measured by aiconfigurator-core 0.12.0, see `roofline_constants.json`.
    """
    refused = refusal(request)
    if refused:
        return refused
    kernels = kernels_for(request.gpu, request.engine.name)
    if isinstance(kernels, Refusal):
        return kernels
    terms: list[Term] = []
    for found in (_matrices, _mixers, _experts, _collectives):
        more = found(request, kernels)
        if isinstance(more, Refusal):
            return more
        terms += more
    terms += [*_elementwise(request), EngineTime(engine_overhead(request.engine.name))]
    tables = ", ".join(f"{_NAMES[request.engine.name]} {each}" for each in sorted(kernels.tables)) or "stand-in"
    return RooflineStepModel(
        terms=tuple(terms),
        shape=request.shape,
        decode_time_factor=float(request.decode_time_factor),
        provider=f"roofline, {tables} kernels of {kernels.relative}",
        estimated=(*kernels.notes, *_extrapolated(request, kernels)),
        band=band_for(request, "roofline"),
    )


def _matrices(request: StepRequest, kernels: Kernels) -> list[Term] | Refusal:
    """All matrices but the experts, as one array for the layers and one for the output head."""
    counts = rank_matrices(request.model, request.shape)
    inside = [(matrix, count) for matrix, count in counts.items() if matrix.rows != "sampled"]
    head = [(matrix, count) for matrix, count in counts.items() if matrix.rows == "sampled"]
    layers, logits = _stack(inside, request, kernels, "weights"), _stack(head, request, kernels, "logits")
    if isinstance(layers, Refusal):
        return layers
    return logits if isinstance(logits, Refusal) else [layers, logits]


def _stack(counts: list[tuple[Matrix, int]], request: StepRequest, kernels: Kernels, part: Part) -> Matrices | Refusal:
    gpu = request.gpu
    rates: list[GemmRates] = []
    for matrix, _ in counts:
        dtype = matrix_format(request.model, gpu, request.weights, matrix, request.engine.name)
        found = kernels.find("gemm", dtype, *(each for each in MATRIX_STAND_INS.get(dtype, ()) if each != dtype))
        if found is None:
            return _unmeasured(request, f"matrices in {dtype}", "bf16")
        flops, weight_bytes = matrix_rates(gpu, dtype)
        rates.append(gemm_rates(gemm_constants(found), flops, float(gpu.bandwidth_bytes_per_s), weight_bytes))
    columns = {field.name: np.array([getattr(each, field.name) for each in rates]) for field in fields(GemmRates)}
    return Matrices(
        part=part,
        columns=np.array([float(matrix.columns) for matrix, _ in counts]),
        inner=np.array([float(matrix.inner) for matrix, _ in counts]),
        counts=np.array([float(count) for _, count in counts]),
        rows=tuple(_ROWS.index(matrix.rows) for matrix, _ in counts),
        rates=GemmRates(**columns),
    )


def _mixers(request: StepRequest, kernels: Kernels) -> list[Term] | Refusal:
    """Attention and recurrent layers, one term for each kind."""
    terms: list[Term] = []
    for kind, layers in _mixer_kinds(request.model).items():
        if isinstance(kind, StateKv):
            term = _recurrent(request, kernels, kind, layers)
        elif kind.is_latent:
            term = _latent(request, kernels, kind, layers)
        else:
            term = _attention(request, kernels, kind, layers)
        if isinstance(term, Refusal):
            return term
        terms += term
    return terms


def _mixer_kinds(model: ModelFacts) -> Counter[AttentionKv | StateKv]:
    """Layers of each kind. A layer that shares the cache of another one attends all the same."""
    kinds: Counter[AttentionKv | StateKv] = Counter()
    for layer in model.kv_layers:
        if layer is not None:
            kinds[layer] += 1
        elif shares_kv(model):
            kinds[AttentionKv(model.kv_heads, model.head_dim, model.v_head_dim)] += 1
    return kinds


def _attention(request: StepRequest, kernels: Kernels, kind: AttentionKv, layers: int) -> list[Term] | Refusal:
    """Grouped-query attention. KV heads are at least one a rank: they are repeated beyond their number."""
    tp, model = request.shape.tp, request.model
    dtype, element = _kv(request, kernels)
    width = (kind.key_dim + kind.value_dim) / 2
    sizes = kernels.sizes("decode", dtype)
    if not sizes:
        return _unmeasured(request, f"decode attention on a {dtype} KV cache", "bf16")
    size = min(sizes, key=lambda each: abs(np.log(each / width)))
    if not 0.9 < size / width < 1.1:
        kernels.note(f"attention with heads of {width:g} was not measured: kernels for heads of {size}")
    decode = kernels.find("decode", f"{dtype}/{size}")
    prefill = kernels.find("prefill", f"{dtype}/{size}", f"bf16/{size}")
    if decode is None or prefill is None:
        return _unmeasured(request, f"attention with heads of {size} on a {dtype} KV cache", "bf16")
    heads, kv_heads = model.heads / tp, max(1.0, kind.kv_heads / tp)
    term = Attention(
        layers=layers,
        kind=kind,
        heads=heads,
        token_bytes=kv_heads * 2 * width * element,
        token_flops=4 * heads * width,
        pair_flops=4 * heads * width,
        decode=decode_constants(decode),
        prefill=prefill_constants(prefill),
        bandwidth_bytes_per_s=float(request.gpu.bandwidth_bytes_per_s),
        flops_per_s=float(request.gpu.bf16_flops),
        context_ranks=request.shape.dcp,
    )
    return [term]


def _latent(request: StepRequest, kernels: Kernels, kind: AttentionKv, layers: int) -> list[Term] | Refusal:
    """Latent attention: decoding reads one vector a token for all heads, a prefill expands it to keys and values."""
    model = request.model
    dtype, element = _kv(request, kernels)
    decode = kernels.find("latent_decode", dtype, "bf16")
    prefill = kernels.find("latent_prefill", dtype, "bf16")
    if decode is None or prefill is None:
        return _unmeasured(request, "multi-head latent attention (MLA)", None)
    heads = model.heads / request.shape.tp
    if kind.index_dim:
        kernels.note(f"sparse attention of {model.id}: {SPARSE_TOKENS} tokens a query, its indexer as bytes it reads")
        kind = AttentionKv(1, kind.key_dim, 0, "sliding", SPARSE_TOKENS, kind.rope_dim)
    term = Attention(
        layers=layers,
        kind=kind,
        heads=heads,
        token_bytes=kind.key_dim * element,
        token_flops=2 * heads * (kind.key_dim + model.kv_lora_rank),
        pair_flops=2 * heads * (model.qk_nope_head_dim + model.qk_rope_head_dim + model.v_head_dim),
        decode=decode_constants(decode),
        prefill=prefill_constants(prefill),
        bandwidth_bytes_per_s=float(request.gpu.bandwidth_bytes_per_s),
        flops_per_s=float(request.gpu.bf16_flops),
        context_ranks=request.shape.dcp,
    )
    return [term]


def _recurrent(request: StepRequest, kernels: Kernels, kind: StateKv, layers: int) -> list[Term] | Refusal:
    """Recurrent layers; kinds without kernels of their own take those of Gated DeltaNet."""
    decode = kernels.find("recurrent_decode", kind.kind, "gdn")
    scan = kernels.find("recurrent_scan", kind.kind, "gdn")
    if decode is None or scan is None:
        return _unmeasured(request, f"{kind.kind} layers", None)
    constants = RecurrentConstants(decode["e"], decode["t0_us"] * US, scan["e"], scan["t0_us"] * US)
    return [Recurrent(layers, kind, request.shape.tp, constants, float(request.gpu.bandwidth_bytes_per_s))]


def _experts(request: StepRequest, kernels: Kernels) -> list[Term] | Refusal:
    """Routed experts, in slices over tp * dp ranks or whole ones under ep."""
    model, shape = request.model, request.shape
    layers = model.ffn_layers.count("moe")
    if not layers:
        return []
    dtype = expert_format(model, request.gpu, request.weights)
    found = kernels.find("experts", dtype, *(each for each in EXPERT_STAND_INS.get(dtype, ()) if each != dtype))
    if found is None:
        return _unmeasured(request, f"experts in {dtype}", None)
    flops, weight_bytes = matrix_rates(request.gpu, dtype)
    ranks = shape.expert_ranks
    experts = ExpertShape(
        experts=model.experts,
        per_token=model.experts_per_token,
        hidden=model.hidden_size,
        width=model.expert_ffn_size / (1 if shape.ep else ranks),
        ranks=ranks if shape.ep else 1,
        matrices=3 if model.gated_ffn else 2,
    )
    bandwidth = float(request.gpu.bandwidth_bytes_per_s)
    return [Experts(layers, experts, expert_constants(found), flops, bandwidth, weight_bytes)]


def _collectives(request: StepRequest, kernels: Kernels) -> list[Term] | Refusal:
    """Two all-reduces a layer over tp; gather and scatter around the experts of dp ranks; hops of a pipeline."""
    model, shape, link = request.model, request.shape, float(request.gpu.link_bytes_per_s)
    terms: list[Term] = []
    wide = model.ffn_layers.count("moe") if shape.dp > 1 else 0
    if shape.tp > 1:
        found = kernels.find("all_reduce", f"tp{shape.tp}")
        if found is None:
            return _unmeasured(request, f"all-reduce over {shape.tp} GPUs", "tp1")
        count = sum(_mixer_kinds(model).values()) + sum(ffn != "none" for ffn in model.ffn_layers) - wide
        terms.append(AllReduce(count + 1, model.hidden_size, shape.tp, all_reduce_constants(found), link))
    if wide:
        share, gather = (shape.expert_ranks - 1) / shape.expert_ranks, _gather(kernels, shape.expert_ranks)
        terms.append(Transfers(2 * wide, model.hidden_size, share, "everywhere", gather, link))
    if shape.dcp > 1:
        layers = sum(isinstance(layer, AttentionKv) for layer in model.kv_layers)
        width, share = model.heads / shape.tp * shape.dcp * model.v_head_dim, (shape.dcp - 1) / shape.dcp
        terms.append(Transfers(2 * layers, width, share, "decodes", _gather(kernels, shape.dcp), link))
    if shape.pp > 1:
        terms.append(Transfers(shape.pp - 1, model.hidden_size, 1.0, "tokens", _gather(kernels, 2), link))
    return terms


def _gather(kernels: Kernels, ranks: int) -> TransferConstants:
    """Gathers over the nearest measured number of ranks; every measured GPU has them for 2."""
    for count in (8, 4, 2):
        found = kernels.find("gather", f"tp{count}") if count <= max(2, ranks) else None
        if found is not None:
            if count != ranks:
                kernels.note(f"transfers between {ranks} ranks were measured for {count}")
            return TransferConstants(found["t0_us"] * US, found["e"])
    raise ValueError(f"roofline_constants.json has no gathers of {kernels.relative}.")


def _elementwise(request: StepRequest) -> list[Term]:
    """Norms with their residuals twice a layer, and the activation of dense feed-forward layers."""
    model, bandwidth = request.model, float(request.gpu.bandwidth_bytes_per_s)
    blocks = sum(_mixer_kinds(model).values()) + sum(ffn != "none" for ffn in model.ffn_layers)
    terms: list[Term] = [Elementwise(blocks, 8.0 * model.hidden_size, bandwidth)]
    sides = 6.0 if model.gated_ffn else 4.0
    dense = model.ffn_layers.count("dense")
    if dense:
        terms.append(Elementwise(dense, sides * model.ffn_size / request.shape.tp, bandwidth))
    shared = model.shared_experts * model.expert_ffn_size
    if shared:
        terms.append(Elementwise(model.ffn_layers.count("moe"), sides * shared / request.shape.tp, bandwidth))
    return terms


def _kv(request: StepRequest, kernels: Kernels) -> tuple[str, float]:
    """Kernels of the KV dtype, and bytes of an element."""
    if request.kv_dtype in KV_16BIT:
        return "bf16", 2.0
    if request.kv_dtype in KV_FP8:
        return "fp8", 1.0
    if request.kv_bytes_per_element is None:
        raise ValueError(f"Expected kv_bytes_per_element for the KV dtype {request.kv_dtype!r}.")
    kernels.note(
        f"decode attention on {request.kv_dtype} KV was not measured: 16-bit kernel constants on its stored bytes"
    )
    return "bf16", float(request.kv_bytes_per_element)


def _unmeasured(request: StepRequest, what: str, nearest: str | None) -> Refusal:
    text = f"no kernel of {what} was measured on {request.gpu.id} or a GPU of its architecture"
    return Refusal(Bottleneck.GPU, text, nearest)


def gemm_constants(found: dict[str, float]) -> GemmConstants:
    return GemmConstants(
        compute_fraction=found["e_c"],
        memory_fraction=found["e_m"],
        exponent=found["p"],
        fixed_s=found["t0_us"] * US,
        inner_s=found["inner_ns"] * NS,
        input_traffic=found["inputs"],
        output_traffic=found["outputs"],
    )


def decode_constants(found: dict[str, float]) -> DecodeConstants:
    return DecodeConstants(
        found["e_kv"], found["t0_us"] * US, found["head_ns"] * NS, found["token_ns"] * NS, found.get("e_c", 0.0)
    )


def prefill_constants(found: dict[str, float]) -> PrefillConstants:
    return PrefillConstants(found["e_c"], found["ramp"], found["t0_us"] * US)


def expert_constants(found: dict[str, float]) -> ExpertConstants:
    return ExpertConstants(
        compute_fraction=found["e_c"],
        memory_fraction=found["e_m"],
        exponent=found["p"],
        fixed_s=found["t0_us"] * US,
        inner_s=found["inner_ns"] * NS,
        traffic=found["traffic"],
        tile_tokens=found["tile"],
        expert_s=found["expert_ns"] * NS,
        spread=found["spread"],
        hot=found["hot"],
    )


def all_reduce_constants(found: dict[str, float]) -> AllReduceConstants:
    return AllReduceConstants(found["alpha_us"] * US, found["e1"], found["beta_us"] * US, found["e2"])


def _extrapolated(request: StepRequest, kernels: Kernels) -> tuple[str, ...]:
    """What lies outside the releases and shapes that the constants were fitted on."""
    notes = []
    engine, model, shape = request.engine, request.model, request.shape
    releases = {_release(table) for table in kernels.tables}
    if _release(engine.version) not in releases:
        measured = ", ".join(sorted(kernels.tables)) or "another engine's kernels"
        notes.append(f"{engine.name} {engine.version} is timed with kernels of {measured}")
    ratio = Fraction(model.heads, max(1, model.kv_heads))
    if not model.is_mla and not 1 <= ratio <= 16:
        notes.append(f"attention was measured at 1 to 16 query heads a KV head, {model.id} has {float(ratio):g}")
    if model.is_moe and shape.ep and model.experts % shape.expert_ranks:
        notes.append(f"{model.experts} experts do not divide over {shape.expert_ranks} ranks: an even share is timed")
    return tuple(notes)


def _release(version: str) -> tuple[str, ...]:
    return tuple(version.split(".")[:2])
