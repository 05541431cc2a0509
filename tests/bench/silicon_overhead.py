"""The engine's own time a step, fitted to the training half: measured TPOT less the kernels of the provider.

minimize sum |(measured - kernels - per_step - per_sequence * b) / measured|: absolute errors, so that a wrong label
does not draw the fit; no constant below 0. Rows that wait for the KV pool are left out: what they measure is the queue.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from silicon_score import Scored

OVERHEAD_FILE = Path(__file__).parents[2] / "planner" / "performance" / "engine_overhead.json"
ROUNDS = 100
SMALLEST_ERROR = 0.005


def write_overhead(scored: Sequence[Scored], held_out: set[tuple[str, str]], provider: str) -> None:
    """Fit every engine and write the file of the performance room."""
    training = [each for each in scored if (each.row.model, each.row.gpu) not in held_out and not each.waits]
    names = sorted({each.row.engine.partition("@")[0] for each in training})
    engines = {name: fit([each for each in training if each.row.engine.startswith(name)]) for name in names}
    about = {
        "written_by": f"tests/bench/silicon.py --provider {provider} --write-overhead",
        "source": "silicon_sample.csv of aiconfigurator-core 0.12.0, training half",
    }
    OVERHEAD_FILE.write_text(json.dumps({**about, "engines": engines}, indent=2) + "\n", encoding="utf-8")


def fit(members: Sequence[Scored]) -> dict[str, float]:
    """Constants in microseconds, and the mean error of TPOT in percent without and with them."""
    measured = np.array([each.row.tpot_s for each in members])
    kernels = np.array([each.tpot_s - each.overhead_s for each in members])
    sequences = np.array([each.running / each.row.dp for each in members])
    target = (measured - kernels) / measured
    features = np.stack([1 / measured, sequences / measured], axis=1)
    best = min(_candidates(features, target), key=lambda each: float(np.abs(target - features @ each).sum()))
    return {
        "per_step_us": round(float(best[0]) * 1e6, 1),
        "per_sequence_us": round(float(best[1]) * 1e6, 2),
        "n": len(members),
        "mape_before": round(float(np.abs(target).mean()) * 100, 1),
        "mape_after": round(float(np.abs(target - features @ best).mean()) * 100, 1),
    }


def _candidates(features: np.ndarray, target: np.ndarray) -> list[np.ndarray]:
    """The least absolute errors with both constants, with either one, and with none; none below 0."""
    found = [np.zeros(2)]
    for columns in ([0, 1], [0], [1]):
        weights = np.ones_like(target)
        solution = np.zeros(len(columns))
        for _ in range(ROUNDS):
            solution = np.linalg.lstsq(features[:, columns] * weights[:, None], target * weights, rcond=None)[0]
            error = np.abs(target - features[:, columns] @ solution)
            weights = 1 / np.sqrt(np.maximum(error, SMALLEST_ERROR))
        whole = np.zeros(2)
        whole[columns] = solution
        if whole.min() >= 0:
            found.append(whole)
    return found
