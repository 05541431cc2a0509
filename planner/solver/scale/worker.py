"""The second process: it sharpens the bound of one model after the other while the first improves the plan.

It is started as `python -m planner.solver.scale.worker`, so that it works from any program that uses kvplan. It reads
the program once and then plans as they are found, and writes a line for each model that it has solved. With one core
the same work is done in turn.
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from planner.solver.program import Program
from planner.solver.scale.flat import Flat
from planner.solver.scale.models import ModelBounds
from planner.solver.scale.prices import Prices

FIRST_S = 3.0
"""Seconds for a model's program at first, if there is time; when all of them had their turn it doubles."""

FIRST_SHARE = 0.5
"""Share of the time after which all models should have had their first turn."""


@dataclass(frozen=True)
class News:
    """The bound after one more model, and replicas of it that cost less at the prices than what was known, if any."""

    bound: int
    model: str
    replicas: dict[int, int]


class Turns:
    """Whose program is solved next, and for how long: the model that may still gain most, longer each round."""

    def __init__(self, bounds: ModelBounds, left_s: float) -> None:
        self.bounds = bounds
        self.limit_s = min(FIRST_S, FIRST_SHARE * left_s / max(1, len(bounds.models)))
        self.waiting: list[str] = []
        self._round = 0

    def next(self, replicas: Sequence[int], left_s: float = 1e9) -> News | None:
        """Sharpens one model; None when all are solved."""
        if not self.waiting:
            open_ = [model for model in self.bounds.models if model not in self.bounds.closed]
            if not open_:
                return None
            paid = self.bounds.pays(replicas)
            self.waiting = sorted(open_, key=lambda model: (paid[model] - self.bounds.models[model], model))
            self.limit_s *= 2 if self._round else 1
            self._round += 1
        model = self.waiting.pop()
        found = self.bounds.sharpen(model, replicas, min(self.limit_s, max(0.1, left_s)))
        return News(self.bounds.value, model, found)


class Sharpener:
    """The bound as it rises: from a second process, or in turn with the search."""

    def __init__(
        self,
        program: Program,
        flat: Flat,
        weights: Sequence[int],
        prices: Prices,
        replicas: Sequence[int],
        left_s: float,
    ) -> None:
        self._turns: Turns | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._sent: Sequence[int] = replicas
        self._found: list[News] = []
        if _cores() < 2:
            self._turns = Turns(ModelBounds(program, flat, weights, prices), left_s)
            return
        root = str(Path(__file__).parents[3])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "planner.solver.scale.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._send((program, flat, tuple(weights), prices, tuple(replicas), left_s))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def news(self, replicas: Sequence[int], left_s: float) -> list[News]:
        """What was found since the last call, after telling the plan."""
        if self._turns is not None:
            found = self._turns.next(replicas, left_s)
            return [] if found is None else [found]
        if replicas != self._sent:
            self._sent = replicas
            self._send(tuple(replicas))
        news = self._found[:]
        del self._found[: len(news)]
        return news

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
            bound, model, replicas = json.loads(line)
            self._found.append(News(bound, model, dict(replicas)))


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux knows
        return os.cpu_count() or 1


def main(source: BinaryIO, out: BinaryIO) -> None:
    """Sharpens until all models are solved or the parent is gone."""
    program, flat, weights, prices, replicas, left_s = pickle.load(source)  # noqa: S301 - from the parent alone
    gc.freeze()  # millions of records that stay: no collection needs to look at them again
    turns = Turns(ModelBounds(program, flat, weights, prices), left_s)
    latest = [replicas]
    threading.Thread(target=_listen, args=(source, latest), daemon=True).start()
    while (news := turns.next(latest[-1])) is not None:
        out.write(json.dumps([news.bound, news.model, list(news.replicas.items())]).encode() + b"\n")
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
