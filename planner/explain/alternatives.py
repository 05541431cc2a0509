"""The best plans that differ in what matters: each does without a choice of every plan before it.

A choice is a model with its GPU, shape, weights, preset and context limit; how many replicas of it run, and with what
batch size, is no difference worth a name. A plan that only adds something to an earlier one is none either. The next
plan lacks a choice of each earlier plan: so choices are forbidden, one of each, in every way (the tree of hitting sets
of Reiter, "A theory of diagnosis from first principles", Artificial Intelligence 1987), cheapest way first.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from planner.candidates import Config
from planner.candidates.table import Offered
from planner.explain.reasons import Alternatives
from planner.explain.trials import Ask, Outcome, Trials
from planner.explain.words import fleet
from planner.plan.types import Plan
from planner.scenario.written import tokens

Choice = tuple[str, str, str, str, str, str]
"""(model, GPU, shape, weights, preset, context limit)."""

Forbidden = frozenset[Choice]


def choices_of(plan: Plan) -> Forbidden:
    """The choices in use."""
    return frozenset(
        (d.model, d.gpu, d.parallel, d.weights, d.kv_preset, tokens(d.context_limit_tokens))
        for d in plan.deployments.values()
    )


def _offered(forbidden: Forbidden) -> Offered:
    def offered(c: Config) -> bool:
        return (c.model, c.gpu, c.parallel, c.weights, c.kv_preset, tokens(c.context_limit_tokens)) not in forbidden

    return offered


def alternatives(trials: Trials, count: int) -> Alternatives:
    """Up to `count` plans beside the one of the scenario, in the order of its objectives."""
    assert trials.base.plan is not None
    before = [choices_of(trials.base.plan)]
    found: list[Plan] = []
    outcomes: list[Outcome] = []
    ways = _Ways(trials)
    ways.add(frozenset({each}) for each in before[0])
    while len(found) < count and ways.open:
        level = ways.cheapest()
        short = [(way, missed) for way in level if (missed := _missed(way, before)) is not None]
        if short:
            for way, missed in short:
                ways.close(way)
                ways.add(way | {each} for each in missed)
            continue
        way, outcome = ways.first(level)
        ways.close(way)
        if outcome is None or outcome.plan is None:
            continue
        found.append(outcome.plan)
        outcomes.append(outcome)
        before.append(choices_of(outcome.plan))
        ways.add(way | {each} for each in before[-1])
    note = "some ways were not finished in time: a better plan may be missing" if ways.unknown else ""
    fleets = tuple(fleet(trials.base, each) for each in outcomes)
    return Alternatives(fleets, not ways.open and not ways.unknown, note)


def _missed(way: Forbidden, before: list[Forbidden]) -> Forbidden | None:
    """A plan of which a way forbids nothing."""
    return next((each for each in before if not each & way), None)


class _Ways:
    """Sets of forbidden choices, with what the cheapest plan without them costs; those without a plan fall away."""

    def __init__(self, trials: Trials) -> None:
        self.trials = trials
        self.open: dict[Forbidden, Fraction] = {}
        self.seen: set[Forbidden] = set()
        self.plans: dict[Forbidden, Outcome] = {}
        self.unknown = False

    def add(self, ways: Iterable[Forbidden]) -> None:
        """Opens ways that were not asked for before. Where cost is not the first objective all are taken as equal."""
        new = sorted((each for each in set(ways) if each not in self.seen), key=sorted)
        self.seen.update(new)
        if self.trials.scenario.objective[0] != "cost":
            self.open |= dict.fromkeys(new, Fraction(0))
            return
        asks = [Ask(self.trials.scenario, "tighten", _offered(each)) for each in new]
        for way, found in zip(new, self.trials.least_of(asks), strict=True):
            if found.cost_per_month is not None:
                self.open[way] = found.cost_per_month
            elif found.status == "unknown":
                self.unknown = True

    def cheapest(self) -> list[Forbidden]:
        """The open ways of the least cost."""
        least = min(self.open.values())
        return sorted(
            (way for way, cost in self.open.items() if cost == least), key=lambda way: (len(way), sorted(way))
        )

    def first(self, ways: list[Forbidden]) -> tuple[Forbidden, Outcome | None]:
        """The way whose plan comes first in all objectives; any way without a plan comes before that."""
        for way in ways:
            if way not in self.plans:
                self.plans[way] = self.trials.best(self.trials.scenario, _offered(way))
            if self.plans[way].plan is None:
                self.unknown |= self.plans[way].status == "unknown"
                return way, None
        best = min(ways, key=lambda way: _values(self.plans[way]))
        return best, self.plans[best]

    def close(self, way: Forbidden) -> None:
        """A way that is done with."""
        del self.open[way]


def _values(outcome: Outcome) -> tuple[int, ...]:
    assert outcome.plan is not None
    return tuple(stage.value for stage in outcome.plan.objective)
