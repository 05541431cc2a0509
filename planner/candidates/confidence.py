"""How sure the promises must be: a quantile of measured over predicted latency, applied once, to the limits.

The prediction stays as it is; a promise is kept when prediction x quantile is within it, so a replica is operated at
promise / quantile. The quantiles are those of the latency provider for the GPU, engine, dtype and kind of model.
"""

from __future__ import annotations

from fractions import Fraction

from planner.performance.provider import LatencyBand
from planner.scenario.types import Quantile


def factors(band: LatencyBand, confidence: Quantile) -> tuple[Fraction, Fraction]:
    """(TPOT, TTFT) of measured over predicted at a quantile of the band."""
    return {
        "p10": (band.tpot_p10, band.ttft_p10),
        "p50": (band.tpot_p50, band.ttft_p50),
        "p90": (band.tpot_p90, band.ttft_p90),
    }[confidence]


def band_text(band: LatencyBand, confidence: Quantile) -> str:
    """How a prediction was widened, in words.

    >>> from planner.performance.roofline import ROOFLINE_BAND
    >>> band_text(ROOFLINE_BAND, "p90")
    'p90: TPOT x 1.2, TTFT x 1.5 (judgement)'
    """
    tpot, ttft = factors(band, confidence)
    if tpot == ttft == 1:
        return f"{confidence}: as predicted"
    rests_on = "judgement" if band.judgement else f"{band.n} measurements"
    return f"{confidence}: TPOT x {float(tpot):.3g}, TTFT x {float(ttft):.3g} ({rests_on})"


def operating_ns(limit_us: int, factor: Fraction) -> int:
    """The promise in nanoseconds after confidence, rounded down."""
    return int(Fraction(limit_us * 1_000) / factor)
