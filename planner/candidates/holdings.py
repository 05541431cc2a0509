"""What requests hold of a KV pool where that is not their context: mixed layers, and compression after the prefill.

Where every layer keeps every token, a request holds its context and half a block. Elsewhere it takes blocks for each
group of layers: ceil(context / block) with full attention, a window and what is in flight with a window, a fixed number
for a state. While a prompt is prefilled a whole chunk is in flight; while a request decodes, a step's tokens are. A
preset that no engine packs holds 16-bit KV before it compresses a request, and fewer blocks after. An engine that
starts no request which it may have to evict holds all of it, answer included, from its admission on.

Source: vLLM `v1/core/single_type_kv_cache_manager.py` (`remove_skipped_blocks` frees what a window has left behind
before each step) and `v1/kv_cache_interface.py`; TensorRT-LLM `SchedulerConfig` (GUARANTEED_NO_EVICT);
docs/decisions/0016 for the unit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from planner.candidates.types import Setting, Shape
from planner.catalog.types import Refusal
from planner.compression.policy import Usable
from planner.compression.requests import codec_shape, mean_block_tokens
from planner.memory.groups import Demand, GroupKind
from planner.memory.kv import KvSetup, demand, pool_layout
from planner.memory.pool import ReplicaMemory
from planner.scenario.types import ModelSpec
from planner.traffic.lengths import Band, spans
from planner.traffic.workload import BLOCK_SLACK_TOKENS

FloatArray = NDArray[np.float64]


class Holdings(Protocol):
    """Tokens of the pool that requests hold, whole blocks included."""

    def prefilling(self, prompt_tokens: FloatArray, band: Band, context_limit_tokens: int) -> FloatArray:
        """Held by prompts of a band, of these lengths, until their first token."""

    def decoding(self, band: Band, context_limit_tokens: int) -> float:
        """Held by a request of a band, on average over its decode steps."""


@dataclass(frozen=True)
class Mixed:
    """A pool from which several kinds of layers draw: a block counts as the tokens that the pool has of it."""

    kinds: tuple[GroupKind, ...]
    while_prefilling: Demand
    while_decoding: Demand
    draft_tokens: int
    tokens_per_block: float

    def prefilling(self, prompt_tokens: FloatArray, band: Band, context_limit_tokens: int) -> FloatArray:
        """Blocks of a prompt with a chunk in flight."""
        return self.tokens_per_block * _blocks(self.kinds, prompt_tokens, self.while_prefilling)

    def decoding(self, band: Band, context_limit_tokens: int) -> float:
        """E[sum over steps of the blocks at that length] / E[O - 1]."""
        prompts, outputs, weights = spans(band, context_limit_tokens)
        steps = outputs - 1
        mean_steps = float(weights @ steps)
        if mean_steps <= 0:
            return 0.0
        lengths = np.arange((prompts + outputs).max() + 1) + self.draft_tokens
        summed = np.concatenate([[0.0], _blocks(self.kinds, lengths, self.while_decoding).cumsum()])
        first = prompts.astype(np.int64) + 1
        held = float(weights @ (summed[first + steps.astype(np.int64)] - summed[first]))
        return self.tokens_per_block * held / mean_steps


@dataclass(frozen=True)
class Reserved:
    """A pool that holds requests to their last token from their admission on; a block counts as with `Mixed`."""

    kinds: tuple[GroupKind, ...]
    needs: Demand
    draft_tokens: int
    tokens_per_block: float

    def prefilling(self, prompt_tokens: FloatArray, band: Band, context_limit_tokens: int) -> FloatArray:
        """The mean over the answers of each prompt length."""
        prompts, outputs, weights = spans(band, context_limit_tokens)
        lengths, which = np.unique(prompts, return_inverse=True)
        held = np.bincount(which, weights * self._held(prompts + outputs)) / np.bincount(which, weights)
        return np.asarray(held[np.searchsorted(lengths, prompt_tokens)])

    def decoding(self, band: Band, context_limit_tokens: int) -> float:
        """E[(O - 1) blocks of the whole request] / E[O - 1]: long answers are there for longer."""
        prompts, outputs, weights = spans(band, context_limit_tokens)
        running = weights * (outputs - 1)
        mean_steps = float(running.sum())
        return float(running @ self._held(prompts + outputs)) / mean_steps if mean_steps > 0 else 0.0

    def _held(self, tokens: FloatArray) -> FloatArray:
        return self.tokens_per_block * _blocks(self.kinds, tokens + self.draft_tokens, self.needs)


@dataclass(frozen=True)
class Compressed:
    """KV that is compressed after the prefill: which composition, on which shape, in blocks of how many tokens."""

    codec: str
    layers: int
    head_dim: int
    block_tokens: int

    def prefilling(self, prompt_tokens: FloatArray, band: Band, context_limit_tokens: int) -> FloatArray:
        """16-bit KV of the prompt."""
        return prompt_tokens + BLOCK_SLACK_TOKENS

    def decoding(self, band: Band, context_limit_tokens: int) -> float:
        """The compressed blocks, whose number grows with the answer."""
        shape = (self.layers, self.head_dim)
        return mean_block_tokens(self.codec, shape, band.outputs_by_prompt(), context_limit_tokens, self.block_tokens)


def holdings_of(
    model: ModelSpec, shape: Shape, usable: Usable, setting: Setting, memories: Iterable[ReplicaMemory]
) -> Holdings | None:
    """How requests hold the pool at a setting; None where each holds its context, or the pools are several (SGLang)."""
    assert model.memory_facts is not None and model.engine is not None
    if usable.codec:
        kv_shape = codec_shape(usable.codec, model.memory_facts)
        return None if isinstance(kv_shape, Refusal) else Compressed(usable.codec, *kv_shape, model.engine.block_tokens)
    drafted = model.speculative.draft_tokens if model.speculative else 0
    setup = KvSetup(
        model.memory_facts,
        model.engine,
        usable.storage,
        shape.parallel,
        setting.context_tokens,
        setting.chunk_tokens,
        drafted,
        gpu=shape.gpu,
    )
    layout = pool_layout(setup)
    if isinstance(layout, Refusal) or len(layout.parts) > 1:
        return None
    kinds = layout.parts[0].kinds
    alike = all(kind.reach == "full" for kind in kinds) and len({kind.block_tokens for kind in kinds}) == 1
    if alike and not model.engine.reserves_answers:
        return None
    needs = demand(setup)
    # Rounding makes the pool's tokens of a block differ in the last digits from batch size to batch size.
    tokens_per_block = max(memory.pool_tokens / memory.usable_blocks for memory in memories)
    if model.engine.reserves_answers:
        return Reserved(kinds, needs, drafted, tokens_per_block)
    per_step = model.engine.in_flight_steps * (1 + drafted)
    return Mixed(kinds, needs, replace(needs, in_flight_tokens=per_step), drafted, tokens_per_block)


def _blocks(kinds: tuple[GroupKind, ...], tokens: FloatArray, needs: Demand) -> FloatArray:
    """Blocks of requests of these lengths, as `GroupKind.request_blocks` counts them one by one."""
    total = np.zeros(len(tokens))
    for kind in kinds:
        if kind.reach == "state":
            total += kind.count * needs.state_blocks
        elif kind.reach == "full":
            total += kind.count * np.ceil(np.ceil(tokens / needs.token_ranks) / kind.block_tokens)
        else:
            sliding = kind.reach == "sliding"
            kept = np.minimum(kind.window_tokens - sliding + needs.in_flight_tokens, tokens)
            total += kind.count * (np.ceil(kept / kind.block_tokens) + sliding)
    return total
