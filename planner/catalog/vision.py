"""Parameters of vision towers, which the engine loads beside the language model.

Towers that are not understood leave the weights of the model unknown, never its KV.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from planner.catalog.fields import MAX_LAYERS, MAX_WIDTH, Fields
from planner.catalog.files import Json


def tower_params(vision: Mapping[str, Json], outer_type: str, text_hidden: int) -> int | str:
    """Parameters of a tower and its projection into the language model, or what is not understood about it."""
    kind = str(vision.get("model_type") or outer_type)
    formula = _TOWERS.get(kind)
    if formula is None:
        return f"vision tower '{kind}'"
    fields = Fields(vision)
    params = formula(fields, text_hidden)
    return f"vision tower ({fields.problems[0]})" if fields.problems else params


def _blocks(hidden: int, ffn: int, layers: int) -> int:
    """Transformer blocks with biases everywhere and two LayerNorms: 4 h^2 + 4 h + 2 h I + h + I + 4 h each."""
    return layers * (4 * hidden * hidden + 4 * hidden + 2 * hidden * ffn + hidden + ffn + 4 * hidden)


def _common(fields: Fields) -> tuple[int, int, int, int]:
    """(hidden, feed-forward width, layers, patch) of a tower."""
    return (
        fields.count("hidden_size", "vt_hidden_size", most=MAX_WIDTH),
        fields.count("intermediate_size", "vt_intermediate_size", most=MAX_WIDTH * 16),
        fields.count("num_hidden_layers", "vt_num_hidden_layers", "depth", most=MAX_LAYERS),
        fields.count("patch_size", most=10_000),
    )


def _siglip(fields: Fields, text_hidden: int) -> int:
    """SigLIP of Gemma-3: blocks + patches + positions + last norm + projector with its norm.

    Source: transformers SiglipVisionModel and Gemma3MultiModalProjector.
    """
    hidden, ffn, layers, patch = _common(fields)
    per_side = fields.count("image_size", most=100_000) // patch
    embeddings = 3 * patch * patch * hidden + hidden + per_side**2 * hidden
    return _blocks(hidden, ffn, layers) + embeddings + 2 * hidden + hidden * text_hidden + hidden


def _qwen_3(fields: Fields, text_hidden: int) -> int:
    """Tower of Qwen3-VL and Qwen3.5: blocks + patches over time + positions + mergers.

    A merger joins m x m patches: (m^2 h)^2 + m^2 h * out, with biases and a norm. Every deepstack layer has one
    more, whose norm is m^2 h wide. Source: transformers Qwen3VLVisionModel.
    """
    hidden, ffn, layers, patch = _common(fields)
    merged = fields.count("spatial_merge_size", most=100) ** 2 * hidden
    out = fields.count("out_hidden_size", default=text_hidden)
    time = fields.count("temporal_patch_size", most=100)
    merger = merged * merged + merged + merged * out + out
    deep = len(fields.items("deepstack_visual_indexes"))
    patches = 3 * time * patch * patch * hidden + hidden
    positions = fields.count("num_position_embeddings") * hidden
    return _blocks(hidden, ffn, layers) + patches + positions + merger + 2 * hidden + deep * (merger + 2 * merged)


def _moon(fields: Fields, text_hidden: int) -> int:
    """MoonViT of Kimi-VL and Kimi-K2.5: blocks + patches + positions + last norm + a projector of 2 x 2 patches.

    Source: moonshotai/Kimi-VL-A3B-Instruct modeling_kimi_vl.py (MoonVitPretrainedModel, KimiVLMultiModalProjector).
    """
    hidden, ffn, layers, patch = _common(fields)
    height, width = fields.count("init_pos_emb_height", most=10_000), fields.count("init_pos_emb_width", most=10_000)
    merged = 4 * hidden
    projector = 2 * hidden + merged * merged + merged + merged * text_hidden + text_hidden
    patches = 3 * patch * patch * hidden + hidden
    return _blocks(hidden, ffn, layers) + patches + height * width * hidden + 2 * hidden + projector


def _llama_4(fields: Fields, text_hidden: int) -> int:
    """Tower of Llama-4: blocks + patches and positions with a class token + norms + adapter + projector.

    Source: transformers Llama4VisionModel, Llama4VisionMLP2 and Llama4MultiModalProjector.
    """
    hidden, ffn, layers, patch = _common(fields)
    positions = (fields.count("image_size", most=100_000) // patch) ** 2 + 1
    inner, out = fields.count("projector_input_dim"), fields.count("projector_output_dim")
    adapter = ffn * inner + inner * out
    embeddings = 3 * patch * patch * hidden + hidden + positions * hidden
    projector = fields.count("vision_output_dim") * text_hidden
    return _blocks(hidden, ffn, layers) + embeddings + 4 * hidden + adapter + projector


def _pixtral(fields: Fields, text_hidden: int) -> int:
    """Pixtral of Mistral-3: gated blocks without biases, patches, a norm, and a projector of 2 x 2 patches.

    A block has 4 h^2 + 3 h I + 2 h parameters. Source: transformers PixtralVisionModel and Mistral3MultiModalProjector.
    """
    hidden, ffn, layers, patch = _common(fields)
    block = 4 * hidden * hidden + 3 * hidden * ffn + 2 * hidden
    merger = hidden + 4 * hidden * hidden
    projector = hidden * text_hidden + text_hidden * text_hidden
    return layers * block + 3 * patch * patch * hidden + hidden + merger + projector


_TOWERS: Mapping[str, Callable[[Fields, int], int]] = {
    "siglip_vision_model": _siglip,
    "qwen3_vl": _qwen_3,
    "qwen3_vl_moe": _qwen_3,
    "qwen3_5": _qwen_3,
    "qwen3_5_moe": _qwen_3,
    "moonvit": _moon,
    "kimi_k25": _moon,
    "llama4_vision_model": _llama_4,
    "pixtral": _pixtral,
}
