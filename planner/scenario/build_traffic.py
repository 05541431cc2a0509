"""From the blocks of a traffic class to its `TrafficClass`."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from planner.scenario.blocks.traffic import ClassBlock, PrefixBlock, QualityBlock, SloBlock, WindowBlock
from planner.scenario.calendar import share_of_week
from planner.scenario.checks import Lookup
from planner.scenario.given import given
from planner.scenario.source import MapNode, child_text
from planner.scenario.traffic import Lengths, PeriodRate, PrefixUse, QualityFloor, Slo, TraceUse, TrafficClass
from planner.scenario.types import Calendar
from planner.scenario.values import percentile_ppm
from planner.units import DURATION_UNITS_US, MICRO

DEFAULT_PEAK_WINDOW_US = DURATION_UNITS_US["min"]
SECONDS_PER_DAY = 86_400


def build_class(name: str, block: ClassBlock, calendar: Calendar | None, root: MapNode, lookup: Lookup) -> TrafficClass:
    """A class; one batch a day needs requests / finish_within, and has requests / 24 h as its mean.

    The rates of a trace are read with it, by the pipeline.
    """
    rates = _rates(block, calendar)
    slo, quality = block.slo or SloBlock(), block.quality or QualityBlock()
    trace = None
    if block.trace is not None:
        trace = _trace(block, lookup.file(given(child_text(root, "traffic", name, "trace"))))
        peak = mean = Fraction(1)
    elif block.requests is not None:
        peak = block.requests * MICRO / given(slo.finish_within)
        mean = block.requests / SECONDS_PER_DAY
    elif calendar is not None and rates:
        parts = {name: share_of_week(spans) for name, spans in calendar.periods}
        peak = max(rate.peak_rps for rate in rates)
        mean = sum((rate.mean_rps * parts[rate.period] for rate in rates), Fraction(0))
    else:
        peak = given(block.peak)
        mean = block.mean if block.mean is not None else peak
    prefix = block.prefix or PrefixBlock()
    return TrafficClass(
        name=name,
        model=block.model,
        peak_rps=peak,
        mean_rps=mean,
        input_tokens=_lengths(block.input_tokens),
        output_tokens=_lengths(block.output_tokens),
        reusable_prefix_ppm=prefix.reusable or 0,
        rejected_at_most_ppm=block.rejected_at_most or 0,
        cut_short_at_most_ppm=block.cut_short_at_most or 0,
        quality=QualityFloor(quality.max_accuracy_drop, quality.max_ppl_increase, quality.needs_recall),
        slo=Slo(slo.ttft_p95, slo.tpot_p95, slo.finish_within),
        rates=rates,
        growth_ppm=block.growth if isinstance(block.growth, int) else 0,
        growth_table_ppm=block.growth if isinstance(block.growth, tuple) else (),
        priority=block.priority or 1,
        shed_at_most_ppm=block.when_degraded.shed_at_most if block.when_degraded else 0,
        trace=trace,
        prefix=_prefix(prefix),
        regions=block.regions or (),
        latency_us=tuple((block.latency or {}).items()),
        arrives_minute=block.arrives,
    )


def _rates(block: ClassBlock, calendar: Calendar | None) -> tuple[PeriodRate, ...]:
    """The rates of the periods, in the calendar's order."""
    if block.rate is None or calendar is None:
        return ()
    rates = [(name, block.rate[name]) for name, _ in calendar.periods]
    return tuple(PeriodRate(name, r.peak, r.peak if r.mean is None else r.mean) for name, r in rates)


def _trace(block: ClassBlock, path: Path) -> TraceUse:
    window = block.window or WindowBlock()
    return TraceUse(
        path=str(path),
        scale=block.scale or Fraction(1),
        peak_window_us=block.peak_window or DEFAULT_PEAK_WINDOW_US,
        start_us=window.start or 0,
        end_us=window.end,
    )


def _prefix(block: PrefixBlock) -> PrefixUse | None:
    """The working set that has to be kept; 0 tokens: the hashes of the trace say how many."""
    if block.working_set is None and block.routing is None:
        return None
    return PrefixUse(block.working_set or 0, "prefix_aware" if block.routing == "prefix_aware" else "random")


def _lengths(percentiles: dict[str, int] | None) -> Lengths | None:
    if percentiles is None:
        return None
    points = sorted((given(percentile_ppm(key)), tokens) for key, tokens in percentiles.items() if key != "max")
    return Lengths(tuple(points), percentiles["max"])
