"""The plan's own fleet under the requests of a log, as planned and with the causes that were found."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from planner.plan.routing import Interval
from planner.plan.types import Plan
from planner.simulate.fleet import Fleet, Site
from planner.simulate.replay import Run, replay
from planner.simulate.replica import Steps
from planner.simulate.stream import Stream
from planner.verify.answers import TO, Answers
from planner.verify.groups import Group


@dataclass(frozen=True)
class Changes:
    """What is put in for the plan's own figures: hits by class, the rest by deployment, as factors or counts."""

    hit_share: dict[str, float] = field(default_factory=dict)
    pool: dict[str, float] = field(default_factory=dict)
    decode: dict[str, float] = field(default_factory=dict)
    prefill: dict[str, float] = field(default_factory=dict)
    slots: dict[str, int] = field(default_factory=dict)
    replicas: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class OtherSteps:
    """Steps of another speed."""

    base: Steps
    decode: float = 1.0
    prefill: float = 1.0

    @property
    def attention_launch_s(self) -> float:
        """What every attention over a chunk takes at least."""
        return self.base.attention_launch_s * self.prefill

    def decode_s(self, batch: int, context_tokens: int) -> float:
        """Seconds of a step that only decodes."""
        return self.base.decode_s(batch, context_tokens) * self.decode

    def beside_s(self, batch: int, chunk_tokens: int) -> float:
        """Seconds that prompt tokens add, without their attention."""
        return self.base.beside_s(batch, chunk_tokens) * self.prefill

    def attention_s(self, new_tokens: int, cached_tokens: int) -> float:
        """Seconds of attention of new tokens on cached ones."""
        return self.base.attention_s(new_tokens, cached_tokens) * self.prefill


def changed(fleet: Fleet, changes: Changes) -> Fleet:
    """A fleet with what was found put in."""
    return replace(fleet, sites={name: _changed(site, changes) for name, site in fleet.sites.items()})


def _changed(site: Site, changes: Changes) -> Site:
    name, rules = site.name, site.rules
    blocks = max(1, round(rules.pool.usable_blocks * changes.pool.get(name, 1.0)))
    slots = changes.slots.get(name, rules.max_num_seqs)
    speed = changes.decode.get(name, 1.0), changes.prefill.get(name, 1.0)
    count = changes.replicas.get(name, len(site.nodes))
    return replace(
        site,
        rules=replace(rules, max_num_seqs=slots, pool=replace(rules.pool, usable_blocks=blocks)),
        steps=site.steps if speed == (1.0, 1.0) else OtherSteps(site.steps, *speed),
        nodes=(site.nodes * count)[:count],
    )


def streams_of(plan: Plan, fleet: Fleet, answers: Answers, changes: Changes) -> tuple[Stream, ...]:
    """The requests of a log as streams: one a class, or one a class and deployment where the log says who answered."""
    found = []
    for name in sorted(fleet.routing):
        own = answers.of_class(name)
        planned = plan.scenario.traffic[name].reusable_prefix_ppm
        reusable_ppm = round(changes.hit_share[name] * 1e6) if name in changes.hit_share else planned
        told = bool(own.count) and bool(np.isin(own.deployment, list(fleet.sites)).all())
        for deployment in np.unique(own.deployment).tolist() if told else [""]:
            part = own.where(own.deployment == deployment) if told else own
            order = np.argsort(part.arrival_s, kind="stable")
            if part.count:
                found.append(
                    Stream(
                        class_name=f"{name}{TO}{deployment}" if told else name,
                        arrival_s=part.arrival_s[order],
                        prompt_tokens=part.input_tokens[order],
                        output_tokens=part.output_tokens[order],
                        source="the log",
                        reusable_ppm=reusable_ppm,
                    )
                )
    return tuple(found)


def replayed(plan: Plan, fleet: Fleet, answers: Answers, changes: Changes) -> Run:
    """The requests of a log through the fleet with what was found put in, routed as they were where that is known."""
    streams = streams_of(plan, fleet, answers, changes)
    routing = dict(fleet.routing)
    for stream in streams:
        _, told, deployment = stream.class_name.partition(TO)
        if told:
            routing[stream.class_name] = (Interval(0, None, ((deployment, Fraction(1)),)),)
    return replay(replace(changed(fleet, changes), routing=routing), streams)


@dataclass(frozen=True)
class Looks:
    """Means over time of one replica of a group, as a replay has them, and what its pools hold."""

    running: float
    waiting: float
    kv_use: float
    preemptions: int


def looks_of(run: Run, group: Group) -> Looks:
    """Gauges and counters of a group in a replay, from the first arrival to the last."""
    horizon_s = max((stream.end_s for stream in run.streams), default=0.0)
    sums, count, preemptions = np.zeros(3), 0, 0
    for name in group.deployments:
        for replica in run.replicas[name]:
            blocks = replica.rules.pool.usable_blocks
            count += max(1, int(horizon_s // replica.sample_s))
            preemptions += replica.totals.preemptions
            for at_s, running, waiting, held in replica.samples:
                if at_s <= horizon_s:
                    sums += (running, waiting, held / blocks)
    running, waiting, kv_use = (sums / max(1, count)).tolist()
    return Looks(running, waiting, kv_use, preemptions)
