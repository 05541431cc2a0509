"""Who times each deployment and how long its steps take: one table for the terminal, for Markdown and for HTML."""

from __future__ import annotations

from typing import Literal

from planner.plan.types import Deployment, Plan
from planner.report import numbers

HEADS: tuple[tuple[str, Literal["left", "right"]], ...] = (
    ("deployment", "left"), ("provider", "left"), ("empty step", "right"), ("a sequence", "right"),
    ("1,000 tokens", "right"), ("fit error", "right"), ("chunk", "right"), ("a full chunk", "right"), ("band", "left"),
)  # fmt: skip
"""A step takes an empty step and what each sequence, each 1,000 resident tokens and each chunk of a prompt add."""


def step_rows(plan: Plan) -> list[tuple[str, ...]]:
    """One row a deployment that has a latency."""
    return [_row(name, each) for name, each in plan.deployments.items() if each.step is not None]


def _row(name: str, each: Deployment) -> tuple[str, ...]:
    step = each.step
    assert step is not None
    return (
        name,
        each.provider.partition(",")[0],
        _ms(step.alpha_ns),
        f"{step.beta_ns / 1e3:.1f} us",
        f"{step.gamma_ns:.1f} us",
        f"{step.fit_mean_error_ppm / 1e4:.1f}% mean, {step.fit_max_error_ppm / 1e4:.0f}% worst",
        numbers.tokens(each.max_num_batched_tokens),
        _ms(step.full_chunk_ns) if step.full_chunk_ns else "-",
        _band(each),
    )


def _ms(ns: float) -> str:
    return f"{ns / 1e6:.3g} ms"


def _band(each: Deployment) -> str:
    """p10 / p50 / p90 of measured over predicted."""
    band = each.band
    if band is None:
        return "-"
    tpot = " / ".join(f"{float(factor):.2f}" for factor in (band.tpot_p10, band.tpot_p50, band.tpot_p90))
    ttft = " / ".join(f"{float(factor):.2f}" for factor in (band.ttft_p10, band.ttft_p50, band.ttft_p90))
    return f"TPOT {tpot}, TTFT {ttft} ({'judgement' if band.judgement else f'{band.n} measurements'})"
