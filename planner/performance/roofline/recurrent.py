"""Recurrent layers: a state per sequence that every decoded token reads and writes, and a scan over a prompt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.catalog.types import StateKv
from planner.performance.provider import FloatArray, Quantity


@dataclass(frozen=True)
class RecurrentConstants:
    """Fraction of bandwidth for states and for the tokens of a scan, and the launches of both."""

    state_fraction: float
    decode_fixed_s: float
    scan_fraction: float
    scan_fixed_s: float


def recurrent_s(
    batch: Quantity,
    new_tokens: Quantity,
    kind: StateKv,
    ranks: int,
    constants: RecurrentConstants,
    bandwidth_bytes_per_s: float,
) -> FloatArray:
    """Seconds of one layer on one rank: decoding, and the scan over new tokens.

    Decode: t0 + 2 b state_bytes / (e B): the state is read and written. Scan: t1 + tokens width state_dim / 64 *
    element bytes / (e' B): a scan keeps partial states of blocks of 64 tokens.
    """
    sequences, tokens = np.asarray(batch, dtype=np.float64), np.asarray(new_tokens, dtype=np.float64)
    state_bytes, scan_bytes = state_traffic(kind, ranks)
    decode = constants.decode_fixed_s + sequences * state_bytes / (constants.state_fraction * bandwidth_bytes_per_s)
    scan = constants.scan_fixed_s + tokens * scan_bytes / (constants.scan_fraction * bandwidth_bytes_per_s)
    return np.where(sequences > 0, decode, 0.0) + np.where(tokens > 0, scan, 0.0)


def state_traffic(kind: StateKv, ranks: int) -> tuple[float, float]:
    """Bytes that a decoded token moves (the state, twice), and a token of a scan (inputs, outputs, its share of
    partial states)."""
    width = kind.heads * kind.head_dim / ranks
    inputs = (2 * width + 2 * kind.groups * kind.state_dim / ranks) * 2
    state = width * max(kind.state_dim, 1) * kind.state_element_bytes
    return 2 * state + inputs, 2 * inputs + 2 * state / 64
