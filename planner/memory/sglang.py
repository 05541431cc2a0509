"""How SGLang splits its KV memory: one pool of tokens, or two where windows or states have their own.

Pages hold `block_tokens` tokens (1 by default). Models that mix full attention and windows get a pool for
each, the second a fixed share of the first; recurrent models give a share of the memory to slots of state.
Source: SGLang 0.5, `model_executor/pool_configurator.py` and `model_runner_kv_cache_mixin.py`.
"""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction

from planner.catalog.types import Bottleneck, EngineRules, Refusal
from planner.memory.groups import GroupKind, PartLayout, PoolLayout
from planner.memory.layers import LayerKv

WINDOW_POOL_PPM = 800_000
"""Tokens of the window pool over those of the full one (`--swa-full-tokens-ratio`)."""

STATE_POOL_PPM = 900_000
"""Memory of the state slots over memory of the token pool (`--mamba-full-memory-ratio`)."""

STATE_SLOTS = 3
"""State slots that a running request takes while prefixes are cached."""

MILLION = 1_000_000


def sglang_layout(
    name: str, stages: tuple[tuple[LayerKv, ...], ...], page_tokens: int, *, window_pool: bool, speculates: bool
) -> PoolLayout | Refusal:
    """The pools of a model whose layers are `stages`. Without `window_pool` every layer keeps its context."""
    layers = [layer for stage in stages for layer in stage]
    reaches = {layer.reach for layer in layers}
    if not layers:
        return Refusal(Bottleneck.ARCHITECTURE, f"{name} keeps no KV: there is no pool to plan")
    windows = reaches & {"sliding", "chunked"}
    if "state" in reaches and windows:
        message = f"{name} has windows and recurrent layers: how SGLang splits three pools is not understood"
        return Refusal(Bottleneck.ARCHITECTURE, message)
    if "state" in reaches and speculates:
        message = f"{name}: speculation over recurrent layers keeps states that are not understood for SGLang"
        return Refusal(Bottleneck.ARCHITECTURE, message)
    if reaches == {"state"}:
        return Refusal(Bottleneck.ARCHITECTURE, f"{name} has no attention: SGLang's pool for it is not understood")
    split = bool(windows) and "full" in reaches and window_pool
    parts = [_tokens_part(stages, page_tokens, {"full"} if split or "state" in reaches else reaches)]
    doubts: tuple[str, ...] = ()
    if split:
        window = max(layer.window_tokens for layer in layers)
        part = _tokens_part(stages, page_tokens, {"sliding", "chunked"})
        kind = GroupKind("sliding", window, page_tokens)
        parts.append(PartLayout("windows", page_tokens, part.stage_block_bytes, (kind,)))
        doubts = ("window pool: SGLang gives one to the architectures that it lists",)
    elif windows:
        doubts = ("windows: one pool, in which every layer keeps its whole context",)
    if "state" in reaches:
        sizes = tuple(sum(layer.state_bytes for layer in stage) for stage in stages)
        parts.append(PartLayout("states", 0, sizes, (GroupKind("state", 0, 0),)))
        doubts = ("recurrent state: 32-bit matrices, SGLang's default",)
    steps = tuple(
        (f"{part.name}: bytes of a page", f"largest of {len(stages)} stages", max(part.stage_block_bytes))
        for part in parts
    )
    return PoolLayout(tuple(parts), doubts, steps)


def _tokens_part(stages: tuple[tuple[LayerKv, ...], ...], page_tokens: int, reaches: Collection[str]) -> PartLayout:
    sizes = tuple(page_tokens * sum(layer.token_bytes for layer in stage if layer.reach in reaches) for stage in stages)
    return PartLayout("tokens", page_tokens, sizes, (GroupKind("full", 0, page_tokens),))


def sglang_blocks(layout: PoolLayout, engine: EngineRules, available_bytes: int, stage: int) -> tuple[int, ...]:
    """Pages (or slots) of each pool that the bytes left on one stage allow.

    One pool: available // bytes of a token. Windows: full tokens N = available // (full + ratio * window
    bytes), window tokens ratio * N. States: slots = available * r / (1 + r) // state, tokens from the rest.
    All are rounded down to whole pages.
    """
    full = layout.parts[0]
    page_tokens = full.block_tokens
    size = full.stage_block_bytes[stage]
    if len(layout.parts) == 1:
        return (available_bytes // size if size else _UNBOUNDED,)
    other = layout.parts[1]
    if other.name == "windows":
        ratio = Fraction(engine.window_pool_ppm or WINDOW_POOL_PPM, MILLION)
        cell = (size + ratio * other.stage_block_bytes[stage]) / page_tokens
        tokens = int(available_bytes / cell) if cell else _UNBOUNDED
        pages = tokens // page_tokens
        return pages, int(pages * page_tokens * ratio) // page_tokens
    ratio = Fraction(engine.state_pool_ppm or STATE_POOL_PPM, MILLION)
    state = other.stage_block_bytes[stage]
    slots = int(available_bytes * ratio / (1 + ratio)) // state if state else _UNBOUNDED
    rest = available_bytes - (slots * state if state else 0)
    return (rest // size if size else _UNBOUNDED), slots


_UNBOUNDED = 2**62
"""Blocks of a stage that holds no layer of the pool."""
