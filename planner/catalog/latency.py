"""Measured latencies as plain facts: runs of a benchmark against one replica, and what they say of a prediction."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal


@dataclass(frozen=True, order=True)
class System:
    """The replica that a benchmark ran against. `engine` is `name@version`, `parallel` a shape such as `tp4`."""

    model: str
    gpu: str
    engine: str
    parallel: str
    weights: str
    kv_dtype: str

    @property
    def engine_name(self) -> str:
        """The engine without its release."""
        return self.engine.partition("@")[0]

    @property
    def engine_version(self) -> str:
        """The release without the engine's name."""
        return self.engine.partition("@")[2]

    def __str__(self) -> str:
        return f"{self.model} {self.weights} on {self.gpu} {self.parallel}, {self.engine}, KV {self.kv_dtype}"


@dataclass(frozen=True)
class LatencyRun:
    """One run: users that ask again as soon as they are answered, mean lengths, mean latencies.

    `is_closed_loop` is False where requests came at a rate of their own: `concurrency` is then the mean number of
    requests in the replica, and TTFT says nothing about a fixed number of users. Times are in microseconds, None
    where they were not measured. `harness` names what measured, `source` who and when; `place` is `file:line`.
    """

    system: System
    input_tokens: int
    output_tokens: int
    concurrency: int
    tpot_us: int | None
    ttft_us: int | None
    output_tokens_per_s: Fraction | None
    is_closed_loop: bool
    accepted_tokens: Fraction
    """Tokens that a step yields for a sequence: above 1 with speculative decoding."""
    max_num_batched_tokens: int | None
    slo_tpot_us: int | None
    slo_ttft_us: int | None
    harness: str
    source: str
    place: str


@dataclass(frozen=True)
class Spread:
    """The 10, 50 and 90 % points of measured / predicted over `n` runs.

    `is_borrowed` says that there are too few runs to show a spread: it is the provider's own then, around their
    median.
    """

    p10: Fraction
    p50: Fraction
    p90: Fraction
    n: int
    is_borrowed: bool


@dataclass(frozen=True)
class Calibration:
    """What runs say of a provider's predictions.

    `system` None stands for every model on that GPU and engine; else the runs are of that replica alone.
    `tpot` is measured / predicted TPOT. `ttft` is measured / predicted TTFT once all steps are multiplied by the
    median of `tpot`; None where no run measured it.
    """

    gpu: str
    engine: str
    system: System | None
    tpot: Spread
    ttft: Spread | None
    source: str


@dataclass(frozen=True)
class Performance:
    """Where a scenario's latencies come from: the provider, and the user's runs that calibrate it."""

    provider: Literal["roofline", "silicon"] = "roofline"
    measured: tuple[str, ...] = ()
    """Paths of the files as resolved; their names only, once they are read."""
    runs: tuple[LatencyRun, ...] = ()
    calibrations: tuple[Calibration, ...] = ()
