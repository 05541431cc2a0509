"""How many replicas start and stop on the way from the fleet that runs to the plan, and what that costs once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from planner.candidates.fleet import (
    KEPT_FIELDS,
    Start,
    entries_by_start,
    kept_values,
    replicas_by_start,
    running_start,
    unnamed,
    where,
)
from planner.catalog.parallel import Parallel, parse_parallel
from planner.plan.money import money
from planner.scenario.fleet import Running
from planner.scenario.types import Scenario

if TYPE_CHECKING:
    from planner.plan.types import Deployment, Plan

MOVED = "replicas_moved"
"""The last objective where a fleet runs: as few replicas start and stop as the others allow."""

Broken = tuple[str, str, str]
"""The row's name, what the plan has, what the row allows."""


@dataclass(frozen=True)
class Move:
    """Replicas of one start: how many run today, and how many in the plan."""

    start: Start
    before: int
    after: int


@dataclass(frozen=True)
class Moves:
    """Replicas that start and stop, from the fleet that runs (`current`) or that of another plan (`near`).

    `most` is the scenario's limit on both together, `cost` what they cost once, beside what the plan costs by the hour.
    Over time they are those of the first situation.
    """

    since: Literal["current", "near"]
    started: int
    stopped: int
    most: int | None
    cost: str
    rows: tuple[Move, ...]

    @property
    def moved(self) -> int:
        """Replicas that start or stop."""
        return self.started + self.stopped


def deployed(deployments: Mapping[str, Deployment]) -> dict[Start, int]:
    """Replicas of a plan by what they are started with."""
    found: dict[Start, int] = {}
    for deployment in deployments.values():
        start = Start(**{field.name: getattr(deployment, field.name) for field in fields(Start)})
        found[start] = found.get(start, 0) + deployment.replicas
    return found


def moves_of(scenario: Scenario, deployments: Mapping[str, Deployment]) -> tuple[Moves, ...]:
    """The moves from the fleets that a scenario knows; none as it is."""
    after = deployed(deployments)
    found = []
    known: tuple[tuple[Literal["current", "near"], dict[str, Running]], ...] = (
        ("current", scenario.current),
        ("near", scenario.near),
    )
    for since, fleet in known if not scenario.as_is else ():
        if not fleet:
            continue
        before = replicas_by_start(scenario, fleet.values())
        rows = tuple(Move(s, before.get(s, 0), after.get(s, 0)) for s in sorted({*before, *after}))
        started = sum(max(0, row.after - row.before) for row in rows)
        stopped = sum(max(0, row.before - row.after) for row in rows)
        ours = since == "current"
        cost = scenario.change.micro_per_replica * (started + stopped) if ours else 0
        most = scenario.change.max_replicas_moved if ours else None
        found.append(Moves(since, started, stopped, most, money(cost), rows))
    return tuple(found)


def pays_moves(scenario: Scenario) -> bool:
    """Whether moves cost money: the cost of a plan then counts over the horizon."""
    return bool(scenario.change.micro_per_replica and scenario.current and not scenario.as_is)


def nearness(moves: tuple[Moves, ...]) -> int | None:
    """What the last objective counts: moves from the plan to stay near, else from the fleet that runs."""
    return moves[-1].moved if moves else None


def fleet_of(plan: Plan) -> dict[str, Running]:
    """What a plan runs, as a fleet: one entry for every deployment and pool.

    Over time it is what runs in the situation that the plan shows.
    """
    found = {}
    for name, deployment in plan.deployments.items():
        shape = parse_parallel(deployment.parallel) if deployment.parallel else Parallel()
        for pool, replicas in deployment.pools.items():
            entry = name if len(deployment.pools) == 1 else f"{name}.{pool}"
            found[entry] = Running(
                name=entry,
                model=deployment.model,
                pool=pool,
                replicas=replicas,
                weights=deployment.weights,
                parallel=Parallel() if isinstance(shape, str) else shape,
                context_limit_tokens=deployment.context_limit_tokens,
                max_batch=deployment.max_batch,
                kv_preset=deployment.kv_preset,
                max_num_batched_tokens=deployment.max_num_batched_tokens or None,
                gpu_memory_utilization_ppm=deployment.gpu_memory_utilization_ppm or None,
            )
    return found


def broken_moves(plan: Plan) -> Iterator[Broken]:
    """Replicas that must stay, values that must, what may not grow, and more moves than are allowed."""
    scenario, after = plan.scenario, deployed(plan.deployments)
    runs = replicas_by_start(scenario, scenario.current.values())
    before = replicas_by_start(scenario, scenario.near.values())
    if scenario.as_is:
        for start in sorted({*runs, *after}):
            if runs.get(start, 0) != after.get(start, 0):
                read, allowed = f"{after.get(start, 0)} replicas", f"the {runs.get(start, 0)} that run"
                yield f"current.{start.model} on {start.gpu}", read, allowed
        return
    for start, entries in entries_by_start(scenario).items():
        kept = sum(each.replicas for each in entries if "replicas" in each.keep)
        alike = all("replicas" in each.keep for each in entries)
        count = after.get(start, 0)
        if kept and (count < kept or (alike and count > kept)):
            yield f"current.{entries[0].name}.keep", str(count), f"{'exactly' if alike else 'at least'} {kept}"
    for name, running in sorted({**scenario.near, **scenario.current}.items()):
        start = running_start(scenario, running)
        words = unnamed(scenario.models[running.model], scenario.inventory[running.pool].gpu, running)
        most = max(runs.get(start, 0), before.get(start, 0))
        if words and after.get(start, 0) > most:
            read = f"{after[start]} replicas with {', '.join(words)}"
            yield f"current.{name}", read, f"at most the {most} that run: the model does not name it"
    kept_here = kept_values(scenario)
    for start in sorted(after):
        for word, values in sorted(kept_here.get(where(start), {}).items()):
            value = getattr(start, KEPT_FIELDS[word])
            if value not in values:
                allowed = " or ".join(sorted(str(each) for each in values))
                yield f"current.keep.{word} of {start.model} on {start.gpu}", str(value), allowed
    most_moved = scenario.change.max_replicas_moved
    for moves in moves_of(scenario, plan.deployments):
        if moves.since == "current" and most_moved is not None and moves.moved > most_moved:
            yield "change.max_replicas_moved", f"{moves.moved} replicas", f"at most {most_moved}"
