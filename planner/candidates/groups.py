"""Groups of pools that replicas cannot tell apart: the same GPU, region and node size."""

from __future__ import annotations

from dataclasses import dataclass

from planner.scenario.types import Pool, Scenario


@dataclass(frozen=True)
class PoolGroup:
    """Pools of one GPU type, region and node size, in the order in which they are filled: committed, price, name."""

    gpu: str
    region: str
    gpus_per_node: int
    pools: tuple[Pool, ...]

    @property
    def name(self) -> str:
        """A stable, readable name."""
        return f"{self.gpu}@{self.region}x{self.gpus_per_node}"


def pool_groups(scenario: Scenario) -> tuple[PoolGroup, ...]:
    """All groups of a scenario, in name order."""
    found: dict[tuple[str, str, int], list[Pool]] = {}
    for pool in scenario.inventory.values():
        found.setdefault((pool.gpu.id, pool.region, pool.gpus_per_node), []).append(pool)
    groups = [PoolGroup(*key, tuple(sorted(pools, key=_fill_order))) for key, pools in found.items()]
    return tuple(sorted(groups, key=lambda group: group.name))


def _fill_order(pool: Pool) -> tuple[bool, int, str]:
    return (pool.committed_nodes == 0, pool.price_micro_per_gpu_h, pool.name)
