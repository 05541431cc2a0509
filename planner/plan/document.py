"""Builds the plan document from a decision. `check` builds it again from the stored decision and compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil

from planner.candidates import CandidateTable
from planner.candidates.situations import situations, table_at
from planner.candidates.types import DemandItem
from planner.plan.as_is import AsIs
from planner.plan.assumptions import assumptions
from planner.plan.certificate import NOT_SIMULATED, Certificate
from planner.plan.costs import model_costs, model_money, pool_plans, tokens_of, totals
from planner.plan.edge import BandEdge, band_edge
from planner.plan.evidence import evidence, warnings
from planner.plan.hits import WithoutHits, dry_notes, hit_notes, without_hits
from planner.plan.limits import limit_rows
from planner.plan.losses import after_losses
from planner.plan.money import ppm
from planner.plan.moves import MOVED, Moves, moves_of, nearness, pays_moves
from planner.plan.robustness import Robustness, robustness
from planner.plan.running import Moment, deployments_of, names_of
from planner.plan.standing import conflicts_of
from planner.plan.time import Bought, money_rows, over_time, pools_over_time, tokens_over_time, totals_over_time
from planner.plan.types import (
    FORMAT_VERSION,
    AfterLoss,
    BoundPlan,
    Candidates,
    Conflict,
    Deployment,
    LimitRow,
    ModelCost,
    ObjectiveStage,
    Plan,
    PoolPlan,
    RejectedChoice,
    Run,
    Status,
    TimePlan,
    Totals,
)
from planner.plan.value import IfWrong, PresetValue, if_wrong, preset_values
from planner.scenario.types import Scenario


@dataclass(frozen=True)
class Decision:
    """What was decided, in plain values: this and the scenario determine the whole document but its proof.

    One moment for every situation; `kept` and `bought` are nodes by month of the pools that count in months.
    """

    moments: tuple[Moment, ...]
    kept: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    bought: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


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
    certificate: Certificate = NOT_SIMULATED
    without_hits: WithoutHits | None = None
    robustness: Robustness | None = None
    as_is: AsIs | None = None


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
    certificate = verdict.certificate
    bare = replace(scenario, places={})
    if decision is None:
        conflicts = verdict.conflicts
        if scenario.as_is and verdict.status == "infeasible":
            conflicts = conflicts_of(scenario, verdict.as_is)
        return Plan(
            FORMAT_VERSION, verdict.status, None, (), None, {}, {}, (), {}, conflicts, rejected, counts,
            evidence(scenario, (), table), warnings(scenario, (), verdict.bounds), certificate, bare, "", run,
            assumptions(scenario), dict(verdict.bounds), band_edge=band_edge(verdict.band_edge, {}, None),
            robustness=robustness(verdict.robustness, None),
            as_is=verdict.as_is,
        )  # fmt: skip
    shown = _shown(scenario, table, decision)
    stages = _stages(scenario, shown, verdict)
    debt = evidence_debt(decision)
    dry = without_hits(verdict.without_hits, shown.totals)
    return Plan(
        format_version=FORMAT_VERSION,
        status=verdict.status,
        gap_ppm=_gap_ppm(stages),
        objective=stages,
        totals=shown.totals,
        deployments=shown.deployments,
        pools=shown.pools,
        limits=shown.limits,
        models=shown.models,
        conflicts=(),
        rejected=rejected,
        candidates=counts,
        evidence=evidence(scenario, shown.everywhere, table),
        warnings=(*warnings(scenario, shown.everywhere, verdict.bounds), *_hit_notes(scenario, shown, dry)),
        certificate=certificate,
        scenario=bare,
        hash="",
        run=run,
        assumptions=assumptions(scenario),
        bounds=dict(verdict.bounds),
        hypothetical=bool(debt),
        evidence_debt=debt,
        if_wrong=if_wrong(verdict.if_wrong, debt, shown.totals),
        preset_value=preset_values(verdict.preset_value, shown.deployments, shown.totals, shown.models),
        losses=shown.losses,
        time=shown.time,
        band_edge=band_edge(verdict.band_edge, shown.deployments, shown.totals),
        without_hits=dry,
        moves=shown.moves,
        robustness=robustness(verdict.robustness, shown.totals),
        as_is=verdict.as_is,
    )


def evidence_debt(decision: Decision) -> tuple[str, ...]:
    """What would have to be shown for the presets that only `compression.allow` admits, each thing once."""
    placed = [part for moment in decision.moments for part in moment.placed]
    return tuple(dict.fromkeys(text for part in placed for text in part.candidate.debt))


def _hit_notes(scenario: Scenario, shown: _Shown, dry: WithoutHits | None) -> tuple[str, ...]:
    """What the prefix cache is counted for, and what the plan is without it."""
    return (*hit_notes(scenario, shown.deployments), *dry_notes(dry, scenario.currency))


@dataclass(frozen=True)
class _Shown:
    """What a reader sees first: the one situation, or the costliest one with the money of all. `values` are those of
    the objectives, `everywhere` the deployments of all situations."""

    deployments: dict[str, Deployment]
    pools: dict[str, PoolPlan]
    totals: Totals
    models: dict[str, ModelCost]
    limits: tuple[LimitRow, ...]
    losses: tuple[AfterLoss, ...]
    values: Mapping[str, int]
    everywhere: tuple[Deployment, ...]
    time: TimePlan | None
    moves: tuple[Moves, ...]


def _shown(scenario: Scenario, table: CandidateTable, decision: Decision) -> _Shown:
    """A plan without time, or the parts of one with it."""
    if scenario.timed:
        return _shown_over_time(scenario, table, decision)
    moment, names = decision.moments[0], names_of(decision.moments)
    nodes = moment.nodes
    deployments = deployments_of(scenario, table, moment, names)
    pools = pool_plans(scenario, nodes, deployments)
    inventory, moves = scenario.inventory, moves_of(scenario, deployments)
    cost = sum(inventory[name].price_micro_per_node_h * count for name, count in nodes.items())
    return _Shown(
        deployments=deployments,
        pools=pools,
        totals=totals(scenario, pools),
        models=model_costs(scenario, model_money(scenario, deployments, nodes), tokens_of(scenario)),
        limits=limit_rows(scenario, nodes, deployments),
        losses=after_losses(scenario, table, moment, names),
        values={
            "cost": _with_moves(scenario, cost, moves),
            "gpus": sum(inventory[name].gpus_per_node * count for name, count in nodes.items()),
            "quality_loss": ceil(quality_loss(table.items, moment)),
            MOVED: nearness(moves) or 0,
        },
        everywhere=tuple(deployments.values()),
        time=None,
        moves=moves,
    )


def _with_moves(scenario: Scenario, per_h: int, moves: tuple[Moves, ...]) -> int:
    """What the first objective counts: money an hour, or over the horizon with what moves cost once."""
    if not pays_moves(scenario):
        return per_h
    return ceil(per_h * scenario.horizon_h) + sum(scenario.change.micro_per_replica * each.moved for each in moves[:1])


def _shown_over_time(scenario: Scenario, table: CandidateTable, decision: Decision) -> _Shown:
    found = situations(scenario)
    paid = over_time(
        scenario, table, decision.moments, Bought(decision.kept, decision.bought), names_of(decision.moments)
    )
    situation, moment = found[paid.shown], decision.moments[paid.shown]
    now = paid.plan.situations[situation.name]
    both = list(zip(found, decision.moments, strict=True))
    tables = [table_at(table, scenario, s) for s in found]
    loss = sum((quality_loss(t.items, m) * s.hours for t, (s, m) in zip(tables, both, strict=True)), Fraction(0))
    gpu_hours = sum(
        (scenario.inventory[name].gpus_per_node * n * s.hours for s, m in both for name, n in m.nodes.items()),
        Fraction(0),
    )
    tokens = tokens_over_time(scenario, found)
    hourly = {name: cost / scenario.horizon_h for name, cost in paid.models.items()}
    return _Shown(
        deployments=now.deployments,
        pools=pools_over_time(scenario, now.pools, paid),
        totals=totals_over_time(scenario, now.pools, paid, sum(tokens.values(), Fraction(0))),
        models=model_costs(scenario, hourly, tokens),
        limits=(*limit_rows(situation.scenario, moment.nodes, now.deployments), *money_rows(scenario, paid)),
        losses=now.losses,
        values={
            "cost": ceil(paid.total),
            "gpus": ceil(gpu_hours),
            "quality_loss": ceil(loss / scenario.horizon_h),
            MOVED: sum(nearness(moves_of(scenario, each.deployments)) or 0 for each in paid.plan.situations.values()),
        },
        everywhere=tuple(d for each in paid.plan.situations.values() for d in each.deployments.values()),
        time=paid.plan,
        moves=moves_of(scenario, paid.plan.situations[found[0].name].deployments),
    )


def _stages(scenario: Scenario, shown: _Shown, verdict: Verdict) -> tuple[ObjectiveStage, ...]:
    """Objective values recomputed from the decision; the bounds are the solver's."""
    in_all = scenario.timed or pays_moves(scenario)
    units = {
        "cost": f"micro-{scenario.currency}" if in_all else f"micro-{scenario.currency}/h",
        "gpus": "GPU-hours" if scenario.timed else "GPUs",
        "quality_loss": "ppm x output tokens/s",
        MOVED: "replicas",
    }
    bounds = dict(verdict.stages)
    names = (*scenario.objective, MOVED) if shown.moves else scenario.objective
    return tuple(ObjectiveStage(name, shown.values[name], bounds.get(name), units[name]) for name in names)


def quality_loss(items: tuple[DemandItem, ...], moment: Moment) -> Fraction:
    """sum of mean output tokens/s x share x loss, in ppm x tokens/s; objectives count it in whole units, rounded up."""
    total = Fraction(0)
    for part in moment.placed:
        loads = dict(part.candidate.loads)
        total += sum(
            (items[k].output_tokens_per_s * share * loads[k].loss_ppm for k, share in part.shares), Fraction(0)
        )
    return total


def _gap_ppm(stages: tuple[ObjectiveStage, ...]) -> int | None:
    """Relative distance of the first objective from its proved bound; None where nothing was proved."""
    first = stages[0]
    if first.bound is None:
        return None
    return ppm(Fraction(first.value - first.bound, first.value)) if first.value else 0
