"""Models, read from Hugging Face `config.json` files: those of the catalog by id, or a path of the user's."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from planner.catalog.architectures import Fields, refused_type, text_facts
from planner.catalog.files import Json, model_paths, read_json_object
from planner.catalog.types import ModelFacts

_TEXT_INSIDE = {"gemma3": "gemma3_text"}
"""Multimodal types whose vision tower is understood, and the type of the language model inside."""


def model_ids() -> tuple[str, ...]:
    """The ids of all models of the catalog, aliases included, sorted."""
    return tuple(sorted(model_paths()))


def load_model(ref: str, base_dir: Path) -> ModelFacts | str:
    """Facts of a model, or a sentence that says why there are none.

    Args:
        ref: a catalog id, or the path of a `config.json` or of a folder that holds one.
        base_dir: the folder from which a relative path counts.

    >>> load_model("llama-3.1-8b", Path()).kv_heads
    8
    """
    if ref in model_paths():
        return _catalog_model(ref)
    if not ref.strip() or "\0" in ref:
        return "a model needs a catalog id or the path of a config.json"
    path = base_dir / ref
    try:
        path = path / "config.json" if path.is_dir() else path
        if path.exists():
            return _user_model(ref, path)
    except OSError as error:
        return f"'{ref}' cannot be read: {error.strerror or error}"
    if "/" in ref or ref.endswith(".json"):
        return f"no file '{ref}' (paths count from the file that names them)"
    close = difflib.get_close_matches(ref.lower(), model_ids(), n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'?" if close else "`kvplan catalog list` names the known ones"
    return f"unknown model '{ref}'; {hint} A path to a config.json works too"


@cache
def _catalog_model(model_id: str) -> ModelFacts | str:
    tree = read_json_object(model_paths()[model_id])
    if isinstance(tree, str):
        return f"catalog file of '{model_id}' {tree}"
    alias = tree.get("alias_of")
    if isinstance(alias, str):
        return _catalog_model(alias)
    return _facts(model_id, tree, str(tree.get("source", "")))


def _user_model(ref: str, path: Path) -> ModelFacts | str:
    tree = read_json_object(path)
    if isinstance(tree, str):
        return f"'{ref}' {tree}"
    facts = _facts(ref, tree, f"{ref} (config.json given by the user)")
    return f"'{ref}': {facts}" if isinstance(facts, str) else facts


def _facts(model_id: str, tree: Mapping[str, Json], source: str) -> ModelFacts | str:
    model_type = tree.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        return "model_type is missing, so the architecture is not known"
    note = str(tree.get("note", ""))
    inner = tree.get("text_config")
    if isinstance(inner, dict):
        return _multimodal_facts(model_id, model_type, tree, inner, source, note)
    if model_type in _TEXT_INSIDE:
        return f"text_config is missing, which model_type '{model_type}' needs"
    return text_facts(model_id, model_type, tree, source, note)


def _multimodal_facts(
    model_id: str,
    model_type: str,
    tree: Mapping[str, Json],
    inner: Mapping[str, Json],
    source: str,
    note: str,
) -> ModelFacts | str:
    text_type = _TEXT_INSIDE.get(model_type)
    if text_type is None:
        known = ", ".join(sorted(_TEXT_INSIDE))
        return f"{refused_type(model_type, inner)}, and with a vision tower {known}"
    merged = dict(inner)
    for key in ("tie_word_embeddings", "quantization_config"):
        if key in tree:
            merged.setdefault(key, tree[key])
    facts = text_facts(model_id, text_type, merged, source, note)
    if isinstance(facts, str):
        return f"text_config: {facts}"
    vision = tree.get("vision_config")
    params = _siglip_params(vision, facts.hidden_size) if isinstance(vision, dict) else "it is missing"
    if isinstance(params, str):
        return f"vision_config: {params}"
    return replace(facts, vision_params=params)


def _siglip_params(vision: Mapping[str, Json], text_hidden: int) -> int | str:
    """Parameters of a SigLIP tower and the projection into the language model.

    layers * (4 h^2 + 2 h I, with biases and two norms) + patches + positions + projector. Source:
    transformers SiglipVisionModel and Gemma3MultiModalProjector.
    """
    if vision.get("model_type") != "siglip_vision_model":
        return f"model_type '{vision.get('model_type')}' is not understood yet"
    fields = Fields(vision, {})
    hidden, ffn = fields.count("hidden_size"), fields.count("intermediate_size")
    layers = fields.count("num_hidden_layers", most=10_000)
    patch = fields.count("patch_size", most=10_000)
    patches_per_side = fields.count("image_size", most=100_000) // patch
    if fields.problems:
        return "; ".join(fields.problems)
    attention = 4 * hidden * hidden + 4 * hidden
    layer = attention + 2 * hidden * ffn + hidden + ffn + 4 * hidden
    embeddings = 3 * patch * patch * hidden + hidden + patches_per_side**2 * hidden
    return layers * layer + embeddings + 2 * hidden + hidden * text_hidden + hidden
