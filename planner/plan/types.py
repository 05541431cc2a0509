"""The plan document as frozen records: one JSON document is the product, and every other room reads only this.

Money is a decimal string in the scenario's currency, shares are exact fractions ("3/8"), times are nanoseconds or
microseconds as the name says, loads are integers. `run` is outside the hash.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from planner.memory.pool import ReplicaMemory
from planner.performance.provider import LatencyBand
from planner.plan.as_is import AsIs
from planner.plan.certificate import Certificate as Certificate
from planner.plan.edge import BandEdge
from planner.plan.hits import WithoutHits
from planner.plan.moves import Moves
from planner.plan.robustness import Robustness
from planner.plan.value import IfWrong, PresetValue
from planner.scenario.types import NodeKind, Scenario

FORMAT_VERSION = "1.4"
"""Minor versions add keys, major versions break readers."""

Status = Literal["optimal", "feasible", "infeasible", "unknown"]


@dataclass(frozen=True)
class ObjectiveStage:
    """One lexicographic objective: its value and the best proved bound, in `unit`."""

    name: str
    value: int
    bound: int | None
    unit: str


@dataclass(frozen=True)
class LoadTerm:
    """One item's part of a load row: `amount` is what the whole item costs, `share` the part routed here."""

    item: str
    amount: int
    share: Fraction


@dataclass(frozen=True)
class LoadRow:
    """sum of amount * share <= capacity * replicas_counted (exactly); `used_ppm` is left over right side, rounded."""

    name: Literal["gpu_time", "sequences", "kv"]
    capacity: int
    replicas_counted: int
    terms: tuple[LoadTerm, ...]
    used_ppm: int


@dataclass(frozen=True)
class Route:
    """What part of a class's length band goes here, and what happens to it."""

    item: str
    class_name: str
    prompt_tokens: tuple[int, int]
    band_ppm: int
    share: Fraction
    requests_per_s: Fraction
    rejected: Fraction
    cut_short: Fraction
    loss_ppm: int
    cached_ppm: int = 0
    """Share of prompt tokens that was counted as found in the prefix cache."""


@dataclass(frozen=True)
class Promise:
    """A promise to a class on this deployment. `predicted_us` includes `confidence` and, for TTFT, `network_us`:
    the time between the users and the region. The engine itself is held to the limit without it.

    `without_hits_us` is the same at the same load if the prefix cache finds nothing: None where no hits are counted,
    and 100 years where the load would then be more than the replicas carry.
    """

    class_name: str
    metric: Literal["ttft_p95", "tpot_p95", "finish_within"]
    predicted_us: int
    limit_us: int
    provider: str
    band: str
    without_hits_us: int | None = None
    network_us: int = 0


@dataclass(frozen=True)
class StepTimes:
    """The affine step under the load rows: alpha + beta * sequences + gamma * resident tokens, in nanoseconds."""

    alpha_ns: float
    beta_ns: float
    gamma_ns: float
    prefill_ns_per_token: float
    fit_mean_error_ppm: int
    fit_max_error_ppm: int
    tokens_per_step: float = 1.0
    """Tokens that a step yields for a sequence: more than 1 with speculative decoding."""
    full_chunk_ns: float = 0.0
    """What a full chunk of a prompt adds to a step: the longest gap between two tokens is a decode step and this."""


@dataclass(frozen=True)
class Deployment:
    """One configuration on one group of pools."""

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
    operating_tpot_ns: int
    operating_ttft_ns: int
    pools: dict[str, int]
    memory: ReplicaMemory | None
    step: StepTimes | None
    loads: tuple[LoadRow, ...]
    routing: tuple[Route, ...]
    promises: tuple[Promise, ...]
    notes: tuple[str, ...]
    provider: str = ""
    """Who says how long steps take; empty with a capacity table, as `band` is None then."""
    band: LatencyBand | None = None
    zone: str = ""

    @property
    def kind(self) -> NodeKind:
        """The nodes that it stands on."""
        return NodeKind(self.gpu, self.region, self.zone, self.gpus_per_node)


@dataclass(frozen=True)
class PoolPlan:
    """What is bought of a pool and what it does. GPUs are split into busy, spare and idle."""

    gpu: str
    region: str
    nodes: int
    nodes_offered: int
    nodes_committed: int
    gpus_busy: int
    gpus_spare: int
    gpus_idle: int
    price_per_gpu_h: str
    cost_per_h: str
    cost_per_month: str
    committed_per_month: str
    zone: str = ""
    nodes_counted: int | None = None
    """Nodes of a spot pool with terms that are there often enough for replicas to stand on them."""

    @property
    def place(self) -> str:
        """The region, with the zone where there is one."""
        return f"{self.region}/{self.zone}" if self.zone else self.region


@dataclass(frozen=True)
class LeftDeployment:
    """A deployment after a loss: the replicas that are left at worst, and what they serve then."""

    replicas: int
    loads: tuple[LoadRow, ...]
    routing: tuple[Route, ...]


@dataclass(frozen=True)
class AfterLoss:
    """How all that may not be shed is still served after a loss of `reserve.survive`.

    `path` is the scenario line, `lost` says what is gone, `shed` is the part of a class's requests that goes unserved:
    by class, and by the item that it is taken from; `waiting` is the part of an item of a batch that waits then.
    """

    path: str
    lost: str
    deployments: dict[str, LeftDeployment]
    shed: dict[str, Fraction]
    shed_items: dict[str, Fraction]
    waiting: dict[str, Fraction] = field(default_factory=dict)


@dataclass(frozen=True)
class SituationPlan:
    """What runs in one period of the calendar, month, or period of a month. `month` is 0 where months do not differ.

    `hours` are those within the horizon, `cost` is all that stands in them. `waiting` is the part of an item of a daily
    batch that is left for other periods, of its full pace here; `batches` are the requests a second that run.
    """

    month: int
    period: str
    hours: Fraction
    cost: str
    deployments: dict[str, Deployment]
    pools: dict[str, PoolPlan]
    losses: tuple[AfterLoss, ...]
    waiting: dict[str, Fraction] = field(default_factory=dict)
    batches: dict[str, Fraction] = field(default_factory=dict)


@dataclass(frozen=True)
class Spent:
    """Money of some time: nodes that are committed, nodes by the hour, and their start-ups; `stranded` is what of the
    committed money pays for GPUs that nothing needs."""

    total: str
    committed: str
    rented: str
    started: str
    stranded: str


@dataclass(frozen=True)
class Commitment:
    """Nodes of a pool that are kept, bought, given up and run out at the start of a month, and what then stands."""

    month: int
    kept: int
    bought: int
    given_up: int
    run_out: int
    standing: int


@dataclass(frozen=True)
class TimePlan:
    """The plan over time. The document's deployments and pools are those of the situation `shown`, which costs most an
    hour; money of the document is that of the horizon, by the month and by the hour on average.

    `owed_later` is what terms still cost after the horizon.
    """

    shown: str
    situations: dict[str, SituationPlan]
    spent: Spent
    months: dict[str, Spent]
    commitments: dict[str, tuple[Commitment, ...]]
    owed_later: str


@dataclass(frozen=True)
class LimitRow:
    """One limit of the scenario: what is used of it. `path` is the scenario line; texts carry their unit."""

    path: str
    used: Fraction
    limit: Fraction
    unit: str
    slack_ppm: int
    binding: bool


@dataclass(frozen=True)
class ModelCost:
    """A model's part of the bill, by its share of the busy GPUs of each pool."""

    cost_per_month: str
    tokens_per_month: str
    cost_per_million_tokens: str | None


@dataclass(frozen=True)
class Totals:
    """What the whole plan costs and takes."""

    cost_per_h: str
    cost_per_month: str
    cost_over_horizon: str
    gpus: int
    gpus_busy: int
    gpus_spare: int
    gpus_idle: int
    power_w: str
    cost_per_million_tokens: str | None


@dataclass(frozen=True)
class RejectedChoice:
    """Why a choice of the scenario is not in the plan."""

    model: str
    subject: str
    bottleneck: str
    message: str
    nearest: str | None
    class_name: str | None
    count: int


@dataclass(frozen=True)
class Conflict:
    """For an infeasible scenario: what must give, by itself, and the least value that would do."""

    path: str
    message: str
    repair: str | None


@dataclass(frozen=True)
class Assumption:
    """What the user put in the place of a prediction: the scenario line, what it does, and where it comes from."""

    path: str
    text: str
    source: str


@dataclass(frozen=True)
class BoundPlan:
    """What the interval of an architecture that is not understood does to the plan, which stands at its upper end.

    Costs are for a month, None without a plan. `changes_plan`: other nodes or other deployments at the lower end;
    `proved`: both ends are proved.
    """

    low_cost_per_month: str | None
    high_cost_per_month: str | None
    changes_plan: bool
    proved: bool


@dataclass(frozen=True)
class Evidence:
    """Where a number comes from."""

    kind: Literal["model", "gpu", "engine", "preset", "performance", "price", "limit", "capacity_table", "trace"]
    id: str
    text: str
    estimated: bool


@dataclass(frozen=True)
class Candidates:
    """How many configurations were examined, refused, dominated and offered to the solver."""

    examined: int
    refused: int
    dominated: int
    offered: int


@dataclass(frozen=True)
class Run:
    """How this run went. Not part of the hash."""

    kvplan: str
    python: str
    ortools: str
    catalog: str
    file: str
    seconds: dict[str, float]
    places: dict[str, str]
    proof: str
    reproducible: bool


@dataclass(frozen=True)
class Plan:
    """The document. Without a plan (infeasible, unknown) deployments and pools are empty and `totals` is None."""

    format_version: str
    status: Status
    gap_ppm: int | None
    objective: tuple[ObjectiveStage, ...]
    totals: Totals | None
    deployments: dict[str, Deployment]
    pools: dict[str, PoolPlan]
    limits: tuple[LimitRow, ...]
    models: dict[str, ModelCost]
    conflicts: tuple[Conflict, ...]
    rejected: tuple[RejectedChoice, ...]
    candidates: Candidates
    evidence: tuple[Evidence, ...]
    warnings: tuple[str, ...]
    certificate: Certificate
    scenario: Scenario
    hash: str
    run: Run
    assumptions: tuple[Assumption, ...] = ()
    bounds: dict[str, BoundPlan] = field(default_factory=dict)
    hypothetical: bool = False
    """Whether a deployment runs a preset that only `compression.allow` admits."""
    evidence_debt: tuple[str, ...] = ()
    """What would have to be shown for those presets."""
    if_wrong: IfWrong | None = None
    preset_value: tuple[PresetValue, ...] = ()
    band_edge: BandEdge | None = None
    without_hits: WithoutHits | None = None
    """With `solve --band-edge`: the plan at the other edge of the latency band."""
    losses: tuple[AfterLoss, ...] = ()
    """What each loss of `reserve.survive` leaves, in the situation that the deployments are of."""
    time: TimePlan | None = None
    """Periods and months, where the plan changes with them."""
    moves: tuple[Moves, ...] = ()
    """Replicas that start and stop, from the fleet that runs and from that of `solve --near`."""
    as_is: AsIs | None = None
    """Where a fleet runs today: what it keeps and breaks of this scenario, left as it is."""
    robustness: Robustness | None = None
    """With a band of `robust`: the plan without it, and what holding in it costs."""
