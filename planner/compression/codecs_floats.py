"""Small float formats and the levels of a non-uniform quantizer."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

HALF_MAX = 65504.0
"""Largest finite fp16."""
E4M3_MAX = 448.0
"""Largest finite fp8 e4m3 (OCP 8-bit floating point, no infinities)."""
E2M1_MAX = 6.0
"""Largest fp4 e2m1."""
E2M1_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""The non-negative fp4 e2m1 numbers in the order of their codes (OCP Microscaling Formats 1.0)."""

_LLOYD_STEPS = 5000


def saturated(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Cast to a narrower float; what is too large becomes the largest finite number, as engines do."""
    largest = torch.finfo(dtype).max
    return x.clamp(-largest, largest).to(dtype)


def nearest_e2m1(x: Tensor) -> Tensor:
    """fp4 codes, sign in bit 3; ties go to the even code, as IEEE 754 rounds.

    >>> nearest_e2m1(torch.tensor([0.25, 0.75, -5.0, 9.0])).tolist()  # 0, 1, -4, 6
    [0, 2, 14, 7]
    """
    magnitude = x.abs()
    codes = torch.zeros(x.shape, dtype=torch.uint8)
    for code, (low, high) in enumerate(pairwise(E2M1_VALUES)):
        edge = (low + high) / 2
        codes += magnitude > edge if code % 2 == 0 else magnitude >= edge
    return codes + 8 * (x < 0)


def nearest_level(x: Tensor, levels: tuple[float, ...]) -> Tensor:
    """Index of the nearest of ascending levels; uint8. A few comparisons are faster than a search.

    >>> nearest_level(torch.tensor([-9.0, 0.4, 0.6]), (0.0, 1.0)).tolist()
    [0, 0, 1]
    """
    codes = torch.zeros(x.shape, dtype=torch.uint8)
    for low, high in pairwise(levels):
        codes += x > (low + high) / 2
    return codes


def value_of_e2m1(codes: Tensor) -> Tensor:
    """Numbers of fp4 codes, float32."""
    table = torch.tensor([*E2M1_VALUES, *(-value for value in E2M1_VALUES)])
    return table[codes.to(torch.int32)]


def power_of_two_above(x: Tensor) -> Tensor:
    """The exponent byte (bias 127) of the smallest power of two that is not below x; uint8.

    Rounding up keeps the largest element of a group within range.

    >>> power_of_two_above(torch.tensor([1.0, 1.5, 0.0])).tolist()
    [127, 128, 0]
    """
    mantissa, exponent = torch.frexp(x)
    exponent = torch.where(mantissa == 0.5, exponent - 1, exponent)
    return torch.where(x > 0, (exponent + 127).clamp(0, 254), 0).to(torch.uint8)


@cache
def lloyd_max(bits: int) -> tuple[float, ...]:
    """Levels of the scalar quantizer of least mean squared error for a standard normal variable.

    Alternately: edges halfway between levels; each level the mean of the normal density between its edges,
    (phi(a) - phi(b)) / (Phi(b) - Phi(a)). Six decimals, so that every platform has the same levels.
    Source: Max, "Quantizing for minimum distortion", IRE Transactions on Information Theory 6 (1960), table I.

    >>> [round(level, 4) for level in lloyd_max(2)]
    [-1.5104, -0.4528, 0.4528, 1.5104]
    """
    count = 1 << bits
    levels = [3 * (2 * place + 1 - count) / count for place in range(count)]
    for _ in range(_LLOYD_STEPS):
        edges = [-math.inf, *((low + high) / 2 for low, high in pairwise(levels)), math.inf]
        moved = [_mean_between(low, high) for low, high in pairwise(edges)]
        change = max(abs(new - old) for new, old in zip(moved, levels, strict=True))
        levels = moved
        if change < 1e-12:
            break
    return tuple(round(level, 6) for level in levels)


def _mean_between(low: float, high: float) -> float:
    """Mean of a standard normal variable between two bounds."""
    mass = (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2
    return (math.exp(-low * low / 2) - math.exp(-high * high / 2)) / math.sqrt(2 * math.pi) / mass
