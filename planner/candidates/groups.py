"""Groups of pools that replicas cannot tell apart: the same GPU, region, zone and node size."""

from __future__ import annotations

from dataclasses import dataclass

from planner.scenario.types import NodeKind, Pool, Scenario


@dataclass(frozen=True)
class PoolGroup:
    """Pools of one GPU type, region, zone and node size, in the order in which they are filled: committed, price,
    name."""

    kind: NodeKind
    pools: tuple[Pool, ...]

    @property
    def gpu(self) -> str:
        """The GPU of its nodes."""
        return self.kind.gpu

    @property
    def region(self) -> str:
        """The region of its nodes."""
        return self.kind.region

    @property
    def gpus_per_node(self) -> int:
        """GPUs of a node."""
        return self.kind.gpus_per_node

    @property
    def name(self) -> str:
        """A stable, readable name."""
        return str(self.kind)


def pool_groups(scenario: Scenario) -> tuple[PoolGroup, ...]:
    """All groups of a scenario, in name order."""
    found: dict[NodeKind, list[Pool]] = {}
    for pool in scenario.inventory.values():
        found.setdefault(pool.kind, []).append(pool)
    groups = [PoolGroup(kind, tuple(sorted(pools, key=_fill_order))) for kind, pools in found.items()]
    return tuple(sorted(groups, key=lambda group: group.name))


def _fill_order(pool: Pool) -> tuple[bool, int, str]:
    return (pool.committed_nodes == 0, pool.price_micro_per_gpu_h, pool.name)
