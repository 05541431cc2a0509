"""From a plan document to replicas that can be run: engine limits, step times, pools of blocks, and their nodes.

Everything is built again from the scenario in the plan, as `check` does; the plan says what was chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from planner.candidates.confidence import factors
from planner.candidates.physics import speculation_of, timed_steps, usable_preset
from planner.candidates.regions import network_us
from planner.candidates.spot import counted
from planner.candidates.types import Shape
from planner.catalog.parallel import Parallel
from planner.catalog.types import Refusal
from planner.compression.policy import Usable
from planner.compression.requests import codec_shape, request_blocks
from planner.memory.groups import Demand, GroupKind
from planner.memory.kv import KvSetup, demand, pool_layout
from planner.memory.pool import ReplicaMemory
from planner.performance.speculation import TokenSteps
from planner.plan.routing import Interval, intervals
from planner.plan.types import Deployment, Plan
from planner.scenario.types import ModelSpec
from planner.simulate.pool import PoolRules
from planner.simulate.replica import ReplicaRules, Steps
from planner.simulate.steps import StepTable


@dataclass(frozen=True)
class Node:
    """A machine that can be lost with all replicas on it."""

    pool: str
    number: int

    def __str__(self) -> str:
        return f"{self.pool}/{self.number + 1}"


@dataclass(frozen=True, eq=False)
class Site:
    """One deployment: what its replicas are, and on which node each of them runs.

    `confidence` are the factors on TPOT and TTFT with which its latencies are held against promises, `network_s` is
    what the way to its region adds to the TTFT of a class then.
    """

    name: str
    model: str
    rules: ReplicaRules
    steps: Steps
    nodes: tuple[Node, ...]
    confidence: tuple[float, float] = (1.0, 1.0)
    network_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Fleet:
    """Deployments by name, who takes which prompts of a class, and what cannot be simulated, with the reason.

    `spares` are pools with a node that nothing runs on, and the seconds until replicas of a lost one stand there (None:
    the scenario does not say).
    """

    sites: dict[str, Site]
    routing: dict[str, tuple[Interval, ...]]
    left_out: dict[str, str]
    spares: dict[str, float | None]


def fleet_of(plan: Plan, source: str) -> Fleet:
    """The fleet of a plan.

    Raises:
        InputError: the routing of a class does not add up.
        ValueError: a deployment cannot be built from the scenario in the plan: `check` says why.
    """
    scenario = plan.scenario
    nodes = _nodes(plan)
    sites, left_out = {}, {}
    for name, deployment in sorted(plan.deployments.items()):
        if deployment.memory is not None:
            sites[name] = _site(plan, name, deployment, deployment.memory, nodes[name])
    routing = {}
    for name, traffic in sorted(scenario.traffic.items()):
        if scenario.models[traffic.model].facts is None:
            left_out[name] = f"{traffic.model} is planned from a capacity table, which says nothing of latency"
        else:
            routing[name] = intervals(plan, name, source)
    return Fleet(sites, routing, left_out, _spares(plan, nodes))


def _site(plan: Plan, name: str, deployment: Deployment, memory: ReplicaMemory, nodes: tuple[Node, ...]) -> Site:
    scenario = plan.scenario
    model = scenario.models[deployment.model]
    gpu = next(pool.gpu for pool in scenario.inventory.values() if pool.gpu.id == deployment.gpu)
    shape = Shape(gpu, deployment.weights, _parallel(model, deployment), deployment.kv_preset)
    usable = usable_preset(model, shape, scenario.compression)
    if isinstance(usable, Refusal):
        raise ValueError(f"{name}: {usable.message}")
    steps = timed_steps(model, shape, usable, scenario.performance)
    if isinstance(steps, Refusal):
        raise ValueError(f"{name}: {steps.message}")
    rules = ReplicaRules(
        max_num_seqs=deployment.max_batch,
        max_num_batched_tokens=deployment.max_num_batched_tokens,
        context_limit_tokens=deployment.context_limit_tokens,
        pool=_pool(model, shape, usable, deployment, memory),
    )
    speculation = speculation_of(model)
    if speculation.drafted_tokens:
        steps = TokenSteps(steps, speculation)
    table = StepTable(steps, deployment.context_limit_tokens, deployment.max_num_batched_tokens)
    tpot, ttft = factors(deployment.band, scenario.reserve.confidence) if deployment.band else (1, 1)
    network_s = {each: network_us(traffic, deployment.region) / 1e6 for each, traffic in scenario.traffic.items()}
    return Site(name, deployment.model, rules, table, nodes, (float(tpot), float(ttft)), network_s)


def _parallel(model: ModelSpec, deployment: Deployment) -> Parallel:
    for shape in model.parallel:
        if str(shape) == deployment.parallel:
            return shape
    raise ValueError(f"{deployment.parallel} is not a shape of {model.name} in the plan's scenario.")


def _pool(model: ModelSpec, shape: Shape, usable: Usable, deployment: Deployment, memory: ReplicaMemory) -> PoolRules:
    """Full attention grows with the answer (or is reserved), everything else is held from admission on."""
    assert model.memory_facts is not None and model.engine is not None
    block = memory.block_tokens
    if usable.codec:
        kv_shape = codec_shape(usable.codec, model.memory_facts)
        if isinstance(kv_shape, Refusal):
            raise ValueError(kv_shape.message)
        held = partial(_compressed, usable.codec, kv_shape, block)
        return PoolRules(block, memory.usable_blocks, 0, held)
    setup = KvSetup(
        model.memory_facts,
        model.engine,
        usable.storage,
        shape.parallel,
        deployment.context_limit_tokens,
        deployment.max_num_batched_tokens,
        gpu=shape.gpu,
    )
    layout = pool_layout(setup)
    if isinstance(layout, Refusal):
        raise ValueError(layout.message)
    kinds, needs = layout.parts[0].kinds, demand(setup)
    growing = [kind for kind in kinds if kind.reach == "full" and kind.block_tokens == block]
    others = tuple(kind for kind in kinds if kind not in growing)
    return PoolRules(
        block_tokens=block * needs.token_ranks,
        usable_blocks=memory.usable_blocks,
        growth_blocks=sum(kind.count for kind in growing),
        fixed_blocks=_fixed(others, needs) if others else None,
        reserves_answers=model.engine.reserves_answers,
    )


def _fixed(kinds: tuple[GroupKind, ...], needs: Demand) -> Callable[[int, int], int]:
    """Blocks of groups that do not grow block by block with the answer: at the request's full length."""

    def held(prompt_tokens: int, output_tokens: int) -> int:
        return sum(kind.request_blocks(prompt_tokens + output_tokens, needs) for kind in kinds)

    return held


def _compressed(codec: str, shape: tuple[int, int], block_tokens: int, prompt_tokens: int, output_tokens: int) -> int:
    """Blocks of a request that is compressed after its prefill, at its full length."""
    return request_blocks(codec, *shape, prompt_tokens, max(0, output_tokens - 1), block_tokens)


def _nodes(plan: Plan) -> dict[str, tuple[Node, ...]]:
    """The node of every replica: within a pool larger replicas first, node by node."""
    by_size = sorted(plan.deployments, key=lambda name: (-_gpus(plan.deployments[name]), name))
    free: dict[str, list[int]] = {
        name: [plan.scenario.inventory[name].gpus_per_node] * counted(plan.scenario.inventory[name], pool.nodes)
        for name, pool in plan.pools.items()
    }
    found: dict[str, list[Node]] = {name: [] for name in plan.deployments}
    for name in by_size:
        size = _gpus(plan.deployments[name])
        for pool, replicas in sorted(plan.deployments[name].pools.items()):
            for _ in range(replicas):
                slot = next((n for n, left in enumerate(free[pool]) if left >= size), None)
                if slot is None:
                    raise ValueError(f"{name}: its replicas do not fit into {pool}.")
                free[pool][slot] -= size
                found[name].append(Node(pool, slot))
    return {name: tuple(nodes) for name, nodes in found.items()}


def _gpus(deployment: Deployment) -> int:
    return deployment.gpus // deployment.replicas


def _spares(plan: Plan, nodes: dict[str, tuple[Node, ...]]) -> dict[str, float | None]:
    """Pools with an idle node, and its start-up time."""
    used = {node for taken in nodes.values() for node in taken}
    found: dict[str, float | None] = {}
    for name, pool in plan.pools.items():
        start_up_us = plan.scenario.inventory[name].start_up_us
        if any(Node(name, number) not in used for number in range(pool.nodes)):
            found[name] = start_up_us / 1e6 if start_up_us is not None else None
    return found
