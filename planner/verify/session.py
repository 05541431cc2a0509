"""A plan, a log and metrics: everything between them and the figures, the causes, and what was measured."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from planner.errors import Diagnostic, InputError
from planner.plan.types import Plan
from planner.simulate.fleet import Fleet, Site, fleet_of
from planner.verify import causes as why
from planner.verify.answers import Answers, Log, answers_of, read_log
from planner.verify.compare import Seen, group_rows, latency_rows, seen_in_log, seen_in_replay, traffic_rows
from planner.verify.groups import Group, groups, served_names
from planner.verify.metrics import Measured, Metrics, measured, read_metrics
from planner.verify.replays import Changes, looks_of, replayed
from planner.verify.types import Cause, Row, Verification
from planner.verify.work import Work, step_factor, work

Progress = Callable[[str], None]

MOST_REQUESTS = 2_000_000
"""Requests of one look back: some replays of them take minutes."""

PERIODS_AGREE = 1.25
"""Requests of the log over those that the metrics counted: beyond it they are not of the same time."""


@dataclass(frozen=True)
class Question:
    """Request logs by class ("": the file says the class of each row), and saved metrics (empty: none)."""

    logs: Mapping[str, str]
    metrics: str = ""


@dataclass(frozen=True)
class Speed:
    """What a group of replicas of one deployment was measured at: the factor of all its steps, and where it ran."""

    deployment: str
    factor: float
    batch: float
    input_tokens: float
    output_tokens: float
    requests: int


@dataclass(frozen=True, eq=False)
class Answer:
    """The look back, and speeds to plan with."""

    verification: Verification
    speeds: tuple[Speed, ...]


@dataclass(frozen=True, eq=False)
class _Picture:
    """All requests, and every group of replicas."""

    answers: Answers
    groups: dict[str, Seen]


@dataclass
class _Look:
    """One verification on its way."""

    plan: Plan
    fleet: Fleet
    log: Log
    groups: tuple[Group, ...]
    measured: dict[str, Measured]
    hits: dict[str, float]
    progress: Progress
    changes: Changes = field(default_factory=Changes)
    factors: dict[str, float] = field(default_factory=dict)
    """Decode steps over those predicted, by group."""

    @property
    def answers(self) -> Answers:
        return self.log.answers

    def classes(self) -> list[str]:
        """Classes with requests in the log that can be compared."""
        known = {name for group in self.groups for name in group.classes}
        return [name for name in self.answers.classes if name in known and self.answers.of_class(name).count]

    def logged(self) -> _Picture:
        """What log and metrics say."""
        found = {}
        for group in self.groups:
            own = group.answers(self.answers)
            found[group.name] = seen_in_log(own, self.work(group, own), self.measured.get(group.name))
        return _Picture(self.answers, found)

    def replay(self) -> _Picture:
        """The plan's fleet, changed as far as is known, under the same requests."""
        self.progress(f"replaying {self.answers.count:,} requests")
        run = replayed(self.plan, self.fleet, self.answers, self.changes)
        all_answers = answers_of(run, self.answers)
        found = {}
        for group in self.groups:
            own = group.answers(all_answers)
            found[group.name] = seen_in_replay(own, self.work(group, own), looks_of(run, group))
        return _Picture(all_answers, found)

    def sites(self, group: Group) -> list[Site]:
        """The deployments of a group as planned."""
        return [self.fleet.sites[name] for name in group.deployments]

    def work(self, group: Group, answers: Answers) -> Work | None:
        """Work of a group, at the plan's own step times."""
        shares = [self.hits.get(name, self.plan.scenario.traffic[name].reusable_prefix_ppm / 1e6)
                  for name in group.classes]  # fmt: skip
        return work(answers, self.sites(group), group.replicas, sum(shares) / len(shares))


def verify(plan: Plan, question: Question, source: str, progress: Progress | None = None) -> Answer:
    """Holds a plan against what its fleet did.

    Raises:
        InputError: log or metrics cannot be read (KV711 to KV713, KV731 to KV733), are not of this plan (KV734), or
            nothing in the plan can be held against them (KV722).
    """
    look = _look(plan, question, source, progress or (lambda _: None))
    actual = look.logged()
    planned = look.replay()
    traffic = [
        row
        for name in look.classes()
        for row in traffic_rows(plan, name, look.answers.of_class(name), look.hits.get(name))
    ]
    causes = why.of_traffic(traffic)
    corrected = _with_pools(look, actual, planned, causes)
    speeds = _speeds(look, actual, corrected)
    corrected = _with_speeds(look, actual, corrected, causes)
    rows = traffic + _rows(look, actual, planned, corrected)
    causes += why.left_over(rows, causes)
    causes.sort(key=why.size, reverse=True)
    return Answer(
        Verification(
            plan=source,
            plan_hash=plan.hash,
            requests=look.answers.count,
            duration_s=float(look.answers.arrival_s.max() - look.answers.arrival_s.min()),
            rows=tuple(rows),
            causes=tuple(causes),
            is_explained=all(_is_explained(row) for row in rows),
            notes=(*look.log.notes, *_notes(look, question)),
            sources=dict(sorted({**look.log.sha256, **_hash(question.metrics)}.items())),
        ),
        speeds,
    )


def _look(plan: Plan, question: Question, source: str, progress: Progress) -> _Look:
    fleet = fleet_of(plan, source)
    if not fleet.routing or not fleet.sites:
        reasons = "; ".join(sorted(set(fleet.left_out.values()))) or f"the plan is {plan.status}"
        text = f"nothing in this plan can be held against a log: {reasons}"
        raise InputError([Diagnostic(source, 0, 0, "KV722", text)])
    log = read_log(plan, question.logs, source)
    if log.answers.count > MOST_REQUESTS:
        text = f"{log.answers.count:,} requests are too many (at most {MOST_REQUESTS:,}); cut the log"
        raise InputError([Diagnostic(source, 0, 0, "KV723", text)])
    metrics = read_metrics(question.metrics) if question.metrics else None
    names = served_names(plan, metrics) if metrics is not None else {}
    found = groups(plan, log.answers, metrics, names)
    if not found:
        text = "no request of this log is of a class that the plan says anything about"
        raise InputError([Diagnostic(source, 0, 0, "KV734", text)])
    return _Look(
        plan, fleet, log, found, gauges := _measured(found, metrics), _hits(plan, log, found, gauges), progress
    )


def _measured(found: tuple[Group, ...], metrics: Metrics | None) -> dict[str, Measured]:
    if metrics is None:
        return {}
    alone = len({group.model for group in found}) == 1
    parts = {group: group.series(metrics, alone=alone) for group in found}
    return {group.name: measured(part, group.replicas) for group, part in parts.items() if part.series}


def _hits(plan: Plan, log: Log, found: tuple[Group, ...], gauges: dict[str, Measured]) -> dict[str, float]:
    """The share of prompt tokens that was found cached, by class: from the log, else from the metrics of its group."""
    shares = {}
    for group in found:
        for name in group.classes:
            own = log.answers.of_class(name)
            said = own.cached_tokens == own.cached_tokens  # NaN is not
            if said.any():
                shares[name] = float(own.cached_tokens[said].sum() / own.input_tokens[said].sum())
            elif group.name in gauges and (share := gauges[group.name].hit_share) is not None:
                shares[name] = share
    return shares


def _with_pools(look: _Look, actual: _Picture, planned: _Picture, causes: list[Cause]) -> _Picture:
    """The replay with hits, replicas and pools as they were; the causes among them."""
    off = {cause.subject for cause in causes if cause.kind == "prefix_hits"}
    pool: dict[str, float] = {}
    replicas: dict[str, int] = {}
    for group in look.groups:
        said = look.measured.get(group.name)
        factor = why.pool_factor(look.plan, group, said, actual.groups[group.name], planned.groups[group.name])
        found = why.pool_cause(group, factor, said)
        fewer = why.replicas_cause(group, said)
        if found is not None and factor is not None:
            pool.update(dict.fromkeys(group.deployments, factor))
            causes.append(found)
        if fewer is not None and said is not None and said.replicas is not None:
            causes.append(fewer)
            if len(group.deployments) == 1:
                replicas[group.deployments[0]] = said.replicas
    look.changes = Changes(hit_share={name: look.hits[name] for name in off}, pool=pool, replicas=replicas)
    return look.replay() if look.changes != Changes() else planned


def _speeds(look: _Look, actual: _Picture, replay: _Picture) -> tuple[Speed, ...]:
    """The factor of all steps of each deployment that the log tells apart."""
    found = []
    for group in look.groups:
        now, then = actual.groups[group.name].work, replay.groups[group.name].work
        if now is not None and then is not None and len(group.deployments) == 1:
            own = actual.groups[group.name].answers
            lengths = float(own.input_tokens.mean()), float(own.output_tokens.mean())
            found.append(Speed(group.deployments[0], step_factor(now, then), now.batch, *lengths, now.requests))
    return tuple(found)


def _with_speeds(look: _Look, actual: _Picture, replay: _Picture, causes: list[Cause]) -> _Picture:
    """The replay with the speeds as they were, of decoding, then of what comes before it."""
    for group in look.groups:
        seen = actual.groups[group.name]
        factor = why.step_change(look.sites(group), seen, replay.groups[group.name])
        if factor is not None:
            look.factors[group.name] = factor
        found = why.decode_cause(group, factor, seen)
        if found is not None and found.factor is not None:
            causes.append(found)
            look.changes.decode.update(dict.fromkeys(group.deployments, found.factor))
    corrected = look.replay() if look.changes.decode else replay
    before = len(causes)
    for group in look.groups:
        seen = actual.groups[group.name]
        found = why.before_decode(look.plan, group, seen, corrected.groups[group.name], look.measured.get(group.name))
        if found is None or found.factor is None:
            continue
        causes.append(found)
        for name in group.deployments:
            if found.kind == "admission":
                look.changes.slots[name] = round(found.factor * look.plan.deployments[name].max_batch)
            else:
                look.changes.prefill[name] = found.factor
    return look.replay() if len(causes) > before else corrected


def _rows(look: _Look, actual: _Picture, planned: _Picture, corrected: _Picture) -> list[Row]:
    rows: list[Row] = []
    for name in look.classes():
        parts = (picture.answers.of_class(name) for picture in (actual, planned, corrected))
        rows += latency_rows(look.plan, name, *parts)
    for group in look.groups:
        seen = (picture.groups[group.name] for picture in (actual, planned, corrected))
        rows += group_rows(look.plan, group, *seen, factor=look.factors.get(group.name))
    return rows


def _is_explained(row: Row) -> bool:
    """Whether the causes that were found bring a figure back into its band."""
    if row.corrected is None or not row.is_off:
        return True
    return not replace(row, replayed=row.corrected).is_off


def _notes(look: _Look, question: Question) -> list[str]:
    found = []
    for name, reason in sorted(look.fleet.left_out.items()):
        found.append(f"{name} is not compared: {reason}")
    for name, model in sorted(look.plan.scenario.models.items()):
        if model.speculative is not None:
            found.append(f"{name}: speculative decoding is not replayed; speeds are off by the accepted tokens")
    if not question.metrics:
        found.append("without metrics nothing is said of KV use, waiting requests and pools")
    for group in look.groups:
        said = look.measured.get(group.name)
        if question.metrics and said is None:
            found.append(f"{group.name}: the metrics have no series of it")
        if said is not None and said.is_snapshot:
            found.append(f"{group.name}: one scrape has no means of running requests and KV use; save a range query")
        if (
            said is not None
            and said.requests
            and not 1 / PERIODS_AGREE <= (ratio := group.answers(look.answers).count / said.requests) <= PERIODS_AGREE
        ):
            found.append(f"{group.name}: the log has {ratio:.3g} times the requests that the metrics counted; "
                         "are they of the same time?")  # fmt: skip
    return found


def _hash(path: str) -> dict[str, str]:
    return {path: hashlib.sha256(Path(path).read_bytes()).hexdigest()} if path else {}
