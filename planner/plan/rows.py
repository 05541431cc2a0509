"""Every row of the constraint program, added up in exact arithmetic on the integers stored in a plan.

Written from docs/model.md, not from the solver's code: the two must agree without sharing any.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction

from planner.candidates.spot import counted
from planner.catalog.parallel import parse_parallel
from planner.plan.certificate import broken_certificate
from planner.plan.edge import broken_edge
from planner.plan.hits import broken_hits
from planner.plan.limits import promised_shares
from planner.plan.moves import broken_moves, moves_of
from planner.plan.robustness import broken_robustness
from planner.plan.standing import broken_standing
from planner.plan.time_rows import broken_losses, broken_over_time, class_of, prompts_of
from planner.plan.types import Plan
from planner.plan.value import broken_values
from planner.scenario.robust import worst
from planner.scenario.types import HOURS_PER_MONTH, NodeKind
from planner.traffic.lengths import class_lengths

Broken = tuple[str, str, str]
"""The row's name, what the plan has, what the row allows."""

_MONEY = re.compile(r"[0-9]{1,15}(\.[0-9]{1,6})?")


def broken_rows(plan: Plan) -> list[Broken]:
    """All rows that do not hold; empty for a sound plan and for one without deployments."""
    if plan.status in ("infeasible", "unknown"):
        return [*_bounds(plan), *_certificate(plan), *broken_robustness(plan), *broken_standing(plan)]
    rows = broken_over_time(plan, _one_situation) if plan.time else [*_one_situation(plan), *broken_losses(plan)]
    second_solves = (*broken_values(plan), *broken_edge(plan), *broken_hits(plan), *broken_robustness(plan))
    return [*rows, *_proof(plan), *_bounds(plan), *_certificate(plan), *second_solves, *broken_standing(plan)]


def _one_situation(plan: Plan, waiting: Mapping[str, Fraction] | None = None) -> Iterator[Broken]:
    """Rows of a plan, or of one situation of a plan over time."""
    yield from _demand(plan, waiting or {})
    yield from _loads(plan)
    yield from _packing(plan)
    yield from _stock(plan)
    yield from _limits(plan)
    yield from _shares(plan)
    yield from _replicas(plan)
    yield from _promises(plan)
    yield from broken_moves(plan)


def _demand(plan: Plan, waiting: Mapping[str, Fraction]) -> Iterator[Broken]:
    """Every prompt length of every class is routed whole: the shares of the flows that contain it add up to 1, and so
    they do with what of a batch waits for another period."""
    flows: dict[str, list[tuple[int, int, Fraction]]] = {name: [] for name in plan.scenario.traffic}
    for item, share in waiting.items():
        name = class_of(item)
        if name not in flows or plan.scenario.traffic[name].slo.finish_within_us is None or not 0 <= share <= 1:
            yield f"waiting.{item}"[:100], _short(share), "a share of a daily batch"
            continue
        flows[name].append((*prompts_of(item), share))
    for name, deployment in plan.deployments.items():
        for route in deployment.routing:
            if route.class_name not in flows:
                yield f"deployments.{name}.routing.{route.item}", route.class_name, "a class of the scenario"
                continue
            allowed = plan.scenario.traffic[route.class_name].regions
            if allowed and deployment.region not in allowed:
                yield f"traffic.{route.class_name}.regions", f"served in {deployment.region}", ", ".join(allowed)[:80]
            flows[route.class_name].append((*route.prompt_tokens, route.share))
            if route.share < 0:
                yield f"deployments.{name}.routing.{route.item}.share", _short(route.share), "a share of at least 0"
    for name, traffic in sorted(worst(plan.scenario).traffic.items()):
        lengths = class_lengths(traffic)
        for tokens in (tokens for tokens, _ in lengths.prompts) if lengths else (0,):
            total = sum((share for low, high, share in flows[name] if low <= tokens <= high), Fraction(0))
            if total != 1:
                read = f"{_short(total)} of the prompts of {tokens} tokens routed"
                yield f"demand.{name}", read, f"exactly 1 (missing {_short(1 - total)})"
                break


def _loads(plan: Plan) -> Iterator[Broken]:
    for name, deployment in plan.deployments.items():
        counted = max(0, deployment.replicas - plan.scenario.reserve.spare_replicas)
        for row in deployment.loads:
            path = f"deployments.{name}.loads.{row.name}"
            used = sum((term.amount * term.share for term in row.terms), Fraction(0))
            if row.replicas_counted != counted:
                yield f"{path}.replicas_counted", str(row.replicas_counted), str(counted)
            if used > row.capacity * counted:
                yield path, _short(used), f"at most {_short(row.capacity * counted)}"


def _packing(plan: Plan) -> Iterator[Broken]:
    """Replicas sit in pools of their group; a pool's replicas fit node by node beside the group's spare nodes."""
    nodes: dict[NodeKind, int] = {}
    for name, pool in plan.pools.items():
        facts = plan.scenario.inventory[name]
        nodes[facts.kind] = nodes.get(facts.kind, 0) + counted(facts, pool.nodes)
    sizes: dict[NodeKind, dict[int, int]] = {}
    placed: dict[str, int] = {}
    for name, deployment in plan.deployments.items():
        key = deployment.kind
        each = deployment.gpus // deployment.replicas
        counts = sizes.setdefault(key, {})
        counts[each] = counts.get(each, 0) + deployment.replicas
        shape = parse_parallel(deployment.parallel) if deployment.parallel else None
        if shape is not None and (isinstance(shape, str) or shape.gpus != each):
            yield f"deployments.{name}.parallel", deployment.parallel[:40], f"a shape of {each} GPUs a replica"
        if sum(deployment.pools.values()) != deployment.replicas:
            yield f"deployments.{name}.pools", str(deployment.pools), f"{deployment.replicas} replicas in all"
        for where, replicas in deployment.pools.items():
            facts = plan.scenario.inventory[where]
            placed[where] = placed.get(where, 0) + replicas * each
            if facts.kind != key:
                yield f"deployments.{name}.pools.{where}", str(facts.kind), str(key)
    for key, counts in sorted(sizes.items()):
        free = nodes.get(key, 0) - plan.scenario.reserve.spare_nodes
        if not _fit(counts, key.gpus_per_node, free):
            gpus = sum(size * count for size, count in counts.items())
            yield f"packing.{key}", f"{gpus} GPUs", f"{max(0, free)} nodes of {key.gpus_per_node}"
    for where, gpus in sorted(placed.items()):
        facts = plan.scenario.inventory[where]
        bought = counted(facts, plan.pools[where].nodes) if where in plan.pools else 0
        held = facts.gpus_per_node * bought
        if gpus > held:
            yield f"pools.{where}.nodes", f"{gpus} GPUs busy", f"at most the {held} bought"


def _fit(counts: dict[int, int], gpus_per_node: int, nodes: int) -> bool:
    """Whether replicas of these sizes fit into nodes: larger ones first, each into what they leave free.

    Exact for tensor parallelism: its sizes are powers of two, so smaller replicas fill any gap that larger ones leave.
    """
    free = {gpus_per_node: max(0, nodes)}
    for size in sorted(counts, reverse=True):
        wanted = counts[size]
        for room in sorted(free):
            each = room // size if size else 0
            filled, rest = divmod(wanted, each) if each else (0, 0)
            if not each:
                continue
            whole = min(filled, free[room])
            free[room] -= whole
            free[room - each * size] = free.get(room - each * size, 0) + whole
            wanted -= whole * each
            if whole == filled and rest > 0 and free[room] > 0:
                free[room] -= 1
                free[room - rest * size] = free.get(room - rest * size, 0) + 1
                wanted -= rest
            if not wanted:
                break
        if wanted:
            return False
    return True


def _stock(plan: Plan) -> Iterator[Broken]:
    for name, facts in sorted(plan.scenario.inventory.items()):
        count = plan.pools[name].nodes if name in plan.pools else 0
        if count < facts.committed_nodes:
            yield f"inventory.{name}.committed", f"{count} nodes", f"at least {facts.committed_nodes}"
        most = facts.committed_nodes + facts.available_nodes
        if count > most:
            yield f"inventory.{name}.available", f"{count} nodes", f"at most {most}"


def _limits(plan: Plan) -> Iterator[Broken]:
    scenario, nodes = plan.scenario, {name: pool.nodes for name, pool in plan.pools.items()}
    pools = [(facts, nodes.get(name, 0)) for name, facts in scenario.inventory.items()]
    cost = sum(facts.price_micro_per_node_h * count for facts, count in pools) * HOURS_PER_MONTH
    power = Fraction(
        sum(facts.gpu.tdp_w * facts.gpus_per_node * count for facts, count in pools) * scenario.budget.pue_ppm, 1_000
    )
    if scenario.budget.monthly_micro is not None and cost > scenario.budget.monthly_micro:
        yield "budget.monthly", f"{cost} micro-{scenario.currency}", f"at most {scenario.budget.monthly_micro}"
    once = sum((Fraction(each.cost) for each in moves_of(scenario, plan.deployments)), Fraction(0)) * 1_000_000
    if (
        scenario.budget.total_micro is not None
        and cost * scenario.horizon_h > (scenario.budget.total_micro - once) * HOURS_PER_MONTH
    ):
        yield (
            "budget.total",
            f"{cost} micro-{scenario.currency} a month",
            f"at most {scenario.budget.total_micro} in all",
        )
    if scenario.budget.power_mw is not None and power > scenario.budget.power_mw:
        yield "budget.power", f"{power} mW", f"at most {scenario.budget.power_mw} mW"
    for name, limit in sorted(scenario.limits.items()):
        used = sum((amount * nodes.get(pool, 0) for pool, amount in limit.per_node), Fraction(0))
        if used > limit.max:
            yield f"limits.{name}", str(used), f"at most {limit.max}"


def _shares(plan: Plan) -> Iterator[Broken]:
    for (name, key), used in sorted(promised_shares(plan.deployments).items()):
        if name not in plan.scenario.traffic:
            continue
        traffic = plan.scenario.traffic[name]
        limit = traffic.rejected_at_most_ppm if key == "rejected_at_most" else traffic.cut_short_at_most_ppm
        if used * 1_000_000 > limit:
            yield f"traffic.{name}.{key}", f"{_short(used * 100)}% of its requests", f"at most {limit / 10_000}%"


def _replicas(plan: Plan) -> Iterator[Broken]:
    for name, model in sorted(plan.scenario.models.items()):
        own = [d for d in plan.deployments.values() if d.model == name]
        total = sum(d.replicas for d in own)
        if total < model.replicas.min:
            yield f"models.{name}.replicas.min", str(total), f"at least {model.replicas.min}"
        if model.replicas.max is not None and total > model.replicas.max:
            yield f"models.{name}.replicas.max", str(total), f"at most {model.replicas.max}"
        kinds = {
            (d.gpu, d.gpus // d.replicas, d.parallel, d.weights, d.kv_preset, d.context_limit_tokens, d.max_batch,
             d.operating_tpot_ns, d.operating_ttft_ns)
            for d in own
        }  # fmt: skip
        if model.max_configurations is not None and len(kinds) > model.max_configurations:
            yield f"models.{name}.max_configurations", str(len(kinds)), f"at most {model.max_configurations}"


def _promises(plan: Plan) -> Iterator[Broken]:
    """Every promise of a class stands on every deployment that serves it, with the scenario's limit, and is kept."""
    for name, deployment in plan.deployments.items():
        stated = {(promise.class_name, promise.metric): promise for promise in deployment.promises}
        for class_name in sorted({route.class_name for route in deployment.routing} & set(plan.scenario.traffic)):
            slo = plan.scenario.traffic[class_name].slo
            network_us = dict(plan.scenario.traffic[class_name].latency_us).get(deployment.region, 0)
            wanted = {"ttft_p95": slo.ttft_p95_us, "tpot_p95": slo.tpot_p95_us, "finish_within": slo.finish_within_us}
            for metric, limit_us in wanted.items():
                path = f"traffic.{class_name}.slo.{metric}"
                promise = stated.get((class_name, metric))  # type: ignore[arg-type]
                if promise is None:
                    if limit_us is not None and plan.scenario.models[deployment.model].facts is not None:
                        yield path, f"not stated on {name}", f"{limit_us} us"
                elif promise.network_us != (network_us if metric == "ttft_p95" else 0):
                    yield path, f"{promise.network_us} us of network on {name}", f"{network_us} us in the scenario"
                elif promise.limit_us != limit_us:
                    yield path, f"{promise.limit_us} us on {name}", f"{limit_us} us in the scenario"
                elif promise.predicted_us > promise.limit_us:
                    yield path, f"{promise.predicted_us} us on {name}", f"at most {limit_us} us"


def _short(value: Fraction | int) -> str:
    """A number for people; exact ones may have hundreds of digits."""
    text = f"{value.numerator}/{value.denominator}" if value.denominator != 1 else str(value.numerator)
    if len(text) <= 24:
        return text
    digits = len(str(abs(value.numerator))) - len(str(value.denominator))
    return f"{float(value):.9g}" if -300 < digits < 300 else f"about 1e{digits}"


def _proof(plan: Plan) -> Iterator[Broken]:
    """A bound is never above its value, and `optimal` means that every stage has met its bound."""
    for stage in plan.objective:
        if stage.bound is not None and stage.bound > stage.value:
            yield f"objective.{stage.name}.bound", str(stage.bound), f"at most its value {stage.value}"
        if plan.status == "optimal" and stage.bound != stage.value:
            yield f"objective.{stage.name}.bound", str(stage.bound), f"{stage.value} in an optimal plan"


def _certificate(plan: Plan) -> Iterator[Broken]:
    """The replay's verdict contradicts neither itself nor the promises of the plan."""
    promised: dict[tuple[str, str], int] = {
        (promise.class_name, promise.metric): promise.limit_us
        for deployment in plan.deployments.values()
        for promise in deployment.promises
    }
    yield from broken_certificate(plan.certificate, plan.scenario, promised, has_plan=bool(plan.deployments))


def _bounds(plan: Plan) -> Iterator[Broken]:
    """Every bounded model says what its interval does; less KV never costs more, and another cost is another plan."""
    bounded = {name for name, model in plan.scenario.models.items() if model.low_facts is not None}
    for name in sorted(bounded ^ set(plan.bounds)):
        read, allowed = ("present", "a bounded model") if name in plan.bounds else ("absent", "what its interval does")
        yield f"bounds.{name}", read, allowed
    cost = plan.totals.cost_per_month if plan.totals else None
    for name, bound in sorted(plan.bounds.items()):
        low, high = bound.low_cost_per_month, bound.high_cost_per_month
        if high != cost:
            yield f"bounds.{name}.high_cost_per_month", str(high), f"{cost}, the cost of the plan"
        if low != high and not bound.changes_plan:
            yield f"bounds.{name}.changes_plan", "false", f"true: {low} is not {high}"
        if low is None and high is not None:
            yield f"bounds.{name}.low_cost_per_month", "none", f"at most {high}"
        elif low is not None and not _MONEY.fullmatch(low):
            yield f"bounds.{name}.low_cost_per_month", low[:40], "an amount of money"
        elif low is not None and high is not None and bound.proved and Fraction(low) > Fraction(high):
            yield f"bounds.{name}.low_cost_per_month", low, f"at most {high}: less KV never costs more"
        if bound.proved and plan.status not in ("optimal", "infeasible"):
            yield f"bounds.{name}.proved", "true", f"false: the plan is {plan.status}"
