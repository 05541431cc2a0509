"""The door of this room: a scenario file, its layers and overrides, checked and resolved into base units.

All mistakes are collected and raised once. Every `what_if` block is applied and resolved too, so that a
block that nobody has asked for today cannot rot.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from planner.errors import InputError
from planner.scenario.build import build_scenario
from planner.scenario.checks import Lookup, PresetNames, check
from planner.scenario.overrides import apply_block, apply_sets, load_tree
from planner.scenario.source import Findings, ListNode, MapNode, Node, child_map
from planner.scenario.types import Place, Scenario
from planner.scenario.validate import validate
from planner.scenario.values import suggestion
from planner.units import quote


def load_scenario(
    path: str | Path,
    sets: Sequence[str] = (),
    what_if: Sequence[str] = (),
    presets: PresetNames | None = None,
) -> Scenario:
    """The scenario of a file, in base units.

    Args:
        path: the YAML file; its name stands in diagnostics as it is given here.
        sets: overrides `PATH=VALUE`, applied last and in order.
        what_if: names of `what_if` blocks of the file, applied in order before `sets`.
        presets: the names of the preset table, which the language itself does not know; None leaves them unchecked.

    Raises:
        InputError: with every mistake of the file, of its parents, of its blocks and of the overrides.
    """
    findings = Findings()
    written = load_tree(str(path), findings)
    if written is None:
        raise InputError(findings.items)
    lookup = Lookup(Path(path).parent, presets)
    root = _apply_named_blocks(written, what_if, str(path), findings)
    root = apply_sets(root, sets, findings)
    scenario = _resolve(root, lookup, findings)
    _check_what_if(written, lookup, findings)
    if findings.items or scenario is None:
        raise InputError(findings.items)
    return scenario


def overridden_tree(path: str, sets: Sequence[str], what_if: Sequence[str], findings: Findings) -> MapNode | None:
    """The tree of a scenario file as `load_scenario` resolves it: parents merged in, blocks and overrides applied."""
    root = load_tree(path, findings)
    if root is None:
        return None
    return apply_sets(_apply_named_blocks(root, what_if, path, findings), sets, findings)


def resolve_tree(root: MapNode, lookup: Lookup, findings: Findings) -> Scenario | None:
    """The scenario of a tree that no file holds as it is, such as a base with some edits of another."""
    return _resolve(root, lookup, findings)


def _apply_named_blocks(root: MapNode, names: Sequence[str], file: str, findings: Findings) -> MapNode:
    """The tree with the named what_if blocks applied."""
    blocks = child_map(root, "what_if")
    for name in names:
        block = blocks[name].node if name in blocks else None
        if isinstance(block, MapNode):
            root = apply_block(root, block, findings)
        else:
            hint = suggestion(name, list(blocks)) if blocks else "the file has none"
            findings.add(Place(file, 0, 0), "KV416", f"there is no what_if block {quote(name)}; {hint}")
    return root


def _check_what_if(written: MapNode, lookup: Lookup, findings: Findings) -> None:
    """Resolves the file with each of its blocks; mistakes that only a block brings are reported at that
    block."""
    blocks = {name: entry for name, entry in child_map(written, "what_if").items() if child_map(entry.node)}
    if not blocks:
        return
    base = Findings()
    _resolve(written, lookup, base)
    known = set(base.items) | set(findings.items)
    for name, entry in blocks.items():
        if not isinstance(entry.node, MapNode):
            continue
        found = Findings()
        changed = apply_block(written, entry.node, found)
        _resolve(changed, lookup, found)
        own_places = _places_below(entry.node)
        for item in (item for item in found.items if item not in known):
            is_own = Place(item.file, item.line, item.col) in own_places
            place = Place(item.file, item.line, item.col) if is_own else entry.key_place
            findings.add(place, item.code, f"what_if {quote(name)}: {item.message}")


def _places_below(node: Node) -> set[Place]:
    """All places of a subtree."""
    places = {node.place}
    if isinstance(node, MapNode):
        for entry in node.entries.values():
            places |= {entry.key_place} | _places_below(entry.node)
    if isinstance(node, ListNode):
        for item in node.items:
            places |= _places_below(item)
    return places


def _resolve(root: MapNode, lookup: Lookup, findings: Findings) -> Scenario | None:
    """The scenario of a tree, or None when anything is wrong with it."""
    before = len(findings.items)
    block = validate(root, findings)
    check(root, lookup, findings)
    if block is None or len(findings.items) > before:
        return None
    return build_scenario(block, root, lookup)
