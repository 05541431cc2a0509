"""Steps of constant time, and runs of one replica or several behind a queue, for all tests of the simulator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from planner.simulate.pool import PoolRules
from planner.simulate.replica import Replica, ReplicaRules
from planner.simulate.request import Request


@dataclass(frozen=True)
class ConstantSteps:
    """Every step takes the same time, with or without a prompt."""

    step_s: float
    attention_launch_s: float = 0.0

    def decode_s(self, batch: int, context_tokens: int) -> float:
        return self.step_s

    def beside_s(self, batch: int, chunk_tokens: int) -> float:
        return 0.0 if batch else self.step_s

    def attention_s(self, new_tokens: int, cached_tokens: int) -> float:
        return 0.0


@dataclass(frozen=True)
class Queue:
    """What came of a run: times and lengths of every request, and the replicas."""

    requests: list[Request]
    replicas: list[Replica]

    @property
    def waits_s(self) -> np.ndarray:
        return np.array([request.started_s - request.arrival_s for request in self.requests])

    @property
    def sojourns_s(self) -> np.ndarray:
        return np.array([request.end_s - request.arrival_s for request in self.requests])


@pytest.fixture(scope="session")
def slots() -> Callable[..., Queue]:
    """One replica with `servers` slots and steps of 1 ms: an answer of n tokens is a service of n ms."""

    def run(arrivals_s: Sequence[float], outputs: Sequence[int], servers: int, sample_s: float = 10.0) -> Queue:
        pool = PoolRules(block_tokens=16, usable_blocks=10**9)
        replica = Replica(ReplicaRules(servers, 10**6, 10**9, pool), ConstantSteps(1e-3), sample_s=sample_s)
        requests = [
            Request(number, 0, float(at), 1, int(tokens))
            for number, (at, tokens) in enumerate(zip(arrivals_s, outputs, strict=True))
        ]
        for request in requests:
            replica.advance(request.arrival_s)
            replica.arrive(request, request.arrival_s)
        replica.advance(float("inf"))
        return Queue(requests, [replica])

    return run
