"""A published mix of GPU types, where rounding loads or splitting coarsely loses the optimum.

Four buckets of requests at 6, 3, 15 and 6 requests/s (30 requests/s in the shares 0.2, 0.1, 0.5, 0.2); an A10G at $1.01
serves 2, 1, 5 and 2 of them a second, an A100-80GB at $3.67 20, 20, 40 and 20. Capacity is pooled per GPU type.
Source: the example input of the solver of Melange (Griggs et al., arXiv 2404.14527), whose answer with whole buckets is
3 A10G and 1 A100 for $6.70. With buckets that split freely, 1 and 1 for $4.68 is enough: one third of the third bucket
fills the A10G (15 / 3 / 5 = 1.000) and leaves 6/20 + 3/20 + 10/40 + 6/20 = 1.000 for the A100.
"""

from __future__ import annotations

from fractions import Fraction

import pytest

from planner.solver.exact import FarkasCut, route, violations
from planner.solver.objective import solve
from planner.solver.program import Column, Group, Item, Load, PoolNodes, Program

RATES = (6, 3, 15, 6)
SERVED = {"a100-80gb": (20, 20, 40, 20), "a10g": (2, 1, 5, 2)}


def mix() -> Program:
    """The published case: loads in units of 1/40 of a GPU."""
    columns = []
    for group, (name, served) in enumerate(SERVED.items()):
        use = tuple((k, 40 * rate // each) for k, (rate, each) in enumerate(zip(RATES, served, strict=True)))
        losses = tuple((k, Fraction(0)) for k in range(4))
        columns.append(Column(name, "model", name, group, 1, 20, (Load("gpu", 40, use),), losses))
    return Program(
        items=tuple(Item(f"bucket{k}", "model") for k in range(4)),
        columns=tuple(columns),
        groups=(Group("a100-80gb", 1, 0), Group("a10g", 1, 0)),
        pools=(PoolNodes("a100-80gb", 0, 0, 20, 3_670_000), PoolNodes("a10g", 1, 0, 20, 1_010_000)),
        node_limits=(),
        share_limits=(),
        models=(),
        spare_replicas=0,
        objective=("cost", "gpus", "quality_loss"),
    )


@pytest.mark.parametrize("backend", ["auto", "cpsat", "mathopt"])
def test_a_third_of_a_bucket_fills_both_gpus(backend: str) -> None:
    """Tests that the plan is one of each at $4.68/h, with both loads exactly 1.000, and not $6.70."""
    solution = solve(mix(), backend=backend)
    assert (solution.status, solution.unique) == ("optimal", True)
    assert solution.stages[0].value == 4_680_000
    assert (solution.replicas, solution.nodes) == ((1, 1), (1, 1))
    assert (2, 1, Fraction(1, 3)) in solution.routing
    loads = [0, 0]
    for item, column, share in solution.routing:
        loads[column] += share * Fraction(RATES[item], list(SERVED.values())[column][item])
    assert loads == [1, 1]
    assert violations(mix(), solution) == []


def test_whole_buckets_would_cost_more() -> None:
    """Tests that the published $6.70 plan is feasible, and that one GPU of a kind alone is not."""
    assert not isinstance(route(mix(), (1, 3), minimize_loss=False), FarkasCut)
    assert isinstance(route(mix(), (1, 0), minimize_loss=False), FarkasCut)
    assert isinstance(route(mix(), (0, 11), minimize_loss=False), FarkasCut)


def test_two_runs_give_the_same_solution() -> None:
    """Tests that a solve repeats exactly, routing and proof included."""
    assert solve(mix()) == solve(mix())
