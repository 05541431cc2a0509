"""Engine settings of a deployment: the stable core of every export.

Names as in vLLM's `EngineArgs` (0.19 to 0.33) and SGLang's `ServerArgs` (0.5.23), which
tests/bench/test_export_flags.py looks up in the wheels. A setting is a flag without its hyphens, so the same dict makes
a command line and a file for `--config`.
"""

from __future__ import annotations

import json

from planner.export.serving import Options, Serving

Setting = str | int | float | bool
Settings = dict[str, Setting]

SGLANG_MASTER_PORT = 20000
"""Port of SGLang's first rank; vLLM has a default of its own (29501)."""

COMMANDS = {"vllm": ("vllm", "serve"), "sglang": ("python3", "-m", "sglang.launch_server")}
"""Start of the command line. `sglang serve` exists in later releases of 0.5 only, the module in all of them."""

ENGINE_NAMES = {"vllm": "vLLM", "sglang": "SGLang"}


VLLM_DRAFTS = ("mtp", "ngram")
"""Drafts that vLLM's `--speculative-config` takes without a checkpoint of their own."""


def settings(serving: Serving, options: Options) -> Settings:
    """Settings of the engine that the plan was made for, the model included."""
    return vllm_settings(serving, options) if serving.engine.name == "vllm" else sglang_settings(serving, options)


def vllm_settings(serving: Serving, options: Options) -> Settings:
    """Settings for `vllm serve`. Source: vLLM `EngineArgs`."""
    deployment, shape = serving.deployment, serving.shape
    chosen: Settings = {
        "model": serving.model_path,
        "served-model-name": deployment.model,
        "max-model-len": deployment.context_limit_tokens,
        "max-num-seqs": deployment.max_batch,
        "max-num-batched-tokens": deployment.max_num_batched_tokens,
        "tensor-parallel-size": shape.tp,
    }
    sizes = {"pipeline-parallel-size": shape.pp, "data-parallel-size": shape.dp}
    chosen |= {name: size for name, size in sizes.items() if size > 1}
    if shape.dcp > 1:
        chosen["decode-context-parallel-size"] = shape.dcp
    if shape.ep:
        chosen["enable-expert-parallel"] = True
    chosen["kv-cache-dtype"] = serving.kv_dtype
    chosen["gpu-memory-utilization"] = deployment.gpu_memory_utilization_ppm / 1_000_000
    if serving.quantization:
        chosen["quantization"] = serving.quantization
    if serving.nodes_per_replica > 1:
        chosen["nnodes"] = serving.nodes_per_replica
    drafts = serving.speculative
    if drafts is not None and drafts.draft in VLLM_DRAFTS:
        config = {"method": drafts.draft, "num_speculative_tokens": drafts.draft_tokens}
        chosen["speculative-config"] = json.dumps(config)
    chosen["port"] = options.port
    return chosen


def sglang_settings(serving: Serving, options: Options) -> Settings:
    """Settings for SGLang's server. Source: SGLang `ServerArgs`."""
    deployment, shape = serving.deployment, serving.shape
    chosen: Settings = {
        "model-path": serving.model_path,
        "served-model-name": deployment.model,
        "context-length": deployment.context_limit_tokens,
        "max-running-requests": deployment.max_batch,
        "chunked-prefill-size": deployment.max_num_batched_tokens,
        "tp-size": shape.tp,
    }
    if shape.pp > 1:
        chosen["pp-size"] = shape.pp
    if shape.ep:
        chosen["ep-size"] = shape.tp
    chosen["kv-cache-dtype"] = serving.kv_dtype
    if deployment.gpu_memory_utilization_ppm:
        chosen["mem-fraction-static"] = deployment.gpu_memory_utilization_ppm / 1_000_000
    if serving.quantization:
        chosen["quantization"] = serving.quantization
    if serving.nodes_per_replica > 1:
        chosen["nnodes"] = serving.nodes_per_replica
    return {**chosen, "enable-metrics": True, "host": "0.0.0.0", "port": options.port}  # noqa: S104


def arguments(chosen: Settings) -> list[list[str]]:
    """The command line after the command, one list for each setting. vLLM takes the model as a positional argument.

    >>> arguments({"model": "/models/m", "max-num-seqs": 96, "enable-expert-parallel": True})
    [['/models/m'], ['--max-num-seqs', '96'], ['--enable-expert-parallel']]
    """
    return [[str(value)] if name == "model" else _argument(name, value) for name, value in chosen.items()]


def _argument(name: str, value: Setting) -> list[str]:
    if value is True:
        return [f"--{name}"]
    text = str(value)
    return [f"--{name}={text}"] if text.startswith("-") else [f"--{name}", text]


def rank_arguments(engine: str, rank: str, master: str) -> list[str]:
    """What a replica over several nodes adds on each of them. Source: vLLM `ParallelConfig`, SGLang `ServerArgs`."""
    if engine == "vllm":
        return ["--node-rank", rank, "--master-addr", master]
    return ["--node-rank", rank, "--dist-init-addr", f"{master}:{SGLANG_MASTER_PORT}"]
