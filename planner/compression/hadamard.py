"""Rotations before coding: Hadamard, with or without sign flips, and the removal of rotary positions.

A Hadamard rotation spreads an outlier channel over all channels of its vector. It is orthonormal, so an
error keeps its length on the way back. Head sizes that are no power of two are rotated in blocks of their
largest power-of-two divisor.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from planner.compression.codecs_data import Rotation
from planner.compression.packing import split_last


def hadamard(x: Tensor) -> Tensor:
    """Orthonormal Walsh-Hadamard transform of the last dimension; it is its own inverse.

    log2(d) rounds of sums and differences, then 1 / sqrt(d): only additions, so the result does not depend
    on the number of threads. Source: Sylvester's construction.

    >>> hadamard(torch.tensor([1.0, 0.0, 0.0, 0.0]))
    tensor([0.5000, 0.5000, 0.5000, 0.5000])
    """
    size = x.shape[-1] & -x.shape[-1]
    half = 1
    while half < size:
        pairs = split_last(split_last(x, 2 * half), half)
        left, right = pairs[..., 0, :], pairs[..., 1, :]
        x = torch.stack((left + right, left - right), dim=-2).flatten(-3)
        half *= 2
    return x / math.sqrt(size)


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Rotate the last dimension before coding."""
    if rotation == "none":
        return x
    return hadamard(x * _signs(x) if rotation == "signed" else x)


def rotate_back(x: Tensor, rotation: Rotation) -> Tensor:
    """Undo `rotate`."""
    if rotation == "none":
        return x
    x = hadamard(x)
    return x * _signs(x) if rotation == "signed" else x


def apply_rope(key: Tensor, positions: Tensor, theta: float, *, back: bool = False) -> Tensor:
    """Turn keys by their rotary positions, or back to position 0.

    Channel pairs (i, i + d/2) turn by position * theta^(-2i/d). Source: RoFormer, arXiv 2104.09864, in the
    half-split layout of Llama-type models.

    Args:
        key: [heads, tokens, head_dim].
        positions: [tokens], the position of each token in its sequence.
        theta: The model's rope_theta; a wrong one is wrong silently.
        back: Turn the other way.
    """
    half = key.shape[-1] // 2
    rates = theta ** -(torch.arange(half, dtype=torch.float64) / half)
    angles = positions.to(torch.float64).unsqueeze(-1) * (-rates if back else rates)
    cos, sin = angles.cos().to(key.dtype), angles.sin().to(key.dtype)
    first, second = key[..., :half], key[..., half:]
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def _signs(x: Tensor) -> Tensor:
    """A fixed pattern of +1 and -1: the parity of the bits of i * 0x9E3779B1 (golden ratio), no random state."""
    mixed = (torch.arange(x.shape[-1], dtype=torch.int64) * 0x9E3779B1) & 0xFFFFFFFF
    for shift in (16, 8, 4, 2, 1):
        mixed = mixed ^ (mixed >> shift)
    return (1 - 2 * (mixed & 1)).to(x.dtype)
