"""How far measured latencies stray from predicted ones: quantiles of measured / predicted by what was measured.

`bands.json` is written by `tests/bench/silicon.py --write-bands`. A request takes the band of its GPU, engine, dtype
and kind of model; where too few rows were measured, a coarser group stands in and the band says so; where nothing was
measured, the band is a judgement.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.resources import files
from typing import Literal

from planner.catalog.types import ModelFacts
from planner.performance.provider import LatencyBand, StepRequest

ANY = "*"

JUDGED = LatencyBand(
    tpot_p10=Fraction(5, 6),
    tpot_p50=Fraction(1),
    tpot_p90=Fraction(6, 5),
    ttft_p10=Fraction(2, 3),
    ttft_p50=Fraction(1),
    ttft_p90=Fraction(3, 2),
    n=0,
    judgement=True,
    source="judgement: nothing was measured on this GPU and engine; errors elsewhere are about 10 % of TPOT",
)

Group = tuple[str, str, str, str]
"""GPU, engine, dtype and kind."""


@dataclass(frozen=True)
class _Quantiles:
    n: int
    tpot: tuple[Fraction, Fraction, Fraction]
    ttft: tuple[Fraction, Fraction, Fraction]


def band_for(request: StepRequest, provider: Literal["roofline", "silicon"]) -> LatencyBand:
    """The band of a request: of its own group, of the nearest coarser one, or a judgement.

    Rows of another dtype on the same GPU stand nearer than the same dtype on another GPU.
    """
    kind = kind_of(request.model)
    bands = _bands(provider)
    for gpu, engine, dtype, each in _groups(request, kind):
        found = bands.get((gpu, engine, dtype, each))
        if found:
            source = _source((gpu, engine, dtype, each), found.n)
            return LatencyBand(*found.tpot, *found.ttft, found.n, judgement=False, source=source)
    return JUDGED


def kind_of(model: ModelFacts) -> str:
    """`mla`, `moe` or `dense`: which kernels most of a step goes to.

    >>> from pathlib import Path
    >>> from planner.catalog import load_model
    >>> kind_of(load_model("deepseek-r1", Path()))
    'mla'
    """
    return "mla" if model.is_mla else "moe" if model.is_moe else "dense"


def _groups(request: StepRequest, kind: str) -> Iterator[Group]:
    gpu, engine = request.gpu.id, request.engine.name
    dtypes = [request.weights]
    if request.weights == "fp8":
        dtypes = ["fp8_block", "fp8"] if request.model.is_moe else ["fp8"]
    for dtype in (*dtypes, ANY):
        yield gpu, engine, dtype, kind
    yield ANY, engine, ANY, kind
    yield ANY, engine, ANY, ANY


def _source(group: Group, n: int) -> str:
    """Which rows the band is of; what it leaves open is said."""
    gpu, engine, dtype, kind = group
    models = "models of all kinds" if kind == ANY else f"{kind} models"
    weights = "in all dtypes" if dtype == ANY else f"in {dtype}"
    return f"{n} measured rows of {models} {weights} with {engine} on {'all GPUs' if gpu == ANY else gpu}"


@cache
def _bands(provider: str) -> Mapping[Group, _Quantiles]:
    text = files("planner.performance").joinpath("bands.json").read_text(encoding="utf-8")
    return {
        (raw["gpu"], raw["engine"], raw["dtype"], raw["kind"]): _Quantiles(
            int(raw["n"]), _points(raw["tpot"]), _points(raw["ttft"])
        )
        for raw in json.loads(text)["providers"].get(provider, ())
    }


def _points(written: list[float]) -> tuple[Fraction, Fraction, Fraction]:
    low, middle, high = (Fraction(str(value)) for value in written)
    return low, middle, high
