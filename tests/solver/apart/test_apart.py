"""Programs that fall apart: their parts, and that the search for their nodes proves what the whole program proves."""

from __future__ import annotations

import time
from dataclasses import replace
from fractions import Fraction

from planner.solver.apart.parts import parts_of
from planner.solver.apart.search import apart
from planner.solver.apart.start import first_replicas
from planner.solver.exact import Routing, broken_integer_rows, route
from planner.solver.objective import solve
from planner.solver.program import Column, Group, Item, Load, NodeLimit, PoolNodes, Program
from planner.solver.progress import Step
from planner.solver.session import Session
from planner.solver.situations import Failure, joined, struck


def one(amount: int, price: int) -> Program:
    """A class that takes so many twelfths of a replica, on big nodes or on small ones at a third of the price."""
    load = (Load("gpu", 12, ((0, amount),)),)
    columns = tuple(Column(f"c{g}", "m", f"c{g}", g, 1, 8, load, ((0, Fraction(0)),)) for g in (0, 1))
    groups = (Group("big", 4, 0), Group("small", 1, 0))
    pools = (PoolNodes("big", 0, 0, 2, 3 * price), PoolNodes("small", 1, 0, 3, price))
    return Program((Item("k", "m"),), columns, groups, pools, (), (), (), 0, ("cost", "gpus"))


def test_situations_are_parts_whatever_money_ties_their_nodes() -> None:
    """Tests that a row over nodes joins no parts, that a failure belongs to what it strikes, and the places."""
    both = joined([("day", struck(one(30, 5), [Failure("lost", {0: 1})])), ("night", one(10, 7))])
    tied = replace(both, node_limits=(NodeLimit("starts", 0, ((0, 1), (2, -1))),))
    day, night = parts_of(tied)
    assert (day.columns, day.groups, day.most) == ((0, 1, 2, 3), (0, 1), (2, 3))
    assert (night.columns, night.groups, night.most) == ((4, 5), (2, 3), (2, 3))
    assert [column.of for column in day.program.columns] == [None, None, 0, 1]
    asked = night.asking({0: 9, 1: 9, 2: 1, 3: 0}, {0: 1, 1: 1, 2: 30, 3: 10})
    pools = [(pool.lower, pool.upper, pool.cost) for pool in asked.pools]
    assert pools == [
        (1, 1, 0),
        (0, 1, 30),
        (0, 0, 0),
        (0, 3, 10),
    ]


def test_a_part_keeps_the_limits_that_its_groups_cannot_escape() -> None:
    """Tests that a limit counts a node as the pool of its group that takes least of it, and ties never reach a part."""
    program = one(10, 5)
    pools = (*program.pools, PoolNodes("small too", 1, 0, 1, 9))
    limits = (NodeLimit("power", 8, ((0, 4), (1, 3), (2, 2))), NodeLimit("quota", 1, ((0, 1), (2, 1))))
    ties = (NodeLimit("stands", 0, ((0, 1), (1, -1))),)
    (part,) = parts_of(replace(program, pools=pools, node_limits=(*limits, *ties)))
    assert part.limits == (("power", 8, (4, 2)), ("quota", 1, (1, 0)))


def test_a_search_apart_proves_what_the_whole_program_proves() -> None:
    """Tests tied situations of many sizes: the same unique plan, from lessons of the parts, as CP-SAT on the whole."""
    for amounts in ((30, 10), (12, 12), (40, 25), (1, 60), (13, 37)):
        day, night = (one(amount, price) for amount, price in zip(amounts, (5, 7), strict=True))
        both = joined([("day", struck(day, [Failure("lost", {0: 1})])), ("night", night)])
        started = len(both.pools)
        tie = NodeLimit("starts", 0, ((1, 1), (3, -1), (started, -1)))
        program = replace(both, pools=(*both.pools, PoolNodes("started", None, 0, 3, 4)), node_limits=(tie,))
        told: list[Step] = []
        found = solve(program, backend="mathopt", progress=told.append)
        whole = solve(program, backend="cpsat")
        assert found.status == whole.status
        assert (found.replicas, found.nodes, found.unique) == (whole.replicas, whole.nodes, True)
        assert "situations apart" in {step.by for step in told}
        assert told[0].best is not None


def test_a_first_plan_survives_what_takes_a_part_of_a_column() -> None:
    """Tests that simple replicas serve after every loss that leaves some of a column, and that none are made up."""
    lossy = struck(one(30, 5), [Failure("one", {0: 1, 1: 1}), Failure("two", {0: 2})])
    replicas = first_replicas(lossy, (15, 5))
    assert replicas is not None
    assert isinstance(route(lossy, replicas, minimize_loss=False), Routing)
    assert first_replicas(one(1_000, 5), (15, 5)) is None


def test_a_plan_is_known_before_anything_is_asked() -> None:
    """Tests a program that falls apart and one that does not: the session holds a plan then."""
    day, night = one(30, 5), struck(one(10, 7), [Failure("lost", {0: 1})])
    for program, parts in ((joined([("day", day), ("night", night)]), 2), (night, 1)):
        session = Session(program, "mathopt", 0, time.monotonic() + 60, lambda _: None)
        assert (apart(session) is not None) == (parts > 1)
        assert session.best is not None
        assert not broken_integer_rows(program, session.best.replicas, session.best.nodes)


def test_replicas_of_one_situation_are_tried_in_another_within_its_bounds() -> None:
    """Tests a heavy situation beside a light one whose columns end at fewer replicas: a plan is found all the same."""
    day, night = one(60, 5), one(5, 7)
    short = replace(night, columns=tuple(replace(column, upper=1) for column in night.columns))
    found = solve(joined([("day", day), ("night", short)]), backend="mathopt")
    assert (found.status, sum(found.replicas)) == ("optimal", 6)
