"""How many nodes of a spot pool can be counted on, and how many must be asked for to count on so many.

Each node is taken to be there for `availability` of the time by itself, so the number there is binomial. What is taken
away together is another matter: `reclaim` plans for that as for any loss.
"""

from __future__ import annotations

from functools import cache
from math import comb

from planner.scenario.types import Pool, SpotTerms
from planner.units import MAX_SPOT_NODES

PPM = 1_000_000


@cache
def counted_on(terms: SpotTerms, nodes: int) -> int:
    """The most nodes k of those asked for that are all there with the confidence asked for; exact.

    max k with sum over j >= k of C(nodes, j) * a^j * (1 - a)^(nodes - j) >= confidence.

    >>> counted_on(SpotTerms(availability_ppm=970_000), 10), counted_on(SpotTerms(availability_ppm=970_000), 1)
    (8, 0)
    """
    if terms.availability_ppm == PPM:
        return nodes
    there, gone = terms.availability_ppm, PPM - terms.availability_ppm
    least, sure = terms.confidence_ppm * PPM**nodes, 0
    for k in range(nodes, 0, -1):
        sure += comb(nodes, k) * there**k * gone ** (nodes - k) * PPM
        if sure >= least:
            return k
    return 0


def counted(pool: Pool, nodes: int) -> int:
    """The nodes of a pool that replicas may stand on, of those that are asked for."""
    return nodes if pool.terms is None or _endless(pool) else counted_on(pool.terms, nodes)


def _endless(pool: Pool) -> bool:
    """Whether it has more nodes than any file may offer: then someone asks what endless stock would allow, and all of
    it counts."""
    return pool.available_nodes > MAX_SPOT_NODES


def most_counted(pool: Pool) -> int:
    """The nodes that can be counted on when all of the pool are asked for."""
    return counted(pool, pool.committed_nodes + pool.available_nodes)


def asked_for(pool: Pool, nodes: int) -> int:
    """The fewest nodes to ask for so that so many can be counted on.

    Raises:
        ValueError: the pool has too few.
    """
    for asked in range(nodes, pool.committed_nodes + pool.available_nodes + 1):
        if counted(pool, asked) >= nodes:
            return asked
    raise ValueError(f"Expected at most {most_counted(pool)} nodes of {pool.name}.")


def steps(pool: Pool) -> tuple[int, ...]:
    """From how many counted nodes on a first, a second, ... node more must be asked for.

    A node more that is asked for adds one at most to what is counted on, so the steps never go down.
    """
    if pool.terms is None or _endless(pool):
        return ()
    found, known = [], 0
    for asked in range(1, pool.committed_nodes + pool.available_nodes + 1):
        if counted(pool, asked) == known:
            found.append(known + 1)
        known = counted(pool, asked)
    return tuple(step for step in found if step <= known)
