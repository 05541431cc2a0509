"""The KV block pool of one replica: what the engine's memory budget leaves, in blocks, and whether a sequence
fits.

budget = utilization * total; pool = budget - weights - activation peak - non-torch - CUDA graphs (where the
release takes them from the budget). The identity holds on 72 single-stage vLLM start-up logs within 0.02 GiB.
Source: vLLM `gpu_worker.py` (`determine_available_memory`) and `v1/core/kv_cache_utils.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial

from planner.catalog.types import Bottleneck, EngineRules, GpuFacts, KvStorage, ModelFacts, Refusal
from planner.memory.kv import block_bytes, kv_bytes_per_token, layer_pool, request_blocks
from planner.memory.overhead import CUDA_GRAPHS_GIB, GIB, Overheads, overheads
from planner.memory.weights import WeightDtype, weight_bytes

_SIXTEEN_BIT = {"bf16": "auto", "fp16": "auto", "float16": "auto", "bfloat16": "auto"}
_BLACKWELL_MLA_BLOCK_TOKENS = 128
_NULL_BLOCKS = 1
_SHAPES = (2, 4, 8)


@dataclass(frozen=True)
class ReplicaMemory:
    """Memory of one rank (one GPU) of a replica, in bytes, and the pool of KV blocks that it leaves.

    budget_bytes = weights_bytes + activation_bytes + non_torch_bytes + cuda_graph_bytes + available_kv_bytes,
    exactly. `cuda_graph_bytes` is 0 where the release captures graphs outside its budget. `margin_bytes` is
    the part of `non_torch_bytes` that is kept free because the overheads were not measured there.

    `blocks` is what the engine reports (`num_gpu_blocks`); one of them is the null block, so requests get
    `usable_blocks`. Every block costs `block_bytes`; a request of c tokens takes `kv.request_blocks` of them.
    `pool_tokens` is the tokens that fit if no window helped: usable_blocks / groups * block_tokens, with
    `groups` 1 unless layers of several kinds share the pool. `max_concurrency` is the engine's own figure:
    blocks / blocks_per_max_sequence.
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


@dataclass(frozen=True)
class BlockPool:
    """Blocks that fit into some bytes. `in_flight_tokens`: what a window may hold beyond its width."""

    block_tokens: int
    block_bytes: int
    blocks: int
    in_flight_tokens: int

    @property
    def usable_blocks(self) -> int:
        """Blocks that requests can get: all but the null block."""
        return max(0, self.blocks - _NULL_BLOCKS)

    def request_blocks(self, model: ModelFacts, context_tokens: int) -> int:
        """Blocks that one request of this length takes."""
        return request_blocks(model, context_tokens, self.block_tokens, self.in_flight_tokens)


def replica_memory(
    model: ModelFacts,
    gpu: GpuFacts,
    engine: EngineRules,
    *,
    tp: int,
    weights: WeightDtype,
    storage: KvStorage,
    kv_dtype: str,
    context_limit_tokens: int,
    max_num_seqs: int,
    max_num_batched_tokens: int,
    utilization_ppm: int,
) -> ReplicaMemory | Refusal:
    """Memory of one rank of a replica, or why the replica cannot start.

    Args:
        weights: dtype of the linear layers.
        storage: bytes of a stored K and V vector; `kv_dtype` is the engine's name for it (bf16 means `auto`).
        context_limit_tokens: the engine's `max_model_len`; one sequence of it must fit.

    >>> from pathlib import Path
    >>> from planner.catalog import load_engine, load_gpu, load_model
    >>> from planner.catalog.types import BF16_KV
    >>> model, gpu = load_model("llama-3.1-8b", Path()), load_gpu("h100-sxm-80gb")
    >>> memory = replica_memory(model, gpu, load_engine("vllm@0.19"), tp=1, weights="bf16", storage=BF16_KV,
    ...     kv_dtype="bf16", context_limit_tokens=8192, max_num_seqs=1024, max_num_batched_tokens=8192,
    ...     utilization_ppm=950_000)
    >>> round(memory.available_kv_bytes / 2**30, 1)  # log: 58.11
    58.1
    """
    if min(tp, context_limit_tokens, max_num_seqs, max_num_batched_tokens) < 1:
        raise ValueError("Expected tp, context limit, sequences and batched tokens of at least 1.")
    refusal = _refused(model, engine, storage, kv_dtype, context_limit_tokens)
    if refusal is not None:
        return refusal
    at_shape = partial(
        _memory_at,
        model,
        gpu,
        engine,
        weights,
        storage,
        context_limit_tokens,
        max_num_seqs,
        max_num_batched_tokens,
        gpu.memory_bytes * utilization_ppm // 1_000_000,
    )
    memory = at_shape(tp)
    if isinstance(memory, ReplicaMemory) or memory.bottleneck is not Bottleneck.MEMORY or memory.nearest:
        return memory
    wider = (shape for shape in _SHAPES if shape > tp and isinstance(at_shape(shape), ReplicaMemory))
    shape = next(wider, None)
    return memory if shape is None else replace(memory, nearest=f"tp{shape}")


def _memory_at(
    model: ModelFacts,
    gpu: GpuFacts,
    engine: EngineRules,
    weights: WeightDtype,
    storage: KvStorage,
    context_limit_tokens: int,
    max_num_seqs: int,
    max_num_batched_tokens: int,
    budget_bytes: int,
    tp: int,
) -> ReplicaMemory | Refusal:
    """Memory at one parallel shape."""
    weights_bytes = weight_bytes(model, weights, tp)
    if isinstance(weights_bytes, Refusal):
        return weights_bytes
    rest = overheads(
        model, gpu, engine, tp=tp, max_num_seqs=max_num_seqs, max_num_batched_tokens=max_num_batched_tokens
    )
    available_bytes = budget_bytes - weights_bytes - rest.total_bytes
    if available_bytes <= 0:
        return _too_heavy(model, gpu, tp, weights_bytes, rest, budget_bytes)
    graphs = _graphs_refusal(gpu, engine, budget_bytes)
    if graphs is not None:
        return graphs
    pool = block_pool(model, gpu, engine, storage, tp, available_bytes, max_num_batched_tokens)
    needed_blocks = pool.request_blocks(model, context_limit_tokens)
    if needed_blocks > pool.usable_blocks:
        return _too_long(model, gpu, tp, context_limit_tokens, pool)
    groups = layer_pool(model).groups
    return ReplicaMemory(
        total_bytes=gpu.memory_bytes,
        budget_bytes=budget_bytes,
        weights_bytes=weights_bytes,
        activation_bytes=rest.activation_bytes,
        non_torch_bytes=rest.non_torch_bytes,
        cuda_graph_bytes=rest.cuda_graph_bytes,
        available_kv_bytes=available_bytes,
        block_tokens=pool.block_tokens,
        block_bytes=pool.block_bytes,
        blocks=pool.blocks,
        usable_blocks=pool.usable_blocks,
        pool_tokens=pool.usable_blocks // groups * pool.block_tokens,
        kv_bytes_per_token=kv_bytes_per_token(model, storage, tp),
        blocks_per_max_sequence=needed_blocks,
        max_concurrency=Fraction(pool.blocks, needed_blocks),
        estimated=rest.estimated + _layout_doubts(model, gpu, engine, storage),
        groups=groups,
        margin_bytes=rest.margin_bytes,
    )


def block_pool(
    model: ModelFacts,
    gpu: GpuFacts,
    engine: EngineRules,
    storage: KvStorage,
    tp: int,
    available_bytes: int,
    max_num_batched_tokens: int,
) -> BlockPool:
    """Blocks that fit into the bytes left for KV on one rank: floor(available / block_bytes)."""
    block_tokens = engine.block_tokens
    if model.is_mla and gpu.architecture == "blackwell":
        block_tokens = max(block_tokens, _BLACKWELL_MLA_BLOCK_TOKENS)
    size = block_bytes(model, storage, tp, block_tokens)
    in_flight = max_num_batched_tokens * engine.in_flight_steps
    return BlockPool(block_tokens, size, available_bytes // size, in_flight)


def _refused(
    model: ModelFacts, engine: EngineRules, storage: KvStorage, kv_dtype: str, context_limit_tokens: int
) -> Refusal | None:
    """What no amount of memory would cure."""
    if model.unsupported:
        reason = ", ".join(model.unsupported)
        return Refusal(Bottleneck.ARCHITECTURE, f"{model.id}: memory is not understood yet: {reason}")
    name = _SIXTEEN_BIT.get(kv_dtype, kv_dtype.replace("-", "_"))
    if name not in engine.kv_dtypes:
        known = ", ".join(engine.kv_dtypes)
        message = f"{engine.requested} has no KV dtype '{kv_dtype}'; it has {known}"
        return Refusal(Bottleneck.ENGINE, message)
    scaled = storage.group or storage.vector_bytes or storage.skip_layers
    if model.is_mla and (scaled or storage.k_bits not in (8, 16)):
        message = f"{model.id} keeps one latent vector a token; '{kv_dtype}' is not understood for it yet"
        return Refusal(Bottleneck.ARCHITECTURE, message, "fp8")
    if storage.skip_layers and layer_pool(model).groups > 1:
        message = f"{model.id} mixes windows, and '{kv_dtype}' keeps 16-bit layers: not understood together yet"
        return Refusal(Bottleneck.ARCHITECTURE, message, "fp8")
    if context_limit_tokens > model.max_context_tokens:
        most = _tokens(model.max_context_tokens)
        message = f"context limit {_tokens(context_limit_tokens)} is above the {most} of {model.id}"
        return Refusal(Bottleneck.CONTEXT, message, most)
    return None


def _graphs_refusal(gpu: GpuFacts, engine: EngineRules, budget_bytes: int) -> Refusal | None:
    """Releases that capture CUDA graphs outside their budget need the rest of the GPU to hold them."""
    graphs_bytes = int(CUDA_GRAPHS_GIB * GIB)
    if engine.graphs_in_budget or gpu.memory_bytes - budget_bytes >= graphs_bytes:
        return None
    most_percent = 100 * (gpu.memory_bytes - graphs_bytes) // gpu.memory_bytes
    message = (
        f"{engine.requested} captures CUDA graphs ({_gib(graphs_bytes)}) outside its budget; only "
        f"{_gib(gpu.memory_bytes - budget_bytes)} of {gpu.id} stay free"
    )
    return Refusal(Bottleneck.MEMORY, message, f"gpu_memory_utilization: 0.{most_percent:02d}")


def _too_heavy(
    model: ModelFacts, gpu: GpuFacts, tp: int, weights_bytes: int, rest: Overheads, budget_bytes: int
) -> Refusal:
    message = (
        f"{model.id} needs {_gib(weights_bytes + rest.total_bytes)} on each GPU at tp{tp} "
        f"(weights {_gib(weights_bytes)}, activations and buffers {_gib(rest.total_bytes)}); "
        f"{gpu.id} has {_gib(budget_bytes)} to give"
    )
    return Refusal(Bottleneck.MEMORY, message)


def _too_long(model: ModelFacts, gpu: GpuFacts, tp: int, context_tokens: int, pool: BlockPool) -> Refusal:
    needed = pool.request_blocks(model, context_tokens) * pool.block_bytes
    message = (
        f"one sequence of {_tokens(context_tokens)} needs {_gib(needed)} of KV on each GPU at tp{tp}; "
        f"{gpu.id} has {_gib(pool.usable_blocks * pool.block_bytes)} left"
    )
    longest = _longest_context(model, context_tokens, pool)
    return Refusal(Bottleneck.MEMORY, message, _tokens(longest) if longest else None)


def _longest_context(model: ModelFacts, limit_tokens: int, pool: BlockPool) -> int:
    """The longest context of which one sequence fits, in whole Ki from 1Ki on; 0: none."""
    low, high = 0, limit_tokens
    while low < high:
        middle = (low + high + 1) // 2
        if pool.request_blocks(model, middle) <= pool.usable_blocks:
            low = middle
        else:
            high = middle - 1
    return low // 1024 * 1024 if low >= 1024 else low


def _layout_doubts(model: ModelFacts, gpu: GpuFacts, engine: EngineRules, storage: KvStorage) -> tuple[str, ...]:
    found = []
    if model.is_mla:
        found.append("block size of latent attention: depends on the kernel that the engine picks")
    if storage.skip_layers:
        found.append("pages of 16-bit edge layers: summed with the others, not seen in a log")
    if engine.in_flight_steps > 1 and model.is_windowed:
        found.append("tokens in flight: two steps, as with asynchronous scheduling")
    return tuple(found)


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / GIB:.2f} GiB"


def _tokens(count: int) -> str:
    return f"{count // 1024}Ki" if count and count % 1024 == 0 else f"{count:_}"
