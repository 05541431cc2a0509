"""The independent check: derives everything in a plan again, without a solver.

1. The document is read with bounds on every size (`plan.sane`), its facts are compared with the catalog (`plan.facts`).
2. The candidate table is computed again from the embedded scenario; every deployment must be one of its rows.
3. The document is built again from the stored decision (replicas, nodes, routing) and compared value by value; load
   amounts and step times come from floating-point physics and may differ by 1e-9 relative, all else must be equal.
4. Every row of the program is added up in exact arithmetic on the stored integers (`plan.rows`).
5. The hash.

docs/plan.md lists what is decisive and what is not: `NOT_DERIVED` are facts about the run or the proof, which no check
without a solver can repeat; what can be said of them (a bound never above its value) is a row of its own.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from planner.candidates import CandidateTable, build_table
from planner.plan import io
from planner.plan.conflicts import unkept, unserved
from planner.plan.document import Verdict, build_plan
from planner.plan.facts import broken_defaults, broken_facts
from planner.plan.restored import restored
from planner.plan.rows import broken_rows
from planner.plan.sane import impossible, readable
from planner.plan.types import Plan

RELATIVE = 1e-9
"""How far a number that rests on floating-point physics may be from the one derived here."""

_PHYSICAL = re.compile(r"deployments\..*\.(loads\[\w+\]\.terms\[.*\]\.amount|step\.\w+_ns(_per_token)?)")
"""Paths of those numbers."""

NOT_DERIVED = ("format_version", "hash", "run")
"""Top-level keys that are not derived again."""

_UNDERIVABLE = (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, TypeError, ValueError)
"""What a scenario that nobody resolved from a file may raise while it is planned; a finding, never a traceback."""


@dataclass(frozen=True)
class Finding:
    """One thing that does not hold: which row or value, what is stored, what was derived."""

    row: str
    stored: str
    derived: str

    def __str__(self) -> str:
        return f"{self.row}: the plan says {self.stored}, derived {self.derived}"


def check_tree(tree: dict[str, Any], path: str, *, use_hash: bool = True) -> tuple[Plan, list[Finding]]:
    """The plan and everything that does not hold in it; an empty list is a passed check.

    Raises:
        InputError: the document cannot be read as a plan at all.
    """
    readable(tree, path)
    plan = io.parse(tree, path)
    findings = [Finding(*row) for row in impossible(plan)]
    if not findings:
        findings += [Finding(*row) for row in (*broken_facts(plan.scenario), *broken_defaults(plan.scenario))]
        findings += _guarded(plan, tree)
    if use_hash and plan.hash != io.digest(tree):
        findings.append(Finding("hash", plan.hash, io.digest(tree)))
    return plan, list(dict.fromkeys(findings))


def _guarded(plan: Plan, tree: dict[str, Any]) -> list[Finding]:
    """All that is derived; what cannot be derived is a finding too."""
    findings: list[Finding] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            findings += [Finding(*row) for row in broken_rows(plan)]
            findings += _derived_again(plan, tree)
        except _UNDERIVABLE as error:
            findings.append(Finding("scenario", "a scenario", f"cannot be planned: {type(error).__name__}: {error}"))
    return findings


def _derived_again(plan: Plan, tree: dict[str, Any]) -> Iterator[Finding]:
    table = build_table(plan.scenario)
    conflicts = _conflicts(plan, table)
    if plan.status in ("infeasible", "unknown"):
        yield from _compare(tree, io.to_tree(build_plan(plan.scenario, table, None, conflicts, plan.run)))
        return
    decision, missing = restored(plan, table)
    yield from (Finding(*row) for row in missing)
    again = io.to_tree(build_plan(plan.scenario, table, decision, conflicts, plan.run))
    if missing:
        again = {key: again[key] for key in ("candidates", "rejected", "scenario")}
    yield from _compare(tree, again)


def _conflicts(plan: Plan, table: CandidateTable) -> Verdict:
    """What can be said of the verdict: conflicts stand in infeasible plans only, unserved bands are found again."""
    stages = tuple((stage.name, stage.bound) for stage in plan.objective)
    if plan.status != "infeasible":
        return Verdict(
            plan.status, stages, (), plan.bounds, plan.if_wrong, plan.preset_value, plan.band_edge, plan.certificate,
            plan.without_hits, plan.robustness, plan.as_is,
        )  # fmt: skip
    return Verdict(
        plan.status,
        stages,
        unserved(plan.scenario, table) or unkept(plan.scenario, table) or plan.conflicts,
        plan.bounds,
        band_edge=plan.band_edge,
        certificate=plan.certificate,
        robustness=plan.robustness,
        as_is=plan.as_is,
    )


def _compare(stored: Any, derived: Any, path: str = "") -> Iterator[Finding]:
    """Differences between two JSON trees; keys that only the stored one has are read over (a later minor version)."""
    if isinstance(derived, dict) and isinstance(stored, dict):
        for key, value in derived.items():
            if path or key not in NOT_DERIVED:
                yield from _compare(stored.get(key), value, f"{path}.{key}" if path else key)
        if path in ("deployments", "pools", "models"):
            for key in sorted(set(stored) - set(derived)):
                yield Finding(f"{path}.{key}", "present", "absent")
    elif isinstance(derived, list) and isinstance(stored, list):
        if len(derived) != len(stored):
            yield from _entries(stored, derived, path)
        for index, (old, new) in enumerate(zip(stored, derived, strict=False) if len(derived) == len(stored) else ()):
            yield from _compare(old, new, f"{path}[{_label(new, index)}]")
    elif not _same(stored, derived, path):
        yield Finding(path, repr(stored), repr(derived))


def _entries(stored: list[Any], derived: list[Any], path: str) -> Iterator[Finding]:
    """Which entries are too many or missing; lists that differ in length are not compared further."""
    old, new = (dict.fromkeys(_label(entry, i) for i, entry in enumerate(entries)) for entries in (stored, derived))
    yield Finding(path, f"{len(stored)} entries", f"{len(derived)} entries")
    yield from (Finding(f"{path}[{label}]", "present", "absent") for label in old if label not in new)
    yield from (Finding(f"{path}[{label}]", "absent", "present") for label in new if label not in old)


def _label(entry: Any, index: int) -> str:
    """What a list entry is called: by what it is about, a text by itself, else by its place."""
    if not isinstance(entry, dict):
        return entry[:80] if isinstance(entry, str) else str(index)
    if "metric" in entry:
        return f"{entry.get('class_name')} {entry['metric']}"
    return next((str(entry[key]) for key in ("path", "item", "name", "subject", "id") if key in entry), str(index))


def _same(stored: Any, derived: Any, path: str) -> bool:
    if isinstance(stored, bool) or isinstance(derived, bool) or isinstance(stored, str) or isinstance(derived, str):
        return stored == derived and type(stored) is type(derived)
    if isinstance(stored, int | float) and isinstance(derived, int | float) and _PHYSICAL.fullmatch(path):
        difference, size = abs(Fraction(stored) - Fraction(derived)), max(abs(Fraction(stored)), abs(Fraction(derived)))
        return difference <= RELATIVE * size
    return bool(stored == derived)
