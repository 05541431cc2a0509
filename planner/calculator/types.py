"""What the KV calculator answers: plain records, bytes and tokens as integers. Text and JSON are made elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from planner.catalog.parallel import Parallel
from planner.catalog.types import EngineRules, GpuFacts, ModelFacts, Refusal


@dataclass(frozen=True)
class Taken:
    """A default that was taken: the flag that would change it, its value, and where that comes from."""

    flag: str
    value: str
    why: str


@dataclass(frozen=True)
class Row:
    """KV of `batch` sequences of `context_tokens` each, on the GPU that holds most of it."""

    context_tokens: int
    batch: int
    logical_bytes: int
    reserved_bytes: int
    blocks: tuple[tuple[int, int], ...]
    """(blocks of one sequence, bytes of a block) of each pool of the engine."""
    fitting_sequences: int | None = None
    """Sequences of this length that the pool holds at once; None without a pool."""


@dataclass(frozen=True)
class Component:
    """One part of a GPU's memory: JSON key, words, bytes, the arithmetic, and where the rule comes from."""

    name: str
    label: str
    size_bytes: int
    rule: str
    source: str


@dataclass(frozen=True)
class Budget:
    """Where the memory of one GPU goes: budget = components + what is left for KV, exactly.

    `margin_bytes` is what a plan keeps free of that, since nothing was measured there; the engine does not.
    """

    total_bytes: int
    budget_bytes: int
    components: tuple[Component, ...]
    available_bytes: int
    margin_bytes: int
    steps: tuple[Component, ...]
    """The budget line by line, totals and remainder included."""
    estimated: tuple[str, ...]
    planned_refusal: str = ""
    """Why a plan refuses it although the engine may start: the margin does not fit. Empty where it fits."""


@dataclass(frozen=True)
class Step:
    """One line of the arithmetic: what it is, how it is computed, the result."""

    label: str
    formula: str
    value: str


@dataclass(frozen=True)
class Pool:
    """The KV pool of one GPU as the engine lays it out.

    What the engine says is for all that is available; `usable_tokens`, `longest_tokens` and the rows' fitting
    sequences leave the margin free, as plans do.
    """

    available_bytes: int
    blocks: int
    usable_blocks: int
    block_tokens: int
    block_bytes: int
    groups: int
    printed_tokens: int
    usable_tokens: int
    max_concurrency: Fraction
    state_bytes_per_sequence: int
    stage: int
    longest_tokens: int
    """The longest context of which one sequence fits, never above `longest_asked_tokens`."""
    longest_asked_tokens: int
    longest_starts: bool
    """Whether one sequence of max_model_len fits, without which the engine refuses to start."""
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Layout:
    """The blocks that the engine makes, which need no memory to be known; of the stage that holds most."""

    block_tokens: int
    block_bytes: int
    groups: int
    state_bytes_per_sequence: int


@dataclass(frozen=True)
class Figures:
    """All that depends on the model's facts; under `--bound` there are two of these, low and high."""

    bytes_per_token: int
    distinct_bytes_per_token: int
    """Over the whole replica, each byte once."""
    held_bytes_per_token: int
    """What the ranks of one data-parallel group hold together, copies included."""
    rows: tuple[Row, ...]
    budget: Budget | Refusal | None
    pool: Pool | Refusal | None
    layout: Layout
    layer_steps: tuple[Step, ...]
    estimated: tuple[str, ...]


@dataclass(frozen=True)
class KvAnswer:
    """The answer to one question, with every default that was taken."""

    model: ModelFacts
    engine: EngineRules
    gpu: GpuFacts | None
    shape: Parallel
    kv_dtype: str
    preset: str | None
    weights: str
    max_model_len: int
    max_num_batched_tokens: int
    max_num_seqs: int | None
    utilization_ppm: int | None
    figures: Figures
    low: Figures | None
    """The lower end where the architecture is only bounded; `figures` is then the upper end."""
    defaults: tuple[Taken, ...]
    warnings: tuple[str, ...]
