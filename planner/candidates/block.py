"""Evaluates one shape at every context limit, batch size and operating promise, as arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, isfinite

import numpy as np
from numpy.typing import NDArray

from planner.candidates.dominance import NOT_ELIGIBLE
from planner.candidates.physics import (
    CONFIDENCE,
    Demand,
    Shape,
    ShapePhysics,
    batch_sizes,
    chunk_tokens,
    demand,
    memory_of,
    operating_ns,
    quality_of,
    utilization_ppm,
    workloads,
)
from planner.candidates.rejections import Rejections
from planner.candidates.types import LOAD_UNIT, Candidate, Config, DemandItem, ItemLoad
from planner.catalog.types import Bottleneck, Refusal
from planner.memory.pool import ReplicaMemory
from planner.scenario.types import ModelSpec, Scenario, TrafficClass
from planner.traffic.lengths import Served, served
from planner.traffic.queueing import tpot_grid

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Block:
    """What is evaluated: one shape for one model, with the model's items."""

    scenario: Scenario
    model: ModelSpec
    items: tuple[DemandItem, ...]
    own: tuple[int, ...]
    shape: Shape
    physics: ShapePhysics

    def traffic(self, k: int) -> TrafficClass:
        """The class of an item."""
        return self.scenario.traffic[self.items[k].class_name]

    def served(self, limit: int, k: int) -> Served:
        """What a context limit makes of an item."""
        return served(self.items[k].lengths, limit, self.traffic(k).reusable_prefix_ppm)


@dataclass(frozen=True)
class _Point:
    """One configuration of a block: where its numbers stand in the arrays."""

    limit: int
    tpot: int
    ttft: int
    batch: int


@dataclass(frozen=True)
class Evaluated:
    """A block after evaluation. `rows` is (configurations, 3, items), `extras` what must not be worse."""

    block: Block
    rows: FloatArray
    extras: FloatArray
    points: int
    where: tuple[_Point, ...]
    memory: dict[tuple[int, int], ReplicaMemory]
    losses: dict[int, tuple[int, str | None]]

    @property
    def shape(self) -> Shape:
        """The shape that was evaluated."""
        return self.block.shape

    def candidate(self, index: int) -> Candidate:
        """The candidate of one configuration, its loads rounded up to integers once."""
        point, block = self.where[index], self.block
        memory = self.memory[point.limit, point.batch]
        loads = []
        for position, k in enumerate(block.own):
            amounts = self.rows[index, :, position]
            if amounts[0] >= NOT_ELIGIBLE:
                continue
            gpu_time, sequences, kv = (ceil(Fraction(float(amount)) * LOAD_UNIT) for amount in amounts)
            part = block.served(point.limit, k)
            loss, flag = self.losses[k]
            loads.append((k, ItemLoad(gpu_time, sequences, kv, part.rejected, part.cut_short, loss, flag)))
        physics = block.physics
        return Candidate(
            config=Config(
                model=block.model.name,
                gpu=block.shape.gpu.id,
                gpus=block.shape.tp,
                weights=block.shape.weights,
                kv_preset=block.shape.preset,
                context_limit_tokens=point.limit,
                max_batch=point.batch,
                max_num_batched_tokens=chunk_tokens(block.model, block.shape.gpu),
                tpot_limit_ns=point.tpot,
                ttft_limit_ns=point.ttft,
            ),
            unit=LOAD_UNIT,
            capacity=LOAD_UNIT // 1_000_000 * block.scenario.reserve.utilization_ppm,
            utilization_ppm=utilization_ppm(block.model),
            memory=memory,
            timing=physics.timing,
            loads=tuple(loads),
            provider=physics.provider,
            fit_mean_error=physics.fit.mean_error,
            fit_max_error=physics.fit.max_error,
            estimated=tuple(dict.fromkeys((*physics.estimated, *memory.estimated))),
        )


@dataclass
class _Grid:
    """The axes of a block: (context limit, item) pairs, operating promises in nanoseconds (0: no TTFT promise)."""

    block: Block
    pairs: list[tuple[int, int]] = field(default_factory=list)
    tpot_ns: list[int] = field(default_factory=list)
    ttft_ns: list[int] = field(default_factory=list)


def evaluate(block: Block, reasons: Rejections) -> list[Evaluated]:
    """The configurations of a shape, or none; every refusal goes to `reasons`."""
    memory = _memory(block, reasons)
    losses = _losses(block, reasons)
    grid = _grid(block, {limit for limit, _ in memory}, losses, reasons)
    if not grid.pairs:
        return []
    reuse = {name: traffic.reusable_prefix_ppm for name, traffic in block.scenario.traffic.items()}
    pairs = [(limit, block.items[k]) for limit, k in grid.pairs]
    tpot = np.array(grid.tpot_ns) / 1e9
    ttft = np.array([ns / 1e9 if ns else np.inf for ns in grid.ttft_ns])
    asked = demand(workloads(block.physics.timing, pairs, reuse), tpot, ttft, block.scenario.reserve)
    _latency_reasons(block, grid, asked, reasons)
    rows, where, points = _rows(block, grid, asked, memory)
    if not where:
        return []
    extras = _extras(block, where, losses)
    return [Evaluated(block, rows, extras, points, tuple(where), memory, losses)]


def _memory(block: Block, reasons: Rejections) -> dict[tuple[int, int], ReplicaMemory]:
    """Memory at every (context limit, batch size) that starts at all."""
    found = {}
    shape = block.shape
    for limit in block.model.context_limits_tokens:
        for batch in batch_sizes(block.model, shape.gpu):
            memory = memory_of(block.model, shape, block.physics.usable, limit, batch)
            if isinstance(memory, Refusal):
                reasons.add(
                    block.model.name,
                    memory,
                    subject=f"on {shape.gpu.id} tp{shape.tp} {shape.weights}",
                    count=1,
                    order=batch,
                    choices={"context": f"ctx{limit}", "preset": shape.preset},
                )
            else:
                found[limit, batch] = memory
    return found


def _losses(block: Block, reasons: Rejections) -> dict[int, tuple[int, str | None]]:
    """Quality loss in ppm of every item whose class's floors the preset meets."""
    found = {}
    for k in block.own:
        traffic = block.traffic(k)
        verdict = quality_of(block.scenario, block.model, block.shape.preset, traffic.quality)
        if verdict.refusal is None:
            found[k] = (verdict.loss_ppm, verdict.loss_flag)
        else:
            reasons.add(
                block.model.name, verdict.refusal, subject=f"for {traffic.name}", count=1, class_name=traffic.name
            )
    return found


def _grid(
    block: Block, limits: set[int], losses: dict[int, tuple[int, str | None]], reasons: Rejections
) -> _Grid:
    """Pairs that may be asked for, and the operating promises on offer."""
    grid = _Grid(block)
    for limit in sorted(limits):
        grid.pairs += [(limit, k) for k in losses if _admitted(block, limit, k, reasons)]
    tpot_factor, ttft_factor = CONFIDENCE[block.scenario.reserve.confidence]
    slos = [block.traffic(k).slo for k in losses]
    tpots = sorted({operating_ns(slo.tpot_p95_us, tpot_factor) for slo in slos if slo.tpot_p95_us})
    ttfts = sorted({operating_ns(slo.ttft_p95_us, ttft_factor) for slo in slos if slo.ttft_p95_us})
    alpha_s = block.physics.timing.alpha_s
    points = tpot_grid(tpots[-1] / 1e9 if tpots else None, alpha_s)
    grid.tpot_ns = sorted({int(round(point * 1e9)) for point in points} | set(tpots))
    grid.ttft_ns = ttfts if ttfts and all(slo.ttft_p95_us for slo in slos) else [*ttfts, 0]
    return grid


def _admitted(block: Block, limit: int, k: int, reasons: Rejections) -> bool:
    """Whether a context limit keeps what was promised to a band; a promise above 0 is a row of the program instead."""
    traffic, part = block.traffic(k), block.served(limit, k)
    if part.rejected == 1:
        broken = "rejects", part.rejected, "rejected_at_most"
    elif part.rejected and not traffic.rejected_at_most_ppm:
        broken = "rejects", part.rejected, "rejected_at_most"
    elif part.cut_short and not traffic.cut_short_at_most_ppm:
        broken = "cuts short", part.cut_short, "cut_short_at_most"
    else:
        return True
    word, share, name = broken
    of_class = float(share * block.items[k].weight_ppm / 10_000)
    message = f"{word} {of_class:.2g}% of {traffic.name} in the band of prompts {block.items[k].name.partition('[')[2][:-1]}"
    longest = block.items[k].lengths.prompts[-1][0] + block.items[k].lengths.outputs[-1][0]
    refusal = Refusal(Bottleneck.CONTEXT, message, f"context_limit {-(-longest // 1024)}Ki or {name} {of_class:.2g}%")
    reasons.add(
        block.model.name, refusal, subject=f"context_limit {limit // 1024}Ki" if limit % 1024 == 0 else f"context_limit {limit}",
        count=1, class_name=traffic.name, order=-of_class,
    )  # fmt: skip
    return False


def _latency_reasons(block: Block, grid: _Grid, asked: Demand, reasons: Rejections) -> None:
    """Bands that no rate serves within their own promise: which promise failed, and what would do."""
    tpot_factor, ttft_factor = CONFIDENCE[block.scenario.reserve.confidence]
    for row, (limit, k) in enumerate(grid.pairs):
        traffic = block.traffic(k)
        own = _columns(block, grid, traffic)
        if asked.capacity_rps[row][np.ix_(*own)].max(initial=0.0) > 0:
            continue
        tpot, ttft = float(asked.idle_tpot_s[row] * tpot_factor), float(asked.idle_ttft_s[row] * ttft_factor)
        slo = traffic.slo
        if slo.tpot_p95_us is not None and tpot * 1e6 >= slo.tpot_p95_us:
            word, value, allowed, bottleneck = "tpot_p95", tpot, slo.tpot_p95_us, Bottleneck.TPOT
        elif slo.ttft_p95_us is not None and ttft * 1e6 >= slo.ttft_p95_us:
            word, value, allowed, bottleneck = "ttft_p95", ttft, slo.ttft_p95_us, Bottleneck.TTFT
        else:
            word, value, allowed, bottleneck = "rate", np.inf, 0, Bottleneck.RATE
        if isfinite(value):
            message = f"{word} of {traffic.name} is {value * 1e3:,.0f} ms on an idle replica (limit {allowed / 1e3:g} ms)"
            nearest = f"{word} {ceil(value * 1.05e3)}ms"
        else:
            message, nearest = f"no rate of {traffic.name} is stable here", None
        reasons.add(
            block.model.name,
            Refusal(bottleneck, message, nearest),
            subject=f"on {block.shape.gpu.id}",
            count=1,
            class_name=traffic.name,
            order=value,
            choices={
                "weights": block.shape.weights, "parallel": f"tp{block.shape.tp}",
                "preset": block.shape.preset, "context": f"ctx{limit}",
            },
        )  # fmt: skip


def _columns(block: Block, grid: _Grid, traffic: TrafficClass) -> tuple[list[int], list[int]]:
    """Operating promises that a class may run at: at least as tight as its own."""
    tpot_factor, ttft_factor = CONFIDENCE[block.scenario.reserve.confidence]
    slo = traffic.slo
    tpot = operating_ns(slo.tpot_p95_us, tpot_factor) if slo.tpot_p95_us else None
    ttft = operating_ns(slo.ttft_p95_us, ttft_factor) if slo.ttft_p95_us else None
    return (
        [t for t, ns in enumerate(grid.tpot_ns) if tpot is None or ns <= tpot],
        [f for f, ns in enumerate(grid.ttft_ns) if ttft is None or 0 < ns <= ttft],
    )


def _rows(
    block: Block, grid: _Grid, asked: Demand, memory: dict[tuple[int, int], ReplicaMemory]
) -> tuple[FloatArray, list[_Point], int]:
    """Load rows of every configuration that serves something; batch sizes that cannot matter are left out."""
    rows: list[FloatArray] = []
    where: list[_Point] = []
    points = 0
    position = {k: index for index, k in enumerate(block.own)}
    allowed = {k: _columns(block, grid, block.traffic(k)) for k in block.own}
    for limit in sorted({limit for limit, _ in grid.pairs}):
        own = [(row, k) for row, (at, k) in enumerate(grid.pairs) if at == limit]
        batches = sorted(batch for at, batch in memory if at == limit)
        pools = np.array([memory[limit, batch].pool_tokens for batch in batches], dtype=np.float64)
        shape = (len(block.own), len(grid.tpot_ns), len(grid.ttft_ns))
        gpu, held, tokens = (np.full(shape, NOT_ELIGIBLE) for _ in range(3))
        for row, k in own:
            part = block.served(limit, k)
            rate = float(block.items[k].peak_rps * part.served_share)
            good = np.zeros(shape[1:], dtype=bool)
            good[np.ix_(*allowed[k])] = True
            good &= asked.capacity_rps[row] > 0
            gpu[position[k]][good] = rate / asked.capacity_rps[row][good]
            held[position[k]][good] = rate * asked.sequences[row][good]
            tokens[position[k]][good] = rate * asked.kv_tokens[row][good]
        for t, tpot in enumerate(grid.tpot_ns):
            for f, ttft in enumerate(grid.ttft_ns):
                column = gpu[:, t, f]
                if (column >= NOT_ELIGIBLE).all():
                    continue
                points += len(batches)
                for b in _useful(column, held[:, t, f], tokens[:, t, f], np.array(batches), pools):
                    rows.append(
                        np.stack(
                            [
                                column,
                                np.minimum(held[:, t, f] / batches[b], NOT_ELIGIBLE),
                                np.minimum(tokens[:, t, f] / pools[b], NOT_ELIGIBLE),
                            ]
                        )
                    )
                    where.append(_Point(limit, tpot, ttft, batches[b]))
    for loads in rows:
        loads[:, loads[0] >= NOT_ELIGIBLE] = NOT_ELIGIBLE
    return np.array(rows), where, points


def _useful(
    gpu: FloatArray, held: FloatArray, tokens: FloatArray, batches: NDArray[np.int64], pools: FloatArray
) -> list[int]:
    """Batch sizes worth keeping (exact): from the first at which sequences cannot bind on, larger ones only cost pool.

    Where KV cannot bind there either, smaller ones are of no use: their larger pool buys nothing.
    """
    can = gpu < NOT_ELIGIBLE
    g = gpu[can]
    for b in range(len(batches)):
        sequences, kv = held[can] / batches[b], tokens[can] / pools[b]
        if (sequences <= g).all() or (sequences <= kv).all():
            return [b] if (kv <= g).all() and (sequences <= g).all() else list(range(b + 1))
    return list(range(len(batches)))


def _extras(block: Block, where: list[_Point], losses: dict[int, tuple[int, str | None]]) -> FloatArray:
    """Shares rejected and cut short, and quality loss where it is an objective, of every configuration."""
    by_limit = {}
    counts = "quality_loss" in block.scenario.objective
    for limit in {point.limit for point in where}:
        row = []
        for k in block.own:
            part = block.served(limit, k)
            loss = losses[k][0] if k in losses and counts else 0
            row += [float(part.rejected), float(part.cut_short), float(loss)]
        by_limit[limit] = row
    return np.array([by_limit[point.limit] for point in where], dtype=np.float64)
