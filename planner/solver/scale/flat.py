"""A program as arrays: one entry for each (column, item) pair, sorted by column, for what must look at all of them.

Only the frame that all programs share is here: demands, load rows, packing by GPUs, stock and node limits. What is left
out (promised shares, spare nodes, replica bounds, patterns) only ever forbids plans, so bounds made from these arrays
hold for the whole program.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from planner.solver.program import Column, Program

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Flat:
    """Arrays of a program.

    Pairs: `column` and `item` of each, `load` its amounts over one replica's capacity, one column a load row. Pairs of
    column c are `start[c]` to `start[c + 1]`. Columns: `group`, `gpus`, `model`, `upper` (0: not usable). Demands:
    `cover_item` and `cover_demand` list which item covers which demand.
    """

    column: Ints
    item: Ints
    load: Floats
    start: Ints
    group: Ints
    gpus: Ints
    model: Ints
    upper: Ints
    models: tuple[str, ...]
    cover_item: Ints
    cover_demand: Ints
    items: int
    demands: int

    @cached_property
    def heaviest(self) -> Floats:
        """Replicas that a whole item takes by its heaviest row."""
        heaviest: Floats = self.load.max(axis=1, initial=0.0)
        return heaviest

    def worth(self, duals: Floats) -> Floats:
        """What each item brings: the duals of the demands that it covers."""
        worth: Floats = np.bincount(self.cover_item, weights=duals[self.cover_demand], minlength=self.items).astype(
            float
        )
        return worth

    def value(self, need: Floats, mix: Floats) -> Floats:
        """At most what one replica of each column can earn: the least of a few fractional knapsacks.

        One for each load row and one for a mix of them, which is what a replica pays with that is full in several.

        Args:
            need: What each pair's item brings when it runs whole on this column; below 0 it stays away.
            mix: For each column the weights of its load rows, which add up to 1.
        """
        columns = len(self.start) - 1
        positive = np.maximum(need, 0.0)
        least: Floats = np.bincount(self.column, weights=positive, minlength=columns).astype(float)
        mixed = (self.load * mix[self.column]).sum(axis=1)
        for row in (*self.load.T, mixed):
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = np.where(row > 0, positive / row, np.inf)
            order = np.lexsort((-ratio, self.column))
            weight = row[order]
            before = np.cumsum(weight) - weight
            before -= np.repeat(before[np.minimum(self.start[:-1], len(before) - 1)], np.diff(self.start))
            with np.errstate(divide="ignore", invalid="ignore"):
                taken = np.where(weight > 0, np.clip((1.0 - before) / weight, 0.0, 1.0), 1.0)
            earned = np.bincount(self.column[order], weights=positive[order] * taken, minlength=columns)
            least = np.minimum(least, earned)
        return least


def flatten(program: Program) -> Flat:
    """The arrays of a program."""
    nodes = [-group.spare_nodes for group in program.groups]
    for pool in program.pools:
        if pool.group is not None:
            nodes[pool.group] += pool.upper
    limits = {m.model: m.replicas_max for m in program.models if m.replicas_max is not None}
    models = tuple(sorted({column.model for column in program.columns}))
    place = {name: index for index, name in enumerate(models)}
    rows = max((len(column.loads) for column in program.columns), default=1)
    columns, items, loads, starts, upper = [], [], [], [0], []
    known: dict[int, tuple[Ints, Floats]] = {}
    for c, column in enumerate(program.columns):
        stock = max(0, nodes[column.group]) * (program.groups[column.group].gpus_per_node // column.gpus)
        upper.append(max(0, min(column.upper, stock, limits.get(column.model, column.upper))))
        # Columns of one configuration on several groups share their load rows: computed once.
        if id(column.loads) not in known:
            known[id(column.loads)] = _loads(column, rows)
        own, load = known[id(column.loads)]
        columns.append(np.full(len(own), c, dtype=np.int64))
        items.append(own)
        loads.append(load)
        starts.append(starts[-1] + len(own))
    cover = [(k, d) for d, demand in enumerate(program.demand_rows) for k in demand.items]
    return Flat(
        column=np.concatenate([np.zeros(0, dtype=np.int64), *columns]),
        item=np.concatenate([np.zeros(0, dtype=np.int64), *items]),
        load=np.concatenate([np.zeros((0, rows)), *loads]),
        start=np.array(starts, dtype=np.int64),
        group=np.array([column.group for column in program.columns], dtype=np.int64),
        gpus=np.array([column.gpus for column in program.columns], dtype=np.int64),
        model=np.array([place[column.model] for column in program.columns], dtype=np.int64),
        upper=np.array(upper, dtype=np.int64),
        models=models,
        cover_item=np.array([k for k, _ in cover], dtype=np.int64),
        cover_demand=np.array([d for _, d in cover], dtype=np.int64),
        items=len(program.items),
        demands=len(program.demand_rows),
    )


def _loads(column: Column, rows: int) -> tuple[Ints, Floats]:
    """The items of a column and their amounts over one replica's capacity, one row each.

    A row that another one implies by asking for more of every item is all zeros, as are rows that a column lacks.
    """
    own = np.array([k for k, _ in column.losses], dtype=np.int64)
    load = np.zeros((len(own), rows))
    for r, row in enumerate(column.loads):
        amounts = dict(row.use)
        load[:, r] = [amounts.get(k, 0) / row.capacity for k in own.tolist()]
    kept: list[int] = []
    for r in sorted(range(rows), key=lambda r: -float(load[:, r].sum())):
        if any((load[:, r] <= load[:, other]).all() for other in kept):
            load[:, r] = 0.0
        else:
            kept.append(r)
    return own, load
