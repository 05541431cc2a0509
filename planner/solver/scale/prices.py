"""Prices of demands, GPUs and limits: the linear relaxation of a whole program, solved by column pricing.

The relaxation holds demands, load rows, `f <= y` where a solution breaks it, packing by GPUs, stock and node limits. It
starts with a few columns an item; what the others could earn at its duals (fractional knapsacks, `flat`) says which of
them join, until none does. GLOP keeps its basis between rounds. On 76,000 columns that takes some 5 s, where seven
solves from scratch took 30.

Any demand duals u, GPU prices pi >= 0 and limit prices w >= 0 bound every plan from below (Lagrangian relaxation):

    sum u + sum_c upper[c] * min(0, slack[c]) + sum_p least of z[p] * rest[p] - sum_l w[l] * max[l]
    slack[c] = gpus[c] * pi[group] - most that a replica earns        rest[p] = cost[p] + sum w * amount - unit * pi

`lower_bound` evaluates it in rationals: the floats of the solver decide how good the bound is, never whether it holds.
Source: Dantzig and Wolfe, "Decomposition principle for linear programs", Oper. Res. 8 (1960); Geoffrion, "Lagrangean
relaxation for integer programming", Math. Prog. Study 2 (1974).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from fractions import Fraction
from math import ceil, lcm
from typing import TYPE_CHECKING

import numpy as np

from planner.solver.cuts import column_price
from planner.solver.program import Column, Load, Program
from planner.solver.scale.flat import Flat, Floats, Ints

if TYPE_CHECKING:
    from ortools.math_opt.python import mathopt

STARTING_COLUMNS = 5
"""Columns an item that the relaxation starts with: the cheapest for the item alone."""

STRONG = 1e-6
"""Where a share is above its column's replicas by more than this, the column gets its rows `f <= y`; most never do."""

ROUND_COLUMNS = 4_000
"""Columns that join in one round at most: the one of each model and group that earns most first."""

PRICING_SHARE = 0.5
"""Share of the time that is left for one round of pricing."""

SETTLED_ROUNDS, SETTLED = 3, 0.002
"""Rounds over which the relaxation must move by no more than this share of itself to be good enough for a search."""

DENOMINATOR = 1 << 30
"""Prices become multiples of 1 / DENOMINATOR before a bound is computed from them."""

WEIGHT_SIZE = 1e3
"""Largest weight of a node inside the relaxation: GLOP's tolerances are absolute and meant for numbers of this size."""

MIXED = 1 << 20
"""Weights of a mix of load rows become whole numbers of about this size before a bound rests on them."""

CLEAR = 1e-6
"""Slack, relative to the size of what is compared, that doubles cannot have got wrong."""


@dataclass(frozen=True)
class Prices:
    """Duals of the relaxation: by demand, by group (per GPU) and by node limit; `slack` by column, at these prices.

    `mix` has for each column what its load rows count in what a replica earns.
    """

    demands: Floats
    groups: Floats
    limits: Floats
    slack: Floats
    mix: Floats
    value: float
    complete: bool


@dataclass
class PriceLp:
    """The relaxation with the columns that joined so far."""

    program: Program
    flat: Flat
    weights: Sequence[float]
    joined: Ints = field(init=False)
    solver: mathopt.IncrementalSolver = field(init=False)

    def __post_init__(self) -> None:
        from ortools.math_opt.python import mathopt

        flat, program = self.flat, self.program
        model = mathopt.Model()
        self._model = model
        self._demands = [model.add_linear_constraint(lb=1.0, ub=1.0) for _ in range(flat.demands)]
        self._packing = [model.add_linear_constraint(ub=0.0) for _ in program.groups]
        self._limits = [model.add_linear_constraint(ub=float(limit.max)) for limit in program.node_limits]
        self._scale = max(1, *self.weights) / WEIGHT_SIZE if self.weights else 1.0
        nodes = []
        for pool, weight in zip(program.pools, self.weights, strict=True):
            made = model.add_variable(lb=pool.lower, ub=pool.upper)
            model.objective.set_linear_coefficient(made, weight / self._scale)
            nodes.append(made)
            if pool.group is not None:
                self._packing[pool.group].set_coefficient(made, -float(program.groups[pool.group].gpus_per_node))
        for row, limit in zip(self._limits, program.node_limits, strict=True):
            for p, amount in limit.use:
                row.set_coefficient(nodes[p], float(amount))
        self._loose: list[tuple[mathopt.Variable, mathopt.Variable]] = []
        self._rows: dict[int, list[tuple[int, mathopt.LinearConstraint]]] = {}
        self.joined = np.zeros(len(program.columns), dtype=np.int64)
        self._unserved()
        self._join(self._first())
        self.solver = mathopt.IncrementalSolver(model, mathopt.SolverType.GLOP)

    def _alone(self) -> Floats:
        """What each pair costs when its item runs alone, at the least price of its group's GPUs."""
        price = np.full(len(self.program.groups), np.inf)
        for pool, weight in zip(self.program.pools, self.weights, strict=True):
            if pool.group is not None and pool.upper:
                each = weight / self.program.groups[pool.group].gpus_per_node
                price[pool.group] = min(price[pool.group], each)
        flat = self.flat
        cost = flat.gpus[flat.column] * np.maximum(flat.heaviest, 1.0) * price[flat.group[flat.column]]
        usable: Floats = np.where(flat.upper[flat.column] > 0, cost, np.inf)
        return usable

    def _unserved(self) -> None:
        """Lets a demand go unserved for ten times what it costs alone, so that there is always a solution."""
        least = np.full(self.flat.items, np.inf)
        np.minimum.at(least, self.flat.item, self._alone())
        dear = np.zeros(self.flat.demands)
        cost = least[self.flat.cover_item]
        np.maximum.at(dear, self.flat.cover_demand, np.where(np.isfinite(cost), 10.0 * cost, 0.0))
        for row, price in zip(self._demands, dear.tolist(), strict=True):
            made = self._model.add_variable(lb=0.0)
            row.set_coefficient(made, 1.0)
            self._model.objective.set_linear_coefficient(made, (price + 1.0) / self._scale)

    def _first(self) -> Ints:
        """The cheapest few columns of every item."""
        alone, flat = self._alone(), self.flat
        order = np.lexsort((alone, flat.item))
        order = order[np.isfinite(alone[order])]
        begin = np.searchsorted(flat.item[order], np.arange(flat.items))
        rank = np.arange(len(order)) - begin[flat.item[order]]
        chosen: Ints = np.unique(flat.column[order[rank < STARTING_COLUMNS]])
        return chosen

    def _join(self, columns: Ints) -> None:
        """Adds columns with their load rows; a column of one item needs no replicas of its own."""
        flat, model = self.flat, self._model
        covers: list[list[int]] = [[] for _ in range(flat.items)]
        for k, d in zip(flat.cover_item.tolist(), flat.cover_demand.tolist(), strict=True):
            covers[k].append(d)
        for c in columns.tolist():
            self.joined[c] = 1
            self._rows[c] = []
            pairs = range(flat.start[c], flat.start[c + 1])
            packing, gpus, upper = self._packing[flat.group[c]], float(flat.gpus[c]), float(flat.upper[c])
            single = len(pairs) == 1
            replicas = None if single else model.add_variable(lb=0.0, ub=upper)
            rows = []
            if replicas is not None:
                packing.set_coefficient(replicas, gpus)
                for r in np.flatnonzero(flat.load[pairs.start : pairs.stop].any(axis=0)).tolist():
                    rows.append((r, model.add_linear_constraint(ub=0.0)))
                    rows[-1][1].set_coefficient(replicas, -1.0)
                self._rows[c] = rows
            for p in pairs:
                heaviest = float(flat.load[p].max(initial=0.0))
                share = model.add_variable(lb=0.0)
                for d in covers[int(flat.item[p])]:
                    self._demands[d].set_coefficient(share, 1.0)
                if replicas is None:
                    share.upper_bound = upper / max(1.0, heaviest)
                    packing.set_coefficient(share, gpus * max(1.0, heaviest))
                    continue
                for r, row in rows:
                    row.set_coefficient(share, float(flat.load[p, r]))
                if heaviest < 1.0:
                    self._loose.append((share, replicas))

    def solve(self, left_s: float) -> Prices | None:
        """One round: the duals now; None without any in the time left."""
        from ortools.math_opt.python import mathopt

        parameters = mathopt.SolveParameters(time_limit=timedelta(seconds=max(0.1, left_s)))
        result = self.solver.solve(params=parameters)
        if not result.has_dual_feasible_solution():  # GLOP calls a solution imprecise that HiGHS finds precisely
            result = mathopt.solve(self._model, mathopt.SolverType.HIGHS, params=parameters)
        if not result.has_dual_feasible_solution():
            return None
        duals = result.dual_values()
        demands = self._scale * np.array([duals[row] for row in self._demands])
        groups = self._scale * np.array([max(0.0, -duals[row]) for row in self._packing])
        limits = self._scale * np.array([max(0.0, -duals[row]) for row in self._limits])
        mix = self._mix(duals)
        slack = slacks(self.flat, demands, groups, mix)
        value = self._scale * float(result.objective_value())
        late = np.flatnonzero((slack < -CLEAR * self._size(groups)) & (self.joined == 0) & (self.flat.upper > 0))
        self._join(self._chosen(late, slack))
        broken = self._strengthen(result.variable_values())
        return Prices(demands, groups, limits, slack, mix, value, complete=not len(late) and not broken)

    def _mix(self, duals: Mapping[mathopt.LinearConstraint, float]) -> Floats:
        """What the load rows of each column count: their duals where it joined, else the mean of its model."""
        flat = self.flat
        mix = np.zeros((len(self.program.columns), flat.load.shape[1]))
        for c, rows in self._rows.items():
            for r, row in rows:
                mix[c, r] = max(0.0, -duals.get(row, 0.0))
        mean = np.zeros((len(flat.models), flat.load.shape[1]))
        np.add.at(mean, flat.model, mix)
        empty = mix.sum(axis=1) <= 0.0
        mix[empty] = mean[flat.model[empty]] + 1e-9
        normal: Floats = mix / mix.sum(axis=1, keepdims=True)
        return normal

    def _strengthen(self, found: Mapping[mathopt.Variable, float]) -> bool:
        """Adds `f <= y` where the solution breaks it; whether any was."""
        still = []
        weak = {y for share, y in self._loose if found.get(share, 0.0) > found.get(y, 0.0) + STRONG}
        for share, replicas in self._loose:
            # What joined in this round has no value yet.
            if replicas not in weak or share not in found:
                still.append((share, replicas))
                continue
            strong = self._model.add_linear_constraint(ub=0.0)
            strong.set_coefficient(share, 1.0)
            strong.set_coefficient(replicas, -1.0)
        broken = len(still) < len(self._loose)
        self._loose = still
        return broken

    def _size(self, groups: Floats) -> Floats:
        """What a replica of each column costs at least in the scale of prices: slack is compared with it."""
        return np.maximum(1e-9, self.flat.gpus * groups[self.flat.group]) + 1e-3 * float(groups.max(initial=0.0))

    def _chosen(self, late: Ints, slack: Floats) -> Ints:
        """Of the columns that would earn more than they cost, the best of each model and group first."""
        if len(late) <= ROUND_COLUMNS:
            return late
        place = self.flat.model[late] * len(self.program.groups) + self.flat.group[late]
        order = np.lexsort((slack[late], place))
        first = np.r_[True, np.diff(place[order]) != 0]
        best = late[order[first]]
        return best[np.argsort(slack[best], kind="stable")[:ROUND_COLUMNS]]


def relax(
    program: Program,
    flat: Flat,
    weights: Sequence[float],
    deadline: float,
    tell: Callable[[int], None] = lambda bound: None,
) -> Prices | None:
    """Prices from rounds of pricing, until no column is missing or the bound hardly moves; None without any in time.

    Args:
        program: The program.
        flat: Its arrays.
        weights: What a node of each pool costs.
        deadline: When to stop, on the monotonic clock.
        tell: Told each bound as it rises.
    """
    pricing = PriceLp(program, flat, weights)
    best, highest, values = None, None, [0.0]
    while (left_s := deadline - time.monotonic()) > 0:
        prices = pricing.solve(left_s * PRICING_SHARE)
        if prices is None:
            break
        values.append(prices.value)
        bound = lower_bound(program, weights, prices)
        if highest is None or bound >= highest:
            best, highest = prices, bound
            tell(bound)
        settled = len(values) > SETTLED_ROUNDS and values[-1] - values[-SETTLED_ROUNDS] <= SETTLED * values[-1]
        if prices.complete or (settled and highest >= (1 - SETTLED) * values[-1]):
            break
    return best


def slacks(flat: Flat, demands: Floats, groups: Floats, mix: Floats) -> Floats:
    """What a replica of each column costs beyond the most that it can earn."""
    return flat.gpus * groups[flat.group] - flat.value(flat.worth(demands)[flat.item], mix)


def lower_bound(program: Program, weights: Sequence[float], prices: Prices) -> int:
    """No plan's weighted nodes come below this: the Lagrangian bound at these prices, in rational arithmetic."""
    groups, limits = rational(prices.groups), rational(prices.limits)
    models = model_bounds(program, prices, groups)
    return ceil(free_nodes(program, weights, groups, limits) + sum(models.values(), Fraction(0)))


def model_bounds(program: Program, prices: Prices, groups: Sequence[Fraction]) -> dict[str, Fraction]:
    """What each model pays at least for its GPUs at these prices of groups, from the duals of its demands.

    A column whose slack is positive by far more than doubles can err is not computed again; the others are.
    """
    demands = rational(prices.demands)
    bounds = {column.model: Fraction(0) for column in program.columns}
    worth: dict[int, Fraction] = {}
    for d, row in enumerate(program.demand_rows):
        model = program.items[row.items[0]].model
        bounds[model] = bounds.get(model, Fraction(0)) + demands[d]
        for k in row.items:
            worth[k] = worth.get(k, Fraction(0)) + demands[d]
    size = max(1.0, float(np.abs(prices.demands).max(initial=0.0)), float(prices.groups.max(initial=0.0)))
    for c in np.flatnonzero(prices.slack < CLEAR * size).tolist():
        column = program.columns[c]
        needs = {k: worth[k] for k, _ in column.losses if k in worth}
        mixed = replace(column, loads=(_mixed(column, prices.mix[c].tolist()),))
        earned = min(column_price(column, needs), column_price(mixed, needs))
        slack = column.gpus * groups[column.group] - earned
        bounds[column.model] += column.upper * min(Fraction(0), slack)
    return bounds


def _mixed(column: Column, mix: Sequence[float]) -> Load:
    """The load row that a mix of a column's rows implies, in integers: any weights above 0 make a valid one."""
    weights = [round(weight * MIXED) for weight in mix[: len(column.loads)]]
    common = lcm(*(load.capacity for load in column.loads))
    use: dict[int, int] = {}
    for weight, load in zip(weights, column.loads, strict=True):
        for k, amount in load.use:
            use[k] = use.get(k, 0) + weight * amount * (common // load.capacity)
    return Load("mixed", common * sum(weights), tuple(use.items()))


def free_nodes(
    program: Program, weights: Sequence[float], groups: Sequence[Fraction], limits: Sequence[Fraction]
) -> Fraction:
    """What the nodes cost at least beyond what their GPUs are sold for, less what the node limits allow for nothing."""
    total = Fraction(0)
    rest = [Fraction(weight) for weight in weights]
    for price, limit in zip(limits, program.node_limits, strict=True):
        total -= price * limit.max
        for p, amount in limit.use:
            rest[p] += price * amount
    for p, pool in enumerate(program.pools):
        if pool.group is not None:
            rest[p] -= groups[pool.group] * program.groups[pool.group].gpus_per_node
        total += min(pool.lower * rest[p], pool.upper * rest[p])
    return total


def rational(values: Floats, denominator: int = DENOMINATOR) -> list[Fraction]:
    """Floats as multiples of 1 / denominator."""
    return [Fraction(round(value * denominator), denominator) for value in values.tolist()]
