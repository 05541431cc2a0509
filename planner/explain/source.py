"""What is explained: a scenario file or a plan, which carries its scenario; either can be changed line by line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from planner.attach import attach, preset_names
from planner.calculator.measured import with_measured
from planner.errors import Diagnostic, InputError
from planner.plan.types import Plan
from planner.scenario.checks import Lookup
from planner.scenario.overrides import apply_sets
from planner.scenario.resolve import resolve_tree
from planner.scenario.source import Findings, MapNode, Node
from planner.scenario.traffic import TraceUse
from planner.scenario.types import Scenario
from planner.scenario.written import flow
from planner.sweep.sides import Language, Opened, normal, open_side
from planner.units import quote


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
        node = _found(self.root, path.split("."))
        return None if node is None else flow(node)


def _found(node: Node, segments: Sequence[str]) -> Node | None:
    """The node at a dotted path; names may contain dots themselves."""
    if not segments:
        return node
    if not isinstance(node, MapNode):
        return None
    for length in range(1, len(segments) + 1):
        entry = node.entries.get(".".join(segments[:length]))
        found = _found(entry.node, segments[length:]) if entry is not None else None
        if found is not None:
            return found
    return None


def open_source(label: str, folder: Path, sets: Sequence[str] = (), what_if: Sequence[str] = ()) -> Source:
    """Reads a scenario file or a plan; what a plan carries is written out below `folder`.

    Raises:
        InputError: every mistake in the file and the overrides.
    """
    opened = open_side(label, folder, sets, what_if)
    if opened.plan is not None and what_if:
        message = f"a plan has no what_if block {quote(what_if[0])}; give the scenario file it was made from, or --set"
        raise InputError([Diagnostic(label, 0, 0, "KV416", message)])
    language = Language(Lookup(Path(opened.file).parent, preset_names()), _traces(opened.scenario))
    root = normal(opened, language) if opened.tree is None else opened.tree
    if opened.tree is None and sets:
        findings = Findings()
        root = apply_sets(root, sets, findings)
        scenario = _resolved(root, language, findings)
    else:
        scenario = opened.scenario

    def changed(more: Sequence[str]) -> Scenario:
        findings = Findings()
        found = _resolved(apply_sets(root, more, findings), language, findings)
        return replace(found, cuts=scenario.cuts, near=scenario.near, as_is=scenario.as_is)

    def place(path: str) -> str:
        return _place(opened, scenario, path)

    return Source(label, scenario, root, None if sets else opened.plan, changed, place)


def _traces(scenario: Scenario) -> dict[str, TraceUse]:
    """Traces that were read already, by their files."""
    files = {name: scenario.places.get(f"traffic.{name}.trace.file") for name in scenario.traffic}
    return {
        place.file: use for name, place in files.items() if place and (use := scenario.traffic[name].trace) is not None
    }


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
