"""Communication inside a replica, and the elementwise kernels between the matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.performance.provider import FloatArray

ELEMENTWISE_FIXED_S = 2e-6
"""Launch time of an elementwise kernel."""

ELEMENTWISE_BANDWIDTH_FRACTION = 0.8
"""Fraction of peak bandwidth that elementwise kernels reach."""


@dataclass(frozen=True)
class AllReduceConstants:
    """Two protocols, the faster one runs: latency in seconds and fraction of the link for each."""

    low_latency_s: float
    low_latency_fraction: float
    bulk_s: float
    bulk_fraction: float


@dataclass(frozen=True)
class TransferConstants:
    """A gather or scatter: latency in seconds and fraction of the link."""

    latency_s: float
    fraction: float


def all_reduce_s(
    message_bytes: FloatArray, ranks: int, constants: AllReduceConstants, link_bytes_per_s: float
) -> FloatArray:
    """min(alpha + w / (e1 N), beta + w / (e2 N)) with w = 2 (ranks - 1) / ranks * M on the wire."""
    wire = 2 * (ranks - 1) / ranks * message_bytes
    low_latency = constants.low_latency_s + wire / (constants.low_latency_fraction * link_bytes_per_s)
    bulk = constants.bulk_s + wire / (constants.bulk_fraction * link_bytes_per_s)
    return np.minimum(low_latency, bulk)


def transfer_s(wire_bytes: FloatArray, constants: TransferConstants, link_bytes_per_s: float) -> FloatArray:
    """alpha + w / (e N) with w bytes on the wire: (ranks - 1) / ranks of a gathered or scattered message."""
    return np.asarray(constants.latency_s + wire_bytes / (constants.fraction * link_bytes_per_s))


def elementwise_s(moved_bytes: FloatArray, bandwidth_bytes_per_s: float) -> FloatArray:
    """Seconds to read and write so many bytes: a launch, and the bytes at 80 % of peak bandwidth."""
    return np.asarray(ELEMENTWISE_FIXED_S + moved_bytes / (ELEMENTWISE_BANDWIDTH_FRACTION * bandwidth_bytes_per_s))
