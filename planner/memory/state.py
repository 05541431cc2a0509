"""The state of recurrent layers: bytes per sequence, however long the sequence is.

Mamba, gated delta nets and linear attention keep a matrix per head instead of one entry per token, and most of
them the last inputs of a short convolution beside it.
Source: vLLM `model_executor/layers/mamba/mamba_utils.py` (`MambaStateShapeCalculator`, 0.11 to 0.33).
"""

from __future__ import annotations

from planner.catalog.types import EngineName, StateKv
from planner.memory.stages import ceil_div

CONVOLUTION_ELEMENT_BYTES = 2
"""The convolution state is kept in the model's own 16-bit type."""

SGLANG_ELEMENT_BYTES = 4
"""SGLang keeps the recurrent matrix in 32 bits unless told otherwise (`--mamba-ssm-dtype`)."""

KDA_ELEMENT_BYTES = 4
"""Kimi Delta Attention keeps its matrix in 32 bits whatever the settings."""


def state_bytes(layer: StateKv, tp: int, *, engine_name: EngineName = "vllm", speculative_tokens: int = 0) -> int:
    """Bytes that one sequence keeps in one recurrent layer, on one GPU.

    convolution: width / tp * (kernel - 1 + speculative tokens) * 2; matrix: heads / tp * head_dim * state_dim
    * element bytes. Widths: mamba1 the inner width; mamba2 inner width + 2 * groups * state_dim, with a group
    on every rank where there are fewer; gdn 2 * key heads * key size + heads * head_dim; kda 3 * heads *
    head_dim; linear attention has no convolution. Mamba-1 has no room for speculative tokens.

    >>> qwen3_next = StateKv("gdn", heads=32, head_dim=128, state_dim=128, groups=16, conv_kernel=4)
    >>> state_bytes(qwen3_next, 1)  # 8192 * 3 * 2 + 32 * 128 * 128 * 2
    1097728
    """
    return convolution_bytes(layer, tp, speculative_tokens) + matrix_bytes(layer, tp, engine_name)


def convolution_bytes(layer: StateKv, tp: int, speculative_tokens: int = 0) -> int:
    """Bytes of the last inputs of the convolution on one GPU."""
    if not layer.conv_kernel:
        return 0
    spare = 0 if layer.kind == "mamba1" else speculative_tokens
    width = ceil_div(_convolution_width(layer, tp), tp)
    return width * (layer.conv_kernel - 1 + spare) * CONVOLUTION_ELEMENT_BYTES


def matrix_bytes(layer: StateKv, tp: int, engine_name: EngineName = "vllm") -> int:
    """Bytes of the recurrent matrix on one GPU."""
    rows = ceil_div(layer.head_dim, tp) if layer.kind == "mamba1" else ceil_div(layer.heads, tp) * layer.head_dim
    return rows * layer.state_dim * _element_bytes(layer, engine_name)


def state_split_problem(layer: StateKv, tp: int) -> str:
    """Why `tp` ranks cannot share the layer; empty when they can. Engines assert the same."""
    if layer.kind in ("mamba1", "short_conv"):
        return f"inner width {layer.head_dim:,}" if layer.head_dim % tp else ""
    if layer.heads % tp:
        return f"{layer.heads} recurrent heads"
    if layer.kind == "mamba2" and layer.groups > 1 and layer.groups % tp:
        return f"{layer.groups} groups of the recurrent layers"
    if layer.kind == "gdn" and layer.groups % tp:
        return f"{layer.groups} key heads of the recurrent layers"
    return ""


def _convolution_width(layer: StateKv, tp: int) -> int:
    inner = layer.heads * layer.head_dim
    if layer.kind == "mamba2":
        groups = layer.groups + (tp - layer.groups if layer.groups % tp else 0)
        return inner + 2 * groups * layer.state_dim
    if layer.kind == "gdn":
        return inner + 2 * layer.groups * layer.state_dim
    return 3 * inner if layer.kind == "kda" else inner


def _element_bytes(layer: StateKv, engine_name: EngineName) -> int:
    if layer.kind == "kda":
        return KDA_ELEMENT_BYTES
    return max(layer.state_element_bytes, SGLANG_ELEMENT_BYTES if engine_name == "sglang" else 0)
