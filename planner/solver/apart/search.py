"""The least nodes for parts that share only rows over nodes: a program of nodes alone, taught by the parts.

    held     min sum of weight * nodes over node limits and lessons: small, for no replica is in it
    asked    each part: what more than the held nodes must stand in its groups, by its weights?
    lesson   sum over groups of weight[g] * (nodes of g beyond the held) >= what the part asked for at least

A part never minds more nodes, so every lesson holds for every plan, and nodes that break no lesson cost at most the
optimum. When no part asks for more, the held nodes are optimal; until then what the parts asked for makes plans.
Source: logic-based Benders decomposition (Hooker and Ottosson, Mathematical Programming 96, 2003).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise

from planner.solver.apart.parts import Part, parts_of
from planner.solver.apart.start import first_replicas
from planner.solver.apart.weights import group_weights
from planner.solver.exact import Routing, broken_models, route
from planner.solver.master import Master, Row, build
from planner.solver.mathopt import MathOpt
from planner.solver.packing import nodes_needed
from planner.solver.program import Program
from planner.solver.progress import Step
from planner.solver.session import (
    OutOfTime,
    Session,
    Unproved,
    node_weights,
    objective_terms,
    objective_value,
)
from planner.solver.situations import plain

BY = "situations apart"
"""What progress calls the bounds made here."""

NODES_MAX = 2_000
"""Most nodes that all situations together offer: each is a switch of the program of nodes."""

QUESTION_PART = 0.3
"""Part of the time left that one question may take: later questions and those who asked little take what is left."""


@dataclass(frozen=True)
class Point:
    """Replicas that serve a part, and the nodes that they need in each of its groups."""

    replicas: tuple[int, ...]
    needs: tuple[int, ...]


@dataclass
class NodeSearch:
    """The nodes of a session's program, its parts, and what is known of them."""

    session: Session
    parts: tuple[Part, ...]
    points: list[list[Point]] = field(init=False)
    master: Master = field(init=False)
    alone: Program = field(init=False)
    weights: dict[int, int] = field(init=False)
    order: list[int] = field(init=False)
    fixed: list[Row] = field(default_factory=list)
    asked: set[tuple[int, ...]] = field(default_factory=set)
    steps: dict[int, list[int]] = field(init=False)
    backend: MathOpt = field(init=False)

    def __post_init__(self) -> None:
        program = self.session.program
        self.alone = replace(program, items=(), demands=(), columns=(), share_limits=(), models=())
        self.master = build(self.alone, with_loss=False)
        self.steps = {g: self._add_steps(g, total) for g, total in enumerate(self.master.totals) if total is not None}
        self.weights = group_weights(program)
        self.points = [[] for _ in self.parts]
        # Those with the most to do first: what serves them often serves the others, so a plan is known early.
        self.order = sorted(range(len(self.parts)), key=lambda i: -_work(self.parts[i]))
        self.backend = MathOpt(self.master, seed=self.session.seed)

    def _add_steps(self, g: int, total: int) -> list[int]:
        """A switch for each node of a group beyond those that stand anyway: whether so many stand."""
        known, name = self.master.variables[total], self.session.program.groups[g].name
        on = [self.master.variable(f"step[{name},{n}]", 0, 1) for n in range(known.lower + 1, known.upper + 1)]
        terms = [(total, 1), *((s, -1) for s in on)]
        self.master.row(f"steps[{name}]", terms, lower=known.lower, upper=known.lower)
        for before, after in pairwise(on):
            self.master.row(f"steps[{name}]", [(after, 1), (before, -1)], upper=0)
        return on

    def offer_first(self) -> None:
        """A plan to show at once, from simple plans of the parts."""
        for i in self.order:
            if not self.points[i]:
                program = self.parts[i].asking(dict.fromkeys(self.weights, 0), self.weights)
                replicas = first_replicas(program, node_weights(program, "cost"))
                if replicas is not None:
                    self._learn(i, replicas)
        self._combine(self.session.program.objective[0])

    def minimize(self, name: str) -> bool:
        """Minimizes `cost` or `gpus`; the session's best plan then has the least of it. False if there is no plan.

        Raises:
            OutOfTime: the session's best plan and bound are what was found.
            Unproved: a part or the program of nodes was left without a proof.
        """
        session = self.session
        terms = objective_terms(session.program, self.master, name)
        session.bound = None
        while True:
            answer = self.backend.minimize(terms, hint=None, time_limit_s=self._left_s())
            if answer.status == "infeasible":
                return False
            if answer.bound is not None:
                session.bound = max(answer.bound, session.bound or answer.bound)
            if answer.status != "optimal":
                raise Unproved
            held = {g: answer.values[total] for g, total in enumerate(self.master.totals) if total is not None}
            if not self._ask_all(held):
                return False
            chosen = [self._enough(i, held) for i in range(len(self.parts))]
            if all(chosen):
                self._offer(name, [point for point in chosen if point], [answer.values[v] for v in self.master.nodes])
                if not self._proved(name):
                    raise Unproved
                return True
            self._combine(name)
            if self._proved(name):
                return True

    def fix(self, name: str, value: int) -> None:
        """Keeps an objective at a value in every later answer."""
        self.fixed.append(Row(f"fixed[{name}]", objective_terms(self.session.program, self.master, name), None, value))
        self.backend.add(self.fixed[-1])

    def tightened(self) -> Program:
        """The program with every pool bounded by what the fixed objectives and all lessons leave possible."""
        assert self.session.best is not None
        program, nodes = self.session.program, self.session.best.nodes
        idle = [p for p, count in enumerate(nodes) if count == program.pools[p].lower]
        still = self._least([(p, -1) for p in idle]) == -sum(nodes[p] for p in idle)
        pools = []
        for p, pool in enumerate(program.pools):
            lower = self._least([(p, 1)]) if nodes[p] > pool.lower else pool.lower
            most = nodes[p] if still and nodes[p] == pool.lower else -self._least([(p, -1)])
            pools.append(replace(pool, lower=max(pool.lower, lower), upper=min(pool.upper, most)))
        return replace(program, pools=tuple(pools))

    def _least(self, terms: Sequence[tuple[int, int]]) -> int:
        """A bound on a sum over pools, from the program of nodes."""
        placed = tuple((self.master.nodes[p], a) for p, a in terms)
        bounds = [(self.session.program.pools[p], a) for p, a in terms]
        trivial = sum(a * (pool.lower if a > 0 else pool.upper) for pool, a in bounds)
        answer = self.backend.minimize(placed, hint=None, time_limit_s=min(1.0, self._left_s())) if placed else None
        return trivial if answer is None or answer.bound is None else max(trivial, answer.bound)

    def _left_s(self) -> float:
        if self.session.left_s() <= 0:
            raise OutOfTime
        return self.session.left_s()

    def _proved(self, name: str) -> bool:
        """Whether the bound has met the best plan; tells both."""
        session = self.session
        best = None if session.best is None else objective_value(session.program, name, session.best)
        session.progress(Step(name, best, session.bound, BY))
        return best is not None and session.bound is not None and session.bound >= best

    def _ask_all(self, held: Mapping[int, int]) -> bool:
        """Asks every part that is not known to run on the held nodes; False where one runs on no nodes at all."""
        return all(self._enough(i, held) is not None or self._ask(i, held, self._patience(i, held)) for i in self.order)

    def _patience(self, i: int, held: Mapping[int, int]) -> float:
        """Seconds for a question; one that was left open before may take all that is left."""
        question = (i, *(held[g] for g in self.parts[i].groups))
        again = question in self.asked
        self.asked.add(question)
        return self._left_s() if again else QUESTION_PART * self._left_s()

    def _ask(self, i: int, held: Mapping[int, int], limit_s: float) -> bool:
        """What a part asks for beyond the held nodes: a lesson, and a point where it runs."""
        part = self.parts[i]
        program = part.asking(held, self.weights)
        question = Session(program, "mathopt", self.session.seed, time.monotonic() + limit_s, lambda _: None)
        try:
            if not question.minimize("cost", objective_terms(program, question.master, "cost")):
                return False
        except (OutOfTime, Unproved):
            pass
        if question.best is not None:
            self._learn(i, question.best.replicas)
        if question.bound:
            self._teach(part, held, question.bound)
        return True

    def _teach(self, part: Part, held: Mapping[int, int], least: int) -> None:
        """At least so much more, by weight, must stand in the part's groups."""
        terms = [
            (step, min(self.weights[g], least))
            for g in part.groups
            if g in self.steps
            for step in self.steps[g][held[g] - self.master.variables[_total(self.master, g)].lower :]
        ]
        self.backend.add(Row("lesson", tuple(terms), least, None))

    def _learn(self, i: int, replicas: tuple[int, ...]) -> None:
        """A point of a part, and the same replicas in every other part that they serve."""
        for j in range(len(self.parts)):
            there = replicas if j == i else self._moved(i, replicas, self.parts[j])
            if there is not None and _serves(self.parts[j], there):
                self.points[j].append(Point(there, _needs(self.parts[j], there)))

    def _moved(self, i: int, replicas: Sequence[int], part: Part) -> tuple[int, ...] | None:
        """Replicas of one part by the same columns of another; None where either has a column twice, as parts of
        several situations have."""
        own = [c for c, column in enumerate(part.program.columns) if column.own]
        names = [plain(part.program.columns[c].name) for c in own]
        counts = {
            plain(column.name): count
            for column, count in zip(self.parts[i].program.columns, replicas, strict=True)
            if column.own
        }
        if len(set(names)) < len(names) or len(counts) < sum(each.own for each in self.parts[i].program.columns):
            return None
        there = [0] * len(part.program.columns)
        for c, name in zip(own, names, strict=True):
            there[c] = min(counts.get(name, 0), part.program.columns[c].upper)
        return tuple(there)

    def _enough(self, i: int, held: Mapping[int, int]) -> Point | None:
        """A point of a part that runs on the held nodes."""
        groups = self.parts[i].groups
        fitting = (
            point
            for point in self.points[i]
            if all(need <= held.get(g, 0) for g, need in zip(groups, point.needs, strict=True))
        )
        return next(fitting, None)

    def _combine(self, name: str) -> None:
        """The best plan of one known point a part: nodes that hold all chosen points within the limits."""
        if not all(self.points):
            return
        master = build(self.alone, with_loss=False)
        choices = [
            [(master.variable(f"point[{i},{index}]", 0, 1), point) for index, point in enumerate(points)]
            for i, points in enumerate(self.points)
        ]
        for part, chosen in zip(self.parts, choices, strict=True):
            master.row("one point", [(v, 1) for v, _ in chosen], lower=1, upper=1)
            for place, g in enumerate(part.groups):
                needs = [(v, -point.needs[place]) for v, point in chosen]
                if any(need for _, need in needs):
                    master.row("nodes of a point", [(_total(master, g), 1), *needs], lower=0)
        backend = MathOpt(master, seed=self.session.seed)
        for row in self.fixed:
            backend.add(row)
        terms = objective_terms(self.session.program, master, name)
        answer = backend.minimize(terms, hint=None, time_limit_s=self._left_s())
        if answer.values:
            points = [next(point for v, point in chosen if answer.values[v]) for chosen in choices]
            self._offer(name, points, [answer.values[v] for v in master.nodes])

    def _offer(self, name: str, points: Sequence[Point], nodes: Sequence[int]) -> None:
        """Gives the session a plan of points, if it is better than its best."""
        program, best = self.session.program, self.session.best
        value = sum(n * weight for n, weight in zip(nodes, node_weights(program, name), strict=True))
        if best is not None and value >= objective_value(program, name, best):
            return
        replicas = [0] * len(program.columns)
        for part, point in zip(self.parts, points, strict=True):
            for c, count in zip(part.columns, point.replicas, strict=True):
                replicas[c] = count
        self.session.offer(replicas, nodes)


def apart(session: Session) -> NodeSearch | None:
    """A search for a session's nodes, or None where its program does not fall into several parts; a first plan is
    offered either way. Nothing is searched where pools offer very many nodes: each would be a switch."""
    nodes = sum(pool.upper - pool.lower for pool in session.program.pools if pool.group is not None)
    if nodes > NODES_MAX:
        return None
    search = NodeSearch(session, parts_of(session.program))
    with suppress(OutOfTime):
        search.offer_first()
    return search if len(search.parts) > 1 else None


def _total(master: Master, g: int) -> int:
    total = master.totals[g]
    assert total is not None
    return total


def _work(part: Part) -> int:
    """What all items ask of all columns: orders parts of the same columns."""
    return sum(amount for column in part.program.columns for load in column.loads for _, amount in load.use)


def _serves(part: Part, replicas: Sequence[int]) -> bool:
    """Whether replicas serve a part, by the exact judge."""
    if any(broken_models(part.program, replicas)):
        return False
    return isinstance(route(part.program, replicas, minimize_loss=False), Routing)


def _needs(part: Part, replicas: Sequence[int]) -> tuple[int, ...]:
    """The nodes that replicas take in each group of a part."""
    running: dict[int, list[tuple[int, int]]] = {}
    for column, count in zip(part.program.columns, replicas, strict=True):
        if count:
            running.setdefault(column.group, []).append((column.gpus, count))
    return tuple(
        nodes_needed(running[g], group.gpus_per_node) + group.spare_nodes if g in running else 0
        for g, group in enumerate(part.program.groups)
    )
