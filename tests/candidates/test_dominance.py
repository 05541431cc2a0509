"""Dominance drops only candidates that another one can always stand in for."""

import numpy as np
import pytest
from scipy.optimize import linprog

from planner.candidates.dominance import NOT_ELIGIBLE, frontier


def keep(rows, extras=None, gpus=None, counts_replicas=False):
    """The kept indices of a small table."""
    rows = np.array(rows, dtype=float)
    extras = np.zeros((len(rows), 1)) if extras is None else np.array(extras, dtype=float)
    gpus = np.ones(len(rows), dtype=np.int64) if gpus is None else np.array(gpus, dtype=np.int64)
    return list(frontier(rows, extras, gpus, counts_replicas=counts_replicas))


def test_a_candidate_that_is_better_in_every_row_wins() -> None:
    """The plain case: less load on every row for every item."""
    assert keep([[[2.0, 2.0], [1.0, 1.0]], [[1.0, 1.5], [0.5, 1.0]]]) == [1]


def test_two_classes_that_load_different_rows_keep_both() -> None:
    """One summed capacity would call these equal; each is better for one class, so both stay."""
    assert keep([[[1.0, 0.1], [0.1, 1.0]], [[0.1, 1.0], [1.0, 0.1]]]) == [0]
    assert keep([[[1.0, 0.1], [0.1, 2.0]], [[2.0, 0.1], [0.1, 1.0]]]) == [0, 1]


def test_a_row_that_cannot_bind_keeps_nobody_alive() -> None:
    """The second candidate has less KV, but its KV row and the first one's are below GPU time for every item."""
    assert keep([[[1.0, 1.0], [0.9, 0.9]], [[1.1, 1.1], [0.1, 0.1]]]) == [0]


def test_an_average_of_two_rows_counts() -> None:
    """No single row of the second implies [1.5, 1.5], their average does."""
    assert keep([[[1.5, 1.5], [1.5, 1.5]], [[1.0, 2.1], [2.1, 1.0]]]) == [0]


def test_an_item_that_may_not_run_is_not_served_for_free() -> None:
    """A candidate that cannot serve an item never replaces one that can."""
    assert keep([[[1.0, NOT_ELIGIBLE], [1.0, NOT_ELIGIBLE]], [[2.0, 9.0], [2.0, 9.0]]]) == [0, 1]


def test_worse_extras_keep_a_candidate() -> None:
    """Fewer rejections or less quality loss is a reason to stay, whatever the loads."""
    assert keep([[[1.0], [1.0]], [[3.0], [3.0]]], extras=[[0.2], [0.0]]) == [0, 1]
    assert keep([[[1.0], [1.0]], [[3.0], [3.0]]], extras=[[0.0], [0.2]]) == [0]


@pytest.mark.parametrize(("counts_replicas", "kept"), [(False, [0]), (True, [0, 1])])
def test_small_replicas_replace_large_ones_unless_replicas_are_counted(counts_replicas: bool, kept: list[int]) -> None:
    """Two replicas of 1 GPU carry what one of 2 GPUs does; with spare replicas the counts would differ."""
    assert keep([[[1.0], [1.0]], [[0.6], [0.6]]], gpus=[1, 2], counts_replicas=counts_replicas) == kept


def test_a_large_replica_never_replaces_a_small_one() -> None:
    """Half a replica cannot be bought."""
    assert keep([[[1.0], [1.0]], [[0.1], [0.1]]], gpus=[1, 2]) == [0, 1]


@pytest.mark.parametrize("seed", range(40))
def test_every_dropped_candidate_is_implied_by_a_kept_one(seed: int) -> None:
    """Oracle: whatever traffic fits the dropped candidate fits one kept candidate, by linear programming."""
    random = np.random.default_rng(seed)
    rows = random.integers(1, 8, size=(14, 3, 2)) / 4
    rows[random.random(14) < 0.2, :, 0] = NOT_ELIGIBLE
    gpus = random.choice([1, 2, 4], size=14)
    kept = keep(rows, gpus=gpus)
    assert 1 <= len(kept) < 14 or seed not in range(5)
    for index in set(range(14)) - set(kept):
        assert any(stands_in(rows, gpus, other, index) for other in kept)


def stands_in(rows, gpus, other: int, index: int) -> bool:
    """Whether max of each row of `other` over the traffic that `index` carries is at most 1 per replica."""
    copies = gpus[index] // gpus[other]
    if not copies:
        return False
    can = rows[index, 0] < NOT_ELIGIBLE
    if (rows[other, 0][can] >= NOT_ELIGIBLE).any():
        return False
    for row in rows[other]:
        most = linprog(-row[can], A_ub=rows[index][:, can], b_ub=np.ones(3), bounds=(0, None), method="highs")
        if -most.fun > copies + 1e-9:
            return False
    return True
