"""What is explained: a scenario file or a plan, which carries its scenario; either can be changed line by line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from planner.attach import attach, preset_names
from planner.calculator.measured import with_measured
from planner.errors import InputError
from planner.plan.types import Plan
from planner.scenario.checks import Lookup
from planner.scenario.overrides import apply_sets
from planner.scenario.resolve import resolve_tree
from planner.scenario.source import Findings, MapNode, child
from planner.scenario.types import Scenario
from planner.scenario.written import flow
from planner.sweep.sides import Language, Opened, normal, open_side


@dataclass(frozen=True)
class Source:
    """A scenario with its tree. `plan` is the document that was given, if its scenario was not changed."""

    label: str
    scenario: Scenario
    root: MapNode
    plan: Plan | None
    changed: Callable[[Sequence[str]], Scenario]
    """The scenario with overrides `PATH=VALUE`, as `--set` makes it; InputError where they are wrong."""
    place: Callable[[str], str]

    def written(self, path: str) -> str | None:
        """The value of a path as the user wrote it, on one line; None if it is not written."""
        node = child(self.root, *path.split("."))
        return None if node is None else flow(node)


def open_source(label: str, folder: Path, sets: Sequence[str] = (), what_if: Sequence[str] = ()) -> Source:
    """Reads a scenario file or a plan; what a plan carries is written out below `folder`.

    Raises:
        InputError: every mistake in the file and the overrides.
    """
    opened = open_side(label, folder, sets, what_if)
    language = Language(Lookup(Path(opened.file).parent, preset_names()))
    root = normal(opened, language) if opened.tree is None else opened.tree
    if opened.tree is None and sets:
        findings = Findings()
        root = apply_sets(root, sets, findings)
        scenario = _resolved(root, language, findings)
    else:
        scenario = opened.scenario

    def changed(more: Sequence[str]) -> Scenario:
        findings = Findings()
        return _resolved(apply_sets(root, more, findings), language, findings)

    def place(path: str) -> str:
        return _place(opened, scenario, path)

    return Source(label, scenario, root, None if sets else opened.plan, changed, place)


def _resolved(root: MapNode, language: Language, findings: Findings) -> Scenario:
    scenario = resolve_tree(root, language.lookup, findings)
    if scenario is None or findings.items:
        raise InputError(findings.items)
    return with_measured(attach(scenario, language.traces))


def _place(opened: Opened, scenario: Scenario, path: str) -> str:
    """Where a path stands, `default` where nobody wrote it."""
    if opened.plan is not None:
        return opened.plan.run.places.get(path, "default")
    found = scenario.places.get(path)
    return "default" if found is None else str(found)
