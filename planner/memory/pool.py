"""Memory of one GPU of a replica: what the engine's budget leaves for KV, and whether a sequence fits.

budget = weights + activations + non-torch memory + CUDA graphs + what the user keeps free + KV, exactly. Each
stage of a pipeline has a budget of its own; the stage whose pool is smallest limits all of them.
Source: vLLM `gpu_worker.py` (`determine_available_memory`) and `v1/core/kv_cache_utils.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache, partial

from planner.catalog.parallel import Parallel
from planner.catalog.types import Bottleneck, EngineRules, GpuFacts, KvStorage, ModelFacts, Refusal
from planner.memory.block_pool import KvPool as KvPool
from planner.memory.block_pool import kv_pool as kv_pool
from planner.memory.block_pool import pool_of
from planner.memory.budget import KvBudget, kv_budget
from planner.memory.groups import PoolLayout
from planner.memory.kv import KvSetup, kv_bytes_per_token, pool_layout
from planner.memory.layers import Same
from planner.memory.overhead import GIB
from planner.memory.weights import weight_bytes

_SIXTEEN_BIT = {"bf16": "auto", "fp16": "auto", "float16": "auto", "bfloat16": "auto"}
_SHAPES = (2, 4, 8)


@dataclass(frozen=True)
class ReplicaMemory:
    """Memory of one GPU of a replica, in bytes, and the pool of KV blocks that it leaves.

    budget_bytes = weights_bytes + activation_bytes + non_torch_bytes + cuda_graph_bytes + extra_bytes +
    available_kv_bytes, exactly, on `stage`, the one whose pool is smallest. `cuda_graph_bytes` is 0 where the
    release captures graphs outside its budget; `extra_bytes` is what the user keeps free. `margin_bytes` is
    the part of `non_torch_bytes` that is kept free because the overheads were not measured there.

    `blocks` is what the engine reports (`num_gpu_blocks`); one of them is the null block of vLLM, so requests
    get `usable_blocks`. Every block costs `block_bytes`. `pool_tokens` is the tokens that fit if no window
    helped. `printed_tokens` and `max_concurrency` are the engine's own figures at the context limit.
    """

    total_bytes: int
    budget_bytes: int
    weights_bytes: int
    activation_bytes: int
    non_torch_bytes: int
    cuda_graph_bytes: int
    available_kv_bytes: int
    block_tokens: int
    block_bytes: int
    blocks: int
    usable_blocks: int
    pool_tokens: int
    kv_bytes_per_token: int
    blocks_per_max_sequence: int
    max_concurrency: Fraction
    estimated: tuple[str, ...]
    groups: int = 1
    margin_bytes: int = 0
    printed_tokens: int = 0
    extra_bytes: int = 0
    stage: int = 0
    state_bytes_per_sequence: int = 0
    prefill_blocks: int = 0
    """Blocks kept free for the 16-bit prefill of one longest request, where KV is compressed only after it."""


def beside_prefill(memory: ReplicaMemory, longest_compressed_blocks: int) -> ReplicaMemory | Refusal:
    """The pool that is left for compressed requests beside the 16-bit prefill of one of the longest.

    A preset that compresses a request after its prefill needs max(16-bit KV of the prompt, compressed KV) of it, so
    the blocks of one longest request stay free and the compressed form of the longest must fit beside them.
    """
    peak = memory.blocks_per_max_sequence
    left = memory.usable_blocks - peak
    if left < longest_compressed_blocks:
        sizes = [f"{blocks * memory.block_bytes / GIB:.2f} GiB" for blocks in (peak, longest_compressed_blocks)]
        message = (
            f"the 16-bit prefill of one longest request ({sizes[0]}) does not fit beside its compressed KV "
            f"({sizes[1]}); {memory.usable_blocks * memory.block_bytes / GIB:.2f} GiB are left on each GPU"
        )
        return Refusal(Bottleneck.MEMORY, message)
    tokens = memory.pool_tokens * left // memory.usable_blocks
    return replace(memory, usable_blocks=left, pool_tokens=tokens, prefill_blocks=peak)


def replica_memory(
    model: ModelFacts,
    gpu: GpuFacts,
    engine: EngineRules,
    *,
    shape: Parallel,
    weights: str,
    storage: KvStorage,
    kv_dtype: str,
    context_limit_tokens: int,
    max_num_seqs: int,
    max_num_batched_tokens: int,
    utilization_ppm: int | None,
    speculative_tokens: int = 0,
    own_draft: bool = True,
    weights_bytes: int | None = None,
    extra_bytes: int = 0,
    available_kv_bytes: int | None = None,
    recurrent_blocks: int | None = None,
    hybrid_manager: bool = True,
) -> ReplicaMemory | Refusal:
    """Memory of one GPU of a replica, or why the replica cannot start.

    Args:
        weights: dtype of the linear layers.
        storage: bytes of a stored K and V vector; `kv_dtype` is the engine's name for it (bf16 means `auto`).
        context_limit_tokens: the engine's `max_model_len`; one sequence of it must fit.
        own_draft: whether the weights of the model's own draft layers are loaded while it speculates.
        utilization_ppm: the engine's share of the GPU; None is its default.
        weights_bytes: bytes of the weights on the GPU that holds most, where the user knows them.
        extra_bytes: bytes kept free on each GPU.
        available_kv_bytes: bytes for KV on each GPU, where they are known; nothing else is then accounted.

    >>> from pathlib import Path
    >>> from planner.catalog import load_engine, load_gpu, load_model
    >>> from planner.catalog.types import BF16_KV
    >>> model, gpu = load_model("llama-3.1-8b", Path()), load_gpu("h100-sxm-80gb")
    >>> memory = replica_memory(model, gpu, load_engine("vllm@0.19"), shape=Parallel(), weights="bf16",
    ...     storage=BF16_KV, kv_dtype="bf16", context_limit_tokens=8192, max_num_seqs=1024,
    ...     max_num_batched_tokens=8192, utilization_ppm=950_000)
    >>> round(memory.available_kv_bytes / 2**30, 1)  # log: 58.11
    58.1
    """
    refusal = _refused(model, engine, kv_dtype, context_limit_tokens)
    if refusal is not None:
        return refusal
    setup = KvSetup(
        model,
        engine,
        storage,
        shape,
        context_limit_tokens,
        max_num_batched_tokens,
        speculative_tokens,
        recurrent_blocks,
        hybrid_manager,
        gpu=gpu,
    )
    if available_kv_bytes is not None:
        layout = pool_layout(setup)
        if isinstance(layout, Refusal):
            return layout
        return _checked(setup, gpu, layout, [_known_budget(available_kv_bytes)] * shape.pp)
    loaded = _Loaded(weights, weights_bytes, drafts=own_draft and speculative_tokens > 0)
    at_shape = partial(_at_shape, setup, gpu, loaded, max_num_seqs, utilization_ppm, extra_bytes)
    memory = at_shape(shape)
    if not isinstance(memory, Refusal) or memory.bottleneck is not Bottleneck.MEMORY or memory.nearest is not None:
        return memory
    if weights_bytes is not None:
        return memory
    wider = (replace(shape, tp=tp) for tp in _SHAPES if tp > shape.tp)
    fits = next((wide for wide in wider if isinstance(at_shape(wide), ReplicaMemory)), None)
    return memory if fits is None else replace(memory, nearest=str(fits))


def _at_shape(
    setup: KvSetup,
    gpu: GpuFacts,
    loaded: _Loaded,
    max_num_seqs: int,
    utilization_ppm: int | None,
    extra_bytes: int,
    shape: Parallel,
) -> ReplicaMemory | Refusal:
    """Memory at one parallel shape."""
    if shape is not setup.shape:
        setup = replace(setup, shape=shape)
    layout = pool_layout(setup)
    if isinstance(layout, Refusal):
        return layout
    budgets: list[KvBudget] = []
    for stage in range(shape.pp):
        given = loaded.given_bytes
        held = _weights(Same(setup.model), loaded.dtype, shape, stage, loaded.drafts) if given is None else given
        if isinstance(held, Refusal):
            return held
        budget = kv_budget(
            setup.model,
            gpu,
            setup.engine,
            shape,
            stage,
            weights_bytes=held,
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=setup.max_num_batched_tokens,
            utilization_ppm=utilization_ppm,
            extra_bytes=extra_bytes,
        )
        if isinstance(budget, Refusal):
            return budget
        budgets.append(budget)
    return _checked(setup, gpu, layout, budgets)


@dataclass(frozen=True)
class _Loaded:
    """Weights of a replica: their dtype, their bytes on a GPU where the user knows them, and whether drafts load."""

    dtype: str
    given_bytes: int | None
    drafts: bool


@lru_cache(maxsize=4096)
def _weights(same: Same, weights: str, shape: Parallel, stage: int, drafts: bool) -> int | Refusal:
    """Bytes of the weights on one GPU of a stage; the same for every context limit and batch size."""
    return weight_bytes(same.value, weights, shape, stage=stage, drafts=drafts)


def _checked(setup: KvSetup, gpu: GpuFacts, layout: PoolLayout, budgets: Sequence[KvBudget]) -> ReplicaMemory | Refusal:
    """The memory that the budgets of all stages leave, once the longest sequence fits."""
    pool = pool_of(setup, layout, [budget.available_bytes for budget in budgets])
    if isinstance(pool, Refusal):
        return pool
    if not pool.fits(setup.max_model_len):
        return _too_long(setup, gpu, pool)
    budget = budgets[pool.stage]
    return ReplicaMemory(
        total_bytes=budget.total_bytes,
        budget_bytes=budget.budget_bytes,
        weights_bytes=budget.weights_bytes,
        activation_bytes=budget.activation_bytes,
        non_torch_bytes=budget.non_torch_bytes,
        cuda_graph_bytes=budget.cuda_graph_bytes,
        available_kv_bytes=budget.available_bytes,
        block_tokens=pool.block_tokens,
        block_bytes=pool.block_bytes,
        blocks=pool.blocks,
        usable_blocks=pool.usable_blocks,
        pool_tokens=pool.pool_tokens,
        kv_bytes_per_token=kv_bytes_per_token(
            setup.model,
            setup.storage,
            setup.shape,
            engine_name=setup.engine.name,
            speculative_tokens=setup.speculative_tokens,
        ),
        blocks_per_max_sequence=pool.blocks_per_max_sequence,
        max_concurrency=pool.max_concurrency,
        estimated=tuple(dict.fromkeys((*budget.estimated, *pool.estimated))),
        groups=pool.groups,
        margin_bytes=budget.margin_bytes,
        printed_tokens=pool.printed_tokens,
        extra_bytes=budget.other_bytes,
        stage=pool.stage,
        state_bytes_per_sequence=pool.state_bytes_per_sequence,
    )


def _known_budget(available_bytes: int) -> KvBudget:
    """A budget of which only the bytes for KV are known."""
    return KvBudget(
        total_bytes=available_bytes,
        budget_bytes=available_bytes,
        weights_bytes=0,
        activation_bytes=0,
        non_torch_bytes=0,
        cuda_graph_bytes=0,
        other_bytes=0,
        available_bytes=available_bytes,
        margin_bytes=0,
        estimated=(),
        steps=(),
    )


def _refused(model: ModelFacts, engine: EngineRules, kv_dtype: str, context_limit_tokens: int) -> Refusal | None:
    """What no amount of memory would cure, beyond the layout of the pool."""
    name = kv_dtype.replace("-", "_")
    if name not in engine.kv_dtypes and _SIXTEEN_BIT.get(name) not in engine.kv_dtypes:
        known = ", ".join(engine.kv_dtypes)
        message = f"{engine.requested} has no KV dtype '{kv_dtype}'; it has {known}"
        return Refusal(Bottleneck.ENGINE, message)
    if model.max_context_tokens and context_limit_tokens > model.max_context_tokens:
        most = _tokens(model.max_context_tokens)
        message = f"context limit {_tokens(context_limit_tokens)} is above the {most} of {model.id}"
        return Refusal(Bottleneck.CONTEXT, message, most)
    return None


def _too_long(setup: KvSetup, gpu: GpuFacts, pool: KvPool) -> Refusal:
    needed = pool.request_bytes(setup.max_model_len)
    left = sum(part.usable_blocks * part.block_bytes for part in pool.parts)
    message = (
        f"one sequence of {_tokens(setup.max_model_len)} needs {_gib(needed)} of KV on each GPU at {setup.shape}; "
        f"{gpu.id} has {_gib(left)} left"
    )
    longest = pool.longest_context(setup.max_model_len)
    longest = longest // 1024 * 1024 if longest >= 1024 else longest
    return Refusal(Bottleneck.MEMORY, message, _tokens(longest) if longest else None)


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / GIB:.2f} GiB"


def _tokens(count: int) -> str:
    return f"{count // 1024}Ki" if count and count % 1024 == 0 else f"{count:_}"
