"""The bands of the roofline: quantiles of measured / predicted by GPU, engine, dtype and kind, from the referee.

A group with few rows takes those of a coarser one, which is named: without the dtype, then without the GPU, then the
engine alone. All rows count, both halves: little is fitted to them, and a band should know every machine.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from silicon_score import Scored

BANDS_FILE = Path(__file__).parents[2] / "planner" / "performance" / "bands.json"
FEWEST_ROWS = 20
POINTS = (10, 50, 90)


def write_bands(scored: Sequence[Scored], provider: str) -> None:
    """Write the bands of one provider beside those of the other."""
    written = json.loads(BANDS_FILE.read_text(encoding="utf-8")) if BANDS_FILE.exists() else {}
    about = {
        "written_by": "tests/bench/silicon.py --provider roofline|silicon --write-bands",
        "source": "silicon_sample.csv of aiconfigurator-core 0.12.0, measured / predicted",
        "fewest_rows": FEWEST_ROWS,
    }
    providers = {**written.get("providers", {}), provider: bands(scored)}
    text = json.dumps({**about, "providers": dict(sorted(providers.items()))}, indent=1)
    BANDS_FILE.write_text(text + "\n", encoding="utf-8")


def bands(scored: Sequence[Scored]) -> list[dict[str, object]]:
    """One entry for each group with enough rows, from the finest to the coarsest; `*` stands for any."""
    groups: dict[tuple[str, str, str, str], list[Scored]] = defaultdict(list)
    for each in scored:
        gpu, engine, dtype, kind = each.row.gpu, each.row.engine.partition("@")[0], each.row.weights, each.kind
        for key in (
            (gpu, engine, dtype, kind),
            (gpu, engine, "*", kind),
            ("*", engine, "*", kind),
            ("*", engine, "*", "*"),
        ):
            groups[key].append(each)
    return [
        {**dict(zip(("gpu", "engine", "dtype", "kind"), key, strict=True)), **_quantiles(members)}
        for key, members in sorted(groups.items())
        if len(members) >= FEWEST_ROWS
    ]


def _quantiles(members: Sequence[Scored]) -> dict[str, object]:
    """Quantiles of measured / predicted in thousandths; rows that wait for the pool tell nothing of TTFT."""
    tpot = [1 / each.tpot_ratio for each in members]
    ttft = [1 / each.ttft_ratio for each in members if not each.waits] or [1 / each.ttft_ratio for each in members]
    return {
        "n": len(members),
        "tpot": [round(float(value), 3) for value in np.percentile(tpot, POINTS)],
        "ttft": [round(float(value), 3) for value in np.percentile(ttft, POINTS)],
    }
