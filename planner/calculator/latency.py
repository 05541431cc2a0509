"""The latency of a replica: a row for each batch, in the steady state of a closed loop, with provider and band.

Where a run of the user's has exactly what is asked, it is the answer; else the runs calibrate the prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from planner.calculator.calibrate import exact_matches
from planner.calculator.inputs import Inputs
from planner.calculator.latency_query import LatencyQuery
from planner.calculator.replica import Replica, replica_of, request_of
from planner.calculator.types import Taken
from planner.catalog.latency import Calibration, LatencyRun, System
from planner.catalog.parallel import Parallel
from planner.catalog.types import EngineRules, GpuFacts, ModelFacts
from planner.performance.closed_loop import ClosedLoop, Limits, Users
from planner.performance.measured.calibrate import scaled, system_of_request
from planner.performance.provider import LatencyBand


@dataclass(frozen=True)
class LatencyRow:
    """One batch: the loop, and who says so. Times are in seconds.

    `uncalibrated` is the loop as the provider alone predicts it; None where nothing was measured. `measured` are the
    runs of exactly this batch whose medians the figures are.
    """

    loop: ClosedLoop
    tpot_s: float
    ttft_s: float
    output_tokens_per_s: float
    provider: str
    band: LatencyBand
    uncalibrated: ClosedLoop | None = None
    measured: tuple[LatencyRun, ...] = ()

    @property
    def waiting(self) -> int:
        """Requests that wait in the engine's queue."""
        return self.loop.users - self.loop.running


@dataclass(frozen=True)
class LatencyAnswer:
    """The answer to one question, with every default that was taken."""

    model: ModelFacts
    engine: EngineRules
    gpu: GpuFacts
    shape: Parallel
    weights: str
    kv_dtype: str
    preset: str | None
    users: Users
    limits: Limits
    rows: tuple[LatencyRow, ...]
    slo_tpot_us: int | None
    slo_ttft_us: int | None
    estimated: tuple[str, ...]
    defaults: tuple[Taken, ...]
    warnings: tuple[str, ...]
    misfit: str = ""
    """Why the replica cannot start at all; empty where it can."""


def latency(query: LatencyQuery, inputs: Inputs) -> LatencyAnswer:
    """Answers a question whose names are looked up.

    Raises:
        InputError: the shape or the storage does not go with the model, no provider times the replica, or measured
        results cannot be read or do not belong here.
    """
    assert inputs.gpu is not None  # the question names one
    replica = replica_of(query, inputs)
    system = system_of_request(request_of(inputs))
    runs, found, trusted = _measured(query, inputs, system)
    rows = tuple(_row(query, replica, system, runs, found, count) for count in query.kv.batches)
    return LatencyAnswer(
        model=inputs.model,
        engine=inputs.engine,
        gpu=inputs.gpu,
        shape=inputs.shape,
        weights=inputs.weights,
        kv_dtype=inputs.storage.flag,
        preset=inputs.storage.preset,
        users=replica.users,
        limits=replica.limits,
        rows=rows,
        slo_tpot_us=query.slo_tpot_us,
        slo_ttft_us=query.slo_ttft_us,
        estimated=replica.step.estimated,
        defaults=replica.defaults,
        warnings=(*replica.warnings, *trusted),
        misfit=replica.misfit,
    )


def _measured(
    query: LatencyQuery, inputs: Inputs, system: System
) -> tuple[tuple[LatencyRun, ...], Calibration | None, tuple[str, ...]]:
    """The runs that were named, what they say of predictions for this replica, and what is taken on trust."""
    if not query.measured:
        return (), None, ()
    from planner.calculator.measured import measured_for  # readers of files take time to load

    return measured_for(query, inputs, system)


def _row(
    query: LatencyQuery,
    replica: Replica,
    system: System,
    runs: Sequence[LatencyRun],
    found: Calibration | None,
    count: int,
) -> LatencyRow:
    """The figures of one batch: measured, else calibrated, else as predicted."""
    bare = replica.loop(count)
    if found is None:
        step = replica.step
        return LatencyRow(bare, bare.tpot_s, bare.ttft_s, bare.output_tokens_per_s, step.provider, step.band)
    step = scaled(replica.step, found)
    loop = replace(replica, step=step).loop(count, float(step.band.ttft_p50))
    row = LatencyRow(
        loop, loop.tpot_s, loop.ttft_s, loop.output_tokens_per_s, step.provider, _around(step.band), uncalibrated=bare
    )
    own = exact_matches(runs, system, query, replica.limits.max_num_batched_tokens, count)
    return _as_measured(row, own, replica.users) if own else row


def _around(band: LatencyBand) -> LatencyBand:
    """The band around figures that its median already entered."""
    middle = band.ttft_p50
    return replace(band, ttft_p10=band.ttft_p10 / middle, ttft_p50=middle / middle, ttft_p90=band.ttft_p90 / middle)


def _as_measured(row: LatencyRow, own: Sequence[LatencyRun], users: Users) -> LatencyRow:
    """The row with medians of the runs of exactly this question; what they did not measure stays calibrated."""
    tpots = [run.tpot_us / 1e6 for run in own if run.tpot_us is not None]
    ttfts = [run.ttft_us / 1e6 for run in own if run.ttft_us is not None]
    rates = [float(run.output_tokens_per_s) for run in own if run.output_tokens_per_s is not None]
    tpot_s = median(tpots) if tpots else row.tpot_s
    ttft_s = median(ttfts) if ttfts else row.ttft_s
    request_s = ttft_s + (users.output_tokens - 1) * tpot_s
    rate = median(rates) if rates else row.loop.users / request_s * users.output_tokens
    sources = "; ".join(dict.fromkeys(f"{run.harness}: {run.source}" for run in own))
    return replace(
        row,
        tpot_s=tpot_s,
        ttft_s=ttft_s,
        output_tokens_per_s=rate,
        provider=f"measured, {len(own)} run{'s' if len(own) > 1 else ''} of exactly this ({sources})",
        measured=tuple(own),
    )


CURVE_POINTS = 41


def curve_batches(most: int) -> tuple[int, ...]:
    """Batches from 1 to `most`, evenly on a scale of factors.

    >>> curve_batches(8)
    (1, 2, 3, 4, 5, 6, 7, 8)
    """
    steps = CURVE_POINTS - 1
    return tuple(sorted({round(most ** (step / steps)) for step in range(CURVE_POINTS)}))
