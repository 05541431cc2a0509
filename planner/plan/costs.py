"""Money, GPUs and power of a plan: what is bought is what costs."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from planner.candidates.groups import pool_groups
from planner.candidates.spot import counted
from planner.plan.money import decimal, money
from planner.plan.types import Deployment, ModelCost, PoolPlan, Totals
from planner.scenario.traffic import TrafficClass
from planner.scenario.types import HOURS_PER_MONTH, Scenario
from planner.traffic.lengths import class_lengths


def pool_plans(
    scenario: Scenario, nodes: Mapping[str, int], deployments: Mapping[str, Deployment]
) -> dict[str, PoolPlan]:
    """Every pool of the inventory, bought or not. Spare GPUs are those of `reserve.spare` nodes in used groups."""
    busy = _busy_gpus(deployments)
    spare = _spare_gpus(scenario, nodes, busy)
    result = {}
    for name in sorted(scenario.inventory):
        pool, count = scenario.inventory[name], nodes.get(name, 0)
        cost = pool.price_micro_per_node_h * count
        total = pool.gpus_per_node * count
        result[name] = PoolPlan(
            gpu=pool.gpu.id,
            region=pool.region,
            nodes=count,
            nodes_offered=pool.committed_nodes + pool.available_nodes,
            nodes_committed=pool.committed_nodes,
            gpus_busy=busy.get(name, 0),
            gpus_spare=spare.get(name, 0),
            gpus_idle=total - busy.get(name, 0) - spare.get(name, 0),
            price_per_gpu_h=money(pool.price_micro_per_gpu_h),
            cost_per_h=money(cost),
            cost_per_month=money(cost * HOURS_PER_MONTH),
            committed_per_month=money(pool.price_micro_per_node_h * pool.committed_nodes * HOURS_PER_MONTH),
            zone=pool.zone,
            nodes_counted=None if pool.terms is None else counted(pool, count),
        )
    return result


def _busy_gpus(deployments: Mapping[str, Deployment]) -> dict[str, int]:
    busy: dict[str, int] = {}
    for deployment in deployments.values():
        gpus = deployment.gpus // deployment.replicas
        for pool, replicas in deployment.pools.items():
            busy[pool] = busy.get(pool, 0) + replicas * gpus
    return busy


def _spare_gpus(scenario: Scenario, nodes: Mapping[str, int], busy: Mapping[str, int]) -> dict[str, int]:
    """The spare nodes' GPUs, taken from the free GPUs of the group's pools, last filled first, and those of spot nodes
    that are not counted on."""
    spare = {
        name: pool.gpus_per_node * (nodes.get(name, 0) - counted(pool, nodes.get(name, 0)))
        for name, pool in scenario.inventory.items()
    }
    for group in pool_groups(scenario):
        if not any(busy.get(pool.name) for pool in group.pools):
            continue
        wanted = scenario.reserve.spare_nodes * group.gpus_per_node
        for pool in reversed(group.pools):
            free = pool.gpus_per_node * nodes.get(pool.name, 0) - busy.get(pool.name, 0) - spare[pool.name]
            taken = min(free, wanted)
            spare[pool.name] += taken
            wanted -= taken
    return spare


def power_mw(scenario: Scenario, nodes: Mapping[str, int]) -> Fraction:
    """TDP of all GPUs bought times `budget.pue`, in milliwatts."""
    watts = sum(pool.gpu.tdp_w * pool.gpus_per_node * nodes.get(name, 0) for name, pool in scenario.inventory.items())
    return Fraction(watts * 1_000 * scenario.budget.pue_ppm, 1_000_000)


def totals(scenario: Scenario, pools: Mapping[str, PoolPlan]) -> Totals:
    """Sums over the pools; money stays exact."""
    nodes = {name: pool.nodes for name, pool in pools.items()}
    per_h = sum(scenario.inventory[name].price_micro_per_node_h * count for name, count in nodes.items())
    return bought_totals(scenario, pools, Fraction(per_h), sum(tokens_of(scenario).values(), Fraction(0)))


def bought_totals(scenario: Scenario, pools: Mapping[str, PoolPlan], per_h: Fraction, tokens: Fraction) -> Totals:
    """Totals of what the pools hold, at a cost by the hour, for the tokens of a month."""
    nodes = {name: pool.nodes for name, pool in pools.items()}
    gpus = sum(scenario.inventory[name].gpus_per_node * count for name, count in nodes.items())
    busy = sum(pool.gpus_busy for pool in pools.values())
    spare = sum(pool.gpus_spare for pool in pools.values())
    return Totals(
        cost_per_h=money(per_h),
        cost_per_month=money(per_h * HOURS_PER_MONTH),
        cost_over_horizon=money(per_h * scenario.horizon_h),
        gpus=gpus,
        gpus_busy=busy,
        gpus_spare=spare,
        gpus_idle=gpus - busy - spare,
        power_w=decimal(power_mw(scenario, nodes) / 1_000, places=3, at_least=0),
        cost_per_million_tokens=_per_million(per_h * HOURS_PER_MONTH, tokens),
    )


def tokens_per_month(traffic: TrafficClass) -> Fraction:
    """Input and output tokens of a class at mean load; 0 where a capacity table leaves lengths unknown."""
    lengths = class_lengths(traffic)
    if lengths is None:
        return Fraction(0)
    mean = lengths.mean_prompt_tokens + lengths.mean_output_tokens
    return traffic.mean_rps * mean * HOURS_PER_MONTH * 3_600


def tokens_of(scenario: Scenario) -> dict[str, Fraction]:
    """Tokens of a month by model."""
    tokens = {name: Fraction(0) for name in scenario.models}
    for traffic in scenario.traffic.values():
        tokens[traffic.model] += tokens_per_month(traffic)
    return tokens


def model_money(
    scenario: Scenario, deployments: Mapping[str, Deployment], nodes: Mapping[str, int]
) -> dict[str, Fraction]:
    """Micro-units an hour by model: a pool's cost goes by the share of its busy GPUs, without any to no model."""
    busy = _busy_gpus(deployments)
    cost = {name: Fraction(0) for name in scenario.models}
    for deployment in deployments.values():
        gpus = deployment.gpus // deployment.replicas
        for pool, replicas in deployment.pools.items():
            whole = scenario.inventory[pool].price_micro_per_node_h * nodes[pool]
            cost[deployment.model] += Fraction(whole * replicas * gpus, busy[pool])
    return cost


def model_costs(
    scenario: Scenario, per_h: Mapping[str, Fraction], tokens: Mapping[str, Fraction]
) -> dict[str, ModelCost]:
    """What models cost in a month, and for a million of their tokens of a month."""
    result = {}
    for name in sorted(scenario.models):
        cost, own = per_h[name] * HOURS_PER_MONTH, tokens[name]
        result[name] = ModelCost(money(cost), decimal(own, places=0), _per_million(cost, own))
    return result


def _per_million(cost_micro: Fraction | int, tokens: Fraction) -> str | None:
    return decimal(Fraction(cost_micro) / tokens, places=4) if tokens else None
