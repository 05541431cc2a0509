"""What a plan rests on besides facts and predictions: adjustments, and that traffic stays as in a trace, as data."""

from __future__ import annotations

from collections.abc import Iterator

from planner.plan.types import Assumption
from planner.scenario.traffic import TraceUse
from planner.scenario.types import Scenario, Speculative
from planner.scenario.written import duration
from planner.units import MICRO, format_rate


def assumptions(scenario: Scenario) -> tuple[Assumption, ...]:
    """One row an adjusted quantity, one for speculative decoding, one a trace; models, then classes, in name order."""
    return (*_rows(scenario), *_traces(scenario))


def _speculative(path: str, drafts: Speculative) -> Assumption:
    kept = f"{float(drafts.accepted_tokens):g} tokens a step of {drafts.draft_tokens + 1} that it checks"
    text = f"{drafts.draft} drafts: {kept}, steps {drafts.step_overhead_ppm / 10_000:g}% longer"
    if drafts.memory_bytes_per_gpu:
        text += f", {drafts.memory_bytes_per_gpu / 2**30:,.2f} GiB for the draft on each GPU"
    return Assumption(path, text, drafts.source)


def _rows(scenario: Scenario) -> Iterator[Assumption]:
    for name, model in sorted(scenario.models.items()):
        if model.speculative is not None:
            yield _speculative(f"models.{name}.speculative", model.speculative)
        adjust = model.adjust
        if adjust is None:
            continue
        if adjust.memory_bytes_per_gpu:
            size = adjust.memory_bytes_per_gpu
            text = f"{size / 2**30:,.2f} GiB less for KV on each GPU ({size:,} B)"
            yield Assumption(f"models.{name}.adjust.memory", text, adjust.source)
        if adjust.decode_time_ppm:
            text = f"decode steps take {adjust.decode_time_ppm / 10_000:g}% longer than predicted"
            yield Assumption(f"models.{name}.adjust.decode_time", text, adjust.source)


def _traces(scenario: Scenario) -> Iterator[Assumption]:
    for name, traffic in sorted(scenario.traffic.items()):
        use = traffic.trace
        if use is None or use.facts is None:
            continue
        times = f"{float(use.scale):g} times " if use.scale != 1 else ""
        window = duration(use.peak_window_us)
        peak = f"peak {format_rate(traffic.peak_rps)} is {times}the busiest {window} of the trace"
        mean = f"mean {format_rate(traffic.mean_rps)} is {times}{use.facts.requests:,} requests in {_span(use)}"
        source = f"{use.path}, sha256 {use.facts.sha256[:12]}"
        yield Assumption(f"traffic.{name}.trace", f"{peak}; {mean}", source)


def _span(use: TraceUse) -> str:
    """The part of the trace that counts."""
    assert use.facts is not None
    if not use.start_us and use.end_us is None:
        return f"{use.facts.span_us / MICRO:,.0f} s"
    return f"{use.facts.span_us / MICRO:,.0f} s from {use.start_us / MICRO:,.0f} s on"
