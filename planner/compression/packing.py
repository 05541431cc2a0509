"""Sub-byte codes as real bytes: what a GPU would hold, not a formula for it.

Codes lie in the last dimension, the first one in the lowest bits of the first byte.
"""

from __future__ import annotations

import torch
from torch import Tensor

CODES_PER_WORD = 8


def split_last(x: Tensor, size: int) -> Tensor:
    """[..., n] as [..., n / size, size]."""
    return x.reshape(*x.shape[:-1], x.shape[-1] // size, size)


def pack_codes(codes: Tensor, bits: int) -> Tensor:
    """Pack integers of `bits` bits; eight of them fill `bits` bytes.

    Args:
        codes: [..., n] integers in [0, 2^bits), n a multiple of 8.
        bits: 1 to 8.

    Returns:
        uint8 [..., n * bits / 8].
    """
    if bits == 8:
        return codes.to(torch.uint8)
    codes = codes.to(torch.uint8)
    if 8 % bits == 0:
        per_byte = 8 // bits
        parts = split_last(codes, per_byte)
        packed = parts[..., 0].clone()
        for place in range(1, per_byte):
            packed |= parts[..., place] << (place * bits)
        return packed
    parts = split_last(codes, CODES_PER_WORD).to(torch.int64)
    shifts = torch.arange(CODES_PER_WORD) * bits
    return _to_bytes((parts << shifts).sum(dim=-1), bits)


def unpack_codes(packed: Tensor, bits: int) -> Tensor:
    """Undo `pack_codes`: uint8 [..., n]."""
    if bits == 8:
        return packed
    if 8 % bits == 0:
        mask = (1 << bits) - 1
        places = [(packed >> shift) & mask for shift in range(0, 8, bits)]
        return torch.stack(places, dim=-1).flatten(-2)
    words = _from_bytes(packed, bits)
    shifts = torch.arange(CODES_PER_WORD) * bits
    return ((words.unsqueeze(-1) >> shifts) & ((1 << bits) - 1)).flatten(-2).to(torch.uint8)


def pack_words(words: Tensor, bits: int) -> Tensor:
    """Pack wide integers into a row of bits; only the last byte may have bits to spare.

    Args:
        words: [..., n] integers in [0, 2^bits).
        bits: 8 to 31.

    Returns:
        uint8 [..., ceil(n * bits / 8)].
    """
    row = (
        ((words.to(torch.int32).unsqueeze(-1) >> torch.arange(bits, dtype=torch.int32)) & 1).to(torch.uint8).flatten(-2)
    )
    row = torch.nn.functional.pad(row, (0, -row.shape[-1] % 8))
    weights = (1 << torch.arange(8)).to(torch.uint8)
    return (split_last(row, 8) * weights).sum(dim=-1, dtype=torch.uint8)


def unpack_words(packed: Tensor, bits: int) -> Tensor:
    """Undo `pack_words`; the spare bits are fewer than a word, so the count follows from the bytes."""
    row = ((packed.unsqueeze(-1) >> torch.arange(8, dtype=torch.uint8)) & 1).flatten(-2)
    count = row.shape[-1] // bits
    parts = split_last(row[..., : count * bits], bits).to(torch.float64)  # exact: far fewer than 53 bits
    return (parts @ torch.exp2(torch.arange(bits, dtype=torch.float64))).to(torch.int64)


def _to_bytes(words: Tensor, size: int) -> Tensor:
    """The low `size` bytes of each word, little end first, side by side."""
    shifts = torch.arange(size) * 8
    return ((words.unsqueeze(-1) >> shifts) & 255).to(torch.uint8).flatten(-2)


def _from_bytes(packed: Tensor, size: int) -> Tensor:
    """Undo `_to_bytes`."""
    parts = split_last(packed, size).to(torch.int64)
    return (parts << (torch.arange(size) * 8)).sum(dim=-1)
