"""One side of a comparison, opened: a plan document, a scenario, or either of them from git."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from planner import catalog, pipeline
from planner.attach import attach, preset_names
from planner.calculator.measured import with_measured
from planner.catalog.latency import LatencyRun
from planner.errors import Diagnostic, InputError
from planner.performance.measured.profile import profile_text
from planner.plan import io
from planner.plan.diff_types import SideKind
from planner.plan.money import decimal
from planner.plan.types import Plan
from planner.scenario.checks import Lookup
from planner.scenario.resolve import overridden_tree, resolve_tree
from planner.scenario.source import Entry, Findings, ListNode, MapNode, TextNode
from planner.scenario.traffic import TraceUse
from planner.scenario.types import Place, Scenario
from planner.scenario.written import written
from planner.sweep.git_side import is_git_side, read_git
from planner.traffic.trace_text import sha256


@dataclass(frozen=True)
class Opened:
    """A side before anything is solved. `tree` is what was written, None for a plan document, which carries `plan`."""

    label: str
    kind: SideKind
    file: str
    scenario: Scenario
    tree: MapNode | None
    plan: Plan | None
    folder: Path
    shown: Callable[[str], str] = field(compare=False)

    def place(self, path: tuple[str, ...], at: Place | None) -> str:
        """Where a path of this side stands, as `file:line`: `at`, if it was written there; empty where not known."""
        if at is not None:
            return str(replace(at, file=self.shown(at.file)))
        known = self.plan.run.places if self.plan else {p: str(place) for p, place in self.scenario.places.items()}
        for length in range(len(path), 0, -1):
            found = known.get(".".join(path[:length]))
            if found is not None:
                return found
        return ""


def open_side(label: str, folder: Path, sets: Sequence[str] = (), what_if: Sequence[str] = ()) -> Opened:
    """Reads one side; what comes from git is written below `folder`, an empty one of its own.

    Raises:
        InputError: every mistake in the side.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not is_git_side(label):
        return _read(label, label, "scenario", folder, sets, what_if, str)
    found = read_git(label, folder / "git")
    try:
        return _read(label, str(found.path), "git", folder, sets, what_if, found.name)
    except InputError as error:
        raise InputError(_renamed(item, found.name, f"{found.root}/") for item in error.diagnostics) from None


def _renamed(item: Diagnostic, shown: Callable[[str], str], root: str) -> Diagnostic:
    """A diagnostic without the temporary folder."""
    return replace(item, file=shown(item.file), message=item.message.replace(root, ""))


def _read(
    label: str,
    file: str,
    kind: SideKind,
    folder: Path,
    sets: Sequence[str],
    what_if: Sequence[str],
    shown: Callable[[str], str],
) -> Opened:
    if _is_plan(file):
        tree = io.read_tree(file)
        plan = io.parse(tree, file)
        if plan.hash != io.digest(tree):
            message = (
                "the plan does not fit its hash: it was changed by hand; solve it again (`kvplan check` says where)"
            )
            raise InputError([Diagnostic(file, 0, 0, "KV807", message)])
        return Opened(label, "git" if kind == "git" else "plan", file, plan.scenario, None, plan, folder, shown)
    scenario = pipeline.load(file, sets, what_if)
    findings = Findings()
    root = overridden_tree(file, sets, what_if, findings)
    if root is None or findings.items:
        raise InputError(findings.items)
    places = {path: replace(place, file=shown(place.file)) for path, place in scenario.places.items()}
    return Opened(label, kind, file, replace(scenario, places=places), root, None, folder, shown)


def _is_plan(file: str) -> bool:
    """Whether a file is a JSON document: by its name, else by its first character."""
    if file.endswith(".json"):
        return True
    try:
        with Path(file).open("rb") as stream:
            return stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and not file.endswith(
                (".yaml", ".yml")
            )
    except (OSError, ValueError):
        return False


@dataclass(frozen=True)
class Language:
    """Turns trees into scenarios; relative paths count from the file that each value was read from.

    `traces` are those that plans carry: their files need not be at hand.
    """

    lookup: Lookup
    traces: dict[str, TraceUse] = field(default_factory=dict)

    def scenario(self, root: MapNode) -> Scenario | None:
        """The scenario of a tree with its capacity tables and measured latencies, or None when it is none."""
        findings = Findings()
        scenario = resolve_tree(root, self.lookup, findings)
        if scenario is None:
            return None
        try:
            return with_measured(attach(scenario, self.traces))
        except InputError:
            return None


def trees(base: Opened, head: Opened) -> tuple[Language, MapNode, MapNode]:
    """Both sides as trees that can be compared: as written, or both in normal form where one is a plan document.

    Raises:
        UnwritableError: a plan document holds a value that the language has no words for.
    """
    language = Language(Lookup(Path(head.file).parent, preset_names()))
    if base.tree is not None and head.tree is not None:
        return language, base.tree, head.tree
    return language, normal(base, language), normal(head, language)


def same_contents(language: Language, old: TextNode, new: TextNode, key: str) -> bool:
    """Whether two values that read the same also name the same: files of the same name may differ."""
    if key == "ref":
        return language.lookup.model(old) == language.lookup.model(new)
    paths = [language.lookup.file(node) for node in (old, new)]
    known = [language.traces.get(str(path)) for path in paths]
    try:
        if key == "trace" and any(known):
            return len({_trace_hash(path, kept) for path, kept in zip(paths, known, strict=True)}) == 1
        return paths[0] == paths[1] or paths[0].read_bytes() == paths[1].read_bytes()
    except OSError:
        return False


def _trace_hash(path: Path, kept: TraceUse | None) -> str:
    return kept.facts.sha256 if kept is not None and kept.facts is not None else sha256(path)


def normal(side: Opened, language: Language) -> MapNode:
    """The normal form. Capacity tables are written out again; a user's own model keeps the facts of the side, and so
    does a trace, for which an empty file stands."""
    lookup = language.lookup
    root = written(side.scenario, str(side.folder / "scenario.yaml"))
    for number, (name, model) in enumerate(side.scenario.models.items()):
        if model.facts is not None and model.facts.id not in catalog.model_ids():
            lookup.models[(model.facts.id, side.folder, model.facts.bound)] = model.facts
        if model.low_facts is not None:
            lookup.models[(model.low_facts.id, side.folder, "low")] = model.low_facts
        if model.capacity_path is not None:
            folder = side.folder / str(number)
            folder.mkdir(exist_ok=True)
            table = Path(model.capacity_path).name
            with (folder / table).open("w", encoding="utf-8", newline="") as stream:
                rows = csv.writer(stream)
                rows.writerow(("gpu", "class", "requests_per_s"))
                rows.writerows((gpu, c, decimal(rate, 40, 0)) for gpu, row in model.capacity for c, rate in row)
            leaf = TextNode(table, True, Place(str(folder / "scenario.yaml"), 1, 1))
            root = _put(root, ("models", name, "capacity_table"), leaf)
    if side.scenario.performance.runs:
        root = _put(root, ("performance", "measured"), _profiles(side))
    for name, traffic in side.scenario.traffic.items():
        if traffic.trace is not None:
            folder = side.folder / f"traffic-{name}"
            folder.mkdir(exist_ok=True)
            path = folder / Path(traffic.trace.path).name
            path.touch()
            language.traces[str(path.absolute())] = traffic.trace
            leaf = TextNode(path.name, True, Place(str(folder / "scenario.yaml"), 1, 1))
            root = _put(root, ("traffic", name, "trace"), leaf)
    return root


def _profiles(side: Opened) -> ListNode:
    """The measured latencies of a side as profiles, one a replica and source."""
    groups: dict[tuple[object, ...], list[LatencyRun]] = {}
    for run in side.scenario.performance.runs:
        key = (run.system, run.source, run.max_num_batched_tokens, run.slo_tpot_us, run.slo_ttft_us)
        groups.setdefault(key, []).append(run)
    at = Place(str(side.folder / "scenario.yaml"), 1, 1)
    names = []
    for number, runs in enumerate(groups.values()):
        name = f"measured-{number}.yaml"
        (side.folder / name).write_text(profile_text(runs), encoding="utf-8")
        names.append(TextNode(name, True, at))
    return ListNode(tuple(names), at)


def _put(node: MapNode, path: tuple[str, ...], leaf: TextNode | ListNode) -> MapNode:
    entry = node.entries[path[0]]
    below = leaf if len(path) == 1 or not isinstance(entry.node, MapNode) else _put(entry.node, path[1:], leaf)
    return MapNode(node.entries | {path[0]: Entry(leaf.place if below is leaf else entry.key_place, below)}, node.place)
