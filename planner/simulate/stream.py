"""What arrives: the requests of one traffic class, replayed from a trace or drawn from its lengths and rate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from planner.scenario.traffic import TrafficClass
from planner.traffic.lengths import ClassLengths, Histogram, class_lengths
from planner.traffic.tail import stretched
from planner.traffic.trace import Trace

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

WARM_UP_S = 120.0
"""Of a generated stream: requests that only fill the fleet. A trace is judged from its first request on."""

MEASURED_S = 600.0
"""Of a generated stream: promises are of the worst ten minutes, and it runs at the rate of the worst minute."""


@dataclass(frozen=True, eq=False)
class Stream:
    """Requests of a class in order of arrival.

    Without `hashes` each prompt finds `reusable_ppm` of its tokens cached; with them, what was seen before on its
    replica. `hashes` has a row a request: its blocks of `hash_tokens` tokens by content.
    """

    class_name: str
    arrival_s: FloatArray
    prompt_tokens: IntArray
    output_tokens: IntArray
    source: str
    sha256: str = ""
    warm_up_s: float = 0.0
    reusable_ppm: int = 0
    hashes: tuple[tuple[int, ...], ...] = ()
    hash_tokens: int = 0

    @property
    def end_s(self) -> float:
        """The last arrival."""
        return float(self.arrival_s[-1]) if len(self.arrival_s) else 0.0


def generated(traffic: TrafficClass, rate_rps: float, rng: np.random.Generator, *, cv: float, seconds: float) -> Stream:
    """Requests with the lengths of a class at a steady rate; gaps follow a gamma law of coefficient of variation `cv`.

    1 is Poisson traffic. A sixth of the time, two minutes at most, only warms up.

    Raises:
        ValueError: the class has no token lengths (a capacity table stands for them).
    """
    lengths = class_lengths(traffic)
    if lengths is None:
        raise ValueError(f"{traffic.name} has no token lengths.")
    count = int(rate_rps * seconds + 10 * (cv + 1) * (rate_rps * seconds) ** 0.5 + 10)
    shape = 1 / cv**2
    arrivals = np.cumsum(rng.gamma(shape, 1 / (shape * rate_rps), count))
    arrivals = arrivals[arrivals <= seconds]
    prompts, outputs = _drawn_pairs(lengths, len(arrivals), rng)
    law = "Poisson arrivals" if cv == 1 else f"arrivals with a CV of {cv:g}"
    return Stream(
        class_name=traffic.name,
        arrival_s=arrivals,
        prompt_tokens=prompts,
        output_tokens=outputs,
        source=f"{law} at {rate_rps:.4g} requests/s, {'lengths of its trace' if lengths.joint else 'declared lengths'}",
        warm_up_s=min(WARM_UP_S, seconds / 6),
        reusable_ppm=traffic.reusable_prefix_ppm,
    )


def replayed(trace: Trace, class_name: str, *, scale: float = 1.0, reusable_ppm: int = 0) -> Stream:
    """A trace as it happened, `scale` times as fast."""
    blocks = trace.blocks
    hashes: tuple[tuple[int, ...], ...] = ()
    if blocks is not None:
        ids, offsets = blocks.ids.tolist(), blocks.offsets.tolist()
        hashes = tuple(tuple(ids[a:b]) for a, b in pairwise(offsets))
    speed = f", {scale:g} times as fast" if scale != 1 else ""
    return Stream(
        class_name=class_name,
        arrival_s=trace.arrival_s / scale,
        prompt_tokens=trace.input_tokens,
        output_tokens=trace.output_tokens,
        source=f"{Path(trace.path).name}{speed}",
        sha256=trace.sha256,
        reusable_ppm=0 if hashes else reusable_ppm,
        hashes=hashes,
        hash_tokens=blocks.block_tokens if blocks is not None else 0,
    )


def longer(stream: Stream, traffic: TrafficClass) -> Stream:
    """A trace with the longer prompts of a band: each request by the part of the distribution that it stands in.

    What is added to a prompt is new: no hash says that it was seen before.
    """
    tokens, places, counts = np.unique(stream.prompt_tokens, return_inverse=True, return_counts=True)
    after = stretched(list(zip(tokens.tolist(), counts.tolist(), strict=True)), traffic.prompt_tail_ppm)
    prompts = np.array([prompt for prompt, _ in after], dtype=np.int64)[places]
    share = f"{traffic.prompt_tail_ppm / 10_000:g}%"
    return replace(stream, prompt_tokens=prompts, source=f"{stream.source}, long prompts {share} longer")


def _drawn_pairs(lengths: ClassLengths, count: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Prompts and outputs: together where a trace says which go together, else each for itself."""
    if not lengths.joint:
        return _drawn(lengths.prompts, count, rng), _drawn(lengths.outputs, count, rng)
    rows = [(prompt, *row) for (prompt, _), own in zip(lengths.prompts, lengths.joint, strict=True) for row in own]
    table = np.array(rows, dtype=np.int64)
    drawn = table[rng.choice(len(table), count, p=table[:, 2] / table[:, 2].sum())]
    return drawn[:, 0], drawn[:, 1]


def _drawn(lengths: Histogram, count: int, rng: np.random.Generator) -> IntArray:
    tokens = np.array([tokens for tokens, _ in lengths], dtype=np.int64)
    weights = np.array([weight for _, weight in lengths], dtype=np.float64)
    return rng.choice(tokens, size=count, p=weights / weights.sum())
