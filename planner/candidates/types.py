"""The candidate table: demand items, replica configurations with their integer loads, and rejections with reasons."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from planner.catalog.parallel import Parallel
from planner.catalog.types import Bottleneck, GpuFacts
from planner.memory.pool import ReplicaMemory
from planner.performance.provider import LatencyBand
from planner.traffic.lengths import Band
from planner.traffic.queueing import ReplicaTiming

RowName = Literal["gpu_time", "sequences", "kv"]
ROW_NAMES: tuple[RowName, ...] = ("gpu_time", "sequences", "kv")

LOAD_UNIT = 10**12
"""One replica's capacity in integer load units: amounts are rounded up once, by less than 1e-12 of a replica."""


@dataclass(frozen=True)
class DemandItem:
    """A run of adjacent length bands of one class: what is routed together. `band` is None with a capacity table.

    `output_tokens_per_s` is at mean load and weighs quality; `peak_rps` sizes.
    """

    name: str
    class_name: str
    model: str
    weight_ppm: int
    peak_rps: Fraction
    output_tokens_per_s: Fraction
    band: Band | None

    @property
    def lengths(self) -> Band:
        """The run's lengths.

        Raises:
            ValueError: a capacity table stands for them.
        """
        if self.band is None:
            raise ValueError(f"{self.name} has no token lengths: a capacity table serves it.")
        return self.band


@dataclass(frozen=True)
class Demand:
    """One length band of one class: the shares of `items` that contain it must add up to 1."""

    name: str
    class_name: str
    weight_ppm: int
    items: tuple[int, ...]


@dataclass(frozen=True)
class Shape:
    """What decides a replica's speed and its bytes a token."""

    gpu: GpuFacts
    weights: str
    parallel: Parallel
    preset: str


@dataclass(frozen=True, order=True)
class Setting:
    """What the engine is started with that the queueing forms see.

    `chunk_tokens` are the tokens of one step (`max_num_batched_tokens`), `context_tokens` those of one request.
    """

    chunk_tokens: int
    context_tokens: int


@dataclass(frozen=True, order=True)
class Config:
    """A replica configuration. The operating promise is what every class on it gets at least, after `confidence`.

    With a capacity table only `model`, `gpu` and `gpus` carry meaning.
    """

    model: str
    gpu: str
    gpus: int
    weights: str = ""
    kv_preset: str = ""
    context_limit_tokens: int = 0
    max_batch: int = 0
    max_num_batched_tokens: int = 0
    tpot_limit_ns: int = 0
    ttft_limit_ns: int = 0
    parallel: str = ""
    names_chunk: bool = False
    """Whether the chunk budget is a choice, and so a part of the name."""

    @property
    def name(self) -> str:
        """A stable, readable name; it also breaks ties between plans of equal cost."""
        if not self.context_limit_tokens:
            return f"{self.model}/{self.gpu}"
        chunk = f"/chunk{self.max_num_batched_tokens}" if self.names_chunk else ""
        ttft = f"/ttft{self.ttft_limit_ns}" if self.ttft_limit_ns else ""
        return (
            f"{self.model}/{self.gpu}/{self.parallel}/{self.weights}/{self.kv_preset}/ctx{self.context_limit_tokens}"
            f"/seqs{self.max_batch}{chunk}/tpot{self.tpot_limit_ns}{ttft}"
        )


@dataclass(frozen=True)
class ItemLoad:
    """What a whole item costs on a candidate, in the candidate's load units, and what it loses there.

    Shares are of the item's own requests.
    """

    gpu_time: int
    sequences: int
    kv: int
    rejected: Fraction
    cut_short: Fraction
    loss_ppm: int
    loss_flag: str | None = None
    cached_ppm: int = 0
    """Share of prompt tokens that was counted as found in the prefix cache."""

    def amount(self, row: RowName) -> int:
        """The amount in one of the three load rows."""
        return {"gpu_time": self.gpu_time, "sequences": self.sequences, "kv": self.kv}[row]


@dataclass(frozen=True)
class Candidate:
    """A configuration that at least one item may run on. `loads` has (item index, load).

    `unit` is one replica's whole capacity, `capacity` what `reserve.utilization` leaves of it. `timing` is what the
    loads were computed from. With a capacity table `memory` and `timing` are None and only GPU time is a row.
    """

    config: Config
    unit: int
    capacity: int
    utilization_ppm: int
    memory: ReplicaMemory | None
    timing: ReplicaTiming | None
    loads: tuple[tuple[int, ItemLoad], ...]
    provider: str = ""
    band: LatencyBand | None = None
    fit_mean_error: float = 0.0
    fit_max_error: float = 0.0
    estimated: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    debt: tuple[str, ...] = ()
    """What would have to be shown of a preset that only `compression.allow` admits."""


@dataclass(frozen=True)
class Rejection:
    """Why something is not in the table. `subject` is the choice, `count` how many configurations fell with it."""

    model: str
    subject: str
    bottleneck: Bottleneck
    message: str
    nearest: str | None
    class_name: str | None
    count: int


@dataclass(frozen=True)
class MemoryRow:
    """What a GPU of a replica holds at a context limit, where memory is known and latency is not.

    `max_batch` is the largest batch size of the scenario's range with which the engine starts. `printed_tokens` and
    `max_concurrency` are the engine's own figures. `reason` says why there is no latency.
    """

    model: str
    gpu: str
    parallel: str
    weights: str
    kv_preset: str
    context_limit_tokens: int
    max_batch: int
    weights_bytes: int
    available_kv_bytes: int
    printed_tokens: int
    pool_tokens: int
    max_concurrency: Fraction
    reason: str


@dataclass(frozen=True)
class CandidateTable:
    """The table that the constraint program chooses from. `examined` counts configurations before any test.

    `memory_only` are choices that fit into memory and have no latency yet: they are refused.
    """

    items: tuple[DemandItem, ...]
    demands: tuple[Demand, ...]
    candidates: tuple[Candidate, ...]
    rejections: tuple[Rejection, ...]
    examined: int
    dominated: int
    memory_only: tuple[MemoryRow, ...] = ()
