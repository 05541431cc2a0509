"""Several situations in one program against brute force: every choice of replicas and nodes, each situation alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import ceil

import pytest

from planner.solver.exact import Routing, broken_integer_rows, route, serving, violations
from planner.solver.objective import solve
from planner.solver.program import Column, Group, Item, Load, NodeLimit, PoolNodes, Program
from planner.solver.situations import Failure, Shed, joined, struck

Choice = tuple[tuple[int, ...], tuple[int, ...]]


def tiny(rng: random.Random, *, columns: int = 2) -> Program:
    """One situation: one or two items of one model, up to two columns on one or two pools of one node size."""
    items = tuple(Item(f"item{k}", "m") for k in range(rng.randint(1, 2)))
    parts = []
    for index in range(rng.randint(1, columns)):
        served = [k for k in range(len(items)) if rng.random() < 0.9] or [0]
        use = tuple((k, rng.choice([2, 3, 4, 6, 8, 12, 14])) for k in served)
        losses = tuple((k, Fraction(rng.choice([0, 1, 4]))) for k in served)
        parts.append(Column(f"c{index}", "m", f"c{index}", 0, rng.choice([1, 2]), 2, (Load("gpu", 12, use),), losses))
    pools = tuple(
        PoolNodes(f"p{p}", 0, rng.choice([0, 0, 1]), 2, rng.choice([3, 5]) * 10_000, rng.choice([1, 2]))
        for p in range(rng.randint(1, 2))
    )
    objective = rng.choice([("cost", "gpus", "quality_loss"), ("gpus", "cost"), ("cost",)])
    return Program(items, tuple(parts), (Group("g", 2, 0),), pools, (), (), (), rng.choice([0, 0, 1]), objective)


def choices(program: Program) -> Iterator[Choice]:
    """Every choice of replicas and nodes of a plain program that keeps its rows over integers."""
    for replicas in product(*(range(column.upper + 1) for column in program.columns)):
        for nodes in product(*(range(pool.lower, pool.upper + 1) for pool in program.pools)):
            if not broken_integer_rows(program, replicas, nodes):
                yield replicas, nodes


def values(program: Program, nodes: tuple[int, ...], loss: Fraction) -> dict[str, int | Fraction]:
    """Objective values of one situation."""
    weight = {"cost": [pool.cost for pool in program.pools], "gpus": [2 * pool.hours for pool in program.pools]}
    return {name: sum(n * w for n, w in zip(nodes, row, strict=True)) for name, row in weight.items()} | {
        "quality_loss": loss
    }


def total(programs: list[Program], found: tuple[tuple[Choice, Fraction], ...]) -> tuple[int, ...]:
    """Lexicographic objective values over all situations."""
    rows = [values(program, choice[1], loss) for program, (choice, loss) in zip(programs, found, strict=True)]
    return tuple(ceil(sum(row[name] for row in rows)) for name in programs[0].objective)


@pytest.mark.parametrize("backend", ["cpsat", "mathopt"])
def test_periods_tied_by_a_purchase_cost_what_brute_force_says(backend: str) -> None:
    """Tests two situations, each with its own replicas, whose nodes of one pool are one purchase for both."""
    statuses = set()
    for seed in range(30):
        rng = random.Random(seed)
        base = tiny(rng)
        parts = [base, replace(tiny(rng), objective=base.objective, spare_replicas=base.spare_replicas)]
        parts = [replace(p, pools=(replace(p.pools[0], cost=0, lower=0), *p.pools[1:])) for p in parts]
        both = joined([("day", parts[0]), ("night", parts[1])])
        bought, second = len(both.pools), len(parts[0].pools)
        purchase = PoolNodes("bought", None, 0, 2, 40_000)
        ties = tuple(NodeLimit(f"stands{p}", 0, ((p, 1), (bought, -1))) for p in (0, second))
        found = solve(replace(both, pools=(*both.pools, purchase), node_limits=ties), backend=backend)
        best = None
        lists = []
        for part in parts:
            routed = []
            for choice in choices(part):
                routing = route(part, choice[0], minimize_loss=True)
                if isinstance(routing, Routing):
                    routed.append((choice, routing.loss))
            lists.append(routed)
        for pair in product(*lists):
            row = list(total(parts, pair))
            if "cost" in base.objective:
                row[base.objective.index("cost")] += 40_000 * max(choice[1][0] for choice, _ in pair)
            best = min(best, tuple(row)) if best else tuple(row)
        statuses.add(found.status)
        assert (found.status == "optimal") == (best is not None), seed
        if best:
            assert tuple(stage.value for stage in found.stages) == best, seed
            assert not violations(replace(both, pools=(*both.pools, purchase), node_limits=ties), found)
    assert statuses == {"optimal", "infeasible"}


def survives(program: Program, replicas: tuple[int, ...], lost: dict[int, int], shed_ppm: int) -> bool:
    """Whether the rest of the replicas carries what must not be shed; by scaling the loads, in exact arithmetic."""
    left = tuple(max(0, n - lost.get(c, 0)) for c, n in enumerate(replicas))
    columns = tuple(
        replace(
            column,
            loads=tuple(
                Load(load.name, load.capacity * 10**6, tuple((k, a * (10**6 - shed_ppm)) for k, a in load.use))
                for load in column.loads
            ),
        )
        for column in program.columns
    )
    return isinstance(route(replace(program, columns=columns, spare_replicas=0), left, minimize_loss=False), Routing)


@pytest.mark.parametrize("backend", ["cpsat", "mathopt"])
def test_failures_cost_what_brute_force_says(backend: str) -> None:
    """Tests the least plan that still serves when either column loses replicas and part of the traffic may be shed."""
    statuses = set()
    for seed in range(40):
        rng = random.Random(1_000 + seed)
        program = tiny(rng)
        program = replace(program, columns=tuple(replace(c, upper=3) for c in program.columns))
        shed_ppm = rng.choice([0, 300_000, 500_000])
        failures = [{c: rng.choice([1, 2])} for c in range(len(program.columns))][: rng.randint(1, 2)]
        weights = tuple((k, 10**6) for k in range(len(program.items)))
        shed = tuple(Shed(f"item{k}", (weights[k],), shed_ppm, -1) for k, _ in weights) if shed_ppm else ()
        whole = struck(program, [Failure(f"lost{i}", lost, shed) for i, lost in enumerate(failures)])
        found = solve(whole, backend=backend)
        best = None
        for replicas, nodes in choices(program):
            routing = route(program, replicas, minimize_loss=True)
            if isinstance(routing, Routing) and all(survives(program, replicas, lost, shed_ppm) for lost in failures):
                row = total([program], (((replicas, nodes), routing.loss),))
                best = min(best, row) if best else row
        statuses.add(found.status)
        assert (found.status == "optimal") == (best is not None), seed
        if best:
            assert tuple(stage.value for stage in found.stages) == best, seed
            assert found.unique and not violations(whole, found)
    assert statuses == {"optimal", "infeasible"}


def test_one_situation_is_the_plain_program() -> None:
    """Tests that a single situation, joined, has the rows and the answer of the program itself."""
    for seed in range(20):
        program = tiny(random.Random(seed))
        alone = joined([("", program)])
        assert replace(alone, demands=None) == program
        assert replace(solve(alone), proof="") == replace(solve(program), proof="")


def test_what_is_shed_first_has_the_highest_rank() -> None:
    """Tests that routing after a failure empties the shed columns of lower rank first."""
    items = (Item("chat", "m"), Item("batch", "m"))
    column = Column(
        "c", "m", "c", 0, 1, 3, (Load("gpu", 10, ((0, 10), (1, 10))),), ((0, Fraction(0)), (1, Fraction(0)))
    )
    pools = (PoolNodes("p", 0, 0, 3, 10),)
    program = Program(items, (column,), (Group("g", 1, 0),), pools, (), (), (), 0, ("cost",))
    sheds = (Shed("chat", ((0, 1),), 1, -2), Shed("batch", ((1, 1),), 1, -1))
    whole = struck(program, [Failure("lost", {0: 1}, sheds)])
    found = solve(whole)
    assert found.replicas[0] == 2 and serving(whole, found.replicas)[1] == 1
    shed = {whole.items[k].name: share for k, c, share in found.routing if whole.columns[c].always}
    assert shed == {"batch|lost": 1}
