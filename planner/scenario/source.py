"""From a file to a tree of texts with positions: the YAML layer.

YAML is read as events, never as Python objects, so that nothing is guessed: a scalar stays the text that
was written (`1e3`, `12:30`, `no`, `2026.10` mean nothing here; the schema reads each text as what its key
expects). Events also come without recursion, so depth is counted and capped before anything can overflow.
What makes YAML dangerous or ambiguous is refused by name: anchors and aliases, tags, merge keys, duplicate
keys, tabs, several documents.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, TypeVar

import yaml

from planner.errors import Diagnostic
from planner.scenario.types import Place
from planner.units import quote

MAX_FILE_BYTES = 8 << 20
"""A scenario of a hundred lines has some 5 KB; a mebibyte is far beyond any that people maintain."""
MAX_DEPTH = 64
"""The language itself nests six levels deep."""
MAX_REPEATS = 20
"""How often the same mistake of a whole file (tabs, control characters) is reported."""

_T = TypeVar("_T")

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_TAB_INDENT = re.compile("^ *\t", re.MULTILINE)
_LINE_BREAK = re.compile("\r\n|\r|\n")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class TextNode:
    """One scalar as written; `plain` means without quotes."""

    text: str
    plain: bool
    place: Place

    @property
    def is_empty(self) -> bool:
        """Whether YAML would read it as null."""
        return self.plain and self.text in ("", "~", "null", "Null", "NULL")


@dataclass(frozen=True, slots=True)
class ListNode:
    """A list of nodes."""

    items: tuple[Node, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a map: where the key stands, and its value."""

    key_place: Place
    node: Node

    @property
    def place(self) -> Place:
        """Where a reader looks for the entry: the value of a scalar or list, the key of a map or of
        nothing."""
        is_value = isinstance(self.node, ListNode) or (isinstance(self.node, TextNode) and self.node.text != "")
        return self.node.place if is_value else self.key_place


@dataclass(frozen=True, slots=True)
class MapNode:
    """A map of entries, in the order of the file."""

    entries: dict[str, Entry]
    place: Place


Node: TypeAlias = TextNode | ListNode | MapNode


@dataclass
class Findings:
    """Diagnostics while they are collected."""

    items: list[Diagnostic] = field(default_factory=list)

    def add(self, place: Place, code: str, message: str) -> None:
        """Adds one mistake."""
        self.items.append(Diagnostic(place.file, place.line, place.col, code, message))


def read_bytes(path: str, named_at: Place, findings: Findings) -> bytes | None:
    """The content of a file, or None with a diagnostic at the place that names it."""
    try:
        target = Path(path)
        if not target.exists():
            reason = "there is no such file"
        elif not target.is_file():
            reason = "it is not a regular file"
        else:
            with target.open("rb") as stream:
                return stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or "it cannot be opened").lower()
    except ValueError:
        reason = "the name is not a file name"
    findings.add(named_at, "KV601", f"cannot read {quote(path)}: {reason}; write the path of a readable file")
    return None


def parse_file(path: str, named_at: Place, findings: Findings) -> Node | None:
    """The tree of a YAML file; None when nothing sensible can be read from it."""
    content = read_bytes(path, named_at, findings)
    if content is None:
        return None
    start = Place(path, 1, 1)
    if len(content) > MAX_FILE_BYTES:
        size = f"{MAX_FILE_BYTES // 2**20} MiB"
        findings.add(start, "KV110", f"the file is larger than {size}; a scenario has some hundred lines")
        return None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        good = content[: error.start].decode("utf-8-sig", errors="replace")
        line, col = _line_and_column(good, len(good))
        message = f"byte 0x{content[error.start]:02x} is not UTF-8; write the scenario as UTF-8 text"
        findings.add(Place(path, line, col), "KV103", message)
        return None
    return parse_text(text, path, findings)


def parse_text(text: str, file: str, findings: Findings, at: Place | None = None) -> Node | None:
    """The tree of a YAML text. With `at`, everything is placed there (values of `--set` have no line)."""
    if not _check_characters(text, file, findings, at):
        return None
    builder = _Builder(file, findings, at)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
            if builder.stopped:
                return None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = at or (Place(file, mark.line + 1, mark.column + 1) if mark else Place(file, 1, 1))
        context = f" {error.context}" if error.context else ""
        hint = "check quotes, brackets, colons and the indentation just above"
        findings.add(place, "KV101", f"not valid YAML: {error.problem}{context}; {hint}")
        return None
    except yaml.YAMLError as error:
        findings.add(at or Place(file, 1, 1), "KV101", f"not valid YAML: {quote(str(error))}; write plain YAML")
        return None
    if builder.root is None and not builder.fatal:
        findings.add(at or Place(file, 1, 1), "KV102", "the file is empty; start with 'kvplan: 1' and a name")
    return None if builder.fatal else builder.root


def _check_characters(text: str, file: str, findings: Findings, at: Place | None) -> bool:
    """Reports characters that YAML or editors disagree on: control characters, odd line breaks, tab
    indentation."""
    controls = [match.start() for match in _CONTROL.finditer(text)][:MAX_REPEATS]
    tabs = [match.end() - 1 for match in _TAB_INDENT.finditer(text)][:MAX_REPEATS]
    for offset in controls:
        place = at or Place(file, *_line_and_column(text, offset))
        char = f"U+{ord(text[offset]):04X}"
        findings.add(place, "KV112", f"the character {char} is not text; remove it, or write the file as UTF-8 text")
    for offset in tabs:
        place = at or Place(file, *_line_and_column(text, offset))
        findings.add(place, "KV104", "a tab in the indentation; indent with spaces")
    return not controls and not tabs


def _line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Line and column of an offset, from 1."""
    line, start = 1, 0
    for match in _LINE_BREAK.finditer(text, 0, offset):
        line, start = line + 1, match.end()
    return line, offset - start + 1


@dataclass
class _Frame:
    """A map or list that is still open. `key` is the pending key; its text is None if the key was refused."""

    is_map: bool
    place: Place
    entries: dict[str, Entry] = field(default_factory=dict)
    items: list[Node] = field(default_factory=list)
    key: tuple[str | None, Place] | None = None


class _Builder:
    """Turns YAML events into nodes, iteratively. `fatal`: the tree would mislead; `stopped`: reading on is
    useless."""

    def __init__(self, file: str, findings: Findings, at: Place | None) -> None:
        self.file = file
        self.findings = findings
        self.at = at
        self.stack: list[_Frame] = []
        self.root: Node | None = None
        self.documents = 0
        self.fatal = False
        self.stopped = False

    def take(self, event: yaml.Event) -> None:
        """One event of the stream."""
        if isinstance(event, yaml.DocumentStartEvent):
            self._start_document(event)
        elif isinstance(event, yaml.AliasEvent):
            self._refuse(
                event,
                "KV106",
                f"the alias {quote(f'*{event.anchor}')}; write the value again, or use extends",
            )
            self._attach(TextNode("", True, self._place(event)))
        elif isinstance(event, yaml.ScalarEvent):
            self._check_node(event)
            self._attach(TextNode(event.value, event.style in (None, ""), self._place(event)))
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            frame = self.stack.pop()
            if frame.is_map:
                self._attach(MapNode(frame.entries, frame.place))
            else:
                self._attach(ListNode(tuple(frame.items), frame.place))

    def _start_document(self, event: yaml.DocumentStartEvent) -> None:
        self.documents += 1
        if self.documents > 1:
            self._refuse(event, "KV108", "a second YAML document; write one scenario a file")
            self.stopped = True

    def _open(self, event: yaml.CollectionStartEvent) -> None:
        self._check_node(event)
        if len(self.stack) >= MAX_DEPTH:
            self._refuse(event, "KV110", f"nested more than {MAX_DEPTH} levels deep; a scenario needs six")
            self.stopped = True
            return
        self.stack.append(_Frame(isinstance(event, yaml.MappingStartEvent), self._place(event)))

    def _check_node(self, event: yaml.NodeEvent) -> None:
        """Refuses anchors and explicit tags."""
        if event.anchor is not None:
            self._refuse(
                event,
                "KV106",
                f"the anchor {quote(f'&{event.anchor}')}; write the value again, or use extends",
            )
        tag = getattr(event, "tag", None)
        if tag is not None:
            self._refuse(event, "KV107", f"the tag {quote(tag)}; write the value without a tag")

    def _attach(self, node: Node) -> None:
        """Puts a finished node where it belongs: the root, a list, or the key or value of a map."""
        if not self.stack:
            self.root = node
            return
        frame = self.stack[-1]
        if not frame.is_map:
            frame.items.append(node)
        elif frame.key is None:
            frame.key = (self._key_text(node), node.place)
        else:
            (key, place), frame.key = frame.key, None
            self._add_entry(frame, key, place, node)

    def _key_text(self, node: Node) -> str | None:
        """The text of a key; None for keys that are refused."""
        if isinstance(node, TextNode) and node.plain and node.text == "<<":
            self._refuse_at(node.place, "KV109", "the merge key '<<'; use 'extends: base.yaml', or write the keys")
            return None
        if not isinstance(node, TextNode) or node.is_empty:
            self._refuse_at(node.place, "KV111", "a key must be a plain text; write 'name: value'")
            return None
        return node.text

    def _add_entry(self, frame: _Frame, key: str | None, place: Place, node: Node) -> None:
        if key is None:
            return
        if key in frame.entries:
            first = frame.entries[key].key_place
            message = f"the key {quote(key)} stands twice in this map, first in line {first.line}; keep one"
            self.findings.add(place, "KV105", message)
            return
        frame.entries[key] = Entry(place, node)

    def _refuse(self, event: yaml.Event, code: str, message: str) -> None:
        self._refuse_at(self._place(event), code, message)

    def _refuse_at(self, place: Place, code: str, message: str) -> None:
        self.findings.add(place, code, message)
        self.fatal = True

    def _place(self, event: yaml.Event) -> Place:
        if self.at:
            return self.at
        mark = event.start_mark
        return Place(self.file, mark.line + 1, mark.column + 1) if mark else Place(self.file, 1, 1)


def walk(node: Node, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Entry]]:
    """Every entry of every map below a node with its path, in the order of the file."""
    if isinstance(node, MapNode):
        for key, entry in node.entries.items():
            yield (*path, key), entry
            yield from walk(entry.node, (*path, key))


def child(node: Node | None, *keys: str) -> Node | None:
    """The node below a path of keys, or None."""
    for key in keys:
        if not isinstance(node, MapNode) or key not in node.entries:
            return None
        node = node.entries[key].node
    return node


def child_map(node: Node | None, *keys: str) -> dict[str, Entry]:
    """The entries of the map below a path of keys; empty if there is no map."""
    found = child(node, *keys)
    return found.entries if isinstance(found, MapNode) else {}


def child_text(node: Node | None, *keys: str) -> TextNode | None:
    """The scalar below a path of keys, or None."""
    found = child(node, *keys)
    return found if isinstance(found, TextNode) else None


def value_of(node: Node | None, parse: Callable[[str], _T]) -> _T | None:
    """The value of a scalar, or None where there is none or where the schema reports it."""
    if not isinstance(node, TextNode):
        return None
    try:
        return parse(node.text)
    except ValueError:
        return None


def place_of(root: MapNode, path: tuple[str | int, ...]) -> Place:
    """Where a path stands; for a path that does not exist, where its nearest existing parent stands."""
    node: Node = root
    place = root.place
    for part in path:
        if isinstance(node, MapNode) and isinstance(part, str) and part in node.entries:
            place, node = node.entries[part].place, node.entries[part].node
        elif isinstance(node, ListNode) and isinstance(part, int) and part < len(node.items):
            place, node = node.items[part].place, node.items[part]
        else:
            break
    return place
