"""Models, read from Hugging Face `config.json` files: those of the catalog by id or hub id, or a path of the user's."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from planner.catalog.architectures import facts_of_config as facts_of_config
from planner.catalog.architectures import is_understood
from planner.catalog.bounds import bounded_facts as bounded_facts
from planner.catalog.files import Json, model_paths, read_json_object
from planner.catalog.types import ModelFacts

Bound = Literal["", "low", "high"]

_HUB_IDS = Path(__file__).parent / "hub_ids.yaml"


def model_ids() -> tuple[str, ...]:
    """The ids of all models of the catalog, aliases included, sorted."""
    return tuple(sorted(model_paths()))


def load_model(ref: str, base_dir: Path, bound: Bound = "") -> ModelFacts | str:
    """Facts of a model, or a sentence that says why there are none.

    Args:
        ref: a catalog id or a hub id that the catalog knows (`org/name`), in any case; or the path of a
            `config.json`, a model folder or a checkpoint; or a hub id that the local cache holds.
        base_dir: the folder from which a relative path counts.
        bound: which bound to give where the architecture is not understood; "" refuses it by name.

    >>> load_model("llama-3.1-8b", Path()).kv_heads
    8
    >>> load_model("Qwen/Qwen3-32B", Path()).id
    'qwen3-32b'
    """
    if ref in model_paths():
        return _catalog_model(ref, bound)
    if not ref.strip() or "\0" in ref:
        return "a model needs a catalog id or the path of a config.json"
    known = ref.lower() if ref.lower() in model_paths() else hub_ids().get(ref.lower())
    if _stands_on_disk(ref, base_dir) or (known is None and _looks_like_path(ref)):
        return _user_model(ref, base_dir, bound)
    if known is not None:
        return _catalog_model(known, bound)
    close = difflib.get_close_matches(ref.lower(), model_ids(), n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'?" if close else "write a catalog id such as llama-3.1-8b."
    return f"unknown model '{ref}'; {hint} A path to a config.json works too"


@cache
def hub_ids() -> Mapping[str, str]:
    """Catalog ids by hub id in lower case: lines of `hub id: catalog id`, written by `planner.catalog.hub_index`.

    One small file, so that a hub id is found without opening every model of the catalog. A name without its
    organization counts where no two hub ids share it.
    """
    lines = _HUB_IDS.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition(": ") for line in lines if line and not line.startswith("#"))
    known = {hub_id: model_id for hub_id, _, model_id in pairs}
    names = Counter(hub_id.rpartition("/")[2] for hub_id in known)
    bare = {name: model for hub_id, model in known.items() if names[name := hub_id.rpartition("/")[2]] == 1}
    return bare | known


@cache
def _catalog_model(model_id: str, bound: Bound) -> ModelFacts | str:
    tree = read_json_object(model_paths()[model_id])
    if isinstance(tree, str):
        return f"catalog file of '{model_id}' {tree}"
    alias = tree.get("alias_of")
    if isinstance(alias, str):
        return _catalog_model(alias, bound)
    return _facts(model_id, tree, str(tree.get("source", "")), bound)


def _stands_on_disk(ref: str, base_dir: Path) -> bool:
    try:
        return (base_dir / ref).exists()
    except (OSError, ValueError):
        return False


def _looks_like_path(ref: str) -> bool:
    return "/" in ref or ref.endswith((".json", ".gguf", ".safetensors"))


def _user_model(ref: str, base_dir: Path, bound: Bound) -> ModelFacts | str:
    """A model on the disk: a config, a folder, a checkpoint, or a hub id that the local cache holds."""
    from planner.catalog.checkpoint import read_checkpoint

    found = read_checkpoint(ref, base_dir)
    if isinstance(found, str):
        return found
    if found.config is None:
        return f"'{found.source}' holds tensors but no architecture; put the model's config.json beside it"
    facts = _facts(ref, found.config, user_source(ref, found.kind), bound)
    return f"'{found.source}': {facts}" if isinstance(facts, str) else facts


def user_source(ref: str, kind: str) -> str:
    """The source of a model that was read from the user's own files."""
    return f"{ref} ({'config.json' if kind == 'config' else kind} given by the user)"


def _facts(model_id: str, tree: Mapping[str, Json], source: str, bound: Bound) -> ModelFacts | str:
    facts = facts_of_config(model_id, tree, source)
    understood = is_understood(tree) if isinstance(facts, str) else not facts.unsupported
    if understood or not bound:
        return facts
    pair = bounded_facts(model_id, tree, source)
    return pair if isinstance(pair, str) else pair[bound == "high"]
