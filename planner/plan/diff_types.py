"""The diff document as frozen records: two plans side by side, what differs, what caused it and what it risks.

Money per month is a decimal string rounded once, to the cent (`change` is the difference of the two rounded amounts),
so that the rows of a table add up to its total. Shares are parts per million, quantities exact fractions, prices per
million tokens decimal strings as in the plan. None stands where a side has no plan, or a value has no other side.
Everything that came from a user (names, labels, texts, paths) is as it was written: whoever shows it escapes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from planner.plan.as_is import AsIs
from planner.plan.types import Conflict, Status

DIFF_FORMAT_VERSION = "1.0"
"""Minor versions add keys, major versions break readers."""

SideKind = Literal["plan", "scenario", "git"]
ChangeKind = Literal["added", "removed", "changed", "same"]


@dataclass(frozen=True)
class Side:
    """One of the two plans. `label` is what the user wrote for it, `name` the scenario's; `proof` says how far the
    plan is proved, `certificate` what a replay said of it."""

    label: str
    kind: SideKind
    name: str
    status: Status
    gap_ppm: int | None
    hash: str
    kvplan: str
    catalog: str
    proof: str
    certificate: str = "not_simulated"


@dataclass(frozen=True)
class MoneyChange:
    """An amount on both sides. `percent_ppm` is the change in parts per million of the base; None when that is 0."""

    base: str | None
    head: str | None
    change: str | None
    percent_ppm: int | None


@dataclass(frozen=True)
class CountChange:
    """A whole number on both sides."""

    base: int | None
    head: int | None
    change: int | None


@dataclass(frozen=True)
class DecimalChange:
    """A decimal string on both sides, with as many places as the plan has."""

    base: str | None
    head: str | None
    change: str | None


@dataclass(frozen=True)
class GpuChange:
    """GPUs bought, by what they do."""

    busy: CountChange
    spare: CountChange
    idle: CountChange
    total: CountChange


@dataclass(frozen=True)
class BudgetPosition:
    """The monthly budget of both sides and the share of it that is used; `crossed` names the budget guardrails that
    this change crosses."""

    base_limit: str | None
    head_limit: str | None
    base_share_ppm: int | None
    head_share_ppm: int | None
    crossed: tuple[str, ...]


@dataclass(frozen=True)
class UnitCost:
    """Cost per million tokens of one model; `model` is None for the whole plan."""

    model: str | None
    cost: DecimalChange


@dataclass(frozen=True)
class FieldChange:
    """One value of a deployment or pool that differs; None where that side has none."""

    field: str
    base: str | int | None
    head: str | int | None


@dataclass(frozen=True)
class DeploymentState:
    """What a deployment is on one side. `name` is its name there; `pools` says how many replicas run where."""

    name: str
    model: str
    gpu: str
    region: str
    gpus_per_node: int
    weights: str
    parallel: str
    replicas: int
    gpus: int
    context_limit_tokens: int
    max_batch: int
    max_num_batched_tokens: int
    gpu_memory_utilization_ppm: int
    kv_preset: str
    pools: dict[str, int]
    zone: str = ""


@dataclass(frozen=True)
class DeploymentChange:
    """One deployment over both sides. Deployments are matched by what they run, not by their numbered names."""

    name: str
    model: str
    kind: ChangeKind
    base: DeploymentState | None
    head: DeploymentState | None
    fields: tuple[FieldChange, ...]


@dataclass(frozen=True)
class PoolState:
    """What is bought of a pool on one side."""

    gpu: str
    region: str
    nodes: int
    nodes_offered: int
    nodes_committed: int
    gpus_busy: int
    gpus_spare: int
    gpus_idle: int
    price_per_gpu_h: str
    cost_per_month: str
    zone: str = ""
    nodes_counted: int | None = None


@dataclass(frozen=True)
class PoolChange:
    """One pool of the inventory over both sides; its `cost` is to the cent like every amount here."""

    name: str
    kind: ChangeKind
    base: PoolState | None
    head: PoolState | None
    cost: MoneyChange
    fields: tuple[FieldChange, ...]


@dataclass(frozen=True)
class RolloutStep:
    """One step from the base to the head. `count` is replicas or nodes; `extra_gpus` how many GPUs are held after it
    beyond the larger of the two plans; `replicas_down` how many replicas are missing at a time until successors run.
    """

    order: int
    action: Literal["buy", "start", "shift", "stop", "release", "restart"]
    subject: str
    count: int
    text: str
    extra_gpus: int
    replicas_down: int


@dataclass(frozen=True)
class Margin:
    """How far a promise, a floor, the free GPUs, the budget or another limit is from being reached.

    `used` and `limit` are in `unit` (a currency sign, "ms", "W", "%", "GPUs", "nodes", "replicas" or ""). Slack is the
    free part of the limit; a side that lacks the row has None. `worse` means that the head has less room.
    """

    path: str
    what: Literal["slo", "quality", "spare", "budget", "limit"]
    base_used: Fraction | None
    head_used: Fraction | None
    base_limit: Fraction | None
    head_limit: Fraction | None
    unit: str
    base_slack_ppm: int | None
    head_slack_ppm: int | None
    worse: bool


@dataclass(frozen=True)
class Edit:
    """One difference between the two scenarios. A map that only one side has is one edit. `place` is `file:line`, the
    head's, or the base's for what was removed; empty where it is not known."""

    path: str
    before: str | None
    after: str | None
    place: str


@dataclass(frozen=True)
class AttributionRow:
    """The effect of some edits alone on top of the base. Several paths: they only make sense together, or there were
    too many. Without an effect, `infeasible` says why; `proved` is False where a time limit cut the solve short."""

    paths: tuple[str, ...]
    effect_per_month: str | None
    infeasible: str | None
    proved: bool


@dataclass(frozen=True)
class Drift:
    """An input other than the scenario that differs between the two plans."""

    kind: Literal["catalog", "version", "profile", "engine"]
    subject: str
    base: str
    head: str
    effect_per_month: str | None


@dataclass(frozen=True)
class GuardrailResult:
    """A guardrail of either side: `threshold`, `base` and `head` in `unit` ("ppm" or the currency).

    `side` is "base" for one that the head removed or loosened. `crossed` is "unknown" where a side has no plan.
    """

    name: str
    kind: Literal["change_above", "budget_above", "cost_above"]
    side: Literal["base", "head"]
    message: str
    unit: str
    threshold: str
    base: str | None
    head: str | None
    crossed: Literal["by_this_change", "already", "no", "unknown"]


@dataclass(frozen=True)
class Diff:
    """The document. With `equal` the plans buy, run and keep the same: every list of changes is empty, and `edits`
    holds what was written differently without any effect.

    The change of cost is the sum of the attribution's effects, the interaction and the drift, to the cent.
    """

    format_version: str
    base: Side
    head: Side
    equal: bool
    currency: str
    cost_per_month: MoneyChange
    cost_over_horizon: MoneyChange
    horizon_h: Fraction
    committed_per_month: MoneyChange
    usage_per_month: MoneyChange
    gpus: GpuChange
    power_w: DecimalChange
    budget: BudgetPosition
    unit_costs: tuple[UnitCost, ...]
    deployments: tuple[DeploymentChange, ...]
    pools: tuple[PoolChange, ...]
    rollout: tuple[RolloutStep, ...]
    peak_extra_gpus: int
    margins: tuple[Margin, ...]
    edits: tuple[Edit, ...]
    attribution: tuple[AttributionRow, ...]
    interaction_per_month: str | None
    drift: tuple[Drift, ...]
    drift_per_month: str | None
    guardrails: tuple[GuardrailResult, ...]
    new_conflicts: tuple[Conflict, ...]
    gone_conflicts: tuple[Conflict, ...]
    as_is: AsIs | None
    notes: tuple[str, ...]
    command: str


@dataclass(frozen=True)
class WhatIfCase:
    """One override of a what-if: the blocks and settings that were applied, and the diff against the file."""

    name: str
    overrides: tuple[str, ...]
    diff: Diff


@dataclass(frozen=True)
class WhatIf:
    """Several what-ifs of one file, each compared with the file as it stands."""

    format_version: str
    base: Side
    cases: tuple[WhatIfCase, ...]
    command: str
