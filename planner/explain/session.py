"""The door of this room: one scenario or plan in, its reasons out.

Without a plan: the conflicts and the cheapest repairs. With one: what it hangs on.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from planner.explain.conflicts import Conflicts, Found, conflicts
from planner.explain.hangs import DEFAULT, About, hangs
from planner.explain.lines import lines_of
from planner.explain.probes import OutOfTime, Probes
from planner.explain.repairs import repairs
from planner.explain.source import Source, open_source
from planner.explain.tables import Tables
from planner.explain.types import EXPLAIN_FORMAT_VERSION, Answer, Conflict, Repair, Status, WrittenLine
from planner.plan.conflicts import unserved

MOST_CONFLICTS = 5
"""Conflicts that are looked for unless more are asked for."""

CONFLICTS_PART = 0.15
"""Part of the time that goes into further conflicts, as much into promises that belong to them, and into second
opinions: the rest is for repairs."""

WITH_MOVES = "figures per month below the first line hold what moves of replicas cost, spread over the horizon"

PHYSICS_KEPT = "promises and quality floors were kept as written: time ended"


@dataclass(frozen=True)
class Question:
    """What is to be explained, and how long that may take."""

    conflicts: int = MOST_CONFLICTS
    time_limit_s: float = 300.0
    about: About = DEFAULT


def explain(
    label: str,
    question: Question,
    sets: tuple[str, ...] = (),
    what_if: tuple[str, ...] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> Answer:
    """The reasons of a scenario file or a plan document.

    Raises:
        InputError: every mistake in the file and the overrides.
    """
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kvplan-") as folder:
        source = open_source(label, Path(folder), sets, what_if)
        probes = Probes(source, lines_of(source), Tables(source.scenario), start + question.time_limit_s, progress)
        try:
            has_plan = probes.has_plan(source.scenario, confirm=True)
        except OutOfTime:
            return _answer(source, "unknown", start, unfinished=("whether there is a plan",))
        if has_plan:
            return _with_plan(probes, question, start)
        return _infeasible(probes, question, start)


def _with_plan(probes: Probes, question: Question, start: float) -> Answer:
    found = hangs(probes.source, probes.lines, probes.tables, question.about, probes.deadline, probes.progress)
    return replace(
        _answer(probes.source, found.status, start, unfinished=found.unfinished),
        cost_per_month=found.cost_per_month,
        binding=found.binding,
        worth=found.worth,
        why=found.why,
        why_not=found.why_not,
        frontier=found.frontier,
        alternatives=found.alternatives,
        notes=(WITH_MOVES,) if _pays_moves(probes.source) else (),
    )


def _pays_moves(source: Source) -> bool:
    """Whether moving the running fleet costs money."""
    return bool(source.scenario.current and source.scenario.change.micro_per_replica)


def _infeasible(probes: Probes, question: Question, start: float) -> Answer:
    found = conflicts(probes, question.conflicts, question.time_limit_s * CONFLICTS_PART)
    with probes.within(question.time_limit_s * CONFLICTS_PART):
        shown = tuple(_conflict(probes, each) for each in found.found)
    plans = probes.plans(probes.source.scenario)
    mended = repairs(probes, plans, [each.lines for each in found.found if each.lines], complete=found.complete)
    return _answer(probes.source, "infeasible", start, shown, mended, _unfinished(found, mended, question))


def _unfinished(found: Conflicts, mended: tuple[Repair, ...], question: Question) -> tuple[str, ...]:
    """What is not known because time, or the number of conflicts, ended."""
    parts = [] if found.complete else ["there may be more conflicts"]
    if not found.complete and len(found.found) >= question.conflicts:
        parts = [f"there are more conflicts than {question.conflicts}: --conflicts shows more"]
    return (
        *parts,
        *(f"repair by {each.family}" for each in mended if each.status == "open" and each.family != "together"),
    )


def _conflict(probes: Probes, found: Found) -> Conflict:
    lines = [probes.lines[index].written for index in sorted(found.lines)] or _given(probes.source, found.class_name)
    told = ""
    if found.class_name is not None:
        refused = unserved(probes.source.scenario, probes.tables.table(probes.source.scenario))
        told = "; ".join(each.message for each in refused if each.path == f"traffic.{found.class_name}")
    elif not found.whole:
        told = PHYSICS_KEPT
    return Conflict(tuple(line.path for line in lines), tuple(lines), _confirmed(probes, found), told)


def _given(source: Source, class_name: str | None) -> list[WrittenLine]:
    """What is left to blame where no line helps: the models and the kinds of GPUs that the question is about."""
    scenario = source.scenario
    names = scenario.models if class_name is None else (scenario.traffic[class_name].model,)
    models = [f"models.{name}.{'ref' if scenario.models[name].facts else 'capacity_table'}" for name in names]
    paths = [*models, *(f"inventory.{name}.gpu" for name in scenario.inventory)]
    return [WrittenLine(path, source.written(path) or "", source.place(path)) for path in paths]


def _confirmed(probes: Probes, found: Found) -> bool:
    """Whether a second solver agrees that these lines leave no plan, all others loosened."""
    try:
        loosened = found.among - found.lines
        if found.class_name is not None:
            return not probes.serves(found.class_name).holds(loosened)
        return not probes.has_plan(probes.loosened(loosened, probes.source.scenario), confirm=True)
    except OutOfTime:
        return False


def _answer(
    source: Source,
    status: Status,
    start: float,
    conflicts: tuple[Conflict, ...] = (),
    repairs: tuple[Repair, ...] = (),
    unfinished: tuple[str, ...] = (),
) -> Answer:
    scenario = source.scenario
    return Answer(
        EXPLAIN_FORMAT_VERSION,
        scenario.name,
        scenario.currency,
        source.label,
        status,
        None,
        conflicts,
        repairs,
        unfinished=unfinished,
        seconds=round(time.monotonic() - start, 3),
    )
