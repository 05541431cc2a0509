"""Routed experts: a grouped multiplication that reads the experts which the tokens of a step touch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.performance.provider import FloatArray, Quantity


@dataclass(frozen=True)
class ExpertConstants:
    """What a grouped kernel reaches, routing and combination included.

    `compute_fraction`, `memory_fraction`, `exponent`, `fixed_s`, `inner_s` and `traffic` are as in `GemmConstants`
    (one traffic for inputs, outputs and the activation between). `tile_tokens` are the tokens that a touched expert
    computes for nothing, `expert_s` its bookkeeping. `spread` < 1 is how unevenly tokens choose: m tokens touch as
    many experts as `spread` m even ones; `hot` is what the busiest rank does beyond its share where experts are
    whole.
    """

    compute_fraction: float
    memory_fraction: float
    exponent: float
    fixed_s: float
    inner_s: float
    traffic: float
    tile_tokens: float
    expert_s: float
    spread: float
    hot: float


@dataclass(frozen=True)
class ExpertShape:
    """Experts of one layer on one rank: `local` whole experts or slices of `width` columns."""

    experts: Quantity
    per_token: Quantity
    hidden: Quantity
    width: Quantity
    """Columns of the inner matrix on this rank."""
    ranks: Quantity = 1
    """Ranks that hold different whole experts (1: every rank has a slice of all)."""
    matrices: int = 3
    """Matrices of an expert: gate, up and down; 2 without a gate."""


def touched_experts(tokens: Quantity, shape: ExpertShape, spread: float = 1.0) -> FloatArray:
    """Expected experts of a rank that m tokens touch: (E / ranks) (1 - (1 - k / E)^(spread m)).

    Source: occupancy of E cells by m draws of k without replacement; skew as an effective number of draws.

    >>> f"{float(touched_experts(16, ExpertShape(128, 8, 4096, 1536))):.1f} of 128"  # Qwen3-235B, 16 tokens
    '82.4 of 128'
    """
    m = np.asarray(tokens, dtype=np.float64)
    share = np.minimum(np.divide(shape.per_token, shape.experts), 1 - 1e-9)
    least = np.minimum(1.0, np.divide(shape.per_token, shape.ranks)) * np.minimum(m, 1.0)
    touched = np.divide(shape.experts, shape.ranks) * (1 - (1 - share) ** (spread * m))
    return np.asarray(np.maximum(touched, least))


def experts_s(
    tokens: Quantity,
    shape: ExpertShape,
    constants: ExpertConstants,
    flops_per_s: float,
    bandwidth_bytes_per_s: float,
    weight_bytes: float,
) -> FloatArray:
    """Seconds of the routed experts of one layer on the busiest rank; 0 for no tokens.

    (Tc^p + Tw^p)^(1/p) + t0 + a (h + f) + x U + traffic, with U touched experts, A = m k / ranks (1 + hot (1 - 1 /
    ranks)) rows, Tc = 2 g (A + tile U) h f / (e_c F), Tw = U g h f bytes / (e_w B), g matrices of an expert.
    """
    m = np.asarray(tokens, dtype=np.float64)
    touched = touched_experts(m, shape, constants.spread)
    busiest = 1 + constants.hot * (1 - 1 / np.asarray(shape.ranks, dtype=np.float64))
    rows = m * np.divide(shape.per_token, shape.ranks) * busiest
    weights = shape.matrices * np.multiply(shape.hidden, shape.width)
    compute = 2 * (rows + constants.tile_tokens * touched) * weights / (constants.compute_fraction * flops_per_s)
    read = touched * weights * weight_bytes / (constants.memory_fraction * bandwidth_bytes_per_s)
    larger = np.maximum(np.maximum(compute, read), 1e-12)
    met = larger * (1 + (np.minimum(compute, read) / larger) ** constants.exponent) ** (1 / constants.exponent)
    sides = np.add(shape.hidden, shape.width)
    moved = rows * (2 * np.asarray(shape.hidden) + shape.matrices * np.asarray(shape.width))
    traffic = constants.traffic * moved / bandwidth_bytes_per_s
    fixed = constants.fixed_s + constants.inner_s * sides + constants.expert_s * touched
    return np.where(m > 0, met + fixed + traffic, 0.0)
