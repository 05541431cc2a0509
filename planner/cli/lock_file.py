"""What `solve --lock`, `solve --locked` and `locked` share: reading, comparing and writing the lock of a scenario."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from planner.cli.output import EXIT_DISPROVED, EXIT_NO_PLAN, check_target, fail, say_error, write_whole

if TYPE_CHECKING:
    from planner.plan.lock import Lock, Mismatch
    from planner.plan.types import Plan
    from planner.scenario.types import Scenario


def check_options(
    file: str, output: str | None, lock: bool, locked: bool, overridden: bool, show_candidates: bool
) -> None:
    """Refuses what a lock does not stand for: it is the lock of a file as it is."""
    flag = "--lock" if lock else "--locked"
    if lock and locked:
        raise click.UsageError("--lock writes what --locked compares with; give one of them")
    if overridden:
        raise click.UsageError(f"{flag} is for the file as it is; leave out --set and --what-if")
    if show_candidates:
        raise click.UsageError(f"--show-candidates solves nothing; leave out {flag}")
    from planner.plan.lock import lock_path

    if output is not None and os.path.realpath(output) == os.path.realpath(lock_path(file)):
        raise click.UsageError(f"-o {output} is the lock of this scenario; write another name")


def prepare(file: str, scenario: Scenario, locked: bool) -> Lock:
    """The lock before the plan is known. With `locked`, inputs and catalog are compared first: no solve for nothing."""
    from planner.plan.lock import inputs_lock, lock_path, mismatches, read_lock

    now = inputs_lock(scenario)
    if not locked:
        check_target(lock_path(file))
        return now
    found = mismatches(read_lock(lock_path(file)), now)
    if found:
        sys.exit(tell(file, found))
    return now


def settle(file: str, held: Lock, plan: Plan, locked: bool) -> None:
    """Compares the plan with the lock, or writes the lock."""
    from planner.plan.lock import lock_path, mismatches, read_lock, to_json, with_plan

    now = with_plan(held, plan)
    if locked:
        found = mismatches(read_lock(lock_path(file)), now)
        if found:
            sys.exit(tell(file, found))
        return
    if plan.status != "infeasible" and (plan.totals is None or not plan.run.reproducible):
        fail(
            f"{file}: no lock written: the time limit cut the plan short, so that another run may differ", EXIT_NO_PLAN
        )
    if plan.totals is not None:
        write_whole(lock_path(file), to_json(now))


def tell(file: str, found: Sequence[Mismatch]) -> int:
    """Says on stderr what differs and what to do; returns the exit code."""
    from planner.plan.lock import lock_path

    for mismatch in found:
        say_error(f"{lock_path(file)}: {mismatch}")
    say_error(f"{file} is not as it was locked; review it with `kvplan diff`, then run `kvplan solve {file} --lock`")
    return EXIT_DISPROVED
