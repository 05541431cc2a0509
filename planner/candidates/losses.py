"""What the scenario wants to survive: nodes of a pool, a whole zone or region, and what that takes from a deployment.

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
    """One line of the scenario that must be survived. `nodes` is None where everything there is lost."""

    where: str
    nodes: int | None
    path: str = ""
    """The scenario line, with the zone behind `reserve.spare.zones`."""

    @property
    def name(self) -> str:
        """What stands behind the names of what must be served then."""
        return f"lost {self.where}"

    def replicas(self, group: PoolGroup, gpus: int, most: int) -> int:
        """Replicas of `gpus` GPUs that a deployment on a group loses at most, of `most` that it has.

        nodes * (GPUs of a node // gpus), at least one a node.
        """
        if self.where not in (group.region, group.kind.zone, *(pool.name for pool in group.pools)):
            return 0
        return most if self.nodes is None else min(most, self.nodes * max(1, group.gpus_per_node // gpus))


def losses(scenario: Scenario) -> tuple[Loss, ...]:
    """All losses: those of `survive` in the order of the file, then every zone, then what spot pools may reclaim.

    Of two that take the same place only the one that takes more counts.
    """
    reserve = scenario.reserve
    named = [Loss(where, nodes, f"reserve.survive.{where}") for where, nodes in reserve.survive]
    zones = sorted({pool.zone for pool in scenario.inventory.values()}) if reserve.spare_zones else []
    named += [Loss(zone, None, f"reserve.spare.zones.{zone}") for zone in zones]
    for name, pool in sorted(scenario.inventory.items()):
        if pool.terms is not None and pool.terms.reclaim_nodes:
            named.append(Loss(name, pool.terms.reclaim_nodes, f"inventory.{name}.spot.reclaim"))
    found: dict[str, Loss] = {}
    for loss in named:
        known = found.get(loss.where)
        if known is None or (known.nodes is not None and (loss.nodes is None or loss.nodes > known.nodes)):
            found[loss.where] = loss
    return tuple(found.values())
