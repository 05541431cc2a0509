"""Prices model by model, where the relaxation of the whole takes too long to solve.

Models meet in the nodes alone. At given prices of GPUs each has a relaxation of its own, a few hundred times smaller,
and the sum of their values is a bound (`prices`) whatever the prices are. They come from a plan that is known: a GPU is
worth what the next one costs, in its group or in another one that runs the same configurations. How near that comes to
the best prices decides how good the bound is, never whether it holds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import numpy as np

from planner.solver.master import build
from planner.solver.mathopt import MathOpt
from planner.solver.program import PoolNodes, Program
from planner.solver.scale.dominance import stand_ins
from planner.solver.scale.flat import Flat, Floats, flatten
from planner.solver.scale.part import model_part
from planner.solver.scale.prices import PriceLp, Prices, slacks

FEW_PAIRS, NEAR = 300, 0.01
"""(column, item) pairs of a model's first program of whole replicas, and the gap to which it is solved."""

PRICE_SIZE = 1 << 20
"""Largest price of a GPU in that program."""

ROUNDS = 60
"""Rounds of pricing for one model: most need fewer than ten."""


def next_gpu(program: Program, weights: Sequence[int], nodes: Sequence[int]) -> Floats:
    """What one more GPU of each group costs beyond a plan's nodes, or in another group that would do as well."""
    first, following = (np.full(len(program.groups), np.inf) for _ in range(2))
    for pool, weight, count in zip(program.pools, weights, nodes, strict=True):
        if pool.group is not None and pool.upper:
            each = weight / program.groups[pool.group].gpus_per_node
            first[pool.group] = min(first[pool.group], each)
            if count < pool.upper:
                following[pool.group] = min(following[pool.group], each)
    least = _least_of_kin(program, following)
    price = np.minimum(following, np.maximum(least, first))
    dearest = float(price[np.isfinite(price)].max(initial=1.0))
    found: Floats = np.where(np.isfinite(price), price, dearest)
    return found


def _least_of_kin(program: Program, price: Floats) -> Floats:
    """The least price among the groups that run the same configurations as each group."""
    groups: dict[str, set[int]] = {}
    for column in program.columns:
        groups.setdefault(column.config, set()).add(column.group)
    least = price.copy()
    for kin in {frozenset(each) for each in groups.values()}:
        places = sorted(kin)
        least[places] = np.minimum(least[places], price[places].min())
    return least


def models_apart(program: Program, flat: Flat, groups: Floats, deadline: float) -> tuple[Prices, dict[str, list[int]]]:
    """Duals of every model's own relaxation at these prices of GPUs, and for each its columns of least slack.

    A model that has no time left counts as if its demands were worth nothing, which bounds plans too.
    """
    columns_of: dict[str, list[int]] = {}
    demands = np.zeros(flat.demands)
    mix = np.zeros((len(program.columns), flat.load.shape[1]))
    mix[:, 0] = 1.0
    rows: dict[str, list[int]] = {}
    for d, row in enumerate(program.demand_rows):
        rows.setdefault(program.items[row.items[0]].model, []).append(d)
    for place, model in enumerate(flat.models):
        usable = np.flatnonzero((flat.model == place) & (flat.upper > 0))
        by = stand_ins(program, flat, usable, groups)
        columns = np.unique(by)
        own, weights = _sold(program, columns.tolist(), groups)
        prices = _relaxed(own, weights, deadline)
        if prices is None:
            break
        columns_of[model] = columns[_least_slack(own, prices)].tolist()
        demands[rows.get(model, [])] = prices.demands
        # At the mix of the column that stands in for it, another one earns no more than it costs either.
        mix[usable, : prices.mix.shape[1]] = prices.mix[np.searchsorted(columns, by)]
    slack = slacks(flat, demands, groups, mix)
    limits = np.zeros(len(program.node_limits))
    return Prices(demands, groups, limits, slack, mix, value=0.0, complete=False), columns_of


def _relaxed(program: Program, weights: Sequence[float], deadline: float) -> Prices | None:
    """The prices of a model's relaxation once no column is missing, or after so many rounds."""
    pricing = PriceLp(program, flatten(program), weights)
    prices = None
    for _ in range(ROUNDS):
        if (left_s := deadline - time.monotonic()) <= 0:
            return None
        prices = pricing.solve(left_s)
        if prices is None or prices.complete:
            break
    return prices


def _least_slack(program: Program, prices: Prices) -> list[int]:
    """The columns of least slack, up to a number of (column, item) pairs."""
    order = np.argsort(prices.slack, kind="stable").tolist()
    pairs = np.cumsum([len(program.columns[c].losses) for c in order])
    return sorted(order[: int(np.searchsorted(pairs, FEW_PAIRS)) + 1])


def own_plan(program: Program, columns: Sequence[int], groups: Floats, limit_s: float) -> dict[int, int]:
    """What a model runs on these columns where GPUs are sold at prices, near enough to the best; empty if unknown."""
    own, _ = _sold(program, columns, groups)
    master = build(own, with_loss=False)
    scale = PRICE_SIZE / float(groups.max(initial=1.0))
    terms = tuple(
        (v, ceil(scale * float(groups[own.columns[c].group]) * own.columns[c].gpus)) for c, v in master.replicas.items()
    )
    answer = MathOpt(master, seed=0).minimize(terms, hint=None, time_limit_s=limit_s, gap=NEAR)
    return {columns[c]: count for c, v in master.replicas.items() if answer.values and (count := answer.values[v])}


def _sold(program: Program, columns: Sequence[int], groups: Floats) -> tuple[Program, list[float]]:
    """A model's program where GPUs are sold at prices, as far as there are any, with the prices of nodes."""
    nodes = [0] * len(program.groups)
    for pool in program.pools:
        if pool.group is not None:
            nodes[pool.group] += pool.upper
    pools = tuple(PoolNodes(group.name, g, 0, nodes[g], 0) for g, group in enumerate(program.groups))
    weights = [price * group.gpus_per_node for price, group in zip(groups.tolist(), program.groups, strict=True)]
    return replace(model_part(program, columns), pools=pools), weights
