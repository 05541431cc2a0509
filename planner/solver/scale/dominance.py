"""Columns that no plan of a model needs at given prices of GPUs, because others do what they do for no more.

Here a model has GPUs for itself, at prices, so of one configuration on several groups the cheapest stands for all: most
columns fall away. What is compared is whole replicas, so integer plans and relaxations keep an optimum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from planner.solver.program import Program
from planner.solver.scale.flat import Flat, Floats, Ints

COMPARED = 1e-9
"""Loads must be lower by more than doubles can err, relative, before a column counts as dominated."""


def stand_ins(program: Program, flat: Flat, columns: Ints, prices: Floats) -> Ints:
    """For each column of one model the one that stands in for it: itself where none does.

    Cheapest first, so each is compared with those only that nothing stands in for.

    Args:
        program: The program.
        flat: Its arrays.
        columns: Usable columns of one model.
        prices: Of a GPU, by group.
    """
    if _counted(program, columns):
        return columns.copy()
    price = flat.gpus[columns] * prices[flat.group[columns]]
    own = [slice(int(flat.start[c]), int(flat.start[c + 1])) for c in columns.tolist()]
    items = np.unique(np.concatenate([flat.item[pairs] for pairs in own]))
    loads = np.full((len(columns), len(items), flat.load.shape[1]), np.inf)
    for i, pairs in enumerate(own):
        loads[i, np.searchsorted(items, flat.item[pairs])] = flat.load[pairs]
    enough = flat.upper[columns] >= _needed(flat, items, loads)
    found = columns.copy()
    left = np.lexsort((columns, price))
    while len(left):
        one, left = int(left[0]), left[1:]
        if enough[one]:
            replaced = _stands_in(loads, price, one, left)
            found[left[replaced]] = columns[one]
            left = left[~replaced]
    return found


def _needed(flat: Flat, items: Ints, loads: Floats) -> Floats:
    """Replicas of each column that carry all that may run there, each demand by the item that covers it alone.

    Infinite where a demand has no such item: it may then not be possible to move all of it there.
    """
    inside = np.isin(flat.cover_item, items)
    item, demand = flat.cover_item[inside], flat.cover_demand[inside]
    covered = np.bincount(item, minlength=flat.items)
    total = np.zeros((loads.shape[0], loads.shape[2]))
    for d in np.unique(demand).tolist():
        own = item[demand == d]
        able = ~np.isinf(loads[:, np.searchsorted(items, own), 0]).all(axis=1)
        alone = np.searchsorted(items, own[covered[own] == 1])
        load = loads[:, alone].min(axis=1, initial=np.inf)
        total[able] += load[able]
    needed: Floats = np.ceil(total.max(axis=1, initial=0.0) * (1 + COMPARED))
    return needed


def _counted(program: Program, columns: Ints) -> bool:
    """Whether replicas, configurations or promised shares count, so that no column can stand for another."""
    if program.spare_replicas or program.share_limits or not len(columns):
        return True
    model = program.columns[int(columns[0])].model
    return any(
        limit.replicas_min or limit.replicas_max is not None or limit.max_configurations is not None
        for limit in program.models
        if limit.model == model
    )


def _stands_in(loads: Floats, price: Floats, one: int, others: Ints) -> NDArray[np.bool_]:
    """For each of the others whether whole replicas of one, for no more money, carry whatever a replica of it does."""
    count = np.floor(price[others] / max(price[one], 1e-12) * (1 - COMPARED) + 2 * COMPARED)[:, None, None]
    with np.errstate(invalid="ignore"):
        carried = loads[one] <= loads[others] * count * (1 - COMPARED) + 1e-15
        carried |= (count == 1) & (loads[one] <= loads[others])
    carried |= np.isinf(loads[others])
    found: NDArray[np.bool_] = carried.all(axis=(1, 2))
    return found
