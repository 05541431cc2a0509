"""GPU facts: what CUDA reports as total memory, dense peak rates, one-way link bandwidth, power."""

from __future__ import annotations

from fractions import Fraction

from planner.catalog.files import Json, data_rows
from planner.catalog.types import GpuFacts

_GIB = 2**30
_DRIVER_SHARE = Fraction(99, 100)
"""CUDA reports about 1 % less than the driver where no log gives the figure (the driver keeps that part)."""


def gpu_ids() -> tuple[str, ...]:
    """The ids of all GPUs of the catalog, sorted."""
    return tuple(sorted(data_rows("gpus.yaml")))


def load_gpu(gpu_id: str) -> GpuFacts | None:
    """Facts of one GPU, or None when the catalog does not have it.

    >>> load_gpu("h100-sxm-80gb").memory_bytes / 2**30  # doctest: +ELLIPSIS
    79.18999...
    """
    row = data_rows("gpus.yaml").get(gpu_id)
    return None if row is None else _facts(gpu_id, row)


def _facts(gpu_id: str, row: dict[str, Json]) -> GpuFacts:
    cuda_gib = row.get("cuda_gib")
    if cuda_gib is None:
        memory_bytes = int(_number(row, "driver_mib") * 2**20 * _DRIVER_SHARE)
    else:
        memory_bytes = int(Fraction(str(cuda_gib)) * _GIB)
    memory_estimated = cuda_gib is None or bool(row.get("cuda_gib_estimated"))
    unchecked = row.get("unchecked") or []
    names = [str(name) for name in unchecked] if isinstance(unchecked, list) else []
    return GpuFacts(
        id=gpu_id,
        vendor=str(row["vendor"]),
        architecture=str(row["architecture"]),
        memory_bytes=memory_bytes,
        memory_estimated=memory_estimated,
        bandwidth_bytes_per_s=int(_number(row, "bandwidth_gb_s") * 10**9),
        bf16_flops=int(_number(row, "bf16_tflops") * 10**12),
        fp8_flops=int(_number(row, "fp8_tflops") * 10**12),
        link_bytes_per_s=int(_number(row, "link_gb_s") * 10**9),
        tdp_w=int(_number(row, "tdp_w")),
        compute_capability=str(row["compute_capability"]),
        source=str(row["source"]),
        estimated=(("memory_bytes",) if memory_estimated else ()) + tuple(names),
        nvlink=bool(row["nvlink"]),
        driver_bytes=int(_number(row, "driver_mib") * 2**20),
        note=str(row.get("note", "")),
    )


def _number(row: dict[str, Json], key: str) -> Fraction:
    return Fraction(str(row[key]))
