"""Traffic classes, resolved: how often, how long, what was promised. Units as in `planner.scenario.types`."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal


@dataclass(frozen=True)
class Lengths:
    """Token lengths by percentiles: ((probability in ppm, tokens), ...) increasing, and the maximum."""

    percentiles: tuple[tuple[int, int], ...]
    max_tokens: int


@dataclass(frozen=True)
class QualityFloor:
    """What a class demands of a KV preset, relative to 16-bit KV; None is no demand."""

    max_accuracy_drop_ppm: int | None = None
    max_ppl_increase_ppm: int | None = None
    needs_recall: bool = False


@dataclass(frozen=True)
class Slo:
    """Promises of a class. A batch class has only `finish_within_us`."""

    ttft_p95_us: int | None = None
    tpot_p95_us: int | None = None
    finish_within_us: int | None = None


@dataclass(frozen=True)
class PeriodRate:
    """The rates of a class in one period of the calendar."""

    period: str
    peak_rps: Fraction
    mean_rps: Fraction


@dataclass(frozen=True)
class TraceFacts:
    """What a trace says of the part of it that counts; the pipeline reads it.

    `busiest` is the most requests in any `peak_window`, `span_us` the time that `requests` took. `lengths` are all
    pairs of prompt and output, one text a prompt length: "374 44*2 109" is two requests of (374, 44) and one of
    (374, 109). `rounding` is how lengths were rounded to keep them few: to 1 in so many, 0 for not at all. Of a trace
    with prefix hashes, `reusable_ppm` of the prompt tokens were seen before, and finding all of them takes
    `working_set_tokens`.
    """

    sha256: str
    format: str
    requests: int
    bad_rows: int
    span_us: int
    busiest: int
    lengths: tuple[str, ...]
    rounding: int = 0
    reusable_ppm: int = 0
    working_set_tokens: int = 0


@dataclass(frozen=True)
class TraceUse:
    """The trace that a class is planned from, and how. `start_us` and `end_us` are in the trace's own time."""

    path: str
    scale: Fraction = Fraction(1)
    peak_window_us: int = 60_000_000
    start_us: int = 0
    end_us: int | None = None
    facts: TraceFacts | None = None


PrefixRouting = Literal["random", "prefix_aware"]


@dataclass(frozen=True)
class PrefixUse:
    """How much of a working set has to be kept for prefix hits, and how requests find the replica that has it."""

    working_set_tokens: int
    routing: PrefixRouting = "random"


@dataclass(frozen=True)
class TrafficClass:
    """One traffic class. `peak_rps` sizes the fleet; `mean_rps` prices tokens. Lengths are None with a
    capacity table, and with a trace, which has its own.

    With `rates` the peak is the highest of the periods and the mean that of the week. Rates grow by
    `growth_ppm` a month, or are `growth_table_ppm` of what is written, one entry a month. `shed_at_most_ppm` of the
    requests may go unserved after a loss; classes of a lower `priority` number are served first then.

    `reusable_prefix_ppm` of prompt tokens are found cached: all of them without `prefix`, else as far as the pool keeps
    the working set.

    The requests of a daily batch arrive every day at `arrives_minute`, at any time without one.

    Only `regions` may serve the class, all without any; `latency_us` is the network's part of TTFT by region.
    """

    name: str
    model: str
    peak_rps: Fraction
    mean_rps: Fraction
    input_tokens: Lengths | None = None
    output_tokens: Lengths | None = None
    reusable_prefix_ppm: int = 0
    rejected_at_most_ppm: int = 0
    cut_short_at_most_ppm: int = 0
    quality: QualityFloor = field(default_factory=QualityFloor)
    slo: Slo = field(default_factory=Slo)
    rates: tuple[PeriodRate, ...] = ()
    growth_ppm: int = 0
    growth_table_ppm: tuple[int, ...] = ()
    priority: int = 1
    shed_at_most_ppm: int = 0
    trace: TraceUse | None = None
    prefix: PrefixUse | None = None
    regions: tuple[str, ...] = ()
    latency_us: tuple[tuple[str, int], ...] = ()
    arrives_minute: int | None = None
    prompt_tail_ppm: int = 0
    """Not written by the user: how much longer long prompts are at the worst of the band of `robust`."""
