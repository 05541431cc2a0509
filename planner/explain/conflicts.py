"""All minimal conflicts of a scenario without a plan: lines that cannot stand together, none of which is superfluous.

A conflict is found by loosening all other lines, many at a time, as long as there is still no plan (deletion with
halving, after Junker, "QuickXplain", AAAI 2004). The next one is looked for where a smallest set of lines that meets
every known conflict is loosened: either that gives a plan, or there is a conflict without those lines (Reiter, "A
theory of diagnosis from first principles", Artificial Intelligence 1987). When every such set gives a plan, all
conflicts are known.

Two levels. A class that no configuration serves is a conflict of its promises with the choices of its model, whatever
the fleet: no solver is needed. Without those classes the lines that are rows of the program are at odds (rates, stock,
limits, money, reserve); last it is asked which promises and floors such a conflict needs as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from planner.explain.probes import Known, Loosened, OutOfTime, Probes


@dataclass(frozen=True)
class Found:
    """One conflict, by places of lines.

    `among` are the lines that it is a conflict among: exactly its own stand as written, the others among these are
    loosened, and lines beyond these stand as written too. `class_name` is the class that nothing serves, if that is it.
    Without `whole`, time ended before it was known which promises and floors belong to it.
    """

    lines: Loosened
    among: Loosened
    class_name: str | None = None
    whole: bool = True


@dataclass
class Conflicts:
    """The conflicts that were found. `complete`: there are no others."""

    found: list[Found] = field(default_factory=list)
    complete: bool = True


def conflicts(probes: Probes, most: int, first_s: float) -> Conflicts:
    """Minimal conflicts of a scenario without a plan.

    Args:
        probes: The scenario.
        most: The most conflicts that are looked for.
        first_s: Seconds after which no other conflict is looked for once one is known.
    """
    result = Conflicts()
    try:
        unserved = probes.unserved(probes.source.scenario)
        for name in unserved:
            _of_class(probes, name, most, first_s, result)
        _of_rows(probes, unserved, most, first_s, result)
    except OutOfTime:
        result.complete = False
    return result


def _of_class(probes: Probes, name: str, most: int, first_s: float, result: Conflicts) -> None:
    """Conflicts that leave a class without a configuration."""
    traffic = probes.source.scenario.traffic[name]
    own = [
        index
        for index, line in enumerate(probes.lines)
        if line.level != "rows"
        and line.model in (None, traffic.model)
        and (not line.path.startswith("traffic.") or line.path.startswith(f"traffic.{name}."))
    ]
    _enumerate(probes, probes.serves(name), own, _Wanted(most, first_s, name), result)


def _of_rows(probes: Probes, unserved: Sequence[str], most: int, first_s: float, result: Conflicts) -> None:
    """Conflicts of limits with what is asked, for the classes that something serves."""
    scenario = probes.source.scenario
    traffic = {name: each for name, each in scenario.traffic.items() if name not in unserved}
    served = replace(scenario, traffic=traffic)
    plans = probes.plans(served)
    if not traffic or plans.holds(()):
        return
    rows = [index for index, line in enumerate(probes.lines) if line.level == "rows" and not _of(line.path, unserved)]
    rows.sort(key=lambda index: probes.lines[index].weight)
    first = len(result.found)
    _enumerate(probes, plans, rows, _Wanted(most, first_s), result)
    physics = [i for i, line in enumerate(probes.lines) if line.level == "physics" and not _of(line.path, unserved)]
    with probes.within(first_s):
        for place in range(first, len(result.found)):
            result.found[place] = _with_physics(plans, result.found[place], physics)


def _of(path: str, classes: Sequence[str]) -> bool:
    return any(path.startswith(f"traffic.{name}.") for name in classes)


def _with_physics(plans: Known, found: Found, physics: Sequence[int]) -> Found:
    """A conflict of rows with the promises and floors that it needs as well."""
    try:
        loosened = _widened(plans, found.among - found.lines, physics)
    except OutOfTime:
        return replace(found, whole=False)
    among = found.among.union(physics)
    return replace(found, lines=among - loosened, among=among)


@dataclass(frozen=True)
class _Wanted:
    """How many conflicts, for how long, and of which class if of one."""

    most: int
    first_s: float
    class_name: str | None = None


def _enumerate(probes: Probes, known: Known, among: Sequence[int], wanted: _Wanted, result: Conflicts) -> None:
    """Adds all minimal conflicts among some lines, as long as there is room and time for more."""
    everything = frozenset(among)
    own = [everything - _widened(known, frozenset(), among)]
    result.found.append(Found(own[0], everything, wanted.class_name))
    if not own[0]:
        return
    try:
        with probes.within(wanted.first_s):
            while (hole := _next_hole(known, own)) is not None:
                if len(result.found) >= wanted.most:
                    result.complete = False
                    return
                rest = [index for index in among if index not in hole]
                own.append(everything - _widened(known, hole, rest))
                result.found.append(Found(own[-1], everything, wanted.class_name))
    except OutOfTime:
        result.complete = False


def _next_hole(known: Known, own: Iterable[Loosened]) -> Loosened | None:
    """A smallest set of lines that meets every conflict so far and yet helps nothing; None if there is none."""
    for lines in hitting_sets(list(own)):
        if not known.holds(lines):
            return lines
    return None


def hitting_sets(sets: Sequence[frozenset[int]]) -> list[frozenset[int]]:
    """All minimal sets that meet each of these sets, small ones first.

    >>> [sorted(each) for each in hitting_sets([frozenset({1, 2}), frozenset({2, 3})])]
    [[2], [1, 3]]
    """
    found: list[frozenset[int]] = [frozenset()]
    for each in sets:
        grown = {chosen | {line} for chosen in found for line in ({min(chosen & each)} if chosen & each else each)}
        found = [chosen for chosen in grown if not any(other < chosen for other in grown)]
    return sorted(found, key=lambda chosen: (len(chosen), sorted(chosen)))


def _widened(known: Known, loosened: Loosened, group: Sequence[int]) -> Loosened:
    """The loosened lines with as many of a group as help nothing; each of the group that is left would help."""
    if not group:
        return loosened
    if not known.holds(loosened.union(group)):
        return loosened.union(group)
    if len(group) == 1:
        return loosened
    half = len(group) // 2
    return _widened(known, _widened(known, loosened, group[:half]), group[half:])
