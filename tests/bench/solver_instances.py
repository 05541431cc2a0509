"""Frozen instances as programs of kvplan's solver: every answer on them passes the same exact verifier as a plan."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from planner.solver.program import Column, Group, Item, Load, PoolNodes, Program


@dataclass(frozen=True)
class Instance:
    """A program under its name; `known` is what earlier runs found (an optimum, or a best plan and bound)."""

    name: str
    program: Program
    known: dict[str, int]


def read_instance(path: Path) -> Instance:
    """Reads a frozen instance. One item a class, one column a deployment, one pool a price tier of a group."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        data = json.load(lines)
    use: dict[int, list[tuple[int, int]]] = {}
    for deployment, item, load in data["loads"]:
        use.setdefault(deployment, []).append((item, load))
    groups = tuple(
        Group(f"{g['gpu']}@{g['region']}x{g['gpus_per_node']}", g["gpus_per_node"], 0, g["region"])
        for g in data["groups"]
    )
    columns = tuple(
        Column(
            name=f"m{made['model']:03}/d{index:06}@{groups[made['group']].name}",
            model=f"m{made['model']:03}",
            config=f"d{index:06}",
            group=made["group"],
            gpus=made["gpus"],
            upper=made["max_replicas"],
            loads=(Load("load", data["load_scale"], tuple(use.get(index, ()))),),
            losses=tuple((item, Fraction(0)) for item, _ in use.get(index, ())),
        )
        for index, made in enumerate(data["deployments"])
    )
    pools = tuple(
        PoolNodes(f"{groups[g].name}/{tier['name']}", g, 0, tier["nodes"], tier["node_price"])
        for g, group in enumerate(data["groups"])
        for tier in group["tiers"]
    )
    program = Program(
        items=tuple(Item(f"c{k:04}", f"m{model:03}") for k, model in enumerate(data["classes"])),
        columns=columns,
        groups=groups,
        pools=pools,
        node_limits=(),
        share_limits=(),
        models=(),
        spare_replicas=0,
        objective=("cost",),
    )
    return Instance(path.name.removesuffix(".json.gz"), program, data["known"])
