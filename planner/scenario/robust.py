"""The worst of the band that `robust` asks for: more traffic and longer long prompts, everywhere at once.

A plan for this end holds anywhere in the band. More requests, or longer ones, never make a row of the program smaller:
loads are rates times what one request takes, and a request takes no less time, no fewer sequences and no less KV when
its prompt is longer. So no other point of the band has to be tried (docs/model.md, section 7).
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from planner.scenario.traffic import PeriodRate, TrafficClass
from planner.scenario.types import Robust, Scenario
from planner.units import PPM


def worst(scenario: Scenario) -> Scenario:
    """The scenario at the upper end of its band, and without one; mean rates, which price tokens, stay as written.

    peak -> peak * (1 + traffic); prompts above the median -> longer, see `planner.traffic.tail`
    """
    if scenario.robust is None:
        return scenario
    traffic = {name: _worst_class(each, scenario.robust) for name, each in scenario.traffic.items()}
    return replace(scenario, traffic=traffic, robust=None)


def _worst_class(traffic: TrafficClass, robust: Robust) -> TrafficClass:
    times = 1 + Fraction(robust.traffic_ppm, PPM)
    rates = tuple(PeriodRate(rate.period, rate.peak_rps * times, rate.mean_rps) for rate in traffic.rates)
    trace = traffic.trace
    return replace(
        traffic,
        peak_rps=traffic.peak_rps * times,
        rates=rates,
        trace=None if trace is None else replace(trace, scale=trace.scale * times),
        prompt_tail_ppm=robust.context_tail_ppm,
    )
