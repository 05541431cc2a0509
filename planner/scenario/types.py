"""The Scenario: what the user asked for, resolved, frozen, in base units.

Money is an integer of micro-units of the scenario's currency, time an integer of microseconds, shares
integers of parts per million (ppm), rates exact fractions of requests per second, power an integer of
milliwatts.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Literal, NamedTuple

from planner.catalog.latency import Performance
from planner.catalog.parallel import Parallel as Parallel
from planner.catalog.types import AttentionKv, EngineRules, GpuFacts, KvLayer, ModelFacts
from planner.scenario.fleet import Change, Running
from planner.scenario.traffic import TrafficClass

HOURS_PER_MONTH = 730
"""Hours of a month, everywhere in kvplan: 8,760 / 12."""


@dataclass(frozen=True, order=True)
class Place:
    """Where the user wrote a value: file, line and column from 1. `file` is `--set` for a command-line
    override."""

    file: str
    line: int
    col: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class EngineArgs:
    """Engine settings that the user fixed; None is the engine's own default for the GPU. A tuple is a choice."""

    gpu_memory_utilization_ppm: int | None = None
    max_num_batched_tokens: int | tuple[int, ...] | None = None

    @property
    def chunk_budgets(self) -> tuple[int, ...]:
        """Token budgets of a step that the planner may choose from, small to large; none: the engine's default."""
        given = self.max_num_batched_tokens
        return (given,) if isinstance(given, int) else tuple(sorted(given or ()))


@dataclass(frozen=True)
class Adjust:
    """What the user corrects: bytes taken on every GPU, and how much longer every decode step takes."""

    memory_bytes_per_gpu: int
    decode_time_ppm: int
    source: str


DraftKind = Literal["mtp", "eagle", "ngram"]


@dataclass(frozen=True)
class Speculative:
    """Speculative decoding as the user measured it.

    Every step drafts `draft_tokens` and yields `accepted_tokens` on average, its own included; drafting makes it
    `step_overhead_ppm` longer. `memory_bytes_per_gpu` are the weights of a draft that the model does not bring.
    """

    draft: DraftKind
    draft_tokens: int
    accepted_tokens: Fraction
    step_overhead_ppm: int
    memory_bytes_per_gpu: int
    source: str


@dataclass(frozen=True)
class ReplicaLimits:
    """How many replicas a model may run in total."""

    min: int = 0
    max: int | None = None


@dataclass(frozen=True)
class ModelSpec:
    """One model of the scenario and what the planner may choose for it.

    With a capacity table, `facts` and `engine` are None and the choice fields are empty: a replica is one
    GPU. The table itself (GPU id -> class -> requests/s) is attached by the pipeline.

    Where the architecture is only bounded (`bound: true`), `facts` are those of the most KV that it may keep and
    `low_facts` those of the least; `memory_at` says from which of them memory is counted.
    """

    name: str
    facts: ModelFacts | None
    engine: EngineRules | None
    weights: tuple[str, ...] = ()
    parallel: tuple[Parallel, ...] = ()
    context_limits_tokens: tuple[int, ...] = ()
    kv_presets: tuple[str, ...] = ()
    max_batch_min: int = 1
    max_batch_max: int | None = None
    engine_args: EngineArgs = field(default_factory=EngineArgs)
    replicas: ReplicaLimits = field(default_factory=ReplicaLimits)
    max_configurations: int | None = None
    capacity_path: str | None = None
    capacity: tuple[tuple[str, tuple[tuple[str, Fraction], ...]], ...] = ()
    adjust: Adjust | None = None
    low_facts: ModelFacts | None = None
    memory_at: Literal["high", "low"] = "high"
    speculative: Speculative | None = None

    @cached_property
    def memory_facts(self) -> ModelFacts | None:
        """Facts that memory is counted from: those of one end of an interval, with the layers of the draft in use."""
        facts = self.low_facts if self.memory_at == "low" and self.low_facts is not None else self.facts
        if facts is None or self.speculative is None or self.speculative.draft == "mtp":
            return facts
        return replace(facts, draft_layers=_draft_layers(facts) if self.speculative.draft == "eagle" else ())

    def with_capacity(self, table: dict[str, dict[str, Fraction]]) -> ModelSpec:
        """The same model with its capacity table attached, in sorted order."""
        rows = tuple((gpu, tuple(sorted(row.items()))) for gpu, row in sorted(table.items()))
        return replace(self, capacity=rows)


def _draft_layers(facts: ModelFacts) -> tuple[KvLayer, ...]:
    """What an EAGLE head keeps: one layer of full attention, of the model's last attention layer's kind."""
    own = [layer for layer in facts.kv_layers if isinstance(layer, AttentionKv)]
    return (replace(own[-1], reach="full", window_tokens=0),) if own else ()


@dataclass(frozen=True)
class Calendar:
    """The week: (period, its minutes from Monday 00:00 as (first, last + 1) pairs), in the order of the file."""

    timezone: str
    periods: tuple[tuple[str, tuple[tuple[int, int], ...]], ...]


class NodeKind(NamedTuple):
    """What nodes have in common that replicas cannot tell apart: GPU, region, zone and size."""

    gpu: str
    region: str
    zone: str
    gpus_per_node: int

    @property
    def place(self) -> str:
        """The region, with the zone where there is one."""
        return f"{self.region}/{self.zone}" if self.zone else self.region

    def __str__(self) -> str:
        """A stable, readable name."""
        return f"{self.gpu}@{self.place}x{self.gpus_per_node}"


@dataclass(frozen=True)
class SpotTerms:
    """How often a spot node is there, how sure its nodes must be to be counted on, and how many may go at once."""

    availability_ppm: int = 1_000_000
    confidence_ppm: int = 990_000
    reclaim_nodes: int = 0


@dataclass(frozen=True)
class Pool:
    """GPUs of one kind, place and price. `available_nodes` come on top of `committed_nodes`; committed ones
    are paid idle.

    With `term_months` available nodes are bought for that long; with `notice_months` committed ones may be given up
    after that long. `zone` is empty where none is named. Nodes of a `spot` pool can be taken away, as `terms` says.
    """

    name: str
    gpu: GpuFacts
    region: str
    gpus_per_node: int
    committed_nodes: int
    available_nodes: int
    price_micro_per_gpu_h: int
    source: str
    spot: bool = False
    start_up_us: int | None = None
    term_months: int | None = None
    notice_months: int | None = None
    zone: str = ""
    terms: SpotTerms | None = None

    @property
    def price_micro_per_node_h(self) -> int:
        """What a node costs in an average hour, in micro-units of the currency: a node that is not there costs nothing.

        price * availability, rounded up.
        """
        price = self.price_micro_per_gpu_h * self.gpus_per_node
        return price if self.terms is None else -(-price * self.terms.availability_ppm // 1_000_000)

    @property
    def kind(self) -> NodeKind:
        """What replicas can tell of its nodes."""
        return NodeKind(self.gpu.id, self.region, self.zone, self.gpus_per_node)


@dataclass(frozen=True)
class Limit:
    """One linear row over nodes: sum of per_node[pool] * nodes[pool] <= max."""

    name: str
    max: Fraction
    per_node: tuple[tuple[str, Fraction], ...]
    source: str


Quantile = Literal["p10", "p50", "p90"]
"""A point of measured over predicted latency. Scenarios say p50 or p90; p10 is the other edge of a plan at p90."""


@dataclass(frozen=True)
class Reserve:
    """What is kept free. `utilization_ppm` scales every load row; the KV margin is max(1.2, 1 / (1 -
    kv_headroom)). `survive` has (pool or region, nodes lost); None is all of them."""

    utilization_ppm: int = 1_000_000
    kv_headroom_ppm: int = 0
    confidence: Quantile = "p50"
    spare_nodes: int = 0
    spare_replicas: int = 0
    spare_zones: int = 0
    survive: tuple[tuple[str, int | None], ...] = ()


@dataclass(frozen=True)
class CompressionPolicy:
    """Which presets may be used; `allow` holds `id@version` of single unconfirmed rows."""

    policy: Literal["supported", "allow_published"] = "supported"
    allow: tuple[str, ...] = ()
    allow_proxy: bool = False


@dataclass(frozen=True)
class Budget:
    """Hard caps on what is bought; None is no cap."""

    monthly_micro: int | None = None
    power_mw: int | None = None
    pue_ppm: int = 1_000_000
    total_micro: int | None = None


@dataclass(frozen=True)
class Robust:
    """The band in which a plan must hold: up to so much more traffic than written, and so much longer long prompts."""

    traffic_ppm: int = 0
    context_tail_ppm: int = 0


Objective = Literal["cost", "gpus", "quality_loss"]


@dataclass(frozen=True)
class Guardrail:
    """A threshold for reviews: checked and carried, acted on by `diff` only."""

    name: str
    kind: Literal["change_above", "budget_above", "cost_above"]
    value: int
    message: str


@dataclass(frozen=True)
class Cut:
    """What a replay taught: a class takes `times_ppm` millionths of the GPU time that the closed forms say, on every
    configuration of this shape. None: no number of replicas keeps its promises there, so it may not run there.
    """

    model: str
    gpu: str
    parallel: str
    weights: str
    kv_preset: str
    class_name: str
    times_ppm: int | None


@dataclass(frozen=True)
class Scenario:
    """Everything the user wrote, resolved. Maps keep the order of the file; rooms that need an order sort
    by name.

    `places` maps scenario paths (`traffic.chat.slo.tpot_p95`) to where they stand; it is not part of the
    plan's hash. `defaults` lists (path, value as text) for every default that was taken.
    """

    name: str
    owner: str
    horizon_h: Fraction
    currency: str
    models: dict[str, ModelSpec]
    traffic: dict[str, TrafficClass]
    inventory: dict[str, Pool]
    limits: dict[str, Limit]
    reserve: Reserve
    compression: CompressionPolicy
    budget: Budget
    objective: tuple[Objective, ...]
    guardrails: dict[str, Guardrail]
    what_if: tuple[str, ...]
    defaults: tuple[tuple[str, str], ...]
    performance: Performance = field(default_factory=Performance)
    cuts: tuple[Cut, ...] = ()
    """Not written by the user: `solve --certify` adds them, and a plan that carries them is planned with them."""
    places: dict[str, Place] = field(compare=False, default_factory=dict)
    calendar: Calendar | None = None
    current: dict[str, Running] = field(default_factory=dict)
    """The fleet that runs today."""
    change: Change = field(default_factory=Change)
    near: dict[str, Running] = field(default_factory=dict)
    """Not written by the user: the fleet of a plan that `solve --near` stays close to."""
    as_is: bool = False
    """Not written by the user: `solve --as-is` sets it. Exactly the replicas of `current` run."""
    robust: Robust | None = None

    @property
    def monthly(self) -> bool:
        """Whether months differ: rates grow, or nodes are bought or given up by the month."""
        pools, classes = self.inventory.values(), self.traffic.values()
        return any(pool.term_months or pool.notice_months for pool in pools) or any(
            traffic.growth_ppm or traffic.growth_table_ppm for traffic in classes
        )

    @property
    def timed(self) -> bool:
        """Whether the plan changes over time: by periods, by months or by both."""
        return self.calendar is not None or self.monthly
