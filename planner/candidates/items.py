"""Traffic classes become demand items: runs of adjacent length bands, cut where context limits make a difference.

A promise is kept for a class when every flow of it keeps the promise for its own requests. A flow may therefore carry
one band or any run of adjacent bands: long prompts alone miss a TTFT that the class as a whole keeps. Offering every
run makes a further context limit a further choice, never a further demand.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from planner.candidates.fleet import context_limits
from planner.candidates.types import Demand, DemandItem
from planner.scenario.traffic import TrafficClass
from planner.scenario.types import ModelSpec, Scenario
from planner.traffic.lengths import Band, ClassLengths, bands, class_lengths, joined, served

FIT_CONTEXTS = 5
CONTEXT_SPREAD = 1.5
"""Mean contexts swing with the load: fits reach this factor beyond them."""


def demand_items(scenario: Scenario) -> tuple[tuple[DemandItem, ...], tuple[Demand, ...]]:
    """All items and all demands, classes in name order, short prompts first."""
    items: list[DemandItem] = []
    demands: list[Demand] = []
    for name in sorted(scenario.traffic):
        traffic = scenario.traffic[name]
        model = scenario.models[traffic.model]
        own, rows = _class_items(traffic, model, context_limits(scenario, model), len(items))
        items += own
        demands += rows
    return tuple(items), tuple(demands)


def _class_items(
    traffic: TrafficClass, model: ModelSpec, limits: Sequence[int], first: int
) -> tuple[list[DemandItem], list[Demand]]:
    lengths = class_lengths(traffic)
    if lengths is None:
        item = DemandItem(traffic.name, traffic.name, model.name, 1_000_000, traffic.peak_rps, Fraction(0), None)
        return [item], [Demand(traffic.name, traffic.name, 1_000_000, (first,))]
    parts = bands(lengths, (*_cuts(traffic, limits, lengths.outputs[-1][0]), *_halves(traffic, lengths)))
    runs = [(i, j) for i in range(len(parts)) for j in range(i, len(parts))]
    items = [_item(traffic, joined(parts[i : j + 1])) for i, j in runs]
    demands = [
        Demand(
            name=_name(traffic, band),
            class_name=traffic.name,
            weight_ppm=band.weight_ppm,
            items=tuple(first + at for at, (i, j) in enumerate(runs) if i <= position <= j),
        )
        for position, band in enumerate(parts)
    ]
    return items, demands


def _name(traffic: TrafficClass, band: Band) -> str:
    return f"{traffic.name}[{band.prompts[0][0]}..{band.prompts[-1][0]}]"


def _item(traffic: TrafficClass, band: Band) -> DemandItem:
    share = Fraction(band.weight_ppm, 1_000_000)
    return DemandItem(
        name=_name(traffic, band),
        class_name=traffic.name,
        model=traffic.model,
        weight_ppm=band.weight_ppm,
        peak_rps=traffic.peak_rps * share,
        output_tokens_per_s=traffic.mean_rps * share * band.mean_output_tokens,
        band=band,
    )


def _halves(traffic: TrafficClass, lengths: ClassLengths) -> tuple[int, ...]:
    """The prompt length up to which prompts have half of all prompt tokens, where lengths come from a trace.

    Short prompts need not wait behind long ones then, whatever the context limits are. Percentiles say too little of
    what lies between them for that.
    """
    if traffic.trace is None:
        return ()
    half, below = lengths.mean_prompt_tokens / 2, Fraction(0)
    for tokens, weight in lengths.prompts:
        below += Fraction(tokens * weight, 1_000_000)
        if below >= half:
            return (tokens,)
    raise AssertionError("half of the tokens stand somewhere")


def _cuts(traffic: TrafficClass, limits: Sequence[int], longest_output_tokens: int) -> tuple[int, ...]:
    """Prompt lengths up to which a limit L keeps a request whole (prompt + output <= L).

    Where outputs may be cut short or prompts rejected, also the length up to which L accepts a prompt (prompt < L).
    """
    cuts = {limit - longest_output_tokens for limit in limits}
    if traffic.cut_short_at_most_ppm or traffic.rejected_at_most_ppm:
        cuts |= {limit - 1 for limit in limits}
    return tuple(sorted(cut for cut in cuts if cut > 0))


def mean_contexts(limits: Sequence[int], items: Sequence[DemandItem]) -> tuple[float, ...]:
    """Contexts around the mean ones of running requests under a model's context limits, least to largest, evenly in
    logarithms.

    Fits of steps that bend are made there.
    """
    longest = max(limits)
    means = [served(item.lengths, longest).resident_tokens for item in items if item.lengths.prompts[0][0] < longest]
    low, high = min(means, default=1_024.0) / CONTEXT_SPREAD, max(means, default=1_024.0) * CONTEXT_SPREAD
    low = max(low, 1.0)
    return tuple(low * (high / low) ** (place / (FIT_CONTEXTS - 1)) for place in range(FIT_CONTEXTS))
