"""The KV pool of one GPU: how many blocks its memory makes, and what the engine says about it.

Source: vLLM 0.11 to 0.33, `v1/core/kv_cache_utils.py` (`get_kv_cache_configs`, `get_kv_cache_capacity`);
SGLang 0.5 and TensorRT-LLM as in their modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from planner.catalog.types import Bottleneck, Refusal
from planner.memory.groups import Demand, GroupKind, PartLayout, PoolLayout
from planner.memory.kv import KvSetup, demand, pool_layout
from planner.memory.sglang import sglang_blocks


@dataclass(frozen=True)
class Part:
    """One pool of blocks. `usable_blocks` is what requests can get; states have blocks of 0 tokens."""

    name: str
    block_tokens: int
    block_bytes: int
    blocks: int
    usable_blocks: int
    kinds: tuple[GroupKind, ...]

    def request_blocks(self, tokens: int, needs: Demand) -> int:
        """Blocks that one request takes from this pool."""
        return sum(kind.request_blocks(tokens, needs) for kind in self.kinds)


@dataclass(frozen=True)
class KvPool:
    """The pools of one GPU, the first of them in the scalar fields. Bytes are of the stage that limits.

    `blocks` is what the engine reports (`num_gpu_blocks`; pages for SGLang); `printed_tokens` and
    `max_concurrency` are the engine's own figures at `max_model_len`, and no capacity where layers are mixed.
    `pool_tokens` is the tokens that fit if no window helped, every group taking blocks for every token.
    `state_bytes_per_sequence` is what the pools charge for the recurrent layers of one sequence.
    """

    block_tokens: int
    block_bytes: int
    blocks: int
    usable_blocks: int
    printed_tokens: int
    max_concurrency: Fraction
    pool_tokens: int
    groups: int
    blocks_per_max_sequence: int
    stage: int
    parts: tuple[Part, ...]
    demand: Demand
    state_bytes_per_sequence: int
    estimated: tuple[str, ...]
    steps: tuple[tuple[str, str, int], ...]

    def request_blocks(self, tokens: int) -> int:
        """Blocks that one request takes from the first pool."""
        return self.parts[0].request_blocks(tokens, self.demand)

    def request_bytes(self, tokens: int) -> int:
        """Bytes that all pools charge for one request, on the stage that limits."""
        return sum(part.request_blocks(tokens, self.demand) * part.block_bytes for part in self.parts)

    def fits(self, tokens: int, sequences: int = 1) -> bool:
        """Whether the pools hold so many sequences of `tokens` at once."""
        return all(sequences * part.request_blocks(tokens, self.demand) <= part.usable_blocks for part in self.parts)

    def longest_context(self, limit_tokens: int) -> int:
        """The longest context up to a limit of which one sequence fits; 0: none."""
        low, high = 0, limit_tokens
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.fits(middle) else (low, middle - 1)
        return low


def kv_pool(setup: KvSetup, available_bytes: int | Sequence[int]) -> KvPool | Refusal:
    """The pool that `available_bytes` of a GPU make, or why the engine cannot lay the model out.

    blocks = floor(available / bytes of a block), the fewest over the stages of a pipeline; a sequence of bytes
    gives each stage its own.

    >>> from pathlib import Path
    >>> from planner.catalog import load_engine, load_model
    >>> from planner.catalog.parallel import Parallel
    >>> from planner.catalog.types import BF16_KV
    >>> model = load_model("gemma-3-27b", Path())
    >>> setup = KvSetup(model, load_engine("vllm@0.19"), BF16_KV, Parallel(), 8_192, 8_192)
    >>> pool = kv_pool(setup, int(19.53 * 2**30))  # log: 36,560 tokens, 4.46 times
    >>> pool.printed_tokens, round(float(pool.max_concurrency), 2)
    (36560, 4.46)
    """
    layout = pool_layout(setup)
    return layout if isinstance(layout, Refusal) else pool_of(setup, layout, available_bytes)


def pool_of(setup: KvSetup, layout: PoolLayout, available_bytes: int | Sequence[int]) -> KvPool | Refusal:
    """The pool of a layout that is known already."""
    stages = len(layout.parts[0].stage_block_bytes)
    given = (available_bytes,) * stages if isinstance(available_bytes, int) else tuple(available_bytes)
    if len(given) != stages:
        message = f"{setup.shape} has {stages} stages, and memory is given for {len(given)}"
        return Refusal(Bottleneck.PARALLEL, message)
    counts = [_stage_blocks(setup, layout, max(0, size), stage) for stage, size in enumerate(given)]
    fewest = [min(column) for column in zip(*counts, strict=True)]
    stage = min(range(stages), key=lambda place: (counts[place][0], place))
    needs = demand(setup)
    parts = tuple(_part(setup, part, blocks, stage) for part, blocks in zip(layout.parts, fewest, strict=True))
    return _pool(setup, layout, parts, needs, stage, given[stage])


def _stage_blocks(setup: KvSetup, layout: PoolLayout, available_bytes: int, stage: int) -> tuple[int, ...]:
    """Blocks of each pool that one stage has room for."""
    if setup.engine.name == "sglang":
        return sglang_blocks(layout, setup.engine, available_bytes, stage)
    size = layout.parts[0].stage_block_bytes[stage]
    return (available_bytes // size if size else _UNBOUNDED,)


_UNBOUNDED = 2**62
"""Blocks of a stage whose layers keep nothing."""


def _part(setup: KvSetup, layout: PartLayout, blocks: int, stage: int) -> Part:
    idle = setup.engine.null_blocks if setup.engine.name == "vllm" else 0
    size = layout.stage_block_bytes[stage]
    return Part(layout.name, layout.block_tokens, size, blocks, max(0, blocks - idle), layout.kinds)


def _pool(
    setup: KvSetup, layout: PoolLayout, parts: tuple[Part, ...], needs: Demand, stage: int, available_bytes: int
) -> KvPool:
    first = parts[0]
    length = setup.max_model_len
    needed = first.request_blocks(length, needs)
    concurrency = _concurrency(setup, parts, needs)
    printed = _printed_tokens(setup, first, needed)
    groups = sum(kind.count for kind in first.kinds)
    state = sum(
        kind.request_blocks(length, needs) * part.block_bytes
        for part in parts
        for kind in part.kinds
        if kind.reach == "state"
    )
    text = f"{available_bytes:,} B / {first.block_bytes:,} B on stage {stage}" if len(parts) == 1 else "see the pools"
    steps = (
        *layout.steps,
        ("blocks", text, first.blocks),
        ("blocks of one longest request", f"{length:,} tokens over {groups} group{'s' if groups > 1 else ''}", needed),
        ("printed tokens", _printed_text(setup, first, needed, groups), printed),
    )
    return KvPool(
        block_tokens=first.block_tokens or length,
        block_bytes=first.block_bytes,
        blocks=first.blocks,
        usable_blocks=first.usable_blocks,
        printed_tokens=printed,
        max_concurrency=concurrency,
        pool_tokens=min(_plain_tokens(part, needs, length) for part in parts if part.name != "states"),
        groups=groups,
        blocks_per_max_sequence=needed,
        stage=stage,
        parts=parts,
        demand=needs,
        state_bytes_per_sequence=state,
        estimated=layout.estimated,
        steps=steps,
    )


def _concurrency(setup: KvSetup, parts: tuple[Part, ...], needs: Demand) -> Fraction:
    """The engine's own figure: blocks / blocks of one longest request; the older engine does not round blocks."""
    length = setup.max_model_len
    if _is_v0(setup):
        return Fraction(parts[0].blocks * parts[0].block_tokens, length)
    return min(Fraction(part.blocks, max(1, part.request_blocks(length, needs))) for part in parts)


def _printed_tokens(setup: KvSetup, part: Part, needed: int) -> int:
    """What this engine release prints as the size of its pool.

    Newer vLLM: int(concurrency * max_model_len), with the engine's own floating-point numbers; older: blocks
    // groups * the smallest block * ranks that share tokens. SGLang and TensorRT-LLM: blocks * block tokens.
    """
    if setup.engine.name != "vllm":
        return part.blocks * part.block_tokens
    if setup.engine.prints_concurrency_tokens:
        return int(part.blocks / max(1, needed) * setup.max_model_len)
    groups = sum(kind.count for kind in part.kinds)
    return part.blocks // groups * (part.block_tokens or setup.max_model_len) * setup.shape.dcp


def _printed_text(setup: KvSetup, part: Part, needed: int, groups: int) -> str:
    if setup.engine.name != "vllm":
        return f"{part.blocks:,} x {part.block_tokens}"
    if setup.engine.prints_concurrency_tokens:
        return f"{part.blocks:,} / {needed:,} x {setup.max_model_len:,}"
    shared = f" x {setup.shape.dcp} ranks" if setup.shape.dcp > 1 else ""
    return f"{part.blocks:,} // {groups} x {part.block_tokens or setup.max_model_len}{shared}"


def _plain_tokens(part: Part, needs: Demand, length: int) -> int:
    """Tokens that fit if every group took blocks for every token, in whole blocks of the smallest size.

    A state counts as a group that grows like the others, one longest sequence to a block where nothing else
    stands in the pool.
    """
    smallest = part.block_tokens or length
    if len({kind.block_tokens for kind in part.kinds} - {0, smallest}) == 0:
        groups = sum(kind.count for kind in part.kinds)
        return part.usable_blocks // groups * smallest * needs.token_ranks
    per_token = sum(Fraction(kind.count, kind.block_tokens or smallest) for kind in part.kinds)
    return int(part.usable_blocks / per_token / smallest) * smallest * needs.token_ranks


def _is_v0(setup: KvSetup) -> bool:
    return setup.engine.name == "vllm" and setup.engine.null_blocks == 0
