"""What an engine is started with beyond its shape: context limit, chunk budget, batch size; and the memory of that."""

from __future__ import annotations

from planner.candidates.types import Setting, Shape
from planner.catalog.types import Bottleneck, EngineRules, GpuFacts, Refusal
from planner.compression.policy import Usable
from planner.compression.requests import codec_shape, request_blocks
from planner.memory.overhead import default_max_num_batched_tokens, default_max_num_seqs
from planner.memory.pool import ReplicaMemory, beside_prefill, replica_memory
from planner.scenario.types import ModelSpec

BATCH_GRID = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""max_num_seqs that are offered inside the scenario's range; its ends are offered too."""


def chunk_budgets(model: ModelSpec, gpu: GpuFacts) -> tuple[int, ...]:
    """max_num_batched_tokens: the scenario's, small to large, or the engine's default for the GPU."""
    assert model.engine is not None
    return model.engine_args.chunk_budgets or (default_max_num_batched_tokens(gpu, model.engine),)


def settings(model: ModelSpec, gpu: GpuFacts) -> tuple[Setting, ...]:
    """Every chunk budget with every context limit."""
    limits = model.context_limits_tokens
    return tuple(Setting(chunk, limit) for chunk in chunk_budgets(model, gpu) for limit in limits)


def configurations(model: ModelSpec, gpu: GpuFacts) -> int:
    """How many configurations the settings and batch sizes of a shape are."""
    return len(settings(model, gpu)) * len(batch_sizes(model, gpu))


def setting_choices(model: ModelSpec, setting: Setting) -> dict[str, str]:
    """A setting as rejections name it; a chunk budget that is no choice is not named."""
    chunk = {"chunk": f"chunk{setting.chunk_tokens}"} if len(model.engine_args.chunk_budgets) > 1 else {}
    return {"context": f"ctx{setting.context_tokens}", **chunk}


def utilization_ppm(model: ModelSpec) -> int:
    """gpu_memory_utilization: the scenario's, or the engine release's default (0 where a rule of its own decides)."""
    assert model.engine is not None
    return model.engine_args.gpu_memory_utilization_ppm or model.engine.utilization_ppm


def batch_sizes(model: ModelSpec, gpu: GpuFacts) -> tuple[int, ...]:
    """The max_num_seqs to try, small to large."""
    assert model.engine is not None
    most = model.max_batch_max or default_max_num_seqs(gpu, model.engine)
    least = min(model.max_batch_min, most)
    grid = {size for size in BATCH_GRID if least <= size <= most}
    ends = {most} | ({least} if model.max_batch_min > 1 else set())
    return tuple(sorted(grid | ends))


def memory_of(model: ModelSpec, shape: Shape, usable: Usable, setting: Setting, batch: int) -> ReplicaMemory | Refusal:
    """Memory of one GPU of a replica at a setting and batch size.

    KV that is compressed after the prefill lies in the engine's 16-bit pool, with room for one such prefill.
    """
    assert model.memory_facts is not None and model.engine is not None
    refusal = _starved(model.engine, setting, batch)
    if refusal is not None:
        return refusal
    drafts = model.speculative
    memory = replica_memory(
        model.memory_facts,
        shape.gpu,
        model.engine,
        shape=shape.parallel,
        weights=shape.weights,
        storage=usable.storage,
        kv_dtype=usable.flag,
        context_limit_tokens=setting.context_tokens,
        max_num_seqs=batch,
        max_num_batched_tokens=setting.chunk_tokens,
        utilization_ppm=model.engine_args.gpu_memory_utilization_ppm,
        speculative_tokens=drafts.draft_tokens if drafts else 0,
        own_draft=drafts is None or drafts.draft == "mtp",
        extra_bytes=(model.adjust.memory_bytes_per_gpu if model.adjust else 0)
        + (drafts.memory_bytes_per_gpu if drafts else 0),
    )
    if isinstance(memory, Refusal) or not usable.codec:
        return memory
    kv_shape = codec_shape(usable.codec, model.memory_facts)
    if isinstance(kv_shape, Refusal):
        return kv_shape
    if shape.parallel.dcp > 1 or shape.parallel.pp > 1:
        message = (
            f"{usable.preset}: compressed requests are counted on tensor-parallel shapes only, not {shape.parallel}"
        )
        return Refusal(Bottleneck.PARALLEL, message, f"tp{shape.parallel.tp}")
    longest = request_blocks(usable.codec, *kv_shape, setting.context_tokens, 0, memory.block_tokens)
    return beside_prefill(memory, longest)


def _starved(engine: EngineRules, setting: Setting, batch: int) -> Refusal | None:
    """vLLM starts only if every sequence can have a token in each step.

    Source: vLLM `config/scheduler.py` (max_num_batched_tokens must be at least max_num_seqs).
    """
    if engine.name != "vllm" or setting.chunk_tokens >= batch:
        return None
    message = f"{setting.chunk_tokens:,} batched tokens are fewer than {batch:,} sequences: vLLM does not start"
    return Refusal(Bottleneck.ENGINE, message, f"max_num_batched_tokens {batch}")
