"""The solver against brute force: tiny programs, every choice of replicas and nodes, exact routing."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache
from hashlib import sha256
from itertools import product
from math import ceil

import pytest

from planner.solver import cuts
from planner.solver.exact import FarkasCut, Routing, loss_cut, route, serving, violations
from planner.solver.infeasible import ruled_out
from planner.solver.objective import demands_without_column, solve
from planner.solver.packing import fits
from planner.solver.program import (
    Column,
    Demand,
    Group,
    Item,
    Load,
    ModelLimit,
    NodeLimit,
    PoolNodes,
    Program,
    ShareLimit,
    Solution,
)

Choice = tuple[tuple[int, ...], tuple[int, ...]]


def random_program(seed: int) -> Program:
    """A program of 1-3 items, 1-4 columns and 1-3 pools with a random selection of the other rows."""
    rng = random.Random(seed)
    models = ["alpha", "beta"][: rng.choice([1, 1, 2])]
    items = tuple(Item(f"item{k}", rng.choice(models)) for k in range(rng.randint(1, 3)))
    groups = tuple(
        Group(f"group{g}", rng.choice([1, 2, 4, 4, 8]), rng.choice([0, 0, 0, 0, 1])) for g in range(rng.randint(1, 2))
    )
    pools = tuple(
        PoolNodes(
            name=rng.choice("xyz") + str(p),
            group=p % len(groups),
            lower=(lower := rng.choice([0, 0, 1])),
            upper=lower + rng.randint(1, 2),
            cost=rng.choice([3, 5, 5, 7, 11]) * 10_000,
        )
        for p in range(rng.randint(len(groups), 3))
    )
    columns = tuple(_column(rng, index, items, groups, models) for index in range(rng.choice([1, 2, 3, 3, 4])))
    program = Program(
        items=items,
        columns=columns,
        groups=groups,
        pools=pools,
        node_limits=(),
        share_limits=(),
        models=(),
        spare_replicas=rng.choice([0, 0, 0, 1]),
        objective=rng.choice([("cost", "gpus", "quality_loss"), ("quality_loss", "cost"), ("gpus",), ("cost",)]),
    )
    return _with_limits(rng, program, models)


def _column(
    rng: random.Random, index: int, items: tuple[Item, ...], groups: tuple[Group, ...], models: list[str]
) -> Column:
    """A column whose amounts make thirds and full loads of exactly 1 likely."""
    model, group = rng.choice(models), rng.randrange(len(groups))
    own = [k for k, item in enumerate(items) if item.model == model]
    served = [k for k in own if rng.random() < 0.95]
    amounts = [2, 3, 4, 4, 6, 8, 9, 12, 18]
    loads = tuple(
        Load(name, 12, tuple((k, rng.choice(amounts)) for k in served)) for name in ("gpu", "kv")[: rng.randint(1, 2)]
    )
    losses = tuple((k, Fraction(rng.choice([0, 0, 1, 5, 12, 40]), rng.choice([1, 3]))) for k in served)
    gpus = rng.choice([1, 1, 2, 3, 4])
    return Column(f"column{index}", model, f"config{rng.randrange(3)}", group, gpus, rng.randint(1, 3), loads, losses)


def _with_limits(rng: random.Random, program: Program, models: list[str]) -> Program:
    """Budgets, promised shares, replica bounds and runs of items, each now and then."""
    if rng.random() < 0.4:
        use = tuple((p, rng.randint(0, 3)) for p in range(len(program.pools)))
        program = replace(program, node_limits=(NodeLimit("power", rng.randint(2, 12), use),))
    if rng.random() < 0.4:
        pairs = [(k, c) for c, column in enumerate(program.columns) for k, _ in column.losses]
        use3 = tuple((k, c, rng.randint(1, 4)) for k, c in pairs if rng.random() < 0.6)
        program = replace(program, share_limits=(ShareLimit("cut", rng.randint(0, 6), use3),))
    if rng.random() < 0.4:
        least = rng.choice([0, 0, 1, 2])
        most = rng.choice([None, None, least + 1, 3])
        limit = ModelLimit(models[0], least, most, rng.choice([None, 1, 1, 2]))
        program = replace(program, models=(limit,))
    if len(program.items) == 3 and len({item.model for item in program.items}) == 1 and rng.random() < 0.6:
        # Items 0 and 1 are neighboring bands, item 2 is both of them at once.
        program = replace(program, demands=(Demand("band0", (0, 2)), Demand("band1", (1, 2))))
    return program


def pack(sizes: list[int], unit: int, nodes: int) -> bool:
    """Whether replicas fit into nodes, by trying every node for every replica."""

    def place(rest: list[int], free: tuple[int, ...]) -> bool:
        if not rest:
            return True
        return any(
            place(rest[1:], tuple(sorted((*free[:i], room - rest[0], *free[i + 1 :]))))
            for i, room in enumerate(free)
            if room >= rest[0] and room not in free[:i]
        )

    return nodes >= 0 and place(sorted(sizes, reverse=True), (unit,) * nodes)


def plans(program: Program) -> Iterator[tuple[Choice, Routing]]:
    """Every feasible choice of replicas and nodes with its routing of least loss; written from the rows' meaning."""
    pack_known = cache(lambda sizes, unit, nodes: pack(list(sizes), unit, nodes))
    with_loss = "quality_loss" in program.objective
    for replicas in product(*(range(column.upper + 1) for column in program.columns)):
        if not _models_hold(program, replicas):
            continue
        routing = route(program, replicas, minimize_loss=with_loss)
        if not isinstance(routing, Routing):
            continue
        for nodes in product(*(range(pool.lower, pool.upper + 1) for pool in program.pools)):
            if any(sum(a * nodes[p] for p, a in limit.use) > limit.max for limit in program.node_limits):
                continue
            for g, group in enumerate(program.groups):
                bought = sum(n for n, pool in zip(nodes, program.pools, strict=True) if pool.group == g)
                sizes = tuple(
                    c.gpus for c, n in zip(program.columns, replicas, strict=True) for _ in range(n) if c.group == g
                )
                if sizes and not pack_known(sizes, group.gpus_per_node, bought - group.spare_nodes):
                    break
            else:
                yield (replicas, nodes), routing


def _models_hold(program: Program, replicas: tuple[int, ...]) -> bool:
    """Replica bounds and configurations of every model."""
    for limit in program.models:
        own = [(c, n) for c, n in zip(program.columns, replicas, strict=True) if c.model == limit.model and n]
        total = sum(n for _, n in own)
        most = total if limit.replicas_max is None else limit.replicas_max
        kinds = len({c.config for c, _ in own})
        if not limit.replicas_min <= total <= most:
            return False
        if limit.max_configurations is not None and kinds > limit.max_configurations:
            return False
    return True


def objectives(program: Program, choice: Choice, routing: Routing) -> tuple[int, ...]:
    """The values of the program's objectives for a choice."""
    nodes = choice[1]
    values = {
        "cost": sum(n * pool.cost for n, pool in zip(nodes, program.pools, strict=True)),
        "gpus": sum(n * program.groups[pool.group].gpus_per_node for n, pool in zip(nodes, program.pools, strict=True)),
        "quality_loss": ceil(routing.loss),
    }
    return tuple(values[name] for name in program.objective)


def order(program: Program, choice: Choice) -> tuple[object, ...]:
    """Where a choice stands among plans of the same objectives: busy GPUs, deployments, nodes, replicas."""
    replicas, nodes = choice
    busy = sum(c.gpus * n for c, n in zip(program.columns, replicas, strict=True))
    by_name = sorted(range(len(nodes)), key=lambda p: program.pools[p].name)
    ranked = sorted(
        range(len(replicas)),
        key=lambda c: (program.columns[c].model, sha256(program.columns[c].name.encode()).hexdigest()),
    )
    return (
        busy,
        sum(1 for n in replicas if n),
        tuple(nodes[p] for p in by_name),
        tuple(replicas[c] for c in ranked),
    )


def best(program: Program) -> tuple[Choice, Routing, tuple[int, ...]] | None:
    """The optimum by brute force: its choice, routing and objective values; None if there is no plan."""
    found = [
        (objectives(program, choice, routing), order(program, choice), choice, routing)
        for choice, routing in plans(program)
    ]
    if not found:
        return None
    values, _, choice, routing = min(found, key=lambda entry: entry[:2])
    return choice, routing, values


BATCHES = [range(start, start + 60) for start in range(0, 300, 60)]


def same(program: Program, solution: Solution, expected: tuple | None) -> str:
    """What differs between a solution and the brute-force optimum; empty when nothing does."""
    if expected is None:
        return "" if solution.status == "infeasible" else f"{solution.status} instead of infeasible"
    choice, routing, values = expected
    found = (solution.replicas, solution.nodes)
    checks = {
        "status": (solution.status, solution.unique) == ("optimal", True),
        "values": tuple(stage.value for stage in solution.stages) == values,
        "bounds": all(stage.bound == stage.value for stage in solution.stages),
        "plan": found == choice,
        "routing": solution.routing == routing.shares,
        "rows": violations(program, solution) == [],
    }
    return ", ".join(name for name, holds in checks.items() if not holds)


@pytest.mark.parametrize("seeds", BATCHES, ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_both_backends_find_the_brute_force_plan(seeds: range) -> None:
    """Tests that CP-SAT and HiGHS agree with brute force on status, every value, the one plan and its routing."""
    wrong, statuses = {}, Counter()
    for seed in seeds:
        program = random_program(seed)
        expected = best(program)
        statuses[expected is not None] += 1
        for backend in ("cpsat", "mathopt"):
            difference = same(program, solve(program, backend=backend), expected)
            if difference:
                wrong[seed, backend] = difference
    assert wrong == {}
    assert min(statuses[True], statuses[False]) >= 10, "the generator should give both kinds"


@pytest.mark.parametrize("size", [5, 10**4])
def test_farkas_cuts_hold_for_every_choice_with_a_routing(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that a cut fails for the replicas it was made from and for none with a routing, however it is rounded."""
    monkeypatch.setattr(cuts, "COEFFICIENT_MAX", size)
    made = 0
    for seed in range(120):
        program = random_program(seed)
        choices = list(product(*(range(column.upper + 1) for column in program.columns)))
        routes = {choice: route(program, choice, minimize_loss=False) for choice in choices}
        good = [serving(program, choice) for choice, found in routes.items() if isinstance(found, Routing)]
        for choice, found in routes.items():
            if isinstance(found, FarkasCut):
                made += 1
                assert not found.cut.holds(serving(program, choice)), (seed, choice)
                assert all(found.cut.holds(other) for other in good), (seed, choice)
    assert made > 500


def test_loss_cuts_never_claim_more_than_a_choice_must_lose() -> None:
    """Tests that a loss cut gives the exact loss for its own replicas and a lower bound for all others."""
    made = 0
    for seed in range(120):
        program = random_program(seed)
        least = {}
        for choice in product(*(range(column.upper + 1) for column in program.columns)):
            found = route(program, choice, minimize_loss=True)
            if isinstance(found, Routing):
                least[choice] = found
        for choice, found in least.items():
            made += 1
            cut, value = loss_cut(program, choice, found), ceil(found.loss)
            assert not cut.holds(serving(program, choice), value - 1), (seed, choice)
            assert all(cut.holds(serving(program, c), ceil(r.loss)) for c, r in least.items()), (seed, choice)
    assert made > 500


def linear_program(program: Program, replicas: tuple[int, ...]) -> tuple[list, dict]:
    """The routing program as scipy wants it, written independently of the exact one."""
    used = {c: n - program.spare_replicas for c, n in enumerate(replicas) if n > program.spare_replicas}
    pairs = sorted(
        ((k, c) for c in used for k, _ in program.columns[c].losses),
        key=lambda pair: (program.items[pair[0]].name, program.columns[pair[1]].name),
    )
    upper, most = [], []
    for c, n in used.items():
        for load in program.columns[c].loads:
            upper.append([dict(load.use).get(k, 0) if d == c else 0 for k, d in pairs])
            most.append(load.capacity * n)
    for limit in program.share_limits:
        upper.append([sum(a for k, c, a in limit.use if (k, c) == pair) for pair in pairs])
        most.append(limit.max)
    equal = [[int(k in demand.items) for k, _ in pairs] for demand in program.demand_rows]
    rows = {"A_ub": upper or None, "b_ub": most or None, "A_eq": equal, "b_eq": [1] * len(equal)}
    return pairs, rows


def test_the_exact_routing_agrees_with_scipy() -> None:
    """Tests feasibility, the least loss and the lexicographic order of the exact program against scipy's linprog."""
    from scipy.optimize import linprog

    rng, compared = random.Random(7), 0
    for seed in range(150):
        program = random_program(seed)
        replicas = tuple(rng.randint(0, column.upper) for column in program.columns)
        exact = route(program, replicas, minimize_loss=True)
        pairs, rows = linear_program(program, replicas)
        if not pairs:
            assert isinstance(exact, FarkasCut)
            continue
        losses = [float(dict(program.columns[c].losses)[k]) for k, c in pairs]
        float_answer = linprog(losses, **rows)
        assert (float_answer.status == 0) == isinstance(exact, Routing), seed
        if not isinstance(exact, Routing):
            continue
        compared += 1
        assert float(exact.loss) == pytest.approx(float_answer.fun, abs=1e-9)
        shares = {(k, c): share for k, c, share in exact.shares}
        rows["A_eq"].append(losses)
        rows["b_eq"].append(float(exact.loss))
        for index, pair in enumerate(pairs):
            unit = [int(i == index) for i in range(len(pairs))]
            smallest = linprog(unit, **rows)
            assert float(shares.get(pair, 0)) == pytest.approx(smallest.fun, abs=1e-7), (seed, pair)
            rows["A_eq"].append(unit)
            rows["b_eq"].append(float(shares.get(pair, 0)))
    assert compared > 30


def test_exact_duals_rule_out_only_what_has_no_plan() -> None:
    """Tests that the arithmetic proof of infeasibility is never given where brute force finds a plan, and often is."""
    proved = 0
    for seed in range(600):
        program = random_program(seed)
        if not demands_without_column(program) and ruled_out(program):
            proved += 1
            assert best(program) is None, seed
    assert proved >= 10


def test_packing_agrees_with_trying_every_node_for_every_replica() -> None:
    """Tests `fits` on random sets of sizes against a search over all placements."""
    rng = random.Random(3)
    for _ in range(400):
        unit, nodes = rng.choice([4, 5, 6, 8]), rng.randint(0, 4)
        counts = [(rng.randint(1, unit), rng.randint(0, 4)) for _ in range(rng.randint(1, 3))]
        sizes = [size for size, count in counts for _ in range(count)]
        assert fits(counts, unit, nodes) == pack(sizes, unit, nodes), (counts, unit, nodes)


def test_a_looser_limit_never_costs_more() -> None:
    """Tests monotonicity: more stock, a higher limit or fewer spares never raise the least cost."""
    compared = 0
    for seed in range(300, 380):
        program = replace(random_program(seed), objective=("cost",))
        before = solve(program)
        if before.status != "optimal":
            continue
        pools = tuple(replace(pool, upper=pool.upper + 1) for pool in program.pools)
        limits = tuple(NodeLimit(limit.name, limit.max + 1, limit.use) for limit in program.node_limits)
        groups = tuple(replace(group, spare_nodes=0) for group in program.groups)
        for looser in (
            replace(program, pools=pools),
            replace(program, node_limits=limits),
            replace(program, groups=groups),
        ):
            after = solve(looser)
            assert after.status == "optimal"
            assert after.stages[0].value <= before.stages[0].value, seed
            compared += 1
    assert compared > 60


def test_more_demand_never_costs_less() -> None:
    """Tests that scaling every load up by a third never lowers the least cost."""
    for seed in range(400, 440):
        program = replace(random_program(seed), objective=("cost",))
        columns = tuple(
            replace(
                column,
                loads=tuple(
                    replace(load, capacity=load.capacity * 3, use=tuple((k, a * 4) for k, a in load.use))
                    for load in column.loads
                ),
            )
            for column in program.columns
        )
        before, after = solve(program), solve(replace(program, columns=columns))
        if after.status == "optimal":
            assert before.status == "optimal"
            assert after.stages[0].value >= before.stages[0].value, seed
