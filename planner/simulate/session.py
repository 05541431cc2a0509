"""A plan, the traffic to replay, and the replays: everything between a plan document and its verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from planner.errors import Diagnostic, InputError
from planner.plan.time_view import shown_alone
from planner.plan.types import Plan
from planner.scenario.robust import worst
from planner.scenario.traffic import TraceUse
from planner.simulate.fleet import Fleet, Node, fleet_of
from planner.simulate.judge import verdicts
from planner.simulate.measure import measured
from planner.simulate.replay import FOREVER, Failure, Run, replay
from planner.simulate.router import Policy
from planner.simulate.stream import MEASURED_S, WARM_UP_S, Stream, generated, longer, replayed
from planner.simulate.types import Simulation
from planner.traffic.trace import Trace, read_trace
from planner.traffic.trace_use import windowed

Progress = Callable[[str], None]

MOST_REQUESTS = 5_000_000
"""Requests of one replay: about half a gigabyte, and minutes."""


@dataclass(frozen=True)
class Question:
    """What to replay.

    `traces` are files by class, each `scale` times as fast. Classes that are planned from a trace replay it, unless
    `generate`; all others are generated at their peak rate, their gaps with `cv`. `fail` is empty, `node` (the one
    whose loss takes the largest part of a deployment), or the name of one such as `h100-reserved/2`; it is lost in the
    busiest minute.
    """

    traces: Mapping[str, str] = field(default_factory=dict)
    scale: float = 1.0
    generate: bool = False
    seeds: tuple[int, ...] = (1,)
    policy: Policy = "by_length"
    cv: float = 1.0
    fail: str = ""
    seconds: float | None = None
    """Length of generated streams: as long as the longest trace, or twelve minutes, two of them to warm up."""


@dataclass(frozen=True, eq=False)
class Answer:
    """The figures, and the runs that they come from."""

    simulation: Simulation
    runs: tuple[Run, ...]


def simulate(plan: Plan, question: Question, source: str, progress: Progress | None = None) -> Answer:
    """Replays a plan once for every seed; of a plan over time its costliest situation, of a band its worst end.

    Raises:
        InputError: a trace cannot be read, a class or node is not in the plan, or there is nothing to replay.
    """
    plan = shown_alone(replace(plan, scenario=worst(plan.scenario)))
    fleet = _fleet(plan, source)
    traces = _traces(plan, fleet, question, source)
    _sane(plan, fleet, traces, question, source)
    scenario = plan.scenario
    slos = {name: traffic.slo for name, traffic in scenario.traffic.items()}
    runs, results = [], []
    certain = len(traces) == len(fleet.routing) and question.policy != "random" and _is_whole(fleet)
    for seed in question.seeds[:1] if certain else question.seeds:
        streams = streams_of(plan, fleet, traces, question, seed)
        failure = _failure(fleet, streams, question.fail, source) if question.fail else None
        if progress is not None:
            progress(f"replaying {sum(len(s.arrival_s) for s in streams):,} requests, seed {seed}")
        run = replay(fleet, streams, policy=question.policy, seed=seed, failure=failure)
        runs.append(run)
        results.append(measured(run, slos))
    simulation = Simulation(
        plan=source,
        plan_hash=plan.hash,
        confidence=scenario.reserve.confidence,
        verdicts=verdicts(plan, runs, results),
        replays=tuple(results),
        left_out=fleet.left_out,
        traces={name: stream.sha256 for name, stream in sorted(traces.items())},
        sources={stream.class_name: stream.source for stream in runs[0].streams},
    )
    return Answer(simulation, tuple(runs))


def _fleet(plan: Plan, source: str) -> Fleet:
    try:
        return fleet_of(plan, source)
    except (ValueError, LookupError, StopIteration) as error:
        text = f"this plan cannot be built again: {error}; `kvplan check` names what does not hold"
        raise InputError([Diagnostic(source, 0, 0, "KV726", text)]) from None


def streams_of(
    plan: Plan, fleet: Fleet, traces: Mapping[str, Stream], question: Question, seed: int
) -> tuple[Stream, ...]:
    """A stream for every class that can be simulated; generated ones last as long as the longest trace."""
    seconds = _seconds(traces, question)
    streams = []
    for number, name in enumerate(sorted(fleet.routing)):
        traffic = plan.scenario.traffic[name]
        if name in traces:
            streams.append(traces[name])
        else:
            rng = np.random.default_rng((seed, number))
            asked = replace(traffic, reusable_prefix_ppm=counted_hits_ppm(plan, name))
            streams.append(generated(asked, rate_rps(plan, name), rng, cv=question.cv, seconds=seconds))
    return tuple(streams)


def _is_whole(fleet: Fleet) -> bool:
    """Whether every band of prompts goes to one deployment: then nothing but generated streams is left to chance."""
    return all(len(interval.shares) == 1 for intervals in fleet.routing.values() for interval in intervals)


def rate_rps(plan: Plan, class_name: str) -> float:
    """The rate that a class is planned for: its peak, or over a calendar that of the situation which the plan shows."""
    routes = (route for deployment in plan.deployments.values() for route in deployment.routing)
    return float(sum((route.requests_per_s for route in routes if route.class_name == class_name), Fraction(0)))


def counted_hits_ppm(plan: Plan, class_name: str) -> int:
    """The least share of prompt tokens that the plan counts as cached for a class, where its trace has no hashes."""
    routes = (route for deployment in plan.deployments.values() for route in deployment.routing)
    return min((route.cached_ppm for route in routes if route.class_name == class_name), default=0)


def _traces(plan: Plan, fleet: Fleet, question: Question, source: str) -> dict[str, Stream]:
    """The traces to replay, by class: those that are asked for, then those that classes are planned from."""
    problems = []
    for name in question.traces:
        if name not in plan.scenario.traffic:
            known = ", ".join(sorted(plan.scenario.traffic))
            problems.append(
                Diagnostic(source, 0, 0, "KV721", f"the plan has no traffic class {name!r}; it has {known}")
            )
        elif name in fleet.left_out:
            problems.append(Diagnostic(source, 0, 0, "KV721", f"{name} cannot be simulated: {fleet.left_out[name]}"))
    if not fleet.routing or not fleet.sites:
        reasons = "; ".join(sorted(set(fleet.left_out.values()))) or f"the plan is {plan.status}"
        problems.append(Diagnostic(source, 0, 0, "KV722", f"nothing in this plan can be simulated: {reasons}"))
    if problems:
        raise InputError(problems)
    found = {}
    for name in sorted(fleet.routing):
        traffic = plan.scenario.traffic[name]
        reusable = counted_hits_ppm(plan, name)
        if name in question.traces:
            trace = read_trace(question.traces[name])
            found[name] = replayed(trace, name, scale=question.scale, reusable_ppm=reusable)
        elif traffic.trace is not None and not question.generate:
            trace = _planned_from(plan, traffic.trace, name, source)
            stream = replayed(trace, name, scale=float(traffic.trace.scale), reusable_ppm=reusable)
            found[name] = longer(stream, traffic) if traffic.prompt_tail_ppm else stream
    return found


def _planned_from(plan: Plan, use: TraceUse, name: str, source: str) -> Trace:
    """The trace that a class was planned from, still the same. The plan names the file; its run says where it stood."""
    path = plan.run.places.get(f"traffic.{name}.trace.file", use.path).rpartition(":")[0] or use.path
    if not Path(path).exists():
        text = f"{path}, from which {name} was planned, is not there; write --trace {name}=FILE, or --generate"
        raise InputError([Diagnostic(source, 0, 0, "KV725", text)])
    trace = read_trace(path)
    if use.facts is not None and use.facts.sha256 != trace.sha256:
        text = f"{use.path} is not the trace that {name} was planned from; solve again, or give --trace {name}=FILE"
        raise InputError([Diagnostic(source, 0, 0, "KV725", text)])
    part = windowed(trace, use)
    if isinstance(part, str):
        raise InputError([Diagnostic(source, 0, 0, "KV725", f"{use.path}: {part}")])
    return part


def _seconds(traces: Mapping[str, Stream], question: Question) -> float:
    if question.seconds is not None:
        return question.seconds
    longest = max((stream.end_s for stream in traces.values()), default=0.0)
    return longest or WARM_UP_S + MEASURED_S


def _sane(plan: Plan, fleet: Fleet, traces: Mapping[str, Stream], question: Question, source: str) -> None:
    """Refuses what would not end or cannot be right, before anything is generated."""
    seconds = _seconds(traces, question)
    rates = [rate_rps(plan, name) for name in fleet.routing if name not in traces]
    count = int(sum(rates) * seconds) + sum(len(stream.arrival_s) for stream in traces.values())
    if count > MOST_REQUESTS:
        text = f"{count:,} requests are too many for one replay (at most {MOST_REQUESTS:,}); cut the trace"
        raise InputError([Diagnostic(source, 0, 0, "KV723", text)])
    sizes = sorted({stream.hash_tokens for stream in traces.values() if stream.hashes})
    if len(sizes) > 1:
        text = f"traces with prefix blocks of {' and '.join(map(str, sizes))} tokens cannot share a replay"
        raise InputError([Diagnostic(source, 0, 0, "KV723", text)])


def _failure(fleet: Fleet, streams: tuple[Stream, ...], wanted: str, source: str) -> Failure:
    nodes = sorted({node for site in fleet.sites.values() for node in site.nodes}, key=str)
    if wanted == "node":
        node = max(nodes, key=lambda one: (_worst_share(fleet, one), str(one)))
    else:
        named = [one for one in nodes if str(one) == wanted]
        if not named:
            known = ", ".join(str(one) for one in nodes)
            text = f"no replica runs on {wanted!r}; write `node`, or one of {known}"
            raise InputError([Diagnostic(source, 0, 0, "KV724", text)])
        node = named[0]
    at_s = _busiest_s(streams)
    seconds = fleet.spares.get(node.pool)
    if isinstance(seconds, float):
        return Failure(node, at_s, at_s + seconds)
    return Failure(
        node,
        at_s,
        FOREVER,
        f"the idle node of {node.pool} states no `start_up`"
        if node.pool in fleet.spares
        else f"no node of {node.pool} is idle",
    )


def _worst_share(fleet: Fleet, node: Node) -> float:
    """The largest part of a deployment's replicas that stands on a node."""
    return max(site.nodes.count(node) / len(site.nodes) for site in fleet.sites.values() if site.nodes)


def _busiest_s(streams: tuple[Stream, ...]) -> float:
    """The beginning of the minute in which most tokens arrive; in generated streams, a minute after the warm-up."""
    last = max(stream.end_s for stream in streams)
    if all(not stream.sha256 for stream in streams):
        return min(max(stream.warm_up_s for stream in streams) + 60.0, last / 2)
    edges = np.arange(0.0, last + 120.0, 60.0)
    tokens = np.zeros(len(edges) - 1)
    for stream in streams:
        weights = (stream.prompt_tokens + stream.output_tokens).astype(np.float64)
        tokens += np.histogram(stream.arrival_s, edges, weights=weights)[0]
    return float(edges[int(np.argmax(tokens))])
