"""The referee of latencies: what a provider predicts beside what was measured, row by row of `silicon_sample.csv`.

The sample ships inside aiconfigurator-core (`pip install 'kvplan[silicon]'`) and is read there. How its labels are
read and which rows are left out: silicon_rows.py; what is predicted and how the halves are cut: silicon_score.py.
    python tests/bench/silicon.py [--provider roofline|silicon] [--format table|json] [--write-overhead] [--write-bands]
    python tests/bench/silicon.py --write docs/performance-accuracy.md
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from silicon_bands import write_bands
from silicon_overhead import write_overhead
from silicon_page import write_page
from silicon_rows import MissingPackage, Row, read_rows, sample_path
from silicon_score import Json, Scored, groups_of, held_out_groups, score, summary_of

from planner.performance.provider import ProviderName

PROVIDERS: tuple[ProviderName, ...] = ("roofline", "silicon")
NO_PACKAGE = "The measured rows ship inside aiconfigurator-core; install it with: pip install 'kvplan[silicon]'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Score the provider and print the report; 2 without the package."""
    options = _options(arguments)
    try:
        path = sample_path()
    except MissingPackage:
        sys.stderr.write(NO_PACKAGE + "\n")
        return 2
    rows, left_out = read_rows(path)
    held_out = held_out_groups(rows)
    scored, refused = score(rows, options.provider)
    groups, summary = groups_of(scored, held_out), summary_of(scored, held_out)
    if options.write_overhead:
        write_overhead(scored, held_out, options.provider)
    if options.write_bands:
        write_bands(scored, options.provider)
    if options.write:
        write_page(options.write, {name: _scored(rows, left_out, name) for name in PROVIDERS}, held_out)
        return 0
    out = _json if options.format == "json" else _table
    sys.stdout.write(out(options.provider, groups, summary, left_out + refused) + "\n")
    return 0


def _scored(rows: list[Row], left_out: Counter[str], provider: ProviderName) -> tuple[list[Scored], Counter[str]]:
    scored, refused = score(rows, provider)
    return scored, left_out + refused


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Predicted against measured latencies.")
    parser.add_argument("--provider", choices=PROVIDERS, default="roofline")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("--write-overhead", action="store_true", help="fit engine_overhead.json on the training half")
    parser.add_argument("--write-bands", action="store_true", help="write bands.json: measured / predicted")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write docs/performance-accuracy.md, both providers")
    return parser.parse_args(arguments)


def _json(provider: str, groups: list[Json], summary: list[Json], left_out: Counter[str]) -> str:
    reasons = [{"reason": reason, "n": count} for reason, count in left_out.most_common()]
    return json.dumps({"provider": provider, "rows": groups, "summary": summary, "left_out": reasons}, indent=1)


def _table(provider: str, groups: list[Json], summary: list[Json], left_out: Counter[str]) -> str:
    lines = [f"{provider}: predicted / measured, errors in percent", "", *_columns(groups), "", *_columns(summary), ""]
    covered = sum(int(each["n"]) for each in groups)
    lines += [f"{covered} rows scored, {sum(left_out.values())} left out:"]
    lines += [f"  {count:5d}  {reason}" for reason, count in left_out.most_common()]
    return "\n".join(lines)


def _columns(records: list[Json]) -> list[str]:
    if not records:
        return []
    names = list(records[0])
    cells = [names, *([str(record[name]) for name in names] for record in records)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(names))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


if __name__ == "__main__":
    sys.exit(main())
