"""What may be mixed: runs of one release of an engine on one kind of GPU calibrate together, nothing else does."""

from __future__ import annotations

from collections.abc import Sequence

from planner.catalog.latency import LatencyRun
from planner.scenario.source import Findings
from planner.scenario.types import Place


def same_release(one: str, other: str) -> bool:
    """Whether two versions are of one release: the shorter one is the beginning of the other.

    >>> same_release("0.24", "0.24.0"), same_release("0.2", "0.24.0")
    (True, False)
    """
    pairs = zip(one.split("."), other.split("."), strict=False)
    return bool(one) and bool(other) and all(left == right for left, right in pairs)


def check_releases(runs: Sequence[LatencyRun], findings: Findings) -> None:
    """Reports runs of two releases of one engine on one GPU: their average is the speed of neither."""
    first: dict[tuple[str, str], LatencyRun] = {}
    for run in runs:
        system = run.system
        known = first.setdefault((system.gpu, system.engine_name), run)
        if not same_release(system.engine_version, known.system.engine_version):
            message = (
                f"measured with {system.engine} on {system.gpu}, but {known.place} with {known.system.engine}: "
                "two releases do not mix; leave one of them out"
            )
            findings.add(place_of(run), "KV973", message)


def place_of(run: LatencyRun) -> Place:
    """Where a run stands."""
    file, _, line = run.place.rpartition(":")
    return Place(file, int(line), 1) if file and line.isdigit() else Place(run.place, 0, 0)


def applies(run: LatencyRun, gpu: str, engine: str) -> bool:
    """Whether a run says something of an engine (`name@version`) on a GPU."""
    name, _, version = engine.partition("@")
    system = run.system
    return (system.gpu, system.engine_name) == (gpu, name) and same_release(system.engine_version, version)
