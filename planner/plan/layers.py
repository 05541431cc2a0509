"""Layers of a model as runs: a plan document says `{"count": 52, "layer": ...}` rather than the same thing 52 times.

The records keep one entry a layer, which formulas want; the document is for people and for diffs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import groupby
from typing import Any

FACTS = ("facts", "low_facts")
LISTS = ("kv_layers", "ffn_layers", "draft_layers")
"""Fields of a model's facts that have one entry a layer."""

MOST_LAYERS = 10_000
"""Layers of a model; the catalog's largest has some hundreds."""


def with_runs(tree: dict[str, Any]) -> dict[str, Any]:
    """The JSON tree of a plan with layers as runs; the tree is changed in place."""
    for facts, key in _lists(tree):
        facts[key] = runs(facts[key])
    return tree


def runs(layers: list[Any]) -> list[dict[str, Any]]:
    """Equal neighbors, counted."""
    return [{"count": len(list(same)), "layer": layer} for layer, same in groupby(layers)]


def without_runs(tree: dict[str, Any]) -> dict[str, Any]:
    """A copy of the JSON tree with one entry a layer, as the records have it.

    Raises:
        ValueError: a run that is none, or more layers than a model has; the message names the place.
    """
    copied = _copied(tree)
    for facts, key in _lists(copied):
        layers: list[Any] = []
        for position, run in enumerate(facts[key]):
            count = run.get("count") if isinstance(run, dict) else None
            if not isinstance(run, dict) or "layer" not in run or not isinstance(count, int) or isinstance(count, bool):
                raise ValueError(f"{key}[{position}]: expected a run of layers like {{count: 32, layer: ...}}")
            if not 1 <= count <= MOST_LAYERS - len(layers):
                raise ValueError(f"{key}[{position}].count: {str(count)[:20]} is not 1 to {MOST_LAYERS:,} layers")
            layers += [run["layer"]] * count
        facts[key] = layers
    return copied


def schema_with_runs(schema: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema of the document from that of the records; the schema is changed in place."""
    properties = schema["$defs"]["ModelFacts"]["properties"]
    for key in LISTS:
        count = {"maximum": MOST_LAYERS, "minimum": 1, "title": "Count", "type": "integer"}
        properties[key]["items"] = {
            "properties": {"count": count, "layer": properties[key]["items"]},
            "required": ["count", "layer"],
            "title": "Run of equal layers",
            "type": "object",
        }
    return schema


def _lists(tree: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """(facts, key) of every list of layers in a tree, which may be anything."""
    scenario = tree.get("scenario")
    models = scenario.get("models") if isinstance(scenario, dict) else None
    for model in models.values() if isinstance(models, dict) else ():
        for name in FACTS:
            facts = model.get(name) if isinstance(model, dict) else None
            if isinstance(facts, dict):
                yield from ((facts, key) for key in LISTS if isinstance(facts.get(key), list))


def _copied(tree: dict[str, Any]) -> dict[str, Any]:
    """A copy as deep as the facts of models; everything else is shared."""
    copied = copy.copy(tree)
    scenario = copied.get("scenario")
    if isinstance(scenario, dict) and isinstance(scenario.get("models"), dict):
        models = {
            name: {key: copy.copy(value) if key in FACTS else value for key, value in model.items()}
            if isinstance(model, dict)
            else model
            for name, model in scenario["models"].items()
        }
        copied["scenario"] = {**scenario, "models": models}
    return copied
