"""What checks on the tree read before they compare: a line of text, whether a file opens."""

from __future__ import annotations

from pathlib import Path

from planner.scenario.source import TextNode, value_of
from planner.scenario.values import parse_line


def is_line(node: TextNode) -> bool:
    """Whether a scalar is a text that may be looked up; the schema reports those that are not."""
    return not node.is_empty and value_of(node, parse_line) is not None


def unreadable(path: Path) -> str | None:
    """Why a file cannot be read, or None if it can."""
    try:
        if not path.exists():
            return "there is no such file"
        if not path.is_file():
            return "it is not a regular file"
        with path.open("rb"):
            return None
    except OSError as error:
        return (error.strerror or "it cannot be opened").lower()
