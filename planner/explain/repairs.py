"""The cheapest repair of each family of lines: the least change of its lines alone that gives a plan.

A line that repairs alone stands in every conflict. Its least change is the first rung of its ladder with a plan, found
by trying ever larger steps and halving; where the line is a sum over nodes the least sum is asked of the solver. Where
no single line is enough, a minimal set of lines is loosened and each is brought back as far as it goes. Every repair is
planned again as a user would: with its `--set` texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, get_args

from planner.errors import InputError
from planner.explain.conflicts import hitting_sets
from planner.explain.ladders import number
from planner.explain.lines import Line, Rung, sets_of
from planner.explain.probes import Fleet, Known, Loosened, OutOfTime, Probes
from planner.explain.types import Change, Family, Repair
from planner.explain.words import cents
from planner.scenario.types import Scenario
from planner.units import MICRO

SINGLES_MAX = 6
"""Lines of a family that are each tried alone."""

COMBINATIONS_MAX = 4
"""Smallest sets of lines of several families that are tried."""

NOT_LEAST = "not proved to be the least"

PARTS = 100
"""Steps by which several rates are lowered together."""

CHEAPEST_FIRST: tuple[Family, ...] = ("budget", "limits", "stock", "reserve", "models", "promises", "traffic")
"""The families in the order in which they are repaired: those that take one solve before those that take many."""

FAMILY_PART = 0.5
"""Part of the time left that one family may take."""

LADDER_PART = 0.7
"""Part of its time in which a family looks for a rung; the rest is for planning it again."""

EACH_BACK_MAX = 4
"""Rates that are lowered evenly and then each brought back as far as it goes; more of them would take many solves."""


@dataclass(frozen=True)
class Step:
    """A line at a rung of its ladder. `size` says how large a change that is, among changes of the same family; the
    cost and the fleet are there where the change has told them."""

    line: int
    rung: Rung
    size: Fraction
    note: str = ""
    cost_per_month: Fraction | None = None
    fleet: Fleet | None = None


def repairs(probes: Probes, plans: Known, conflicts: Sequence[Loosened], *, complete: bool) -> tuple[Repair, ...]:
    """One repair a family, in the order of the families; families without lines in any conflict are left out.

    Args:
        probes: The scenario.
        plans: What is known of its plans.
        conflicts: Its conflicts, as far as they are known.
        complete: Whether there are no others: lines that stand in none need no change.
    """
    met = frozenset().union(*conflicts)
    found: dict[Family, Repair] = {}
    for family in CHEAPEST_FIRST:
        own = [index for index in sorted(met) if probes.lines[index].family == family]
        if own and not complete:
            own = [i for i, each in enumerate(probes.lines) if each.family == family and (i in met or _is_row(each))]
        if own:
            probes.progress(f"repairs: {family}")
            with probes.within(probes.left_s() * FAMILY_PART):
                found[family] = _repair(probes, plans, family, own, conflicts)
    ordered = [found[family] for family in get_args(Family) if family in found]
    if ordered and all(each.status == "none" for each in ordered):
        ordered.append(_together(probes, plans, conflicts) if complete else _of_known(probes, plans, met))
    return tuple(_priced(probes, each) for each in ordered)


def _priced(probes: Probes, repair: Repair) -> Repair:
    """A repair with its cost, where that took longer than one question may and time is left; otherwise it says so."""
    if repair.status != "solved" or repair.cost_per_month is not None:
        return repair
    version = probes.source.changed([change.set for change in repair.changes])
    cost = probes.cost_per_month(version, probes.left_s() * FAMILY_PART)
    if cost is not None:
        return replace(repair, cost_per_month=cents(cost))
    return replace(repair, text="; ".join(filter(None, (repair.text, "its cost is not known: time ended"))))


def _is_row(line: Line) -> bool:
    return line.level == "rows"


def _together(probes: Probes, plans: Known, conflicts: Sequence[Loosened]) -> Repair:
    """A repair by as few lines as possible, of whatever families; rates and promises last."""

    def order(lines: Loosened) -> tuple[int, int]:
        asked = sum(probes.lines[index].family in ("traffic", "promises") for index in lines)
        return len(lines), asked

    try:
        for lines in sorted(hitting_sets(conflicts), key=order)[:COMBINATIONS_MAX]:
            if plans.holds(lines) and (steps := _several(probes, plans, sorted(lines))):
                return _solved(probes, "together", steps, ())
    except OutOfTime:
        return Repair("together", "open", (), None, "not finished in the time limit")
    return Repair("together", "none", (), None, "no few lines are enough")


def _of_known(probes: Probes, plans: Known, met: Loosened) -> Repair:
    """A repair where there are more conflicts than those that are known: by their lines, else by any; none of them is
    superfluous. Rates and promises are kept where they can be."""

    def order(index: int) -> tuple[bool, int]:
        return probes.lines[index].family not in ("traffic", "promises"), index

    every = met.union(index for index, line in enumerate(probes.lines) if _is_row(line))
    try:
        lines = next((each for each in (met, every) if plans.holds(each)), None)
        steps = [] if lines is None else _several(probes, plans, sorted(lines, key=order))
    except OutOfTime:
        return Repair("together", "open", (), None, "not finished in the time limit")
    if not steps:
        return Repair("together", "open", (), None, "none was found: there are other conflicts")
    return _solved(probes, "together", steps, ())


def _repair(probes: Probes, plans: Known, family: Family, own: Sequence[int], conflicts: Sequence[Loosened]) -> Repair:
    """The repair of one family by its lines that stand in conflicts."""
    try:
        if not all(each & frozenset(own) for each in conflicts) or not plans.holds(own):
            return Repair(family, "none", (), None, _powerless(probes, own, conflicts))
        single = [index for index in own if all(index in each for each in conflicts) and plans.holds({index})]
        if single:
            steps = [step for index in single[:SINGLES_MAX] if (step := _least(probes, index, ())) is not None]
            steps.sort(key=lambda step: step.size)
            for place, step in enumerate(steps):
                found = _solved(probes, family, [step], steps[place + 1 :])
                if found.status == "solved":
                    return found
            return Repair(family, "none", (), None, "no value that can be written gives a plan")
        steps = _several(probes, plans, own)
        if not steps:
            return Repair(family, "none", (), None, "no values that can be written give a plan")
        return _solved(probes, family, steps, ())
    except OutOfTime:
        return Repair(family, "open", (), None, "not finished in the time limit")


def _powerless(probes: Probes, own: Sequence[int], conflicts: Sequence[Loosened]) -> str:
    """Why no change of a family is enough."""
    for number_, each in enumerate(conflicts, start=1):
        if not each & frozenset(own):
            return f"not enough alone: conflict {number_} has none of these lines"
    return "not enough alone, however far they are loosened"


def _least(probes: Probes, index: int, fixed: Sequence[Step], free: Loosened = frozenset()) -> Step | None:
    """The least change of a line that gives a plan, beside steps that are taken already and lines that are free."""
    line = probes.lines[index]
    if line.exact is not None and not probes.source.scenario.timed:
        version = probes.at((step.line, step.rung) for step in fixed) if fixed else probes.source.scenario
        exact = _exact(probes, index, probes.loosened({index, *free}, version))
        if exact is not None:
            return exact
    ladders = [ladder() for ladder in (line.back, line.steps) if ladder is not None]
    climbed = (_climbed(probes, index, rungs, fixed, free) for rungs in ladders)
    return next((step for step in climbed if step is not None), None)


def _climbed(probes: Probes, index: int, rungs: Sequence[Rung], fixed: Sequence[Step], free: Loosened) -> Step | None:
    """The first rung of a ladder that gives a plan."""
    line = probes.lines[index]

    def holds(place: int) -> bool:
        try:
            version = probes.at([*((step.line, step.rung) for step in fixed), (index, rungs[place])])
        except InputError:  # a value that other lines do not allow
            return False
        return probes.has_plan(probes.loosened(free, version))

    with probes.within(probes.left_s() * LADDER_PART):
        if line.ordered:
            found = _first(holds, len(rungs))
        else:
            found = next(((place, True) for place in range(len(rungs)) if holds(place)), None)
    if found is None:
        return None
    place, proved = found
    note = "" if proved else NOT_LEAST
    return Step(index, rungs[place], _size(line, rungs[place], place, len(rungs)), note)


def _first(holds: Callable[[int], bool], count: int) -> tuple[int, bool] | None:
    """The first place that holds, of places that all hold from some place on: by doubling, then by halving; False with
    it where time ended before an earlier one was ruled out."""
    low, step = -1, 1
    while True:
        high = min(low + step, count - 1)
        if high <= low:
            return None
        if holds(high):
            break
        low, step = high, 2 * step
    try:
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if holds(middle) else (middle, high)
    except OutOfTime:
        return high, False
    return high, True


def _exact(probes: Probes, index: int, version: Scenario) -> Step | None:
    """The least sum over nodes of a version without the line, from one solve; None where no plan was found in time, or
    where the sum is not what is missing."""
    line = probes.lines[index]
    assert line.exact is not None
    found = probes.least(version, line, line.exact.weigh)
    if found is None:
        return None
    needed, at_least = found.value, found.bound
    rung = line.exact.rung(needed)
    if not rung:
        return None
    note = ""
    if at_least is None or at_least < needed:
        below = line.exact.rung(at_least) if at_least else ()
        note = "not proved to be the least" + (f": below {below[0][1]} there is no plan" if below else "")
    cost = needed / MICRO if line.path == "budget.monthly" else None
    return Step(index, rung, _size(line, rung, 0, 1), note, cost, found.fleet)


def _size(line: Line, rung: Rung, place: int, count: int) -> Fraction:
    """How large a change is: of traffic the part of the line that is lost, else how much looser the line is."""
    if line.family == "traffic":
        return Fraction(place + 1, count)
    if not line.ordered:
        return Fraction(place)
    try:
        old, new = number(line.value), number(rung[0][1])
    except ValueError:
        return Fraction(place)
    return abs(new - old) if line.family == "stock" else (new - old) / old if old else Fraction(place)


def _several(probes: Probes, plans: Known, own: Sequence[int]) -> list[Step]:
    """A minimal set of lines that gives a plan, each loosened no further than it must be."""
    needed = list(own)
    for index in own:
        rest = [other for other in needed if other != index]
        if plans.holds(rest):
            needed = rest
    if all(probes.lines[index].family == "traffic" for index in needed):
        return _evenly(probes, needed)
    taken: list[Step] = []
    for place, index in enumerate(needed):
        step = _least(probes, index, taken, frozenset(needed[place + 1 :]))
        if step is None:
            return []
        taken.append(step)
    return taken


def _evenly(probes: Probes, lines: Sequence[int]) -> list[Step]:
    """All of these lines changed by the same part of their ladders, the least that gives a plan; then each as far back
    as the others let it go."""
    ladders = {index: probes.lines[index].steps() for index in lines}

    def steps(part: int) -> list[Step]:
        places = {index: -(-(part + 1) * len(rungs) // PARTS) - 1 for index, rungs in ladders.items()}
        return [Step(index, ladders[index][place], Fraction(part)) for index, place in places.items()]

    def holds(part: int) -> bool:
        return probes.has_plan(probes.at((step.line, step.rung) for step in steps(part)))

    with probes.within(probes.left_s() * LADDER_PART):
        first = _first(holds, PARTS)
    if first is None:
        return []
    found = [replace(step, note="" if first[1] else NOT_LEAST) for step in steps(first[0])]
    for place, step in enumerate(found if len(found) <= EACH_BACK_MAX else ()):
        others = [*found[:place], *found[place + 1 :]]
        found[place] = _least(probes, step.line, others) or step
    return found


def _solved(
    probes: Probes, family: Family | Literal["together"], steps: Sequence[Step], others: Sequence[Step]
) -> Repair:
    """A repair, planned again as it would be written."""
    changes = tuple(change for step in steps for change in _changes(probes, step))
    version = probes.source.changed([change.set for change in changes])
    first = steps[0] if len(steps) == 1 else None
    found = first is not None and first.fleet is not None and probes.stands(version, first.fleet)
    cost = first.cost_per_month if first is not None and found else None
    if cost is None:
        cost = probes.cost_per_month(version)
    if cost is None and not found and not probes.has_plan(version):
        return Repair(family, "none", (), None, "no values that can be written give a plan")
    alone = [f"{path} {value}" for step in others for path, value in step.rung[:1]]
    told = [
        *dict.fromkeys(step.note for step in steps if step.note),
        *([f"so would, alone: {'; '.join(alone)}"] if alone else []),
    ]
    text = "; ".join(told)
    return Repair(family, "solved", changes, None if cost is None else cents(cost), text)


def _changes(probes: Probes, step: Step) -> list[Change]:
    line, source = probes.lines[step.line], probes.source
    found = []
    for (path, after), text in zip(step.rung, sets_of(step.rung), strict=True):
        before = source.written(path) or (line.value if path == line.path else "default")
        found.append(Change(path, before, after, text))
    return found
