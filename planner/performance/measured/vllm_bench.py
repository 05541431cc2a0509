"""Results of `vllm bench serve --save-result`, and of SGLang's `bench_serving`, which has the same keys.

Source: vLLM, `vllm/benchmarks/serve.py` (main, 2026-11; the keys are those since 0.4). TPOT there excludes the first
token. `--metadata KEY=VALUE` stands at the top level: `gpu`, `engine`, `parallel`, `weights`, `kv_dtype` and `source`
say which replica it was.
"""

from __future__ import annotations

from planner.catalog.files import Json
from planner.performance.measured.raw import NOT_STREAMED, STEADY_WAVES, SYSTEM_KEYS, RawRun, little, number, text

MARK = "total_output_tokens"
"""A key that only these results have at the top level, beside `completed`."""


def is_vllm_bench(tree: Json) -> bool:
    """Whether a JSON value is such a result."""
    return isinstance(tree, dict) and MARK in tree and "completed" in tree


def read_vllm_bench(tree: Json) -> RawRun | str:
    """The run of one result, or what is wrong with it."""
    completed, inputs, outputs = (number(tree, key) for key in ("completed", "total_input_tokens", MARK))
    if not completed or not inputs or not outputs:
        return "no request was completed"
    tpot_ms, ttft_ms = number(tree, "mean_tpot_ms"), number(tree, "mean_ttft_ms")
    if not tpot_ms:
        return NOT_STREAMED
    users = number(tree, "max_concurrency")
    is_closed = users is not None and text(tree, "request_rate") == "inf" and completed >= STEADY_WAVES * users
    rate = number(tree, "request_throughput")
    concurrency = users if is_closed else little(rate, ttft_ms, tpot_ms, outputs / completed)
    if concurrency is None:
        return "neither max_concurrency nor a request throughput says how many requests ran at once"
    known = {key: text(tree, key) for key in SYSTEM_KEYS if text(tree, key)}
    return RawRun(
        harness="sglang bench_serving" if text(tree, "backend").startswith("sglang") else "vllm bench serve",
        input_tokens=inputs / completed,
        output_tokens=outputs / completed,
        concurrency=concurrency,
        is_closed_loop=is_closed,
        tpot_ms=tpot_ms,
        ttft_ms=ttft_ms or None,
        output_tokens_per_s=number(tree, "output_throughput"),
        accepted_tokens=number(tree, "spec_decode_acceptance_length") or 1.0,
        served_name=text(tree, "model_id"),
        said=known,
    )
