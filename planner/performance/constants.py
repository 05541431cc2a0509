"""The fitted constants of the roofline, read from `roofline_constants.json`, and who may use whose.

A GPU that was measured has its own row. Another one inherits the row of its architecture, with its own peak
rates, and its all-reduce constants from a GPU with the same kind of link; all of this is flagged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from planner.catalog.types import Bottleneck, GpuFacts, Refusal

PCIE_LINK_BYTES_PER_S = 64 * 10**9
"""One-way rate of PCIe 5.0 x16: up to here a link is PCIe, whose all-reduce is not like that of NVLink."""

PCIE_REFERENCE = "l40s-48gb"
"""The measured GPU without NVLink."""


@dataclass(frozen=True)
class GemmConstants:
    """Achieved fractions of peak FLOP/s and bandwidth, launch time, and how sharply the two limits meet."""

    compute_fraction: float
    memory_fraction: float
    fixed_s: float
    exponent: float


@dataclass(frozen=True)
class DecodeConstants:
    """Decode attention: fraction of bandwidth, launch time, and time per sequence and query head."""

    memory_fraction: float
    fixed_s: float
    per_head_s: float


@dataclass(frozen=True)
class PrefillConstants:
    """Prefill attention: fraction of peak FLOP/s, length at half speed, launch time."""

    compute_fraction: float
    ramp_tokens: float
    fixed_s: float


@dataclass(frozen=True)
class AllReduceConstants:
    """Two protocols, the faster one runs: latency in seconds and fraction of the link for each."""

    low_latency_s: float
    low_latency_fraction: float
    bulk_s: float
    bulk_fraction: float


@dataclass(frozen=True)
class GpuConstants:
    """What the roofline knows about a GPU. Rates in FLOP/s and bytes/s; None where nothing was measured."""

    reference: str
    kernel_tables: str
    bf16_flops: float
    fp8_flops: float | None
    bandwidth_bytes_per_s: float
    link_bytes_per_s: float
    gemm_bf16: GemmConstants
    gemm_fp8: GemmConstants | None
    decode_bf16: DecodeConstants
    decode_fp8: DecodeConstants | None
    prefill: PrefillConstants
    all_reduce: Mapping[int, AllReduceConstants]
    estimated: tuple[str, ...] = ()


def constants_for(gpu: GpuFacts) -> GpuConstants | Refusal:
    """Constants of a GPU: its own, or its architecture's with its own rates, flagged; else a refusal."""
    rows = _rows()
    if gpu.id in rows:
        return rows[gpu.id][0]
    relative = next((row for row, architecture in rows.values() if architecture == gpu.architecture), None)
    if relative is None:
        architectures = sorted(architecture for _, architecture in rows.values() if architecture)
        return Refusal(
            Bottleneck.GPU,
            f"no latency figures for {gpu.id}: the roofline provider covers {', '.join(sorted(rows))}, "
            f"and other GPUs of the architectures {', '.join(architectures)}",
            nearest=", ".join(sorted(rows)),
        )
    return _inherit(gpu, relative, rows[PCIE_REFERENCE][0])


def _inherit(gpu: GpuFacts, relative: GpuConstants, pcie: GpuConstants) -> GpuConstants:
    same_link = (gpu.link_bytes_per_s <= PCIE_LINK_BYTES_PER_S) == (relative.link_bytes_per_s <= PCIE_LINK_BYTES_PER_S)
    link_from = relative if same_link else pcie
    notes = [f"{gpu.id} was not measured: kernel constants of {relative.reference} at its own peak rates"]
    if not same_link:
        notes.append(f"{gpu.id} has no NVLink: all-reduce constants of {pcie.reference}")
    has_fp8 = gpu.fp8_flops > 0
    return GpuConstants(
        reference=relative.reference,
        kernel_tables=relative.kernel_tables,
        bf16_flops=float(gpu.bf16_flops),
        fp8_flops=float(gpu.fp8_flops) if has_fp8 else None,
        bandwidth_bytes_per_s=float(gpu.bandwidth_bytes_per_s),
        link_bytes_per_s=float(gpu.link_bytes_per_s),
        gemm_bf16=relative.gemm_bf16,
        gemm_fp8=relative.gemm_fp8 if has_fp8 else None,
        decode_bf16=relative.decode_bf16,
        decode_fp8=relative.decode_fp8,
        prefill=relative.prefill,
        all_reduce=link_from.all_reduce,
        estimated=tuple(notes),
    )


@cache
def _rows() -> dict[str, tuple[GpuConstants, str | None]]:
    """Measured GPUs, each with the architecture it stands for (None: another GPU of it does)."""
    text = files("planner.performance").joinpath("roofline_constants.json").read_text(encoding="utf-8")
    return {name: (_row(name, raw), raw["stands_for"]) for name, raw in json.loads(text)["gpus"].items()}


def _row(name: str, raw: dict[str, dict[str, float]]) -> GpuConstants:
    rates: Mapping[str, object] = raw
    fp8 = rates["fp8_tflops"]
    return GpuConstants(
        reference=name,
        kernel_tables=str(rates["kernel_tables"]),
        bf16_flops=_number(rates["bf16_tflops"]) * 1e12,
        fp8_flops=None if fp8 is None else _number(fp8) * 1e12,
        bandwidth_bytes_per_s=_number(rates["bandwidth_gb_per_s"]) * 1e9,
        link_bytes_per_s=_number(rates["link_gb_per_s"]) * 1e9,
        gemm_bf16=_gemm(raw["gemm_bf16"]),
        gemm_fp8=_gemm(raw["gemm_fp8"]) if raw["gemm_fp8"] else None,
        decode_bf16=_decode(raw["decode_bf16"]),
        decode_fp8=_decode(raw["decode_fp8"]) if raw["decode_fp8"] else None,
        prefill=PrefillConstants(raw["prefill"]["e_pa"], raw["prefill"]["s0"], raw["prefill"]["t0_us"] * 1e-6),
        all_reduce={int(tp): _all_reduce(one) for tp, one in _nested(rates["all_reduce"]).items()},
    )


def _gemm(raw: dict[str, float]) -> GemmConstants:
    return GemmConstants(raw["e_c"], raw["e_m"], raw["t0_us"] * 1e-6, raw["p"])


def _decode(raw: dict[str, float]) -> DecodeConstants:
    return DecodeConstants(raw["e_kv"], raw["t0_us"] * 1e-6, raw["c_ns"] * 1e-9)


def _all_reduce(raw: Mapping[str, float]) -> AllReduceConstants:
    return AllReduceConstants(raw["alpha_us"] * 1e-6, raw["e1"], raw["beta_us"] * 1e-6, raw["e2"])


def _number(value: object) -> float:
    if not isinstance(value, (int, float)):
        raise TypeError(f"Expected a number in roofline_constants.json, read {value!r}.")
    return float(value)


def _nested(value: object) -> dict[str, dict[str, float]]:
    if not isinstance(value, dict):
        raise TypeError(f"Expected a table in roofline_constants.json, read {value!r}.")
    return value
