"""Every row of the constraint program, added up in exact arithmetic on the integers stored in a plan.

Written from docs/model.md, not from the solver's code: the two must agree without sharing any.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from planner.plan.limits import promised_shares
from planner.plan.types import Plan
from planner.scenario.types import HOURS_PER_MONTH
from planner.traffic.lengths import histogram

Broken = tuple[str, str, str]
"""The row's name, what the plan has, what the row allows."""


def broken_rows(plan: Plan) -> list[Broken]:
    """All rows that do not hold; empty for a sound plan and for one without deployments."""
    if plan.status in ("infeasible", "unknown"):
        return []
    return [
        *_demand(plan),
        *_loads(plan),
        *_packing(plan),
        *_stock(plan),
        *_limits(plan),
        *_shares(plan),
        *_replicas(plan),
        *_proof(plan),
    ]


def _demand(plan: Plan) -> Iterator[Broken]:
    """Every prompt length of every class is routed whole: the shares of the flows that contain it add up to 1."""
    flows: dict[str, list[tuple[int, int, Fraction]]] = {name: [] for name in plan.scenario.traffic}
    for name, deployment in plan.deployments.items():
        for route in deployment.routing:
            if route.class_name not in flows:
                yield f"deployments.{name}.routing.{route.item}", route.class_name, "a class of the scenario"
                continue
            flows[route.class_name].append((*route.prompt_tokens, route.share))
            if route.share < 0:
                yield f"deployments.{name}.routing.{route.item}.share", str(route.share), "a share of at least 0"
    for name, traffic in sorted(plan.scenario.traffic.items()):
        lengths = [tokens for tokens, _ in histogram(traffic.input_tokens)] if traffic.input_tokens else [0]
        for tokens in lengths:
            total = sum((share for low, high, share in flows[name] if low <= tokens <= high), Fraction(0))
            if total != 1:
                yield f"demand.{name}", f"{total} of the prompts of {tokens} tokens routed", "exactly 1"
                break


def _loads(plan: Plan) -> Iterator[Broken]:
    for name, deployment in plan.deployments.items():
        counted = deployment.replicas - plan.scenario.reserve.spare_replicas
        for row in deployment.loads:
            path = f"deployments.{name}.loads.{row.name}"
            used = sum((term.amount * term.share for term in row.terms), Fraction(0))
            if row.replicas_counted != counted:
                yield f"{path}.replicas_counted", str(row.replicas_counted), str(counted)
            if used > row.capacity * counted:
                yield path, f"{float(used):.6e}", f"at most {row.capacity * counted:.6e}"


def _packing(plan: Plan) -> Iterator[Broken]:
    """Replicas sit in pools of their group; a pool's replicas fit node by node beside the group's spare nodes."""
    nodes: dict[tuple[str, str, int], int] = {}
    for name, pool in plan.pools.items():
        facts = plan.scenario.inventory[name]
        key = (pool.gpu, pool.region, facts.gpus_per_node)
        nodes[key] = nodes.get(key, 0) + pool.nodes
    sizes: dict[tuple[str, str, int], list[int]] = {}
    for name, deployment in plan.deployments.items():
        key = (deployment.gpu, deployment.region, deployment.gpus_per_node)
        each = deployment.gpus // deployment.replicas
        sizes.setdefault(key, []).extend([each] * deployment.replicas)
        if each * deployment.replicas != deployment.gpus:
            yield f"deployments.{name}.gpus", str(deployment.gpus), f"a multiple of {deployment.replicas} replicas"
        if sum(deployment.pools.values()) != deployment.replicas:
            yield f"deployments.{name}.pools", str(deployment.pools), f"{deployment.replicas} replicas in all"
    for key, parts in sorted(sizes.items()):
        free = [key[2]] * (nodes.get(key, 0) - plan.scenario.reserve.spare_nodes)
        if not _fit(sorted(parts, reverse=True), free):
            yield f"packing.{key[0]}@{key[1]}x{key[2]}", f"{sum(parts)} GPUs", f"{len(free)} nodes of {key[2]}"


def _fit(parts: list[int], free: list[int]) -> bool:
    """Whether parts go into bins. First fit decreasing is exact for the power-of-two sizes of tensor parallelism."""
    for part in parts:
        slot = next((index for index, left in enumerate(free) if left >= part), None)
        if slot is None:
            return False
        free[slot] -= part
    return True


def _stock(plan: Plan) -> Iterator[Broken]:
    for name, facts in sorted(plan.scenario.inventory.items()):
        count = plan.pools[name].nodes if name in plan.pools else 0
        if count < facts.committed_nodes:
            yield f"inventory.{name}.committed", f"{count} nodes", f"at least {facts.committed_nodes}"
        if count > facts.committed_nodes + facts.available_nodes:
            yield f"inventory.{name}.available", f"{count} nodes", f"at most {facts.committed_nodes + facts.available_nodes}"


def _limits(plan: Plan) -> Iterator[Broken]:
    scenario, nodes = plan.scenario, {name: pool.nodes for name, pool in plan.pools.items()}
    pools = [(facts, nodes.get(name, 0)) for name, facts in scenario.inventory.items()]
    cost = sum(facts.price_micro_per_gpu_h * facts.gpus_per_node * count for facts, count in pools) * HOURS_PER_MONTH
    power = Fraction(
        sum(facts.gpu.tdp_w * facts.gpus_per_node * count for facts, count in pools) * scenario.budget.pue_ppm, 1_000
    )
    if scenario.budget.monthly_micro is not None and cost > scenario.budget.monthly_micro:
        yield "budget.monthly", f"{cost} micro-{scenario.currency}", f"at most {scenario.budget.monthly_micro}"
    if scenario.budget.power_mw is not None and power > scenario.budget.power_mw:
        yield "budget.power", f"{power} mW", f"at most {scenario.budget.power_mw} mW"
    for name, limit in sorted(scenario.limits.items()):
        used = sum((amount * nodes.get(pool, 0) for pool, amount in limit.per_node), Fraction(0))
        if used > limit.max:
            yield f"limits.{name}", str(used), f"at most {limit.max}"


def _shares(plan: Plan) -> Iterator[Broken]:
    for (name, key), used in sorted(promised_shares(plan.deployments).items()):
        traffic = plan.scenario.traffic[name]
        limit = traffic.rejected_at_most_ppm if key == "rejected_at_most" else traffic.cut_short_at_most_ppm
        if used * 1_000_000 > limit:
            yield f"traffic.{name}.{key}", f"{float(used):.4%} of its requests", f"at most {limit / 10_000}%"


def _replicas(plan: Plan) -> Iterator[Broken]:
    for name, model in sorted(plan.scenario.models.items()):
        own = [d for d in plan.deployments.values() if d.model == name]
        total = sum(d.replicas for d in own)
        if total < model.replicas.min:
            yield f"models.{name}.replicas.min", str(total), f"at least {model.replicas.min}"
        if model.replicas.max is not None and total > model.replicas.max:
            yield f"models.{name}.replicas.max", str(total), f"at most {model.replicas.max}"
        kinds = {
            (d.gpu, d.gpus // d.replicas, d.weights, d.kv_preset, d.context_limit_tokens, d.max_batch,
             d.operating_tpot_ns, d.operating_ttft_ns)
            for d in own
        }  # fmt: skip
        if model.max_configurations is not None and len(kinds) > model.max_configurations:
            yield f"models.{name}.max_configurations", str(len(kinds)), f"at most {model.max_configurations}"


def _proof(plan: Plan) -> Iterator[Broken]:
    """A bound is never above its value, and `optimal` means that every stage has met its bound."""
    for stage in plan.objective:
        if stage.bound is not None and stage.bound > stage.value:
            yield f"objective.{stage.name}.bound", str(stage.bound), f"at most its value {stage.value}"
        if plan.status == "optimal" and stage.bound != stage.value:
            yield f"objective.{stage.name}.bound", str(stage.bound), f"{stage.value} in an optimal plan"
