"""The queueing forms of planner/traffic/queueing.py against the simulator, and their constants fitted again.

    python tests/bench/queueing_forms.py [--traces DIR] [--docs docs/simulation.md]

The Azure traces of scenarios/traces fix the constants; the lengths of other traces (DIR with Mooncake's conversation
trace and Vidur's arXiv lengths) only test them. One replica, Poisson arrivals, no limit on sequences or KV. With
`--docs` the tables replace what stands between the markers of the document. Some ten minutes on one core.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
from queueing_cases import (
    BUDGETS_TOKENS,
    LOADS,
    Machine,
    Seen,
    Traffic,
    machines,
    run,
    served_of,
    timing_of,
    traffic_from,
    traffic_of,
)

from planner.performance.provider import ProviderName, StepModel
from planner.traffic import queueing
from planner.traffic.queueing import capacity_of, load_of, p95_tpot_of, p95_ttft_of
from planner.traffic.workload import ReplicaTiming, Workload, workload

ROOT = Path(__file__).parents[2]
AZURE = ROOT / "scenarios/traces"
MARGINS = (1.0, 1.2, 1.5, 2.0)
MARGIN_LOAD = 0.65
DECODE_BATCHES = (16, 32, 48, 64, 96, 128)
BLOCK = re.compile(r"(<!-- forms -->\n).*?(<!-- /forms -->)", re.DOTALL)


@dataclass(frozen=True)
class Point:
    """One case at one rate: what was predicted from, and what was seen."""

    machine: Machine
    budget_tokens: int
    traffic: Traffic
    steps: StepModel
    work: Workload
    rate_rps: float
    load: float
    seen: Seen
    provider: ProviderName


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs all cases and prints the tables."""
    parser = argparse.ArgumentParser(description="Queueing forms against the simulator.")
    parser.add_argument("--traces", type=Path, help="folder with the traces that only test")
    parser.add_argument("--provider", choices=("roofline", "silicon"), default="roofline")
    parser.add_argument("--kind", choices=("dense", "MoE"), help="only these models")
    parser.add_argument("--docs", type=Path, help="document whose tables are renewed")
    options = parser.parse_args(arguments)
    points = _points(_traffic(options.traces), options.provider, options.kind)
    text = _tables(points)
    if options.docs is not None:
        document = options.docs.read_text(encoding="utf-8")
        options.docs.write_text(BLOCK.sub(lambda found: found[1] + "\n" + text + found[2], document), encoding="utf-8")
    sys.stdout.write(text)
    return 0


def _traffic(folder: Path | None) -> list[Traffic]:
    found = [
        traffic_of(AZURE / "azure_llm_2023_conv.csv.gz", "conversation", fitting=True),
        traffic_of(AZURE / "azure_llm_2023_code.csv.gz", "code", fitting=True),
    ]
    if folder is not None:
        mooncake = folder / "mooncake_fast25_conversation.jsonl.gz"
        found.append(traffic_of(mooncake, "Mooncake", fitting=False))
        with gzip.open(folder / "vidur_arxiv_summarization_lengths.csv.gz", "rt", encoding="utf-8", newline="") as file:
            rows = [(int(row["num_prefill_tokens"]), int(row["num_decode_tokens"])) for row in csv.DictReader(file)]
        pairs = np.array(rows, dtype=np.int64)
        found.append(traffic_from("arXiv", pairs[:, 0], pairs[:, 1], fitting=False))
    return found


def _points(traffics: Sequence[Traffic], provider: ProviderName, kind: str | None) -> list[Point]:
    points = []
    for machine, steps in machines(provider, kind):
        for budget in BUDGETS_TOKENS:
            timing = timing_of(steps, budget)
            for traffic in traffics:
                served = served_of(traffic)
                work = workload(served, timing)
                full_rps = float(1 / (work.prefill_s + work.decode_s))
                for load in LOADS:
                    seen = run(machine, budget, traffic, load * full_rps, provider)
                    operated = timing_of(
                        steps, budget, tpot_s=seen.tpot_p95_s, context_tokens=round(served.resident_tokens)
                    )
                    own = workload(served, operated)
                    points.append(Point(machine, budget, traffic, steps, own, load * full_rps, load, seen, provider))
            sys.stderr.write(f"{machine.name}, budget {budget}\n")
    return points


def _tables(points: Sequence[Point]) -> str:
    fitted = _best_spread([point for point in points if point.traffic.fitting])
    parts = [
        "Predicted / simulated by the constants in use, over all loads (median, and the range that holds 80 %):\n\n"
    ]
    rows = [("traffic", "model", "cases", "mean TPOT", "TPOT p95", "TTFT p95", "rate at TPOT", "rate at TTFT")]
    for kind in sorted({point.machine.kind for point in points}):
        for name in dict.fromkeys(point.traffic.name for point in points):
            rows.append(_row(name, kind, [p for p in points if (p.traffic.name, p.machine.kind) == (name, kind)]))
    parts.append(_markdown(rows))
    parts.append("\nThe constants, fitted to conversation and code, tested on the others:\n\n")
    parts.append(_markdown(_constants(points, fitted)))
    parts.append("\n`TPOT_SPREAD` by traffic, each by itself:\n\n")
    names = list(dict.fromkeys(point.traffic.name for point in points))
    own = [_best_spread([point for point in points if point.traffic.name == name]) for name in names]
    parts.append(_markdown([("", *names), ("best", *(f"{value:.2f}" for value in own))]))
    parts.append(
        f"\nTTFT p95 with limits over TTFT p95 without, at {MARGIN_LOAD:.0%} load, by the margin on the load rows:\n\n"
    )
    parts.append(_markdown(_margins(points)))
    parts.append("\nBatch at which a prompt's marginal cost is taken (|error| of TTFT p95 and TPOT p95, mean):\n\n")
    parts.append(_markdown(_decode_batches(points)))
    return "".join(parts) + "\n"


def _row(name: str, kind: str, points: Sequence[Point]) -> tuple[str, ...]:
    return (
        name,
        kind,
        str(len(points)),
        _spread([_mean_gap(p) / p.seen.tpot_mean_s for p in points]),
        _spread([float(p95_tpot_of(p.work, p.rate_rps)) / p.seen.tpot_p95_s for p in points]),
        _spread([float(p95_ttft_of(p.work, p.rate_rps)) / p.seen.ttft_p95_s for p in points if _is_stable(p)]),
        _spread([_rate_at(p, "tpot") / p.rate_rps for p in points]),
        _spread([_rate_at(p, "ttft") / p.rate_rps for p in points]),
    )


def _is_stable(point: Point) -> bool:
    return bool(np.isfinite(p95_ttft_of(point.work, point.rate_rps)))


def _mean_gap(point: Point) -> float:
    """Tm = alpha / (1 - u); infinite where the form sees no time left."""
    used = point.rate_rps * float(point.work.prefill_s + point.work.decode_s)
    return float(point.work.alpha_s) / (1 - used) if used < 1 else float("inf")


def _rate_at(point: Point, promise: str) -> float:
    """The rate at which the form meets what the simulator showed: the capacity that it would have stated, without its
    factor for TTFT."""
    seen = point.seen
    if promise == "tpot":
        return float(capacity_of(point.work, seen.tpot_p95_s, np.inf).tpot_rps)
    return float(capacity_of(point.work, np.inf, seen.ttft_p95_s).ttft_rps) / queueing.TTFT_CAPACITY_FACTOR


def _constants(points: Sequence[Point], fitted_spread: float) -> list[tuple[str, ...]]:
    fit = [point for point in points if point.traffic.fitting]
    test = [point for point in points if not point.traffic.fitting]
    ttft = [
        _quantile([p.rate_rps / _rate_at(p, "ttft") for p in group if _rate_at(p, "ttft") > 0], 0.25)
        for group in (fit, test)
    ]
    rows: list[tuple[str, ...]] = [
        ("constant", "in use", "fitted", "error in use / fitted, fitting", "the same, testing")
    ]
    errors = [
        f"{_spread_error(group, queueing.TPOT_SPREAD):.1%} / {_spread_error(group, fitted_spread):.1%}"
        if group
        else "-"
        for group in (fit, test)
    ]
    rows.append(("`TPOT_SPREAD`", f"{queueing.TPOT_SPREAD:g}", f"{fitted_spread:.2f}", *errors))
    over = [
        f"too high in {_share(p.rate_rps < queueing.TTFT_CAPACITY_FACTOR * _rate_at(p, 'ttft') for p in group):.0%}"
        if group
        else "-"
        for group in (fit, test)
    ]
    rows.append(
        ("`TTFT_CAPACITY_FACTOR`", f"{queueing.TTFT_CAPACITY_FACTOR:g}", f"{ttft[0]:.2f} (tested {ttft[1]:.2f})", *over)
    )
    return rows


def _margins(points: Sequence[Point]) -> list[tuple[str, ...]]:
    """TTFT p95 with so many times the sequences, or the KV, that the load rows count, over TTFT p95 without limits."""
    rows: list[tuple[str, ...]] = [("limit", *(f"x {margin:g}" for margin in MARGINS))]
    cases = [point for point in points if point.load == MARGIN_LOAD and point.budget_tokens == BUDGETS_TOKENS[-1]]
    for name in ("sequences", "KV"):
        cells = []
        for margin in MARGINS:
            cells.append(_spread([_squeezed(point, name, margin) / point.seen.ttft_p95_s for point in cases]))
        rows.append((name, *cells))
    return rows


def _squeezed(point: Point, name: str, margin: float) -> float:
    """TTFT p95 with one of the limits, at the rate at which T is just kept."""
    load = load_of(point.work, point.seen.tpot_p95_s, point.rate_rps)
    sequences = ceil(margin * point.rate_rps * float(load.sequences))
    blocks = ceil(margin * point.rate_rps * float(load.kv_tokens) / 16)
    case = point.machine, point.budget_tokens, point.traffic, point.rate_rps, point.provider
    seen = run(*case, most_sequences=sequences) if name == "sequences" else run(*case, most_blocks=blocks)
    return seen.ttft_p95_s


def _best_spread(points: Sequence[Point]) -> float:
    candidates = np.arange(1.0, 5.0, 0.05)
    return float(min(candidates, key=lambda spread: _spread_error(points, float(spread))))


def _spread_error(points: Sequence[Point], spread: float) -> float:
    """Mean |predicted / simulated - 1| of p95 TPOT with another constant: Tm (1 + spread / 2.6 x (p95 / Tm - 1))."""
    errors = []
    for point in points:
        gap = _mean_gap(point)
        own = float(p95_tpot_of(point.work, point.rate_rps))
        if not np.isfinite(own):
            continue
        predicted = gap + (own - gap) * spread / queueing.TPOT_SPREAD
        errors.append(abs(predicted / point.seen.tpot_p95_s - 1))
    return float(np.mean(errors)) if errors else float("nan")


def _decode_batches(points: Sequence[Point]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("batch", *(str(batch) for batch in DECODE_BATCHES))]
    for name, of in (("TTFT p95", _ttft_error), ("TPOT p95", _tpot_error)):
        cells = []
        for batch in DECODE_BATCHES:
            errors = [
                of(point, workload(served_of(point.traffic), _timing_with(point, batch)))
                for point in points
                if point.load <= LOADS[-2]
            ]
            finite = [error for error in errors if np.isfinite(error)]
            cells.append(f"{np.mean(finite):.1%}")
        rows.append((name, *cells))
    return rows


def _timing_with(point: Point, decode_batch: int) -> ReplicaTiming:
    context = round(served_of(point.traffic).resident_tokens)
    operating = point.seen.tpot_p95_s
    return timing_of(
        point.steps, point.budget_tokens, tpot_s=operating, context_tokens=context, decode_batch=decode_batch
    )


def _ttft_error(point: Point, work: Workload) -> float:
    return abs(float(p95_ttft_of(work, point.rate_rps)) / point.seen.ttft_p95_s - 1)


def _tpot_error(point: Point, work: Workload) -> float:
    return abs(float(p95_tpot_of(work, point.rate_rps)) / point.seen.tpot_p95_s - 1)


def _quantile(values: Sequence[float], share: float) -> float:
    return float(np.quantile(values, share)) if values else float("nan")


def _share(holds: Iterable[bool]) -> float:
    return float(np.mean(list(holds)))


def _spread(values: Sequence[float]) -> str:
    finite = [value for value in values if np.isfinite(value)]
    if not finite:
        return "-"
    low, middle, high = np.quantile(finite, (0.1, 0.5, 0.9))
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def _markdown(rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + " --- |" * len(rows[0]))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
