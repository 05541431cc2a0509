"""Random tiny programs and their optimum by brute force: every choice of replicas and nodes, with exact routing."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache
from hashlib import sha256
from itertools import product
from math import ceil

from planner.solver.exact import Routing, route
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
)

Choice = tuple[tuple[int, ...], tuple[int, ...]]


def random_program(seed: int) -> Program:
    """A program of 1-3 items, 1-4 columns and 1-3 pools with a random selection of the other rows."""
    rng = random.Random(seed)
    models = ["alpha", "beta"][: rng.choice([1, 1, 2])]
    items = tuple(Item(f"item{k}", rng.choice(models)) for k in range(rng.randint(1, 3)))
    groups = tuple(
        Group(f"group{g}", rng.choice([1, 2, 4, 4, 8]), rng.choice([0, 0, 0, 1])) for g in range(rng.randint(1, 2))
    )
    pools = tuple(
        PoolNodes(
            name=rng.choice("xyz") + str(p),
            group=p % len(groups),
            lower=(lower := rng.choice([0, 0, 1])),
            upper=lower + rng.randint(0, 2),
            cost=rng.choice([3, 5, 5, 7, 11]) * 10_000,
        )
        for p in range(rng.randint(len(groups), 3))
    )
    columns = tuple(_column(rng, index, items, groups, models) for index in range(rng.randint(1, 4)))
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
    served = [k for k in own if rng.random() < 0.85]
    amounts = [2, 3, 4, 6, 8, 9, 12, 18, 24]
    loads = tuple(
        Load(name, 12, tuple((k, rng.choice(amounts)) for k in served)) for name in ("gpu", "kv")[: rng.randint(1, 2)]
    )
    losses = tuple((k, Fraction(rng.choice([0, 0, 1, 5, 12, 40]), rng.choice([1, 3]))) for k in served)
    gpus = rng.choice([1, 1, 2, 3, 4])
    return Column(f"column{index}", model, f"config{rng.randrange(3)}", group, gpus, rng.randint(1, 2), loads, losses)


def _with_limits(rng: random.Random, program: Program, models: list[str]) -> Program:
    """Budgets, promised shares, replica bounds and runs of items, each now and then."""
    if rng.random() < 0.4:
        use = tuple((p, rng.randint(0, 3)) for p in range(len(program.pools)))
        program = replace(program, node_limits=(NodeLimit("power", rng.randint(1, 9), use),))
    if rng.random() < 0.4:
        pairs = [(k, c) for c, column in enumerate(program.columns) for k, _ in column.losses]
        use3 = tuple((k, c, rng.randint(1, 4)) for k, c in pairs if rng.random() < 0.6)
        program = replace(program, share_limits=(ShareLimit("cut", rng.randint(0, 3), use3),))
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
    replicas, nodes = choice
    values = {
        "cost": sum(n * pool.cost for n, pool in zip(nodes, program.pools, strict=True)),
        "gpus": sum(
            n * program.groups[pool.group].gpus_per_node for n, pool in zip(nodes, program.pools, strict=True)
        ),
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
