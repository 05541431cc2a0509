"""Measured / predicted as numbers, and a provider whose steps take as long as was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from planner.catalog.latency import Calibration, Spread, System
from planner.performance.measured.belongs import same_release
from planner.performance.measured.names import kv_name
from planner.performance.provider import FloatArray, LatencyBand, Part, Quantity, StepModel, StepRequest

LEAST_RUNS = 5
"""With fewer runs their own spread says nothing: the provider's band stands around their median."""

PLACES = 10**6


def spread(ratios: Sequence[float], p10: Fraction, p50: Fraction, p90: Fraction) -> Spread:
    """The 10, 50 and 90 % points of measured / predicted.

    Args:
        ratios: one for each run.
        p10, p50, p90: the provider's own band, whose width is borrowed where there are too few runs.

    >>> found = spread([1.0, 1.1, 1.2, 1.3, 1.4], *[Fraction(1)] * 3)
    >>> [float(point) for point in (found.p10, found.p50, found.p90)]
    [1.04, 1.2, 1.36]
    """
    ordered = sorted(ratios)
    low, middle, high = (_quantile(ordered, share) for share in (0.1, 0.5, 0.9))
    if len(ordered) >= LEAST_RUNS:
        return Spread(low, middle, high, len(ordered), is_borrowed=False)
    return Spread(_rounded(middle * p10 / p50), middle, _rounded(middle * p90 / p50), len(ordered), is_borrowed=True)


def _quantile(ordered: Sequence[float], share: float) -> Fraction:
    """The quantile with linear interpolation between neighbors."""
    place = share * (len(ordered) - 1)
    left = min(int(place), len(ordered) - 1)
    right = min(left + 1, len(ordered) - 1)
    return _rounded(ordered[left] + (place - left) * (ordered[right] - ordered[left]))


def _rounded(value: float | Fraction) -> Fraction:
    return Fraction(round(value * PLACES), PLACES)


def calibration_for(calibrations: Sequence[Calibration], system: System) -> Calibration | None:
    """What was measured on this very replica, else on its GPU and engine; None where nothing was."""
    of_engine = [
        each
        for each in calibrations
        if each.gpu == system.gpu
        and each.engine.partition("@")[0] == system.engine_name
        and same_release(each.engine.partition("@")[2], system.engine_version)
    ]
    own = [each for each in of_engine if each.system is not None and same_replica(each.system, system)]
    return next(iter([*own, *(each for each in of_engine if each.system is None)]), None)


def same_replica(one: System, other: System) -> bool:
    """Whether two systems are the same, whatever patch release or spelling they are written with."""
    same = (one.model, one.gpu, one.parallel, one.weights) == (other.model, other.gpu, other.parallel, other.weights)
    releases = same_release(one.engine_version, other.engine_version)
    return (
        same and one.engine_name == other.engine_name and releases and kv_name(one.kv_dtype) == kv_name(other.kv_dtype)
    )


def system_of_request(request: StepRequest) -> System:
    """The replica that a provider is asked for."""
    return System(
        model=request.model.id,
        gpu=request.gpu.id,
        engine=request.engine.requested,
        parallel=str(request.shape),
        weights=request.weights,
        kv_dtype=kv_name(request.kv_dtype),
    )


@dataclass(frozen=True)
class CalibratedStepModel(StepModel):
    """A provider's steps, every part of them multiplied by one factor."""

    base: StepModel
    factor: float
    provider: str
    estimated: tuple[str, ...]
    band: LatencyBand

    def breakdown(
        self, batch: Quantity, context_tokens: Quantity, new_tokens: Quantity = 0, cached_tokens: Quantity = 0
    ) -> dict[Part, FloatArray]:
        """Seconds of every part of a step, as the provider has them times the factor."""
        parts = self.base.breakdown(batch, context_tokens, new_tokens, cached_tokens)
        return {part: self.factor * seconds for part, seconds in parts.items()}


def calibrated(step: StepModel, request: StepRequest, calibrations: Sequence[Calibration]) -> StepModel:
    """The provider's steps as the user's runs correct them; the same steps where no run says anything.

    All step times are multiplied by the median of measured / predicted TPOT: decoding and prefill share the engine's
    steps. The band is what the runs leave: their spread around that median, and their TTFT.
    """
    found = calibration_for(calibrations, system_of_request(request))
    return step if found is None else scaled(step, found)


def scaled(step: StepModel, found: Calibration) -> StepModel:
    """The provider's steps under one calibration."""
    own, tpot, ttft = step.band, found.tpot, found.ttft
    runs = f"{tpot.n} measured run{'s' if tpot.n > 1 else ''}"
    band = LatencyBand(
        tpot_p10=_rounded(tpot.p10 / tpot.p50),
        tpot_p50=Fraction(1),
        tpot_p90=_rounded(tpot.p90 / tpot.p50),
        ttft_p10=own.ttft_p10 if ttft is None else ttft.p10,
        ttft_p50=own.ttft_p50 if ttft is None else ttft.p50,
        ttft_p90=own.ttft_p90 if ttft is None else ttft.p90,
        n=tpot.n,
        judgement=own.judgement and (tpot.is_borrowed or ttft is None or ttft.is_borrowed),
        source=f"{runs}, {found.source}{borrowed_words(found)}",
    )
    scope = "this replica" if found.system is not None else f"{found.gpu} with {found.engine}"
    words = f"{step.provider}; calibrated x {float(tpot.p50):.3g} by {runs} on {scope}"
    return CalibratedStepModel(step, float(tpot.p50), words, step.estimated, band)


def borrowed_words(found: Calibration) -> str:
    """What of the band is not the runs' own."""
    words = []
    if found.tpot.is_borrowed:
        words.append(f"{found.tpot.n} of the {LEAST_RUNS} runs that show a spread: the provider's own around them")
    if found.ttft is None:
        words.append("TTFT not measured in a closed loop: the provider's own")
    return f" ({'; '.join(words)})" if words else ""
