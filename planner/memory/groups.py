"""Pools of blocks: what their groups of layers ask for, whichever engine lays them out.

A part is one pool with blocks of one size. Layers of one kind share a block table and make a group; a request
takes blocks for every group of every part.
"""

from __future__ import annotations

from dataclasses import dataclass

from planner.memory.layers import LayerReach
from planner.memory.stages import ceil_div


@dataclass(frozen=True)
class Demand:
    """What of the engine's settings decides how many blocks a request takes.

    `in_flight_tokens`: tokens whose blocks a window cannot free yet. `token_ranks`: ranks that share the
    tokens of a sequence (decode context parallelism). `state_blocks`: blocks of each group of recurrent
    layers per sequence.
    """

    in_flight_tokens: int
    token_ranks: int = 1
    state_blocks: int = 1


@dataclass(frozen=True)
class GroupKind:
    """`count` groups of layers of one kind. `block_tokens` is 0 where a block holds a state."""

    reach: LayerReach
    window_tokens: int
    block_tokens: int
    count: int = 1

    def request_blocks(self, tokens: int, demand: Demand) -> int:
        """Blocks that one request of this length takes for all groups of the kind.

        full: ceil(tokens / block); sliding: ceil(min(window - 1 + in flight, tokens) / block) + 1, since the
        window may start inside a block; chunked: ceil(min(chunk + in flight, tokens) / block); state: as many
        as the engine keeps per sequence.
        Source: vLLM `kv_cache_interface.py` (`max_memory_usage_bytes` of each spec).

        >>> GroupKind("sliding", 1024, 16, count=6).request_blocks(8192, Demand(8192))
        3078
        """
        if self.reach == "state":
            return self.count * demand.state_blocks
        if self.reach == "full":
            return self.count * ceil_div(ceil_div(tokens, demand.token_ranks), self.block_tokens)
        if self.reach == "sliding":
            kept = min(self.window_tokens - 1 + demand.in_flight_tokens, tokens)
            return self.count * (ceil_div(kept, self.block_tokens) + 1)
        kept = min(self.window_tokens + demand.in_flight_tokens, tokens)
        return self.count * ceil_div(kept, self.block_tokens)


@dataclass(frozen=True)
class PartLayout:
    """One pool before its memory is known: bytes of a block on each stage, and the groups that draw from it."""

    name: str
    block_tokens: int
    stage_block_bytes: tuple[int, ...]
    kinds: tuple[GroupKind, ...]

    def request_blocks(self, tokens: int, demand: Demand) -> int:
        """Blocks that one request takes from this pool."""
        return sum(kind.request_blocks(tokens, demand) for kind in self.kinds)

    @property
    def groups(self) -> int:
        """Groups over all kinds: blocks that a first token takes at least."""
        return sum(kind.count for kind in self.kinds)


@dataclass(frozen=True)
class PoolLayout:
    """The pools of one GPU, the first of them the one whose size the engine prints."""

    parts: tuple[PartLayout, ...]
    estimated: tuple[str, ...] = ()
    steps: tuple[tuple[str, str, int], ...] = ()
    """How the sizes came about: label, arithmetic, value."""

    def stage_request_bytes(self, tokens: int, demand: Demand) -> tuple[int, ...]:
        """Bytes that the pools charge for one request, on each stage."""
        blocks = [part.request_blocks(tokens, demand) for part in self.parts]
        return tuple(
            sum(count * size for count, size in zip(blocks, sizes, strict=True))
            for sizes in zip(*(part.stage_block_bytes for part in self.parts), strict=True)
        )
