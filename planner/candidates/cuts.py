"""What replays have taught about a shape: how much more GPU time a class takes there than the closed forms say."""

from __future__ import annotations

from planner.candidates.types import Shape
from planner.scenario.types import Cut, Scenario


def applies(cut: Cut, model: str, shape: Shape, class_name: str) -> bool:
    """Whether a cut is of a class on a shape."""
    return (cut.model, cut.gpu, cut.parallel, cut.weights, cut.kv_preset, cut.class_name) == (
        model,
        shape.gpu.id,
        str(shape.parallel),
        shape.weights,
        shape.preset,
        class_name,
    )


def gpu_time_factor(scenario: Scenario, model: str, shape: Shape, class_name: str) -> float | None:
    """What a class's GPU time is multiplied with; None where it may not run at all.

    A replica then carries 1 / factor of what the closed forms say, so the program buys as many more.
    """
    for cut in scenario.cuts:
        if applies(cut, model, shape, class_name):
            return None if cut.times_ppm is None else cut.times_ppm / 1_000_000
    return 1.0
