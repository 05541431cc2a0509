"""The default provider: step times of dense models from a roofline with a few fitted constants per GPU.

Every formula works on one GPU of the replica, so shapes are already divided by tp. Symbols: m tokens in the
step, L layers, h hidden size, f FFN width, nq and nk query and KV heads, d head size, V vocabulary.

    STEP = L * (GEMM(m, (nq + 2 nk) d / tp, h) + GEMM(m, h, nq d / tp)
                + GEMM(m, 2 f / tp, h) + GEMM(m, h, f / tp)
                + decode attention + prefill attention + 2 AR(2 m h) + 2 EW(8 m h) + EW(6 m f / tp))
           + GEMM_bf16(decodes + prefills, V / tp, h) + AR(0)

The constants are those of vLLM kernels; other engines need their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from planner.catalog.parallel import Parallel
from planner.catalog.types import AttentionKv, Bottleneck, EngineRules, GpuFacts, ModelFacts, Reach, Refusal
from planner.performance.constants import (
    AllReduceConstants,
    DecodeConstants,
    GemmConstants,
    GpuConstants,
    constants_for,
)
from planner.performance.provider import (
    FloatArray,
    LatencyBand,
    Part,
    PrefillAttention,
    Quantity,
    StepModel,
    StepRequest,
)

ROOFLINE_BAND = LatencyBand(
    tpot_p10=Fraction(5, 6),
    tpot_p50=Fraction(1),
    tpot_p90=Fraction(6, 5),
    ttft_p10=Fraction(2, 3),
    ttft_p50=Fraction(1),
    ttft_p90=Fraction(3, 2),
    n=0,
    judgement=True,
    source="judgement from end-to-end errors: 90 % of TPOT within 14-18 % for a 70B model in fp8 on vLLM",
)

ELEMENTWISE_FIXED_S = 2e-6
"""Launch time of an elementwise kernel."""

ELEMENTWISE_BANDWIDTH_FRACTION = 0.8
"""Fraction of peak bandwidth that elementwise kernels reach."""

KV_16BIT = ("auto", "bf16", "bfloat16", "fp16", "float16")
KV_FP8 = ("fp8", "fp8_e4m3", "fp8_e5m2", "fp8-e5m2")
BF16_BYTES = 2.0


@dataclass(frozen=True)
class Shapes:
    """The matrices of one GPU of the replica, in elements."""

    layers: int
    hidden: int
    query_heads: float
    kv_heads: float
    head_dim: int
    ffn: float
    gated: bool
    vocabulary: float
    tp: int

    @property
    def qkv(self) -> float:
        """Width of the fused projection of queries, keys and values."""
        return max(1.0, (self.query_heads + 2 * self.kv_heads) * self.head_dim)


@dataclass(frozen=True)
class RooflineStepModel(StepModel):
    """Step times of one (model, GPU, tp, weights, KV storage), by the module's formulas; see `roofline`."""

    shapes: Shapes
    constants: GpuConstants
    gemm: GemmConstants
    gemm_flops: float
    weight_bytes: float
    decode: DecodeConstants
    kv_bytes_per_element: float
    decode_time_factor: float
    provider: str
    estimated: tuple[str, ...]
    band: LatencyBand = ROOFLINE_BAND

    def breakdown(
        self,
        batch: Quantity,
        context_tokens: Quantity,
        new_tokens: Quantity = 0,
        cached_tokens: Quantity = 0,
    ) -> dict[Part, FloatArray]:
        """STEP part by part; what decoding alone would take is multiplied by the preset's decode-time factor."""
        parts = self._parts(batch, context_tokens, new_tokens, cached_tokens)
        extra = self.decode_time_factor - 1
        if not extra:
            return parts
        alone = self._parts(batch, context_tokens, 0, 0)
        decodes = np.asarray(batch) > 0
        return {part: seconds + np.where(decodes, extra * alone[part], 0.0) for part, seconds in parts.items()}

    def _parts(
        self, batch: Quantity, context_tokens: Quantity, new_tokens: Quantity, cached_tokens: Quantity
    ) -> dict[Part, FloatArray]:
        decodes = np.asarray(batch, dtype=np.float64)
        chunk = np.asarray(new_tokens, dtype=np.float64)
        tokens = decodes + chunk
        shapes, layers = self.shapes, self.shapes.layers
        weights = (
            self._gemm_s(tokens, shapes.qkv, shapes.hidden)
            + self._gemm_s(tokens, shapes.hidden, shapes.query_heads * shapes.head_dim)
            + self._gemm_s(tokens, (2 if shapes.gated else 1) * shapes.ffn, shapes.hidden)
            + self._gemm_s(tokens, shapes.hidden, shapes.ffn)
        )
        elementwise = 2 * self._elementwise_s(8 * tokens * shapes.hidden) + self._elementwise_s(
            (6 if shapes.gated else 4) * tokens * shapes.ffn
        )
        logits = _gemm_s(
            decodes + (chunk > 0),
            shapes.vocabulary,
            shapes.hidden,
            self.constants.gemm_bf16,
            self.constants.bf16_flops,
            self.constants.bandwidth_bytes_per_s,
            BF16_BYTES,
        )
        decoding = np.where(decodes > 0, layers * self._decode_attention_s(decodes, context_tokens), 0.0)
        all_reduce = 2 * layers * self._all_reduce_s(2 * tokens * shapes.hidden) + self._all_reduce_s(0 * tokens)
        return {
            "weights": layers * weights,
            "attention": decoding + self.prefill_attention.seconds(chunk, cached_tokens),
            "all_reduce": all_reduce,
            "elementwise": layers * elementwise,
            "logits": logits,
        }

    @property
    def prefill_attention(self) -> PrefillAttention:
        """t0 + 4 d (nq / tp) (c P + c^2 / 2) (1 + s0 / S) / (e_pa F_bf16), over all layers."""
        prefill = self.constants.prefill
        flops_per_pair = 4 * self.shapes.head_dim * self.shapes.query_heads
        return PrefillAttention(
            fixed_s=self.shapes.layers * prefill.fixed_s,
            s_per_token2=self.shapes.layers * flops_per_pair / (prefill.compute_fraction * self.constants.bf16_flops),
            ramp_tokens=prefill.ramp_tokens,
        )

    def _decode_attention_s(self, batch: Quantity, context_tokens: Quantity) -> FloatArray:
        """t0 + 2 b S (nk / tp) d kv_bytes / (e_kv B) + c b nq / tp, of one layer."""
        sequences = np.asarray(batch, dtype=np.float64)
        context = np.asarray(context_tokens, dtype=np.float64)
        shapes = self.shapes
        cache_bytes = 2 * sequences * context * shapes.kv_heads * shapes.head_dim * self.kv_bytes_per_element
        bandwidth = self.decode.memory_fraction * self.constants.bandwidth_bytes_per_s
        heads_s = self.decode.per_head_s * sequences * shapes.query_heads
        return np.asarray(self.decode.fixed_s + cache_bytes / bandwidth + heads_s)

    def _gemm_s(self, tokens: FloatArray, columns: float, inner: float) -> FloatArray:
        bandwidth = self.constants.bandwidth_bytes_per_s
        return _gemm_s(tokens, columns, inner, self.gemm, self.gemm_flops, bandwidth, self.weight_bytes)

    def _elementwise_s(self, moved_bytes: FloatArray) -> FloatArray:
        bandwidth = ELEMENTWISE_BANDWIDTH_FRACTION * self.constants.bandwidth_bytes_per_s
        return np.asarray(ELEMENTWISE_FIXED_S + moved_bytes / bandwidth)

    def _all_reduce_s(self, message_bytes: FloatArray) -> FloatArray:
        if self.shapes.tp == 1:
            return np.zeros_like(message_bytes)
        constants = self.constants.all_reduce[self.shapes.tp]
        return _all_reduce_s(message_bytes, self.shapes.tp, constants, self.constants.link_bytes_per_s)


def _gemm_s(
    tokens: FloatArray,
    columns: float,
    inner: float,
    constants: GemmConstants,
    flops: float,
    bandwidth_bytes_per_s: float,
    element_bytes: float,
) -> FloatArray:
    """(Tc^p + Tm^p)^(1/p) + t0 with Tc = 2 m n k / (e_c F), Tm = (n k w + m k w + 2 m n) / (e_m B)."""
    n, k = max(1.0, columns), max(1.0, inner)
    compute = 2 * tokens * n * k / (constants.compute_fraction * flops)
    moved = n * k * element_bytes + tokens * k * element_bytes + 2 * tokens * n
    memory = moved / (constants.memory_fraction * bandwidth_bytes_per_s)
    p = constants.exponent
    return np.asarray((compute**p + memory**p) ** (1 / p) + constants.fixed_s)


def _all_reduce_s(
    message_bytes: FloatArray, tp: int, constants: AllReduceConstants, link_bytes_per_s: float
) -> FloatArray:
    """min(alpha + w / (e1 N), beta + w / (e2 N)) with w = 2 (tp - 1) / tp * M on the wire."""
    wire = 2 * (tp - 1) / tp * message_bytes
    low_latency = constants.low_latency_s + wire / (constants.low_latency_fraction * link_bytes_per_s)
    bulk = constants.bulk_s + wire / (constants.bulk_fraction * link_bytes_per_s)
    return np.minimum(low_latency, bulk)


def roofline(request: StepRequest) -> RooflineStepModel | Refusal:
    """The step times of a replica, or why the roofline cannot time it.

    16-bit and fp8 KV have measured kernels; other dtypes are timed as 16-bit kernels that read
    `kv_bytes_per_element`, and flagged.
    Source: kernels measured by aiconfigurator-core 0.12.0, see `roofline_constants.json`.
    """
    model, gpu, engine, tp = request.model, request.gpu, request.engine, request.shape.tp
    refusal = _model_refusal(model, engine) or _parallel_refusal(request.shape) or _shape_refusal(model, tp)
    if refusal:
        return refusal
    constants = constants_for(gpu)
    if isinstance(constants, Refusal):
        return constants
    if tp > 1 and gpu.link_bytes_per_s <= 0:
        return Refusal(Bottleneck.GPU, f"no link rate is known for {gpu.id}, so tp{tp} cannot be timed", "tp1")
    gemm = _weights(constants, gpu, request.weights)
    if isinstance(gemm, Refusal):
        return gemm
    decode = _kv(constants, gpu, request.kv_dtype, request.kv_bytes_per_element)
    if isinstance(decode, Refusal):
        return decode
    decode_constants, kv_bytes, kv_notes = decode
    gemm_constants, gemm_flops, weight_bytes = gemm
    return RooflineStepModel(
        shapes=_shapes(model, tp),
        constants=constants,
        gemm=gemm_constants,
        gemm_flops=gemm_flops,
        weight_bytes=weight_bytes,
        decode=decode_constants,
        kv_bytes_per_element=kv_bytes,
        decode_time_factor=float(request.decode_time_factor),
        provider=f"roofline, {constants.kernel_tables} kernels of {constants.reference}",
        estimated=constants.estimated + _extrapolated(model, engine, constants) + kv_notes,
    )


def _shapes(model: ModelFacts, tp: int) -> Shapes:
    """KV heads are at least one a GPU: they are replicated beyond their number."""
    return Shapes(
        layers=model.layers,
        hidden=model.hidden_size,
        query_heads=model.heads / tp,
        kv_heads=max(1.0, model.kv_heads / tp),
        head_dim=model.head_dim,
        ffn=model.ffn_size / tp,
        gated=model.gated_ffn,
        vocabulary=model.vocab_size / tp,
        tp=tp,
    )


def _model_refusal(model: ModelFacts, engine: EngineRules) -> Refusal | None:
    reasons = (
        (model.is_moe, "mixture-of-experts layers"),
        (model.is_mla, "multi-head latent attention (MLA)"),
        (model.has_state, "recurrent layers with a state per sequence"),
        (_reaches(model, "sliding"), "sliding-window attention"),
        (_reaches(model, "chunked"), "chunked local attention"),
        (bool(model.bound), "an architecture that is only bounded, not understood"),
        (bool(model.unsupported), ", ".join(model.unsupported)),
        (len(set(model.kv_layers)) > 1, "layers that keep different KV"),
    )
    for applies, what in reasons:
        if applies:
            text = f"the roofline provider does not time {what} yet, which {model.id} has"
            return Refusal(Bottleneck.ARCHITECTURE, text)
    if model.missing:
        text = f"the config of {model.id} lacks what the roofline provider times: {', '.join(model.missing)}"
        return Refusal(Bottleneck.ARCHITECTURE, text)
    if engine.name != "vllm":
        return Refusal(
            Bottleneck.ENGINE,
            f"the roofline provider has constants of vllm only, not of {engine.name}",
            nearest="vllm",
        )
    return None


def _reaches(model: ModelFacts, reach: Reach) -> bool:
    return any(isinstance(layer, AttentionKv) and layer.reach == reach for layer in model.kv_layers)


def _parallel_refusal(shape: Parallel) -> Refusal | None:
    """Why a parallel shape has no latency yet, or None: tensor parallelism alone is timed."""
    kinds = (
        (shape.pp > 1, "pipeline parallelism"),
        (shape.dp > 1, "data parallelism inside a replica"),
        (shape.dcp > 1, "decode context parallelism"),
        (shape.ep, "expert parallelism"),
    )
    found = [what for applies, what in kinds if applies]
    if not found:
        return None
    text = f"the roofline provider does not time {shape} yet: {', '.join(found)}"
    return Refusal(Bottleneck.PARALLEL, text, nearest=f"tp{shape.tp}")


def _shape_refusal(model: ModelFacts, tp: int) -> Refusal | None:
    if tp not in (1, 2, 4, 8):
        text = f"all-reduce was measured for tp2, tp4 and tp8 only, not for tp{tp}"
        return Refusal(Bottleneck.PARALLEL, text, nearest="tp8" if tp > 8 else "tp2, tp4")
    uneven = model.kv_heads % tp and tp % model.kv_heads
    if model.heads % tp or uneven:
        fitting = [
            str(n) for n in (8, 4, 2, 1) if model.heads % n == 0 and not (model.kv_heads % n and n % model.kv_heads)
        ]
        heads = f"{model.heads} query heads and {model.kv_heads} KV heads"
        text = f"tp{tp} does not divide the {heads} of {model.id}"
        return Refusal(Bottleneck.PARALLEL, text, nearest=f"tp{fitting[0]}")
    return None


def _weights(constants: GpuConstants, gpu: GpuFacts, weights: str) -> tuple[GemmConstants, float, float] | Refusal:
    if weights == "bf16":
        return constants.gemm_bf16, constants.bf16_flops, 2.0
    if weights == "fp8" and constants.gemm_fp8 and constants.fp8_flops:
        return constants.gemm_fp8, constants.fp8_flops, 1.0
    if weights == "fp8":
        return Refusal(Bottleneck.GPU, f"{gpu.id} has no fp8 matrix kernels that were measured", "bf16")
    return Refusal(Bottleneck.GPU, f"weights {weights} are not timed by the roofline provider", "bf16, fp8")


def _kv(
    constants: GpuConstants, gpu: GpuFacts, kv_dtype: str, bytes_per_element: float | Fraction | None
) -> tuple[DecodeConstants, float, tuple[str, ...]] | Refusal:
    if kv_dtype in KV_16BIT:
        return constants.decode_bf16, 2.0, ()
    if kv_dtype in KV_FP8:
        if constants.decode_fp8 is None:
            text = f"decode attention on an fp8 KV cache was not measured on {gpu.id}"
            return Refusal(Bottleneck.GPU, text, nearest="bf16")
        return constants.decode_fp8, 1.0, ()
    if bytes_per_element is None:
        raise ValueError(f"Expected kv_bytes_per_element for the KV dtype {kv_dtype!r}.")
    note = f"decode attention on {kv_dtype} KV was not measured: 16-bit kernel constants on its stored bytes"
    return constants.decode_bf16, float(bytes_per_element), (note,)


def _extrapolated(model: ModelFacts, engine: EngineRules, constants: GpuConstants) -> tuple[str, ...]:
    """What lies outside the shapes and versions that the constants were fitted on."""
    notes = []
    measured = constants.kernel_tables.removeprefix("vLLM ")
    if measured.split(".")[:2] != engine.version.split(".")[:2]:
        notes.append(f"{engine.name} {engine.version} is timed with kernels of {constants.kernel_tables}")
    if model.head_dim != 128:
        notes.append(f"attention was measured at head_dim 128, {model.id} has {model.head_dim}")
    ratio = Fraction(model.heads, model.kv_heads)
    if not 4 <= ratio <= 8:
        notes.append(f"attention was measured at 4 to 8 query heads a KV head, {model.id} has {float(ratio):g}")
    return tuple(notes)
