"""`kvplan locked`: the locks of many scenarios at once, as a hook wants it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from planner.cli.output import EXIT_DISPROVED, say
from planner.cli.solve import finite
from planner.errors import Diagnostic, InputError


@click.command(short_help="Compare scenarios with their locks.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(), metavar="PATH...")
@click.option(
    "--time-limit",
    default=300.0,
    show_default=True,
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    callback=finite,
    help="For each plan.",
)
def locked(paths: tuple[str, ...], time_limit: float) -> None:
    """Solve every scenario that has a lock and compare: exit 6 names what differs.

    A PATH is a scenario, its lock, or a folder with locks in it. A scenario without a lock is passed over.

    \b
    Example:
      kvplan locked scenarios
    """
    files = _scenarios(paths)
    stale = 0
    problems: list[Diagnostic] = []
    for file in files:
        try:
            stale += not _holds(file, time_limit)
        except InputError as error:
            problems += error.diagnostics
    if problems:
        raise InputError(problems)
    if stale:
        sys.exit(EXIT_DISPROVED)


def _holds(file: str, time_limit: float) -> bool:
    """Whether a scenario is as it was locked; says what is not."""
    from planner import pipeline
    from planner.cli.lock_file import tell
    from planner.plan.lock import inputs_lock, lock_path, mismatches, read_lock, with_plan

    scenario = pipeline.load(file)
    stored, now = read_lock(lock_path(file)), inputs_lock(scenario)
    found = mismatches(stored, now)
    if not found:
        plan = pipeline.plan(scenario, pipeline.Options(time_limit), file)
        found = mismatches(stored, with_plan(now, plan))
    if found:
        tell(file, found)
        return False
    say(f"{file}: as locked")
    return True


def _scenarios(paths: tuple[str, ...]) -> list[str]:
    """The scenarios that have a lock, each once, in the order of the names."""
    from planner.plan.lock import SUFFIX, lock_path, scenario_path

    found: set[str] = set()
    for path in paths:
        if Path(path).is_dir():
            found |= {scenario_path(str(lock)) for lock in Path(path).rglob(f"*{SUFFIX}")}
        elif path.endswith(SUFFIX):
            found.add(scenario_path(path))
        elif Path(lock_path(path)).exists():
            found.add(path)
    return sorted(found)
