"""Which columns to free next: the surroundings of a few regions, or of a few models that share GPUs.

Regions meet only where one class is served in several; models meet only where they share nodes. So both cut a large
program where it is thin. Columns come in the order of their slack at the prices of the relaxation, up to a number of
(column, item) pairs that a short solve can search; whatever runs now is among them. What improved the plan most a
second is tried more often.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from planner.solver.program import Program
from planner.solver.scale.flat import Flat, Ints
from planner.solver.scale.prices import Prices

PAIRS = 1_000
"""(column, item) pairs of a neighborhood at first: with many more, a solve of a few seconds ends at the root node."""

LEAST_PAIRS, MOST_PAIRS, GROWTH = 300, 8_000, 1.4
"""A kind whose solves all end in time is given more pairs, one whose solves are cut short for nothing fewer."""

KINDS = (("regions", 1), ("regions", 2), ("models", 3), ("models", 6), ("models", 12))
"""What is freed together, and how many of it."""

MEMORY = 0.7
"""How much of what a kind earned earlier counts."""


@dataclass
class Neighborhoods:
    """Draws neighborhoods and learns which kinds pay."""

    program: Program
    flat: Flat
    prices: Prices
    rng: random.Random
    earned: list[float] = field(init=False)
    sizes: list[float] = field(init=False)

    def __post_init__(self) -> None:
        names = [group.region for group in self.program.groups]
        self.regions = sorted(set(names))
        place = np.array([self.regions.index(name) for name in names], dtype=np.int64)
        self.region = place[self.flat.group]
        self.pairs = np.diff(self.flat.start)
        self.kinds = [kind for kind in KINDS if kind[0] != "regions" or kind[1] < len(self.regions)]
        self.earned = [float("inf")] * len(self.kinds)
        self.sizes = [float(PAIRS)] * len(self.kinds)

    def draw(self, replicas: Ints) -> tuple[int, list[int]]:
        """(place of its kind, free columns) of the next neighborhood."""
        untried = [i for i, earned in enumerate(self.earned) if earned == float("inf")]
        if untried:
            kind = untried[0]
        else:
            floor = 0.15 * max(self.earned) + 1e-9
            kind = self.rng.choices(range(len(self.kinds)), [max(floor, earned) for earned in self.earned])[0]
        name, count = self.kinds[kind]
        mask = self._regions(replicas, count) if name == "regions" else self._models(replicas, count)
        return kind, self._columns(mask, replicas, self.sizes[kind])

    def learn(self, kind: int, gain: float, seconds: float, *, solved: bool) -> None:
        """Notes what a neighborhood earned, and whether it was solved to the end."""
        if solved:
            self.sizes[kind] = min(MOST_PAIRS, self.sizes[kind] * GROWTH)
        elif not gain:
            self.sizes[kind] = max(LEAST_PAIRS, self.sizes[kind] / GROWTH)
        rate = gain / max(seconds, 1e-3)
        past = self.earned[kind]
        self.earned[kind] = rate if past == float("inf") else MEMORY * past + (1 - MEMORY) * rate

    def _regions(self, replicas: Ints, count: int) -> NDArray[np.bool_]:
        """Columns in a few regions, of the models that run there."""
        chosen = self.rng.sample(range(len(self.regions)), count)
        inside = np.isin(self.region, chosen)
        models = np.unique(self.flat.model[(replicas > 0) & inside])
        mask: NDArray[np.bool_] = inside & np.isin(self.flat.model, models)
        return mask

    def _models(self, replicas: Ints, count: int) -> NDArray[np.bool_]:
        """All columns of a model and of those that share most groups with it."""
        running = np.flatnonzero(replicas)
        first = self.rng.randrange(len(self.flat.models))
        groups = np.unique(self.flat.group[running[self.flat.model[running] == first]])
        there = running[np.isin(self.flat.group[running], groups)]
        shared = np.bincount(self.flat.model[there], minlength=len(self.flat.models)).astype(np.float64)
        shared += np.array([self.rng.random() for _ in self.flat.models])
        shared[first] = np.inf
        mask: NDArray[np.bool_] = np.isin(self.flat.model, np.argsort(-shared)[:count])
        return mask

    def _columns(self, mask: NDArray[np.bool_], replicas: Ints, size: float) -> list[int]:
        """The columns of least slack up to a number of pairs, and those that run."""
        columns = np.flatnonzero(mask & (self.flat.upper > 0))
        columns = columns[np.argsort(self.prices.slack[columns], kind="stable")]
        few = columns[: int(np.searchsorted(np.cumsum(self.pairs[columns]), size)) + 1]
        return sorted({*few.tolist(), *np.flatnonzero(mask & (replicas > 0)).tolist()})
