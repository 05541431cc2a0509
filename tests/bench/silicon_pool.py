"""How many requests of a measured row its KV pool holds, by the same memory rules as plans."""

from __future__ import annotations

from functools import cache

from silicon_rows import Row

from planner.calculator.kv import kv_answer
from planner.calculator.query import KvQuery
from planner.catalog.parallel import Parallel
from planner.catalog.types import Bottleneck, Refusal
from planner.errors import InputError

CHECKPOINTS = {
    ("deepseek-r1", "nvfp4"): "deepseek-v3.1-nvfp4",
    ("glm-5", "fp8"): "glm-5-fp8",
    ("glm-5", "nvfp4"): "glm-5-nvfp4",
    ("kimi-k2.5", "nvfp4"): "kimi-k2.5-nvfp4",
    ("minimax-m2.5", "nvfp4"): "minimax-m2.5-nvfp4",
    ("qwen3.5-397b-a17b", "nvfp4"): "qwen3.5-397b-a17b-nvfp4",
}
"""Published checkpoints in the weights of a row, where the model's own are others."""

UTILIZATION_PPM: dict[str, int | None] = {"vllm": 900_000, "tensorrt-llm": 900_000, "sglang": None}
"""What nearly all recipes set; SGLang finds its own share."""

FULLER = ("minimax-m2.5", "kimi-k2.5")
FULLER_PPM = 950_000
"""The recipes of these models leave the least room."""


def pool_sequences(row: Row) -> int | None:
    """Requests that the pool of the whole replica holds at their mean length; 0: the weights leave no pool.

    vLLM and SGLang fill the pool with what is there, TensorRT-LLM reserves the whole answer. None: not known.
    """
    reserved = row.output_tokens if row.engine.startswith("tensorrt") else row.output_tokens // 2
    per_rank = _sequences(
        row.model,
        row.gpu,
        row.engine,
        row.weights.partition("_")[0],
        row.kv_dtype,
        Parallel(row.tp, dp=row.dp, ep=row.ep),
        row.input_tokens + reserved,
        row.max_model_len,
    )
    return None if per_rank is None else per_rank * row.dp


@cache
def _sequences(
    model: str, gpu: str, engine: str, weights: str, kv_dtype: str, shape: Parallel, tokens: int, longest: int
) -> int | None:
    other = CHECKPOINTS.get((model, weights))
    query = KvQuery(
        model=other or model,
        gpu=gpu,
        engine=engine,
        weights=None if other else weights,
        kv_dtype=kv_dtype,
        shape=shape,
        contexts_tokens=(tokens,),
        max_model_len=longest,
        utilization_ppm=FULLER_PPM if model in FULLER else UTILIZATION_PPM[engine.partition("@")[0]],
    )
    try:
        figures = kv_answer(query).figures
    except InputError:
        return None
    if isinstance(figures.budget, Refusal):
        return 0 if figures.budget.bottleneck is Bottleneck.MEMORY else None
    return figures.rows[0].fitting_sequences
