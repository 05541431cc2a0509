"""Exact packing of replicas into nodes: which sizes share a node, and how many nodes a set of replicas needs.

A replica lives inside one node. When the sizes form a divisibility chain and each divides the node, GPUs can be
counted: a set fits as soon as its GPUs do (larger replicas first leave only gaps that smaller ones fill). Otherwise
node *patterns*, the maximal ways of filling one node, decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import ceil


def counts_suffice(sizes: Iterable[int], gpus_per_node: int) -> bool:
    """Whether counting GPUs is exact: sizes divide each other in order, and each divides the node.

    >>> counts_suffice([1, 2, 8], 8), counts_suffice([3], 4), counts_suffice([2, 3], 6)
    (True, False, False)
    """
    ordered = sorted(set(sizes))
    return all(gpus_per_node % size == 0 for size in ordered) and all(b % a == 0 for a, b in pairwise(ordered))


def patterns(sizes: Iterable[int], gpus_per_node: int) -> list[tuple[int, ...]]:
    """The maximal fillings of one node: for each the number of replicas per size, sizes in increasing order.

    >>> patterns([2, 3], 8)
    [(4, 0), (2, 1), (1, 2)]
    """
    ordered = sorted(set(sizes))
    found: list[tuple[int, ...]] = []

    def fill(index: int, free: int, chosen: tuple[int, ...]) -> None:
        if index < 0:
            if free < ordered[0]:
                found.append(chosen)
            return
        for count in range(free // ordered[index] + 1):
            fill(index - 1, free - count * ordered[index], (count, *chosen))

    if ordered:
        fill(len(ordered) - 1, gpus_per_node, ())
    maximal = [p for p in found if not any(p != q and all(a <= b for a, b in zip(p, q, strict=True)) for q in found)]
    return sorted(maximal, key=lambda pattern: pattern[::-1])


def fits(sizes_and_counts: Iterable[tuple[int, int]], gpus_per_node: int, nodes: int) -> bool:
    """Whether the replicas, given as (GPUs of one replica, count), fit into `nodes` nodes; exact.

    >>> fits([(3, 2)], gpus_per_node=4, nodes=1), fits([(3, 2)], gpus_per_node=4, nodes=2)
    (False, True)
    """
    counts: dict[int, int] = {}
    for size, count in sizes_and_counts:
        if count > 0:
            counts[size] = counts.get(size, 0) + count
    if not counts:
        return nodes >= 0
    gpus = sum(size * count for size, count in counts.items())
    if max(counts) > gpus_per_node or gpus > nodes * gpus_per_node:
        return False
    sizes = tuple(sorted(counts))
    if counts_suffice(sizes, gpus_per_node) or _first_fit_decreasing(counts, gpus_per_node) <= nodes:
        return True
    return _reachable(tuple(counts[size] for size in sizes), sizes, gpus_per_node, nodes)


def nodes_needed(sizes_and_counts: Sequence[tuple[int, int]], gpus_per_node: int) -> int:
    """The least nodes that hold the replicas, given as (GPUs of one replica, count).

    >>> nodes_needed([(3, 2)], gpus_per_node=4)
    2
    """
    needed = ceil(sum(gpus * count for gpus, count in sizes_and_counts) / gpus_per_node)
    while not fits(sizes_and_counts, gpus_per_node, needed):
        needed += 1
    return needed


def _first_fit_decreasing(counts: dict[int, int], gpus_per_node: int) -> int:
    """Nodes that first-fit decreasing uses: an upper bound on what is needed."""
    free: list[int] = []
    for size in sorted(counts, reverse=True):
        start = 0
        for _ in range(counts[size]):
            while start < len(free) and free[start] < size:
                start += 1
            if start == len(free):
                free.append(gpus_per_node)
            free[start] -= size
    return len(free)


def _reachable(counts: tuple[int, ...], sizes: tuple[int, ...], gpus_per_node: int, nodes: int) -> bool:
    """Whether `nodes` maximal fillings cover the counts: breadth first over what is left, the largest size first."""
    fillings = patterns(sizes, gpus_per_node)
    frontier = {counts}
    for used in range(nodes):
        following: set[tuple[int, ...]] = set()
        for left in frontier:
            largest = max(index for index, count in enumerate(left) if count)
            for filling in fillings:
                if filling[largest]:
                    rest = tuple(max(0, a - b) for a, b in zip(left, filling, strict=True))
                    if not any(rest):
                        return True
                    gpus = sum(a * b for a, b in zip(rest, sizes, strict=True))
                    if gpus <= (nodes - used - 1) * gpus_per_node:
                        following.add(rest)
        frontier = following
    return False
