"""The diff pages that tests/report/test_diff_pages.py compares: `python tests/report/diff_goldens.py` renews them.

Diffs come from tests/report/data: real ones of scenarios/prod.yaml with more traffic, at less cost, without a plan and
without a change.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from planner.plan.diff_types import Diff

ROOT = Path(__file__).parents[2]
DATA = Path(__file__).with_name("data")
GOLDEN = Path(__file__).with_name("golden_diff")
CASES = ("traffic", "cheaper", "infeasible", "same")
WIDTHS = (60, 100, 160)


def tree(case: str) -> dict[str, Any]:
    """A fresh copy of the JSON values of a diff."""
    document: dict[str, Any] = json.loads((DATA / f"diff-{case}.json").read_text(encoding="utf-8"))
    return document


@cache
def diff(case: str) -> Diff:
    """A diff document."""
    from planner.plan.diff_io import parse_diff

    document = parse_diff(tree(case), case)
    assert hasattr(document, "cost_per_month")
    return document


def pages() -> Iterator[tuple[str, str]]:
    """(file name, page) of every golden."""
    from planner.report.diff_csv import diff_csv
    from planner.report.diff_github import diff_github
    from planner.report.diff_markdown import diff_markdown
    from planner.report.diff_text import diff_text

    for case in CASES:
        yield f"{case}.md", diff_markdown(diff(case))
        yield f"{case}.github.txt", diff_github(diff(case))
        yield f"{case}-100.txt", diff_text(diff(case), 100)
    for width in WIDTHS:
        yield f"traffic-{width}.txt", diff_text(diff("traffic"), width)
    yield "traffic-verbose.txt", diff_text(diff("traffic"), 100, verbose=True)
    yield "traffic.csv", diff_csv(diff("traffic"))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    GOLDEN.mkdir(exist_ok=True)
    for name, text in pages():
        GOLDEN.joinpath(name).write_text(text, encoding="utf-8")
