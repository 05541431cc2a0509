"""The search: a first plan, prices, then neighborhoods for the plan and models for the bound until time is over.

Plans are improved in this process while a second one sharpens the bound (`worker`), where there is a second core; else
both take turns. Each accepted plan has passed the exact judge; the bound is exact but for the integer programs of
single models, whose proved bounds are lowered by what floats may have cost (`mathopt`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from planner.solver.exact import FarkasCut, broken_integer_rows, route
from planner.solver.hints import integer_hint
from planner.solver.master import build
from planner.solver.mathopt import MathOpt
from planner.solver.program import Program
from planner.solver.progress import Step
from planner.solver.scale.adopt import Adopter, Plan
from planner.solver.scale.apart import models_apart, next_gpu, own_plan
from planner.solver.scale.flat import Flat, flatten
from planner.solver.scale.neighborhoods import Neighborhoods
from planner.solver.scale.part import part_of
from planner.solver.scale.prices import Prices, lower_bound, relax
from planner.solver.scale.start import first_plan
from planner.solver.scale.worker import Sharpener

APART_PAIRS = 400_000
"""(column, item) pairs from which on models are priced apart: the relaxation of 2,000,000 takes minutes a round."""

ROUND_S = 6.0
"""Seconds for one neighborhood."""


WISHES_SHARE, LEAST_S = 0.4, 0.5
"""Share of the time in which models priced apart say what they would run, and the least seconds of one."""


@dataclass
class Search:
    """The best plan and bound so far, for nodes weighted by the first objective."""

    program: Program
    weights: Sequence[int]
    objective: str
    deadline: float
    tell: Callable[[Step], None]
    seed: int = 0
    plan: Plan | None = None
    bound: int | None = None
    by: str = ""
    flat: Flat = field(init=False)
    _adopter: Adopter | None = None
    _few: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.flat = flatten(self.program)

    @property
    def value(self) -> int | None:
        """What the best plan costs."""
        return None if self.plan is None else self._value(self.plan)

    @property
    def closed(self) -> bool:
        """Whether the bound proves the plan."""
        return self.value is not None and self.bound is not None and self.bound >= self.value

    def run(self) -> None:
        """Searches until the deadline, or until the bound meets the plan."""
        start = first_plan(self.program, self.flat, self.weights)
        if start is not None:
            self._accept(start, self.program)
        prices = self._price()
        if prices is None or self.closed:
            return
        if self.plan is None:
            self._from_prices(prices)
        if self.plan is not None:
            self._improve(prices)

    def left_s(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def _price(self) -> Prices | None:
        """The prices of the relaxation, or of each model's own, or the last ones before time was over."""
        if self.plan is None or len(self.flat.column) <= APART_PAIRS:
            return relax(
                self.program,
                self.flat,
                self.weights,
                self.deadline,
                lambda bound: self._raise_bound(bound, "linear relaxation"),
            )
        groups = next_gpu(self.program, self.weights, self.plan[1])
        prices, self._few = models_apart(self.program, self.flat, groups, self.deadline)
        self._raise_bound(lower_bound(self.program, self.weights, prices), "relaxations of models")
        return prices

    def _wishes(self, prices: Prices) -> dict[str, dict[int, int]]:
        """What each model would run at common prices, if there were no others."""
        wanted: dict[str, dict[int, int]] = {}
        limit_s = max(LEAST_S, WISHES_SHARE * self.left_s() / max(1, len(self._few)))
        until = time.monotonic() + WISHES_SHARE * self.left_s()
        for model, columns in self._few.items():
            if time.monotonic() > until:
                break
            found = own_plan(self.program, columns, prices.groups, limit_s)
            if found:
                wanted[model] = found
        return wanted

    def _from_prices(self, prices: Prices) -> None:
        """Looks for a first plan on the columns of least slack, with more of them each time."""
        order = np.argsort(prices.slack + 1e12 * (self.flat.upper == 0), kind="stable")
        nothing = ((0,) * len(self.program.columns), tuple(pool.lower for pool in self.program.pools))
        for count in (2_000, 6_000, 20_000):
            if self.left_s() <= 0 or self.plan is not None:
                return
            usable = [c for c in order[:count].tolist() if self.flat.upper[c] > 0]
            self._solve(usable, nothing, max(1.0, self.left_s() / 3))

    def _improve(self, prices: Prices) -> None:
        """Neighborhoods here, the bound elsewhere, until time is over."""
        assert self.plan is not None
        # The same seed draws the same neighborhoods; what they find depends on the clock.
        around = Neighborhoods(self.program, self.flat, prices, random.Random(self.seed))  # noqa: S311 (a search, no secret)
        with Sharpener(self.program, self.flat, self.weights, prices, self.plan[0], self.left_s()) as sharpener:
            wanted = self._wishes(prices)
            if wanted and self._adopt(wanted):
                wanted = {}
            while self.left_s() > 0 and not self.closed:
                before, start = self._value(self.plan), time.monotonic()
                kind, free = around.draw(np.array(self.plan[0], dtype=np.int64))
                solved = self._solve(free, self.plan, min(ROUND_S, self.left_s()))
                gain = before - self._value(self.plan)
                around.learn(kind, gain, time.monotonic() - start, solved=solved)
                news = sharpener.news(self.plan[0], self.left_s())
                for each in news:
                    self._raise_bound(each.bound, "models at common prices")
                    if each.replicas:
                        wanted[each.model] = each.replicas
                if news and wanted and self._adopt(wanted):
                    wanted = {}

    def _adopt(self, wanted: Mapping[str, Mapping[int, int]]) -> bool:
        """Takes what models would rather run at common prices, if together that makes the whole cheaper.

        One model alone seldom empties a node; what many of them give up does.
        """
        assert self.plan is not None
        if self._adopter is None:
            self._adopter = Adopter(self.program, self.weights)
        found = self._adopter.exchanged(self.plan, wanted)
        if found is None:
            return False
        part, inside = found
        whole = part.merged(*inside, self.plan)
        return self._value(whole) < self._value(self.plan) and self._accept(whole, part.program, inside)

    def _solve(self, free: list[int], plan: Plan, limit_s: float) -> bool:
        """Solves the part in which some columns are free; a plan that is no worse and passes the judge is taken.

        Returns:
            Whether the part was solved to the end.
        """
        part = part_of(self.program, free, *plan)
        master = build(part.program, with_loss=False)
        part.settle(master)
        fixed = [part.fixed[i] for i in range(len(part.columns), len(part.program.columns))]
        hint = integer_hint(
            part.program, master, [*(plan[0][c] for c in part.columns), *fixed], [plan[1][p] for p in part.pools]
        )
        terms = tuple((v, self.weights[p]) for p, v in zip(part.pools, master.nodes, strict=True) if self.weights[p])
        answer = MathOpt(master, seed=self.seed).minimize(terms, hint=hint, time_limit_s=limit_s)
        if not answer.values:
            return False
        replicas = tuple(
            answer.values[master.replicas[c]] if c in master.replicas else 0 for c in range(len(part.program.columns))
        )
        nodes = tuple(answer.values[v] for v in master.nodes)
        whole = part.merged(replicas, nodes, plan)
        if self.plan is None or self._value(whole) <= self._value(self.plan):
            self._accept(whole, part.program, (replicas, nodes))
        return answer.status == "optimal"

    def _accept(self, plan: Plan, program: Program, inside: Plan | None = None) -> bool:
        """Takes a plan if the judge accepts what changed in it."""
        replicas, nodes = inside or plan
        if broken_integer_rows(program, replicas, nodes):
            return False
        if isinstance(route(program, replicas, minimize_loss=False, smallest=False), FarkasCut):
            return False
        better = self.plan is None or self._value(plan) < self._value(self.plan)
        self.plan = plan
        if better:
            self._tell()
        return True

    def _raise_bound(self, bound: int, by: str) -> None:
        committed = sum(pool.lower * weight for pool, weight in zip(self.program.pools, self.weights, strict=True))
        if bound > (committed if self.bound is None else self.bound):
            self.bound, self.by = bound, by
            self._tell()

    def _tell(self) -> None:
        self.tell(Step(self.objective, self.value, self.bound, self.by))

    def _value(self, plan: Plan) -> int:
        return sum(count * weight for count, weight in zip(plan[1], self.weights, strict=True))
