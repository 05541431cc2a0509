"""Steps of lines against the same lines as overrides, and the row of a frontier against every choice of replicas."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import ceil
from pathlib import Path

import pytest

from planner import pipeline
from planner.explain.edits import edited
from planner.explain.frontier import loss_at_most
from planner.explain.steps import steps
from planner.scenario.types import Scenario
from planner.solver.exact import Routing, broken_integer_rows, route
from planner.solver.objective import solve
from planner.solver.program import Column, Group, Item, Load, PoolNodes, Program

PROD = Path(__file__).resolve().parents[2] / "scenarios" / "prod.yaml"
SETS = ("reserve.spare={nodes: 1}", "models.summarizer.replicas={min: 1, max: 9}", "budget.total=$300_000")


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    """The repository's scenario, with lines of every kind."""
    return pipeline.load(PROD, SETS)


def test_a_step_is_what_its_override_makes(scenario: Scenario) -> None:
    """Tests that the scenario of each step is the one that `--set PATH=AFTER` gives."""
    seen = set()
    for step in steps(scenario):
        if step.path in ("traffic.*.peak", "traffic.nightly.requests"):
            continue  # said in percent, and rounded to whole requests when written
        below = [f"traffic.agents.mean={step.after}"] if step.after == "0.5 req/s" else []  # no mean above its peak
        made = pipeline.load(PROD, [*SETS, *below, f"{step.path}={step.after}"])
        mine = edited(scenario, (step.edit,))
        for part in ("models", "traffic", "inventory", "limits", "budget", "reserve"):
            assert getattr(made, part) == getattr(mine, part), step
        seen.add(step.path.split(".")[0])
    assert seen == {"models", "traffic", "inventory", "limits", "budget", "reserve"}


def test_all_traffic_is_every_class(scenario: Scenario) -> None:
    """Tests that the step of all traffic scales each class, a batch by its requests too."""
    step = next(each for each in steps(scenario) if each.path == "traffic.*.peak" and each.direction == "tighten")
    more = edited(scenario, (step.edit,)).traffic
    for name, each in scenario.traffic.items():
        assert more[name].peak_rps == each.peak_rps * Fraction(11, 10)
    assert more["nightly"].mean_rps == scenario.traffic["nightly"].mean_rps * Fraction(11, 10)
    assert more["chat"].mean_rps == scenario.traffic["chat"].mean_rps


def program() -> Program:
    """Two items on three columns that trade quality for GPUs."""
    columns = tuple(
        Column(name, "m", name, 0, gpus, 4, (Load("gpu", 10, ((0, 17), (1, 9))),), ((0, loss), (1, loss / 2)))
        for name, gpus, loss in (("full", 2, Fraction(0)), ("less", 1, Fraction(40, 3)))
    )
    thin = replace(columns[1], name="thin", config="thin", loads=(Load("gpu", 10, ((0, 12), (1, 6))),))
    thin = replace(thin, losses=((0, Fraction(65, 2)), (1, Fraction(21))))
    return Program(
        items=(Item("chat", "m"), Item("code", "m")),
        columns=(*columns, thin),
        groups=(Group("g", 2, 0),),
        pools=(PoolNodes("cheap", 0, 0, 1, 70), PoolNodes("dear", 0, 0, 6, 90)),
        node_limits=(),
        share_limits=(),
        models=(),
        spare_replicas=0,
        objective=("cost", "quality_loss"),
    )


def tried(subject: Program) -> list[tuple[int, int]]:
    """(cost, quality loss) that no other choice of replicas and nodes beats in both, cheapest first."""
    found = set()
    for replicas in product(*(range(column.upper + 1) for column in subject.columns)):
        routing = route(subject, replicas, minimize_loss=True)
        if not isinstance(routing, Routing):
            continue
        for nodes in product(range(2), range(7)):
            if not broken_integer_rows(subject, replicas, nodes):
                found.add((70 * nodes[0] + 90 * nodes[1], ceil(routing.loss)))
    best: list[tuple[int, int]] = []
    for cost, loss in sorted(found):
        if not best or loss < best[-1][1]:
            best.append((cost, loss))
    return best


def test_a_frontier_of_quality_is_that_of_all_choices() -> None:
    """Tests that each next point, at least one whole unit better, is the next of all choices of replicas and nodes."""
    subject, points, most = program(), [], None
    while most is None or most >= 0:
        solution = solve(subject if most is None else loss_at_most(subject, most))
        if solution.status == "infeasible":
            break
        values = {stage.name: stage.value for stage in solution.stages}
        points.append((values["cost"], values["quality_loss"]))
        most = values["quality_loss"] - 1
    assert points == tried(program()) and len(points) >= 3
