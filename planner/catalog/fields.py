"""Typed access to the fields of a `config.json`: nothing raises, mistakes and gaps are collected."""

from __future__ import annotations

from collections.abc import Mapping

from planner.catalog.files import Json

MAX_COUNT = 2**31
"""No field of a model comes near this; larger numbers are mistakes and would only cost time."""

MAX_LAYERS = 10_000
MAX_WIDTH = 65_536


class Fields:
    """The fields of one config, with the defaults of its model type.

    `problems` are sentences about fields that KV needs and that are missing or wrong. `missing` names fields
    that only weights need and the config does not give. Null counts as absent, and so does 0 for a count, as
    engines read it. Where several names are given, the first present one counts.
    """

    def __init__(self, tree: Mapping[str, Json], defaults: Mapping[str, Json] | None = None) -> None:
        self._tree = tree
        self._defaults = defaults or {}
        self.problems: list[str] = []
        self.missing: list[str] = []

    def value(self, *keys: str) -> Json:
        """The first of the fields that is there, else its default, else None."""
        for values in (self._tree, self._defaults):
            for key in keys:
                if values.get(key) is not None:
                    return values[key]
        return None

    def count(self, *keys: str, default: int | None = None, most: int = MAX_COUNT) -> int:
        """A positive integer. Without `default` it must be there; else 1 stands in and the problem is kept."""
        for values in (self._tree, self._defaults):
            for key in keys:
                found = values.get(key)
                if found is None or (found == 0 and not isinstance(found, bool)):
                    continue
                if isinstance(found, bool) or not isinstance(found, int) or not 0 < found <= most:
                    self.problems.append(f"{key} is {found!r}, which is no whole number from 1 to {most:,}")
                    return 1
                return found
        if default is None:
            self.problems.append(f"{keys[0]} is missing")
        return 1 if default is None else default

    def weight_count(self, *keys: str) -> int:
        """A positive integer that only weights need: 0 and an entry in `missing` where it is absent."""
        found = self.count(*keys, default=0)
        if not found:
            self.missing.append(keys[0])
        return found

    def width(self, *keys: str, default: int) -> int:
        """A count that may be listed for each layer; where the layers differ, 0 and an entry in `missing`."""
        found = self.value(*keys)
        if not isinstance(found, list):
            return self.count(*keys, default=default)
        name = next(key for key in keys if isinstance(self.value(key), list))
        if found and all(isinstance(each, int) and not isinstance(each, bool) and each == found[0] for each in found):
            return Fields({name: found[0]}).count(name, default=default)
        self.missing.append(f"{name}, which differs between layers")
        return 0

    def weight_width(self, *keys: str) -> int:
        """The same where only weights need it: 0 and an entry in `missing` where it is absent."""
        before = len(self.missing)
        found = self.width(*keys, default=0)
        if not found and len(self.missing) == before:
            self.missing.append(keys[0])
        return found

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        found = self.value(key)
        if found is None:
            return default
        if not isinstance(found, bool):
            self.problems.append(f"{key} is {found!r}, which is neither true nor false")
            return default
        return found

    def text(self, *keys: str) -> str:
        """A string, empty when absent or of another type."""
        found = self.value(*keys)
        return found if isinstance(found, str) else ""

    def table(self, *keys: str) -> Mapping[str, Json]:
        """A nested object, empty when absent."""
        found = self.value(*keys)
        return found if isinstance(found, dict) else {}

    def items(self, *keys: str) -> list[Json]:
        """A list, empty when absent."""
        found = self.value(*keys)
        return found if isinstance(found, list) else []

    def inside(self, key: str) -> Fields:
        """The fields of a nested object; what is wrong in it is reported here."""
        nested = Fields(self.table(key))
        nested.problems, nested.missing = self.problems, self.missing
        return nested
