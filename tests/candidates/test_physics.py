"""Timing of a shape: whose published factors, whose quantiles, and which tokens of a prompt count."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from planner import pipeline
from planner.candidates.confidence import band_text, factors, operating_ns
from planner.candidates.physics import shape_physics, timed_steps, usable_preset
from planner.candidates.types import Shape
from planner.catalog.parallel import Parallel
from planner.catalog.types import Refusal
from planner.performance.provider import LatencyBand
from planner.scenario.types import CompressionPolicy

FIRST = Path(__file__).resolve().parents[2] / "examples" / "01-first-plan" / "scenario.yaml"
MEASURED = LatencyBand(
    *(Fraction(n, 100) for n in (90, 104, 116, 80, 130, 200)), n=60, judgement=False, source="60 rows"
)


def of(preset: str, engine: str = "vllm@0.24"):
    """Scenario, model and shape of the first example with a preset."""
    scenario = pipeline.load(FIRST, [f"models.helpdesk.kv_presets={preset}", f"models.helpdesk.engine={engine}"])
    model = scenario.models["helpdesk"]
    return scenario, model, Shape(scenario.inventory["h100"].gpu, "bf16", Parallel(), preset)


def test_a_published_decode_time_counts_on_its_engine_alone() -> None:
    """fp8-per-token-head takes 1.181 of the time on vLLM, where that was measured; SGLang does not run it."""
    scenario, model, shape = of("fp8-per-token-head")
    usable = usable_preset(model, shape, scenario.compression)
    assert not isinstance(usable, Refusal) and usable.decode_time_factor == Fraction("1.181")
    slow, plain = (
        timed_steps(model, shape, each, scenario.performance)
        for each in (usable, replace(usable, decode_time_factor=Fraction(1)))
    )
    assert not isinstance(slow, Refusal) and not isinstance(plain, Refusal)
    ratio = float(slow.decode_step_s(64, 2_000) / plain.decode_step_s(64, 2_000))
    assert 1.0 < ratio <= 1.181 + 1e-9
    scenario, model, shape = of("fp8-per-token-head", "sglang@0.5.23")
    assert isinstance(usable_preset(model, shape, CompressionPolicy()), Refusal)


def test_only_new_tokens_of_a_prompt_are_prefilled() -> None:
    """A cached prefix saves its matrices; attention still reads it."""
    scenario, model, shape = of("bf16")
    usable = usable_preset(model, shape, scenario.compression)
    assert not isinstance(usable, Refusal)
    physics = shape_physics(model, shape, usable, scenario.performance)
    assert not isinstance(physics, Refusal)
    (timing,) = physics.timings.values()
    whole, rest = float(timing.prefill_s(4_000, 0)), float(timing.prefill_s(1_000, 3_000))
    assert rest - float(timing.prefill_s(1_000, 0)) > 0
    assert timing.sigma_s_per_token * 3_000 < whole - rest


@pytest.mark.parametrize(("confidence", "tpot", "ttft"), [("p10", 90, 80), ("p50", 104, 130), ("p90", 116, 200)])
def test_confidence_is_a_quantile_of_the_band(confidence, tpot: int, ttft: int) -> None:
    """Each promise is divided by its own quantile once, rounded down to a nanosecond."""
    assert factors(MEASURED, confidence) == (Fraction(tpot, 100), Fraction(ttft, 100))
    assert operating_ns(45_000, Fraction(tpot, 100)) == 45_000_000 * 100 // tpot
    assert "60 measurements" in band_text(MEASURED, confidence)
