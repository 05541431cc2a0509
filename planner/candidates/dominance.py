"""Exact dominance: drop a candidate when another one can always stand in for it.

c' replaces c (which has at least as many GPUs) when every row of c' is implied by the rows of c, one of them or an
average of two: whatever traffic satisfies c then also satisfies floor(gpus_c / gpus_c') replicas of c'. Rows that
cannot bind (a KV row below the GPU-time row for every item) therefore never keep a candidate alive. Comparing one
summed capacity instead would be wrong: two classes that load different rows break it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NOT_ELIGIBLE = 1e30
"""Load of an item that a candidate may not serve: above every real load, and finite so that sums stay ordered."""


AVERAGES = (0.25, 0.5, 0.75)
ROUNDING = 4e-12
"""Averages must win by more than what rounding loads up to integers (once, by less than 1e-12) can take back."""


def frontier(
    rows: NDArray[np.float64],
    extras: NDArray[np.float64],
    gpus: NDArray[np.int64],
    *,
    counts_replicas: bool,
) -> NDArray[np.int64]:
    """Indices of the candidates that no other one dominates, in the order given.

    Args:
        rows: loads, shape (candidates, rows, items); NOT_ELIGIBLE where an item may not run.
        extras: what must not be worse either (shares rejected and cut, quality loss), shape (candidates, extras).
        gpus: GPUs of a replica, shape (candidates,).
        counts_replicas: whether the program counts replicas (spare replicas, minima, configurations); then only
            candidates with the same number of GPUs are compared.
    """
    count = len(rows)
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    worst = rows.max(axis=1).sum(axis=1)
    order = np.lexsort((np.arange(count), worst, gpus))
    kept: list[int] = []
    for index in order:
        if not _dominated(int(index), kept, rows, extras, gpus, counts_replicas):
            kept.append(int(index))
    return np.array(sorted(kept), dtype=np.int64)


def _dominated(
    index: int,
    kept: list[int],
    rows: NDArray[np.float64],
    extras: NDArray[np.float64],
    gpus: NDArray[np.int64],
    counts_replicas: bool,
) -> bool:
    if not kept:
        return False
    others = np.array(kept)
    if counts_replicas:
        others = others[gpus[others] == gpus[index]]
    others = others[(extras[others] <= extras[index]).all(axis=1)]
    if not len(others):
        return False
    replicas = (gpus[index] // gpus[others])[:, None, None, None]
    mine = np.where(rows[index] >= NOT_ELIGIBLE, NOT_ELIGIBLE, rows[index])[None, None, :, :] * replicas
    mine = np.minimum(mine, NOT_ELIGIBLE)
    theirs = rows[others][:, :, None, :]
    implied = (theirs <= mine).all(axis=3).any(axis=2)
    if not implied.all(axis=1).any():
        implied |= (theirs + ROUNDING <= _averages(mine)).all(axis=3).any(axis=2)
    return bool(implied.all(axis=1).any())


def _averages(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Averages of any two rows (axis 2) at a few weights: what satisfies both satisfies them too."""
    count = rows.shape[2]
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    parts = [w * rows[:, :, i] + (1 - w) * rows[:, :, j] for i, j in pairs for w in AVERAGES]
    return np.stack(parts, axis=2) if parts else rows
