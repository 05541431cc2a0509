"""A first plan in seconds, class by class: each goes where it adds least to what is bought already.

Good for little but being a plan: replicas are counted up for the loads that they get, nodes are bought for replicas,
the cheapest first. The search improves it, and the exact judge decides whether it is one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from planner.solver.packing import nodes_needed
from planner.solver.program import Program
from planner.solver.scale.flat import Flat, Floats, Ints

ROUNDING = 1e-9
"""Added to loads before they are rounded up to replicas, so that doubles never count one too few."""

IN_BOUGHT_NODES = 0.3
"""What a GPU counts, of its price, where it fits into a node that is bought already."""


def first_plan(
    program: Program, flat: Flat, weights: Sequence[int], lost: Sequence[int] | None = None
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Replicas and nodes, or None where the classes do not fit that simply; `lost` replicas of each column may go."""
    filling = _Filling(program, flat, weights, lost or [0] * len(program.columns))
    if not filling.fill():
        return None
    filling.reach_minima()
    nodes = buy_nodes(program, filling.replicas.tolist(), weights)
    return None if nodes is None else (tuple(filling.replicas.tolist()), nodes)


class _Filling:
    """The plan in the making: loads and replicas by column, GPUs by group."""

    def __init__(self, program: Program, flat: Flat, weights: Sequence[int], lost: Sequence[int]) -> None:
        self.program, self.flat = program, flat
        self.spare = np.array([max(program.spare_replicas, each) for each in lost], dtype=np.int64)
        self.loads = np.zeros((len(program.columns), flat.load.shape[1]))
        self.replicas = np.zeros(len(program.columns), dtype=np.int64)
        self.gpus = np.zeros(len(program.groups), dtype=np.int64)
        self.unit = np.array([group.gpus_per_node for group in program.groups], dtype=np.int64)
        self.most = -self.unit * [group.spare_nodes for group in program.groups]
        self.price = np.full(len(program.groups), np.inf)
        self.tiers: list[list[tuple[float, int]]] = [[] for _ in program.groups]
        for pool, weight in zip(program.pools, weights, strict=True):
            if pool.group is not None and pool.upper:
                self.most[pool.group] += pool.upper * self.unit[pool.group]
                self.tiers[pool.group] += [(0.0, pool.lower), (float(weight), pool.upper - pool.lower)]
        for tiers in self.tiers:
            tiers.sort()
        for g in range(len(program.groups)):
            self._reprice(g)
        self.order = np.argsort(flat.item, kind="stable")
        self.begin = np.searchsorted(flat.item[self.order], np.arange(flat.items + 1))
        self.limited = {limit.model: limit.max_configurations for limit in program.models}
        self.running: dict[str, set[str]] = {}
        self.promised = {(k, c) for limit in program.share_limits for k, c, amount in limit.use if amount > 0}

    def _reprice(self, g: int) -> None:
        """What the next GPU of a group costs."""
        nodes = -(-int(self.gpus[g]) // int(self.unit[g]))
        for weight, count in self.tiers[g]:
            nodes -= count
            if nodes < 0:
                self.price[g] = (weight + 1.0) / self.unit[g]
                return
        self.price[g] = np.inf

    def fill(self) -> bool:
        """Places every demand, those that cost most alone first; a demand that fits nowhere whole is split."""
        flat = self.flat
        rest = np.ones(flat.demands)
        covers: list[list[int]] = [[] for _ in range(flat.items)]
        for k, d in zip(flat.cover_item.tolist(), flat.cover_demand.tolist(), strict=True):
            covers[k].append(d)
        alone = flat.heaviest * flat.gpus[flat.column] * self.price[flat.group[flat.column]]
        least = np.full(flat.items, np.inf)
        np.minimum.at(least, flat.item, alone)
        rows = self.program.demand_rows
        size = [min(float(least[k]) / len(covers[k]) for k in row.items) for row in rows]
        for d in sorted(range(flat.demands), key=lambda d: (-size[d], rows[d].name)):
            while rest[d] > 0:
                offers = [
                    offer
                    for k in rows[d].items
                    if all(rest[e] == rest[d] for e in covers[k])
                    and (offer := self._offer(k, float(rest[d]))) is not None
                ]
                if not offers:
                    return False
                share, _, pair = min(
                    offers, key=lambda offer: (offer[1] / (offer[0] * len(covers[flat.item[offer[2]]])), offer[2])
                )
                self._place(pair, share)
                for e in covers[int(flat.item[pair])]:
                    rest[e] = 0.0 if share == rest[d] and e == d else max(0.0, rest[e] - share)
        return True

    def _offer(self, k: int, share: float) -> tuple[float, float, int] | None:
        """(share that fits, what it adds to the cost, pair) at the best column of an item; whole shares first."""
        pairs = self.order[self.begin[k] : self.begin[k + 1]]
        pairs = self._allowed(k, pairs)
        for part in (share, share / 2, share / 8, share / 64):
            cost = self._cost(pairs, part)
            if len(cost) and np.isfinite(best := cost.min()):
                return part, float(best), int(pairs[int(np.argmin(cost))])
        return None

    def _allowed(self, k: int, pairs: Ints) -> Ints:
        """Pairs that use no promised share, unless there are no others; no more configurations than a model may run."""
        columns = self.program.columns
        if self.promised:
            clean = [p for p in pairs.tolist() if (k, int(self.flat.column[p])) not in self.promised]
            pairs = np.array(clean, dtype=np.int64) if clean else pairs
        model = self.program.items[k].model
        most, running = self.limited.get(model), self.running.get(model, set())
        if most is not None and len(running) >= most:
            pairs = np.array(
                [p for p in pairs.tolist() if columns[self.flat.column[p]].config in running], dtype=np.int64
            )
        return pairs

    def _cost(self, pairs: Ints, share: float) -> Floats:
        """What a share of an item adds to the cost on each of its columns; infinite where it does not fit."""
        flat = self.flat
        columns = flat.column[pairs]
        added = self._needed(pairs, share) - self.replicas[columns]
        groups = flat.group[columns]
        gpus = added * flat.gpus[columns]
        after = self.gpus[groups] + gpus
        bought = -(-self.gpus[groups] // self.unit[groups]) * self.unit[groups]
        counted = np.where(after <= bought, IN_BOUGHT_NODES, 1.0) * gpus
        fits_in = (self.replicas[columns] + added <= flat.upper[columns]) & (after <= self.most[groups])
        # A tie goes to the column that this share fills least: more room is left for the next.
        tie = 1e-6 * flat.heaviest[pairs] * flat.gpus[columns]
        with np.errstate(invalid="ignore"):
            cost: Floats = np.where(fits_in, (counted + tie) * self.price[groups], np.inf)
        return np.where(np.isnan(cost), np.inf, cost)

    def _needed(self, pairs: Ints, share: float) -> Ints:
        columns = self.flat.column[pairs]
        loads = (self.loads[columns] + share * self.flat.load[pairs]).max(axis=1, initial=0.0)
        needed: Ints = np.maximum(1, np.ceil(loads + ROUNDING)).astype(np.int64) + self.spare[columns]
        return np.maximum(needed, self.replicas[columns])

    def _place(self, pair: int, share: float) -> None:
        c = int(self.flat.column[pair])
        count = int(self._needed(np.array([pair]), share)[0])
        self.loads[c] += share * self.flat.load[pair]
        self._set(c, count)

    def _set(self, c: int, count: int) -> None:
        column = self.program.columns[c]
        self.gpus[column.group] += (count - int(self.replicas[c])) * column.gpus
        self.replicas[c] = count
        self.running.setdefault(column.model, set()).add(column.config)
        self._reprice(column.group)

    def reach_minima(self) -> None:
        """Adds replicas to a model's smallest running column until it has as many as it must."""
        for limit in self.program.models:
            running = [
                c for c in np.flatnonzero(self.replicas).tolist() if self.program.columns[c].model == limit.model
            ]
            missing = limit.replicas_min - int(self.replicas[running].sum()) if limit.replicas_min else 0
            for c in sorted(running, key=lambda c: (self.program.columns[c].gpus, c)):
                room = min(missing, int(self.flat.upper[c] - self.replicas[c]))
                if room > 0:
                    self._set(c, int(self.replicas[c]) + room)
                    missing -= room


def buy_nodes(program: Program, replicas: Sequence[int], weights: Sequence[int]) -> tuple[int, ...] | None:
    """The cheapest nodes of each group that hold its replicas; None where its stock does not."""
    running: dict[int, list[tuple[int, int]]] = {}
    for column, count in zip(program.columns, replicas, strict=True):
        if count:
            running.setdefault(column.group, []).append((column.gpus, count))
    nodes = [pool.lower for pool in program.pools]
    for g, used in running.items():
        group = program.groups[g]
        pools = sorted((p for p, pool in enumerate(program.pools) if pool.group == g), key=lambda p: (weights[p], p))
        missing = nodes_needed(used, group.gpus_per_node) + group.spare_nodes - sum(nodes[p] for p in pools)
        for p in pools:
            more = max(0, min(missing, program.pools[p].upper - nodes[p]))
            nodes[p] += more
            missing -= more
        if missing > 0:
            return None
    return tuple(nodes)
