"""The scenario file as written: one frozen block a map, every key with its type and meaning.

The JSON Schema for editors and docs/scenario.md are generated from these classes
(`planner.scenario.describe`), with the docstring under each key as its description. Relations between keys
are checked in `planner.scenario.checks`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from planner.scenario.fields import (
    ONE_OR_MANY,
    AllowedRow,
    Amount,
    BatchTokens,
    Confidence,
    Count,
    DraftMethod,
    DraftTokens,
    Duration,
    EngineId,
    Flag,
    FormatVersion,
    GpuId,
    GpusPerNode,
    Growth,
    HeadroomShare,
    KeyName,
    LatencyProvider,
    LostNodes,
    MemoryPerGpu,
    MemoryUtilization,
    ModelRef,
    Money,
    Months,
    Name,
    Nodes,
    ObjectiveName,
    ParallelShape,
    PathText,
    PercentileKey,
    PeriodSpans,
    Policy,
    PositiveCount,
    Power,
    PrefixRouting,
    PresetId,
    Price,
    Pue,
    QuietRate,
    Rate,
    RequestsPerDay,
    Scale,
    Share,
    Slowdown,
    Text,
    Threshold,
    Tokens,
    TokensPerStep,
    UtilizationShare,
    Weights,
)


class Block(BaseModel):
    """Base of all blocks: unknown keys are mistakes, nothing changes after reading."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class BatchRange(Block):
    """How many sequences of one replica may run at once."""

    min: PositiveCount = 1
    """Smallest batch size that the planner considers; the default is 1."""
    max: PositiveCount | None = None
    """Largest batch size that the planner considers; without it the engine's default."""


class ReplicaRange(Block):
    """How many replicas of a model may run, over all its configurations."""

    min: Count = 0
    """At least so many replicas; the default is 0."""
    max: PositiveCount | None = None
    """At most so many replicas; the default is unlimited."""


class EngineArgsBlock(Block):
    """Settings of the engine; without them the engine's own defaults hold."""

    gpu_memory_utilization: MemoryUtilization | None = None
    """Share of the GPU's memory that the engine may use, as a plain number, as the engine writes it."""
    max_num_batched_tokens: Annotated[tuple[BatchTokens, ...], *ONE_OR_MANY] | None = None
    """Tokens of one engine step, prefill chunks included: a list is a choice. Larger chunks serve prompts sooner, and
    take activation memory from KV."""


class AdjustBlock(Block):
    """What the user knows and the formulas do not: at least one of `memory` and `decode_time`, with its source."""

    memory: MemoryPerGpu | None = None
    """Memory that something else takes on every GPU of a replica, such as adapters; KV gets that much less."""
    decode_time: Slowdown | None = None
    """How much longer every decode step takes; it never takes less than predicted."""
    source: Text
    """Where the figures come from: a measurement and its date."""


class SpeculativeBlock(Block):
    """Speculative decoding with the figures of a measurement: how many tokens a step yields is never predicted."""

    draft: DraftMethod
    """Who drafts: `mtp` the model's own prediction layers, whose weights and KV are counted; `eagle` a head of one more
    layer, whose KV is counted and whose weights are `memory`; `ngram` the prompt itself."""
    draft_tokens: DraftTokens
    """Tokens that are drafted before each step, which checks them all."""
    accepted_tokens: TokensPerStep
    """Tokens that a step yields on average, its own included: above 1, at most one more than are drafted."""
    step_overhead: Share
    """How much longer a step takes because of the draft."""
    memory: MemoryPerGpu | None = None
    """Weights of an EAGLE head on every GPU of a replica."""
    source: Text
    """Where the figures come from: a measurement and its date."""


class ModelBlock(Block):
    """One model: what is fixed (a scalar) and what the planner may choose (a list).

    With `capacity_table` a replica is one GPU and the table says how many requests it serves; the keys from
    `ref` to `adjust` are then left out. Without it `ref`, `engine`, `weights`, `parallel`,
    `context_limit` and `kv_presets` are required.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["capacity_table"]},
                {"required": ["ref", "engine", "weights", "parallel", "context_limit", "kv_presets"]},
            ]
        }
    )

    ref: ModelRef | None = None
    """Catalog id of the model, or the path of its `config.json`."""
    bound: Flag = False
    """Whether a model whose architecture is not understood is planned all the same, at the most KV that it may keep,
    and once more at the least: the plan says whether that changes it; the default is false."""
    engine: EngineId | None = None
    """Engine and version; memory accounting and defaults follow the newest rule set that is not newer."""
    weights: Annotated[tuple[Weights, ...], *ONE_OR_MANY] | None = None
    """Number format of the weights; what the engine, the GPU or the latency cannot do with it is refused by name."""
    parallel: Annotated[tuple[ParallelShape, ...], *ONE_OR_MANY] | None = None
    """Parallel shape of one replica, `tpN[-ppN][-dpN][-dcpN][-ep]`: N ways of tensor, pipeline, data and decode context
    parallelism, whole experts with `ep`. Its tp x pp x dp GPUs stand in one node. All shapes have memory; those
    without a latency yet are refused by name."""
    context_limit: Annotated[tuple[Tokens, ...], *ONE_OR_MANY] | None = None
    """Prompt and output together may have so many tokens."""
    max_batch: BatchRange | None = None
    """Bounds on the batch size; the default is the whole grid up to the engine's default."""
    kv_presets: Annotated[tuple[PresetId, ...], *ONE_OR_MANY] | None = None
    """Ids of the preset table: how the KV cache is stored."""
    engine_args: EngineArgsBlock | None = None
    """Engine settings in place of the engine's defaults."""
    speculative: SpeculativeBlock | None = None
    """Speculative decoding; the default is none."""
    adjust: AdjustBlock | None = None
    """Corrections to the prediction; shown in the plan as assumptions."""
    capacity_table: PathText | None = None
    """CSV file with the columns gpu, class, requests_per_s: measured capacity instead of physics."""
    replicas: ReplicaRange = ReplicaRange()
    """Bounds on the number of replicas."""
    max_configurations: PositiveCount | None = None
    """How many different replica configurations may run side by side; the default is unlimited."""


class PrefixBlock(Block):
    """Prompt tokens that the engine finds in its prefix cache."""

    reusable: Share | None = None
    """Share of prompt tokens found cached: saves prefill time, never memory; the default is 0%, or what the hashes of a
    `trace` say."""
    working_set: Tokens | None = None
    """Tokens of KV that must be kept to find all of `reusable`: hits are then counted only as far as the pool has room
    beyond p99 of the running requests; the default is no limit, or what the hashes of a `trace` say."""
    routing: PrefixRouting | None = None
    """How requests reach replicas: with `random` a prefix is found where it was only by chance, with `prefix_aware`
    always; needs a working set; the default is random."""


class QualityBlock(Block):
    """What the class demands of a KV preset, relative to 16-bit KV."""

    max_accuracy_drop: Share | None = None
    """Largest relative drop in task accuracy; the default is no floor."""
    max_ppl_increase: Share | None = None
    """Largest relative increase in perplexity; the default is no floor."""
    needs_recall: Flag = False
    """Whether the preset needs evidence on long-context recall; the default is false."""


class SloBlock(Block):
    """Promises: a class of rates has `ttft_p95`, `tpot_p95` or both, a batch class `finish_within` alone."""

    ttft_p95: Duration | None = None
    """95 % of the requests see their first token within this time of arrival, queueing included."""
    tpot_p95: Duration | None = None
    """95 % of the requests see at most this time per output token after the first."""
    finish_within: Duration | None = None
    """The batch of the day is done in this time; at most one day."""


class PeriodRateBlock(Block):
    """The rates of a class in one period of the calendar."""

    peak: QuietRate
    """The rate of the worst minute of the period; 0 req/s where nobody asks."""
    mean: QuietRate | None = None
    """The mean rate of the period; with a capacity table the default is the peak."""


class DegradedBlock(Block):
    """What a class gives up while a loss of `reserve.survive` lasts."""

    shed_at_most: Share
    """Share of the requests of the class that may go unserved then."""


class WindowBlock(Block):
    """A part of a trace, in its own time from its first arrival; at least one of both ends."""

    start: Duration | None = None
    """Where it starts; the default is the first arrival."""
    end: Duration | None = None
    """Where it ends; the default is the last arrival."""


class ClassBlock(Block):
    """One traffic class: who asks how often, how long, and what was promised."""

    model: Name
    """Name of the model, a key of `models`."""
    trace: PathText | None = None
    """Request log that says rates and lengths, in place of `peak`, `mean`, `input_tokens` and `output_tokens`: any log
    that `kvplan trace summarize` reads."""
    scale: Scale | None = None
    """Times as many requests as in the trace: it divides the timestamps; the default is 1."""
    peak_window: Duration | None = None
    """The fleet is sized for the busiest window of this length in the trace: `kvplan trace summarize` says which suits;
    the default is 1min."""
    window: WindowBlock | None = None
    """The part of the trace that counts; the default is all of it."""
    peak: Rate | None = None
    """The fleet is sized for this: the rate of the worst minute."""
    mean: Rate | None = None
    """Tokens are priced with this: the mean rate of the horizon."""
    requests: RequestsPerDay | None = None
    """Size of the daily batch, in place of `peak` and `mean`; needs `slo.finish_within`."""
    rate: dict[KeyName, PeriodRateBlock] | None = None
    """Rates of every period of the calendar, by its name, in place of `peak` and `mean`."""
    growth: Growth | None = None
    """How the rates change over the months of the horizon: so much each month (`5%/mo`), or a list with one share of
    the written rates for each month. The first month has the rates as written, or the first share of the list."""
    priority: PositiveCount | None = None
    """Who is served first when `when_degraded` lets traffic go: 1 before 2; the default is 1."""
    when_degraded: DegradedBlock | None = None
    """What may be shed after a loss of `reserve.survive`; the default is nothing."""
    input_tokens: dict[PercentileKey, Tokens] | None = None
    """Prompt lengths: percentiles (`p50`, `p95`, `p99`, `p99.9`, ...) and `max`."""
    output_tokens: dict[PercentileKey, Tokens] | None = None
    """Output lengths: percentiles and `max`."""
    prefix: PrefixBlock | None = None
    """What the prefix cache saves."""
    rejected_at_most: Share | None = None
    """Share of requests whose prompt may be too long for the context limit; the default is 0%."""
    cut_short_at_most: Share | None = None
    """Share of requests whose output may run into the context limit; the default is 0%."""
    quality: QualityBlock | None = None
    """Quality floor of the class; the default is none."""
    slo: SloBlock | None = None
    """Promises of the class."""


class PoolBlock(Block):
    """GPU nodes of one kind, place and price. At least one of `committed` and `available` is required."""

    gpu: GpuId
    """Catalog id of the GPU."""
    region: Text
    """Where the nodes stand; pools of the same GPU, region and node size can share replicas' nodes."""
    gpus_per_node: GpusPerNode
    """GPUs of one node."""
    committed: Nodes | None = None
    """Nodes that are paid whether they are used or not."""
    available: Nodes | None = None
    """Nodes that can be had on top of the committed ones, paid by the hour."""
    price: Price
    """Price for an hour, of a GPU or of a whole node."""
    source: Text
    """Where the price stands: a contract, a page and its date."""
    spot: Flag = False
    """Whether nodes can be taken away; `reserve.survive` says how many at once; the default is false."""
    start_up: Duration | None = None
    """Time until a new node serves. With a calendar, nodes that a period adds are rented so much earlier."""
    term: Months | None = None
    """The `available` nodes are bought for so many months at the start of any month, and paid in full until the term
    ends; without it they are rented by the hour."""
    notice: Months | None = None
    """The `committed` nodes may be given up after so many months, at the start of a month; without it they are kept
    over the whole horizon."""


class LimitBlock(Block):
    """One linear limit over nodes, such as a quota: the sum of `per_node` times nodes is at most `max`."""

    max: Amount
    """The limit, in any unit of its own."""
    per_node: Annotated[dict[KeyName, Amount], Field(min_length=1)]
    """How much one node of each pool uses; pools that are not named use nothing."""
    source: Text
    """Where the limit stands."""


class SpareBlock(Block):
    """What must be left over: nodes or replicas, not both."""

    nodes: Count | None = None
    """Nodes beyond those that replicas need, in every group of pools in use."""
    replicas: Count | None = None
    """Replicas of each deployment that may be lost while the promises still hold."""


class CalendarBlock(Block):
    """The week, cut into periods with rates of their own: nodes that are rented by the hour come and go with them."""

    timezone: Text
    """Time zone of the hours below; for readers, since every week has the same hours."""
    periods: Annotated[dict[KeyName, PeriodSpans], Field(min_length=1)]
    """Parts of the week, by name, such as `Mon-Fri 08:00-20:00, Sat 10:00-14:00`, or `rest` for all other hours. Every
    hour belongs to exactly one period."""


class ReserveBlock(Block):
    """What is kept free for the things that the numbers do not know."""

    utilization: UtilizationShare | None = None
    """Largest share of each capacity that may be used; the default is 100%."""
    kv_headroom: HeadroomShare | None = None
    """Share of the KV cache that is kept free; the default is 0%."""
    confidence: Confidence | None = None
    """Quantile of measured over predicted latency that the promises must survive; the default is p50."""
    spare: SpareBlock | None = None
    """Spare nodes or replicas; the default is {nodes: 0}."""
    survive: Annotated[dict[KeyName, LostNodes], Field(min_length=1)] | None = None
    """Losses, one at a time, after which the rest keeps all promises: nodes of a pool (`1 node`), or `all` of a pool or
    of a region, by the name of the pool or region; the default is none."""


class PerformanceBlock(Block):
    """Where latencies come from: a provider, and benchmark results of yours that calibrate it."""

    provider: LatencyProvider | None = None
    """`roofline`: formulas with constants fitted to measured kernels; `silicon`: the kernel tables themselves, with
    the extra `kvplan[silicon]`. The default is roofline."""
    measured: Annotated[tuple[PathText, ...], *ONE_OR_MANY] | None = None
    """Profiles (YAML, written by `kvplan catalog import-latency`) or tables (CSV) of measured latencies: they
    calibrate the provider for their GPU and engine; the default is none."""


class CompressionBlock(Block):
    """Which KV presets may be used, beyond being named in `kv_presets`."""

    policy: Policy | None = None
    """`supported`: confirmed rows of the engine; `allow_published`: other published rows too. Default:
    supported."""
    allow: tuple[AllowedRow, ...] | None = None
    """Single rows that may be used although they are not confirmed, as `id@version`; the default is none."""
    allow_proxy: Flag | None = None
    """Whether evidence by proxy metrics counts; the default is false."""


class BudgetBlock(Block):
    """Hard limits on what is bought."""

    monthly: Money | None = None
    """Most money for a month of 730 h; the default is no limit."""
    total: Money | None = None
    """Most money over the horizon; the default is no limit."""
    power: Power | None = None
    """Most power of all GPUs bought, times `pue`; the default is no limit."""
    pue: Pue | None = None
    """Power usage effectiveness of the data center, a plain number from 1; the default is 1."""


class GuardrailBlock(Block):
    """A threshold for reviews, exactly one of the three: carried and shown, acted on by comparisons only."""

    change_above: Threshold | None = None
    """Monthly cost changes by more than this share."""
    budget_above: Threshold | None = None
    """More than this share of `budget.monthly` is used."""
    cost_above: Money | None = None
    """Monthly cost is above this."""
    message: Text | None = None
    """What to tell the author of the change; the default is nothing."""


class ScenarioBlock(Block):
    """A whole scenario."""

    kvplan: FormatVersion
    """Version of the scenario language."""
    name: Name
    """Name of the scenario."""
    extends: PathText | None = None
    """One parent file, relative to this one: maps are merged key by key, lists and single values are
    replaced."""
    owner: Text | None = None
    """Who answers for the scenario; the default is nobody."""
    horizon: Duration | None = None
    """Time that totals are given for; a month is 730 h; the default is 1mo."""
    models: Annotated[dict[KeyName, ModelBlock], Field(min_length=1)]
    """The models, by name."""
    traffic: Annotated[dict[KeyName, ClassBlock], Field(min_length=1)]
    """The traffic classes, by name."""
    inventory: Annotated[dict[KeyName, PoolBlock], Field(min_length=1)]
    """The pools of GPU nodes, by name."""
    calendar: CalendarBlock | None = None
    """Periods of the week; without it the peak counts at every hour."""
    limits: dict[KeyName, LimitBlock] = {}
    """Quotas and other linear limits over nodes, by name."""
    reserve: ReserveBlock | None = None
    """What is kept free."""
    compression: CompressionBlock | None = None
    """Which KV presets may be used."""
    performance: PerformanceBlock | None = None
    """Where latencies come from."""
    budget: BudgetBlock | None = None
    """Hard limits on money and power."""
    objective: Annotated[tuple[ObjectiveName, ...], *ONE_OR_MANY] | None = None
    """What is minimized, in this order; the default is [cost, gpus, quality_loss]."""
    guardrails: dict[KeyName, GuardrailBlock] = {}
    """Thresholds for reviews, by name."""
    what_if: dict[KeyName, Annotated[dict[str, object], Field(min_length=1)]] = {}
    """Named sets of overrides, each PATH: VALUE; `*` in a path matches one level."""
