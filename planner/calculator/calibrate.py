"""Measured runs against the calculator's own predictions: factors for each GPU and engine, and exact matches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from planner.calculator.inputs import Inputs, look_up
from planner.calculator.latency_query import Base, LatencyQuery
from planner.calculator.query import KvQuery
from planner.calculator.replica import Replica, replica_of
from planner.catalog.latency import Calibration, LatencyRun, System
from planner.catalog.parallel import parse_parallel
from planner.errors import InputError
from planner.performance.measured.belongs import place_of
from planner.performance.measured.calibrate import same_replica, scaled, spread
from planner.scenario.source import Findings

MOST_NAMED = 3
"""Sources of a calibration that are named; the others are counted."""


@dataclass(frozen=True)
class _Against:
    """A run, and the replica that predicts it."""

    run: LatencyRun
    replica: Replica
    system: System

    @property
    def tpot_ratio(self) -> float | None:
        """Measured over predicted TPOT."""
        if self.run.tpot_us is None:
            return None
        return self.run.tpot_us / 1e6 / self.replica.loop(self.run.concurrency).tpot_s


def calibrations(runs: Sequence[LatencyRun], provider: Base, findings: Findings) -> tuple[Calibration, ...]:
    """What runs say of a provider: one calibration for each replica, and one for each GPU and engine.

    Args:
        runs: of any replicas; those of one GPU and engine are of one release.
        provider: whose predictions they are held against.
        findings: gets the runs that the provider cannot predict.
    """
    against = _predicted(runs, provider, findings)
    found = []
    for gpu, engine in sorted({(each.system.gpu, each.system.engine_name) for each in against}):
        group = [each for each in against if (each.system.gpu, each.system.engine_name) == (gpu, engine)]
        for system in sorted({each.system for each in group}):
            found.append(_calibration([each for each in group if each.system == system], system))
        found.append(_calibration(group, None))
    return tuple(each for each in found if each is not None)


def _predicted(runs: Sequence[LatencyRun], provider: Base, findings: Findings) -> list[_Against]:
    """Every run with its replica; replicas of the same question are made once."""
    made: dict[LatencyQuery, Replica | None] = {}
    found = []
    for run in runs:
        query = question_of(run, provider)
        if query not in made:
            made[query] = _replica(query, run, findings)
        replica = made[query]
        if replica is not None:
            found.append(_Against(run, replica, replace(run.system, model=replica.model_id)))
    return found


def _replica(query: LatencyQuery, run: LatencyRun, findings: Findings) -> Replica | None:
    try:
        inputs = look_up(query.kv)
        if not isinstance(inputs, Inputs):
            raise InputError(inputs)
        return replica_of(query, inputs)
    except InputError as error:
        for wrong in error.diagnostics:
            words = f"no prediction to hold this run against: {wrong.message}"
            findings.add(place_of(run), "KV974", words)
        return None


def question_of(run: LatencyRun, provider: Base) -> LatencyQuery:
    """The question whose answer a run measured, for one user."""
    shape = parse_parallel(run.system.parallel)
    assert not isinstance(shape, str)  # the reader of runs has read it
    accepted = run.accepted_tokens
    kv = KvQuery(
        model=run.system.model,
        contexts_tokens=(run.input_tokens + -(-run.output_tokens // 2),),
        batches=(1,),
        kv_dtype=run.system.kv_dtype,
        shape=shape,
        engine=run.system.engine,
        gpu=run.system.gpu,
        weights=run.system.weights,
        max_num_batched_tokens=run.max_num_batched_tokens,
        speculative_tokens=-(-accepted.numerator // accepted.denominator) - 1,
    )
    return LatencyQuery(kv, run.input_tokens, run.output_tokens, provider, accepted_tokens=accepted)


def _calibration(group: Sequence[_Against], system: System | None) -> Calibration | None:
    """Medians and spreads of one group; None where no run of it has a TPOT."""
    ratios = [ratio for each in group if (ratio := each.tpot_ratio) is not None]
    if not ratios:
        return None
    own = group[0].replica.step.band
    tpot = spread(ratios, own.tpot_p10, own.tpot_p50, own.tpot_p90)
    first = group[0].system
    engine = first.engine
    bare = Calibration(first.gpu, engine, system, tpot, None, _sources(each.run for each in group))
    slower = [ratio for each in group if (ratio := _ttft_ratio(each, bare)) is not None]
    if not slower:
        return bare
    return replace(bare, ttft=spread(slower, own.ttft_p10, own.ttft_p50, own.ttft_p90))


def _ttft_ratio(each: _Against, tpot: Calibration) -> float | None:
    """Measured over predicted TTFT once steps are scaled; None for open loops and where requests queue for KV."""
    run = each.run
    loop = replace(each.replica, step=scaled(each.replica.step, tpot)).loop(run.concurrency)
    if run.ttft_us is None or not run.is_closed_loop or loop.running < run.concurrency:
        return None
    return run.ttft_us / 1e6 / loop.ttft_s


def _sources(runs: Iterable[LatencyRun]) -> str:
    """Who measured: harnesses and sources, the first few by name."""
    names = list(dict.fromkeys(f"{run.harness}: {run.source}" for run in runs))
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return "; ".join(names[:MOST_NAMED]) + more


LENGTHS_AGREE = Fraction(2, 100)
"""How far mean lengths may be from what is asked and still be the same: harnesses draw prompts around a length."""


def exact_matches(
    runs: Sequence[LatencyRun], system: System, query: LatencyQuery, max_num_batched_tokens: int, users: int
) -> list[LatencyRun]:
    """Runs of exactly what is asked: same replica, lengths, users and speculation, no prefix hits."""
    if query.prefix_hits_ppm:
        return []
    return [
        run
        for run in runs
        if same_replica(run.system, system)
        and run.is_closed_loop
        and run.concurrency == users
        and run.accepted_tokens == query.accepted_tokens
        and run.max_num_batched_tokens in (None, max_num_batched_tokens)
        and _agree(run.input_tokens, query.input_tokens)
        and _agree(run.output_tokens, query.output_tokens)
    ]


def _agree(measured: int, asked: int) -> bool:
    return abs(measured - asked) <= LENGTHS_AGREE * asked
