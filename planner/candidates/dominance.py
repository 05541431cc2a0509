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
    highest = rows.max(axis=1)
    left = np.lexsort((np.arange(len(rows)), highest.sum(axis=1), gpus))
    kept: list[int] = []
    # None is replaced by one that comes later in this order, so what is first stays.
    while len(left):
        kept.append(int(left[0]))
        one, left = kept[-1], left[1:]
        left = left[~_stands_in(one, left, rows, highest, extras, gpus, counts_replicas)]
    return np.array(sorted(kept), dtype=np.int64)


def _stands_in(
    one: int,
    others: NDArray[np.int64],
    rows: NDArray[np.float64],
    highest: NDArray[np.float64],
    extras: NDArray[np.float64],
    gpus: NDArray[np.int64],
    counts_replicas: bool,
) -> NDArray[np.bool_]:
    """For each of the others whether replicas of `one` on no more GPUs do all that it does.

    The highest loads are compared first: few are left whose rows have to be.
    """
    replicas = gpus[others] // gpus[one]
    found: NDArray[np.bool_] = (highest[one] <= np.minimum(highest[others] * replicas[:, None], NOT_ELIGIBLE)).all(
        axis=1
    )
    found &= (extras[one] <= extras[others]).all(axis=1)
    if counts_replicas:
        found &= gpus[others] == gpus[one]
    places = np.flatnonzero(found)
    mine = np.minimum(rows[others[places]] * replicas[places, None, None], NOT_ELIGIBLE)[:, None]
    theirs = rows[one][None, :, None]
    implied = (theirs <= mine).all(axis=3).any(axis=2)
    implied |= (theirs + ROUNDING <= _averages(mine)).all(axis=3).any(axis=2)
    found[places] = implied.all(axis=1)
    return found


def _averages(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Averages of any two rows (axis 2) at a few weights: what satisfies both satisfies them too."""
    count = rows.shape[2]
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    parts = [w * rows[:, :, i] + (1 - w) * rows[:, :, j] for i, j in pairs for w in AVERAGES]
    return np.stack(parts, axis=2) if parts else rows
