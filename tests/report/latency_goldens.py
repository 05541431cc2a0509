"""The pages that test_latency_pages.py compares: `python tests/report/latency_goldens.py` renews them.

Steps are made up (10 ms and 20 us a token, 2 ns a cached token), so that pages do not change with fitted constants.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).with_name("golden_latency")
sys.path.insert(0, str(ROOT))

from planner.calculator.inputs import Inputs, look_up  # noqa: E402
from planner.calculator.latency import LatencyAnswer, LatencyRow  # noqa: E402
from planner.calculator.query import KvQuery  # noqa: E402
from planner.calculator.types import Taken  # noqa: E402
from planner.performance.closed_loop import Limits, Users, closed_loop  # noqa: E402
from planner.performance.provider import FloatArray, LatencyBand, Part, Quantity, StepModel  # noqa: E402

BAND = LatencyBand(*(Fraction(each, 10) for each in (9, 10, 12, 7, 10, 15)), n=45, judgement=False, source="made up")


class MadeUp(StepModel):
    """Steps of 10 ms and 20 us a token, and 2 ns a cached token."""

    provider = "made up"
    estimated = ("every figure is made up",)
    band = BAND

    def breakdown(
        self, batch: Quantity, context_tokens: Quantity, new_tokens: Quantity = 0, cached_tokens: Quantity = 0
    ) -> dict[Part, FloatArray]:
        """Weights, attention and all-reduce of a step."""
        tokens = np.asarray(batch, dtype=np.float64) + np.asarray(new_tokens, dtype=np.float64)
        read = np.asarray(batch, dtype=np.float64) * context_tokens
        return {"weights": 0.008 + 15e-6 * tokens, "attention": 2e-9 * read, "all_reduce": 0.002 + 5e-6 * tokens}


def made_up(batches: tuple[int, ...], slo_tpot_us: int | None = 20_000) -> LatencyAnswer:
    """An answer with made-up steps: 200 requests fit the pool."""
    inputs = look_up(KvQuery(model="llama-3.1-8b", engine="vllm@0.24", gpu="h100-sxm-80gb"))
    assert isinstance(inputs, Inputs) and inputs.gpu is not None
    users, limits = Users(1000, 101, cached_tokens=200), Limits(8192, 1024, 200)
    loops = [closed_loop(MadeUp(), users, limits, count) for count in batches]
    rows = tuple(
        LatencyRow(loop, loop.tpot_s, loop.ttft_s, loop.output_tokens_per_s, "made up", BAND) for loop in loops
    )
    return LatencyAnswer(
        model=inputs.model,
        engine=inputs.engine,
        gpu=inputs.gpu,
        shape=inputs.shape,
        weights="bf16",
        kv_dtype="auto",
        preset=None,
        users=users,
        limits=limits,
        rows=rows,
        slo_tpot_us=slo_tpot_us,
        slo_ttft_us=None,
        estimated=MadeUp.estimated,
        defaults=(Taken("--parallel", "tp1", "one GPU"),),
        warnings=("a warning <&> of many words",),
    )


def calibrated() -> LatencyAnswer:
    """The same, with the predictions that it had before it was calibrated."""
    answer = made_up((1, 64), None)
    rows = tuple(replace(row, tpot_s=1.1 * row.tpot_s, uncalibrated=row.loop) for row in answer.rows)
    return replace(answer, rows=rows, misfit="the weights do not fit")


def pages() -> Iterator[tuple[str, str]]:
    """(file name, page) of every golden."""
    from planner.calculator.latency import curve_batches
    from planner.report.latency import latency_text
    from planner.report.latency_curve import curve_svg, curve_text, latency_curve
    from planner.report.latency_json import latency_csv, latency_json, latency_markdown

    answer = made_up((1, 64, 400))
    yield "latency.txt", latency_text(answer)
    yield "latency-60.txt", latency_text(answer, 60)
    yield "latency-calibrated.txt", latency_text(calibrated())
    yield "latency.json", latency_json(answer)
    yield "latency.csv", latency_csv(answer)
    yield "latency.md", latency_markdown(answer)
    curve = latency_curve(made_up(curve_batches(400)))
    yield "latency-curve.txt", curve_text(curve)
    yield "latency-curve.svg", curve_svg(curve)


if __name__ == "__main__":
    for name, text in pages():
        GOLDEN.joinpath(name).write_text(text, encoding="utf-8")
