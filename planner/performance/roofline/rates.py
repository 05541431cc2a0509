"""Number formats of matrices: stored bytes, peak rates, and which measured kernels stand in for which."""

from __future__ import annotations

from planner.catalog.types import GpuFacts, ModelFacts
from planner.performance.roofline.shapes import Matrix

_ELEMENT_BYTES = {
    "bf16": 2.0,
    "fp8": 1.0,
    "fp8_static": 1.0,
    "fp8_block": 1.0,
    "int8": 1.0,
    "nvfp4": 0.5625,
    "w4a16": 0.53125,
    "mxfp4": 0.53125,
    "mxfp4_mxfp8": 0.53125,
}
"""Bytes of a weight with its share of scales: 16 to a scale in nvfp4, 32 in mxfp4, 128 in w4a16 with zero points."""

_FP4_OVER_FP8 = 2
"""nvfp4 tensor cores of Blackwell run at twice the fp8 rate."""

_KERNELS = {"fp16": "bf16"} | {name: name for name in ("bf16", "fp8", "int8", "w4a16", "nvfp4", "mxfp4")}
"""Weight formats of a scenario that are timed, with the kernels that run them."""

MATRIX_STAND_INS = {
    "fp8_static": ("fp8_static", "fp8"),
    "fp8_block": ("fp8_block", "fp8"),
    "int8": ("fp8", "bf16"),
    "w4a16": ("bf16",),
}
"""Kernels whose constants answer for a format, best first; a format that is not here answers for itself alone."""

EXPERT_STAND_INS = {
    "fp8": ("fp8", "fp8_block"),
    "fp8_block": ("fp8_block", "fp8"),
    "int8": ("fp8_block", "bf16"),
    "mxfp4": ("mxfp4", "mxfp4_mxfp8", "w4a16"),
    "mxfp4_mxfp8": ("mxfp4_mxfp8", "mxfp4"),
    "w4a16": ("w4a16", "mxfp4", "bf16"),
}


def timed_formats() -> tuple[str, ...]:
    """Weight formats that have kernels."""
    return tuple(_KERNELS)


def matrix_rates(gpu: GpuFacts, dtype: str) -> tuple[float, float]:
    """(FLOP/s of the tensor cores that a format runs on, bytes of a weight); 0 FLOP/s: the GPU has none.

    Weights of 4 bits beside 16-bit activations are unpacked and run on 16-bit cores.
    """
    if dtype in ("fp8", "fp8_static", "fp8_block", "mxfp4_mxfp8"):
        flops = float(gpu.fp8_flops)
    elif dtype == "nvfp4":
        flops = float(gpu.fp8_flops * _FP4_OVER_FP8) if gpu.architecture.startswith("blackwell") else 0.0
    elif dtype == "int8":
        flops = float(gpu.fp8_flops or 2 * gpu.bf16_flops)
    else:
        flops = float(gpu.bf16_flops)
    return flops, _ELEMENT_BYTES[dtype]


def matrix_format(model: ModelFacts, gpu: GpuFacts, weights: str, matrix: Matrix, engine: str = "vllm") -> str:
    """The kernels of one matrix outside the experts.

    Embedding, head and router stay 16-bit; mxfp4 quantizes experts only, and nvfp4 and w4a16 checkpoints of latent
    models leave attention in 16 bits. TensorRT-LLM looks for the scale of fp8 inputs in a kernel of its own unless
    the checkpoint brings it along.
    """
    quantized = _quantized(model, gpu, weights)
    if quantized == "fp8" and engine == "tensorrt-llm" and model.native_weights == "fp8":
        quantized = "fp8_static"
    if matrix.plain or quantized == "mxfp4" or (matrix.latent and quantized in ("nvfp4", "w4a16")):
        return "bf16"
    return quantized


def expert_format(model: ModelFacts, gpu: GpuFacts, weights: str) -> str:
    """The kernels of the routed experts. On Blackwell mxfp4 experts multiply activations in mxfp8."""
    kernels = _quantized(model, gpu, weights)
    is_blackwell = gpu.architecture.startswith("blackwell") and gpu.fp8_flops > 0
    return "mxfp4_mxfp8" if kernels == "mxfp4" and is_blackwell else kernels


def _quantized(model: ModelFacts, gpu: GpuFacts, weights: str) -> str:
    """fp8 checkpoints of mixtures are scaled by blocks; nvfp4 without its tensor cores is unpacked to 16 bits."""
    kernels = _KERNELS[weights]
    if kernels == "fp8" and model.is_moe:
        return "fp8_block"
    return "w4a16" if kernels == "nvfp4" and not matrix_rates(gpu, "nvfp4")[0] else kernels
