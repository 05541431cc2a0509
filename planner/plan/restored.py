"""The decision behind a stored plan: its configurations found again in the candidate table, situation by situation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction

from planner.candidates import Candidate, CandidateTable
from planner.candidates.groups import PoolGroup, pool_groups
from planner.candidates.losses import losses
from planner.candidates.regions import loads_in, local_classes
from planner.candidates.situations import Situation, situations, table_at
from planner.plan.document import Decision
from planner.plan.running import Moment, Placed, Rerouted, Shares
from planner.plan.types import AfterLoss, Deployment, Plan, PoolPlan, Route
from planner.scenario.types import Scenario

Broken = tuple[str, str, str]
"""The row's name, what the plan has, what the row allows."""

_CONFIG_FIELDS = (
    ("weights", "weights"),
    ("kv_preset", "kv_preset"),
    ("context_limit_tokens", "context_limit_tokens"),
    ("max_batch", "max_batch"),
    ("max_num_batched_tokens", "max_num_batched_tokens"),
    ("operating_tpot_ns", "tpot_limit_ns"),
    ("operating_ttft_ns", "ttft_limit_ns"),
    ("parallel", "parallel"),
)


def restored(plan: Plan, table: CandidateTable) -> tuple[Decision | None, list[Broken]]:
    """What a plan decides, or why that cannot be."""
    rows: list[Broken] = []
    if not plan.scenario.timed:
        moment = _moment(
            table, _Stored("", plan.deployments, plan.pools, plan.losses), situations(plan.scenario)[0], rows
        )
        return (None if rows else Decision((moment,))), rows
    moments = []
    found = situations(plan.scenario)
    stored = plan.time.situations if plan.time else {}
    for situation in found:
        part = stored.get(situation.name)
        if part is None:
            rows.append((f"time.situations.{situation.name}", "absent", "a situation of the scenario"))
            continue
        own = _Stored(f"time.situations.{situation.name}.", part.deployments, part.pools, part.losses, part.waiting)
        moments.append(_moment(table_at(table, plan.scenario, situation), own, situation, rows))
    if rows:
        return None, rows
    kept, bought = _commitments(plan, max(situation.month for situation in found))
    return Decision(tuple(moments), kept, bought), rows


def _commitments(plan: Plan, months: int) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Nodes kept and bought by month, of the rows in which something changes."""
    kept: dict[str, tuple[int, ...]] = {}
    bought: dict[str, tuple[int, ...]] = {}
    for name, rows in plan.time.commitments.items() if plan.time else ():
        pool = plan.scenario.inventory[name]
        by_month = {row.month: row for row in rows}
        left, stay, new = pool.committed_nodes, [], []
        for month in range(1, months + 1):
            left = by_month[month].kept if month in by_month else left
            stay.append(left)
            new.append(by_month[month].bought if month in by_month else 0)
        if pool.committed_nodes:
            kept[name] = tuple(stay)
        if pool.term_months:
            bought[name] = tuple(new)
    return kept, bought


class _Stored:
    """The stored parts of one situation; `path` stands before the names of its rows."""

    def __init__(
        self,
        path: str,
        deployments: Mapping[str, Deployment],
        pools: Mapping[str, PoolPlan],
        losses: tuple[AfterLoss, ...],
        waiting: Mapping[str, Fraction] | None = None,
    ) -> None:
        self.path, self.deployments, self.pools, self.losses = path, deployments, pools, losses
        self.waiting = waiting or {}


def _moment(table: CandidateTable, stored: _Stored, situation: Situation, rows: list[Broken]) -> Moment:
    """One situation as it was decided; what cannot be goes to `rows`."""
    scenario, before = situation.scenario, len(rows)
    groups = {g.kind: g for g in pool_groups(scenario)}
    index = {item.name: k for k, item in enumerate(table.items)}
    placed, names = [], []
    for name, deployment in sorted(stored.deployments.items()):
        path = f"{stored.path}deployments.{name}"
        candidate = _find(table, deployment)
        group = groups.get(deployment.kind)
        spare = scenario.reserve.spare_replicas
        if isinstance(candidate, tuple):
            rows.append((f"{path}.{candidate[0]}", *candidate[1:]))
        elif group is None:
            rows.append((path, str(deployment.kind), "no pool of this kind in the scenario"))
        elif deployment.routing and deployment.replicas <= spare:
            rows.append((f"{path}.replicas", str(deployment.replicas), f"more than the {spare} spare replicas"))
        else:
            shares = _shares(path, deployment.routing, _eligible(scenario, table, candidate, group), index, rows)
            placed.append(Placed(candidate, group, deployment.replicas, shares))
            names.append(name)
    nodes = {name: pool.nodes for name, pool in stored.pools.items()}
    if len(rows) > before:
        return Moment((), nodes)
    unknown = [item for item in stored.waiting if item not in index]
    if unknown:
        rows.append((f"{stored.path}waiting", unknown[0][:80], "no such traffic band in the scenario"))
        return Moment((), nodes)
    rerouted = tuple(_losses(table, situation, stored, placed, names, index, rows))
    return Moment(tuple(placed), nodes, rerouted, _off(stored.waiting, index))


def _eligible(scenario: Scenario, table: CandidateTable, candidate: Candidate, group: PoolGroup) -> frozenset[int]:
    """The items that a configuration may serve on a group."""
    served = loads_in(scenario, table.items, candidate, group.region, local_classes(scenario))
    return frozenset(k for k, _ in served)


def _shares(
    path: str, routing: tuple[Route, ...], eligible: frozenset[int], index: Mapping[str, int], rows: list[Broken]
) -> Shares:
    """A deployment's routing by item; items that are unknown or barred there go to `rows`."""
    unknown = [route.item for route in routing if route.item not in index]
    if unknown:
        rows.append((f"{path}.routing", unknown[0], "no such traffic band in the scenario"))
        return ()
    barred = [route.item for route in routing if index[route.item] not in eligible]
    if barred:
        rows.append((f"{path}.routing.{barred[0]}", "routed here", "this configuration may not serve it there"))
    return tuple((index[route.item], route.share) for route in routing)


def _losses(
    table: CandidateTable,
    situation: Situation,
    stored: _Stored,
    placed: list[Placed],
    names: list[str],
    index: Mapping[str, int],
    rows: list[Broken],
) -> Iterator[Rerouted]:
    """The routing after each loss of the scenario."""
    by_path = {after.path: after for after in stored.losses}
    served = [_eligible(situation.scenario, table, part.candidate, part.group) for part in placed]
    for loss in losses(situation.scenario):
        path = f"{stored.path}losses.{loss.where}"
        after = by_path.get(loss.path)
        if after is None or set(after.deployments) != set(names):
            read = "absent" if after is None else ", ".join(after.deployments)[:80]
            rows.append((path, read, "one row for every deployment"))
            continue
        shares = tuple(
            _shares(f"{path}.deployments.{name}", after.deployments[name].routing, own, index, rows)
            for name, own in zip(names, served, strict=True)
        )
        unknown = [item for item in (*after.shed_items, *after.waiting) if item not in index]
        if unknown:
            rows.append((f"{path}.shed_items", unknown[0][:80], "no such traffic band in the scenario"))
            continue
        yield Rerouted(shares, _off(after.shed_items, index), _off(after.waiting, index))


def _off(items: Mapping[str, Fraction], index: Mapping[str, int]) -> Shares:
    """What is shed, or waits, by item."""
    return tuple(sorted((index[item], share) for item, share in items.items()))


def _find(table: CandidateTable, deployment: Deployment) -> Candidate | Broken:
    """The table's row for a deployment, or the field in which the nearest row differs."""
    gpus = deployment.gpus // deployment.replicas if deployment.replicas else 0
    nearest: tuple[int, Broken] | None = None
    for candidate in table.candidates:
        config = candidate.config
        if (config.model, config.gpu) != (deployment.model, deployment.gpu):
            continue
        wrong = [
            (own, str(getattr(deployment, own)), str(getattr(config, other)))
            for own, other in _CONFIG_FIELDS
            if getattr(deployment, own) != getattr(config, other)
        ]
        if config.gpus != gpus:
            wrong.append(("gpus", str(deployment.gpus), f"{config.gpus} a replica"))
        if not wrong:
            return candidate
        if nearest is None or len(wrong) < nearest[0]:
            nearest = (len(wrong), wrong[0])
    if nearest is None:
        return ("model", f"{deployment.model} on {deployment.gpu}", "no such candidate")
    return nearest[1]
