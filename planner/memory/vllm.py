"""How vLLM lays the layers of a model into one pool of blocks.

All blocks of the pool cost the same, whichever group of layers owns them, so layers of unlike kinds are made
alike: those with small pages get larger blocks or padding, recurrent layers enlarge the blocks of attention
until a state fits into one, and every kind is cut into groups of equally many layers, the last one padded.
Source: vLLM 0.11 to 0.33, `v1/core/kv_cache_utils.py` (`get_kv_cache_groups`, `unify_kv_cache_spec_page_size`,
`_get_kv_cache_groups_uniform_page_size`) and `platforms/interface.py` (`_align_hybrid_block_size`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from planner.catalog.types import Bottleneck, Refusal
from planner.memory.groups import GroupKind, PartLayout, PoolLayout
from planner.memory.layers import LayerKv
from planner.memory.stages import ceil_div

Stages = tuple[tuple[LayerKv, ...], ...]


@dataclass(frozen=True)
class BlockRules:
    """What decides the sizes of blocks and groups.

    `align_tokens` is the granularity to which blocks grow so that they hold a state. `by_ratio`: groups take
    the largest bucket where it is less than 1.5 times the smallest. `one_group`: the older engine, which
    charges every layer for the whole context.
    """

    block_tokens: int
    align_tokens: int
    by_ratio: bool
    one_group: bool = False


def vllm_layout(name: str, stages: Stages, rules: BlockRules) -> PoolLayout | Refusal:
    """The pool of a model whose layers are `stages`; `name` is the model's, for refusals."""
    layers = [layer for stage in stages for layer in stage]
    if not layers:
        return Refusal(Bottleneck.ARCHITECTURE, f"{name} keeps no KV: there is no pool to plan")
    if rules.one_group:
        widened = _widen(name, stages)
        if isinstance(widened, Refusal):
            return widened
        stages = widened
        layers = [layer for stage in stages for layer in stage]
    block_tokens = hybrid_block_tokens(layers, rules)
    steps = _block_steps(layers, rules, block_tokens)
    pages = {layer: _page_bytes(layer, block_tokens, layers) for layer in set(layers)}
    if len({(layer.reach, layer.window_tokens) for layer in layers}) == 1:
        return _one_group(stages, block_tokens, pages, steps)
    return _many_groups(stages, block_tokens, pages, steps, rules.by_ratio)


def hybrid_block_tokens(layers: list[LayerKv], rules: BlockRules) -> int:
    """Tokens of a block: the engine's own, or as many as hold the largest state.

    align * ceil(state / (align * attention bytes of a token and layer)), never less than the default.
    Source: vLLM `platforms/interface.py`; start-up logs print 1568 for Qwen3.8-27B with fp8 KV.

    >>> layers = [LayerKv("full", 0, 1024), LayerKv("state", 0, 0, 2_146_304)]  # Qwen3.6-35B-A3B, fp8 KV
    >>> hybrid_block_tokens(layers, BlockRules(16, 16, by_ratio=True))
    2096
    """
    state = max(layer.state_bytes for layer in layers)
    token = _attention_bytes(layers)
    if not state or not token:
        return rules.block_tokens
    align = rules.align_tokens
    return max(rules.block_tokens, align * ceil_div(state, align * token))


def _attention_bytes(layers: list[LayerKv]) -> int:
    """Bytes of a token in the most common attention layer; the larger where two are as common."""
    counts = Counter(layer.token_bytes for layer in layers if layer.reach != "state")
    return max(counts, key=lambda size: (counts[size], size), default=0)


def _page_bytes(layer: LayerKv, block_tokens: int, layers: list[LayerKv]) -> int:
    """Bytes of one block of one layer; states are padded to a block of attention where there is attention."""
    if layer.reach == "state":
        return max(layer.state_bytes, block_tokens * _attention_bytes(layers))
    return block_tokens * layer.token_bytes


def _one_group(
    stages: Stages, block_tokens: int, pages: dict[LayerKv, int], steps: tuple[tuple[str, str, int], ...]
) -> PoolLayout:
    """Layers that all need the same tokens share one group; pages of different sizes are summed."""
    first = next(layer for stage in stages for layer in stage)
    kind = GroupKind(first.reach, first.window_tokens, 0 if first.reach == "state" else block_tokens)
    sizes = tuple(sum(pages[layer] for layer in stage) for stage in stages)
    step = ("block", _sum_text(pages, stages, sizes), max(sizes))
    part = PartLayout("pool", kind.block_tokens, sizes, (kind,))
    return PoolLayout((part,), steps=(*steps, step))


def _many_groups(
    stages: Stages,
    block_tokens: int,
    pages: dict[LayerKv, int],
    steps: tuple[tuple[str, str, int], ...],
    by_ratio: bool,
) -> PoolLayout:
    """Bucket the layers by kind; each bucket makes ceil(n / g) groups of g layers.

    g is the smallest bucket, or the largest where it is less than 1.5 times as big (padding is cheaper then).
    The layers of a bucket are dealt over its groups in turn, so that every pipeline stage gets some of each.
    """
    page = max(pages.values())
    buckets: dict[LayerKv, list[int]] = {}
    for stage, layers in enumerate(stages):
        for layer in layers:
            buckets.setdefault(layer, []).append(stage)
    counts = [len(bucket) for bucket in buckets.values()]
    size = max(counts) if by_ratio and 2 * max(counts) < 3 * min(counts) else min(counts)
    kinds, most, padded = [], [0] * len(stages), False
    for layer, bucket in buckets.items():
        groups = ceil_div(len(bucket), size)
        for group in range(groups):
            held = Counter(bucket[group::groups])
            most = [max(count, held[stage]) for stage, count in enumerate(most)]
        tokens, uneven = _unified_tokens(layer, block_tokens, pages[layer], page)
        padded = padded or uneven
        kinds.append(GroupKind(layer.reach, layer.window_tokens, tokens, groups))
    sizes = tuple(count * page for count in most)
    counted = (
        *steps,
        ("layers per group", f"buckets of {', '.join(map(str, sorted(counts)))} layers", size),
        ("groups", " + ".join(f"ceil({count} / {size})" for count in counts), sum(kind.count for kind in kinds)),
        ("block", f"{max(most)} layers x {page:,} B", max(sizes)),
    )
    smallest = min(kind.block_tokens for kind in kinds if kind.reach != "state")
    doubt = ("pages that do not divide the largest: padded, which releases before 0.24 refuse",) if padded else ()
    return PoolLayout((PartLayout("pool", smallest, sizes, tuple(kinds)),), doubt, counted)


def _unified_tokens(layer: LayerKv, block_tokens: int, own_page: int, page: int) -> tuple[int, bool]:
    """Tokens of a block once all pages are as large as the largest, and whether padding was needed for it.

    A smaller page gets a larger block where it divides, else padding.
    """
    if layer.reach == "state":
        return 0, False
    if page % own_page:
        return block_tokens, True
    return block_tokens * (page // own_page), False


def _widen(name: str, stages: Stages) -> Stages | Refusal:
    """Without the hybrid manager, windows beside full attention are charged for the whole context."""
    reaches = {layer.reach for stage in stages for layer in stage}
    if "state" in reaches and len(reaches) > 1:
        message = f"{name} mixes recurrent and attention layers, which only the hybrid KV cache manager can hold"
        return Refusal(Bottleneck.ENGINE, message)
    windows = {(layer.reach, layer.window_tokens) for stage in stages for layer in stage}
    if len(windows) == 1:
        return stages
    if "full" not in reaches:
        message = f"{name} mixes windows without full attention, which only the hybrid KV cache manager can hold"
        return Refusal(Bottleneck.ENGINE, message)
    return tuple(tuple(replace(layer, reach="full", window_tokens=0) for layer in stage) for stage in stages)


def _block_steps(layers: list[LayerKv], rules: BlockRules, block_tokens: int) -> tuple[tuple[str, str, int], ...]:
    state = max(layer.state_bytes for layer in layers)
    token = _attention_bytes(layers)
    if not state or not token:
        return (("block tokens", "the engine's block size", block_tokens),)
    text = f"{rules.align_tokens} x ceil({state:,} / ({rules.align_tokens} x {token:,}))"
    return (("state of one recurrent layer", "", state), ("block tokens", text, block_tokens))


def _sum_text(pages: dict[LayerKv, int], stages: Stages, sizes: tuple[int, ...]) -> str:
    fullest = stages[sizes.index(max(sizes))]
    counts = Counter(pages[layer] for layer in fullest)
    return " + ".join(f"{count} layers x {size:,} B" for size, count in sorted(counts.items()))
