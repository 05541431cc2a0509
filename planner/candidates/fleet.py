"""The fleet that runs, in terms of the candidate table: what its replicas were started with, and what of it is offered.

A running configuration is a candidate even where another one dominates it or the model does not name it: leaving it
alone moves nothing. What the model does not name may stay, and never grows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from planner.candidates.groups import PoolGroup
from planner.candidates.settings import batch_sizes, chunk_budgets, utilization_ppm
from planner.candidates.types import Candidate
from planner.catalog.types import GpuFacts
from planner.scenario.fleet import Kept, Running
from planner.scenario.types import ModelSpec, NodeKind, Scenario


@dataclass(frozen=True, order=True)
class Start:
    """What a replica is started with, and the kind of nodes that it stands on: replicas that agree need no restart.

    With a capacity table only the model and the nodes carry meaning.
    """

    model: str
    gpu: str
    region: str
    zone: str
    gpus_per_node: int
    weights: str = ""
    parallel: str = ""
    context_limit_tokens: int = 0
    max_batch: int = 0
    max_num_batched_tokens: int = 0
    gpu_memory_utilization_ppm: int = 0
    kv_preset: str = ""

    @property
    def kind(self) -> NodeKind:
        """The nodes that it stands on."""
        return NodeKind(self.gpu, self.region, self.zone, self.gpus_per_node)


def start_of(candidate: Candidate, group: PoolGroup) -> Start:
    """The start of a candidate's replicas on a group of pools."""
    config = candidate.config
    return Start(
        config.model,
        *group.kind,
        config.weights,
        config.parallel,
        config.context_limit_tokens,
        config.max_batch,
        config.max_num_batched_tokens,
        candidate.utilization_ppm,
        config.kv_preset,
    )


def running_start(scenario: Scenario, running: Running) -> Start:
    """The start of replicas that run."""
    model, pool = scenario.models[running.model], scenario.inventory[running.pool]
    if model.facts is None:
        return Start(model.name, *pool.kind)
    own = as_running(model, running)
    return Start(
        model.name,
        *pool.kind,
        running.weights,
        str(running.parallel),
        running.context_limit_tokens,
        running.max_batch,
        chunk_budgets(own, pool.gpu)[0],
        utilization_ppm(own),
        running.kv_preset,
    )


def replicas_by_start(scenario: Scenario, fleet: Iterable[Running]) -> dict[Start, int]:
    """How many replicas of each start run."""
    found: dict[Start, int] = {}
    for running in fleet:
        start = running_start(scenario, running)
        found[start] = found.get(start, 0) + running.replicas
    return found


def as_running(model: ModelSpec, running: Running) -> ModelSpec:
    """The model with nothing to choose but what the replicas run with."""
    args = model.engine_args
    if running.max_num_batched_tokens is not None:
        args = replace(args, max_num_batched_tokens=running.max_num_batched_tokens)
    if running.gpu_memory_utilization_ppm not in (None, utilization_ppm(model)):
        args = replace(args, gpu_memory_utilization_ppm=running.gpu_memory_utilization_ppm)
    return replace(
        model,
        weights=(running.weights,),
        parallel=(running.parallel,),
        context_limits_tokens=(running.context_limit_tokens,),
        kv_presets=(running.kv_preset,),
        max_batch_min=running.max_batch,
        max_batch_max=running.max_batch,
        engine_args=args,
    )


def unnamed(model: ModelSpec, gpu: GpuFacts, running: Running) -> tuple[str, ...]:
    """What the model's choices do not hold of a running configuration, in the words of the scenario."""
    if model.facts is None:
        return ()
    own = as_running(model, running)
    limit, batch, chunk = running.context_limit_tokens, running.max_batch, chunk_budgets(own, gpu)[0]
    tests = (
        (f"weights {running.weights}", running.weights in model.weights),
        (f"parallel {running.parallel}", running.parallel in model.parallel),
        (f"context_limit {limit:,}", limit in model.context_limits_tokens),
        (f"max_batch {batch:,}", model.max_batch_min <= batch <= batch_sizes(model, gpu)[-1]),
        (f"kv_preset {running.kv_preset}", running.kv_preset in model.kv_presets),
        (f"max_num_batched_tokens {chunk:,}", chunk in chunk_budgets(model, gpu)),
        ("gpu_memory_utilization", utilization_ppm(own) == utilization_ppm(model)),
    )
    return tuple(text for text, held in tests if not held)


def fleets(scenario: Scenario, model: str) -> tuple[Running, ...]:
    """All replicas of a model that plans are compared with: those that run, and those of `solve --near`."""
    return tuple(each for each in (*scenario.current.values(), *scenario.near.values()) if each.model == model)


def context_limits(scenario: Scenario, model: ModelSpec) -> tuple[int, ...]:
    """Context limits that a model may run with: its choices, and what runs."""
    running = {each.context_limit_tokens for each in fleets(scenario, model.name)} - {0}
    return tuple(sorted({*model.context_limits_tokens, *running}))


KEPT_FIELDS: dict[Kept, str] = {
    "weights": "weights",
    "parallel": "parallel",
    "context_limit": "context_limit_tokens",
    "max_batch": "max_batch",
    "kv_preset": "kv_preset",
}
"""What `keep` may pin for all replicas of a model on a kind of nodes, and the field of a start that holds it."""


Where = tuple[str, str, str, int]
"""A model on a kind of nodes: its name, GPU, region and node size."""


def where(start: Start) -> Where:
    """The model and the kind of nodes of a start."""
    return start.model, start.gpu, start.region, start.gpus_per_node


def kept_values(scenario: Scenario) -> dict[Where, dict[Kept, set[object]]]:
    """What replicas of a model on a kind of nodes must have: the values of each kept field."""
    found: dict[Where, dict[Kept, set[object]]] = {}
    for running in scenario.current.values():
        start = running_start(scenario, running)
        for word in running.keep:
            if word != "replicas":
                values = found.setdefault(where(start), {}).setdefault(word, set())
                values.add(getattr(start, KEPT_FIELDS[word]))
    return found


def entries_by_start(scenario: Scenario) -> dict[Start, list[Running]]:
    """The entries of `current` that are one start, by start."""
    found: dict[Start, list[Running]] = {}
    for running in scenario.current.values():
        found.setdefault(running_start(scenario, running), []).append(running)
    return found
