"""One least-squares fit for each kernel family, with the planner's own formulas."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import tables
from scipy.optimize import least_squares

from planner.catalog import load_gpu
from planner.catalog.types import GpuFacts, StateKv
from planner.performance.roofline.attention import (
    DecodeConstants,
    PrefillConstants,
    decode_attention_s,
    prefill_attention_s,
)
from planner.performance.roofline.collective import AllReduceConstants, TransferConstants, all_reduce_s, transfer_s
from planner.performance.roofline.experts import ExpertConstants, ExpertShape, experts_s
from planner.performance.roofline.gemm import GemmConstants, gemm_rates, gemm_s
from planner.performance.roofline.rates import matrix_rates
from planner.performance.roofline.recurrent import state_traffic

ROWS = 4000
"""Rows that a fit sees at most, drawn with a fixed seed."""
LAUNCH_BOUND_US = 60.0
"""Tables whose rows start here were measured without CUDA graphs: they time the processor, not the kernel."""
UNUSABLE_PCT = 60.0
"""Kernels that the formula does not describe: those of another engine answer instead."""
HEAD_DIMS = (64, 128, 256)
US, NS = 1e-6, 1e-9


@dataclass(frozen=True)
class Fit:
    """Constants of one kernel family; times in us, per-element times in ns."""

    gpu: str
    engine: str
    op: str
    dtype: str
    table: str
    rows: int
    mean_pct: float
    p90_pct: float
    constants: dict[str, float]


Predict = Callable[[np.ndarray, pd.DataFrame], np.ndarray]
Start = dict[str, tuple[float, float, float]]
"""Name of a constant: start, least, most."""


def solve(
    predict: Predict, start: Start, frame: pd.DataFrame, groups: list[str] | None
) -> tuple[dict[str, float], float, float]:
    """Constants from all rows; mean and 90 % point of the errors that a fit to the training groups makes on the others.

    Without groups (a curve of one variable) the errors are those on the fitted rows.
    """
    train, test = split(frame, groups) if groups else (frame, frame)
    found = _least_squares(predict, start, train)
    errors = np.abs(predict(found, test) / test.seconds.to_numpy() - 1)
    final = _least_squares(predict, start, frame) if groups else found
    constants = {name: float(f"{value:.4g}") for name, value in zip(start, final, strict=True)}
    return constants, float(100 * errors.mean()), float(100 * np.quantile(errors, 0.9))


def _least_squares(predict: Predict, start: Start, frame: pd.DataFrame) -> np.ndarray:
    """Least squares of the log ratio, outliers counting linearly."""
    if len(frame) > ROWS:
        frame = frame.sample(ROWS, random_state=1)
    first, low, high = (np.array([start[name][i] for name in start]) for i in range(3))
    seconds = frame.seconds.to_numpy()
    found = least_squares(
        lambda x: np.log(predict(x, frame) / seconds),
        first,
        bounds=(low, high),
        loss="soft_l1",
        f_scale=0.1,
        x_scale=np.maximum(np.abs(first), 0.1),
    )
    return np.where(found.x < 1e-6, 0.0, found.x)


def split(frame: pd.DataFrame, groups: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """60 % of the groups and the rest, by a checksum of the group's shape."""
    keys = frame[groups].astype(str).agg("/".join, axis=1)
    held = keys.map(lambda key: zlib.crc32(key.encode()) % 5 < 2)
    if held.all() or not held.any():
        return frame, frame
    return frame[~held], frame[held]


def fit_gpu(gpu_id: str) -> Iterator[Fit]:
    """All kernel families of one GPU."""
    gpu = load_gpu(gpu_id)
    assert gpu is not None
    for engine in tables.ENGINES:
        yield from _gemms(gpu, engine)
        yield from _attention(gpu, engine)
        yield from _latent(gpu, engine)
        yield from _experts(gpu, engine)
        yield from _all_reduce(gpu, engine)
        yield from _recurrent(gpu, engine)
    yield from _gathers(gpu)


def _one(
    gpu: GpuFacts,
    engine: str,
    op: str,
    dtype: str,
    found: tuple[pd.DataFrame, str] | None,
    predict: Predict,
    start: Start,
    groups: list[str] | None,
    least_rows: int = 40,
) -> Iterator[Fit]:
    if found is None or len(found[0]) < least_rows:
        return
    constants, mean, p90 = solve(predict, start, found[0], groups)
    if constants.get("t0_us", 0.0) > LAUNCH_BOUND_US:
        _say(f"{gpu.id} {engine} {op} {dtype}: left out, bound by launches of {constants['t0_us']} us")
        return
    if mean > UNUSABLE_PCT:
        _say(f"{gpu.id} {engine} {op} {dtype}: left out, held-out error of {mean:.0f} %")
        return
    fit = Fit(gpu.id, engine, op, dtype, found[1], len(found[0]), round(mean, 1), round(p90, 1), constants)
    _say(f"{gpu.id} {engine} {op} {dtype}: {fit.mean_pct} % (p90 {fit.p90_pct} %), {fit.rows} rows {constants}")
    yield fit


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


GEMM_START: Start = {
    "e_c": (0.8, 0.05, 1.3),
    "e_m": (0.85, 0.05, 1.5),
    "p": (2.5, 0.8, 8.0),
    "t0_us": (4.0, 0.0, 100.0),
    "inner_ns": (0.3, 0.0, 30.0),
    "inputs": (2.0, 0.0, 30.0),
    "outputs": (2.0, 0.0, 30.0),
}


def _gemm_constants(x: np.ndarray) -> GemmConstants:
    return GemmConstants(x[0], x[1], x[2], x[3] * US, x[4] * NS, x[5], x[6])


def _gemms(gpu: GpuFacts, engine: str) -> Iterator[Fit]:
    for dtype in tables.GEMM_DTYPES:
        flops, weight_bytes = matrix_rates(gpu, dtype)
        if not flops:
            continue

        def predict(x: np.ndarray, q: pd.DataFrame, flops: float = flops, size: float = weight_bytes) -> np.ndarray:
            rates = gemm_rates(_gemm_constants(x), flops, gpu.bandwidth_bytes_per_s, size)
            return gemm_s(q.m.to_numpy(), q.n.to_numpy(), q.k.to_numpy(), rates)

        yield from _one(gpu, engine, "gemm", dtype, tables.gemm(gpu.id, engine, dtype), predict, GEMM_START, ["n", "k"])


DECODE_START: Start = {
    "e_kv": (0.85, 0.05, 1.3),
    "t0_us": (12.0, 0.0, 200.0),
    "head_ns": (2.0, 0.0, 100.0),
    "token_ns": (0.2, 0.0, 50.0),
}
PREFILL_START: Start = {"e_c": (0.65, 0.02, 2.5), "ramp": (1000.0, 0.0, 10000.0), "t0_us": (12.0, 0.0, 300.0)}


def _decode_constants(x: np.ndarray) -> DecodeConstants:
    return DecodeConstants(x[0], x[1] * US, x[2] * NS, x[3] * NS, x[4] if len(x) > 4 else 0.0)


def _attention(gpu: GpuFacts, engine: str) -> Iterator[Fit]:
    for dtype, element in (("bf16", 2), ("fp8", 1)):
        for size in HEAD_DIMS:

            def decode(x: np.ndarray, q: pd.DataFrame, size: int = size, element: int = element) -> np.ndarray:
                read = 2 * q.nk.to_numpy() * size * element
                flops = 4 * q.nq.to_numpy() * size
                args = q.b.to_numpy(), q.S.to_numpy(), q.nq.to_numpy(), read, flops, _decode_constants(x)
                return decode_attention_s(*args, gpu.bandwidth_bytes_per_s, gpu.bf16_flops)

            def prefill(x: np.ndarray, q: pd.DataFrame, size: int = size) -> np.ndarray:
                length = q.isl.to_numpy()
                constants = PrefillConstants(x[0], x[1], x[2] * US)
                flops = 4 * q.nq.to_numpy() * size
                return prefill_attention_s(
                    length, q.b.to_numpy() * length**2 / 2, length, flops, constants, gpu.bf16_flops
                )

            found = tables.decode(gpu.id, engine, dtype, size)
            yield from _one(gpu, engine, "decode", f"{dtype}/{size}", found, decode, DECODE_START, ["nq", "nk"])
            found = tables.prefill(gpu.id, engine, dtype, size)
            yield from _one(gpu, engine, "prefill", f"{dtype}/{size}", found, prefill, PREFILL_START, ["nq", "nk"])


LATENT_WIDTH, LATENT_VALUES, QK_DIM, V_DIM = 576, 512, 192, 128
"""Latent attention of DeepSeek-V3, which all tables are of."""


def _latent(gpu: GpuFacts, engine: str) -> Iterator[Fit]:
    for dtype, element in (("bf16", 2), ("fp8", 1)):

        def decode(x: np.ndarray, q: pd.DataFrame, element: int = element) -> np.ndarray:
            heads = q.heads.to_numpy()
            flops = 2 * heads * (LATENT_WIDTH + LATENT_VALUES)
            args = q.b.to_numpy(), q.S.to_numpy(), heads, LATENT_WIDTH * element, flops, _decode_constants(x)
            return decode_attention_s(*args, gpu.bandwidth_bytes_per_s, gpu.bf16_flops)

        def prefill(x: np.ndarray, q: pd.DataFrame) -> np.ndarray:
            length, heads = q.S.to_numpy(), q.heads.to_numpy()
            constants = PrefillConstants(x[0], x[1], x[2] * US)
            flops = 2 * heads * (QK_DIM + V_DIM)
            return prefill_attention_s(length, q.b.to_numpy() * length**2 / 2, length, flops, constants, gpu.bf16_flops)

        start = {**DECODE_START, "e_c": (0.5, 0.02, 2.5)}
        found = tables.latent(gpu.id, engine, dtype, "generation")
        if found is not None and engine == "vllm":
            found = _without_matrices(gpu, found, "generation")
        yield from _one(gpu, engine, "latent_decode", dtype, found, decode, start, ["heads"])
        found = tables.latent(gpu.id, engine, dtype, "context")
        if found is not None and engine == "vllm":
            found = _without_matrices(gpu, found, "context")
        yield from _one(gpu, engine, "latent_prefill", dtype, found, prefill, PREFILL_START, ["heads"])


def _without_matrices(gpu: GpuFacts, found: tuple[pd.DataFrame, str], phase: str) -> tuple[pd.DataFrame, str] | None:
    """Rows of whole modules less the matrices of the module, in bf16, as the planner times them."""
    matrices = tables.gemm(gpu.id, "vllm", "bf16")
    if matrices is None:
        return None
    flops, size = matrix_rates(gpu, "bf16")

    def predict(x: np.ndarray, q: pd.DataFrame) -> np.ndarray:
        rates = gemm_rates(_gemm_constants(x), flops, gpu.bandwidth_bytes_per_s, size)
        return gemm_s(q.m.to_numpy(), q.n.to_numpy(), q.k.to_numpy(), rates)

    constants, *_ = solve(predict, GEMM_START, matrices[0], ["n", "k"])
    rates = gemm_rates(_gemm_constants(np.array(list(constants.values()))), flops, gpu.bandwidth_bytes_per_s, size)
    frame = found[0]
    tokens = (frame.b * (frame.S if phase == "context" else 1)).to_numpy()
    heads = frame.heads.to_numpy()
    spent = gemm_s(tokens, 1536 + LATENT_WIDTH, 7168, rates) + gemm_s(tokens, heads * QK_DIM, 1536, rates)
    spent += gemm_s(tokens, 7168, heads * V_DIM, rates) + gemm_s(tokens, heads * 256, LATENT_VALUES, rates)
    rest = frame.assign(seconds=np.maximum(frame.seconds - spent, 0.15 * frame.seconds))
    return rest, found[1]


EXPERT_START: Start = {
    "e_c": (0.7, 0.02, 1.3),
    "e_m": (0.8, 0.02, 1.5),
    "p": (2.0, 0.8, 8.0),
    "t0_us": (15.0, 0.0, 400.0),
    "inner_ns": (0.5, 0.0, 30.0),
    "traffic": (2.0, 0.0, 30.0),
    "tile": (8.0, 0.0, 200.0),
    "expert_ns": (10.0, 0.0, 1000.0),
    "spread": (0.8, 0.3, 1.2),
    "hot": (0.2, 0.0, 3.0),
}


def _experts(gpu: GpuFacts, engine: str) -> Iterator[Fit]:
    for dtype in tables.EXPERT_DTYPES:
        flops, weight_bytes = matrix_rates(gpu, dtype)
        if not flops:
            continue

        def predict(x: np.ndarray, q: pd.DataFrame, flops: float = flops, size: float = weight_bytes) -> np.ndarray:
            shape = ExpertShape(
                q.E.to_numpy(), q.k.to_numpy(), q.h.to_numpy(), (q.f / q.tp).to_numpy(), q.ep.to_numpy()
            )
            c = ExpertConstants(x[0], x[1], x[2], x[3] * US, x[4] * NS, x[5], x[6], x[7] * NS, x[8], x[9])
            return experts_s(q.m.to_numpy(), shape, c, flops, gpu.bandwidth_bytes_per_s, size)

        found = tables.experts(gpu.id, engine, dtype)
        yield from _one(gpu, engine, "experts", dtype, found, predict, EXPERT_START, ["h", "f", "E", "k"])


ALL_REDUCE_START: Start = {
    "alpha_us": (5.0, 0.5, 100.0),
    "e1": (0.5, 0.002, 1.5),
    "beta_us": (30.0, 1.0, 500.0),
    "e2": (0.75, 0.002, 1.5),
}


def _all_reduce(gpu: GpuFacts, engine: str) -> Iterator[Fit]:
    for ranks in (2, 4, 8):

        def predict(x: np.ndarray, q: pd.DataFrame, ranks: int = ranks) -> np.ndarray:
            constants = AllReduceConstants(x[0] * US, x[1], x[2] * US, x[3])
            return all_reduce_s(q.bytes.to_numpy(dtype=float), ranks, constants, gpu.link_bytes_per_s)

        found = tables.all_reduce(gpu.id, engine, ranks)
        yield from _one(gpu, engine, "all_reduce", f"tp{ranks}", found, predict, ALL_REDUCE_START, None, least_rows=10)


def _gathers(gpu: GpuFacts) -> Iterator[Fit]:
    for ranks in (2, 4, 8):

        def predict(x: np.ndarray, q: pd.DataFrame, ranks: int = ranks) -> np.ndarray:
            constants = TransferConstants(x[0] * US, x[1])
            return transfer_s((ranks - 1) / ranks * q.bytes.to_numpy(dtype=float), constants, gpu.link_bytes_per_s)

        start: Start = {"t0_us": (8.0, 0.5, 200.0), "e": (0.6, 0.002, 1.5)}
        yield from _one(
            gpu, "nccl", "gather", f"tp{ranks}", tables.gather(gpu.id, ranks), predict, start, None, least_rows=10
        )


def _recurrent(gpu: GpuFacts, engine: str) -> Iterator[Fit]:
    for kind in ("gdn", "kda", "mamba2"):
        for phase, op in (("generation", "recurrent_decode"), ("context", "recurrent_scan")):

            def predict(
                x: np.ndarray, q: pd.DataFrame, kind: str = kind, decode: bool = phase == "generation"
            ) -> np.ndarray:
                sizes = [
                    state_traffic(StateKv(kind, h, d, s, g, 4, 4), 1)[0 if decode else 1]  # type: ignore[arg-type]
                    for h, d, s, g in zip(q.heads, q.head_dim, q.state_dim, q.groups, strict=True)
                ]
                count = q.b if decode else q.tokens
                return x[1] * US + count.to_numpy() * np.array(sizes) / (x[0] * gpu.bandwidth_bytes_per_s)

            start: Start = {"e": (0.5, 0.005, 3.0), "t0_us": (10.0, 0.0, 500.0)}
            found = tables.recurrent(gpu.id, engine, kind, phase)
            yield from _one(gpu, engine, op, kind, found, predict, start, ["heads", "groups"])
