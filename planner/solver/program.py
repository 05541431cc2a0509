"""The constraint program as plain integer data: what every backend, the exact checker and the oracle read.

A *column* is one replica configuration on one group of pools; choosing how many replicas of which column run is
choosing context limit, batch size, preset, weights, shape and GPU count. An *item* is a run of adjacent length bands
of one class, a *demand* one such band: the items that contain it must bring it whole.

    y[c] >= 0 integer replicas      z[p] integer nodes, lower <= z <= upper      f[k,c] >= 0 share of item k sent to c
    demand     sum over items k of the demand, sum_c f[k,c] = 1
    load       sum_k amount * f[k,c] <= capacity * max(0, y[c] - spare_replicas)
    packing    replicas of a group fit into sum of its nodes, less spare_nodes where the group is used
    limits     sum_p amount * z[p] <= max          shares     sum amount * f <= max
    replicas   min <= sum of y over a model <= max, number of distinct configurations in use <= max_configurations

Time and failure are one idea, *situations* side by side in one program. A situation is a part of the calendar, a month,
or the loss of some nodes. It brings its own items and demands, so its routing is its own. A period or month also brings
its own columns, groups and pools: what runs and is rented may change with it. A failure keeps the replicas of the
situation that it strikes: its columns are `of` those columns, less the replicas `lost`, and where traffic may be shed
a column `always` serves and runs on nothing. Nodes that are paid across situations are pools of no group (`None`),
tied to the nodes of each situation by limits with negative amounts. With one situation none of this appears.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from planner.solver.fleet import Fleet, Start


@dataclass(frozen=True)
class Item:
    """What is routed together: one length band of a class, or a run of adjacent ones."""

    name: str
    model: str


@dataclass(frozen=True)
class Demand:
    """One length band of one class: the shares of its items, over all columns, add up to 1. Items of a class are runs
    of its bands, so every item's demands are adjacent."""

    name: str
    items: tuple[int, ...]


@dataclass(frozen=True)
class Load:
    """One load row of a column. `use` has (item, amount): what the whole item costs; `capacity` is one replica."""

    name: str
    capacity: int
    use: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Column:
    """A replica configuration on a group. Only the items listed in `losses` may be routed to it.

    `losses` has (item, quality loss in ppm x tokens/s when the whole item runs here). `config` names the configuration
    without its group, for max_configurations. `name` is unique and stable: it orders plans that cost the same.

    `of` is the column whose replicas these are after a failure took `lost` of them: `max(0, y[of] - lost)` serve here,
    and this column has none of its own. `always`: it serves without replicas, as what is shed does. Shares on columns
    of lower `rank` are made smallest first.
    """

    name: str
    model: str
    config: str
    group: int
    gpus: int
    upper: int
    loads: tuple[Load, ...]
    losses: tuple[tuple[int, Fraction], ...]
    of: int | None = None
    lost: int = 0
    always: bool = False
    rank: int = 0

    @property
    def own(self) -> bool:
        """Whether it has replicas of its own, which take GPUs."""
        return self.of is None and not self.always


@dataclass(frozen=True)
class Group:
    """Pools of the same GPU, region and node size. `spare_nodes` stay free whenever the group is used.

    `region` says which groups the search may free together; no row reads it.
    """

    name: str
    gpus_per_node: int
    spare_nodes: int
    region: str = ""


@dataclass(frozen=True)
class PoolNodes:
    """Nodes of a pool: lower is what is committed. `cost` is per node, in micro-units: for an hour, or for the `hours`
    that the nodes count in a program of several situations. A purchase that holds no replicas itself has no group; it
    may bring `gpus` that count as bought."""

    name: str
    group: int | None
    lower: int
    upper: int
    cost: int
    hours: int = 1
    gpus: int = 0


@dataclass(frozen=True)
class NodeLimit:
    """sum of amount * nodes <= max: budget, power, quotas, purchases (amounts below 0). `use` has (pool, amount)."""

    name: str
    max: int
    use: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class ShareLimit:
    """sum of amount * f <= max: a promised share. `use` has (item, column, amount)."""

    name: str
    max: int
    use: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class ModelLimit:
    """Bounds on the replicas of a model over all its columns, and on its distinct configurations."""

    model: str
    replicas_min: int = 0
    replicas_max: int | None = None
    max_configurations: int | None = None


@dataclass(frozen=True)
class Program:
    """The whole program.

    Objectives are lexicographic: cost (sum of `cost` of the nodes), gpus (GPUs bought, times `hours`), quality_loss
    (ppm x tokens/s), replicas_moved (from the fleet at place `near`). Over time, and where moves cost money, costs are
    multiples of `cost_unit` micro-units over the horizon; hours are multiples of `hours_unit` hours.
    """

    items: tuple[Item, ...]
    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    pools: tuple[PoolNodes, ...]
    node_limits: tuple[NodeLimit, ...]
    share_limits: tuple[ShareLimit, ...]
    models: tuple[ModelLimit, ...]
    spare_replicas: int
    objective: tuple[str, ...]
    demands: tuple[Demand, ...] | None = None
    starts: tuple[Start, ...] = ()
    fleets: tuple[Fleet, ...] = ()
    near: int | None = None
    cost_unit: Fraction = Fraction(1)
    hours_unit: Fraction = Fraction(1)

    @property
    def demand_rows(self) -> tuple[Demand, ...]:
        """The demands; without a list of them every item is its own."""
        if self.demands is not None:
            return self.demands
        return tuple(Demand(item.name, (k,)) for k, item in enumerate(self.items))


Status = Literal["optimal", "feasible", "infeasible", "unknown"]


@dataclass(frozen=True)
class Stage:
    """One objective after solving: its value, and the proved bound (None when nothing was proved)."""

    name: str
    value: int
    bound: int | None


@dataclass(frozen=True)
class Solution:
    """What a solver found. Routing holds only the shares above 0, as exact fractions."""

    status: Status
    replicas: tuple[int, ...] = ()
    nodes: tuple[int, ...] = ()
    routing: tuple[tuple[int, int, Fraction], ...] = ()
    stages: tuple[Stage, ...] = ()
    unique: bool = False
    reproducible: bool = True
    proof: str = ""
