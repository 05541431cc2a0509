"""What a replay said of a plan: its promises with their margins, and the rounds that led to the plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

from planner.scenario.types import Cut, Scenario

Broken = tuple[str, str, str]

Metric = Literal["ttft_p95", "tpot_p95", "finish_within", "rejected", "cut_short"]


@dataclass(frozen=True)
class Margin:
    """One promise in the worst replay: microseconds for latencies (with confidence), ppm of requests for shares."""

    class_name: str
    metric: Metric
    measured: int
    limit: int
    margin_ppm: int
    kept: bool


@dataclass(frozen=True)
class Round:
    """One solve and its replay. `failed` are promises that did not hold, `learned` what the next solve was told."""

    status: str
    cost_per_month: str | None
    gpus: int
    failed: tuple[str, ...]
    learned: tuple[str, ...]


@dataclass(frozen=True)
class Certificate:
    """Whether a replay has confirmed the promises.

    `certified`: every promise held in every replay. `refuted`: some did not, and no further round helped. `traces` are
    the SHA-256 of what was replayed, `sources` its words; the other classes were generated from `seeds`.
    """

    status: Literal["not_simulated", "certified", "refuted"]
    reason: str
    sources: dict[str, str] = field(default_factory=dict)
    traces: dict[str, str] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    router: str = ""
    margins: tuple[Margin, ...] = ()
    rounds: tuple[Round, ...] = ()


NOT_SIMULATED = Certificate("not_simulated", "promises rest on closed forms; no replay has confirmed them")


def least_margin_ppm(certificate: Certificate) -> int | None:
    """What is left of the tightest promise."""
    return min((margin.margin_ppm for margin in certificate.margins), default=None)


def cut_text(cut: Cut) -> str:
    """A cut in words.

    >>> cut_text(Cut("m", "h100-sxm-80gb", "tp2", "fp8", "bf16", "code", 1_320_000))
    'code takes 1.32 times the GPU time on h100-sxm-80gb tp2 fp8, KV bf16'
    """
    where = f"on {cut.gpu} {cut.parallel} {cut.weights}, KV {cut.kv_preset}"
    if cut.times_ppm is None:
        return f"{cut.class_name} may not run {where}"
    return f"{cut.class_name} takes {cut.times_ppm / 1_000_000:.3g} times the GPU time {where}"


def broken_certificate(
    certificate: Certificate, scenario: Scenario, promised: Mapping[tuple[str, str], int], *, has_plan: bool
) -> Iterator[Broken]:
    """What contradicts itself; whether the replay says so is for `kvplan simulate` to repeat.

    `promised` are the limits of the plan by class and metric.
    """
    if certificate.status == "not_simulated":
        for one in fields(certificate):
            stored, bare = getattr(certificate, one.name), getattr(NOT_SIMULATED, one.name)
            if stored != bare:
                yield f"certificate.{one.name}", str(stored)[:60], f"{str(bare)[:60]!r} without a replay"
        if scenario.cuts:
            yield "scenario.cuts", f"{len(scenario.cuts)} cuts", "none without a replay"
        return
    for margin in certificate.margins:
        path = f"certificate.margins[{margin.class_name} {margin.metric}]"
        left = margin.limit - margin.measured
        exact = left * 1_000_000 // margin.limit if margin.limit > 0 else -margin.measured
        if margin.margin_ppm != exact:
            yield f"{path}.margin_ppm", str(margin.margin_ppm), str(exact)
        if margin.kept != (left >= 0):
            yield f"{path}.kept", str(margin.kept), str(left >= 0)
    found: dict[tuple[str, str], int] = {(one.class_name, one.metric): one.limit for one in certificate.margins}
    for (class_name, metric), limit in sorted(promised.items()):
        stated = found.get((class_name, metric))
        if has_plan and stated != limit:
            yield f"certificate.margins[{class_name} {metric}]", f"limit {stated}", f"limit {limit}"
    holds = has_plan and all(margin.kept for margin in certificate.margins) and bool(certificate.margins)
    if (certificate.status == "certified") != holds:
        yield "certificate.status", certificate.status, "certified exactly where every promise held"
    if not certificate.rounds or (certificate.status == "certified" and certificate.rounds[-1].failed):
        yield "certificate.rounds", "the last round", "one without failed promises"
    learned = [text for one in certificate.rounds for text in one.learned]
    for cut in scenario.cuts:
        if cut_text(cut) not in learned:
            yield "scenario.cuts", cut_text(cut), "learned in a round"
