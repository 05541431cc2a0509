"""A scenario's measured latencies: files read, checked against the scenario, turned into calibrations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from planner.calculator.calibrate import calibrations
from planner.catalog.latency import LatencyRun
from planner.errors import InputError
from planner.performance.measured.belongs import applies, check_releases
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
