"""The joint lengths of a trace: which outputs came with which prompts, as texts that a plan can carry.

One text a prompt length: "374 44*2 109" is two requests of 374 prompt and 44 output tokens, and one of 374 and 109.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
Pairs = list[tuple[int, int, int]]
"""(prompt, output, requests), in order."""

MOST_PAIRS = 20_000
"""Different pairs that are kept as they are; an hour of a service has about so many."""

ROUNDINGS = (1_024, 512, 256, 128, 64, 32, 16, 8)
"""Leading parts of a length that are kept where there are more pairs: 1,024 is within 0.05 %, 8 within 6 %."""


def pair_texts(prompts: IntArray, outputs: IntArray) -> tuple[tuple[str, ...], int]:
    """All pairs as texts, and how lengths were rounded: to 1 in so many, 0 for not at all.

    >>> pair_texts(np.array([374, 374, 12, 374]), np.array([44, 109, 7, 44]))
    (('12 7', '374 44*2 109'), 0)
    """
    rounding = 0
    pairs, counts = _counted(prompts, outputs)
    for rounding in ROUNDINGS if len(pairs) > MOST_PAIRS else ():
        pairs, counts = _counted(rounded(prompts, rounding), rounded(outputs, rounding))
        if len(pairs) <= MOST_PAIRS:
            break
    rows = ((int(prompt), int(output), int(count)) for (prompt, output), count in zip(pairs, counts, strict=True))
    return tuple(_text(prompt, list(group)) for prompt, group in groupby(rows, key=lambda row: row[0])), rounding


def rounded(lengths: IntArray, parts: int) -> IntArray:
    """Lengths to the nearest of `parts` steps between powers of two; the longest stays as it is.

    >>> rounded(np.array([5, 1_000, 1_030, 1_031]), 128).tolist()
    [5, 1000, 1032, 1031]
    """
    powers = np.floor(np.log2(lengths)).astype(np.int64)
    step = np.maximum(1, 2**powers // parts)
    nearest: IntArray = np.minimum((lengths + step // 2) // step * step, lengths.max())
    return np.where(lengths == lengths.max(), lengths, nearest)


def _counted(prompts: IntArray, outputs: IntArray) -> tuple[NDArray[np.int64], IntArray]:
    """Different pairs, sorted, and how often each came."""
    base = int(outputs.max()) + 1
    keys, counts = np.unique(prompts * base + outputs, return_counts=True)
    return np.stack([keys // base, keys % base], axis=1), counts


def _text(prompt: int, rows: Iterable[tuple[int, int, int]]) -> str:
    parts = (f"{output}*{count}" if count > 1 else str(output) for _, output, count in rows)
    return f"{prompt} {' '.join(parts)}"


def pairs_of(texts: Sequence[str]) -> Pairs:
    """The pairs of such texts.

    Raises:
        ValueError: a text is none, or they are out of order.
    """
    found: Pairs = []
    for text in texts:
        prompt, *rest = text.split(" ")
        for part in rest:
            output, _, count = part.partition("*")
            found.append((_whole(prompt), _whole(output), _whole(count or "1")))
    if not found or any(low[:2] >= high[:2] for low, high in pairwise(found)):
        raise ValueError("Expected pairs of lengths, each once, short to long.")
    return found


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) > 0):
        raise ValueError(f"Expected a whole number from 1, read {text[:20]!r}.")
    return int(text)


def in_ppm(counts: Sequence[int]) -> list[int]:
    """Counts as parts of a million that add up exactly: the running sum is right to one part, at every place.

    >>> in_ppm([1, 1, 1])
    [333333, 333333, 333334]
    """
    total, below, found = sum(counts), 0, []
    for count in counts:
        found.append((below + count) * 1_000_000 // total - below * 1_000_000 // total)
        below += count
    return found
