"""Who takes a request: the policies of a router in front of the replicas.

`by_length` is the plan's own: its bands and shares choose the deployment, then the least loaded replica takes the
request. The others know no bands: they choose among all replicas that the plan lets serve the class and whose context
limit takes the prompt, at random, by load, or by the longest prefix that a replica has already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from planner.plan.routing import Interval
from planner.simulate.replica import Replica
from planner.simulate.request import Request

Policy = Literal["by_length", "least_loaded", "prefix_aware", "random"]
POLICIES: tuple[Policy, ...] = ("by_length", "least_loaded", "prefix_aware", "random")

PREFIX_LOAD_FACTOR, PREFIX_LOAD_SLACK = 1.5, 4
"""A prefix is followed to a replica with at most 1.5 times the least load and 4 requests more: hits must not make hot
spots."""


class Router:
    """Chooses replicas for the requests of all classes; `seed` decides where shares and chance do."""

    def __init__(
        self,
        policy: Policy,
        routing: dict[str, tuple[Interval, ...]],
        replicas: dict[str, list[Replica]],
        models: dict[str, str],
        seed: int,
    ) -> None:
        self._policy = policy
        self._replicas = replicas
        self._models = models
        self._random = np.random.default_rng(seed)
        self._intervals = routing
        self._classes = {
            name: sorted({deployment for interval in found for deployment, _ in interval.shares})
            for name, found in routing.items()
        }

    def choose(self, class_name: str, request: Request, now_s: float) -> Replica | None:
        """The replica that takes a request, brought up to now; None where no replica is left that could."""
        candidates = self._candidates(class_name, request)
        if not candidates:
            return None
        if self._policy == "random":
            return candidates[int(self._random.integers(len(candidates)))]
        for replica in candidates:
            replica.advance(now_s)
        if self._policy == "prefix_aware":
            return self._by_prefix(candidates, request)
        return min(candidates, key=_load)

    def _candidates(self, class_name: str, request: Request) -> list[Replica]:
        if self._policy == "by_length":
            alive = self._alive([self._deployment(class_name, request)], request)
            if alive:
                return alive
        names = self._classes[class_name]
        found = self._alive(names, request)
        if not found and names:  # all of them are lost: any replica of the model is better than none
            model = self._models[names[0]]
            found = self._alive([name for name, own in self._models.items() if own == model], request)
        return found

    def _alive(self, names: Sequence[str], request: Request) -> list[Replica]:
        return [
            replica
            for name in names
            for replica in self._replicas[name]
            if replica.alive and replica.rules.context_limit_tokens > request.prompt_tokens
        ]

    def _deployment(self, class_name: str, request: Request) -> str:
        """By the band of the prompt, then by the plan's shares of it."""
        found = self._intervals[class_name]
        interval = next(one for one in found if one.to_tokens is None or request.prompt_tokens <= one.to_tokens)
        if len(interval.shares) == 1:
            return interval.shares[0][0]
        point, total = self._random.random(), 0.0
        for name, share in interval.shares:
            total += float(share)
            if point < total:
                return name
        return interval.shares[-1][0]

    def _by_prefix(self, candidates: list[Replica], request: Request) -> Replica:
        least = min(replica.load for replica in candidates)
        most = PREFIX_LOAD_FACTOR * least + PREFIX_LOAD_SLACK
        near = [replica for replica in candidates if replica.load <= most]
        return min(near, key=lambda replica: (-replica.pool.found(request), *_load(replica)))


def _load(replica: Replica) -> tuple[int, float]:
    """Requests, then how long it has worked: ties go to the replica that did least."""
    return replica.load, replica.totals.busy_s
