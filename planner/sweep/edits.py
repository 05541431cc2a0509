"""The differences of two scenario trees, and how to apply some of them to the base.

A difference is a leaf whose value differs, or a whole map or leaf that only one side has. Some make no sense alone (a
class that asks a new model): `grouped` finds the smallest set with which each is a scenario again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from planner.scenario.source import Entry, ListNode, MapNode, Node, TextNode
from planner.scenario.types import Place
from planner.scenario.written import flow

NOT_COMPARED = ("kvplan", "extends", "what_if")
"""Keys that describe the file itself; what a what_if block says has no effect until it is asked for."""

Path = tuple[str, ...]


@dataclass(frozen=True)
class TreeEdit:
    """One difference: the entry of each side, None where that side has none."""

    path: Path
    before: Entry | None
    after: Entry | None
    in_file: bool = False
    """Whether both sides name a file in the same words, and the file itself differs."""

    @property
    def dotted(self) -> str:
        """The path as a user writes it."""
        return ".".join(self.path)

    @property
    def place(self) -> Place:
        """Where the head says it; for what was removed, where the base said it."""
        entry = self.after or self.before
        assert entry is not None
        return entry.place

    @property
    def texts(self) -> tuple[str | None, str | None]:
        """Both values on one line."""
        before, after = (flow(entry.node) if entry else None for entry in (self.before, self.after))
        return before, f"{after} (the file changed)" if self.in_file else after


Unit = tuple[TreeEdit, ...]
"""Edits that are tried together."""


NAMES_A_FILE = {("models", "ref"), ("models", "capacity_table"), ("traffic", "trace"), ("performance", "measured")}
"""(block, key) whose value may be the path of a file, or a list of them."""

SameFile = Callable[[TextNode, TextNode, str], bool]
"""Whether two equal values of such a key name files that say the same."""


def differences(base: MapNode, head: MapNode, same_file: SameFile) -> tuple[TreeEdit, ...]:
    """Every difference, in the order of the base, then what the head adds."""
    return tuple(_differences(base, head, (), same_file))


def _differences(base: MapNode, head: MapNode, path: Path, same_file: SameFile) -> Iterator[TreeEdit]:
    for key in dict.fromkeys((*base.entries, *head.entries)):
        if not path and key in NOT_COMPARED:
            continue
        old, new = base.entries.get(key), head.entries.get(key)
        if old and new and isinstance(old.node, MapNode) and isinstance(new.node, MapNode):
            yield from _differences(old.node, new.node, (*path, key), same_file)
        elif old is None or new is None:
            yield from _one_sided(old, new, (*path, key))
        elif flow(old.node) != flow(new.node):
            yield TreeEdit((*path, key), old, new)
        elif _names_a_file(path, key) and not _same_files(old.node, new.node, key, same_file):
            yield TreeEdit((*path, key), old, new, in_file=True)


def _names_a_file(path: Path, key: str) -> bool:
    return (*path[:1], key) in NAMES_A_FILE and len(path) <= 2


def _same_files(old: Node, new: Node, key: str, same_file: SameFile) -> bool:
    """Whether a file, or a list of them, says the same on both sides."""
    if isinstance(old, TextNode) and isinstance(new, TextNode):
        return same_file(old, new, key)
    if isinstance(old, ListNode) and isinstance(new, ListNode):
        return all(_same_files(one, two, key, same_file) for one, two in zip(old.items, new.items, strict=True))
    return True


def _one_sided(old: Entry | None, new: Entry | None, path: Path) -> Iterator[TreeEdit]:
    """A named block (all limits, say) that only one side has is one edit a name; everything else is one edit."""
    entry = old or new
    if len(path) == 1 and path[0] in ("limits", "guardrails", "current") and entry and isinstance(entry.node, MapNode):
        for key, below in entry.node.entries.items():
            yield TreeEdit((*path, key), below if old else None, below if new else None)
    else:
        yield TreeEdit(path, old, new)


def applied(base: MapNode, edits: Sequence[TreeEdit]) -> MapNode:
    """The base with some edits. A map that loses its last key goes with it."""
    for edit in edits:
        base = _with(base, edit.path, edit.after)
    return base


def _with(node: MapNode, path: Path, entry: Entry | None) -> MapNode:
    key, rest = path[0], path[1:]
    entries = dict(node.entries)
    if rest:
        below = entries.get(key)
        inner = below.node if below and isinstance(below.node, MapNode) else MapNode({}, node.place)
        changed = _with(inner, rest, entry)
        entries[key] = Entry(below.key_place if below else changed.place, changed)
        if not changed.entries:
            del entries[key]
    elif entry is None:
        entries.pop(key, None)
    else:
        entries[key] = entry
    return MapNode(entries, node.place)


def by_block(edits: Sequence[TreeEdit], most: int) -> tuple[Unit, ...]:
    """The edits one by one; where they are more than `most`, by named entry (`traffic.chat`), else by top-level key."""
    for depth in (None, 2, 1):
        blocks: dict[Path, list[TreeEdit]] = {}
        for edit in edits:
            blocks.setdefault(edit.path[:depth], []).append(edit)
        if len(blocks) <= most:
            break
    return tuple(tuple(block) for block in blocks.values())


def grouped(units: Sequence[Unit], is_valid: Callable[[tuple[TreeEdit, ...]], bool]) -> tuple[Unit, ...]:
    """Units that each make a scenario when they are applied alone: those that do not are merged with the fewest others.

    All units together are taken to be valid: they are the head.
    """
    owner = list(range(len(units)))
    for index, unit in enumerate(units):
        if not is_valid(unit):
            others = [k for k in range(len(units)) if k != index]
            for partner in _fewest(units, index, others, is_valid):
                _join(owner, index, partner)
    merged = _merged(units, owner)
    broken = [unit for unit in merged if len(merged) > 1 and not is_valid(unit)]
    if not broken:
        return merged
    rest = tuple(unit for unit in merged if unit not in broken)
    joined = tuple(edit for unit in broken for edit in unit)
    if is_valid(joined):
        return (*rest, joined)
    return (tuple(edit for unit in units for edit in unit),)


def _fewest(
    units: Sequence[Unit], index: int, others: list[int], is_valid: Callable[[tuple[TreeEdit, ...]], bool]
) -> list[int]:
    """A small set of other units with which a unit is valid: one, if one will do; else what is left when nothing, and
    no two, can be dropped."""

    def holds(chosen: Sequence[int]) -> bool:
        return is_valid(tuple(edit for k in sorted((index, *chosen)) for edit in units[k]))

    likely = sorted(others, key=lambda k: not _mentioned(units[index], units[k]))
    found = next((k for k in likely if holds([k])), None)
    if found is not None:
        return [found]
    kept = list(others)
    for size in (len(kept) // 2, len(kept) // 4, len(kept) // 8, 1):
        start = 0
        while size and start < len(kept):
            fewer = kept[:start] + kept[start + size :]
            if holds(fewer):
                kept = fewer
            else:
                start += size
    for pair in list(combinations(kept, 2)):
        fewer = [k for k in kept if k not in pair]
        if len(fewer) == len(kept) - 2 and holds(fewer):
            kept = fewer
    return kept


def _mentioned(unit: Unit, other: Unit) -> bool:
    """Whether a unit names an entry of the other one, or the other way round: a class its model, a limit its pool."""
    texts = [" ".join(text for edit in each for text in edit.texts if text) for each in (unit, other)]
    names = [{edit.path[1] for edit in each if len(edit.path) > 1} for each in (unit, other)]
    return any(name in texts[0] for name in names[1]) or any(name in texts[1] for name in names[0])


def _join(owner: list[int], first: int, second: int) -> None:
    old, new = sorted((owner[first], owner[second]), reverse=True)
    owner[:] = [new if each == old else each for each in owner]


def _merged(units: Sequence[Unit], owner: Sequence[int]) -> tuple[Unit, ...]:
    groups: dict[int, list[TreeEdit]] = {}
    for unit, group in zip(units, owner, strict=True):
        groups.setdefault(group, []).extend(unit)
    return tuple(tuple(group) for group in groups.values())
