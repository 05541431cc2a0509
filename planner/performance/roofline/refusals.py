"""What the roofline does not time, refused by name."""

from __future__ import annotations

from planner.catalog.parallel import Parallel
from planner.catalog.types import Bottleneck, GpuFacts, ModelFacts, Refusal
from planner.performance.provider import StepRequest
from planner.performance.roofline.rates import matrix_rates, timed_formats

TENSOR_RANKS = (1, 2, 4, 8)
"""All-reduce was measured for these."""

_FORMATS_NOT_COUNTED = "weights quantized with"


def refusal(request: StepRequest) -> Refusal | None:
    """Why a request cannot be timed whatever was measured, or None."""
    return (
        _model(request.model)
        or _shape(request.model, request.shape)
        or _links(request.gpu, request.shape)
        or _weights(request.gpu, request.weights)
    )


def _model(model: ModelFacts) -> Refusal | None:
    if model.bound:
        what = "an architecture that is only bounded, not understood"
        text = f"the roofline provider does not time {what}, which {model.id} has"
        return Refusal(Bottleneck.ARCHITECTURE, text)
    if model.unsupported:
        text = f"the roofline provider does not time {', '.join(model.unsupported)} yet, which {model.id} has"
        return Refusal(Bottleneck.ARCHITECTURE, text)
    lacking = [each for each in model.missing if not each.startswith(_FORMATS_NOT_COUNTED)]
    if lacking:
        text = f"the config of {model.id} lacks what the roofline provider times: {', '.join(lacking)}"
        return Refusal(Bottleneck.ARCHITECTURE, text)
    return None


def _shape(model: ModelFacts, shape: Parallel) -> Refusal | None:
    tp = shape.tp
    if tp not in TENSOR_RANKS:
        text = f"all-reduce was measured for tp2, tp4 and tp8 only, not for tp{tp}"
        return Refusal(Bottleneck.PARALLEL, text, nearest="tp8" if tp > 8 else "tp2, tp4")
    if not _divides(model, tp):
        fitting = next((n for n in reversed(TENSOR_RANKS) if _divides(model, n)), 1)
        heads = f"{model.heads} query heads and {model.kv_heads} KV heads"
        text = f"tp{tp} does not divide the {heads} of {model.id}"
        return Refusal(Bottleneck.PARALLEL, text, nearest=f"tp{fitting}")
    if shape.pp > model.layers:
        text = f"{shape} has more stages than the {model.layers} layers of {model.id}"
        return Refusal(Bottleneck.PARALLEL, text, nearest=f"tp{tp}")
    return None


def _divides(model: ModelFacts, tp: int) -> bool:
    if model.heads % tp:
        return False
    return model.is_mla or not (model.kv_heads % tp and tp % max(1, model.kv_heads))


def _links(gpu: GpuFacts, shape: Parallel) -> Refusal | None:
    if shape.gpus > 1 and gpu.link_bytes_per_s <= 0:
        return Refusal(Bottleneck.GPU, f"no link rate is known for {gpu.id}, so {shape} cannot be timed", "tp1")
    return None


def _weights(gpu: GpuFacts, weights: str) -> Refusal | None:
    if weights not in timed_formats():
        known = ", ".join(timed_formats())
        return Refusal(Bottleneck.GPU, f"weights {weights} are not timed by the roofline provider", known)
    if weights == "fp8" and not matrix_rates(gpu, "fp8")[0]:
        return Refusal(Bottleneck.GPU, f"{gpu.id} has no fp8 matrix kernels that were measured", "bf16")
    return None
