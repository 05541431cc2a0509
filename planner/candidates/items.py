"""Traffic classes become demand items: length bands cut where context limits make a difference."""

from __future__ import annotations

from fractions import Fraction

from planner.candidates.types import DemandItem
from planner.scenario.types import ModelSpec, Scenario, TrafficClass
from planner.traffic.lengths import Band, bands, histogram


def demand_items(scenario: Scenario) -> tuple[DemandItem, ...]:
    """All items, classes in name order, bands from short to long prompts."""
    items: list[DemandItem] = []
    for name in sorted(scenario.traffic):
        traffic = scenario.traffic[name]
        items.extend(_class_items(traffic, scenario.models[traffic.model]))
    return tuple(items)


def _class_items(traffic: TrafficClass, model: ModelSpec) -> list[DemandItem]:
    if traffic.input_tokens is None or traffic.output_tokens is None:
        return [DemandItem(traffic.name, traffic.name, model.name, 1_000_000, traffic.peak_rps, Fraction(0), None)]
    outputs = histogram(traffic.output_tokens)
    cuts = _cuts(model.context_limits_tokens, max(tokens for tokens, _ in outputs))
    parts = bands(histogram(traffic.input_tokens), outputs, cuts)
    mean_output = Fraction(sum(tokens * weight for tokens, weight in outputs), 1_000_000)
    return [_item(traffic, band, mean_output) for band in parts]


def _item(traffic: TrafficClass, band: Band, mean_output_tokens: Fraction) -> DemandItem:
    share = Fraction(band.weight_ppm, 1_000_000)
    return DemandItem(
        name=f"{traffic.name}[{band.prompts[0][0]}..{band.prompts[-1][0]}]",
        class_name=traffic.name,
        model=traffic.model,
        weight_ppm=band.weight_ppm,
        peak_rps=traffic.peak_rps * share,
        output_tokens_per_s=traffic.mean_rps * share * mean_output_tokens,
        band=band,
    )


def _cuts(context_limits_tokens: tuple[int, ...], longest_output_tokens: int) -> tuple[int, ...]:
    """Prompt lengths up to which a limit L neither rejects (prompt < L) nor cuts short (prompt + output <= L)."""
    cuts = {limit - 1 for limit in context_limits_tokens}
    cuts |= {limit - longest_output_tokens for limit in context_limits_tokens}
    return tuple(sorted(cut for cut in cuts if cut > 0))
