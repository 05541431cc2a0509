"""The simulator against measured closed loops: every row of `silicon_sample.csv` that the provider covers, played.

The sample ships inside aiconfigurator-core (`pip install 'kvplan[silicon]'`) and is read there; silicon_rows.py says
how. Each row is a replica with so many users, who ask again as soon as they are answered: ten rounds, lengths uniform
in the range of the harness, prompts and answers timed step by step by the provider. Beside it the closed form of
planner/performance/closed_loop.py for the same row.
    python tests/bench/silicon_closed_loop.py [--provider roofline|silicon] [--every N] [--docs docs/simulation.md]
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from silicon_pool import pool_sequences
from silicon_rows import INFERENCEX_LENGTH_SHARE, MissingPackage, Row, read_rows, sample_path
from silicon_score import BATCHED_TOKENS, Scored, score, step_of

from planner.performance.closed_loop import SERVER_S
from planner.performance.provider import ProviderName, StepModel
from planner.simulate.pool import PoolRules
from planner.simulate.replica import Replica, ReplicaRules
from planner.simulate.request import Request
from planner.simulate.steps import StepTable

NO_PACKAGE = "The measured rows ship inside aiconfigurator-core; install it with: pip install 'kvplan[silicon]'"
ROUNDS = 10
MOST_SEQUENCES = 1024
BLOCK = re.compile(r"(<!-- closed loops -->\n).*?(<!-- /closed loops -->)", re.DOTALL)

Errors = tuple[float, float, float, float]
"""Simulated / measured of TPOT and TTFT, then the closed form's."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Plays the rows and prints the table; 2 without the package."""
    parser = argparse.ArgumentParser(description="Simulated against measured closed loops.")
    parser.add_argument("--provider", choices=("roofline", "silicon"), default="silicon")
    parser.add_argument("--every", type=int, default=1, help="play every Nth row")
    parser.add_argument("--docs", type=Path, help="document whose table is renewed")
    options = parser.parse_args(arguments)
    try:
        path = sample_path()
    except MissingPackage:
        sys.stderr.write(NO_PACKAGE + "\n")
        return 2
    rows, _ = read_rows(path)
    scored, _ = score(rows, options.provider)
    groups: dict[tuple[str, str], list[Errors]] = defaultdict(list)
    for each in scored[:: options.every]:
        groups[each.row.engine.partition("@")[0], each.kind].append(_errors(each, options.provider))
    text = _table(groups, options.provider)
    if options.docs is not None:
        document = options.docs.read_text(encoding="utf-8")
        options.docs.write_text(BLOCK.sub(lambda found: found[1] + "\n" + text + found[2], document), encoding="utf-8")
    sys.stdout.write(text)
    return 0


def _errors(each: Scored, provider: ProviderName) -> Errors:
    step = step_of(each.row, provider)
    assert not isinstance(step, str)
    ttft_s, tpot_s = played(each.row, step)
    return tpot_s / each.row.tpot_s, ttft_s / each.row.ttft_s, each.tpot_ratio, each.ttft_ratio


def played(row: Row, step: StepModel) -> tuple[float, float]:
    """Mean TTFT and TPOT of a row in the simulator, in seconds."""
    rng = np.random.default_rng(1)
    pool = pool_sequences(row)
    most = min(MOST_SEQUENCES, pool) if pool else MOST_SEQUENCES
    count = ROUNDS * row.concurrency
    inputs, outputs = (_lengths(tokens, row, count, rng) for tokens in (row.input_tokens, row.output_tokens))
    longest = int(inputs.max() + outputs.max())
    rules = ReplicaRules(most, BATCHED_TOKENS, longest + 1, PoolRules(16, 10**9))
    replica = Replica(rules, StepTable(step, longest, BATCHED_TOKENS))
    waiting = [Request(n, 0, 0.0, int(inputs[n]), int(outputs[n])) for n in range(count)]
    done = list(waiting)
    waiting.reverse()
    while waiting or replica.busy:
        while waiting and replica.load < row.concurrency:
            request = waiting.pop()
            request.arrival_s = replica.now_s
            replica.arrive(request, replica.now_s)
        replica.step()
    ttft = np.mean([one.first_s - one.arrival_s for one in done])
    tpot = np.mean([(one.end_s - one.first_s) / max(1, one.output_tokens - 1) for one in done])
    return float(ttft) + SERVER_S, float(tpot)


def _lengths(tokens: int, row: Row, count: int, rng: np.random.Generator) -> np.ndarray:
    """Fixed, or uniform in [0.8 L, L] where the mean is 0.9 L."""
    if row.harness != "InferenceX":
        return np.full(count, tokens)
    longest = tokens / INFERENCEX_LENGTH_SHARE
    return np.maximum(1, rng.uniform(0.8 * longest, longest, count).round().astype(np.int64))


def _table(groups: dict[tuple[str, str], list[Errors]], provider: str) -> str:
    lines = [
        f"Provider `{provider}`; simulated / measured (median) and mean absolute error, closed form in brackets:\n",
        "| engine | kind | rows | TPOT median | TPOT error | TTFT median | TTFT error |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for (engine, kind), errors in sorted(groups.items()):
        tpot, ttft, own_tpot, own_ttft = (np.array(column) for column in zip(*errors, strict=True))
        cells = []
        for played_ratio, form in ((tpot, own_tpot), (ttft, own_ttft)):
            cells.append(f"{np.median(played_ratio):.2f} ({np.median(form):.2f})")
            cells.append(f"{np.abs(played_ratio - 1).mean():.1%} ({np.abs(form - 1).mean():.1%})")
        lines.append(f"| {engine} | {kind} | {len(errors)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
