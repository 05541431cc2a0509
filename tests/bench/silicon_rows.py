"""The measured rows of `silicon_sample.csv`, read in place, with their labels set right; what is left out says why.

The file ships inside aiconfigurator-core and is never copied. Its aggregated rows come from two harnesses:

* InferenceX (formerly InferenceMAX): `num_prompts` = 10 x concurrency, all sent at once into a closed loop, lengths
  uniform in [0.8 L, L], prefix caching off, means reported. Their recipes name the KV dtype and the token budget.
* The gap-analysis runs of the package's own authors: fixed lengths, fixed concurrency. Those with a `gtl` job are
  fleets behind a router (`batch_size` is concurrency / replicas), so the load of one replica is not known.

Labels that are wrong, and how they are read:

* `tp_size` 64 with `moe_tp` 8 and `moe_ep` 8 (16 with 4 and 4): one converter multiplied tp by ep. It is one node of
  8 (4) GPUs with whole experts on each rank; the same measurement stands elsewhere in the file with the right label.
* MiniMax-M2.5 on B200 and B300: the recipe turns expert parallelism on for `ep` 1 as well.
* `attention_dp` n beside `tp_size` n: data-parallel attention on n GPUs, tp1, not n x n.
* `nvfp4` on gpt-oss: the checkpoint is mxfp4, whatever the label says; `fp8` of DeepSeek, MiniMax and Qwen3.5 is
  their native block-scaled fp8; `int4_wo` on Kimi-K2.5: 4-bit experts, the rest 16-bit.
* DeepSeek-V3 and DeepSeek-R1 are one architecture and here the same runs: one group.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

MODELS = {
    "MiniMaxAI/MiniMax-M2.5": "minimax-m2.5",
    "Qwen/Qwen3-235B-A22B-FP8": "qwen3-235b-a22b-fp8",
    "Qwen/Qwen3-32B": "qwen3-32b",
    "Qwen/Qwen3.5-397B-A17B": "qwen3.5-397b-a17b",
    "deepseek-ai/DeepSeek-R1": "deepseek-r1",
    "deepseek-ai/DeepSeek-V3": "deepseek-r1",
    "meta-llama/Llama-3.1-70B": "llama-3.1-70b",
    "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b",
    "moonshotai/Kimi-K2.5": "kimi-k2.5",
    "nvidia/DeepSeek-R1-NVFP4": "deepseek-r1",
    "nvidia/DeepSeek-V3.1-NVFP4": "deepseek-r1",
    "nvidia/Llama-3.1-8B-Instruct-FP8": "llama-3.1-8b",
    "nvidia/Qwen3-32B-NVFP4": "qwen3-32b",
    "openai/gpt-oss-120b": "gpt-oss-120b",
    "zhipuai/GLM-5": "glm-5",
}
GPUS = {
    "b200_sxm": "b200-sxm-180gb",
    "b300_sxm": "b300-sxm-288gb",
    "gb200": "gb200-nvl72",
    "gb300": "gb300-nvl72",
    "h100_sxm": "h100-sxm-80gb",
    "h200_sxm": "h200-sxm-141gb",
}
ENGINES = {"vllm": "vllm@0.24", "sglang": "sglang@0.5.14", "trtllm": "tensorrt-llm@1.2"}
"""The releases that the kernel tables stand for; rows were measured on older ones."""

NATIVE_BLOCK_FP8 = {"deepseek-r1", "minimax-m2.5", "qwen3-235b-a22b-fp8", "qwen3.5-397b-a17b", "glm-5"}
NODE_GPUS = 8
INFERENCEX_LENGTH_SHARE = 0.9
"""Mean of lengths that are uniform in [0.8 L, L]."""

CONVERTERS_THAT_MULTIPLY = ("source_file=2026-04-06.csv", "db-dump/")


@dataclass(frozen=True)
class Row:
    """One measured point: a replica, what its users ask for, and what was measured (seconds)."""

    id: str
    model: str
    gpu: str
    engine: str
    release: str
    weights: str
    kv_dtype: str
    tp: int
    dp: int
    ep: bool
    input_tokens: int
    output_tokens: int
    concurrency: int
    harness: str
    max_model_len: int
    ttft_s: float
    tpot_s: float

    @property
    def gpus(self) -> int:
        """GPUs of the replica."""
        return self.tp * self.dp

    @property
    def parallel(self) -> str:
        """The shape in the words of scenarios."""
        return f"tp{self.tp}{f'-dp{self.dp}' if self.dp > 1 else ''}{'-ep' if self.ep else ''}"


class MissingPackage(Exception):
    """aiconfigurator-core is not installed."""


def sample_path() -> Path:
    """Where the installed package keeps the file."""
    spec = find_spec("aiconfigurator_core")
    if spec is None or spec.origin is None:
        raise MissingPackage
    return Path(spec.origin).parent / "systems" / "silicon_sample.csv"


def read_rows(path: Path) -> tuple[list[Row], Counter[str]]:
    """All rows that can be used, and how many were left out for each reason."""
    with path.open(encoding="utf-8", newline="") as file:
        raws = list(csv.DictReader(file))
    rows: list[Row] = []
    left_out: Counter[str] = Counter()
    seen: set[tuple[object, ...]] = set()
    plain = _plain_measurements(raws)
    for raw in sorted(raws, key=lambda raw: raw["id"]):
        reason = _left_out(raw, plain)
        if reason is None:
            row = _row(raw)
            key = (
                row.model,
                row.gpu,
                row.engine,
                row.input_tokens,
                row.output_tokens,
                f"{row.ttft_s:.5g}",
                f"{row.tpot_s:.5g}",
            )
            reason = "the same measurement stands in the file under another id" if key in seen else None
            seen.add(key)
        if reason is None:
            rows.append(row)
        else:
            left_out[reason] += 1
    return rows, left_out


def _left_out(raw: dict[str, str], plain: set[tuple[str, ...]]) -> str | None:
    if raw["mode"] != "agg":
        return "split prefill and decode: not an aggregated row"
    if raw["model_path"] not in MODELS or raw["system"] not in GPUS:
        return f"model or GPU unknown to kvplan: {raw['model_path']} on {raw['system']}"
    if max(_count(raw["tp_size"]), _count(raw["attention_dp_size"])) > NODE_GPUS and not _multiplied(raw):
        return "labelled aggregated, but a disaggregated fleet over several nodes (12 to 72 GPUs)"
    if "gtl_" in raw["silicon_data_source"]:
        return "a fleet of replicas behind a router: the load of one replica is not recorded"
    if _other_server(raw):
        return "measured on a server with other settings than the row says; known from its recipe"
    if _speculative(raw, plain):
        return "measured with speculative decoding (MTP), which the row does not say; known from its recipe"
    return None


def _row(raw: dict[str, str]) -> Row:
    model, gpu = MODELS[raw["model_path"]], GPUS[raw["system"]]
    gap = "aic-auto-gap-analysis" in raw["silicon_data_source"]
    share = 1.0 if gap else INFERENCEX_LENGTH_SHARE
    tp, dp, ep = _shape(raw)
    concurrency = re.search(r"concurrency=(\d+)", raw["silicon_data_source"])
    return Row(
        id=raw["id"],
        model=model,
        gpu=gpu,
        engine=ENGINES[raw["backend"]],
        release=raw["backend_version"] or _date(raw),
        weights=_weights(model, raw),
        kv_dtype=_kv_dtype(model, raw),
        tp=tp,
        dp=dp,
        ep=ep,
        input_tokens=round(int(raw["isl"]) * share),
        output_tokens=round(int(raw["osl"]) * share),
        concurrency=int(concurrency.group(1)) if concurrency else int(raw["batch_size"]) * dp,
        harness="gap analysis" if gap else "InferenceX",
        max_model_len=int(raw["isl"]) + int(raw["osl"]) + 256,
        ttft_s=float(raw["silicon_ttft_ms"]) / 1e3,
        tpot_s=float(raw["silicon_tpot_ms"]) / 1e3,
    )


def _shape(raw: dict[str, str]) -> tuple[int, int, bool]:
    """(tp, dp, ep) of the replica, with the labels set right."""
    tp, dp = _count(raw["tp_size"]), _count(raw["attention_dp_size"])
    moe_tp, moe_ep = _count(raw["moe_tp_size"]), _count(raw["moe_ep_size"])
    if _multiplied(raw):
        return (1, moe_tp, True) if dp > 1 else (moe_tp, 1, True)
    if dp > 1 and tp > 1:
        return 1, tp, moe_ep > 1
    always = MODELS[raw["model_path"]] == "minimax-m2.5" and raw["system"].startswith("b")
    return tp, dp, moe_ep > 1 or (always and tp > 1)


def _multiplied(raw: dict[str, str]) -> bool:
    """Whether the converter multiplied the shape by expert parallelism."""
    tp, dp = _count(raw["tp_size"]), _count(raw["attention_dp_size"])
    moe_tp, moe_ep = _count(raw["moe_tp_size"]), _count(raw["moe_ep_size"])
    ours = raw["silicon_data_source"].startswith(CONVERTERS_THAT_MULTIPLY)
    return ours and moe_tp == moe_ep > 1 and tp * dp == moe_tp * moe_ep


def _weights(model: str, raw: dict[str, str]) -> str:
    label = raw["gemm_quant_mode"]
    if model == "gpt-oss-120b":
        return "mxfp4"
    if label in ("fp8", "fp8_block"):
        return "fp8_block" if model in NATIVE_BLOCK_FP8 or label == "fp8_block" else "fp8"
    return {"": "bf16", "nvfp4": "nvfp4", "int4_wo": "w4a16"}[label]


def _kv_dtype(model: str, raw: dict[str, str]) -> str:
    """What the recipe of the run says; where that is not known, where its queues begin: at a full fp8 or 16-bit pool.

    Llama-3.1-70B on H100: the recipe of those days said fp8, but its queues begin where a 16-bit cache is full.
    """
    hopper = raw["system"].startswith("h")
    if "aic-auto-gap-analysis" in raw["silicon_data_source"]:
        return "fp8" if raw["backend"] == "trtllm" and raw["gemm_quant_mode"] else "auto"
    if raw["backend"] == "trtllm" or model == "minimax-m2.5":
        return "fp8"
    if model in ("llama-3.1-70b", "kimi-k2.5"):
        return "fp8" if raw["system"] != "h100_sxm" and raw["gemm_quant_mode"] != "int4_wo" else "auto"
    if model in ("gpt-oss-120b", "deepseek-r1", "glm-5") or raw["gemm_quant_mode"] == "fp8":
        return "auto" if hopper else "fp8"
    return "auto"


def _speculative(raw: dict[str, str], plain: set[tuple[str, ...]]) -> bool:
    """Runs of the `mtp` recipes: TensorRT-LLM images and days, and SGLang images that ran both kinds.

    Seen in the file itself: under the same label the same point stands twice, one 1.25 to 2.3 times faster.
    """
    source, model = raw["silicon_data_source"].replace("#", "/"), MODELS[raw["model_path"]]
    if raw["backend"] == "trtllm" and model == "deepseek-r1":
        return "1.2.0rc6.post3" in source or ("1.1.0rc2.post2" in source and "measured=2026-01-14" in source)
    if raw["backend"] != "sglang" or not re.search(r"v0\.5\.9-cu130$", source):
        return False
    if model == "deepseek-r1" and raw["system"] == "b200_sxm" and raw["gemm_quant_mode"] == "fp8":
        return _count(raw["tp_size"]) == 8 and _measurement(raw) not in plain
    return model == "qwen3.5-397b-a17b" and raw["gemm_quant_mode"] == "fp8"


def _other_server(raw: dict[str, str]) -> bool:
    """Rows whose own recipe contradicts them.

    DeepSeek on TensorRT-LLM of 2025-11: the recipe chose expert parallelism and its kernels by concurrency, and the row
    says neither. gpt-oss on vLLM and H100 at 512 users: the TPOT is that of 4 to 64 of them, as --max-num-seqs of
    another row was still set, and TTFT is the queue.
    """
    source, model = raw["silicon_data_source"], MODELS[raw["model_path"]]
    if model == "deepseek-r1" and raw["backend"] == "trtllm":
        return "measured=2025-11" in source
    crowded = raw["batch_size"] == "512" and raw["backend"] == "vllm"
    return model == "gpt-oss-120b" and raw["system"] == "h100_sxm" and crowded


def _plain_measurements(raws: Iterable[dict[str, str]]) -> set[tuple[str, ...]]:
    """Points of DeepSeek on SGLang that the database dump attributes to the recipe without speculation."""
    return {_measurement(raw) for raw in raws if "config_id=87;" in raw["silicon_data_source"]}


def _measurement(raw: dict[str, str]) -> tuple[str, ...]:
    return raw["silicon_ttft_ms"], raw["silicon_tpot_ms"]


def _count(text: str) -> int:
    """1 where a size is not given, or given as 0."""
    return max(1, int(float(text))) if text else 1


def _date(raw: dict[str, str]) -> str:
    found = re.search(r"measured=(\d{4}-\d\d-\d\d)", raw["silicon_data_source"])
    return found.group(1) if found else ""
