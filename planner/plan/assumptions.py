"""What a plan rests on besides facts and predictions: the user's adjustments, as data."""

from __future__ import annotations

from collections.abc import Iterator

from planner.plan.types import Assumption
from planner.scenario.types import Scenario, Speculative


def assumptions(scenario: Scenario) -> tuple[Assumption, ...]:
    """One row an adjusted quantity and one for speculative decoding, models in name order."""
    return tuple(_rows(scenario))


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
