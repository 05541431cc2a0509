"""What a router needs: which deployment takes which prompts of a class, with the plan's exact shares.

The plan routes runs of adjacent length bands. A router knows a prompt's length and needs disjoint intervals, so runs
are cut at every length where one ends; in each interval the shares of the runs over it add up to one. An interval
reaches up to the longest prompt of its band: a prompt between two bands goes to the next one, whose limit it keeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from planner.errors import Diagnostic, InputError
from planner.plan.types import Plan, Route

WEIGHT = 1_000_000
"""Sum of the weights of an interval."""


@dataclass(frozen=True)
class Interval:
    """Prompts of one class from `from_tokens` to `to_tokens` (None: no end), and who takes what part of them."""

    from_tokens: int
    to_tokens: int | None
    shares: tuple[tuple[str, Fraction], ...]

    @property
    def weights(self) -> dict[str, int]:
        """The shares as whole numbers that add up to a million, for routers that take weights.

        Rounded down; what is missing goes to the largest remainders. Kubernetes' Gateway API takes weights up to a
        million.

        >>> Interval(0, None, (("a", Fraction(2, 3)), ("b", Fraction(1, 3)))).weights
        {'a': 666667, 'b': 333333}
        """
        exact = {name: share * WEIGHT for name, share in self.shares}
        weights = {name: int(value) for name, value in exact.items()}
        by_remainder = sorted(exact, key=lambda name: (weights[name] - exact[name], name))
        for name in by_remainder[: WEIGHT - sum(weights.values())]:
            weights[name] += 1
        return weights


def intervals(plan: Plan, class_name: str, source: str) -> tuple[Interval, ...]:
    """The intervals of one class, short prompts first.

    Raises:
        InputError: the shares of an interval do not add up to one, so the plan does not hold.
    """
    routes = [
        (name, route)
        for name, deployment in sorted(plan.deployments.items())
        for route in deployment.routing
        if route.class_name == class_name
    ]
    ends = sorted({route.prompt_tokens[1] for _, route in routes})
    found: list[Interval] = []
    start = 0
    for position, end in enumerate(ends):
        shares: dict[str, Fraction] = {}
        for name, route in routes:
            if _covers(route, end):
                shares[name] = shares.get(name, Fraction(0)) + route.share
        total = sum(shares.values(), Fraction(0))
        if total != 1:
            message = f"{class_name}: shares of prompts up to {end:,} tokens add up to {total}; see `kvplan check`"
            raise InputError([Diagnostic(source, 0, 0, "KV961", message)])
        last = position == len(ends) - 1
        found.append(Interval(start, None if last else end, tuple(sorted(shares.items()))))
        start = end + 1
    return tuple(found)


def _covers(route: Route, end: int) -> bool:
    """Whether a run of bands holds the band whose longest prompt is `end`."""
    return route.prompt_tokens[0] <= end <= route.prompt_tokens[1]
