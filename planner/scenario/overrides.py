"""Layers of a scenario: `extends`, `what_if` blocks and `--set`, all as changes of the tree.

A path is dotted; names may contain dots themselves, so a path is matched against the keys that stand in the
tree. `*` matches one level and only what stands there. A path without `*` may also add a key, but never a
new model, class, pool, limit, guardrail or running deployment.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from planner.scenario.source import Entry, Findings, MapNode, Node, TextNode, parse_file, parse_text, walk
from planner.scenario.types import Place
from planner.scenario.values import percentile_ppm
from planner.units import quote, shorten

SET_PLACE = Place("--set", 0, 0)
MAX_EXTENDS = 8
MAX_PATH_CHARS = 200
MAX_SUGGESTED_FROM = 2_000

NAMED_BLOCKS = ("models", "traffic", "inventory", "limits", "guardrails", "current")
"""Blocks whose keys are the user's own names: an override never adds to them."""
FIXED_KEYS = ("kvplan", "extends", "what_if")
"""Keys that describe the file itself."""
ADDED_KEYS = ("name", "owner", "horizon", "reserve", "robust", "compression", "budget", "objective", "change")
"""Top-level keys that an override may add."""


def load_tree(path: str, findings: Findings) -> MapNode | None:
    """The tree of a scenario file with its parents merged in; None if any of them cannot be read."""
    return _load(path, Place(path, 0, 0), [], findings)


def _load(path: str, named_at: Place, chain: list[str], findings: Findings) -> MapNode | None:
    node = parse_file(path, named_at, findings)
    if node is None:
        return None
    if not isinstance(node, MapNode):
        message = "the file is not a map of keys; start with 'kvplan: 1' and a name"
        findings.add(node.place, "KV303", message)
        return None
    if "extends" not in node.entries:
        return node
    parent = _load_parent(path, node.entries["extends"], [*chain, path], findings)
    child = MapNode({key: entry for key, entry in node.entries.items() if key != "extends"}, node.place)
    return merge(parent, child) if parent is not None else None


def _load_parent(path: str, entry: Entry, chain: list[str], findings: Findings) -> MapNode | None:
    """The parent that a file names, or None with a diagnostic."""
    if not isinstance(entry.node, TextNode) or entry.node.is_empty:
        findings.add(entry.place, "KV303", "extends: expected one path; write it like 'extends: base.yaml'")
        return None
    parent = os.path.normpath(Path(path).parent / entry.node.text)
    known = [os.path.realpath(file) for file in chain] if "\0" not in parent else []
    if os.path.realpath(parent) in known:
        files = [*chain[known.index(os.path.realpath(parent)) :], parent]
        circle = " -> ".join(shorten(file, 100) for file in files)
        findings.add(entry.place, "KV602", f"extends goes round in a circle: {circle}; drop one extends")
        return None
    if len(chain) > MAX_EXTENDS:
        findings.add(entry.place, "KV603", f"more than {MAX_EXTENDS} files extend each other; merge some of them")
        return None
    return _load(parent, entry.place, chain, findings)


def merge(parent: MapNode, child: MapNode) -> MapNode:
    """The child over the parent: maps are merged key by key, everything else is replaced; places stay."""
    entries = dict(parent.entries)
    for key, entry in child.entries.items():
        below = entries.get(key)
        if below and isinstance(below.node, MapNode) and isinstance(entry.node, MapNode):
            entries[key] = Entry(entry.key_place, merge(below.node, entry.node))
        else:
            entries[key] = entry
    return MapNode(entries, child.place)


def apply_sets(root: MapNode, sets: Sequence[str], findings: Findings) -> MapNode:
    """The tree with every `PATH=VALUE` applied in order."""
    for text in sets:
        path, equals, value_text = text.partition("=")
        if not equals or not path.strip():
            message = f"{quote(text)} is not an override; write PATH=VALUE, like 'traffic.chat.peak=36 req/s'"
            findings.add(SET_PLACE, "KV415", message)
            continue
        problems = Findings()
        value = parse_text(value_text, SET_PLACE.file, problems, at=SET_PLACE) if value_text.strip() else None
        if value is None:
            reason = problems.items[0].message if problems.items else "the value is empty"
            findings.add(SET_PLACE, "KV415", f"the value of {quote(path)} cannot be read: {reason}")
            continue
        root = apply_override(root, path.strip(), Entry(SET_PLACE, value), findings)
    return root


def apply_block(root: MapNode, block: MapNode, findings: Findings) -> MapNode:
    """The tree with the overrides of one what_if block applied in order."""
    for path, entry in block.entries.items():
        root = apply_override(root, path, entry, findings)
    return root


def apply_override(root: MapNode, path: str, entry: Entry, findings: Findings) -> MapNode:
    """The tree with the value put at every place that the path matches; a mistake leaves it as it is."""
    segments = path.split(".")
    if len(path) > MAX_PATH_CHARS or not all(segments):
        findings.add(entry.key_place, "KV415", f"{quote(path)} is not a path; write it like traffic.chat.peak")
        return root
    if segments[0] in FIXED_KEYS:
        message = f"{quote(path)} cannot be overridden; change the file instead"
        findings.add(entry.key_place, "KV415", message)
        return root
    targets = [target for target in _matches(root, segments) if target[0] not in FIXED_KEYS]
    if len(targets) > 1 and "*" not in segments:
        shown = " and ".join(" / ".join(target) for target in targets)
        findings.add(entry.key_place, "KV415", f"{quote(path)} matches {shown}; rename one of them")
        return root
    if not targets and "*" not in segments:
        targets = _additions(root, segments)
    if not targets:
        findings.add(entry.key_place, "KV414", f"the override {quote(path)} matches nothing; {_nearest(root, path)}")
        return root
    for target in targets:
        root = _put(root, target, entry)
    return root


def _matches(node: Node, segments: Sequence[str], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every path of keys in the tree that the segments match."""
    if not segments:
        yield prefix
    elif isinstance(node, MapNode) and segments[0] == "*":
        for key, entry in node.entries.items():
            yield from _matches(entry.node, segments[1:], (*prefix, key))
    elif isinstance(node, MapNode):
        for length in range(1, len(segments) + 1):
            key = ".".join(segments[:length])
            if key in node.entries:
                yield from _matches(node.entries[key].node, segments[length:], (*prefix, key))


def _additions(root: MapNode, segments: list[str]) -> list[tuple[str, ...]]:
    """Where a path without `*` adds a key: below its nearest map, if that leaves the user's own names
    alone."""
    for length in range(len(segments) - 1, 0, -1):
        parents = list(_matches(root, segments[:length]))
        if len(parents) != 1:
            continue
        parent, node = parents[0], root
        for key in parent:
            below = node.entries[key].node
            if not isinstance(below, MapNode):
                return []
            node = below
        is_named = parent[0] in NAMED_BLOCKS
        return [(*parent, *_new_keys(segments[length:]))] if not is_named or len(parent) > 1 else []
    return [tuple(segments)] if segments[0] in ADDED_KEYS else []


def _new_keys(segments: list[str]) -> tuple[str, ...]:
    """The keys that are added; a percentile such as p99.9 is one key."""
    if len(segments) >= 2 and percentile_ppm(".".join(segments[-2:])) is not None:
        return (*segments[:-2], ".".join(segments[-2:]))
    return tuple(segments)


def _put(node: MapNode, path: tuple[str, ...], entry: Entry) -> MapNode:
    """The map with the entry put at the path."""
    key, rest = path[0], path[1:]
    if not rest:
        return MapNode(node.entries | {key: entry}, node.place)
    below = node.entries.get(key)
    inner = below.node if below and isinstance(below.node, MapNode) else MapNode({}, entry.key_place)
    key_place = below.key_place if below else entry.key_place
    return MapNode(node.entries | {key: Entry(key_place, _put(inner, rest, entry))}, node.place)


def _nearest(root: MapNode, path: str) -> str:
    """The path of the tree that reads most like this one."""
    known: list[str] = []
    for keys, _ in walk(root):
        if keys[0] not in FIXED_KEYS:
            known.append(".".join(keys))
        if len(known) >= MAX_SUGGESTED_FROM:
            break
    near = get_close_matches(path, known, n=1, cutoff=0.6)
    return f"did you mean {quote(near[0])}?" if near else "write the path of a key that stands in the file"
