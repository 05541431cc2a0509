"""A plain table of measured latencies: CSV with named columns, in any order."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from planner.catalog.latency import LatencyRun
from planner.performance.measured.raw import SYSTEM_KEYS, RawRun
from planner.performance.measured.system import NEEDED, as_run, system_of
from planner.scenario.source import Findings
from planner.scenario.types import Place
from planner.scenario.values import suggestion
from planner.units import parse_decimal

NUMBERS = ("input_tokens", "output_tokens", "concurrency", "tpot_ms", "ttft_ms", "output_tokens_per_s")
REQUIRED = (*NEEDED, *NUMBERS[:4])
COLUMNS = (*SYSTEM_KEYS, *NUMBERS, "accepted_tokens")


def is_table(lines: Sequence[Sequence[str]]) -> bool:
    """Whether the cells of a CSV file are such a table."""
    return bool(lines) and "tpot_ms" in [cell.strip().lower() for cell in lines[0]]


def read_table(lines: Sequence[Sequence[str]], path: str, findings: Findings) -> list[LatencyRun]:
    """The runs of a table; every mistake carries its line."""
    names = [cell.strip().lower() for cell in lines[0]]
    head = Place(path, 1, 1)
    for name in names:
        if name not in COLUMNS:
            findings.add(head, "KV972", f"unknown column {name!r}; {suggestion(name, list(COLUMNS))}")
    for name in REQUIRED:
        if name not in names:
            findings.add(head, "KV972", f"the column {name} is missing; the first line names the columns")
    if any(name not in names for name in REQUIRED):
        return []
    runs = []
    for number, cells in enumerate(lines[1:], start=2):
        if any(cell.strip() for cell in cells):
            run = _row(
                dict(zip(names, (cell.strip() for cell in cells), strict=False)), Place(path, number, 1), findings
            )
            runs += [run] if run is not None else []
    return runs


def _row(cells: dict[str, str], place: Place, findings: Findings) -> LatencyRun | None:
    numbers: dict[str, Fraction] = {}
    good = True
    for name in (*NUMBERS, "accepted_tokens"):
        if cells.get(name):
            try:
                numbers[name] = parse_decimal(cells[name], "12.5")
            except ValueError as error:
                findings.add(place, "KV972", f"{name}: {error}")
                good = False
        elif name in REQUIRED:
            findings.add(place, "KV972", f"{name} is empty; write what was measured")
            good = False
    system = system_of(cells, Path(place.file).parent)
    if isinstance(system, list):
        for sentence in system:
            findings.add(place, "KV972", sentence)
        return None
    if not good:
        return None
    found = {name: float(value) for name, value in numbers.items()}
    raw = RawRun(
        harness="a table",
        input_tokens=found["input_tokens"],
        output_tokens=found["output_tokens"],
        concurrency=found["concurrency"],
        is_closed_loop=True,
        tpot_ms=found["tpot_ms"],
        ttft_ms=found.get("ttft_ms"),
        output_tokens_per_s=found.get("output_tokens_per_s"),
        accepted_tokens=found.get("accepted_tokens", 1.0),
    )
    run = as_run(raw, system, place, cells.get("source") or Path(place.file).name)
    if isinstance(run, str):
        findings.add(place, "KV972", run)
        return None
    return run
