"""The pages that tests/report/test_text.py compares: `python tests/report/goldens.py` renews them.

Plans come from tests/data/scenarios/page.yaml, solved once; what a run alone knows (versions, seconds, hash) is fixed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from planner.plan.types import Plan

ROOT = Path(__file__).parents[2]
SCENARIO = ROOT / "tests/data/scenarios/page.yaml"
GOLDEN = Path(__file__).with_name("golden")
WIDTHS = (80, 100, 140)
TOO_POOR = "budget.monthly=$3_000"


@cache
def solved(*sets: str) -> Plan:
    """A plan of the page scenario without what changes from run to run."""
    from planner import pipeline

    plan = pipeline.plan(pipeline.load(SCENARIO, sets), None, SCENARIO.name)
    run = replace(plan.run, kvplan="0.0.0", seconds={"solve": 1.25})
    return replace(plan, hash="sha256:" + "0" * 64, run=run)


def pages() -> Iterator[tuple[str, str]]:
    """(file name, page) of every golden."""
    from planner.report.text import plan_text

    for width in WIDTHS:
        yield f"page-{width}.txt", plan_text(solved(), width)
    yield "page-verbose.txt", plan_text(solved(), 100, verbose=True)
    yield "page-infeasible.txt", plan_text(solved(TOO_POOR), 100)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    GOLDEN.mkdir(exist_ok=True)
    for name, text in pages():
        GOLDEN.joinpath(name).write_text(text, encoding="utf-8")
