"""The running fleet in a stored plan: references and sizes that no scenario file has are refused by name."""

from __future__ import annotations

from collections.abc import Iterator

from planner.catalog.parallel import MAX_RANKS
from planner.compression.table import load_presets
from planner.scenario.fleet import Running
from planner.scenario.types import Scenario
from planner.units import MAX_MICRO_MONEY, MAX_NODES, MAX_TOKENS, PPM

Broken = tuple[str, str, str]
"""The row's name, what the plan has, what the row allows."""


def impossible_fleets(scenario: Scenario) -> Iterator[Broken]:
    """Fleets that name something unknown, or hold values outside the language."""
    for word, fleet in (("current", scenario.current), ("near", scenario.near)):
        for name, running in sorted(fleet.items()):
            yield from _running(f"scenario.{word}.{name}", name, running, scenario)
    change = scenario.change
    for key, value, most in (
        ("max_replicas_moved", change.max_replicas_moved or 0, MAX_NODES),
        ("micro_per_replica", change.micro_per_replica, MAX_MICRO_MONEY),
    ):
        if not 0 <= value <= most:
            yield f"scenario.change.{key}", str(value)[:60], f"0 to {most:,}"
    if scenario.as_is and not scenario.current:
        yield "scenario.as_is", "true", "false: no fleet runs"
    if (change.max_replicas_moved is not None or change.micro_per_replica) and (
        scenario.timed or not scenario.current or scenario.as_is
    ):
        yield "scenario.change", "a limit or cost", "nothing: no fleet changes, or it changes over time"


def _running(path: str, name: str, running: Running, scenario: Scenario) -> Iterator[Broken]:
    if running.name != name:
        yield f"{path}.name", running.name[:60], f"{name}, its key"
    if running.model not in scenario.models:
        yield f"{path}.model", running.model[:60], "a model of the scenario"
        return
    if running.pool not in scenario.inventory:
        yield f"{path}.pool", running.pool[:60], "a pool of the scenario"
        return
    sizes = [("replicas", running.replicas, 1, MAX_NODES)]
    if scenario.models[running.model].facts is not None:
        if running.kv_preset not in load_presets():
            yield f"{path}.kv_preset", running.kv_preset[:60], "a preset of the table"
        sizes += [
            ("context_limit_tokens", running.context_limit_tokens, 1, MAX_TOKENS),
            ("max_batch", running.max_batch, 1, MAX_NODES),
            ("max_num_batched_tokens", running.max_num_batched_tokens or 1, 1, MAX_TOKENS),
            ("gpu_memory_utilization_ppm", running.gpu_memory_utilization_ppm or 1, 1, PPM),
            *((f"parallel.{word}", getattr(running.parallel, word), 1, MAX_RANKS) for word in ("tp", "pp", "dp")),
        ]
    for key, value, least, most in sizes:
        if not least <= value <= most:
            yield f"{path}.{key}", str(value)[:60], f"{least} to {most:,}"
