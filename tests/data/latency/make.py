"""Writes the fixtures of this folder: results in the schemas of four harnesses, with made-up round figures.

Schemas: vLLM `vllm/benchmarks/serve.py` (main, 2026-11), guidellm 0.8.1, aiperf 0.13.0, genai-perf 0.0.16. No file is a
real measurement. All describe Llama-3.1-8B in bf16 on one H100, 1,024 tokens in and 256 out. Run it again with
`python tests/data/latency/make.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MODEL = "meta-llama/Llama-3.1-8B"
RUNS = {1: (6.5, 45.0), 8: (7.4, 55.0), 32: (10.6, 105.0), 64: (14.2, 170.0), 128: (21.5, 320.0)}
"""Users -> mean TPOT and TTFT in milliseconds."""


def _rate(users: int) -> float:
    tpot, ttft = RUNS[users]
    return users / (ttft + 255 * tpot) * 1000


def vllm(users: int, **more: object) -> dict[str, Any]:
    """One result of `vllm bench serve --save-result --max-concurrency N`."""
    (tpot, ttft), prompts = RUNS[users], 10 * users
    return {
        "date": "20261120-101500",
        "endpoint_type": "openai",
        "backend": "openai",
        "label": "openai",
        "model_id": MODEL,
        "tokenizer_id": MODEL,
        "num_prompts": prompts,
        "request_rate": "inf",
        "burstiness": 1.0,
        "max_concurrency": users,
        "duration": round(prompts / _rate(users), 3),
        "completed": prompts,
        "failed": 0,
        "total_input_tokens": prompts * 1024,
        "total_output_tokens": prompts * 256,
        "request_throughput": round(_rate(users), 6),
        "request_goodput": None,
        "output_throughput": round(_rate(users) * 256, 3),
        "total_token_throughput": round(_rate(users) * 1280, 3),
        "max_output_tokens_per_s": round(_rate(users) * 256 * 1.2, 3),
        "max_concurrent_requests": users,
        "rtfx": 0.0,
        "mean_ttft_ms": ttft,
        "median_ttft_ms": ttft * 0.97,
        "std_ttft_ms": ttft * 0.1,
        "p99_ttft_ms": ttft * 1.9,
        "mean_tpot_ms": tpot,
        "median_tpot_ms": tpot,
        "std_tpot_ms": 0.2,
        "p99_tpot_ms": tpot * 1.05,
        "mean_itl_ms": tpot,
        "median_itl_ms": tpot * 0.98,
        "std_itl_ms": 1.1,
        "p99_itl_ms": tpot * 1.6,
        **more,
    }


def _summary(mean: float) -> dict[str, Any]:
    one = {
        "mean": mean,
        "median": mean,
        "std_dev": 0.0,
        "min": mean,
        "max": mean,
        "count": 320,
        "total_sum": 320 * mean,
    }
    return {"successful": one, "incomplete": one, "errored": {**one, "mean": 0.0}, "total": one}


def guidellm(users: tuple[int, ...]) -> dict[str, Any]:
    """A report of `guidellm benchmark --rate-type concurrent`."""
    benchmarks = [
        {
            "type_": "generative_benchmark",
            "config": {
                "id_": f"b{index}",
                "run_id": "r",
                "run_index": index,
                "strategy": {"type_": "concurrent", "streams": each},
                "backend": {"type_": "openai_http", "target": "http://localhost:8000", "model": MODEL},
            },
            "metrics": {
                "request_totals": {"successful": 320, "incomplete": each, "errored": 0, "total": 320 + each},
                "requests_per_second": _summary(_rate(each)),
                "request_concurrency": _summary(each * 0.98),
                "request_latency": _summary((RUNS[each][1] + 255 * RUNS[each][0]) / 1000),
                "prompt_token_count": _summary(1024),
                "output_token_count": _summary(256),
                "time_to_first_token_ms": _summary(RUNS[each][1]),
                "time_per_output_token_ms": _summary((RUNS[each][1] + 255 * RUNS[each][0]) / 256),
                "inter_token_latency_ms": _summary(RUNS[each][0]),
                "output_tokens_per_second": _summary(_rate(each) * 256),
            },
        }
        for index, each in enumerate(users)
    ]
    metadata = {"version": 2, "guidellm_version": "0.8.1", "python_version": "3.12.3", "platform": "Linux"}
    return {"metadata": metadata, "config": {}, "benchmarks": benchmarks, "conclusions": []}


def _metric(unit: str, mean: float) -> dict[str, Any]:
    return {"unit": unit, "avg": mean, "p50": mean, "p99": mean * 1.3, "min": mean, "max": mean * 1.4, "std": 0.1}


def _aiperf_metrics(users: int) -> dict[str, Any]:
    tpot, ttft = RUNS[users]
    return {
        "request_throughput": {"unit": "requests/sec", "avg": round(_rate(users), 6)},
        "request_latency": _metric("ms", ttft + 255 * tpot),
        "request_count": {"unit": "requests", "avg": 20.0 * users},
        "time_to_first_token": _metric("ms", ttft),
        "inter_token_latency": _metric("ms", tpot),
        "output_token_throughput": {"unit": "tokens/sec", "avg": round(_rate(users) * 256, 3)},
        "output_sequence_length": _metric("tokens", 256.0),
        "input_sequence_length": _metric("tokens", 1024.0),
    }


def aiperf(users: int, streaming: bool = True) -> dict[str, Any]:
    """`profile_export_aiperf.json` of `aiperf profile --concurrency N`."""
    config = {
        "models": [MODEL],
        "endpoint": {"type": "chat", "streaming": streaming, "urls": ["http://localhost:8000"]},
        "phases": [{"name": "profiling", "type": "concurrency", "requests": 20 * users, "concurrency": users}],
    }
    return {"schema_version": "1.4", "aiperf_version": "0.13.0", **_aiperf_metrics(users), "input_config": config}


def genai_perf(users: int) -> dict[str, Any]:
    """`profile_export_genai_perf.json` of `genai-perf profile --concurrency N`."""
    config = {
        "model_names": [MODEL],
        "endpoint": {"type": "chat", "streaming": True},
        "perf_analyzer": {"stimulus": {"concurrency": users}},
    }
    return {**_aiperf_metrics(users), "input_config": config}


def aiperf_csv(users: int) -> str:
    """`profile_export_aiperf.csv`."""
    (tpot, ttft), rate = RUNS[users], _rate(users)
    names = ("Metric", "avg", "min", "max", "p99", "p95", "p90", "p75", "p50", "std")
    requests = {
        "Input Sequence Length (tokens)": 1024.0,
        "Inter Token Latency (ms)": tpot,
        "Output Sequence Length (tokens)": 256.0,
        "Request Latency (ms)": ttft + 255 * tpot,
        "Time to First Token (ms)": ttft,
    }
    lines = [",".join(names), *(f"{name}{f',{mean:.2f}' * 9}" for name, mean in requests.items()), ""]
    system = {"Output Token Throughput (tokens/sec)": rate * 256, "Request Count": 20 * users}
    lines += ["Metric,Value", *(f"{name},{value:.2f}" for name, value in system.items())]
    return "\r\n".join([*lines, f"Request Throughput (requests/sec),{rate:.2f}", ""])


def main() -> None:
    """Writes all files."""
    said = {"gpu": "h100-sxm-80gb", "engine": "vllm@0.24.0", "parallel": "tp1", "weights": "bf16", "kv_dtype": "bf16"}
    files: dict[str, object] = {
        "vllm-c32.json": vllm(32),
        "vllm-c64-said.json": vllm(64, **said, source="bench host 3, 2026-11-20"),
        "vllm-not-streamed.json": vllm(32) | {"mean_tpot_ms": 0.0, "mean_itl_ms": 0.0},
        "guidellm.json": guidellm((1, 8, 32, 64, 128)),
        "aiperf-c8.json": aiperf(8),
        "aiperf-not-streamed.json": aiperf(8, streaming=False),
        "genai-perf-c8.json": genai_perf(8),
    }
    for name, tree in files.items():
        (HERE / name).write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
    appended = "\n".join(json.dumps(vllm(users)) for users in (8, 32, 64)) + "\n"
    (HERE / "vllm-appended.json").write_text(appended, encoding="utf-8")
    (HERE / "aiperf-c8.csv").write_text(aiperf_csv(8), encoding="utf-8", newline="")
    head = "model,gpu,engine,parallel,weights,kv_dtype,input_tokens,output_tokens,concurrency,tpot_ms,ttft_ms,source"
    rows = [
        f"llama-3.1-8b,h100-sxm-80gb,vllm@0.24.0,tp1,bf16,bf16,1024,256,{users},{tpot},{ttft},bench host 3"
        for users, (tpot, ttft) in RUNS.items()
    ]
    (HERE / "table.csv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
