"""What runs in one situation: deployments with their pools, loads, routes and promises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from planner.candidates import Candidate, CandidateTable
from planner.candidates.fleet import Start, running_start, start_of
from planner.candidates.groups import PoolGroup, pool_groups
from planner.candidates.spot import counted
from planner.candidates.types import ROW_NAMES, Config, DemandItem
from planner.plan import promises as promises_of
from planner.plan.money import ppm
from planner.plan.types import Deployment, LoadRow, LoadTerm, Route
from planner.scenario.fleet import Running
from planner.scenario.types import Scenario

Shares = tuple[tuple[int, Fraction], ...]
"""(item, exact share of it) pairs."""

Names = Mapping[tuple[Config, str], str]
"""Names of deployments by configuration and group, the same in every situation."""


@dataclass(frozen=True)
class Placed:
    """A configuration with replicas on a group, and the items that it serves with their exact shares."""

    candidate: Candidate
    group: PoolGroup
    replicas: int
    shares: Shares


@dataclass(frozen=True)
class Rerouted:
    """The routing after a loss: shares of every placed configuration, in order, what is shed, and what of a batch waits
    for another period."""

    shares: tuple[Shares, ...]
    shed: Shares
    waiting: Shares = ()


@dataclass(frozen=True)
class Moment:
    """What was decided for one situation; `losses` are in the order of the scenario."""

    placed: tuple[Placed, ...]
    nodes: Mapping[str, int]
    losses: tuple[Rerouted, ...] = ()
    waiting: Shares = ()


def names_of(moments: Iterable[Moment]) -> dict[tuple[Config, str], str]:
    """Deployments are called by their model, and numbered when it runs more than one in all."""
    keys = sorted(
        {(part.candidate.config, part.group.name) for moment in moments for part in moment.placed},
        key=lambda key: (key[0].model, key[1], key[0]),
    )
    per_model: dict[str, int] = {}
    for config, _ in keys:
        per_model[config.model] = per_model.get(config.model, 0) + 1
    seen: dict[str, int] = {}
    names = {}
    for config, group in keys:
        seen[config.model] = seen.get(config.model, 0) + 1
        names[config, group] = config.model if per_model[config.model] == 1 else f"{config.model}-{seen[config.model]}"
    return names


def deployments_of(scenario: Scenario, table: CandidateTable, moment: Moment, names: Names) -> dict[str, Deployment]:
    """Deployments by name; replicas fill pools in a fixed order."""
    placed = sorted(moment.placed, key=_order)
    where = _assign(scenario, placed, moment.nodes)
    return {
        names[part.candidate.config, part.group.name]: _deployment(scenario, table, part, pools)
        for part, pools in zip(placed, where, strict=True)
    }


def _order(part: Placed) -> tuple[str, str, Config]:
    return part.candidate.config.model, part.group.name, part.candidate.config


def _assign(scenario: Scenario, placed: list[Placed], nodes: Mapping[str, int]) -> list[dict[str, int]]:
    """Replicas per pool: within a group larger replicas first; each where replicas of its start run today, as far as
    those go, then pools in fill order, node by node, spare nodes last."""
    fleet = scenario.current or scenario.near
    if fleet:
        result = _laid_out(scenario, placed, nodes, fleet.values())
        if all(sum(pools.values()) == part.replicas for part, pools in zip(placed, result, strict=True)):
            return result
    return _laid_out(scenario, placed, nodes, ())


def _laid_out(
    scenario: Scenario, placed: list[Placed], nodes: Mapping[str, int], fleet: Iterable[Running]
) -> list[dict[str, int]]:
    """Replicas per pool; what finds no place is missing."""
    free: dict[str, list[int]] = {}
    order: dict[str, list[str]] = {}
    for group in pool_groups(scenario):
        order[group.name] = [pool.name for pool in group.pools]
        for pool in group.pools:
            free[pool.name] = [group.gpus_per_node] * counted(pool, nodes.get(pool.name, 0))
    today: dict[Start, list[str]] = {}
    for running in fleet:
        today.setdefault(running_start(scenario, running), []).extend([running.pool] * running.replicas)
    result: list[dict[str, int]] = [{} for _ in placed]

    def place(index: int, pools: Iterable[str]) -> bool:
        """One replica of a part into the first of the pools that has room."""
        gpus = placed[index].candidate.config.gpus
        for name in pools:
            slot = next((n for n, left in enumerate(free[name]) if left >= gpus), None)
            if slot is not None:
                free[name][slot] -= gpus
                result[index][name] = result[index].get(name, 0) + 1
                return True
        return False

    for gpus in sorted({part.candidate.config.gpus for part in placed}, reverse=True):
        same = [index for index, part in enumerate(placed) if part.candidate.config.gpus == gpus]
        left = {index: placed[index].replicas for index in same}
        for index in same:
            stands = today.get(start_of(placed[index].candidate, placed[index].group), [])
            while left[index] and stands:
                left[index] -= place(index, (stands.pop(0),))
        for index in same:
            for _ in range(left[index]):
                place(index, order[placed[index].group.name])
    return result


def _deployment(scenario: Scenario, table: CandidateTable, part: Placed, pools: dict[str, int]) -> Deployment:
    config = part.candidate.config
    loads = load_rows(table.items, part, max(0, part.replicas - scenario.reserve.spare_replicas))
    return Deployment(
        model=config.model,
        gpu=config.gpu,
        region=part.group.region,
        gpus_per_node=part.group.gpus_per_node,
        weights=config.weights,
        parallel=config.parallel,
        replicas=part.replicas,
        gpus=part.replicas * config.gpus,
        context_limit_tokens=config.context_limit_tokens,
        max_batch=config.max_batch,
        max_num_batched_tokens=config.max_num_batched_tokens,
        gpu_memory_utilization_ppm=part.candidate.utilization_ppm,
        kv_preset=config.kv_preset,
        operating_tpot_ns=config.tpot_limit_ns,
        operating_ttft_ns=config.ttft_limit_ns,
        pools=dict(sorted(pools.items())),
        memory=part.candidate.memory,
        step=promises_of.step_times(part.candidate),
        loads=loads,
        routing=routes(table.items, part),
        promises=promises_of.promises(scenario, table.items, part.candidate, part.group.region, part.shares, loads),
        notes=(*part.candidate.estimated, *part.candidate.cautions),
        provider=part.candidate.provider,
        band=part.candidate.band,
        zone=part.group.kind.zone,
    )


def load_rows(items: tuple[DemandItem, ...], part: Placed, counted: int) -> tuple[LoadRow, ...]:
    """The load rows of a deployment; `counted` replicas serve, the others are the spare ones."""
    candidate, loads = part.candidate, dict(part.candidate.loads)
    rows = []
    for name in ROW_NAMES if candidate.memory else ROW_NAMES[:1]:
        terms = tuple(LoadTerm(items[k].name, loads[k].amount(name), share) for k, share in part.shares)
        used = sum((term.amount * term.share for term in terms), Fraction(0))
        room = candidate.capacity * counted
        rows.append(LoadRow(name, candidate.capacity, counted, terms, ppm(used / room) if room else 0))
    return tuple(rows)


def routes(items: tuple[DemandItem, ...], part: Placed) -> tuple[Route, ...]:
    loads = dict(part.candidate.loads)
    found = []
    for k, share in part.shares:
        item, load = items[k], loads[k]
        prompts = (item.band.prompts[0][0], item.band.prompts[-1][0]) if item.band else (0, 0)
        found.append(
            Route(
                item=item.name,
                class_name=item.class_name,
                prompt_tokens=prompts,
                band_ppm=item.weight_ppm,
                share=share,
                requests_per_s=item.peak_rps * share,
                rejected=load.rejected,
                cut_short=load.cut_short,
                loss_ppm=load.loss_ppm,
                cached_ppm=load.cached_ppm,
            )
        )
    return tuple(found)
