"""Solving many scenarios at once: a pool of processes, rows in the order of the grid.

Each process loads the scenario itself and sends back a row, so that nothing large travels. Processes end with their
parent however it ends: each waits for it in a thread of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass

from planner import pipeline
from planner.sweep.grid import check_grid, invalid_row, points, row_of
from planner.sweep.types import SWEEP_FORMAT_VERSION, Axis, Point, Row, Sweep

Progress = Callable[[str], None]

POLL_S = 0.1
"""How often the waiting parent looks for an interrupt."""


@dataclass(frozen=True)
class Task:
    """Everything that a process needs for one row."""

    file: str
    sets: tuple[str, ...]
    what_if: tuple[str, ...]
    values: tuple[str, ...]
    time_limit_s: float


def default_jobs() -> int:
    """The processors that this process may use. A solve runs on one."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:  # only Linux knows
        return max(1, os.cpu_count() or 1)


def run_sweep(
    file: str,
    axes: Sequence[Axis],
    sets: Sequence[str] = (),
    what_if: Sequence[str] = (),
    *,
    jobs: int = 1,
    time_limit_s: float = 300.0,
    progress: Progress | None = None,
) -> Sweep:
    """Solves every combination of a grid.

    Args:
        file: The scenario.
        axes: The lines that vary.
        sets: Overrides of every combination, applied before those of the grid.
        what_if: Blocks of the file, applied to every combination.
        jobs: Processes; with one, this process solves.
        time_limit_s: Wall clock for each plan.
        progress: Called with a line after each plan.

    Raises:
        InputError: the file or a value is wrong.
    """
    scenario = pipeline.load(file, sets, what_if)
    broken = check_grid(file, axes, sets, what_if)
    grid = points(axes)
    rows: dict[int, Row] = {i: invalid_row(grid[i].values, why) for i, why in broken.items()}
    tasks = {
        point.index: _task(file, axes, sets, what_if, point, time_limit_s) for point in grid if point.index not in rows
    }
    tell = _teller(len(tasks), progress)
    jobs = min(jobs, len(tasks))
    rows |= _in_pool(tasks, jobs, tell) if jobs > 1 else _here(tasks, tell)
    ordered = tuple(rows[point.index] for point in grid)
    return Sweep(
        SWEEP_FORMAT_VERSION, file, scenario.name, scenario.currency, tuple(sets), tuple(what_if), tuple(axes), ordered
    )


def _task(
    file: str, axes: Sequence[Axis], sets: Sequence[str], what_if: Sequence[str], point: Point, time_limit_s: float
) -> Task:
    return Task(file, (*sets, *point.sets(axes)), tuple(what_if), point.values, time_limit_s)


def _teller(total: int, progress: Progress | None) -> Callable[[int], None]:
    def tell(done: int) -> None:
        if progress is not None:
            progress(f"{done} of {total} plans")

    return tell


def _here(tasks: dict[int, Task], tell: Callable[[int], None]) -> dict[int, Row]:
    rows: dict[int, Row] = {}
    for index, task in tasks.items():
        tell(len(rows))
        rows[index] = solve_task(task)
    return rows


def _in_pool(tasks: dict[int, Task], jobs: int, tell: Callable[[int], None]) -> dict[int, Row]:
    from multiprocessing import get_context

    rows: dict[int, Row] = {}
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=leave_with_parent)
    try:
        waiting: dict[Future[Row], int] = {pool.submit(solve_task, task): index for index, task in tasks.items()}
        tell(0)
        while waiting:
            done, _ = wait(waiting, timeout=POLL_S, return_when=FIRST_COMPLETED)
            for future in done:
                rows[waiting.pop(future)] = future.result()
                tell(len(rows))
    except BaseException:
        stop(pool)
        raise
    pool.shutdown()
    return rows


def stop(pool: ProcessPoolExecutor) -> None:
    """Ends the pool now: what is being solved is of no use to anybody."""
    processes: Iterable[object] = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        terminate = getattr(process, "terminate", None)
        if terminate is not None:
            terminate()


def leave_with_parent() -> None:
    """Ends this process when its parent has ended. Solvers run in C++ and would finish their work first."""
    import threading
    from multiprocessing import parent_process
    from multiprocessing.connection import wait as wait_for

    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent").start()


def solve_task(task: Task) -> Row:
    """One row: loads, solves, and keeps what a table shows."""
    scenario = pipeline.load(task.file, task.sets, task.what_if)
    plan = pipeline.plan(scenario, pipeline.Options(task.time_limit_s), task.file)
    return row_of(task.values, plan)
