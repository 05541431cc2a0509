"""Runs requests through a fleet, arrival by arrival, and keeps what happened to each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import merge

from planner.simulate.fleet import Fleet, Node
from planner.simulate.replica import Replica
from planner.simulate.request import Request
from planner.simulate.router import Policy, Router
from planner.simulate.stream import Stream

SAMPLE_S = 10.0
"""Seconds between two looks at a replica, for the time line."""

FOREVER = float("inf")


@dataclass(frozen=True)
class Failure:
    """A node that is lost at a moment, and when its replicas stand again (infinite: never, and why not)."""

    node: Node
    at_s: float
    back_s: float = FOREVER
    why_not: str = ""


@dataclass(frozen=True, eq=False)
class Run:
    """What came of it: requests by stream, and all replicas that ever ran by deployment."""

    fleet: Fleet
    streams: tuple[Stream, ...]
    requests: tuple[tuple[Request, ...], ...]
    replicas: dict[str, tuple[Replica, ...]]
    sites: tuple[str, ...]
    """Deployments by the number that requests carry."""
    failure: Failure | None
    seed: int
    policy: Policy


def replay(
    fleet: Fleet,
    streams: Sequence[Stream],
    *,
    policy: Policy = "by_length",
    seed: int = 1,
    failure: Failure | None = None,
) -> Run:
    """Plays all streams at once, from empty replicas until the last answer is out.

    Streams with hashes must have them of blocks of one size.
    """
    return _Play(fleet, tuple(streams), policy, seed, failure).run()


class _Play:
    """State of one replay."""

    def __init__(
        self, fleet: Fleet, streams: tuple[Stream, ...], policy: Policy, seed: int, failure: Failure | None
    ) -> None:
        self._fleet, self._streams, self._failure = fleet, streams, failure
        self._policy, self._seed = policy, seed
        self._hash_tokens = max((stream.hash_tokens for stream in streams), default=0)
        self._sites = tuple(sorted(fleet.sites))
        self._replicas = {
            name: [self._started(name, place, 0.0) for place in range(len(fleet.sites[name].nodes))]
            for name in self._sites
        }
        self._retired: dict[str, list[Replica]] = {name: [] for name in self._sites}
        models = {name: site.model for name, site in fleet.sites.items()}
        self._router = Router(policy, fleet.routing, self._replicas, models, seed)

    def run(self) -> Run:
        """The whole replay."""
        requests = tuple(_requests(index, stream) for index, stream in enumerate(self._streams))
        due = self._events()
        for request in merge(*requests, key=_arrival):
            while due and due[0][0] <= request.arrival_s:
                at_s, event = due.pop(0)
                event(at_s)
            self._send(request, request.arrival_s)
        for at_s, event in due:
            event(at_s)
        replicas = {name: (*self._retired[name], *self._replicas[name]) for name in self._sites}
        for own in replicas.values():
            for replica in own:
                replica.advance(FOREVER)
        return Run(self._fleet, self._streams, requests, replicas, self._sites, self._failure, self._seed, self._policy)

    def _started(self, name: str, place: int, now_s: float) -> Replica:
        site = self._fleet.sites[name]
        return Replica(site.rules, site.steps, self._hash_tokens, SAMPLE_S, name, place, now_s)

    def _send(self, request: Request, now_s: float) -> None:
        """To the replica that the router chooses; where none is left, the request is refused."""
        replica = self._router.choose(self._streams[request.class_index].class_name, request, now_s)
        if replica is None:
            request.refuse(now_s)
            return
        replica.advance(now_s)
        request.site, request.place = self._sites.index(replica.name), replica.number
        replica.arrive(request, now_s)

    def _events(self) -> list[tuple[float, Callable[[float], None]]]:
        if self._failure is None:
            return []
        events: list[tuple[float, Callable[[float], None]]] = [(self._failure.at_s, self._lose)]
        if self._failure.back_s < FOREVER:
            events.append((self._failure.back_s, self._restore))
        return events

    def _places(self) -> list[tuple[str, int]]:
        """Replicas on the node that fails: deployment and position."""
        assert self._failure is not None
        return [
            (name, position)
            for name in self._sites
            for position, node in enumerate(self._fleet.sites[name].nodes)
            if node == self._failure.node
        ]

    def _lose(self, at_s: float) -> None:
        """The node is gone: what its replicas had not finished begins again elsewhere."""
        homeless: list[Request] = []
        for name, position in self._places():
            replica = self._replicas[name][position]
            replica.advance(at_s)
            homeless += replica.evacuate()
        for request in sorted(homeless, key=_arrival):
            self._send(request, at_s)

    def _restore(self, at_s: float) -> None:
        """Replicas stand on another node, empty."""
        for name, position in self._places():
            self._retired[name].append(self._replicas[name][position])
            self._replicas[name][position] = self._started(name, position, at_s)


def _arrival(request: Request) -> tuple[float, int, int]:
    return request.arrival_s, request.class_index, request.number


def _requests(index: int, stream: Stream) -> tuple[Request, ...]:
    """The stream's requests; blocks of different classes never have the same content."""
    hashes = stream.hashes or ((),) * len(stream.arrival_s)
    offset = index << 40
    return tuple(
        Request(
            number,
            index,
            arrival_s,
            prompt,
            output,
            prompt * stream.reusable_ppm // 1_000_000,
            tuple(content + offset for content in blocks) if blocks else (),
        )
        for number, (arrival_s, prompt, output, blocks) in enumerate(
            zip(
                stream.arrival_s.tolist(),
                stream.prompt_tokens.tolist(),
                stream.output_tokens.tolist(),
                hashes,
                strict=True,
            )
        )
    )
