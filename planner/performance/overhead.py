"""What an engine's own processes add to every step, beside the kernels: scheduling, sampling, sending tokens.

    overhead = per_step + per_sequence * sequences that decode on the rank

The constants are fitted by `tests/bench/silicon.py --write-overhead` to measured TPOT less the sum of kernels, on the
training half of the rows alone. They are of each engine's recent releases: vLLM schedules asynchronously since 0.14;
before it, Qwen3-32B on 0.12 shows 1.2 ms and 41 us a sequence (docs/performance-accuracy.md).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from planner.performance.provider import FloatArray, Quantity


@dataclass(frozen=True)
class EngineOverhead:
    """Seconds that a step takes longer than its kernels, and what that rests on.

    `mape_before` and `mape_after` are mean errors of TPOT in percent on the `n` rows of the fit, without and with it.
    """

    per_step_s: float
    per_sequence_s: float
    n: int
    mape_before: float
    mape_after: float

    def seconds(self, sequences: Quantity) -> FloatArray:
        """Overhead of a step that decodes for so many sequences on a rank.

        >>> EngineOverhead(1e-3, 1e-5, 0, 0.0, 0.0).seconds(100).item()
        0.002
        """
        decodes = np.asarray(sequences, dtype=np.float64)
        return self.per_step_s + self.per_sequence_s * decodes


NO_OVERHEAD = EngineOverhead(0.0, 0.0, 0, 0.0, 0.0)


def engine_overhead(engine_name: str) -> EngineOverhead:
    """The overhead of an engine; none where no row was measured."""
    return _overheads().get(engine_name, NO_OVERHEAD)


@cache
def _overheads() -> dict[str, EngineOverhead]:
    text = files("planner.performance").joinpath("engine_overhead.json").read_text(encoding="utf-8")
    return {
        name: EngineOverhead(
            per_step_s=raw["per_step_us"] * 1e-6,
            per_sequence_s=raw["per_sequence_us"] * 1e-6,
            n=int(raw["n"]),
            mape_before=raw["mape_before"],
            mape_after=raw["mape_after"],
        )
        for name, raw in json.loads(text)["engines"].items()
    }
