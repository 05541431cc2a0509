"""What stands before the check: a document that can be read at all, and numbers that can be added up.

A plan file may come from anywhere. Whatever would exhaust time or memory, or divides by zero, is refused here by name,
so that everything after it may trust sizes, signs and references.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import ceil, isfinite
from typing import Any

from planner.catalog.parallel import MAX_RANKS
from planner.compression.table import load_presets
from planner.errors import Diagnostic, InputError
from planner.plan.sane_fleet import impossible_fleets
from planner.plan.sane_time import impossible_blocks, impossible_times, running_parts
from planner.plan.types import Deployment, Plan
from planner.scenario.traffic import TraceUse, TrafficClass
from planner.scenario.types import NodeKind, Scenario
from planner.traffic.joint import pairs_of
from planner.traffic.trace_use import rates_of
from planner.units import (
    MAX_BYTES,
    MAX_DURATION_US,
    MAX_INCREASE_PPM,
    MAX_INTEGER,
    MAX_MICRO_MONEY,
    MAX_NODES,
    MAX_TOKENS,
    PPM,
)

Broken = tuple[str, str, str]
"""The row's name, what the plan has, what the row allows."""

MOST_DEPTH = 24
"""Levels of a plan document; it has 9."""

MOST_DIGITS = 1_500
"""Digits of one number. Exact shares of large programs have hundreds; Python itself refuses to print over 4,300."""

MOST_PLACINGS = 200_000_000
"""Replicas times nodes that are laid out replica by replica: some seconds' work."""

_FRACTION_KEYS = frozenset(
    {"share", "requests_per_s", "rejected", "cut_short", "used", "limit", "max_concurrency", "horizon_h"}
    | {"accepted_tokens", "tpot_p10", "tpot_p50", "tpot_p90", "ttft_p10", "ttft_p50", "ttft_p90"}
    | {"peak_rps", "mean_rps", "max", "per_node", "capacity", "scale"}
)
_FRACTION = re.compile(r"-?[0-9]+(\.[0-9]+|/0*[1-9][0-9]*)?")


def readable(tree: dict[str, Any], path: str) -> None:
    """Refuses a document that is nested too deeply or holds numbers that no plan holds.

    Raises:
        InputError: names every such value.
    """
    found = [Diagnostic(path, 0, 0, "KV805", f"{where}: {what}") for where, what in _unreadable(tree)]
    if found:
        raise InputError(found)


def _unreadable(tree: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(path, what is wrong) of values; walks without recursion, since depth is one of the things that may be wrong."""
    stack: list[tuple[str, Any, int, bool]] = [("", tree, 0, False)]
    while stack:
        where, value, depth, exact = stack.pop()
        if depth > MOST_DEPTH:
            yield where[:200], f"nested more than {MOST_DEPTH} levels deep"
            return
        if isinstance(value, dict):
            for key, each in value.items():
                stack.append((f"{where}.{key}" if where else key, each, depth + 1, key in _FRACTION_KEYS))
        elif isinstance(value, list):
            pair = exact and len(value) == 2 and isinstance(value[0], str)
            stack += [
                (f"{where}[{i}]", each, depth + 1, exact and not (pair and i == 0)) for i, each in enumerate(value)
            ]
        elif isinstance(value, float) and not isfinite(value):
            yield where, "a number that is not finite"
        elif isinstance(value, int) and abs(value) >= 10**MOST_DIGITS:
            yield where, f"a number of more than {MOST_DIGITS} digits"
        elif exact and isinstance(value, str) and (len(value) > 2 * MOST_DIGITS or not _FRACTION.fullmatch(value)):
            yield where, f"write a fraction like 3/8; read {value[:40]!r}"


def impossible(plan: Plan) -> list[Broken]:
    """Values with which nothing can be derived: wrong signs, sizes beyond the language, dangling references."""
    rows = [*_references(plan.scenario), *_sizes(plan.scenario)]
    rows += impossible_times(plan.scenario) if not rows else []
    rows += impossible_fleets(plan.scenario) if not rows else []
    rows += impossible_blocks(plan) if not rows else []
    rows += _running(plan)
    for path, deployments, pools in running_parts(plan) if not rows else ():
        part = _running(replace(plan, deployments=deployments, pools=pools))
        rows += [(f"{path}{row}", read, allowed) for row, read, allowed in part]
    return rows


def _running(plan: Plan) -> list[Broken]:
    """What runs in one situation."""
    scenario = plan.scenario
    rows: list[Broken] = []
    for name, deployment in sorted(plan.deployments.items()):
        rows += _deployment(name, deployment, scenario)
    for name, pool in sorted(plan.pools.items()):
        if name not in scenario.inventory:
            rows.append((f"pools.{name}", "a pool", "no such pool in the scenario"))
        elif not 0 <= pool.nodes <= _stock(scenario, name):
            rows.append((f"pools.{name}.nodes", str(pool.nodes), f"0 to {_stock(scenario, name)} nodes"))
    if plan.deployments and not rows:
        rows += _too_many(plan)
    return rows


def _stock(scenario: Scenario, pool: str) -> int:
    return scenario.inventory[pool].committed_nodes + scenario.inventory[pool].available_nodes


def _deployment(name: str, deployment: Deployment, scenario: Scenario) -> Iterator[Broken]:
    path = f"deployments.{name}"
    if deployment.model not in scenario.models:
        yield f"{path}.model", deployment.model, "a model of the scenario"
    if deployment.replicas < 1:
        yield f"{path}.replicas", str(deployment.replicas), "at least 1"
    if deployment.gpus < 1 or deployment.gpus % max(1, deployment.replicas):
        yield f"{path}.gpus", str(deployment.gpus), f"a multiple of {deployment.replicas} replicas"
    for pool, replicas in sorted(deployment.pools.items()):
        if pool not in scenario.inventory:
            yield f"{path}.pools.{pool}", "a pool", "no such pool in the scenario"
        elif not 0 < replicas <= max(0, deployment.replicas):
            yield f"{path}.pools.{pool}", str(replicas), f"1 to {deployment.replicas} replicas"


def _too_many(plan: Plan) -> Iterator[Broken]:
    """GPUs beyond what the bought nodes of a kind hold, which also bounds the work of laying replicas out."""
    bought: dict[NodeKind, int] = {}
    for name, facts in plan.scenario.inventory.items():
        key = facts.kind
        bought[key] = bought.get(key, 0) + (plan.pools[name].nodes if name in plan.pools else 0)
    for name, deployment in sorted(plan.deployments.items()):
        key = deployment.kind
        held = bought.get(key, 0) * max(0, deployment.gpus_per_node)
        if key not in bought:
            yield f"deployments.{name}", str(key), "no pool of this kind in the scenario"
        elif deployment.gpus > held:
            yield f"deployments.{name}.gpus", str(deployment.gpus), f"at most the {held} GPUs bought"
        elif deployment.replicas * bought[key] > MOST_PLACINGS:
            yield f"deployments.{name}.replicas", str(deployment.replicas), "fewer: too many to lay out one by one"


def _references(scenario: Scenario) -> Iterator[Broken]:
    named: tuple[tuple[str, Iterable[tuple[str, str]]], ...] = (
        ("models", ((key, model.name) for key, model in scenario.models.items())),
        ("traffic", ((key, traffic.name) for key, traffic in scenario.traffic.items())),
        ("inventory", ((key, pool.name) for key, pool in scenario.inventory.items())),
        ("limits", ((key, limit.name) for key, limit in scenario.limits.items())),
        ("guardrails", ((key, guardrail.name) for key, guardrail in scenario.guardrails.items())),
    )
    for word, rows in named:
        for key, name in rows:
            if key != name:
                yield f"scenario.{word}.{key}.name", name, f"{key}, its key"
    for name, traffic in scenario.traffic.items():
        if traffic.model not in scenario.models:
            yield f"scenario.traffic.{name}.model", traffic.model, "a model of the scenario"
        physics = scenario.models[traffic.model].facts is not None if traffic.model in scenario.models else False
        has_lengths = traffic.input_tokens is not None and traffic.output_tokens is not None
        if traffic.trace is not None:
            yield from _trace(f"scenario.traffic.{name}", traffic, traffic.trace)
        elif physics and not has_lengths:
            yield f"scenario.traffic.{name}", "no lengths", "input_tokens and output_tokens"
    yield from _tables(scenario)
    presets = load_presets()
    for name, model in scenario.models.items():
        for preset in (preset for preset in model.kv_presets if preset not in presets):
            yield f"scenario.models.{name}.kv_presets", preset, "a preset of the table"
    for name, limit in scenario.limits.items():
        for pool, _ in limit.per_node:
            if pool not in scenario.inventory:
                yield f"scenario.limits.{name}.per_node.{pool}", "a pool", "no such pool in the scenario"
    if not scenario.objective or len(set(scenario.objective)) != len(scenario.objective):
        yield "scenario.objective", str(list(scenario.objective)), "different objectives, at least one"


def _trace(path: str, traffic: TrafficClass, use: TraceUse) -> Iterator[Broken]:
    """A class of a trace has its lengths, and the rates that follow from what the trace says."""
    facts = use.facts
    if facts is None or traffic.input_tokens is not None or traffic.output_tokens is not None:
        yield f"{path}.trace", "no facts of a trace, or lengths beside it", "what the trace says, and nothing else"
        return
    least = min(facts.requests, facts.span_us, facts.busiest, use.peak_window_us)
    if least < 1 or use.scale <= 0 or facts.span_us > MAX_DURATION_US or facts.busiest > facts.requests:
        yield f"{path}.trace", "counts, times or a scale that no trace has", "numbers above 0"
        return
    try:
        requests = sum(count for *_, count in pairs_of(facts.lengths))
    except ValueError as error:
        yield f"{path}.trace.facts.lengths", str(error)[:80], "texts such as '374 44*2 109'"
        return
    if requests != facts.requests:
        yield f"{path}.trace.facts.lengths", f"{requests:,} requests", f"{facts.requests:,} requests"
    peak, mean = rates_of(use, facts)
    for key, own, derived in (("peak_rps", traffic.peak_rps, peak), ("mean_rps", traffic.mean_rps, mean)):
        if own != derived:
            yield f"{path}.{key}", str(own), f"{derived}, which the trace says"


def _tables(scenario: Scenario) -> Iterator[Broken]:
    """Capacity tables: one rate of at least 0 for every class of the model on every GPU that they name."""
    for name, model in scenario.models.items():
        classes = {key for key, traffic in scenario.traffic.items() if traffic.model == name}
        for gpu, rates in model.capacity:
            path = f"scenario.models.{name}.capacity.{gpu}"
            if {key for key, _ in rates} != classes or len(rates) != len(classes):
                yield path, ", ".join(key for key, _ in rates)[:80], f"one rate each for {', '.join(sorted(classes))}"
            if any(rate < 0 for _, rate in rates):
                yield path, "a rate below 0", "at least 0 requests/s"
            if all(pool.gpu.id != gpu for pool in scenario.inventory.values()):
                yield path, gpu, "a GPU of some pool"


def _sizes(scenario: Scenario) -> Iterator[Broken]:
    """Values outside the scenario language: what it would refuse in a file, a plan may not carry either."""
    for path, value, least, most in _ranges(scenario):
        if not least <= value <= most:
            yield f"scenario.{path}", str(value)[:60], f"{least} to {most:,}"


def _ranges(scenario: Scenario) -> Iterator[tuple[str, int, int, int]]:
    reserve = scenario.reserve
    yield "reserve.utilization_ppm", reserve.utilization_ppm, 1, PPM
    yield "reserve.kv_headroom_ppm", reserve.kv_headroom_ppm, 0, PPM - 1
    yield "reserve.spare_nodes", reserve.spare_nodes, 0, MAX_INTEGER
    yield "reserve.spare_replicas", reserve.spare_replicas, 0, MAX_INTEGER
    if scenario.robust is not None:
        yield "robust.traffic_ppm", scenario.robust.traffic_ppm, 0, MAX_INCREASE_PPM
        yield "robust.context_tail_ppm", scenario.robust.context_tail_ppm, 0, MAX_INCREASE_PPM
    yield "budget.pue_ppm", scenario.budget.pue_ppm, PPM, MAX_MICRO_MONEY
    for name, pool in scenario.inventory.items():
        path = f"inventory.{name}"
        yield f"{path}.gpus_per_node", pool.gpus_per_node, 1, MAX_INTEGER
        yield f"{path}.committed_nodes", pool.committed_nodes, 0, MAX_NODES
        yield f"{path}.available_nodes", pool.available_nodes, 0, MAX_NODES
        yield f"{path}.price_micro_per_gpu_h", pool.price_micro_per_gpu_h, 0, MAX_MICRO_MONEY
    for name, model in scenario.models.items():
        path = f"models.{name}"
        for position, limit in enumerate(model.context_limits_tokens):
            yield f"{path}.context_limits_tokens[{position}]", limit, 1, MAX_TOKENS
        for position, shape in enumerate(model.parallel):
            for word in ("tp", "pp", "dp", "dcp"):
                yield f"{path}.parallel[{position}].{word}", getattr(shape, word), 1, MAX_RANKS
            yield f"{path}.parallel[{position}].gpus", shape.gpus, 1, MAX_RANKS
        if model.adjust is not None:
            yield f"{path}.adjust.memory_bytes_per_gpu", model.adjust.memory_bytes_per_gpu, 0, MAX_BYTES
            yield f"{path}.adjust.decode_time_ppm", model.adjust.decode_time_ppm, 0, 100 * PPM
        for position, budget in enumerate(model.engine_args.chunk_budgets):
            yield f"{path}.engine_args.max_num_batched_tokens[{position}]", budget, 1, MAX_TOKENS
        if model.speculative is not None:
            drafts = model.speculative
            yield f"{path}.speculative.draft_tokens", drafts.draft_tokens, 1, 64
            most = (drafts.draft_tokens + 1) * PPM
            yield f"{path}.speculative.accepted_tokens", ceil(drafts.accepted_tokens * PPM), PPM + 1, most
            yield f"{path}.speculative.step_overhead_ppm", drafts.step_overhead_ppm, 0, PPM
            yield f"{path}.speculative.memory_bytes_per_gpu", drafts.memory_bytes_per_gpu, 0, MAX_BYTES
        yield f"{path}.max_batch_min", model.max_batch_min, 1, MAX_INTEGER
        yield f"{path}.max_batch_max", model.max_batch_max or 1, 1, MAX_INTEGER
        yield f"{path}.replicas.min", model.replicas.min, 0, MAX_INTEGER
    for name, traffic in scenario.traffic.items():
        path = f"traffic.{name}"
        yield f"{path}.reusable_prefix_ppm", traffic.reusable_prefix_ppm, 0, PPM
        yield f"{path}.rejected_at_most_ppm", traffic.rejected_at_most_ppm, 0, PPM
        yield f"{path}.cut_short_at_most_ppm", traffic.cut_short_at_most_ppm, 0, PPM
        yield f"{path}.prompt_tail_ppm", traffic.prompt_tail_ppm, 0, 0
        for region, time_us in traffic.latency_us:
            yield f"{path}.latency_us.{region}", time_us, 0, MAX_DURATION_US
        yield f"{path}.peak_rps", 1 if traffic.peak_rps > 0 else 0, 1, 1
        yield f"{path}.mean_rps", 1 if traffic.mean_rps > 0 else 0, 1, 1
        for key, limit_us in (("ttft_p95_us", traffic.slo.ttft_p95_us), ("tpot_p95_us", traffic.slo.tpot_p95_us),
                              ("finish_within_us", traffic.slo.finish_within_us)):  # fmt: skip
            if limit_us is not None:
                yield f"{path}.slo.{key}", limit_us, 1, MAX_DURATION_US
        for key, lengths in (("input_tokens", traffic.input_tokens), ("output_tokens", traffic.output_tokens)):
            for position, (ppm, tokens) in enumerate(lengths.percentiles if lengths else ()):
                yield f"{path}.{key}.percentiles[{position}][0]", ppm, 1, PPM - 1
                yield f"{path}.{key}.percentiles[{position}][1]", tokens, 1, MAX_TOKENS
            if lengths:
                yield f"{path}.{key}.max_tokens", lengths.max_tokens, 1, MAX_TOKENS
