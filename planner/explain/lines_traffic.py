"""Lines of the traffic: rates and growth, promises, regions, shares that may be lost, quality floors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

from planner.explain.ladders import higher, lower, number, plain, shares_above
from planner.explain.lines import Line, Loosen, Rung, one
from planner.explain.source import Source
from planner.scenario.traffic import PeriodRate, TrafficClass
from planner.scenario.types import Scenario
from planner.scenario.written import share
from planner.traffic.lengths import class_lengths
from planner.units import HOUR_US

NEXT_TO_NOTHING = Fraction(1, 1_000_000)
"""What a class asks, of its rates, where its rate is loosened: it must still be served."""

FINER = Fraction(21, 20)
"""Ratio of the steps by which promises are loosened."""

DAY_US = 24 * HOUR_US

ALL_PPM = 1_000_000

Edit = Callable[[TrafficClass], TrafficClass]


def traffic_lines(source: Source) -> Iterator[Line]:
    """Rates of every class first, then what was promised to it."""
    for name, traffic in source.scenario.traffic.items():
        weight = _weight(source, traffic)
        yield from (replace(line, weight=weight) for line in _rates(source, name, traffic))
        yield from _growth(source, name, traffic)
        yield from _promises(source, name, traffic)
        if traffic.regions:
            yield _regions(source, name, traffic)
        if source.scenario.models[traffic.model].facts is not None:
            yield from _shares(source, name, traffic)
            yield from _floors(source, name, traffic)


def _edited(name: str, edit: Edit) -> Loosen:
    def loosened(scenario: Scenario) -> Scenario:
        return replace(scenario, traffic={**scenario.traffic, name: edit(scenario.traffic[name])})

    return loosened


def _weight(source: Source, traffic: TrafficClass) -> float:
    """About how much a class asks: of a capacity table GPUs, else tokens a second; an output token counts as ten."""
    rates = [dict(row).get(traffic.name) for _, row in source.scenario.models[traffic.model].capacity]
    best = max((rate for rate in rates if rate), default=None)
    if best is not None:
        return float(traffic.peak_rps / best)
    lengths = class_lengths(traffic)
    tokens = 1 if lengths is None else lengths.mean_prompt_tokens + 10 * lengths.mean_output_tokens
    return float(traffic.peak_rps * tokens)


def _quiet(traffic: TrafficClass) -> TrafficClass:
    rates = tuple(_quiet_period(rate) for rate in traffic.rates)
    peak, mean = traffic.peak_rps * NEXT_TO_NOTHING, traffic.mean_rps * NEXT_TO_NOTHING
    return replace(traffic, peak_rps=peak, mean_rps=mean, rates=rates)


def _quiet_period(rate: PeriodRate) -> PeriodRate:
    return replace(rate, peak_rps=rate.peak_rps * NEXT_TO_NOTHING, mean_rps=rate.mean_rps * NEXT_TO_NOTHING)


def _rates(source: Source, name: str, traffic: TrafficClass) -> Iterator[Line]:
    """What the class asks: of a trace, by the day, by period, or at its peak."""
    path = f"traffic.{name}"
    if traffic.trace is not None:
        value, at = source.written(f"{path}.scale") or "1", f"{path}.scale"
        yield Line(at, "traffic", value, source.place(at), _edited(name, _quiet), one(at, lower(value)))
    elif traffic.slo.finish_within_us is not None:
        at = f"{path}.requests"
        value = source.written(at) or ""
        yield Line(at, "traffic", value, source.place(at), _edited(name, _quiet), one(at, lower(value, whole=True)))
    elif traffic.rates:
        for rate in traffic.rates:
            if rate.peak_rps:
                yield _period(source, f"{path}.rate.{rate.period}", name, rate.period)
    else:
        yield _peak(source, path, _edited(name, _quiet), f"{path}.peak", f"{path}.mean")


def _period(source: Source, path: str, name: str, period: str) -> Line:
    def quiet(traffic: TrafficClass) -> TrafficClass:
        rates = tuple(_quiet_period(rate) if rate.period == period else rate for rate in traffic.rates)
        return replace(traffic, rates=rates, peak_rps=max(rate.peak_rps for rate in rates))

    return _peak(source, path, _edited(name, quiet), f"{path}.peak", f"{path}.mean")


def _peak(source: Source, path: str, loosened: Loosen, peak_path: str, mean_path: str) -> Line:
    """A peak with its mean, which must not be above it."""
    peak, mean = source.written(peak_path) or "", source.written(mean_path)

    def steps() -> tuple[Rung, ...]:
        return tuple(_with_mean(peak, value, mean, peak_path, mean_path) for value in lower(peak))

    return Line(peak_path, "traffic", peak, source.place(peak_path), loosened, steps)


def _with_mean(peak: str, value: str, mean: str | None, peak_path: str, mean_path: str) -> Rung:
    """A lower peak; where the mean would be above it, the mean keeps its part of the peak."""
    from planner.units import parse_rate

    if mean is None or parse_rate(mean) <= parse_rate(value):
        return ((peak_path, value),)
    unit = value[len(plain(number(value))) :]
    part = parse_rate(mean) / parse_rate(peak)
    return (peak_path, value), (mean_path, f"{plain(_six(number(value) * part))}{unit}")


def _six(value: Fraction) -> Fraction:
    """Rounded down to six decimals: rates are written, not computed."""
    return Fraction(int(value * 10**6), 10**6)


def _growth(source: Source, name: str, traffic: TrafficClass) -> Iterator[Line]:
    path = f"traffic.{name}.growth"
    value = source.written(path)
    if value is None:
        return
    if max(traffic.growth_table_ppm, default=0) > 1_000_000:
        table = traffic.growth_table_ppm

        def capped() -> tuple[Rung, ...]:
            tops = range(max(table) - 10_000, 990_000, -10_000)
            return tuple(((path, f"[{', '.join(share(min(each, top)) for each in table)}]"),) for top in tops)

        flat = tuple(min(each, 1_000_000) for each in table)
        edit = _edited(name, lambda t: replace(t, growth_table_ppm=flat))
        yield Line(path, "traffic", value, source.place(path), edit, capped)
    elif traffic.growth_ppm > 0:
        values = tuple(f"{share(ppm)}/mo" for ppm in range(traffic.growth_ppm - 1_000, -1, -1_000))
        edit = _edited(name, lambda t: replace(t, growth_ppm=0))
        yield Line(path, "traffic", value, source.place(path), edit, one(path, values))


def _promises(source: Source, name: str, traffic: TrafficClass) -> Iterator[Line]:
    slo, path = traffic.slo, f"traffic.{name}.slo"
    if slo.finish_within_us is not None and slo.finish_within_us < DAY_US:
        at = f"{path}.finish_within"
        value = source.written(at) or ""
        values = higher(value, FINER, number(value) * DAY_US / slo.finish_within_us)
        edit = _edited(name, lambda t: replace(t, peak_rps=t.mean_rps, slo=replace(t.slo, finish_within_us=DAY_US)))
        yield Line(at, "promises", value, source.place(at), edit, one(at, values))
    if source.scenario.models[traffic.model].facts is None:
        return
    free: dict[str, Edit] = {
        "ttft_p95": lambda t: replace(t, slo=replace(t.slo, ttft_p95_us=None)),
        "tpot_p95": lambda t: replace(t, slo=replace(t.slo, tpot_p95_us=None)),
    }
    for key, none in free.items():
        at = f"{path}.{key}"
        value = source.written(at) or ""
        if value:
            yield _physical(source, name, at, value, none, higher(value, FINER))


def _physical(source: Source, name: str, path: str, value: str, edit: Edit, values: tuple[str, ...]) -> Line:
    """A line that decides what may serve a class."""
    model = source.scenario.traffic[name].model
    steps = one(path, values)
    return Line(path, "promises", value, source.place(path), _edited(name, edit), steps, "physics", model)


def _regions(source: Source, name: str, traffic: TrafficClass) -> Line:
    """Where the class may be served. A step adds one region: those whose network time is known, where times are."""
    path = f"traffic.{name}.regions"
    named = dict.fromkeys(pool.region for pool in source.scenario.inventory.values())
    timed = dict(traffic.latency_us)
    more = [each for each in named if each not in traffic.regions and (not timed or each in timed)]
    values = tuple(f"[{', '.join((*traffic.regions, each))}]" for each in more)
    value = source.written(path) or ", ".join(traffic.regions)
    line = _physical(source, name, path, value, lambda t: replace(t, regions=()), values)
    return replace(line, ordered=False, level="rows")


def _shares(source: Source, name: str, traffic: TrafficClass) -> Iterator[Line]:
    """Shares of the requests that may be lost; none where nothing is written."""
    losable: list[tuple[str, int, Edit]] = [
        ("rejected_at_most", traffic.rejected_at_most_ppm, lambda t: replace(t, rejected_at_most_ppm=ALL_PPM)),
        ("cut_short_at_most", traffic.cut_short_at_most_ppm, lambda t: replace(t, cut_short_at_most_ppm=ALL_PPM)),
    ]
    for key, ppm, everything in losable:
        path = f"traffic.{name}.{key}"
        yield _physical(source, name, path, source.written(path) or "0%", everything, shares_above(ppm))


def _floors(source: Source, name: str, traffic: TrafficClass) -> Iterator[Line]:
    quality, path = traffic.quality, f"traffic.{name}.quality"
    floors: list[tuple[str, int | None, Edit]] = [
        (
            "max_accuracy_drop",
            quality.max_accuracy_drop_ppm,
            lambda t: replace(t, quality=replace(t.quality, max_accuracy_drop_ppm=None)),
        ),
        (
            "max_ppl_increase",
            quality.max_ppl_increase_ppm,
            lambda t: replace(t, quality=replace(t.quality, max_ppl_increase_ppm=None)),
        ),
    ]
    for key, ppm, none in floors:
        if ppm is not None:
            at = f"{path}.{key}"
            yield _physical(source, name, at, source.written(at) or "", none, shares_above(ppm))
    if quality.needs_recall:
        at = f"{path}.needs_recall"
        yield _physical(source, name, at, "true", _without_recall, ("false",))


def _without_recall(traffic: TrafficClass) -> TrafficClass:
    return replace(traffic, quality=replace(traffic.quality, needs_recall=False))
