"""What differs between two plans over time and after losses, as sentences: nodes, purchases, money, traffic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction

from planner.plan.types import AfterLoss, Plan, PoolPlan, TimePlan

MOST_SENTENCES = 12
"""Sentences of one diff; each plan's own page has every situation."""


def time_notes(base: Plan, head: Plan) -> tuple[str, ...]:
    """The first differences, and how many more there are; nothing where neither plan knows time or losses."""
    if base.totals is None or head.totals is None:
        return ()
    found = [*_situations(base, head), *_commitments(base.time, head.time), *_stranded(base, head)]
    found += _shed(base.losses, head.losses)
    more = len(found) - MOST_SENTENCES
    return (*found[:MOST_SENTENCES], *([f"and {more} more differences over time"] if more > 0 else []))


def _situations(base: Plan, head: Plan) -> Iterator[str]:
    """Nodes of every situation. What one plan alone has stands for all that it does then."""
    old = base.time.situations if base.time else {}
    new = head.time.situations if head.time else {}
    if bool(old) != bool(new):
        which = "head" if new else "base"
        yield f"only the {which} plans over time: an average month's money, the fleet of the costliest situation"
        return
    for name in dict.fromkeys((*old, *new)):
        if name not in old or name not in new:
            yield f"{name}: only in the {'head' if name in new else 'base'}"
            continue
        pools = sorted({*old[name].pools, *new[name].pools})
        changes = [
            f"{pool} {before} -> {after}"
            for pool in pools
            if (before := _nodes(old[name].pools, pool)) != (after := _nodes(new[name].pools, pool))
        ]
        if changes:
            yield f"{name}: nodes {', '.join(changes)}"
        for batch in sorted({*old[name].batches, *new[name].batches}):
            paces = [f"{float(side[name].batches.get(batch, 0)):.4g}" for side in (old, new)]
            if paces[0] != paces[1]:
                yield f"{name}: {batch} runs at {' -> '.join(paces)} requests/s"


def _nodes(pools: Mapping[str, PoolPlan], name: str) -> int:
    return pools[name].nodes if name in pools else 0


def _commitments(base: TimePlan | None, head: TimePlan | None) -> Iterator[str]:
    """Months in which another number of nodes is bought or given up."""
    old, new = _changes(base), _changes(head)
    for key in sorted({*old, *new}):
        pool, month, word = key
        if old.get(key, 0) != new.get(key, 0):
            yield f"m{month:02d}: {old.get(key, 0)} -> {new.get(key, 0)} nodes of {pool} {word}"


def _changes(time: TimePlan | None) -> dict[tuple[str, int, str], int]:
    rows = [(pool, row) for pool, months in time.commitments.items() for row in months] if time else []
    found = {(pool, row.month, "bought"): row.bought for pool, row in rows}
    return found | {(pool, row.month, "given up"): row.given_up for pool, row in rows}


def _stranded(base: Plan, head: Plan) -> Iterator[str]:
    if base.time is None or head.time is None:
        return
    old, new = Fraction(base.time.spent.stranded), Fraction(head.time.spent.stranded)
    if round(old, 2) != round(new, 2):
        currency = head.scenario.currency
        yield f"stranded over the horizon: {currency}{float(old):,.2f} -> {currency}{float(new):,.2f}"


def _shed(base: tuple[AfterLoss, ...], head: tuple[AfterLoss, ...]) -> Iterator[str]:
    """What a loss sheds, in the situations that the plans show first."""
    old, new = ({after.lost: after.shed for after in side} for side in (base, head))
    for lost in dict.fromkeys((*old, *new)):
        if lost not in old or lost not in new:
            yield f"only the {'head' if lost in new else 'base'} survives the loss of {lost}"
            continue
        for name in sorted({*old[lost], *new[lost]}):
            before, after = (side[lost].get(name, Fraction(0)) for side in (old, new))
            if before != after:
                yield f"after the loss of {lost} {name} sheds {float(before * 100):.3g}% -> {float(after * 100):.3g}%"
