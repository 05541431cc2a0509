"""Bytes of KV cache: per token, per request, logical and reserved.

Two accountings exist and are never mixed. `logical` is what the formulas say a request needs: windows capped,
nothing rounded. `reserved` is what the pools of the engine charge: whole blocks, one more where a window may
start inside one, and padding where layers of several kinds share a pool. Plans use `reserved`.

All figures are for one GPU; where stages of a pipeline differ, for the stage that holds most.
Source: vLLM 0.11 to 0.33, `v1/core/kv_cache_utils.py` and `v1/kv_cache_interface.py`; SGLang 0.5 and
TensorRT-LLM as in `sglang.py` and `tensorrt_llm.py`; checked against start-up logs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache

from planner.catalog.parallel import Parallel
from planner.catalog.types import (
    AttentionKv,
    EngineName,
    EngineRules,
    GpuFacts,
    KvStorage,
    ModelFacts,
    Refusal,
)
from planner.memory.groups import Demand, PoolLayout
from planner.memory.layers import LayerReach, Same, stages_of
from planner.memory.layers import layer_bytes_per_token as layer_bytes_per_token
from planner.memory.layers import vector_bytes as vector_bytes
from planner.memory.settled import layout_doubts, layout_refusal
from planner.memory.sglang import STATE_SLOTS, sglang_layout
from planner.memory.stages import ceil_div as ceil_div
from planner.memory.tensorrt_llm import tensorrt_llm_layout
from planner.memory.vllm import BlockRules, vllm_layout

_MLA_BLOCK_TOKENS = 64
_BLACKWELL_MLA_BLOCK_TOKENS = 128
_BLACKWELL_WIDE_HEAD = 256
_BLACKWELL_WIDE_HEAD_BLOCK_TOKENS = 32


@dataclass(frozen=True)
class KvSetup:
    """Everything that decides what the KV cache of one GPU holds.

    `recurrent_blocks` are the blocks of state per sequence and group (None: the engine's default);
    `hybrid_manager` False charges windows for the whole context; `block_tokens` overrides the engine's block
    size; `gpu` (None: unknown) only affects the blocks of latent attention and of recurrent models.
    """

    model: ModelFacts
    engine: EngineRules
    storage: KvStorage
    shape: Parallel
    max_model_len: int
    max_num_batched_tokens: int
    speculative_tokens: int = 0
    recurrent_blocks: int | None = None
    hybrid_manager: bool = True
    block_tokens: int | None = None
    gpu: GpuFacts | None = None


def kv_bytes_per_token(
    model: ModelFacts,
    storage: KvStorage,
    shape: Parallel,
    *,
    engine_name: EngineName = "vllm",
    speculative_tokens: int = 0,
) -> int:
    """Bytes of KV that one token takes on one GPU, were every attention layer to keep its whole context.

    The textbook 2 * layers * kv_heads * head_dim * bytes for a dense model on one GPU; the largest stage of a
    pipeline; divided by the ranks that share the tokens of a sequence.
    Source: PagedAttention (Kwon et al., SOSP 2023); vLLM `v1/kv_cache_interface.py`.

    >>> from pathlib import Path
    >>> from planner.catalog import load_model
    >>> from planner.catalog.types import BF16_KV
    >>> kv_bytes_per_token(load_model("llama-2-7b", Path()), BF16_KV, Parallel())  # 2 x 32 x (32 x 128) x 2
    524288
    """
    return ceil_div(_token_bytes(Same(model), storage, shape, engine_name, speculative_tokens), shape.dcp)


@lru_cache(maxsize=1024)
def _token_bytes(
    same: Same, storage: KvStorage, shape: Parallel, engine_name: EngineName, speculative_tokens: int
) -> int:
    stages = stages_of(same.value, storage, shape, engine_name, speculative_tokens)
    return max(sum(layer.token_bytes for layer in stage) for stage in stages)


def logical_bytes(setup: KvSetup, tokens: int) -> int:
    """Bytes that one sequence of `tokens` needs on one GPU, nothing rounded.

    sum over layers of min(tokens, window) * bytes of a token, plus one state for each recurrent layer; the
    tokens of full attention divided by the ranks that share them.

    >>> from pathlib import Path
    >>> from planner.catalog import load_engine, load_model
    >>> from planner.catalog.types import BF16_KV
    >>> model = load_model("mistral-7b-v0.1", Path())
    >>> setup = KvSetup(model, load_engine("vllm@0.19"), BF16_KV, Parallel(), 32_768, 2_048)
    >>> logical_bytes(setup, 32_768) == 4_096 * 131_072  # the window of 4,096 tokens
    True
    """
    same = Same(setup.model)
    name, shape = setup.engine.name, setup.shape
    stages = _logical_stages(same, setup.storage, shape.tp, shape.pp, name, setup.speculative_tokens)
    shared = ceil_div(tokens, shape.dcp)
    return max(
        state + sum(size * (min(tokens, window) if window else shared) for window, size in sizes)
        for state, sizes in stages
    )


def reserved_bytes(setup: KvSetup, tokens: int) -> int:
    """Bytes that the engine's pools charge for one sequence of `tokens` on one GPU; never below the logical.

    Raises:
        ValueError: the layout is refused; `pool_layout` says why.

    >>> from pathlib import Path
    >>> from planner.catalog import load_engine, load_model
    >>> from planner.catalog.types import BF16_KV
    >>> model = load_model("llama-3.1-8b", Path())
    >>> setup = KvSetup(model, load_engine("vllm@0.19"), BF16_KV, Parallel(), 8_192, 8_192)
    >>> reserved_bytes(setup, 100)  # 7 blocks of 16 tokens
    14680064
    """
    layout = pool_layout(setup)
    if isinstance(layout, Refusal):
        raise ValueError(layout.message)
    return max(layout.stage_request_bytes(tokens, demand(setup)))


def demand(setup: KvSetup) -> Demand:
    """What of the settings decides how many blocks a request takes.

    Tokens in flight: the batch, times two with asynchronous scheduling (one more than the stages of a
    pipeline), plus the speculative ones. State: 1 block, 2 where prefixes are cached, plus one for each
    speculative token; SGLang 3 slots.
    Source: vLLM `config/vllm.py` (`max_concurrent_batches`, `max_in_flight_tokens`) and `MambaSpec`.
    """
    engine = setup.engine
    in_flight = setup.max_num_batched_tokens
    if engine.in_flight_steps > 1:
        steps = max(engine.in_flight_steps, setup.shape.pp + 1)
        in_flight = steps * in_flight + setup.speculative_tokens
    states = setup.recurrent_blocks
    if engine.name == "sglang":
        return Demand(in_flight, 1, STATE_SLOTS if states is None else states)
    states = engine.recurrent_blocks if states is None else states
    return Demand(in_flight, setup.shape.dcp, states + setup.speculative_tokens)


def pool_layout(setup: KvSetup) -> PoolLayout | Refusal:
    """The pools that the engine makes for the model, before their memory is known, or why it cannot."""
    engine = setup.engine
    return _layout(
        Same(setup.model),
        setup.storage,
        setup.shape,
        engine.name,
        setup.block_tokens or engine.block_tokens,
        engine.group_by_ratio,
        engine.name == "vllm" and engine.null_blocks == 0,
        setup.speculative_tokens,
        setup.hybrid_manager,
        engine.in_flight_steps > 1,
        is_large_blackwell(setup.gpu),
    )


def is_large_blackwell(gpu: GpuFacts | None) -> bool:
    """Whether the GPU is a Blackwell of a server (capability 10), whose kernels want larger blocks."""
    return gpu is not None and gpu.compute_capability.startswith("10.")


@lru_cache(maxsize=4096)
def _layout(
    same: Same,
    storage: KvStorage,
    shape: Parallel,
    engine_name: EngineName,
    block_tokens: int,
    by_ratio: bool,
    is_v0: bool,
    speculative_tokens: int,
    hybrid_manager: bool,
    overlaps: bool,
    blackwell: bool,
) -> PoolLayout | Refusal:
    model = same.value
    refusal = layout_refusal(model, storage, shape, engine_name, is_v0)
    if refusal is not None:
        return refusal
    rules = _block_rules(model, block_tokens, by_ratio, is_v0 or not hybrid_manager, blackwell)
    stages = stages_of(model, storage, shape, engine_name, speculative_tokens)
    if engine_name == "sglang":
        speculates = speculative_tokens > 0
        layout = sglang_layout(model.id, stages, block_tokens, window_pool=hybrid_manager, speculates=speculates)
    elif engine_name == "tensorrt-llm":
        layout = tensorrt_llm_layout(model.id, stages, block_tokens)
    else:
        layout = vllm_layout(model.id, stages, rules)
    if isinstance(layout, Refusal):
        return layout
    doubts = layout_doubts(
        model,
        storage,
        shape,
        engine_name,
        is_v0=is_v0,
        overlaps=overlaps,
        blackwell=blackwell,
        speculates=speculative_tokens > 0,
    )
    return replace(layout, estimated=layout.estimated + doubts)


def _block_rules(model: ModelFacts, block_tokens: int, by_ratio: bool, one_group: bool, blackwell: bool) -> BlockRules:
    """Block sizes that the attention kernels of vLLM want.

    16 by default; latent attention 64 with an indexer and 128 on Blackwell servers. Blocks that grow to hold a
    state do so in steps of 64 (128) for latent attention and of 32 on Blackwell servers with heads of 256.
    Source: vLLM `platforms/cuda.py` and `models/config.py` (`HybridAttentionMambaModelConfig`).
    """
    latent = model.is_mla
    if latent and blackwell:
        block_tokens = max(block_tokens, _BLACKWELL_MLA_BLOCK_TOKENS)
    elif latent and any(isinstance(layer, AttentionKv) and layer.index_dim for layer in model.kv_layers):
        block_tokens = max(block_tokens, _MLA_BLOCK_TOKENS)
    align = block_tokens
    if latent:
        align = max(align, _BLACKWELL_MLA_BLOCK_TOKENS if blackwell else _MLA_BLOCK_TOKENS)
    elif blackwell and model.head_dim == _BLACKWELL_WIDE_HEAD:
        align = max(align, _BLACKWELL_WIDE_HEAD_BLOCK_TOKENS)
    return BlockRules(block_tokens, align, by_ratio, one_group)


@lru_cache(maxsize=1024)
def _logical_stages(
    same: Same, storage: KvStorage, tp: int, pp: int, engine_name: EngineName, speculative_tokens: int
) -> tuple[tuple[int, tuple[tuple[int, int], ...]], ...]:
    """For each stage: bytes of state, and bytes of a token by window (0: no window)."""
    found = []
    for stage in stages_of(same.value, storage, Parallel(tp, pp), engine_name, speculative_tokens):
        sizes: Counter[tuple[LayerReach, int]] = Counter()
        for layer in stage:
            sizes[layer.reach, layer.window_tokens] += layer.token_bytes
        windows = tuple((window, size) for (reach, window), size in sizes.items() if reach != "state")
        found.append((sum(layer.state_bytes for layer in stage), windows))
    return tuple(found)
