"""Parallel shapes of a replica: tensor, pipeline, data and decode-context parallelism, and expert parallelism."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SHAPE = re.compile(r"tp([1-9]\d*)(?:-pp([1-9]\d*))?(?:-dp([1-9]\d*))?(?:-dcp([1-9]\d*))?(-ep)?", re.ASCII)

MAX_RANKS = 4_096


@dataclass(frozen=True, order=True)
class Parallel:
    """tpN[-ppN][-dpN][-dcpN][-ep].

    Attention is split over `tp` ranks and repeated on each of `dp` data-parallel ranks, which have pools of
    their own; layers are split over `pp` stages. Experts are split over tp * dp ranks: every expert in
    slices, or whole experts under `ep`. `dcp` spreads the tokens of a sequence over ranks that would
    otherwise hold the same KV; it is a part of tp.

    >>> str(parse_parallel("tp4-pp2"))
    'tp4-pp2'
    >>> parse_parallel("tp4-pp2").gpus
    8
    """

    tp: int = 1
    pp: int = 1
    dp: int = 1
    dcp: int = 1
    ep: bool = False

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.tp * self.pp * self.dp

    @property
    def expert_ranks(self) -> int:
        """Ranks that share the experts of one stage."""
        return self.tp * self.dp

    def __str__(self) -> str:
        parts = [f"tp{self.tp}"]
        parts += [f"{word}{size}" for word, size in (("pp", self.pp), ("dp", self.dp), ("dcp", self.dcp)) if size > 1]
        return "-".join([*parts, "ep"] if self.ep else parts)


def parse_parallel(text: str) -> Parallel | str:
    """A shape from its text, or a sentence that says what is wrong with it."""
    match = _SHAPE.fullmatch(text)
    if match is None:
        return f"'{text}' is no parallel shape; write tpN[-ppN][-dpN][-dcpN][-ep], such as tp4 or tp4-pp2"
    tp, pp, dp, dcp = (
        int(size) if size and len(size) < 6 else 1 if size is None else MAX_RANKS + 1 for size in match.groups()[:4]
    )
    shape = Parallel(tp, pp, dp, dcp, bool(match.group(5)))
    if shape.gpus > MAX_RANKS or dcp > MAX_RANKS:
        return f"'{text}' is more than {MAX_RANKS:,} GPUs"
    if tp % dcp:
        return f"'{text}': decode context parallelism divides the ranks of tp, and {dcp} does not divide {tp}"
    return shape
