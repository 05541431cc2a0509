"""Matrix multiplications: how long a rank takes to multiply m tokens by a matrix of its weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.performance.provider import FloatArray, Quantity


@dataclass(frozen=True)
class GemmConstants:
    """What a kernel family reaches on one GPU.

    Fractions are of the GPU's peak rates. `exponent` says how sharply compute and weight reads meet: large, and the
    slower one hides the other. `inner_s` is the pass of one tile over the inner dimension, which nothing hides when
    the matrix has few tiles. The traffics count bytes that inputs and outputs of a token cost for each of their
    elements, in units of peak bandwidth: converting activations to fp8 is in the former.
    """

    compute_fraction: float
    memory_fraction: float
    exponent: float
    fixed_s: float
    inner_s: float
    input_traffic: float
    output_traffic: float


@dataclass(frozen=True)
class GemmRates:
    """Constants times the rates of a GPU: numbers of one kernel family, or arrays with one entry for each matrix."""

    flops_per_s: Quantity
    weight_bytes_per_s: Quantity
    exponent: Quantity
    fixed_s: Quantity
    inner_s: Quantity
    input_s_per_element: Quantity
    output_s_per_element: Quantity
    weight_bytes: Quantity


def gemm_rates(
    constants: GemmConstants, flops_per_s: float, bandwidth_bytes_per_s: float, weight_bytes: float
) -> GemmRates:
    """What the constants mean on a GPU, for weights of so many bytes an element."""
    return GemmRates(
        flops_per_s=constants.compute_fraction * flops_per_s,
        weight_bytes_per_s=constants.memory_fraction * bandwidth_bytes_per_s,
        exponent=constants.exponent,
        fixed_s=constants.fixed_s,
        inner_s=constants.inner_s,
        input_s_per_element=constants.input_traffic / bandwidth_bytes_per_s,
        output_s_per_element=constants.output_traffic / bandwidth_bytes_per_s,
        weight_bytes=weight_bytes,
    )


def gemm_s(tokens: Quantity, columns: Quantity, inner: Quantity, rates: GemmRates) -> FloatArray:
    """Seconds to multiply (tokens x inner) by (inner x columns); 0 for no tokens.

    (Tc^p + Tw^p)^(1/p) + t0 + a inner + (i tokens inner + o tokens columns) / B with Tc = 2 tokens columns inner /
    (e_c F) and Tw = columns inner bytes / (e_w B).
    Source: roofline model (Williams et al., CACM 2009); constants in `roofline_constants.json`.

    >>> exact = GemmRates(1e15, 4e12, 8.0, 5e-6, 0.0, 0.0, 0.0, 2.0)  # an ideal GPU with 5 us a launch
    >>> f"{float(gemm_s(1, 8192, 8192, exact)) * 1e6:.1f} us"  # 134 MB at 4 TB/s, and the launch
    '38.6 us'
    """
    m = np.asarray(tokens, dtype=np.float64)
    p = np.asarray(rates.exponent)
    area = np.multiply(columns, inner)
    compute = 2 * m * area / rates.flops_per_s
    weights = area * np.asarray(rates.weight_bytes) / rates.weight_bytes_per_s
    larger = np.maximum(compute, weights)
    met = larger * (1 + (np.minimum(compute, weights) / larger) ** p) ** (1 / p)
    fixed = rates.fixed_s + np.multiply(inner, rates.inner_s)
    traffic = m * (np.multiply(inner, rates.input_s_per_element) + np.multiply(columns, rates.output_s_per_element))
    return np.where(m > 0, met + fixed + traffic, 0.0)
