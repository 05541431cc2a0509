"""The pool: same rows whatever solves them, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from planner.sweep.executors import default_jobs, run_sweep
from planner.sweep.types import Axis

ROOT = Path(__file__).parents[2]
FIRST = "examples/01-first-plan/scenario.yaml"
PROD = "scenarios/prod.yaml"


def test_a_pool_gives_the_rows_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes and one give the same document; progress counts up to the number of plans."""
    monkeypatch.chdir(ROOT)
    axes = (
        Axis("traffic.questions.peak", ("6 req/s", "12 req/s")),
        Axis("traffic.questions.mean", ("4 req/s", "8 req/s")),
    )
    lines: list[str] = []
    alone = run_sweep(FIRST, axes, jobs=1)
    together = run_sweep(FIRST, axes, jobs=2, progress=lines.append)
    assert alone == together
    assert [row.status for row in alone.rows] == ["optimal", "invalid", "optimal", "optimal"]
    assert lines == [f"{n} of 3 plans" for n in range(4)]


def test_overrides_hold_in_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A --set beside the grid changes all its plans, and the document names it."""
    monkeypatch.chdir(ROOT)
    axes = (Axis("traffic.questions.slo.tpot_p95", ("40ms", "12ms")),)
    done = run_sweep(FIRST, axes, ["inventory.h100.price=$10.00/gpu/h"])
    assert done.sets == ("inventory.h100.price=$10.00/gpu/h",)
    assert [row.cost_per_month for row in done.rows] == ["4521.328", "14600.00"]


def test_at_least_one_process() -> None:
    """The default number of processes is that of the processors this process may use."""
    assert default_jobs() >= 1


def _group(leader: int) -> list[int]:
    """Live processes of a process group, from /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(") ")[2].split() if entry.name.isdigit() else []
        except OSError:
            continue
        if fields and int(fields[2]) == leader and fields[0] != "Z":
            found.append(int(entry.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_processes_end_with_their_parent(how: signal.Signals) -> None:
    """After Ctrl-C, and even when only the parent is killed, no solving process is left."""
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "if __name__ == '__main__':\n    from planner.cli.main import main; main()"
    )
    vary = "traffic.chat.peak=" + ",".join(f"{n} req/s" for n in range(18, 40))
    args = [sys.executable, "-c", code, "sweep", PROD, "--vary", vary, "--jobs", "2"]
    process = subprocess.Popen(
        args, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 40
        while len(_group(process.pid)) < 4 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(_group(process.pid)) >= 4, "parent, resource tracker and two workers"
        os.kill(process.pid, how)
        assert process.wait(20) == (130 if how == signal.SIGINT else -signal.SIGKILL)
        while _group(process.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert _group(process.pid) == []
    finally:
        for pid in _group(process.pid):
            os.kill(pid, signal.SIGKILL)
        out, error = process.communicate(timeout=20)
    assert out == b""
    if how == signal.SIGINT:
        assert error.endswith(b"kvplan: interrupted; nothing was written\n")
