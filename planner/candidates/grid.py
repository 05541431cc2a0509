"""The axes of a block (settings, bands, operating promises), and why parts of them fall away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from math import ceil, isfinite

import numpy as np

from planner.candidates.confidence import factors, operating_ns
from planner.candidates.demand import Demand
from planner.candidates.physics import ShapePhysics
from planner.candidates.regions import engine_limit_us, may_run, network_us, report_regions
from planner.candidates.rejections import Rejections
from planner.candidates.settings import setting_choices
from planner.candidates.types import DemandItem, Setting, Shape
from planner.catalog.types import Bottleneck, Refusal
from planner.scenario.traffic import TrafficClass
from planner.scenario.types import ModelSpec, Scenario
from planner.traffic.lengths import Served, served
from planner.traffic.queueing import tpot_grid


@dataclass(frozen=True)
class Block:
    """What is evaluated: one shape for one model, with the model's items; `regions` have nodes that hold it."""

    scenario: Scenario
    model: ModelSpec
    items: tuple[DemandItem, ...]
    own: tuple[int, ...]
    shape: Shape
    physics: ShapePhysics
    regions: tuple[str, ...]

    def traffic(self, k: int) -> TrafficClass:
        """The class of an item."""
        return self.scenario.traffic[self.items[k].class_name]

    @property
    def factors(self) -> tuple[Fraction, Fraction]:
        """(TPOT, TTFT) by which the promises are widened."""
        return factors(self.physics.band, self.scenario.reserve.confidence)

    def served(self, limit: int, k: int) -> Served:
        """What a context limit makes of an item."""
        return served(self.items[k].lengths, limit, self.traffic(k).reusable_prefix_ppm)


@dataclass
class Grid:
    """The axes of a block: (setting, item) pairs, operating promises in nanoseconds (0: no TTFT promise)."""

    block: Block
    pairs: list[tuple[Setting, int]] = field(default_factory=list)
    tpot_ns: list[int] = field(default_factory=list)
    ttft_ns: list[int] = field(default_factory=list)

    @cached_property
    def places(self) -> dict[tuple[Setting, int], int]:
        """Where each pair stands among the pairs."""
        return {pair: place for place, pair in enumerate(self.pairs)}


def make_grid(
    block: Block, settings: set[Setting], losses: dict[int, tuple[int, str | None]], reasons: Rejections
) -> Grid:
    """Pairs that may be asked for, and the operating promises on offer."""
    grid = Grid(block)
    limits = sorted({setting.context_tokens for setting in settings})
    admitted = {limit: [k for k in losses if _admitted(block, limit, k, reasons)] for limit in limits}
    for setting in sorted(settings):
        grid.pairs += [(setting, k) for k in admitted[setting.context_tokens]]
    for traffic in {block.items[k].class_name: block.traffic(k) for k in block.own}.values():
        report_regions(traffic, block.regions, len(settings), reasons)
    tpot_factor, ttft_factor = block.factors
    slos = [block.traffic(k).slo for k in losses]
    tpots = sorted({operating_ns(slo.tpot_p95_us, tpot_factor) for slo in slos if slo.tpot_p95_us})
    left = {limit for k in losses for limit in _engine_limits_us(block, block.traffic(k)) if limit}
    ttfts = sorted({operating_ns(limit, ttft_factor) for limit in left})
    alpha_s = block.physics.idle_s
    points = list(tpot_grid(tpots[-1] / 1e9, alpha_s)) if tpots else []
    if any(slo.tpot_p95_us is None for slo in slos):
        points += tpot_grid(None, alpha_s)
    grid.tpot_ns = sorted({round(point * 1e9) for point in points} | set(tpots))
    grid.ttft_ns = ttfts if ttfts and all(slo.ttft_p95_us for slo in slos) else [*ttfts, 0]
    return grid


def _admitted(block: Block, limit: int, k: int, reasons: Rejections) -> bool:
    """Whether a context limit keeps what was promised to a band; a promise above 0 is a row of the program instead."""
    traffic, part = block.traffic(k), block.served(limit, k)
    if part.rejected == 1 or (part.rejected and not traffic.rejected_at_most_ppm):
        broken = "rejects", part.rejected, "rejected_at_most"
    elif part.cut_short and not traffic.cut_short_at_most_ppm:
        broken = "cuts short", part.cut_short, "cut_short_at_most"
    else:
        return True
    word, share, name = broken
    if share * block.items[k].weight_ppm <= getattr(traffic, f"{name}_ppm"):
        return False  # the class may lose as much, but not by sending it here
    of_class = float(share * block.items[k].weight_ppm / 10_000)
    message = (
        f"{word} {of_class:.3g}% of {traffic.name} in the band of prompts {block.items[k].name.partition('[')[2][:-1]}"
    )
    longest = block.items[k].lengths.prompts[-1][0] + block.items[k].lengths.outputs[-1][0]
    nearest = f"{name} {of_class:.3g}%"
    if block.model.facts is not None and longest <= block.model.facts.max_context_tokens:
        nearest = f"context_limit {-(-longest // 1024)}Ki or {nearest}"
    refusal = Refusal(Bottleneck.CONTEXT, message, nearest)
    reasons.add(
        block.model.name,
        refusal,
        subject=f"context_limit {limit // 1024}Ki" if limit % 1024 == 0 else f"context_limit {limit}",
        count=1,
        class_name=traffic.name,
        order=-of_class,
    )
    return False


def _engine_limits_us(block: Block, traffic: TrafficClass) -> list[int | None]:
    """What regions leave of the promise on TTFT, each once, the most first."""
    own = {engine_limit_us(traffic, region) for region in block.regions if may_run(traffic, region)}
    return sorted(own, key=lambda limit: -(limit or 0))


def latency_reasons(block: Block, grid: Grid, asked: Demand, reasons: Rejections) -> None:
    """Bands that no rate serves within their own promise: which promise failed, and what would do."""
    for row, (setting, k) in enumerate(grid.pairs):
        traffic = block.traffic(k)
        for limit_us in _engine_limits_us(block, traffic):
            own = _columns(block, grid, traffic, limit_us)
            if asked.capacity_rps[row][np.ix_(*own)].max(initial=0.0) > 0:
                continue
            idle = float(asked.idle_tpot_s[row] * block.factors[0]), float(asked.idle_ttft_s[row] * block.factors[1])
            refusal, order = _too_slow(traffic, idle, limit_us)
            near = refusal.bottleneck is Bottleneck.TTFT and bool(traffic.latency_us)
            choices = {
                "weights": block.shape.weights, "parallel": str(block.shape.parallel),
                "preset": block.shape.preset, **setting_choices(block.model, setting),
            }  # fmt: skip
            for subject, spoken in _by_region(block, traffic, limit_us, idle[1]) if near else (("", refusal),):
                reasons.add(
                    block.model.name,
                    spoken,
                    subject=f"on {block.shape.gpu.id}{subject}",
                    count=1,
                    class_name=traffic.name,
                    order=order,
                    choices=choices,
                )
            if not near:
                break  # no network is to blame: other regions are no better


def _too_slow(traffic: TrafficClass, idle: tuple[float, float], limit_us: int | None) -> tuple[Refusal, float]:
    """Why no rate will do, from TPOT and TTFT of an idle replica, and how far off it is."""
    (tpot, ttft), slo = idle, traffic.slo
    if slo.tpot_p95_us is not None and tpot * 1e6 >= slo.tpot_p95_us:
        word, value, allowed, bottleneck = "tpot_p95", tpot, slo.tpot_p95_us, Bottleneck.TPOT
    elif limit_us is not None and ttft * 1e6 >= limit_us:
        word, value, allowed, bottleneck = "ttft_p95", ttft, limit_us, Bottleneck.TTFT
    else:
        word, value, allowed, bottleneck = "rate", np.inf, 0, Bottleneck.RATE
    if not isfinite(value):
        return Refusal(bottleneck, f"no rate of {traffic.name} is stable here", None), value
    message = f"{word} of {traffic.name} is {_ms_up(value)} ms on an idle replica (limit {allowed / 1e3:g} ms)"
    return Refusal(bottleneck, message, f"{word} {ceil(value * 1.05e3)}ms"), value


def _by_region(
    block: Block, traffic: TrafficClass, limit_us: int | None, idle_ttft_s: float
) -> Iterator[tuple[str, Refusal]]:
    """One refusal for each region whose network leaves so much of the promise."""
    assert traffic.slo.ttft_p95_us is not None
    for region in block.regions:
        network = network_us(traffic, region)
        if not may_run(traffic, region) or engine_limit_us(traffic, region) != limit_us:
            continue
        message = (
            f"ttft_p95 of {traffic.name} in {region}: promise {_ms(traffic.slo.ttft_p95_us)} ms, network "
            f"{_ms(network)} ms, {_ms(limit_us or 0)} ms left, an idle replica needs {_ms_up(idle_ttft_s)} ms"
        )
        nearest = f"ttft_p95 {ceil(idle_ttft_s * 1.05e3 + network / 1e3)}ms"
        yield f" in {region}", Refusal(Bottleneck.TTFT, message, nearest)


def operating_columns(block: Block, grid: Grid, traffic: TrafficClass) -> tuple[list[int], list[int]]:
    """Operating promises that a class may run at in some region: at least as tight as its own there."""
    limits = _engine_limits_us(block, traffic)
    if not limits:
        return [], []
    return _columns(block, grid, traffic, None if None in limits else max(limit or 0 for limit in limits))


def _columns(block: Block, grid: Grid, traffic: TrafficClass, limit_us: int | None) -> tuple[list[int], list[int]]:
    """Operating promises within that on TPOT and a limit on TTFT (None: no promise)."""
    tpot_factor, ttft_factor = block.factors
    tpot = operating_ns(traffic.slo.tpot_p95_us, tpot_factor) if traffic.slo.tpot_p95_us else None
    ttft = operating_ns(limit_us, ttft_factor) if limit_us is not None else None
    return (
        [t for t, ns in enumerate(grid.tpot_ns) if tpot is None or ns <= tpot],
        [f for f, ns in enumerate(grid.ttft_ns) if ttft is None or 0 < ns <= ttft],
    )


def _ms_up(seconds: float) -> str:
    """Milliseconds rounded up, with a decimal below 100: what breaks a limit must look as if it did."""
    tenths = ceil(seconds * 1e4)
    return f"{tenths / 10:.1f}" if tenths < 1000 else f"{ceil(seconds * 1e3):,}"


def _ms(us: int) -> str:
    """Milliseconds as they were written, without zeros.

    >>> _ms(3_600_000_000), _ms(1_500)
    ('3,600,000', '1.5')
    """
    return f"{us / 1e3:,.3f}".rstrip("0").rstrip(".")
