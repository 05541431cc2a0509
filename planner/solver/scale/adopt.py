"""Models' own plans, found at common prices, join the plan of all.

Prices do not say which of several groups has room. So a configuration that runs on several groups is placed where the
next nodes cost least beside what the other models hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from planner.solver.program import Program
from planner.solver.scale.part import Part, part_of
from planner.solver.scale.start import buy_nodes

Plan = tuple[tuple[int, ...], tuple[int, ...]]
"""Replicas and nodes."""


@dataclass
class Adopter:
    """Exchanges what some models run for something else."""

    program: Program
    weights: Sequence[int]
    kin: dict[tuple[str, str], list[int]] = field(init=False)
    tiers: list[list[tuple[int, int]]] = field(init=False)

    def __post_init__(self) -> None:
        self.kin = {}
        for c, column in enumerate(self.program.columns):
            self.kin.setdefault((column.model, column.config), []).append(c)
        self.tiers = [[] for _ in self.program.groups]
        for pool, weight in zip(self.program.pools, self.weights, strict=True):
            if pool.group is not None:
                self.tiers[pool.group] += [(0, pool.lower), (weight, pool.upper - pool.lower)]
        for tiers in self.tiers:
            tiers.sort()

    def exchanged(self, plan: Plan, wanted: Mapping[str, Mapping[int, int]]) -> tuple[Part, Plan] | None:
        """The part of the program that changes and its replicas and nodes; None where stock does not hold them.

        Args:
            plan: Replicas and nodes of all.
            wanted: For each model that changes its replicas by column.
        """
        running = [c for c, count in enumerate(plan[0]) if count]
        before = {c for c in running if self.program.columns[c].model in wanted}
        gpus = [0] * len(self.program.groups)
        for c in running:
            if c not in before:
                gpus[self.program.columns[c].group] += plan[0][c] * self.program.columns[c].gpus
        counts = self._placed(gpus, {c: n for own in wanted.values() for c, n in own.items()})
        if counts is None:
            return None
        part = part_of(self.program, before | set(counts), *plan)
        held = [part.fixed[i] for i in range(len(part.columns), len(part.program.columns))]
        replicas = (*(counts.get(c, 0) for c in part.columns), *held)
        nodes = buy_nodes(part.program, replicas, [self.weights[p] for p in part.pools])
        return None if nodes is None else (part, (replicas, nodes))

    def _placed(self, gpus: list[int], wanted: Mapping[int, int]) -> dict[int, int] | None:
        """Replicas by column, largest first, each on the group where it adds least to the cost of nodes.

        `gpus` are those of each group that others hold.
        """
        columns = self.program.columns
        counts: dict[int, int] = {}
        for c in sorted(wanted, key=lambda c: (-columns[c].gpus, c)):
            for _ in range(wanted[c]):
                offers = [
                    (self._cost(columns[t].group, gpus[columns[t].group], columns[t].gpus), t != c, t)
                    for t in self._alike(c)
                    if counts.get(t, 0) < columns[t].upper
                ]
                best = min((offer for offer in offers if offer[0] is not None), default=None)
                if best is None:
                    return None
                counts[best[2]] = counts.get(best[2], 0) + 1
                gpus[columns[best[2]].group] += columns[best[2]].gpus
        return counts

    def _alike(self, c: int) -> list[int]:
        """The column and those of the same configuration that carry the same elsewhere."""
        column = self.program.columns[c]
        return [
            t
            for t in self.kin[column.model, column.config]
            if self.program.columns[t].loads == column.loads and self.program.columns[t].losses == column.losses
        ]

    def _cost(self, g: int, before: int, more: int) -> int | None:
        """What nodes for more GPUs of a group cost; None beyond its stock."""
        group = self.program.groups[g]
        sizes = [-(-gpus // group.gpus_per_node) + group.spare_nodes if gpus else 0 for gpus in (before, before + more)]
        costs = []
        for nodes in sizes:
            cost = 0
            for weight, count in self.tiers[g]:
                cost += weight * min(nodes, count)
                nodes -= min(nodes, count)
            if nodes:
                return None
            costs.append(cost)
        return costs[1] - costs[0]
