"""Where a multimodal config keeps its language model, and which type that is where it does not say.

Source: configuration classes of transformers 5.23.0; vLLM 0.33 `transformers_utils/config.py` (`get_hf_text_config`).
"""

from __future__ import annotations

from collections.abc import Mapping

from planner.catalog.files import Json

TEXT_INSIDE: Mapping[str, str] = {
    "gemma3": "gemma3_text",
    "gemma3n": "gemma3n_text",
    "gemma4": "gemma4_text",
    "llama4": "llama4_text",
    "llava": "llama",
    "mistral3": "mistral",
    "qwen2_vl": "qwen2_vl_text",
    "qwen2_5_vl": "qwen2_5_vl_text",
    "qwen3_vl": "qwen3_vl_text",
    "qwen3_vl_moe": "qwen3_vl_moe_text",
    "qwen3_5": "qwen3_5_text",
    "qwen3_5_moe": "qwen3_5_moe_text",
    "kimi_vl": "deepseek_v3",
    "kimi_k25": "kimi_k2",
}
"""The language model inside a multimodal type, where its own `text_config` does not name one."""

WRAPPERS = ("thinker_config",)
"""Objects that hold a whole multimodal config: an engine serves the thinker of the omni models."""

TEXT_KEYS = ("text_config", "llm_config", "language_config")
"""Objects that hold the language model, under the names of transformers, InternVL and DeepSeek-VL."""


def text_fields(tree: Mapping[str, Json]) -> Mapping[str, Json] | None:
    """The object of the language model inside a config; None where the config is that of the model itself."""
    for key in WRAPPERS:
        inside = tree.get(key)
        if isinstance(inside, dict):
            return text_fields(inside) or inside
    return next((inside for key in TEXT_KEYS if isinstance(inside := tree.get(key), dict)), None)
