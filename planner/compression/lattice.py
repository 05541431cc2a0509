"""A clamped E8-like lattice in eight dimensions: the nearest point, its rank, and the point of a rank.

E8 is the even-sum integer points together with the half-integer points of even sum. The codec measured
here relaxes the second part: every half-integer point counts (nexusquant-kv 0.6.3 does the same). Points
are clamped to [-levels/2, levels/2], half-integer ones to the half steps inside.

A point is stored by its rank among all `lattice_points(levels)`, which needs more bits than the nominal
3 or 2 an element: 26 and 18 bits per eight. `levels + 1` is odd, so a base-(levels + 1) number has the parity
of its digit sum, and half the number is the rank of an even-sum point.

Source: Conway and Sloane, "Fast quantizing and decoding algorithms for lattice quantizers and codes", IEEE
Transactions on Information Theory 28 (1982).
"""

from __future__ import annotations

import torch
from torch import Tensor

from planner.compression.codecs_data import ELEMENTS_PER_BLOCK, whole_points


def nearest_points(x: Tensor, levels: int) -> Tensor:
    """The nearest storable point to each row.

    Args:
        x: [..., 8] in units of the scale.
        levels: 2^bits, even.

    Returns:
        [..., 8], multiples of one half.
    """
    edge = levels / 2
    x = x.clamp(-edge, edge)
    whole = _even_sum(x, edge)
    # Ties at the edge go inward, to a half step that exists.
    half = (x.floor() + 0.5).clamp(-edge + 0.5, edge - 0.5)
    whole_error = (x - whole).square().sum(dim=-1, keepdim=True)
    half_error = (x - half).square().sum(dim=-1, keepdim=True)
    return torch.where(half_error < whole_error, half, whole)


def _even_sum(x: Tensor, edge: float) -> Tensor:
    """Nearest integers; where their sum is odd, the coordinate with the largest gap goes the other way."""
    whole = x.round()
    gap = x - whole
    worst = gap.abs().argmax(dim=-1, keepdim=True)
    chosen = whole.gather(-1, worst)
    # A coordinate that lies on its integer may go either way, but never over the edge.
    step = torch.where(gap.gather(-1, worst) >= 0, 1.0, -1.0)
    step = torch.where(chosen + step > edge, -1.0, torch.where(chosen + step < -edge, 1.0, step))
    odd = whole.sum(dim=-1, keepdim=True).remainder(2)
    return whole.scatter_add(-1, worst, step.to(x.dtype) * odd)


def rank(points: Tensor, levels: int) -> Tensor:
    """Rank of each storable point: even-sum points first, then half-integer ones. int64 [...]."""
    is_half = points[..., 0].remainder(1) != 0
    digits = (points + levels / 2).floor().to(torch.int32)  # 9^8 fits: at most 3 bits
    whole_rank = (digits * _powers(levels + 1)).sum(dim=-1) // 2
    half_rank = (digits * _powers(levels)).sum(dim=-1) + whole_points(levels)
    return torch.where(is_half, half_rank, whole_rank)


def point(ranks: Tensor, levels: int) -> Tensor:
    """The point of each rank; float32 [..., 8].

    >>> points = torch.tensor([[0.5, -0.5, 1.5, -1.5, 0.5, 0.5, 0.5, 0.5], [1.0, 1, 0, 0, 0, 0, 0, -2]])
    >>> torch.equal(point(rank(points, 4), 4), points)
    True
    """
    ranks = ranks.to(torch.int32)
    is_half = (ranks >= whole_points(levels)).unsqueeze(-1)
    half_number = (ranks - whole_points(levels)).clamp_min(0).unsqueeze(-1)
    half = (half_number // _powers(levels)) % levels + 0.5
    # The lowest bit of the number was dropped: the sum of the digits is even.
    even_number = (ranks.unsqueeze(-1) * 2).clamp_max((levels + 1) ** ELEMENTS_PER_BLOCK - 1)
    whole = (even_number // _powers(levels + 1)) % (levels + 1)
    return torch.where(is_half, half, whole.to(half.dtype)) - levels / 2


def _powers(base: int) -> Tensor:
    return torch.tensor([base**place for place in range(ELEMENTS_PER_BLOCK)], dtype=torch.int32)
