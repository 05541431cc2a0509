"""Files of measured latencies: read, checked against the scenario or the question that names them, held against
predictions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from planner.calculator.calibrate import calibrations
from planner.calculator.inputs import Inputs
from planner.calculator.latency_query import LatencyQuery
from planner.catalog.latency import Calibration, LatencyRun, System
from planner.errors import InputError
from planner.performance.measured.belongs import applies, check_releases
from planner.performance.measured.calibrate import calibration_for
from planner.performance.measured.files import read_runs
from planner.scenario.source import Findings
from planner.scenario.types import Place, Scenario


def with_measured(scenario: Scenario) -> Scenario:
    """The scenario with the runs of its `performance.measured` files and what they say of its provider.

    Raises:
        InputError: files that cannot be read, have mistakes, mix what does not belong together, or say nothing of any
        GPU and engine of the scenario.
    """
    performance = scenario.performance
    if not performance.measured:
        return scenario
    findings = Findings()
    places = scenario.places
    here = next((places[key] for key in ("performance.measured", "performance") if key in places), Place("", 0, 0))
    runs: list[LatencyRun] = []
    for path in performance.measured:
        read = read_runs(path, here, {}, findings)
        if read and not any(_applies(run, scenario) for run in read):
            first = read[0].system
            message = f"{Path(path).name}: no model and pool of this scenario use {first.engine} on {first.gpu}"
            findings.add(here, "KV974", f"{message}; leave the file out")
        runs += (run for run in read if _applies(run, scenario))
    check_releases(runs, findings)
    found = calibrations(runs, performance.provider, findings) if not findings.items else ()
    if findings.items:
        raise InputError(findings.items)
    read_now = replace(
        performance,
        measured=tuple(Path(path).name for path in performance.measured),
        runs=tuple(replace(run, place=_by_name(run.place)) for run in runs),
        calibrations=found,
    )
    return replace(scenario, performance=read_now)


def _by_name(place: str) -> str:
    """A place by its file's name: plans are the same wherever their scenario lies."""
    return Path(place).name


def _applies(run: LatencyRun, scenario: Scenario) -> bool:
    return any(applies(run, gpu, engine) for gpu in _gpus(scenario) for engine in _engines(scenario))


def _gpus(scenario: Scenario) -> Iterable[str]:
    return (pool.gpu.id for pool in scenario.inventory.values())


def _engines(scenario: Scenario) -> Iterable[str]:
    return (model.engine.requested for model in scenario.models.values() if model.engine is not None)


def measured_for(
    query: LatencyQuery, inputs: Inputs, system: System
) -> tuple[tuple[LatencyRun, ...], Calibration | None, tuple[str, ...]]:
    """The runs that a question names, what they say of predictions for its replica, and what is taken on trust.

    Raises:
        InputError: a file cannot be read, has mistakes, mixes what does not belong together, or says nothing of the
        GPU and engine that are asked.
    """
    findings = Findings()
    asked = {
        "model": query.kv.model,
        "gpu": system.gpu,
        "engine": system.engine,
        "parallel": system.parallel,
        "weights": system.weights,
        "kv_dtype": system.kv_dtype,
        "max_num_batched_tokens": str(query.kv.max_num_batched_tokens or ""),
    }
    runs: list[LatencyRun] = []
    for path in query.measured:
        here = Place(path, 0, 0)
        read = read_runs(path, here, asked, findings)
        if read and not any(applies(run, system.gpu, system.engine) for run in read):
            first = read[0].system
            message = f"measured on {first.gpu} with {first.engine}, asked is {system.gpu} with {system.engine}"
            findings.add(here, "KV974", f"{message}; leave the file out")
        runs += read
    check_releases(runs, findings)
    applying = [run for run in runs if applies(run, system.gpu, system.engine)]
    known = calibrations(applying, query.provider, findings) if not findings.items else ()
    if findings.items:
        raise InputError(findings.items)
    names = (system.model, query.kv.model, str((query.kv.base_dir / query.kv.model).absolute()))
    own = tuple(_named(run, names) for run in runs)
    return own, calibration_for(known, system), tuple(_taken_on_trust(query.measured))


def _taken_on_trust(paths: Sequence[str]) -> list[str]:
    """Files that do not say which replica they were measured on."""
    trusted = [path for path in paths if not read_runs(path, Place(path, 0, 0), {}, Findings())]
    return [f"{path} does not say its replica: taken as the one that is asked" for path in trusted]


def _named(run: LatencyRun, names: tuple[str, ...]) -> LatencyRun:
    """The run under the first of several names of the model that is asked, where it has one of the others."""
    if run.system.model not in names:
        return run
    return replace(run, system=replace(run.system, model=names[0]))
