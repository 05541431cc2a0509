"""GGUF: bytes of a block of each type, and which type each tensor of a mixed file gets.

A file named after a type (`q4_k_m`) mixes several: the output head and some of the value and down projections
are kept wider. The mixes follow llama.cpp without an importance matrix; files made with one, or with other
rules (`UD-` files), differ by a few percent, so sizes of mixed files are estimates.
Source: ggml `ggml-common.h` (block layouts); llama.cpp `llama-quant.cpp` (`llama_tensor_get_type`).
"""

from __future__ import annotations

GGUF_BLOCKS: dict[str, tuple[int, int]] = {
    "f32": (1, 4),
    "f16": (1, 2),
    "bf16": (1, 2),
    "q4_0": (32, 18),
    "q4_1": (32, 20),
    "q5_0": (32, 22),
    "q5_1": (32, 24),
    "q8_0": (32, 34),
    "q2_k": (256, 84),
    "q3_k": (256, 110),
    "q4_k": (256, 144),
    "q5_k": (256, 176),
    "q6_k": (256, 210),
    "iq1_s": (256, 50),
    "iq1_m": (256, 56),
    "iq2_xxs": (256, 66),
    "iq2_xs": (256, 74),
    "iq2_s": (256, 82),
    "iq3_xxs": (256, 98),
    "iq3_s": (256, 110),
    "iq4_nl": (32, 18),
    "iq4_xs": (256, 136),
    "mxfp4": (32, 17),
}
"""(weights of a block, bytes of it)."""

GGUF_MIXES: dict[str, str] = {
    **{name: name for name in ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q6_k", "iq4_nl", "iq4_xs")},
    "q2_k": "q2_k",
    "q3_k_s": "q3_k",
    "q3_k_m": "q3_k",
    "q3_k_l": "q3_k",
    "q4_k_s": "q4_k",
    "q4_k_m": "q4_k",
    "q5_k_s": "q5_k",
    "q5_k_m": "q5_k",
    "iq3_s": "iq3_s",
}
"""The type of most tensors of a file, by the file's own type."""

_FALLBACK = {"q2_k": "q4_0", "q3_k": "q4_0", "iq3_s": "iq4_nl", "iq4_xs": "iq4_nl", "q4_k": "q5_0", "q5_k": "q5_1"}
"""What replaces a type of 256-weight blocks where a row is no multiple of 256; q6_k becomes q8_0."""

_WIDE_VALUES = {"q2_k": "q4_k", "q3_k_l": "q5_k", "iq4_nl": "q5_k", "iq4_xs": "q5_k"}
_ATTENTION_OUT = {"q2_k": "q3_k", "q3_k_m": "q4_k", "q3_k_l": "q5_k"}
_MIXED_EIGHT_EXPERTS = frozenset({"q2_k", "q3_k_s", "q3_k_m", "iq4_nl", "q4_k_s", "q4_k_m", "iq3_s", "iq4_xs"})


def gguf_type(mix: str, role: str, layer: int, layers: int, gqa: int, experts: int, cols: int) -> str:
    """The type of one tensor.

    Args:
        role: `embedding`, `head`, or the projection: `v_proj`, `k_proj`, `o_proj`, `down_proj`, others.
        gqa: query heads per KV head.
        experts: experts of the model; files of eight experts keep attention wider.

    >>> [gguf_type("q4_k_m", "down_proj", layer, 32, 4, 0, 14336) for layer in (0, 4, 5, 6)]
    ['q6_k', 'q4_k', 'q4_k', 'q6_k']
    """
    found = _wanted(mix, role, layer, layers, gqa, experts)
    if cols % GGUF_BLOCKS[found][0] == 0:
        return found
    narrow = "q8_0" if found == "q6_k" else _FALLBACK.get(found, "f16")
    return narrow if cols % GGUF_BLOCKS[narrow][0] == 0 else "f16"


def _wanted(mix: str, role: str, layer: int, layers: int, gqa: int, experts: int) -> str:
    base = GGUF_MIXES[mix]
    if role == "head":
        return base if base == "q8_0" else "q6_k"
    if role == "v_proj":
        return _value_type(mix, base, layer, layers, gqa, experts)
    if role == "k_proj" and experts == 8:
        return "q8_0"
    if role == "down_proj":
        return _down_type(mix, base, layer, layers)
    if role == "o_proj":
        if experts == 8:
            return "q5_k" if mix in _MIXED_EIGHT_EXPERTS else base
        return _ATTENTION_OUT.get(mix, base)
    return base


def _value_type(mix: str, base: str, layer: int, layers: int, gqa: int, experts: int) -> str:
    found = base
    if mix == "q2_k":
        found = "q4_k" if gqa >= 4 else "q3_k"
    elif mix == "q3_k_m":
        found = "q5_k" if layer < 2 else "q4_k"
    elif mix in _WIDE_VALUES and (gqa >= 4 or mix == "q3_k_l"):
        found = _WIDE_VALUES[mix]
    elif mix in ("q4_k_m", "q5_k_m") and _more_bits(layer, layers):
        found = "q6_k"
    elif mix == "q4_k_s" and layer < 4:
        found = "q5_k"
    if layers == 80 and gqa == 8 and found in ("q3_k", "q4_k"):
        found = "q5_k"  # models of the shape of Llama-2-70B share one value head among eight query heads
    return "q8_0" if experts == 8 else found


def _down_type(mix: str, base: str, layer: int, layers: int) -> str:
    if mix == "q2_k":
        return "q3_k"
    if mix == "q3_k_m":
        return "q5_k" if layer < layers // 16 else "q4_k"
    if mix == "q3_k_l":
        return "q5_k"
    if mix in ("q4_k_m", "q5_k_m"):
        return "q6_k" if _more_bits(layer, layers) else base
    if mix in ("q4_k_s", "iq4_nl", "iq4_xs") and layer < layers // 8:
        return "q5_k"
    return base


def _more_bits(layer: int, layers: int) -> bool:
    """The first and last eighth of the layers, and every third between."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2
