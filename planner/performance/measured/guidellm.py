"""Reports of GuideLLM (`benchmarks.json`): one run for each benchmark of the sweep.

Source: guidellm 0.8.1, `guidellm/benchmark/schemas/`; reports of 0.2 to 0.5 have `args` in place of `config`. Its
`inter_token_latency_ms` is the TPOT of this program: from the first to the last token over output - 1; its
`time_per_output_token_ms` counts the first token too and is not used.
"""

from __future__ import annotations

from planner.catalog.files import Json
from planner.performance.measured.raw import NOT_STREAMED, STEADY_WAVES, RawRun, at, everywhere, number, text


def is_guidellm(tree: Json) -> bool:
    """Whether a JSON value is such a report."""
    benchmarks = at(tree, "benchmarks")
    return isinstance(benchmarks, list) and any(isinstance(at(each, "metrics"), dict) for each in benchmarks)


def read_guidellm(tree: Json) -> list[RawRun | str]:
    """The runs of a report, or what is wrong with each."""
    benchmarks = at(tree, "benchmarks")
    names = [name for key in ("model", "backend_model") for name in everywhere(tree, key) if isinstance(name, str)]
    return [_run(each, next(iter(names), "")) for each in benchmarks] if isinstance(benchmarks, list) else []


def _run(benchmark: Json, served_name: str) -> RawRun | str:
    inputs, outputs = _mean(benchmark, "prompt_token_count"), _mean(benchmark, "output_token_count")
    if not inputs or not outputs:
        return "no request was successful"
    tpot_ms, ttft_ms = _mean(benchmark, "inter_token_latency_ms"), _mean(benchmark, "time_to_first_token_ms")
    if not tpot_ms:
        return NOT_STREAMED
    done = number(benchmark, "metrics", "request_totals", "successful")
    users = _users(benchmark)
    is_closed = users is not None and (done is None or done >= STEADY_WAVES * users)
    concurrency = users if is_closed else _mean(benchmark, "request_concurrency")
    if not concurrency:
        return "request_concurrency is missing, so it is unknown how many requests ran at once"
    return RawRun(
        harness="GuideLLM",
        input_tokens=inputs,
        output_tokens=outputs,
        concurrency=concurrency,
        is_closed_loop=is_closed,
        tpot_ms=tpot_ms,
        ttft_ms=ttft_ms or None,
        output_tokens_per_s=_mean(benchmark, "output_tokens_per_second"),
        served_name=served_name,
    )


def _mean(benchmark: Json, metric: str) -> float | None:
    return number(benchmark, "metrics", metric, "successful", "mean")


def _users(benchmark: Json) -> float | None:
    """Users of a closed loop: the streams of the strategy; None for rates and floods."""
    for block in ("config", "args"):
        strategy = at(benchmark, block, "strategy")
        kind = text(strategy, "type_")
        if kind == "synchronous":
            return 1.0
        if kind == "concurrent":
            return number(strategy, "streams")
    return None
