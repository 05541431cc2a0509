"""What a failed replay teaches the planner: the sub-problem's answer in logic-based Benders decomposition.

A deployment that broke a promise replays its own requests with more replicas until every class keeps its promises
there. The replicas that it needed say how much more GPU time those classes take than the closed forms said; the next
solve counts with that, on all configurations of the same shape.
Source: Hooker and Ottosson, "Logic-based Benders decomposition", Mathematical Programming 96 (2003).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import ceil

import numpy as np

from planner.plan.routing import Interval
from planner.plan.types import Deployment, Plan
from planner.scenario.types import Cut
from planner.simulate.fleet import Fleet, Node, Site
from planner.simulate.measure import judged_at, judged_p95
from planner.simulate.replay import Run, replay
from planner.simulate.request import Request
from planner.simulate.stream import Stream
from planner.simulate.types import Simulation, Verdict

PPM = 1_000_000

MOST_TIMES = 8
"""A class that eight times the replicas do not help is slow by itself: it may not run there."""

LEAST_STEP_PPM = 50_000
"""Every cut asks for at least 5 % more: rounds must end."""


def cuts_of(plan: Plan, runs: Sequence[Run], simulation: Simulation) -> tuple[Cut, ...]:
    """The cuts of the scenario with those that this replay adds; unchanged where more replicas would not help."""
    failed = [verdict for verdict in simulation.verdicts if not verdict.kept and verdict.unit == "us"]
    found = {_key(cut): cut for cut in plan.scenario.cuts}
    for name in sorted(runs[0].fleet.sites):
        deployment = plan.deployments[name]
        classes = {route.class_name for route in deployment.routing} & {verdict.class_name for verdict in failed}
        worst = _worst(runs, name, [one for one in failed if one.class_name in classes])
        if worst is None:
            continue
        run, broken = worst
        guilty = _guilty(deployment, run, name, broken)
        times_ppm = _times_ppm(deployment, run, name, broken, guilty)
        for class_name in guilty:
            cut = Cut(
                deployment.model,
                deployment.gpu,
                deployment.parallel,
                deployment.weights,
                deployment.kv_preset,
                class_name,
                times_ppm,
            )
            before = found.get(_key(cut))
            if before is not None and before.times_ppm is not None and times_ppm is not None:
                cut = replace(cut, times_ppm=before.times_ppm * times_ppm // PPM)
            found[_key(cut)] = cut
    return tuple(found[key] for key in sorted(found))


def _key(cut: Cut) -> tuple[str, ...]:
    return cut.model, cut.gpu, cut.parallel, cut.weights, cut.kv_preset, cut.class_name


def _worst(runs: Sequence[Run], name: str, failed: Sequence[Verdict]) -> tuple[Run, list[Verdict]] | None:
    """The replay in which most of these promises broke on a deployment, and which."""
    best: tuple[Run, list[Verdict]] | None = None
    for run in runs:
        broken = [verdict for verdict in failed if not _kept(run, name, verdict)]
        if broken and (best is None or len(broken) > len(best[1])):
            best = run, broken
    return best


def _kept(run: Run, name: str, verdict: Verdict) -> bool:
    """Whether a promise held for the requests of its class on one deployment."""
    number = next(i for i, stream in enumerate(run.streams) if stream.class_name == verdict.class_name)
    stream = run.streams[number]
    here = [request for request in run.requests[number] if run.sites[request.site] == name or request.site < 0]
    if verdict.metric == "finish_within":
        return _queue_is_steady(stream, here)
    p95_s = judged_p95(stream, here, judged_at(run, verdict.class_name), verdict.metric)
    return p95_s is None or round(p95_s * 1e6) <= verdict.limit


def _queue_is_steady(stream: Stream, requests: Sequence[Request]) -> bool:
    """Whether no more wait at the end than after the warm-up, but for 1 % of all."""
    waiting = [
        sum(one.arrival_s <= at_s < one.started_s for one in requests) for at_s in (stream.warm_up_s, stream.end_s)
    ]
    return waiting[1] - waiting[0] <= len(requests) / 100


def _guilty(deployment: Deployment, run: Run, name: str, broken: Sequence[Verdict]) -> list[str]:
    """The classes that also break their promises alone, on the replicas that the plan counts for them.

    The others only suffer beside them. All, where each of them alone keeps its promises.
    """
    row = deployment.loads[0]
    classes = sorted({verdict.class_name for verdict in broken})
    if len({route.class_name for route in deployment.routing}) == 1:
        return classes
    found = []
    for class_name in classes:
        items = {route.item for route in deployment.routing if route.class_name == class_name}
        own = sum((term.amount * term.share for term in row.terms if term.item in items), Fraction(0)) / row.capacity
        streams = tuple(stream for stream in _own_streams(run, name) if stream.class_name == class_name)
        if not _kept_by(run, name, [one for one in broken if one.class_name == class_name], streams, ceil(own)):
            found.append(class_name)
    return found or classes


def _kept_by(run: Run, name: str, promises: Sequence[Verdict], streams: tuple[Stream, ...], replicas: int) -> bool:
    """Whether promises hold when so many replicas of a deployment serve these streams."""
    alone = replay(_alone(run.fleet.sites[name], streams, replicas), streams, policy=run.policy, seed=run.seed)
    return all(_kept(alone, name, promise) for promise in promises)


def _times_ppm(
    deployment: Deployment, run: Run, name: str, broken: Sequence[Verdict], classes: Sequence[str]
) -> int | None:
    """By how much the GPU time of some classes is too small, so that one replica less than needed is too few."""
    needed = _needed(run, name, broken, deployment.loads[0].replicas_counted)
    if needed is None:
        return None
    items = {route.item for route in deployment.routing if route.class_name in classes}
    row = deployment.loads[0]
    own = sum((term.amount * term.share for term in row.terms if term.item in items), Fraction(0)) / row.capacity
    rest = sum((term.amount * term.share for term in row.terms if term.item not in items), Fraction(0)) / row.capacity
    wanted = Fraction(needed - 1) + Fraction(1, 50) - rest
    return max(int(wanted / own * PPM) + 1, PPM + LEAST_STEP_PPM)


def _needed(run: Run, name: str, broken: Sequence[Verdict], counted: int) -> int | None:
    """The fewest replicas with which a deployment keeps these promises for its own requests; None: too many."""
    streams = _own_streams(run, name)

    def kept(replicas: int) -> bool:
        return _kept_by(run, name, broken, streams, replicas)

    low, high = counted, counted + 1
    while not kept(high):
        if high >= MOST_TIMES * counted:
            return None
        low, high = high, min(MOST_TIMES * counted, counted + 2 * (high - counted))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if kept(middle) else (middle, high)
    return high


def _alone(site: Site, streams: Sequence[Stream], replicas: int) -> Fleet:
    """A fleet of one deployment with so many replicas, which takes everything."""
    whole = (Interval(0, None, ((site.name, Fraction(1)),)),)
    sites = {site.name: replace(site, nodes=tuple(Node("", number) for number in range(replicas)))}
    return Fleet(sites, {stream.class_name: whole for stream in streams}, {}, {})


def _own_streams(run: Run, name: str) -> tuple[Stream, ...]:
    """What a deployment was sent, class by class."""
    found = []
    for stream, requests in zip(run.streams, run.requests, strict=True):
        here = np.array([one.site >= 0 and run.sites[one.site] == name for one in requests], dtype=np.bool_)
        if here.any():
            hashes = tuple(blocks for blocks, mine in zip(stream.hashes, here.tolist(), strict=False) if mine)
            found.append(
                replace(
                    stream,
                    arrival_s=stream.arrival_s[here],
                    prompt_tokens=stream.prompt_tokens[here],
                    output_tokens=stream.output_tokens[here],
                    hashes=hashes,
                )
            )
    return tuple(found)
