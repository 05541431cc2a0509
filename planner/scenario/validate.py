"""From the tree to blocks: runs the schema and turns every validation error into a diagnostic at its
place."""

from __future__ import annotations

import types
from typing import Union, get_args, get_origin

from pydantic import BaseModel, ValidationError, WithJsonSchema
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from planner.scenario.blocks.models import EngineArgsBlock, ModelBlock
from planner.scenario.schema import ScenarioBlock
from planner.scenario.source import Findings, ListNode, MapNode, Node, TextNode, child, place_of
from planner.scenario.types import Place
from planner.scenario.values import suggestion
from planner.units import quote, shorten

LATER_WORDS: dict[str, str] = {
    "kv_offload": "leave it out",
    "roles": "leave it out; prefill and decode share a replica",
    "adapters": "leave it out",
    "mig": "plan whole GPUs",
}
"""Words of the language that are planned for later, and what to do until then."""

ENGINE_ARG_HINTS = {
    "max_model_len": "write context_limit instead",
    "max_num_seqs": "write max_batch instead",
    "tensor_parallel_size": "write parallel instead",
    "kv_cache_dtype": "write kv_presets instead",
}

_Loc = tuple[int | str, ...]


def validate(root: MapNode, findings: Findings) -> ScenarioBlock | None:
    """The blocks of a scenario, or None when any key or value of it is wrong; all mistakes are reported."""
    try:
        return ScenarioBlock.model_validate(_plain(root))
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    later = {d["loc"][:-1] for d in details if d["type"] == "extra_forbidden" and d["loc"][-1] in LATER_WORDS}
    for detail in details:
        if detail["type"] == "missing" and detail["loc"][:-1] in later:
            continue
        place, code, message = _translate(root, detail)
        findings.add(place, code, message)
    return None


def _plain(node: Node) -> object:
    """The tree as pydantic reads it: dicts, lists and text nodes."""
    if isinstance(node, MapNode):
        return {key: _plain(entry.node) for key, entry in node.entries.items()}
    if isinstance(node, ListNode):
        return [_plain(item) for item in node.items]
    return node


def _translate(root: MapNode, detail: ErrorDetails) -> tuple[Place, str, str]:
    """Place, code and sentence of one validation error."""
    loc, kind = detail["loc"], detail["type"]
    if kind == "missing":
        return _block_place(root, loc[:-1]), "KV301", _missing(loc)
    if kind == "extra_forbidden":
        return _key_place(root, loc), *_unknown_key(loc)
    prefix = f"{path_text(loc)}: " if path_text(loc) else ""
    if kind == "kvplan":
        code, _, sentence = detail["msg"].partition(" ")
        place = _key_place(root, loc[:-1]) if loc[-1] == "[key]" else place_of(root, loc)
        return place, code, prefix + sentence
    read = _shape(root, loc)
    if kind in ("too_short", "dict_type", "model_type", "tuple_type") and read == "nothing":
        return place_of(root, loc), "KV304", f"{prefix}nothing stands here; write its keys, or leave it out"
    if kind == "too_short":
        return place_of(root, loc), "KV304", f"{prefix}the map is empty; write at least one entry"
    if kind in ("dict_type", "model_type"):
        return (
            place_of(root, loc),
            "KV303",
            f"{prefix}expected a map of keys, read {read}; write {{key: value}}",
        )
    if kind == "tuple_type":
        return place_of(root, loc), "KV303", f"{prefix}expected a list, read {read}; write [value, value]"
    return place_of(root, loc), "KV303", f"{prefix}{detail['msg']}; see the manual of the scenario language"


def path_text(loc: _Loc) -> str:
    """The dotted path of a location, without list positions."""
    return ".".join(shorten(part, 64) for part in loc if isinstance(part, str) and part != "[key]")


def _missing(loc: _Loc) -> str:
    block, key = path_text(loc[:-1]), str(loc[-1])
    parent = _block_class(loc[:-1])
    example = _example(parent.model_fields[key]) if parent else None
    offer = quote(f"{key}: {example}") if example else f"{quote(key)} and its keys"
    return f"{block + ': ' if block else ''}the key {quote(key)} is missing; write {offer}"


def _unknown_key(loc: _Loc) -> tuple[str, str]:
    block, key = path_text(loc[:-1]), str(loc[-1])
    prefix = f"{block}: " if block else ""
    if key in LATER_WORDS:
        return "KV501", f"{prefix}{quote(key)} is not supported yet; {LATER_WORDS[key]}"
    if loc[-2:-1] == ("engine_args",) and key in ENGINE_ARG_HINTS:
        return "KV302", f"{prefix}{quote(key)} is planned, not given; {ENGINE_ARG_HINTS[key]}"
    parent = _block_class(loc[:-1])
    known = list(parent.model_fields) if parent else []
    if parent is ModelBlock and key in EngineArgsBlock.model_fields:
        return "KV302", f"{prefix}unknown key {quote(key)}; write it under engine_args"
    return "KV302", f"{prefix}unknown key {quote(key)}; {suggestion(key, known)}"


def _block_place(root: MapNode, loc: _Loc) -> Place:
    """Where a block stands: at its own key."""
    return _key_place(root, loc) if loc else root.place


def _key_place(root: MapNode, loc: _Loc) -> Place:
    """Where the last key of a path stands."""
    keys = [part for part in loc if isinstance(part, str) and part != "[key]"]
    parent = child(root, *keys[:-1])
    if isinstance(parent, MapNode) and keys and keys[-1] in parent.entries:
        return parent.entries[keys[-1]].key_place
    return place_of(root, tuple(keys))


def _shape(root: MapNode, loc: _Loc) -> str:
    """What was read at a place, in words."""
    node = child(root, *(part for part in loc if isinstance(part, str)))
    if isinstance(node, TextNode):
        return "nothing" if node.is_empty else quote(node.text)
    return "a list" if isinstance(node, ListNode) else "a map"


def _example(info: FieldInfo) -> str | None:
    """The example of a scalar key."""
    for schema in (item.json_schema for item in info.metadata if isinstance(item, WithJsonSchema)):
        if schema and "examples" in schema:
            return str(schema["examples"][0])
    return None


def _block_class(loc: _Loc) -> type[BaseModel] | None:
    """The class of the block at a path."""
    current: object = ScenarioBlock
    for part in loc:
        if isinstance(current, type) and issubclass(current, BaseModel):
            current = _inner(current.model_fields[str(part)].annotation)
        else:
            current = _inner(get_args(current)[1])
    return current if isinstance(current, type) and issubclass(current, BaseModel) else None


def _inner(annotation: object) -> object:
    """An annotation without `| None` and without `Annotated`."""
    if get_origin(annotation) in (Union, types.UnionType):
        return _inner(next(part for part in get_args(annotation) if part is not type(None)))
    if hasattr(annotation, "__metadata__"):
        return _inner(get_args(annotation)[0])
    return annotation
