"""How much of a prompt a replica finds in its prefix cache: only what the pool keeps beside the running requests.

A class that says `reusable` alone is taken at its word. With a working set W (tokens that have to be kept to find all
of it), hits are counted as far as there is room for them. At the rate x that a replica carries of the class alone with
a share h of hits:

    F(h) = pool - x(h) * KV per request/s     room beyond p99 of the running KV (with the margin of the KV row)
    n    = sum over the model's classes of peak / rate that a replica carries without hits, rounded up

    random:        reusable * min(1, F / W) / n                    a prefix is where it was by chance, on one of n
    prefix_aware:  reusable * min(1, F / (W * min(1, x / peak)))   each replica keeps its part of the working set

More hits carry more requests, which leave less room: counted is the largest of nine shares up to `reusable` that its
own room yields, at every operating promise for itself. A replica that runs below x has more room, and n counts on no
hits at all.

Source: the KV row of docs/model.md, whose margin covers p99 of the running KV; reasoning for the rest, see
docs/traffic.md. `kvplan simulate` puts it to the test with a trace that has hashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from math import ceil

import numpy as np
from numpy.typing import NDArray

from planner.candidates.demand import Demand, demand, workloads
from planner.candidates.grid import Block, Grid, operating_columns
from planner.candidates.holdings import Holdings
from planner.candidates.types import Setting
from planner.scenario.traffic import PrefixUse

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

LEVELS = 8
"""Shares of `reusable` that are tried, besides none: finer ones would pretend to know."""


def demand_with_hits(
    block: Block, grid: Grid, pools: Mapping[Setting, int], holdings: Mapping[Setting, Holdings | None]
) -> tuple[Demand, IntArray]:
    """What traffic asks of a shape, and the share of prompt tokens counted as cached, in ppm, by pair, TPOT and TTFT.

    `pools` has the tokens of the smallest pool of a setting.
    """
    pairs = [(setting, block.items[k]) for setting, k in grid.pairs]
    tpot_s = np.array(grid.tpot_ns) / 1e9
    ttft_s = np.array([ns / 1e9 if ns else np.inf for ns in grid.ttft_ns])
    declared = np.array([block.traffic(k).reusable_prefix_ppm for _, k in grid.pairs], dtype=np.int64)
    uses = [block.traffic(k).prefix for _, k in grid.pairs]
    bound = np.array([use is not None for use in uses])

    def asked(reusable_ppm: IntArray) -> Demand:
        work = workloads(block.physics, pairs, grid.tpot_ns, reusable_ppm.tolist(), holdings)
        return demand(work, tpot_s, ttft_s, block.scenario.reserve)

    found = asked(np.where(bound, 0, declared))
    shape = found.capacity_rps.shape
    cached = np.broadcast_to(np.where(bound, 0, declared)[:, None, None], shape).copy()
    if not (bound & (declared > 0)).any():
        return found, cached
    replicas = {setting: _replicas(block, grid, found, setting) for setting, _ in grid.pairs}
    for level in range(1, LEVELS + 1):
        tried = np.where(bound, declared * level // LEVELS, declared)
        one = asked(tried)
        yielded = np.stack(
            [
                _yielded(one, row, use, int(declared[row]), pools[setting], replicas[setting], block, k)
                if use is not None
                else np.zeros(shape[1:])
                for row, (use, (setting, k)) in enumerate(zip(uses, grid.pairs, strict=True))
            ]
        )
        better = bound[:, None, None] & (tried[:, None, None] <= yielded)
        found = _chosen(better, one, found)
        cached = np.where(better, tried[:, None, None], cached)
    return found, cached


def _yielded(
    asked: Demand, row: int, use: PrefixUse, declared_ppm: int, pool: int, replicas: int, block: Block, k: int
) -> FloatArray:
    """The shares that a pair's own room yields, at every operating promise."""
    rates = asked.capacity_rps[row]
    room = pool - rates * asked.kv_tokens[row]
    part = rates / float(block.traffic(k).peak_rps)
    found: FloatArray = np.vectorize(_supported, excluded={0, 1, 4}, otypes=[np.float64])(
        declared_ppm, use, room, part, replicas
    )
    return found


def _chosen(better: NDArray[np.bool_], one: Demand, other: Demand) -> Demand:
    """Each place from the one or the other; what an idle replica does is told without hits."""
    places = {
        each.name: np.where(better, getattr(one, each.name), getattr(other, each.name))
        for each in fields(Demand)
        if getattr(one, each.name).ndim == better.ndim
    }
    return Demand(**places, idle_tpot_s=other.idle_tpot_s, idle_ttft_s=other.idle_ttft_s)


def _supported(declared_ppm: int, use: PrefixUse, room_tokens: float, part: float, replicas: int) -> float:
    """The share of prompt tokens that room for so many tokens yields, in ppm.

    `part` is what one replica carries of the class, `replicas` how many serve the model.

    >>> use = PrefixUse(1_000_000, "prefix_aware")
    >>> _supported(400_000, use, 125_000, 0.25, 4), _supported(400_000, PrefixUse(1_000_000), 500_000, 0.25, 4)
    (200000.0, 50000.0)
    """
    aware = use.routing == "prefix_aware"
    needed = use.working_set_tokens * (min(1.0, part) if aware else 1.0)
    kept = min(1.0, max(0.0, room_tokens) / needed) if needed > 0 else 0.0
    return declared_ppm * kept / (1 if aware else replicas)


def _most(block: Block, grid: Grid, asked: Demand, row: int) -> tuple[float, tuple[int, int]]:
    """The highest rate that a replica carries of a pair within the class's own promises, and where that is."""
    tpots, ttfts = operating_columns(block, grid, block.traffic(grid.pairs[row][1]))
    rates = asked.capacity_rps[row][np.ix_(tpots, ttfts)]
    t, f = np.unravel_index(int(rates.argmax()), rates.shape)
    at = (tpots[int(t)], ttfts[int(f)])
    return float(asked.capacity_rps[row][at]), at


def _replicas(block: Block, grid: Grid, asked: Demand, setting: Setting) -> int:
    """Replicas of this shape that all classes of the model would take without hits, at least one."""
    share: dict[str, tuple[int, float]] = {}
    for row, (at, k) in enumerate(grid.pairs):
        item = block.items[k]
        rate, _ = _most(block, grid, asked, row) if at == setting else (0.0, None)
        # Of a class's bands the one with most of its requests speaks for it.
        if rate > 0 and item.weight_ppm > share.get(item.class_name, (0, 0.0))[0]:
            share[item.class_name] = (item.weight_ppm, float(block.traffic(k).peak_rps) / rate)
    return max(1, ceil(sum(part for _, part in share.values())))
