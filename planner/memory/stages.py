"""Which layers stand on which stage of a pipeline, and the division that everything here rounds with."""

from __future__ import annotations

from functools import lru_cache

from planner.catalog.types import EngineName


def ceil_div(amount: int, unit: int) -> int:
    """Smallest number of units that hold the amount."""
    return -(-amount // unit)


@lru_cache(maxsize=4096)
def stage_layers(layers: int, pp: int, engine_name: EngineName = "vllm") -> tuple[range, ...]:
    """Layers of each pipeline stage, in order.

    layers // pp each. vLLM and SGLang give the remainder one each to the last stage but one, the one before
    it, and so on, since the last stage already holds the output head (`VLLM_PP_LAYER_PARTITION` overrides it
    and is not modeled); TensorRT-LLM gives it one each to the first stages. With fewer layers than stages
    some stay empty.
    Source: vLLM `distributed/utils.py` (`get_pp_indices`); TensorRT-LLM `mapping.py` (`pp_layers`).

    >>> [len(stage) for stage in stage_layers(61, 4)]
    [15, 15, 16, 15]
    """
    sizes = [layers // pp] * pp
    for extra in range(layers % pp):
        sizes[extra if engine_name == "tensorrt-llm" else -extra - 2] += 1
    starts = [sum(sizes[:stage]) for stage in range(pp)]
    return tuple(range(start, start + size) for start, size in zip(starts, sizes, strict=True))
