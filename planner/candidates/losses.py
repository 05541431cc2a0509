"""What the scenario wants to survive: nodes of a pool, or a whole region, and what that takes from a deployment.

Where the lost nodes' replicas come from is not known, so every deployment that stands on nodes of that kind loses what
those nodes could hold of it. That is safe for every way in which replicas are laid out on nodes. It is also exact
where a model runs one configuration there: models share nodes, not replicas, and each must survive its own loss.
"""

from __future__ import annotations

from dataclasses import dataclass

from planner.candidates.groups import PoolGroup
from planner.scenario.types import Scenario


@dataclass(frozen=True)
class Loss:
    """One line of `reserve.survive`. `nodes` is None where everything there is lost."""

    where: str
    nodes: int | None

    @property
    def name(self) -> str:
        """What stands behind the names of what must be served then."""
        return f"lost {self.where}"

    @property
    def path(self) -> str:
        """The scenario line."""
        return f"reserve.survive.{self.where}"

    def replicas(self, group: PoolGroup, gpus: int, most: int) -> int:
        """Replicas of `gpus` GPUs that a deployment on a group loses at most, of `most` that it has.

        nodes * (GPUs of a node // gpus), at least one a node.
        """
        if self.where != group.region and all(pool.name != self.where for pool in group.pools):
            return 0
        return most if self.nodes is None else min(most, self.nodes * max(1, group.gpus_per_node // gpus))


def losses(scenario: Scenario) -> tuple[Loss, ...]:
    """All losses, in the order of the file."""
    return tuple(Loss(where, nodes) for where, nodes in scenario.reserve.survive)
