"""Proofs that there is no plan."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from planner.solver.infeasible import ruled_out
from planner.solver.objective import solve
from planner.solver.program import Column, Group, Item, Load, NodeLimit, PoolNodes, Program


def program(budget: int) -> Program:
    """Demand for 10 GPUs in nodes of 4 at 100 each, so three nodes: 300; GPUs by the piece would cost 250."""
    column = Column("a", "m", "a", 0, 1, 20, (Load("gpu", 5, ((0, 50),)),), ((0, Fraction(0)),))
    return Program(
        items=(Item("chat", "m"),),
        columns=(column,),
        groups=(Group("g", 4, 0),),
        pools=(PoolNodes("p", 0, 0, 9, 100),),
        node_limits=(NodeLimit("budget", budget, ((0, 100),)),),
        share_limits=(),
        models=(),
        spare_replicas=0,
        objective=("cost",),
    )


@pytest.mark.parametrize(("budget", "expected"), [(200, True), (299, True), (300, False)])
def test_whole_nodes_are_counted_by_the_arithmetic(budget: int, *, expected: bool) -> None:
    """Tests that the proof knows that 299 buys only two nodes, which carry 8 of 10 GPUs."""
    assert ruled_out(program(budget)) is expected
    assert (solve(program(budget)).status == "infeasible") is expected


@pytest.mark.parametrize("backend", ["cpsat", "mathopt"])
def test_rounding_of_replicas_needs_a_second_solver(backend: str) -> None:
    """Tests replicas of 3 GPUs in nodes of 4: the arithmetic counts 12 GPUs as four replicas, CP-SAT as three."""
    large = Column("a", "m", "a", 0, 3, 20, (Load("gpu", 10, ((0, 35),)),), ((0, Fraction(0)),))
    subject = replace(program(300), columns=(large,))
    assert not ruled_out(subject)
    solution = solve(subject, backend=backend)
    assert solution.status == "infeasible"
    assert "confirmed by cpsat" in solution.proof
    assert solve(replace(program(400), columns=(large,)), backend=backend).status == "optimal"


def test_a_large_quality_loss_does_not_make_a_plan_impossible() -> None:
    """Tests losses of a billion units beside shares of at most 1: HiGHS alone once called this infeasible."""
    column = replace(program(300).columns[0], losses=((0, Fraction(10**10)),))
    subject = replace(program(300), columns=(column,), objective=("cost", "quality_loss"))
    for backend in ("cpsat", "mathopt"):
        solution = solve(subject, backend=backend)
        assert [stage.value for stage in solution.stages] == [300, 10**10]
        assert solution.status == "optimal"
