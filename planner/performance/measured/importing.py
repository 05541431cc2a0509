"""From results of a harness to a profile that says which replica they were measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from planner.catalog.latency import LatencyRun
from planner.errors import InputError
from planner.performance.measured.belongs import place_of
from planner.performance.measured.files import read_runs
from planner.scenario.source import Findings
from planner.scenario.types import Place


def import_runs(
    paths: Sequence[str], said: Mapping[str, str], slo_tpot_us: int | None, slo_ttft_us: int | None
) -> tuple[LatencyRun, ...]:
    """The runs of several files, all of one replica, in the order of the files.

    Args:
        paths: results of harnesses, tables or profiles.
        said: what the user says of the replica, by the keys of profiles.
        slo_tpot_us: the promise under which it was measured, if any; likewise `slo_ttft_us`.

    Raises:
        InputError: files that cannot be read, have mistakes, or were measured on different replicas.
    """
    findings = Findings()
    runs = [run for path in paths for run in read_runs(path, Place(path, 0, 0), said, findings)]
    for run in runs[1:]:
        first = runs[0]
        if run.system != first.system:
            message = f"measured on {run.system}; {first.place} on {first.system}: a profile is of one replica"
            findings.add(place_of(run), "KV973", message)
        elif run.source != first.source and not said.get("source"):
            message = (
                f"source {run.source!r}; {first.place} has {first.source!r}: say with --source what stands for all"
            )
            findings.add(place_of(run), "KV973", message)
    if findings.items:
        raise InputError(findings.items)
    source = said.get("source")
    return tuple(
        replace(
            run,
            source=source or run.source,
            slo_tpot_us=slo_tpot_us or run.slo_tpot_us,
            slo_ttft_us=slo_ttft_us or run.slo_ttft_us,
        )
        for run in runs
    )
