"""The journal of a validation: one JSON line per finished piece of work, so that an interrupted run resumes.

Each line carries a key made of everything that its numbers depend on (codec revision, torch, transformers,
weights, tokens of the window). A line whose key nobody asks for is simply not used; a torn last line, as a
killed process leaves it, is dropped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

Value = float | int | list[float]
Record = dict[str, Value]


def work_key(**facts: object) -> str:
    """A hash of what a piece of work depends on."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


class Journal:
    """Finished work by key; in memory only without a path."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._records: dict[str, Record] = {}
        if path is not None and path.exists():
            self._records = _read(path)
            _end_last_line(path)

    def get(self, key: str) -> Record | None:
        """What was found, or None."""
        return self._records.get(key)

    def add(self, key: str, record: Mapping[str, Value]) -> Record:
        """Remember a result; on disk before this returns."""
        self._records[key] = dict(record)
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, **record}) + "\n")
                file.flush()
                os.fsync(file.fileno())
        return self._records[key]


def _read(path: Path) -> dict[str, Record]:
    found: dict[str, Record] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
            found[record.pop("key")] = record
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
            continue  # torn by an interruption: that piece of work is done again
    return found


def _end_last_line(path: Path) -> None:
    with path.open("rb+") as file:
        if file.seek(0, os.SEEK_END) and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
            file.write(b"\n")


def whole(record: Record, name: str) -> int:
    """A whole number of a record."""
    value = record[name]
    if not isinstance(value, int):
        raise ValueError(f"journal: {name} is {value!r}; a whole number was expected")
    return value


def number(record: Record, name: str) -> float:
    """A number of a record."""
    value = record[name]
    if isinstance(value, list):
        raise ValueError(f"journal: {name} is a list; a number was expected")
    return float(value)


def numbers(record: Record, name: str) -> list[float]:
    """A list of numbers of a record."""
    value = record[name]
    if not isinstance(value, list):
        raise ValueError(f"journal: {name} is {value!r}; a list was expected")
    return value
