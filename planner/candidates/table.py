"""Builds the candidate table: every declared choice is evaluated, refused with a reason, dominated, or offered.

The physics of a model hangs on the model, its traffic and the GPUs, on no stock, price or budget: whoever asks for
several tables of a scenario with small changes brings `Evaluations`, and each model is evaluated once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from planner.candidates.block import Evaluated, evaluate
from planner.candidates.capacity import capacity_candidates
from planner.candidates.dominance import NOT_ELIGIBLE, frontier
from planner.candidates.fleet import as_running, context_limits, fleets, unnamed
from planner.candidates.grid import Block
from planner.candidates.idle import idle_candidate
from planner.candidates.items import demand_items, mean_contexts
from planner.candidates.losses import losses
from planner.candidates.memory_only import memory_only
from planner.candidates.physics import shape_physics, usable_preset
from planner.candidates.regions import kinds_of_regions, regions_of
from planner.candidates.rejections import Rejections
from planner.candidates.settings import configurations
from planner.candidates.types import Candidate, CandidateTable, Config, DemandItem, MemoryRow, Rejection, Shape
from planner.catalog.types import Bottleneck, GpuFacts, Refusal
from planner.scenario.fleet import Running
from planner.scenario.robust import worst
from planner.scenario.types import ModelSpec, ReplicaLimits, Scenario

Offered = Callable[[Config], bool]
"""Whether a configuration may be chosen; what may not is left out before dominance."""


@dataclass
class _Counts:
    examined: int = 0
    dominated: int = 0


@dataclass(frozen=True)
class _Physics:
    """All that was evaluated of a model: the blocks of each GPU, and what was refused."""

    blocks: tuple[tuple[Evaluated, ...], ...]
    reasons: Rejections
    memory_only: tuple[MemoryRow, ...]
    running: tuple[_Run, ...]


@dataclass(frozen=True)
class _Run:
    """A configuration that runs: the model with nothing else to choose, its blocks, the candidate that it is where it
    may serve nothing, and what was refused."""

    running: Running
    model: ModelSpec
    blocks: tuple[Evaluated, ...]
    idle: Candidate | None
    refused: tuple[Rejection, ...]


@dataclass
class Evaluations:
    """Models that were evaluated before, each with what that hangs on."""

    known: list[tuple[tuple[object, ...], _Physics]] = field(default_factory=list)

    def of(self, scenario: Scenario, model: ModelSpec, items: tuple[DemandItem, ...], own: list[int]) -> _Physics:
        """The physics of a model, evaluated unless it is known."""
        key = _read(scenario, model, items, own)
        found = next((physics for read, physics in self.known if read == key), None)
        if found is None:
            found = _evaluated(scenario, model, items, own)
            self.known.append((key, found))
        return found


def _read(scenario: Scenario, model: ModelSpec, items: tuple[DemandItem, ...], own: list[int]) -> tuple[object, ...]:
    """What the physics of a model hangs on."""
    pools = {(pool.gpu.id, pool.region, pool.gpus_per_node) for pool in scenario.inventory.values()}
    traffic = [each for each in scenario.traffic.values() if each.model == model.name]
    reserve = replace(scenario.reserve, spare_nodes=0, spare_replicas=0, spare_zones=0, survive=())
    free = replace(model, replicas=ReplicaLimits(), max_configurations=None)
    counts_loss = "quality_loss" in scenario.objective
    fleet = (fleets(scenario, model.name), scenario.as_is)
    rest = (fleet, reserve, scenario.compression, scenario.performance, scenario.cuts, counts_loss)
    return (free, traffic, tuple((k, items[k]) for k in own), pools, *rest)


def build_table(scenario: Scenario, known: Evaluations | None = None, offered: Offered | None = None) -> CandidateTable:
    """The finite table that the constraint program chooses from, at the worst of the scenario's band.

    Args:
        scenario: The scenario.
        known: What was evaluated for other tables; it grows.
        offered: Which configurations may be chosen.
    """
    scenario = worst(scenario)
    items, demands = demand_items(scenario)
    candidates: list[Candidate] = []
    rejections: list[Rejection] = []
    counts = _Counts()
    without_latency: list[MemoryRow] = []
    for name in sorted(scenario.models):
        model = scenario.models[name]
        own = [k for k, item in enumerate(items) if item.model == name]
        reasons = Rejections()
        if model.facts is None:
            found = [
                candidate
                for candidate in capacity_candidates(scenario, model, items, own, reasons)
                if offered is None or offered(candidate.config)
            ]
            counts.examined += len(found)
        else:
            physics = (known.of if known is not None else _evaluated)(scenario, model, items, own)
            found = [each for blocks in physics.blocks for each in _kept(scenario, model, blocks, counts, offered)]
            for run in physics.running:
                found += _added(scenario, run, found, counts, offered)
                rejections += run.refused
            reasons = physics.reasons
            without_latency += physics.memory_only
        candidates += found
        rejections += reasons.rows({name: _choices(model)})
        counts.examined += sum(r.count for r in rejections if r.model == name and r.class_name is None)
    return CandidateTable(
        items,
        demands,
        tuple(candidates),
        tuple(rejections),
        counts.examined,
        counts.dominated,
        tuple(without_latency),
    )


def _choices(model: ModelSpec) -> dict[str, tuple[str, ...]]:
    """What the scenario lets the planner choose, as rejections name it."""
    return {
        "chunk": tuple(f"chunk{budget}" for budget in model.engine_args.chunk_budgets),
        "context": tuple(f"ctx{limit}" for limit in model.context_limits_tokens),
        "parallel": tuple(str(shape) for shape in model.parallel),
        "preset": model.kv_presets,
        "weights": model.weights,
    }


def _evaluated(scenario: Scenario, model: ModelSpec, items: tuple[DemandItem, ...], own: list[int]) -> _Physics:
    reasons = Rejections()
    without_latency: list[MemoryRow] = []
    contexts = mean_contexts(context_limits(scenario, model), [items[k] for k in own])
    blocks = tuple(
        tuple(
            part
            for shape in _shapes(scenario, model, gpu, reasons)
            for part in _blocks(scenario, model, items, own, shape, contexts, reasons, without_latency)
        )
        for gpu in (() if scenario.as_is else _gpus(scenario))
    )
    running = tuple(_run(scenario, model, each, items, own, contexts) for each in fleets(scenario, model.name))
    return _Physics(blocks, reasons, tuple(without_latency), running)


def _run(
    scenario: Scenario,
    model: ModelSpec,
    running: Running,
    items: tuple[DemandItem, ...],
    own: list[int],
    contexts_tokens: tuple[float, ...],
) -> _Run:
    """A configuration that runs, at every operating promise; what is refused names its entry."""
    as_it_is, reasons = as_running(model, running), Rejections()
    shape = Shape(scenario.inventory[running.pool].gpu, running.weights, running.parallel, running.kv_preset)
    blocks = _blocks(scenario, as_it_is, items, own, shape, contexts_tokens, reasons, [])
    refused = tuple(
        replace(row, subject=f"{_entry(scenario, running)}{row.subject.removeprefix(model.name)}")
        for row in reasons.rows({model.name: _choices(as_it_is)})
    )
    idle = idle_candidate(scenario, as_it_is, shape, contexts_tokens) if not blocks else None
    return _Run(running, as_it_is, tuple(blocks), idle, refused)


def _entry(scenario: Scenario, running: Running) -> str:
    """Where replicas that run come from: an entry of the scenario, or of the plan to stay near."""
    return f"{'current' if scenario.current.get(running.name) == running else 'near'}.{running.name}"


def _added(
    scenario: Scenario, run: _Run, known: Sequence[Candidate], counts: _Counts, offered: Offered | None
) -> Iterator[Candidate]:
    """Candidates of a running configuration that are not there yet; each says what the model does not name of it."""
    model, running = scenario.models[run.model.name], run.running
    there = {candidate.config for candidate in known}
    words = unnamed(model, scenario.inventory[running.pool].gpu, running)
    text = (
        f"runs today ({_entry(scenario, running)}) and may stay; models.{model.name} does not name {', '.join(words)}"
    )
    kept = _kept(scenario, run.model, run.blocks, counts, offered)
    if not kept and run.idle is not None:
        kept = [run.idle]
        counts.examined += 1
    for candidate in kept:
        config = replace(candidate.config, names_chunk=len(model.engine_args.chunk_budgets) > 1)
        if config in there:
            counts.dominated += 1
        else:
            cautions = (*candidate.cautions, text) if words else candidate.cautions
            yield replace(candidate, config=config, cautions=cautions)


def _kept(
    scenario: Scenario, model: ModelSpec, blocks: Sequence[Evaluated], counts: _Counts, offered: Offered | None
) -> list[Candidate]:
    """The candidates of one model and GPU that are offered and that no other one replaces."""
    points = sum(block.points for block in blocks)
    if offered is not None:
        blocks = [part for block in blocks if (part := _among(block, offered)) is not None]
    kept = _undominated(scenario, model, blocks)
    counts.examined += points
    counts.dominated += points - len(kept)
    return kept


def _among(block: Evaluated, offered: Offered) -> Evaluated | None:
    """What of a block is offered."""
    chosen = [index for index in range(len(block.where)) if offered(block.config(index))]
    if len(chosen) == len(block.where):
        return block
    where = tuple(block.where[index] for index in chosen)
    return replace(block, rows=block.rows[chosen], extras=block.extras[chosen], where=where) if chosen else None


def _gpus(scenario: Scenario) -> list[GpuFacts]:
    gpus = {pool.gpu.id: pool.gpu for pool in scenario.inventory.values()}
    return [gpus[name] for name in sorted(gpus)]


def _shapes(scenario: Scenario, model: ModelSpec, gpu: GpuFacts, reasons: Rejections) -> Iterator[Shape]:
    """Shapes that fit into some node of this GPU."""
    largest = max(pool.gpus_per_node for pool in scenario.inventory.values() if pool.gpu.id == gpu.id)
    for parallel in model.parallel:
        if parallel.gpus <= largest:
            for weights, preset in product(model.weights, model.kv_presets):
                yield Shape(gpu, weights, parallel, preset)
            continue
        message = f"{parallel} needs {parallel.gpus} GPUs in one node; the largest node has {largest}"
        each = len(model.weights) * len(model.kv_presets)
        reasons.add(
            model.name,
            Refusal(Bottleneck.PARALLEL, message, f"tp{largest}"),
            subject=f"on {gpu.id} {parallel}",
            count=each * configurations(model, gpu),
        )


def _blocks(
    scenario: Scenario,
    model: ModelSpec,
    items: tuple[DemandItem, ...],
    own: list[int],
    shape: Shape,
    contexts_tokens: tuple[float, ...],
    reasons: Rejections,
    without_latency: list[MemoryRow],
) -> list[Evaluated]:
    usable = usable_preset(model, shape, scenario.compression)
    if isinstance(usable, Refusal):
        per_preset = usable.bottleneck in (Bottleneck.POLICY, Bottleneck.ENGINE)
        reasons.add(
            model.name,
            usable,
            subject=shape.preset if per_preset else f"on {shape.gpu.id}",
            kind=usable.message,
            count=configurations(model, shape.gpu),
            choices={"weights": shape.weights, "parallel": str(shape.parallel), "preset": shape.preset},
        )
        return []
    physics = shape_physics(model, shape, usable, scenario.performance, contexts_tokens)
    if isinstance(physics, Refusal):
        without_latency += memory_only(model, shape, usable, physics, reasons)
        return []
    regions = regions_of(scenario, shape.gpu.id, shape.parallel.gpus)
    return evaluate(Block(scenario, model, items, tuple(own), shape, physics, regions), reasons)


def _undominated(scenario: Scenario, model: ModelSpec, blocks: Sequence[Evaluated]) -> list[Candidate]:
    """The candidates of one model and GPU that no other one replaces."""
    if not blocks:
        return []
    extras = np.hstack([np.concatenate([b.extras for b in blocks]), _kept_apart(scenario, model, blocks)])
    gpus = np.concatenate([np.full(len(block.rows), block.shape.parallel.gpus, dtype=np.int64) for block in blocks])
    counts_replicas = (
        scenario.reserve.spare_replicas > 0
        or bool(losses(scenario))
        or model.replicas.min > 0
        or model.replicas.max is not None
        or model.max_configurations is not None
        or bool(scenario.current or scenario.near)
    )
    starts = np.cumsum([0] + [len(block.rows) for block in blocks])
    kept = []
    places = sorted(
        {
            int(index)
            for rows in _rows_by_region(scenario, model, blocks)
            for index in frontier(rows, extras, gpus, counts_replicas=counts_replicas)
            if (rows[index] < NOT_ELIGIBLE).any()
        }
    )
    for index in places:
        block = int(np.searchsorted(starts, index, side="right")) - 1
        kept.append(blocks[block].candidate(int(index - starts[block])))
    return kept


def _rows_by_region(scenario: Scenario, model: ModelSpec, blocks: Sequence[Evaluated]) -> list[NDArray[np.float64]]:
    """The rows in each kind of region: what is needed in one of them stays.

    Where configurations are counted, what stands in for one must be the same in all regions, whose rows then stand side
    by side.
    """
    kinds = kinds_of_regions(scenario, model.name, blocks[0].shape.gpu.id)
    if len(kinds) < 2:
        return [np.concatenate([block.rows for block in blocks])]
    by_region = [np.concatenate([block.rows_in(region) for block in blocks]) for region in kinds]
    return by_region if model.max_configurations is None else [np.concatenate(by_region, axis=2)]


def _kept_apart(scenario: Scenario, model: ModelSpec, blocks: Sequence[Evaluated]) -> NDArray[np.float64]:
    """What `keep` pins as numbers and their negatives, one row a configuration: where neither may be worse, both agree,
    and a configuration that must stay is never given up for one with another value."""
    words = sorted({word for each in scenario.current.values() if each.model == model.name for word in each.keep})
    columns = []
    for word in words:
        values = [value for block in blocks for value in block.values(word)] if word != "replicas" else []
        ranks = {value: rank for rank, value in enumerate(dict.fromkeys(values))}
        columns += [[sign * ranks[value] for value in values] for sign in (1, -1) if values]
    return np.array(columns, dtype=np.float64).T.reshape(sum(len(block.rows) for block in blocks), -1)
