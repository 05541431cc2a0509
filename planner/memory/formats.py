"""How weight formats store a matrix: bits of a weight, scales, and which tensors stay 16-bit.

Checkpoints of a format leave embeddings, the output head, norms, routers and small vectors in 16 bits; GGUF
files quantize embeddings and head too, and mix types by tensor and layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from planner.memory.gguf_mix import GGUF_BLOCKS, GGUF_MIXES, gguf_type


@dataclass(frozen=True)
class Format:
    """Bytes of a matrix of `rows` outputs and `cols` inputs.

    Weights: rows * cols * bits / 8. Scales: `row_bytes` for each output, `group_bytes` for each group of `group`
    inputs of an output, `block_bytes` for each 128 x 128 block (the larger of the three counts), and
    `matrix_bytes` once.
    """

    bits: Fraction
    row_bytes: int = 0
    group: int = 0
    group_bytes: Fraction = Fraction(0)
    block_bytes: int = 0
    matrix_bytes: int = 0
    experts_only: bool = False
    wide_latent: bool = False
    """Whether latent attention stays in 16 bits."""
    loads_wide: bool = False
    """Whether loading holds one matrix in 16 bits while it is being quantized."""

    def weights(self, rows: int, cols: int) -> int:
        """Bytes of the weights of one matrix, rounded up."""
        return -((-rows * cols * self.bits / 8) // 1)

    def scales(self, rows: int, cols: int) -> int:
        """Bytes of the scales of one matrix, rounded up."""
        found = max(Fraction(rows * self.row_bytes), Fraction(-(-rows // 128) * -(-cols // 128) * self.block_bytes))
        if self.group:
            found = max(found, rows * -(-cols // self.group) * self.group_bytes)
        return -(-found // 1) + self.matrix_bytes


SIXTEEN_BIT = Format(Fraction(16))

FORMATS: dict[str, Format] = {
    "bf16": SIXTEEN_BIT,
    "fp16": SIXTEEN_BIT,
    "fp32": Format(Fraction(32)),
    "fp8": Format(Fraction(8), row_bytes=4, block_bytes=4),
    "int8": Format(Fraction(8), row_bytes=4),
    "w4a16": Format(Fraction(4), group=128, group_bytes=Fraction(5, 2)),
    "nvfp4": Format(Fraction(4), group=16, group_bytes=Fraction(1), matrix_bytes=4, wide_latent=True),
    "mxfp4": Format(Fraction(4), group=32, group_bytes=Fraction(1), experts_only=True),
    "bnb4": Format(Fraction(4), group=64, group_bytes=Fraction(1) + Fraction(4, 256), loads_wide=True),
}
"""Formats of safetensors checkpoints by the name that a scenario writes.

fp8: fp32 scales per output channel or per 128 x 128 block, whichever is more (compressed-tensors FP8_DYNAMIC;
DeepSeek-V3 `weight_scale_inv`). int8: compressed-tensors W8A8, fp32 scale per channel. w4a16: GPTQ and AWQ, a
16-bit scale and a packed 4-bit zero point per 128 inputs. nvfp4: NVIDIA Model Optimizer, an fp8 scale per 16
and one fp32 scale; its checkpoints of DeepSeek and kin exclude `self_attn`. mxfp4: OCP Microscaling v1.0, an
8-bit exponent per 32; gpt-oss uses it for experts only.
bnb4: bitsandbytes NF4 of blocks of 64 with double quantization (an 8-bit scale, and one fp32 per 256 blocks);
vLLM quantizes while it loads, so the peak holds one matrix in 16 bits.
"""


@lru_cache(maxsize=1)
def weight_formats() -> tuple[str, ...]:
    """Every weight format by name: safetensors formats, then GGUF types."""
    return (*FORMATS, *GGUF_MIXES)


def is_gguf(dtype: str) -> bool:
    """Whether the format is a GGUF type."""
    return dtype in GGUF_MIXES


def gguf_bytes(dtype: str, role: str, layer: int, layers: int, gqa: int, experts: int, rows: int, cols: int) -> int:
    """Bytes of one matrix in a GGUF file of a type: whole blocks of the type that the tensor gets in the mix.

    Source: block layouts of ggml `ggml-common.h`; mixes of llama.cpp `llama-quant.cpp`.

    >>> gguf_bytes("q8_0", "up_proj", 0, 32, 4, 0, 14336, 4096)  # 34 bytes per 32 weights
    62390272
    """
    elements, size = GGUF_BLOCKS[gguf_type(dtype, role, layer, layers, gqa, experts, cols)]
    return -(-rows * cols // elements) * size
