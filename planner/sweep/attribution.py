"""What caused a change of cost: each edit of the scenario solved again alone, on top of the base.

One edit can re-arrange the whole fleet, so effects are found by solving, and do not add up by themselves: what is left
of the total is the interaction. Inputs other than the scenario (catalog, version, profiles) are told apart by solving
both scenarios again with today's: total = sum of effects + interaction + drift, to the cent, by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction

from planner import __version__
from planner.catalog import catalog_version
from planner.plan.diff import Explained, remainder
from planner.plan.diff_changes import cent_text, cents
from planner.plan.diff_types import AttributionRow, Drift, Edit
from planner.plan.types import Plan
from planner.scenario.source import MapNode
from planner.scenario.types import Scenario
from planner.scenario.written import UnwritableError, written
from planner.sweep.edits import TreeEdit, Unit, applied, by_block, differences, grouped
from planner.sweep.sides import Language, Opened, same_contents, trees

MOST_UNITS = 24
"""Solves that a review is worth; with more edits, those of one class, model or pool are tried together."""

Solve = Callable[[Scenario, str], Plan]
"""Solves a scenario; the text says for whom, for progress."""


@dataclass
class _Trials:
    """Scenarios of the base with some edits, each resolved once."""

    language: Language
    base: MapNode
    known: dict[frozenset[tuple[str, ...]], Scenario | None] = field(default_factory=dict)

    def scenario(self, edits: tuple[TreeEdit, ...]) -> Scenario | None:
        key = frozenset(edit.path for edit in edits)
        if key not in self.known:
            self.known[key] = self.language.scenario(applied(self.base, edits))
        return self.known[key]

    def is_valid(self, edits: tuple[TreeEdit, ...]) -> bool:
        return self.scenario(edits) is not None


@dataclass(frozen=True)
class _Found:
    """What comparing the two scenarios gave: the edits, the groups to try, and how to resolve them."""

    edits: tuple[TreeEdit, ...]
    units: tuple[Unit, ...]
    trials: _Trials
    notes: tuple[str, ...]


def explain(base: Opened, head: Opened, plans: tuple[Plan, Plan], solve: Solve | None) -> Explained:
    """Edits, their effects, interaction and drift. Without `solve` only the edits and the kinds of drift."""
    drift = tuple(_drift(*plans))
    try:
        found = _compare(base, head, with_units=solve is not None)
    except UnwritableError as error:
        return Explained(drift=drift, notes=(f"edits are not listed: {error}",))
    edits = tuple(_edit(edit, base, head) for edit in found.edits)
    if solve is None:
        return Explained(edits=edits, drift=drift, notes=found.notes)
    return _attributed(Explained(edits=edits, drift=drift, notes=found.notes), found, plans, solve)


def _edit(edit: TreeEdit, base: Opened, head: Opened) -> Edit:
    before, after = edit.texts
    side = head if edit.after is not None else base
    as_written = base.tree is not None and head.tree is not None
    return Edit(edit.dotted, before, after, side.place(edit.path, edit.place if as_written else None))


def _compare(base: Opened, head: Opened, *, with_units: bool) -> _Found:
    language, old, new = trees(base, head)
    edits = differences(old, new, lambda a, b, key: same_contents(language, a, b, key))
    trials = _Trials(language, old)
    edits = _meant(edits, base, head, trials)
    if not with_units:
        return _Found(edits, (), trials, ())
    units = by_block(edits, MOST_UNITS)
    notes = []
    if len(units) < len(edits):
        notes.append(
            f"{len(edits)} edits: those of one entry or block were solved together, {len(units)} solves in all"
        )
    if not trials.is_valid(edits):
        return _Found(edits, (), trials, (*notes, "effects of single edits are not known: the head cannot be rebuilt"))
    return _Found(edits, grouped(units, trials.is_valid), trials, tuple(notes))


def _meant(edits: tuple[TreeEdit, ...], base: Opened, head: Opened, trials: _Trials) -> tuple[TreeEdit, ...]:
    """Without edits that only write the same in other words: `8192` for `8Ki`, a list of one, a default written out.

    Those are edits of which the normal forms of the two scenarios show nothing; they are dropped if the others alone
    make the head.
    """
    try:
        forms = [written(side.scenario, "") for side in (base, head)]
    except UnwritableError:
        return edits
    moved = {edit.path for edit in differences(forms[0], forms[1], lambda old, new, key: True)}
    above = {path[:length] for path in moved for length in range(1, len(path) + 1)}
    kept = tuple(
        edit
        for edit in edits
        if (_file_matters(edit, base, head) if edit.in_file else edit.path in above or _below(edit.path, moved))
    )
    if len(kept) == len(edits):
        return edits
    made = trials.scenario(kept)
    return kept if made is not None and _bare(made) == _bare(head.scenario) else edits


def _below(path: tuple[str, ...], moved: set[tuple[str, ...]]) -> bool:
    return any(path[:length] in moved for length in range(1, len(path)))


def _file_matters(edit: TreeEdit, base: Opened, head: Opened) -> bool:
    """Whether a model reads something else from its file."""
    old, new = base.scenario.models[edit.path[1]], head.scenario.models[edit.path[1]]
    return (old.capacity, old.facts) != (new.capacity, new.facts)


def _bare(scenario: Scenario) -> Scenario:
    return replace(scenario, defaults=(), what_if=(), places={})


def _planned(scenario: Scenario) -> Scenario:
    """What of a scenario the planner acts on: texts and thresholds change no plan."""
    inventory = {name: replace(pool, source="") for name, pool in scenario.inventory.items()}
    limits = {name: replace(limit, source="") for name, limit in scenario.limits.items()}
    return replace(_bare(scenario), inventory=inventory, limits=limits, name="", owner="", guardrails={})


def _attributed(known: Explained, found: _Found, plans: tuple[Plan, Plan], solve: Solve) -> Explained:
    """The effects. Solved on top of the base as it is planned today, whenever its document was made."""
    base, head = plans
    notes = list(known.notes)
    base_now = _today(base, found.trials.scenario(()), solve, "base")
    head_now = _today(head, found.trials.scenario(found.edits), solve, "head") if known.drift else head
    total = _less(_cost(head), _cost(base))
    drift = None
    if known.drift:
        moves = [_less(_cost(base_now), _cost(base)), _less(_cost(head), _cost(head_now))]
        drift = cent_text(sum((move for move in moves if move is not None), Fraction(0))) if None not in moves else None
        if drift is None:
            notes.append("the effect of inputs other than the scenario is not known: a side has no plan with today's")
    rows: tuple[AttributionRow, ...] = ()
    if _cost(base_now) is None:
        notes.append("effects of single edits are not known: the base has no plan")
    else:
        rows = tuple(_rows(found, base_now, head_now, solve))
    interaction = remainder(cent_text(total), (*(row.effect_per_month for row in rows), drift))
    one = len(known.drift) == 1
    return Explained(
        edits=known.edits,
        attribution=rows,
        interaction_per_month=interaction if rows else None,
        drift=tuple(replace(row, effect_per_month=drift if one else None) for row in known.drift),
        drift_per_month=drift,
        notes=tuple(notes),
    )


def _rows(found: _Found, base: Plan, head: Plan, solve: Solve) -> Iterator[AttributionRow]:
    unedited = found.trials.scenario(())
    for number, unit in enumerate(found.units, start=1):
        paths = tuple(edit.dotted for edit in unit)
        scenario = found.trials.scenario(unit)
        if len(found.units) == 1:
            plan = head
        elif scenario is None:
            yield AttributionRow(paths, None, "these edits alone are no scenario", False)
            continue
        elif unedited is not None and _planned(scenario) == _planned(unedited):
            plan = base
        else:
            plan = solve(scenario, f"edit {number} of {len(found.units)}: {', '.join(paths)}")
        yield _row(paths, plan, base)


def _row(paths: tuple[str, ...], plan: Plan, base: Plan) -> AttributionRow:
    proved = plan.status in ("optimal", "infeasible")
    effect = _less(_cost(plan), _cost(base))
    if effect is not None:
        return AttributionRow(paths, cent_text(effect), None, proved)
    if plan.status == "infeasible":
        reasons = "; ".join(f"{conflict.path}: {conflict.message}" for conflict in plan.conflicts[:2])
        return AttributionRow(paths, None, reasons or "no plan exists", proved)
    return AttributionRow(paths, None, "no plan was found within the time limit", False)


def _today(plan: Plan, scenario: Scenario | None, solve: Solve, name: str) -> Plan:
    """The plan of a side with today's catalog and version: itself, if that is how it was made."""
    if (plan.run.kvplan, plan.run.catalog) == (__version__, catalog_version()) or scenario is None:
        return plan
    return solve(scenario, f"{name} with today's catalog")


def _cost(plan: Plan) -> Fraction | None:
    return cents(plan.totals.cost_per_month) if plan.totals else None


def _less(amount: Fraction | None, other: Fraction | None) -> Fraction | None:
    return None if amount is None or other is None else amount - other


def _drift(base: Plan, head: Plan) -> Iterator[Drift]:
    """Inputs other than the scenario that the two documents were made with."""
    if base.run.kvplan != head.run.kvplan:
        yield Drift("version", "kvplan", base.run.kvplan, head.run.kvplan, None)
    if base.run.catalog != head.run.catalog:
        yield Drift("catalog", "models, GPUs and engines", base.run.catalog, head.run.catalog, None)
    for name, model in head.scenario.models.items():
        other = base.scenario.models.get(name)
        old, new = other.engine if other else None, model.engine
        if old and new and old.requested == new.requested and old != new:
            yield Drift("engine", new.requested, old.source, new.source, None)
    texts = [_profiles(plan) for plan in (base, head)]
    for name in sorted(texts[0].keys() & texts[1].keys()):
        if texts[0][name] != texts[1][name]:
            yield Drift("profile", name, texts[0][name], texts[1][name], None)


def _profiles(plan: Plan) -> dict[str, str]:
    """Evidence of presets and latency by what it is about. What it says may follow the scenario's own floors, so
    only evidence for the same question counts."""
    found: dict[str, list[str]] = {}
    for row in plan.evidence:
        if row.kind == "performance":
            found.setdefault(row.id, []).append(row.text)
    return {name: "; ".join(sorted(texts)) for name, texts in found.items()}
