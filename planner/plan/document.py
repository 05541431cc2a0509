"""Builds the plan document from a decision. `check` builds it again from the stored decision and compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from planner.candidates import Candidate, CandidateTable
from planner.candidates.groups import PoolGroup, pool_groups
from planner.candidates.types import ROW_NAMES, DemandItem
from planner.plan import promises as promises_of
from planner.plan.assumptions import assumptions
from planner.plan.costs import model_costs, pool_plans, totals
from planner.plan.edge import BandEdge, band_edge
from planner.plan.evidence import evidence, warnings
from planner.plan.limits import limit_rows
from planner.plan.money import ppm
from planner.plan.types import (
    FORMAT_VERSION,
    BoundPlan,
    Candidates,
    Certificate,
    Conflict,
    Deployment,
    LoadRow,
    LoadTerm,
    ObjectiveStage,
    Plan,
    RejectedChoice,
    Route,
    Run,
    Status,
)
from planner.plan.value import IfWrong, PresetValue, if_wrong, preset_values
from planner.scenario.types import Scenario


@dataclass(frozen=True)
class Placed:
    """A configuration with replicas on a group, and the items that it serves with their exact shares."""

    candidate: Candidate
    group: PoolGroup
    replicas: int
    shares: tuple[tuple[int, Fraction], ...]


@dataclass(frozen=True)
class Decision:
    """What was decided, in plain values: this and the scenario determine the whole document but its proof."""

    placed: tuple[Placed, ...]
    nodes: Mapping[str, int]


@dataclass(frozen=True)
class Verdict:
    """What the solver proved."""

    status: Status
    stages: tuple[tuple[str, int | None], ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    bounds: Mapping[str, BoundPlan] = field(default_factory=dict)
    if_wrong: IfWrong | None = None
    preset_value: tuple[PresetValue, ...] = ()
    band_edge: BandEdge | None = None


def build_plan(
    scenario: Scenario, table: CandidateTable, decision: Decision | None, verdict: Verdict, run: Run
) -> Plan:
    """The whole document, its hash left empty (`plan.io.seal` fills it)."""
    rejected = tuple(
        RejectedChoice(r.model, r.subject, str(r.bottleneck), r.message, r.nearest, r.class_name, r.count)
        for r in table.rejections
    )
    counts = Candidates(
        examined=table.examined,
        refused=table.examined - table.dominated - len(table.candidates),
        dominated=table.dominated,
        offered=len(table.candidates),
    )
    certificate = Certificate("not_simulated", "promises rest on closed forms; no replay has confirmed them")
    bare = replace(scenario, places={})
    if decision is None:
        return Plan(
            FORMAT_VERSION, verdict.status, None, (), None, {}, {}, (), {}, verdict.conflicts, rejected, counts,
            evidence(scenario, (), table), warnings(scenario, (), verdict.bounds), certificate, bare, "", run,
            assumptions(scenario), dict(verdict.bounds), band_edge=band_edge(verdict.band_edge, {}, None),
        )  # fmt: skip
    deployments = _deployments(scenario, table, decision)
    pools = pool_plans(scenario, decision.nodes, deployments)
    stages = _stages(scenario, table, decision, verdict)
    used = tuple(deployments.values())
    bought = totals(scenario, pools)
    costs = model_costs(scenario, deployments, decision.nodes)
    debt = evidence_debt(decision)
    return Plan(
        format_version=FORMAT_VERSION,
        status=verdict.status,
        gap_ppm=_gap_ppm(stages),
        objective=stages,
        totals=bought,
        deployments=deployments,
        pools=pools,
        limits=limit_rows(scenario, decision.nodes, deployments),
        models=costs,
        conflicts=(),
        rejected=rejected,
        candidates=counts,
        evidence=evidence(scenario, used, table),
        warnings=warnings(scenario, used, verdict.bounds),
        certificate=certificate,
        scenario=bare,
        hash="",
        run=run,
        assumptions=assumptions(scenario),
        bounds=dict(verdict.bounds),
        hypothetical=bool(debt),
        evidence_debt=debt,
        if_wrong=if_wrong(verdict.if_wrong, debt, bought),
        preset_value=preset_values(verdict.preset_value, deployments, bought, costs),
        band_edge=band_edge(verdict.band_edge, deployments, bought),
    )


def evidence_debt(decision: Decision) -> tuple[str, ...]:
    """What would have to be shown for the presets that only `compression.allow` admits, each thing once."""
    return tuple(dict.fromkeys(text for part in decision.placed for text in part.candidate.debt))


def _deployments(scenario: Scenario, table: CandidateTable, decision: Decision) -> dict[str, Deployment]:
    """Deployments by name: the model's, numbered when it runs more than one; replicas fill pools in a fixed order."""
    placed = sorted(decision.placed, key=lambda p: (p.candidate.config.model, p.group.name, p.candidate.config))
    per_model: dict[str, int] = {}
    for part in placed:
        per_model[part.candidate.config.model] = per_model.get(part.candidate.config.model, 0) + 1
    where = _assign(scenario, placed, decision.nodes)
    result: dict[str, Deployment] = {}
    seen: dict[str, int] = {}
    for part, pools in zip(placed, where, strict=True):
        model = part.candidate.config.model
        seen[model] = seen.get(model, 0) + 1
        name = model if per_model[model] == 1 else f"{model}-{seen[model]}"
        result[name] = _deployment(scenario, table, part, pools)
    return result


def _assign(scenario: Scenario, placed: list[Placed], nodes: Mapping[str, int]) -> list[dict[str, int]]:
    """Replicas per pool: within a group larger replicas first, pools in fill order, node by node, spare nodes last."""
    free: dict[str, list[int]] = {}
    order: dict[str, list[str]] = {}
    for group in pool_groups(scenario):
        order[group.name] = [pool.name for pool in group.pools]
        for pool in group.pools:
            free[pool.name] = [group.gpus_per_node] * nodes.get(pool.name, 0)
    result: list[dict[str, int]] = [{} for _ in placed]
    by_size = sorted(range(len(placed)), key=lambda i: (-placed[i].candidate.config.gpus, i))
    for index in by_size:
        part = placed[index]
        for _ in range(part.replicas):
            for name in order[part.group.name]:
                slot = next((n for n, left in enumerate(free[name]) if left >= part.candidate.config.gpus), None)
                if slot is not None:
                    free[name][slot] -= part.candidate.config.gpus
                    result[index][name] = result[index].get(name, 0) + 1
                    break
    return result


def _deployment(scenario: Scenario, table: CandidateTable, part: Placed, pools: dict[str, int]) -> Deployment:
    config = part.candidate.config
    loads = _load_rows(table.items, part, max(0, part.replicas - scenario.reserve.spare_replicas))
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
        routing=_routes(table.items, part),
        promises=promises_of.promises(scenario, table.items, part.candidate, part.shares, loads),
        notes=(*part.candidate.estimated, *part.candidate.cautions),
        provider=part.candidate.provider,
        band=part.candidate.band,
    )


def _load_rows(items: tuple[DemandItem, ...], part: Placed, counted: int) -> tuple[LoadRow, ...]:
    """The load rows of a deployment; `counted` replicas serve, the others are the spare ones."""
    candidate, loads = part.candidate, dict(part.candidate.loads)
    rows = []
    for name in ROW_NAMES if candidate.memory else ROW_NAMES[:1]:
        terms = tuple(LoadTerm(items[k].name, loads[k].amount(name), share) for k, share in part.shares)
        used = sum((term.amount * term.share for term in terms), Fraction(0))
        room = candidate.capacity * counted
        rows.append(LoadRow(name, candidate.capacity, counted, terms, ppm(used / room) if room else 0))
    return tuple(rows)


def _routes(items: tuple[DemandItem, ...], part: Placed) -> tuple[Route, ...]:
    loads = dict(part.candidate.loads)
    routes = []
    for k, share in part.shares:
        item, load = items[k], loads[k]
        prompts = (item.band.prompts[0][0], item.band.prompts[-1][0]) if item.band else (0, 0)
        routes.append(
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
            )
        )
    return tuple(routes)


def _stages(
    scenario: Scenario, table: CandidateTable, decision: Decision, verdict: Verdict
) -> tuple[ObjectiveStage, ...]:
    """Objective values recomputed from the decision; the bounds are the solver's."""
    pools = scenario.inventory
    values = {
        "cost": sum(pools[name].price_micro_per_node_h * count for name, count in decision.nodes.items()),
        "gpus": sum(pools[name].gpus_per_node * count for name, count in decision.nodes.items()),
        "quality_loss": quality_loss_units(table.items, decision),
    }
    units = {"cost": f"micro-{scenario.currency}/h", "gpus": "GPUs", "quality_loss": "ppm x output tokens/s"}
    bounds = dict(verdict.stages)
    return tuple(ObjectiveStage(name, values[name], bounds.get(name), units[name]) for name in scenario.objective)


def quality_loss_units(items: tuple[DemandItem, ...], decision: Decision) -> int:
    """sum of mean output tokens/s x share x loss, in whole units of 1 ppm x token/s, rounded up."""
    total = Fraction(0)
    for part in decision.placed:
        loads = dict(part.candidate.loads)
        total += sum(
            (items[k].output_tokens_per_s * share * loads[k].loss_ppm for k, share in part.shares), Fraction(0)
        )
    return -int(-total // 1)


def _gap_ppm(stages: tuple[ObjectiveStage, ...]) -> int | None:
    """Relative distance of the first objective from its proved bound; None where nothing was proved."""
    first = stages[0]
    if first.bound is None:
        return None
    return ppm(Fraction(first.value - first.bound, first.value)) if first.value else 0
