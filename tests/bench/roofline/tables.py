"""The kernel tables of aiconfigurator-core as frames with common names and units: seconds, bytes, tokens.

Quirks that are mended here: message sizes of collectives are elements, not bytes; vLLM and SGLang all-reduce has rows
under CUDA graphs and without, and serving runs under graphs; several kernels of one shape: the fastest runs.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

ENGINES = {"vllm": "vllm", "sglang": "sglang", "tensorrt-llm": "trtllm"}
SYSTEMS = {
    "h100-sxm-80gb": "h100_sxm",
    "h200-sxm-141gb": "h200_sxm",
    "a100-sxm-80gb": "a100_sxm",
    "l40s-48gb": "l40s",
    "b200-sxm-180gb": "b200_sxm",
    "b300-sxm-288gb": "b300_sxm",
    "gb200-nvl72": "gb200",
    "gb300-nvl72": "gb300",
    "rtx-pro-6000-bw-se-96gb": "rtx_pro_6000_server",
}
EXPERT_DTYPES = {"bf16": "bfloat16", "fp8": "fp8", "fp8_block": "fp8_block", "nvfp4": "nvfp4"}
GEMM_DTYPES = EXPERT_DTYPES | {"fp8_static": "fp8"}
EXPERT_DTYPES |= {"w4a16": "int4_wo", "mxfp4": "w4a16_mxfp4", "mxfp4_mxfp8": "w4a8_mxfp4_mxfp8"}
KV_DTYPES = {"bf16": "bfloat16", "fp8": "fp8"}


def data_folder() -> Path:
    """Where the tables lie. Raises SystemExit with the way to get them."""
    found = find_spec("aiconfigurator_core")
    if found is None or found.origin is None:
        raise SystemExit("the kernel tables come with aiconfigurator-core 0.12.0: pip install 'kvplan[silicon]'")
    return Path(found.origin).parent / "systems/data"


Found = tuple[pd.DataFrame, str]
"""Rows and the release that they were measured on."""

LEAST_ROWS = 10
"""A release with fewer rows of a kernel does not have it: the one before answers."""


def newest(gpu: str, op: str, engine: str, name: str, select: Callable[[pd.DataFrame], pd.DataFrame]) -> Found | None:
    """What is selected of the newest release that has it; None where there is none."""
    folder = data_folder() / SYSTEMS[gpu] / op / engine
    paths = sorted(folder.glob(f"*/{name}_perf.parquet"), key=lambda each: _release(each.parent.name))
    for path in reversed(paths):
        frame = pd.read_parquet(path)
        frame["seconds"] = frame.latency * 1e-3
        found = select(frame[frame.seconds > 0])
        if len(found) >= LEAST_ROWS:
            return found, path.parent.name
    return None


def _release(version: str) -> tuple[int, ...]:
    parts = version.replace("rc", ".").replace("post", ".").split(".")
    return tuple(int(part) for part in parts if part.isdigit())


def fastest(frame: pd.DataFrame, shape: list[str]) -> pd.DataFrame:
    """One row for each shape: the kernel that the engine's dispatch is meant to find."""
    return frame.groupby(shape, as_index=False).seconds.min()


def gemm(gpu: str, engine: str, dtype: str) -> Found | None:
    """m, n, k of matrices from 256 x 256 on, up to 16,384 tokens.

    fp8 rows look for the scale of their inputs first; of checkpoints that bring it along, that time is taken off. It is
    a kernel of its own in TensorRT-LLM only.
    """

    def select(rows: pd.DataFrame) -> pd.DataFrame:
        frame = rows[rows.gemm_dtype == GEMM_DTYPES[dtype]]
        frame = frame[(frame.n >= 256) & (frame.k >= 256) & (frame.n <= 51200) & (frame.m <= 16384)]
        return fastest(frame, ["m", "n", "k"])

    found = newest(gpu, "gemm", ENGINES[engine], "gemm", select)
    if found is None or dtype != "fp8_static":
        return found
    return (_static(gpu, engine, found[0]), found[1]) if engine == "tensorrt-llm" else None


def _static(gpu: str, engine: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Matrices less the search for the scale of their inputs, never less than half of the time."""
    scales = newest(gpu, "quantize", ENGINES[engine], "computescale", lambda rows: fastest(rows, ["m", "k"]))
    if scales is None:
        return frame
    spent = scales[0].rename(columns={"seconds": "spent"})
    joined = frame.merge(spent, on=["m", "k"], how="left")
    rest = joined.seconds - joined.spent.fillna(0.0)
    return frame.assign(seconds=rest.clip(lower=0.5 * joined.seconds).to_numpy())


def decode(gpu: str, engine: str, dtype: str, head_dim: int) -> Found | None:
    """b, S, nq, nk of decode attention with full reach: 128 to 131,072 tokens, up to 512 sequences, 1 to 16 query heads
    a KV head. Of an L40S rows of 5 to 150 MB are left out: its cache of 96 MB makes them faster than its memory."""

    def select(rows: pd.DataFrame) -> pd.DataFrame:
        frame = rows.rename(columns={"batch_size": "b", "num_heads": "nq", "num_key_value_heads": "nk"})
        frame["S"] = frame.step + 1
        frame = frame[(frame.kv_cache_dtype == KV_DTYPES[dtype]) & (frame.head_dim == head_dim)]
        frame = frame[frame.get("window_size", 0 * frame.head_dim) == 0]
        frame = frame[(frame.b <= 512) & frame.S.between(128, 131072) & (frame.nq <= 16 * frame.nk) & (frame.nk <= 8)]
        if gpu.startswith("l40s"):
            read = 2 * frame.b * frame.S * frame.nk * head_dim * (2 if dtype == "bf16" else 1)
            frame = frame[~read.between(5e6, 150e6)]
        return fastest(frame, ["b", "S", "nq", "nk"])

    return newest(gpu, "attention", ENGINES[engine], "generation_attention", select)


def prefill(gpu: str, engine: str, dtype: str, head_dim: int) -> Found | None:
    """b, isl, nq of prefill attention from 64 tokens on, 2 to 16 query heads a KV head."""

    def select(rows: pd.DataFrame) -> pd.DataFrame:
        frame = rows.rename(columns={"batch_size": "b", "num_heads": "nq", "num_key_value_heads": "nk"})
        frame = frame[(frame.kv_cache_dtype == KV_DTYPES[dtype]) & (frame.head_dim == head_dim)]
        frame = frame[frame.get("window_size", 0 * frame.head_dim) == 0]
        frame = frame[(frame.isl >= 64) & (frame.nk <= 8) & (frame.nq >= 2 * frame.nk) & (frame.nq <= 16 * frame.nk)]
        frame = frame[frame.b * frame.isl <= 65536]
        return fastest(frame, ["b", "isl", "nq", "nk"])

    return newest(gpu, "attention", ENGINES[engine], "context_attention", select)


def latent(gpu: str, engine: str, dtype: str, phase: str) -> Found | None:
    """b, S, heads of latent attention, phase `generation` or `context`; vLLM's rows are whole modules in bf16."""
    module = engine == "vllm"
    name = f"mla_{phase}_module" if module else f"{phase}_mla"

    def select(rows: pd.DataFrame) -> pd.DataFrame:
        frame = rows.rename(columns={"batch_size": "b", "num_heads": "heads"})
        if module:
            frame = frame[frame.gemm_type == "bfloat16"]
        frame = frame[frame.kv_cache_dtype == KV_DTYPES[dtype]]
        frame["S"] = frame.isl if phase == "context" else frame.step + (0 if module else 1)
        frame = frame[((64 if phase == "context" else 128) <= frame.S) & (frame.b <= 512) & (frame.heads >= 8)]
        return fastest(frame, ["b", "S", "heads"])

    return newest(gpu, "mla", ENGINES[engine], name, select)


def experts(gpu: str, engine: str, dtype: str) -> Found | None:
    """m, h, f, E, k, tp, ep of gated experts, tokens choosing by a power law of 1.2; at least two experts a token."""

    def select(rows: pd.DataFrame) -> pd.DataFrame:
        names = {"num_tokens": "m", "hidden_size": "h", "inter_size": "f", "topk": "k", "num_experts": "E"}
        frame = rows.rename(columns={**names, "moe_tp_size": "tp", "moe_ep_size": "ep"})
        frame = frame[(frame.moe_dtype == EXPERT_DTYPES[dtype]) & (frame.distribution == "power_law_1.2")]
        frame = frame[~frame.kernel_source.str.contains("nongated") & (frame.k >= 2)]
        frame = frame[(frame.tp <= 8) & (frame.ep <= 16) & (frame.f >= 128 * frame.tp)]
        return fastest(frame, ["m", "h", "f", "k", "E", "tp", "ep"])

    return newest(gpu, "moe", ENGINES[engine], "moe", select)


def all_reduce(gpu: str, engine: str, ranks: int) -> Found | None:
    """bytes of 16-bit messages, under CUDA graphs where the table tells."""

    def select(rows: pd.DataFrame) -> pd.DataFrame:
        frame = rows[rows.num_gpus == ranks]
        if frame.kernel_source.str.contains("graph").any():
            frame = frame[frame.kernel_source.str.contains("graph")]
        frame = frame.assign(bytes=2 * frame.message_size)
        return fastest(frame[frame.bytes <= 2**28], ["bytes"])

    return newest(gpu, "comm", ENGINES[engine], "custom_allreduce", select)


def gather(gpu: str, ranks: int) -> Found | None:
    """bytes of NCCL gathers and scatters of 16-bit elements."""

    def select(rows: pd.DataFrame) -> pd.DataFrame:
        frame = rows[(rows.num_gpus == ranks) & (rows.nccl_dtype == "half")]
        frame = frame[frame.op_name.isin(["all_gather", "reduce_scatter"])].assign(bytes=2 * frame.message_size)
        return frame.groupby(["bytes"], as_index=False).seconds.mean()

    return newest(gpu, "comm", "nccl", "nccl", select)


def recurrent(gpu: str, engine: str, kind: str, phase: str) -> Found | None:
    """b, tokens and the state's shape; the kernels of a phase (convolution and recurrence) added up."""
    op, name = {
        "gdn": ("linear_attention", "gdn"),
        "kda": ("kda", "kda"),
        "mamba2": ("linear_attention", "mamba2"),
    }[kind]

    def select(rows: pd.DataFrame) -> pd.DataFrame:
        frame = rows[rows.phase == phase]
        if kind == "mamba2":
            names = {"nheads": "heads", "n_groups": "groups", "d_state": "state_dim"}
            shape = ["b", "tokens", "heads", "groups", "state_dim", "head_dim"]
        else:
            names = {
                "num_v_heads": "heads",
                "num_k_heads": "groups",
                "head_k_dim": "state_dim",
                "head_v_dim": "head_dim",
            }
            shape = ["b", "tokens", "heads", "groups", "state_dim", "head_dim"]
        frame = frame.rename(columns={**names, "batch_size": "b", "num_tokens": "tokens"})
        parts = frame.assign(conv=frame.kernel_source.str.contains("conv1d"))
        parts = parts.groupby([*shape, "conv"], as_index=False).seconds.min()
        both = parts.groupby(shape).filter(lambda rows: len(rows) == 2)
        return both.groupby(shape, as_index=False).seconds.sum()

    return newest(gpu, op, ENGINES[engine], name, select)
