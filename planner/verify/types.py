"""What a look back says, as frozen records. Times are seconds, shares are from 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Quantity = Literal[
    "rate", "input_tokens", "output_tokens", "prefix_hits",
    "ttft_mean", "ttft_p50", "ttft_p95", "tpot_mean", "tpot_p95",
    "replicas", "running", "waiting", "kv_tokens", "kv_use", "kv_pool", "preemptions", "decode_step",
]  # fmt: skip
Unit = Literal["req/s", "tokens", "share", "s", "count", "per 1000", "factor"]

Kind = Literal[
    "traffic", "prompts", "outputs", "prefix_hits", "replicas", "kv_pool", "decode", "prefill", "admission",
    "closed_forms", "unexplained",
]  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One figure of a class or a group of replicas.

    `planned` is what the plan says, at the traffic that it was made for; `replayed` what its fleet does with the
    requests of the log; `corrected` the same with the causes that were found. `predicted` is what the actual figure is
    held against: planned for traffic, replayed for everything that follows from it. It may be `low` to `high` times
    that, and never above `limit`, which is a promise.
    """

    subject: str
    quantity: Quantity
    unit: Unit
    planned: float | None
    replayed: float | None
    corrected: float | None
    actual: float
    low: float
    high: float
    limit: float | None = None
    allowance: float = 0.0
    """What the figure may be off by whatever the factor: chance, or a few of what hardly ever happens."""

    @property
    def predicted(self) -> float | None:
        """What the actual figure is held against."""
        return self.replayed if self.replayed is not None else self.planned

    @property
    def factor(self) -> float | None:
        """Actual over predicted."""
        return self.actual / self.predicted if self.predicted else None

    @property
    def is_broken(self) -> bool:
        """Whether a promise was not kept."""
        return self.limit is not None and self.actual > self.limit

    @property
    def is_off(self) -> bool:
        """Whether the figure is outside its band."""
        if self.predicted is None:
            return False
        high, low = self.predicted * self.high + self.allowance, self.predicted * self.low - self.allowance
        return not low <= self.actual <= high

    @property
    def is_outside(self) -> bool:
        """Whether the plan was wrong here."""
        return self.is_off or self.is_broken


@dataclass(frozen=True)
class Cause:
    """Why figures differ: what it is, of what, by what factor, and what shows it."""

    kind: Kind
    subject: str
    factor: float | None
    text: str
    evidence: str


@dataclass(frozen=True)
class Verification:
    """A plan held against what its fleet did.

    `causes` are in order of their size, the largest first. `is_explained`: with them, all figures are within bands.
    `sources` has the SHA-256 of every file by its name.
    """

    plan: str
    plan_hash: str
    requests: int
    duration_s: float
    rows: tuple[Row, ...]
    causes: tuple[Cause, ...]
    is_explained: bool
    notes: tuple[str, ...]
    sources: dict[str, str]

    @property
    def is_outside(self) -> bool:
        """Whether any figure is outside its band, or a promise was not kept."""
        return any(row.is_outside for row in self.rows)
