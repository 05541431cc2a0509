"""Evaluates one shape at every setting, batch size and operating promise, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.candidates.cuts import gpu_time_factor
from planner.candidates.demand import Demand
from planner.candidates.dominance import NOT_ELIGIBLE
from planner.candidates.grid import Block, Grid, latency_reasons, make_grid, operating_columns
from planner.candidates.holdings import Holdings, holdings_of
from planner.candidates.physics import quality_of
from planner.candidates.prefix import demand_with_hits
from planner.candidates.regions import keeps
from planner.candidates.rejections import Rejections
from planner.candidates.settings import batch_sizes, memory_of, setting_choices, settings, utilization_ppm
from planner.candidates.types import LOAD_UNIT, Candidate, Config, ItemLoad, Setting, Shape
from planner.catalog.types import Refusal
from planner.memory.pool import ReplicaMemory
from planner.scenario.fleet import Kept

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class _Point:
    """One configuration of a block: where its numbers stand in the arrays."""

    setting: Setting
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
    memory: dict[tuple[Setting, int], ReplicaMemory]
    losses: dict[int, tuple[int, str | None]]
    grid: Grid
    cached_ppm: NDArray[np.int64]

    @property
    def shape(self) -> Shape:
        """The shape that was evaluated."""
        return self.block.shape

    def config(self, index: int) -> Config:
        """One configuration."""
        point, shape = self.where[index], self.shape
        return Config(
            model=self.block.model.name,
            gpu=shape.gpu.id,
            gpus=shape.parallel.gpus,
            weights=shape.weights,
            kv_preset=shape.preset,
            context_limit_tokens=point.setting.context_tokens,
            max_batch=point.batch,
            max_num_batched_tokens=point.setting.chunk_tokens,
            tpot_limit_ns=point.tpot,
            ttft_limit_ns=point.ttft,
            parallel=str(shape.parallel),
            names_chunk=len(self.block.physics.timings) > 1,
        )

    def values(self, word: Kept) -> list[str | int]:
        """What `keep` may pin of every configuration, one value a row."""
        fixed: dict[Kept, str | int] = {
            "weights": self.shape.weights,
            "parallel": str(self.shape.parallel),
            "kv_preset": self.shape.preset,
        }
        if word in fixed:
            return [fixed[word]] * len(self.where)
        return [point.batch if word == "max_batch" else point.setting.context_tokens for point in self.where]

    def rows_in(self, region: str) -> FloatArray:
        """The rows as they are in a region: items that must not run there at an operating promise are not eligible."""
        rows, factor = self.rows.copy(), self.block.factors[1]
        ttfts = np.array([point.ttft for point in self.where])
        for position, k in enumerate(self.block.own):
            barred = [t for t in self.grid.ttft_ns if not keeps(self.block.traffic(k), region, t, factor)]
            rows[np.isin(ttfts, barred), :, position] = NOT_ELIGIBLE
        return rows

    def candidate(self, index: int) -> Candidate:
        """The candidate of one configuration, its loads rounded up to integers once."""
        point, block = self.where[index], self.block
        memory = self.memory[point.setting, point.batch]
        cached_ppm = self.cached_ppm[:, self.grid.tpot_ns.index(point.tpot), self.grid.ttft_ns.index(point.ttft)]
        loads = []
        for position, k in enumerate(block.own):
            amounts = self.rows[index, :, position]
            if amounts[0] >= NOT_ELIGIBLE:
                continue
            gpu_time, sequences, kv = map(_load_units, amounts.tolist())
            part = block.served(point.setting.context_tokens, k)
            loss, flag = self.losses[k]
            cached = int(cached_ppm[self.grid.places[point.setting, k]])
            loads.append((k, ItemLoad(gpu_time, sequences, kv, part.rejected, part.cut_short, loss, flag, cached)))
        physics = block.physics
        fit = physics.fit_at(point.tpot)
        return Candidate(
            config=self.config(index),
            unit=LOAD_UNIT,
            capacity=LOAD_UNIT // 1_000_000 * block.scenario.reserve.utilization_ppm,
            utilization_ppm=utilization_ppm(block.model),
            memory=memory,
            timing=physics.timing_at(point.setting.chunk_tokens, point.tpot),
            loads=tuple(loads),
            provider=physics.provider,
            band=physics.band,
            fit_mean_error=fit.mean_error,
            fit_max_error=fit.max_error,
            estimated=tuple(dict.fromkeys((*physics.estimated, *memory.estimated))),
            cautions=physics.usable.warnings,
            debt=physics.usable.debt,
        )


def _load_units(amount: float) -> int:
    """A load in integer units, rounded up from exactly what the double is.

    >>> _load_units(0.5), _load_units(1 / 3)
    (500000000000, 333333333334)
    """
    numerator, denominator = amount.as_integer_ratio()
    return -(-numerator * LOAD_UNIT // denominator)


def evaluate(block: Block, reasons: Rejections) -> list[Evaluated]:
    """The configurations of a shape, or none; every refusal goes to `reasons`."""
    memory = _memory(block, reasons)
    losses = _losses(block, reasons)
    grid = make_grid(block, {setting for setting, _ in memory}, losses, reasons)
    if not grid.pairs:
        return []
    pools = {at: min(m.pool_tokens for (one, _), m in memory.items() if one == at) for at, _ in grid.pairs}
    asked, cached_ppm = demand_with_hits(block, grid, pools, _holdings(block, memory))
    latency_reasons(block, grid, asked, reasons)
    rows, where, points = _rows(block, grid, asked, memory)
    if not where:
        return []
    extras = _extras(block, where, losses)
    return [Evaluated(block, rows, extras, points, tuple(where), memory, losses, grid, cached_ppm)]


def _memory(block: Block, reasons: Rejections) -> dict[tuple[Setting, int], ReplicaMemory]:
    """Memory at every (setting, batch size) that starts at all."""
    found = {}
    shape = block.shape
    for setting in settings(block.model, shape.gpu):
        for batch in batch_sizes(block.model, shape.gpu):
            memory = memory_of(block.model, shape, block.physics.usable, setting, batch)
            if isinstance(memory, Refusal):
                reasons.add(
                    block.model.name,
                    memory,
                    subject=f"on {shape.gpu.id} {shape.parallel} {shape.weights}",
                    count=1,
                    order=batch,
                    choices={**setting_choices(block.model, setting), "preset": shape.preset},
                )
            else:
                found[setting, batch] = memory
    return found


def _holdings(block: Block, memory: dict[tuple[Setting, int], ReplicaMemory]) -> dict[Setting, Holdings | None]:
    """How requests hold the pool at every setting that starts."""
    pools: dict[Setting, list[ReplicaMemory]] = {}
    for (setting, _), found in memory.items():
        pools.setdefault(setting, []).append(found)
    usable = block.physics.usable
    return {at: holdings_of(block.model, block.shape, usable, at, found) for at, found in pools.items()}


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


def _rows(
    block: Block, grid: Grid, asked: Demand, memory: dict[tuple[Setting, int], ReplicaMemory]
) -> tuple[FloatArray, list[_Point], int]:
    """Load rows of every configuration that serves something; batch sizes that cannot matter are left out."""
    rows: list[FloatArray] = []
    where: list[_Point] = []
    points = 0
    position = {k: index for index, k in enumerate(block.own)}
    allowed = {k: operating_columns(block, grid, block.traffic(k)) for k in block.own}
    running = [each.max_batch for each in block.scenario.current.values() if each.model == block.model.name]
    for setting in sorted({setting for setting, _ in grid.pairs}):
        own = [(row, k) for row, (at, k) in enumerate(grid.pairs) if at == setting]
        batches = sorted(batch for at, batch in memory if at == setting)
        pools = np.array([memory[setting, batch].pool_tokens for batch in batches], dtype=np.float64)
        shape = (len(block.own), len(grid.tpot_ns), len(grid.ttft_ns))
        gpu, held, tokens = (np.full(shape, NOT_ELIGIBLE) for _ in range(3))
        for row, k in own:
            part = block.served(setting.context_tokens, k)
            rate = float(block.items[k].peak_rps * part.served_share)
            good = np.zeros(shape[1:], dtype=bool)
            good[np.ix_(*allowed[k])] = True
            good &= asked.capacity_rps[row] > 0
            factor = gpu_time_factor(block.scenario, block.model.name, block.shape, block.items[k].class_name)
            if factor is None:
                continue
            gpu[position[k]][good] = factor * rate / asked.capacity_rps[row][good]
            held[position[k]][good] = rate * asked.sequences[row][good]
            tokens[position[k]][good] = rate * asked.kv_tokens[row][good]
        can = gpu < NOT_ELIGIBLE
        points += int(can.any(axis=0).sum()) * len(batches)
        sizes = np.array(batches, dtype=np.float64)[:, None, None, None]
        loads = np.stack(np.broadcast_arrays(gpu, held / sizes, tokens / pools[:, None, None, None]))
        loads[:, :, ~can] = NOT_ELIGIBLE
        pinned = np.isin(batches, running)[:, None, None] & can.any(axis=0)
        useful = np.argwhere((_useful(loads, can) | pinned).transpose(1, 2, 0))
        t, f, b = useful.T
        rows.append(loads[:, b, :, t, f])
        where += [_Point(setting, grid.tpot_ns[t], grid.ttft_ns[f], batches[b]) for t, f, b in useful.tolist()]
    return np.concatenate(rows), where, points


def _useful(loads: FloatArray, can: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Batch sizes worth keeping (exact), by (batch, TPOT, TTFT): up to the first at which sequences cannot bind.

    Larger ones only cost pool. Where KV cannot bind there either, smaller ones are of no use: their larger pool buys
    nothing.

    Args:
        loads: the three rows, shape (rows, batches, items, TPOT, TTFT), equal where an item may not run.
        can: whether an item may run at all, shape (items, TPOT, TTFT).
    """
    gpu, sequences, kv = loads
    within = (sequences <= gpu).all(axis=1)
    free = within | (sequences <= kv).all(axis=1)
    before = np.cumsum(free, axis=0) - free == 0
    first = free & before
    alone = (first & within & (kv <= gpu).all(axis=1)).any(axis=0)
    useful: NDArray[np.bool_] = np.where(alone, first, before) & can.any(axis=0)
    return useful


def _extras(block: Block, where: list[_Point], losses: dict[int, tuple[int, str | None]]) -> FloatArray:
    """Shares rejected and cut short, and quality loss where it is an objective, of every configuration."""
    by_limit = {}
    counts = "quality_loss" in block.scenario.objective
    for limit in {point.setting.context_tokens for point in where}:
        row = []
        for k in block.own:
            part = block.served(limit, k)
            loss = losses[k][0] if k in losses and counts else 0
            row += [float(part.rejected), float(part.cut_short), float(loss)]
        by_limit[limit] = row
    return np.array([by_limit[point.setting.context_tokens] for point in where], dtype=np.float64)
