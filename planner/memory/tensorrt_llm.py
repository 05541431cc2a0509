"""How TensorRT-LLM lays the layers of a model into its paged KV cache: one pool of blocks.

Every layer of a rank stands in every block. Windows save nothing unless `max_attention_window` is set, whose
default is the longest sequence; recurrent layers are refused, since how memory is shared with their states is
not recorded here.
Source: TensorRT-LLM, `_torch/pyexecutor/resource_manager.py` (`KVCacheManager`).
"""

from __future__ import annotations

from planner.catalog.types import Bottleneck, Refusal
from planner.memory.groups import GroupKind, PartLayout, PoolLayout
from planner.memory.layers import LayerKv


def tensorrt_llm_layout(name: str, stages: tuple[tuple[LayerKv, ...], ...], block_tokens: int) -> PoolLayout | Refusal:
    """The pool of a model whose layers are `stages`: block_tokens * sum of the layers' bytes a token."""
    layers = [layer for stage in stages for layer in stage]
    if not layers:
        return Refusal(Bottleneck.ARCHITECTURE, f"{name} keeps no KV: there is no pool to plan")
    if any(layer.reach == "state" for layer in layers):
        message = f"{name}: recurrent layers in TensorRT-LLM's pools are not understood"
        return Refusal(Bottleneck.ARCHITECTURE, message)
    sizes = tuple(block_tokens * sum(layer.token_bytes for layer in stage) for stage in stages)
    doubts = []
    if any(layer.reach != "full" for layer in layers):
        doubts.append("windows: every layer keeps its whole context, as with no max_attention_window")
    step = ("block", f"{block_tokens} tokens x {max(sizes) // block_tokens:,} B", max(sizes))
    part = PartLayout("pool", block_tokens, sizes, (GroupKind("full", 0, block_tokens),))
    return PoolLayout((part,), tuple(doubts), (step,))
