"""Traffic classes: who asks how often, how long, and what was promised."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from planner.scenario.blocks.base import Block
from planner.scenario.fields import (
    ONE_OR_MANY,
    Duration,
    Flag,
    Growth,
    KeyName,
    Name,
    NetworkTime,
    PathText,
    PercentileKey,
    PositiveCount,
    PrefixRouting,
    QuietRate,
    Rate,
    RequestsPerDay,
    Scale,
    Share,
    Text,
    TimeOfDay,
    Tokens,
)


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
    arrives: TimeOfDay | None = None
    """When the requests of the daily batch are there, in the calendar's time zone: it then runs in the periods within
    `slo.finish_within` after that, wherever others leave room; the default is any time of the day."""
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
    regions: Annotated[tuple[Text, ...], *ONE_OR_MANY] | None = None
    """Regions of the inventory that may serve the class, such as where its data may lie; the default is all."""
    latency: Annotated[dict[str, NetworkTime], Field(min_length=1)] | None = None
    """Network time of a round trip from the users of the class to each region that may serve it, and back: it counts in
    `slo.ttft_p95` and leaves the engine so much less; the default is none."""
