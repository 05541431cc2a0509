"""The front door: statuses, stages, proofs and what is loaded."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import pytest

from planner.solver import objective
from planner.solver.exact import violations
from planner.solver.objective import solve
from planner.solver.program import Column, Group, Item, Load, ModelLimit, NodeLimit, PoolNodes, Program, ShareLimit
from planner.solver.progress import Step
from planner.solver.session import OutOfTime, Session


def program() -> Program:
    """One item that needs 2.5 GPUs, served in full quality by pairs or at a loss of 40/3 by single GPUs."""
    pair = Column("pair", "m", "pair", 0, 2, 8, (Load("gpu", 20, ((0, 25),)),), ((0, Fraction(0)),))
    single = Column("single", "m", "single", 0, 1, 8, (Load("gpu", 10, ((0, 25),)),), ((0, Fraction(40, 3)),))
    return Program(
        items=(Item("chat", "m"),),
        columns=(pair, single),
        groups=(Group("g", 4, 0),),
        pools=(PoolNodes("cheap", 0, 0, 1, 70), PoolNodes("dear", 0, 0, 9, 90)),
        node_limits=(),
        share_limits=(),
        models=(),
        spare_replicas=0,
        objective=("cost", "gpus", "quality_loss"),
    )


def values(subject: Program) -> dict[str, int]:
    """Objective values of a proved solution."""
    solution = solve(subject)
    assert solution.status == "optimal" and solution.unique
    assert violations(subject, solution) == []
    return {stage.name: stage.value for stage in solution.stages}


def test_objectives_are_lexicographic() -> None:
    """Tests that two pairs (4 GPUs) win: same node as three singles, and no loss."""
    assert values(program()) == {"cost": 70, "gpus": 4, "quality_loss": 0}


def test_quality_loss_is_rounded_up() -> None:
    """Tests that 5/9 of the item on singles loses 200/27 = 7.4..., which counts as 8 whole units."""
    limited = replace(
        program(), columns=(replace(program().columns[0], loads=(Load("gpu", 20, ((0, 45),)),)), program().columns[1])
    )
    limited = replace(limited, columns=(replace(limited.columns[0], upper=1), limited.columns[1]))
    assert values(limited)["quality_loss"] == 8


def test_spare_nodes_are_bought_where_a_group_is_used() -> None:
    """Tests that one spare node adds the dear node of 4 GPUs: 70 + 90."""
    assert values(replace(program(), groups=(Group("g", 4, 1),))) == {"cost": 160, "gpus": 8, "quality_loss": 0}


def test_spare_replicas_come_on_top() -> None:
    """Tests that with one replica lost two pairs must still serve: three pairs, or four singles in one node."""
    assert values(replace(program(), spare_replicas=1)) == {"cost": 70, "gpus": 4, "quality_loss": 14}


def test_committed_nodes_are_paid_idle() -> None:
    """Tests that three committed nodes cost in full although one is enough."""
    pools = (PoolNodes("cheap", 0, 3, 3, 70), PoolNodes("dear", 0, 0, 9, 90))
    assert values(replace(program(), pools=pools)) == {"cost": 210, "gpus": 12, "quality_loss": 0}


def test_replica_minimum_and_configurations() -> None:
    """Tests that five replicas of one configuration need five singles: two nodes, a loss of 14."""
    limit = ModelLimit("m", replicas_min=5, max_configurations=1)
    two_nodes = replace(
        program(), models=(limit,), columns=(replace(program().columns[0], upper=4), program().columns[1])
    )
    assert values(two_nodes) == {"cost": 160, "gpus": 8, "quality_loss": 14}


@pytest.mark.parametrize("backend", ["cpsat", "mathopt"])
def test_infeasible_is_confirmed_twice(backend: str) -> None:
    """Tests that a budget below one node is infeasible, with both provers in the record."""
    poor = replace(program(), node_limits=(NodeLimit("budget", 69, ((0, 70), (1, 90))),))
    solution = solve(poor, backend=backend)
    assert solution.status == "infeasible"
    assert solution.proof.startswith(f"{backend}, confirmed by ")
    assert (solution.replicas, solution.stages) == ((), ())


def test_a_demand_without_a_column_is_found_before_any_solver() -> None:
    """Tests that columns larger than a node count as none."""
    solution = solve(replace(program(), groups=(Group("g", 0, 0),)))
    assert (solution.status, solution.proof) == ("infeasible", "no column serves chat")


def test_no_time_gives_no_claim() -> None:
    """Tests that a limit that has passed leaves the status unknown and says that it may differ next time."""
    solution = solve(program(), time_limit_s=0)
    assert (solution.status, solution.reproducible, solution.unique) == ("unknown", False, False)


def test_what_is_proved_stays_proved_when_time_ends_among_equals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that a limit met after the last objective leaves it optimal, and says that an equal plan may come next."""

    def too_late(session: Session) -> None:
        session.deadline = 0.0
        raise OutOfTime

    monkeypatch.setattr(objective, "settle_on_one", too_late)
    solution = solve(program())
    assert (solution.status, solution.unique, solution.reproducible) == ("optimal", False, False)
    assert [stage.bound for stage in solution.stages] == [70, 4, 0]


def test_unknown_objectives_are_refused() -> None:
    """Tests the message for an objective that does not exist."""
    with pytest.raises(ValueError, match="write cost, gpus or quality_loss"):
        solve(replace(program(), objective=("latency",)))


def test_progress_is_told() -> None:
    """Tests that every stage reports a line."""
    steps: list[Step] = []
    solve(program(), progress=steps.append)
    assert steps[0] == Step("cost", 70, 70, "cpsat")
    assert [step.proved for step in steps] == [True] * len(steps)


@pytest.mark.parametrize("backend", ["cpsat", "mathopt"])
@pytest.mark.parametrize("extra", [Fraction(0), Fraction(1, 2), Fraction(1, 10**6)])
def test_the_last_unit_of_quality_is_proved(backend: str, extra: Fraction) -> None:
    """Tests a loss of exactly 10^9 whole units and ones just above: floats alone leave the last unit open."""
    columns = tuple(replace(c, losses=((0, Fraction(10**9) + extra),)) for c in program().columns)
    solution = solve(replace(program(), columns=columns), backend=backend)
    assert (solution.status, solution.unique) == ("optimal", True)
    assert solution.stages[2].value == 10**9 + (1 if extra else 0)
    assert solution.stages[2].bound == solution.stages[2].value


@pytest.mark.parametrize("backend", ["cpsat", "mathopt"])
def test_a_load_of_one_ten_millionth_too_much_needs_another_replica(backend: str) -> None:
    """Tests that what every tolerance lets through is refused exactly, cut off, and solved again."""
    tight = Column("a", "m", "a", 0, 1, 9, (Load("gpu", 10**7, ((0, 10**7 + 1),)),), ((0, Fraction(0)),))
    solution = solve(replace(program(), columns=(tight,), groups=(Group("g", 1, 0),)), backend=backend)
    assert (solution.status, solution.replicas) == ("optimal", (2,))
    assert "0 cuts" not in solution.proof
    exact = replace(tight, loads=(Load("gpu", 10**7, ((0, 10**7),)),))
    assert solve(replace(program(), columns=(exact,)), backend=backend).replicas == (1,)


@pytest.mark.parametrize("backend", ["cpsat", "mathopt"])
def test_a_promise_of_one_ten_millionth_too_much_is_infeasible(backend: str) -> None:
    """Tests that a promised share that no choice keeps exactly ends in a proof that rests on a cut."""
    promise = ShareLimit("cut", 10**7 - 1, ((0, 0, 10**7), (0, 1, 10**7)))
    solution = solve(replace(program(), share_limits=(promise,)), backend=backend)
    assert solution.status == "infeasible"


def test_solver_libraries_load_late() -> None:
    """Tests that importing the solver loads no ortools, and that CP-SAT loads neither pandas nor numpy."""
    code = (
        "import sys; from planner.solver import objective; early = {n.split('.')[0] for n in sys.modules};"
        "from planner.solver.cpsat import CpSat; from planner.solver.master import Master; CpSat(Master(), seed=0);"
        "late = {n.split('.')[0] for n in sys.modules};"
        "print('ortools' in early, 'ortools' in late, bool({'pandas', 'numpy', 'scipy', 'torch'} & late))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "False"]
