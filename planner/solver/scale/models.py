"""Bounds model by model: what each needs at least in whole replicas, at common prices of GPUs.

With packing and node limits sold at prices (`prices`), models no longer meet: the bound is the sum of one small integer
program a model, plus what the nodes cost beyond their GPUs. It sees the rounding to whole replicas inside models, which
is most of what the linear relaxation misses. A column stays out of a model's program

- if no plan of the model that is better than a known one can use it: its slack at the prices is above what the known
  plan costs beyond the bound (bundle fixing), or
- if another one, or several replicas of it, does all that it does for no more, and has stock for all of the model.

Both leave an optimum in. A program that is not solved in time counts with the bound that was proved.
Source: Geoffrion (1974), as in `prices`; Savelsbergh, "Preprocessing and probing", ORSA J. Comput. 6 (1994).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import ceil

import numpy as np

from planner.solver.hints import integer_hint
from planner.solver.master import build
from planner.solver.mathopt import MathOpt
from planner.solver.program import Program
from planner.solver.scale.dominance import COMPARED, stand_ins
from planner.solver.scale.flat import Flat
from planner.solver.scale.part import model_part
from planner.solver.scale.prices import Prices, free_nodes, model_bounds, rational

PRICE_SIZE = 1 << 24
"""Largest price after scaling to integers: fine enough that rounding costs the bound nothing that shows."""


class ModelBounds:
    """The bound, sharpened one model at a time."""

    def __init__(self, program: Program, flat: Flat, weights: Sequence[int], prices: Prices) -> None:
        self.program, self.flat = program, flat
        highest = float(prices.groups.max(initial=0.0))
        self.scale = 1 << max(0, (PRICE_SIZE // max(1, ceil(highest))).bit_length() - 1)
        self.groups = rational(prices.groups, self.scale)
        self._price = np.array([float(price) for price in self.groups])
        self.slack = prices.slack + flat.gpus * (self._price - prices.groups)[flat.group]
        self.rest = free_nodes(program, weights, self.groups, rational(prices.limits))
        self.models = model_bounds(program, replace(prices, groups=self._price, slack=self.slack), self.groups)
        self.relaxed = dict(self.models)
        self.closed: set[str] = set()

    @property
    def value(self) -> int:
        """No plan's weighted nodes come below this."""
        return ceil(self.rest + sum(self.models.values(), Fraction(0)))

    def pays(self, replicas: Sequence[int]) -> dict[str, Fraction]:
        """What each model's replicas cost at the prices."""
        paid = dict.fromkeys(self.models, Fraction(0))
        for c, count in enumerate(replicas):
            if count:
                column = self.program.columns[c]
                paid[column.model] += count * column.gpus * self.groups[column.group]
        return paid

    def sharpen(self, model: str, replicas: Sequence[int], limit_s: float) -> dict[int, int]:
        """Solves one model's program, from what the model runs in a plan that is known.

        Returns:
            Replicas by column that cost less at the prices than those that are known; empty where none were found.
        """
        own = np.flatnonzero((self.flat.model == self.flat.models.index(model)) & (self.flat.upper > 0))
        known = self.pays(replicas)[model]
        room = float(known - self.relaxed[model]) * (1 + COMPARED) + COMPARED
        own = own[self.slack[own] <= room]
        columns = np.unique(stand_ins(self.program, self.flat, own, self._price)).tolist()
        sub = model_part(self.program, columns)
        master = build(sub, with_loss=False)
        terms = tuple(
            (v, int(sub.columns[c].gpus * self.groups[sub.columns[c].group] * self.scale))
            for c, v in master.replicas.items()
        )
        now = [replicas[c] for c in columns]
        hint = integer_hint(sub, master, now, [pool.upper for pool in sub.pools])
        answer = MathOpt(master, seed=0).minimize(terms, hint=hint, time_limit_s=limit_s)
        if answer.status == "infeasible":  # nothing is cheaper than the plan that is known
            self.models[model] = max(self.models[model], known)
        elif answer.bound is not None:
            self.models[model] = max(self.models[model], min(known, Fraction(answer.bound, self.scale)))
        if answer.status in ("optimal", "infeasible"):
            self.closed.add(model)
        if not answer.values or Fraction(sum(a * answer.values[v] for v, a in terms), self.scale) >= known:
            return {}
        return {columns[c]: count for c, v in master.replicas.items() if (count := answer.values[v])}
