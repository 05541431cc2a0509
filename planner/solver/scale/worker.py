"""The second process: it sharpens the bound of one model after the other while the first improves the plan.

It is started as `python -m planner.solver.scale.worker`, so that it works from any program that uses kvplan. It reads
the program once and then plans as they are found, and writes a line with the bound whenever that rises. With one core
the same work is done in turn.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from planner.solver.program import Program
from planner.solver.scale.flat import Flat
from planner.solver.scale.models import ModelBounds
from planner.solver.scale.prices import Prices

FIRST_S = 3.0
"""Seconds for a model's program at first; each time all of them had their turn it doubles."""


class Turns:
    """Whose program is solved next, and for how long: the model that may still gain most, longer each round."""

    def __init__(self, bounds: ModelBounds) -> None:
        self.bounds, self.limit_s = bounds, FIRST_S
        self.waiting: list[str] = []

    def next(self, replicas: Sequence[int], left_s: float = 1e9) -> bool:
        """Sharpens one model; False when all are solved."""
        if not self.waiting:
            open_ = [model for model in self.bounds.models if model not in self.bounds.closed]
            if not open_:
                return False
            paid = self.bounds.pays(replicas)
            self.waiting = sorted(open_, key=lambda model: (paid[model] - self.bounds.models[model], model))
            self.limit_s *= 1 if self.limit_s == FIRST_S and not self.bounds.closed else 2
        self.bounds.sharpen(self.waiting.pop(), replicas, min(self.limit_s, max(0.1, left_s)))
        return True


class Sharpener:
    """The bound as it rises: from a second process, or in turn with the search."""

    def __init__(
        self, program: Program, flat: Flat, weights: Sequence[int], prices: Prices, replicas: Sequence[int]
    ) -> None:
        self._turns: Turns | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._sent: Sequence[int] = replicas
        self._found: list[int] = []
        if _cores() < 2:
            self._turns = Turns(ModelBounds(program, flat, weights, prices))
            return
        root = str(Path(__file__).parents[3])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "planner.solver.scale.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._send((program, flat, tuple(weights), prices, tuple(replicas)))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def bound(self, replicas: Sequence[int], left_s: float) -> int | None:
        """The best bound so far, after telling the plan; None before the first."""
        if self._turns is not None:
            self._turns.next(replicas, left_s)
            return self._turns.bounds.value
        if replicas != self._sent:
            self._sent = replicas
            self._send(tuple(replicas))
        return max(self._found, default=None)

    def __enter__(self) -> Sharpener:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):  # what was not read any more
                if pipe is not None:
                    pipe.close()

    def _send(self, what: object) -> None:
        """Hands something to the process; if it has died, the bound stays what it is."""
        assert self._process is not None and self._process.stdin is not None
        with suppress(BrokenPipeError):
            pickle.dump(what, self._process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        for line in self._process.stdout:
            self._found.append(int(line))


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux knows
        return os.cpu_count() or 1


def main(source: BinaryIO, out: BinaryIO) -> None:
    """Sharpens until all models are solved or the parent is gone."""
    program, flat, weights, prices, replicas = pickle.load(source)  # noqa: S301 - from the parent alone
    turns = Turns(ModelBounds(program, flat, weights, prices))
    latest = [replicas]
    threading.Thread(target=_listen, args=(source, latest), daemon=True).start()
    best = None
    while turns.next(latest[-1]):
        if best is None or turns.bounds.value > best:
            best = turns.bounds.value
            out.write(f"{best}\n".encode())
            out.flush()
    while True:  # solved; the parent ends this process
        time.sleep(60)


def _listen(source: BinaryIO, latest: list[Sequence[int]]) -> None:
    """Keeps the latest plan; ends the process with its parent."""
    while True:
        try:
            latest[:] = [pickle.load(source)]  # noqa: S301 - from the parent alone
        except (EOFError, pickle.UnpicklingError):
            os._exit(0)


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
