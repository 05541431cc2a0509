"""What exports are made of: named files, YAML texts with a header that says what they were written from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import yaml

from planner.export.names import comment
from planner.plan.types import Plan

Yaml = str | int | float | bool | None | list["Yaml"] | dict[str, "Yaml"]

WIDTH = 4096
"""Columns before a text is folded: queries and flags are read, searched and compared by line."""


@dataclass(frozen=True)
class File:
    """A text and the name that it gets in a folder."""

    name: str
    text: str


def header(plan: Plan, what: str, lines: Iterable[str] = ()) -> str:
    """Comment lines: what the file is, which template and plan it comes from, what must be made true by hand."""
    first = (
        f"{what}; written by kvplan {plan.run.kvplan}",
        f"plan {plan.scenario.name} {plan.hash[:19]}; do not edit: solve and export again",
    )
    return "".join(f"# {comment(line)}\n" for line in (*first, *lines))


def document(tree: Mapping[str, Yaml]) -> str:
    """One YAML document; every text is quoted where YAML could read something else."""
    text: str = yaml.dump(dict(tree), Dumper=_Dumper, sort_keys=False, width=WIDTH, allow_unicode=False)
    return text


def documents(trees: Iterable[Mapping[str, Yaml]]) -> str:
    """Several YAML documents in one text."""
    return "---\n".join(document(tree) for tree in trees)


class _Dumper(yaml.SafeDumper):
    """Lists are indented under their keys, and values that stand twice are written twice."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Texts of several lines keep them."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
