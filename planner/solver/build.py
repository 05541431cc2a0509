"""From the candidate table to the constraint program: every row is linear and comes from one scenario line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm

from planner.candidates import Candidate, CandidateTable
from planner.candidates.fleet import Start, start_of
from planner.candidates.groups import PoolGroup, pool_groups
from planner.candidates.losses import Loss, losses
from planner.candidates.regions import loads_in, local_classes
from planner.candidates.situations import situations, table_at
from planner.candidates.spot import most_counted
from planner.candidates.types import ROW_NAMES, ItemLoad
from planner.scenario.types import HOURS_PER_MONTH, Scenario
from planner.solver.pools import pool_nodes, pool_of
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
from planner.solver.purchases import over_time
from planner.solver.situations import Failure, Shed, joined, struck
from planner.solver.slack import with_slack
from planner.solver.today import Today, today, with_today
from planner.units import MAX_INTEGER


def build_program(scenario: Scenario, table: CandidateTable) -> Program:
    """The program of a scenario: one situation, or all of its periods and months side by side, each with its losses."""
    if not scenario.timed:
        return _with_losses(scenario, table)
    moments = situations(scenario)
    parts = [(s.name, _with_losses(s.scenario, table_at(table, scenario, s))) for s in moments]
    total = sum((s.hours for s in moments), Fraction(0))
    weighed = [(name, _weighed(part, s.hours / total)) for (name, part), s in zip(parts, moments, strict=True)]
    return over_time(with_slack(joined(weighed), scenario, table, moments), scenario, moments)


def _weighed(program: Program, part: Fraction) -> Program:
    """The program with the quality that it loses counted for its part of the time."""
    columns = tuple(replace(c, losses=tuple((k, loss * part) for k, loss in c.losses)) for c in program.columns)
    return replace(program, columns=columns)


def _with_losses(scenario: Scenario, table: CandidateTable) -> Program:
    """The program of one situation, with the demand that must still be served after each loss of `survive`."""
    program = _plain(scenario, table)
    return struck(program, [_failure(scenario, table, program, loss) for loss in losses(scenario)])


def _failure(scenario: Scenario, table: CandidateTable, program: Program, loss: Loss) -> Failure:
    """A loss in terms of the program."""
    groups = pool_groups(scenario)
    lost = {
        index: loss.replicas(groups[column.group], column.gpus, column.upper)
        for index, column in enumerate(program.columns)
    }
    shed = tuple(
        Shed(
            name=name,
            weights=tuple((k, item.weight_ppm) for k, item in enumerate(table.items) if item.class_name == name),
            max_ppm=traffic.shed_at_most_ppm,
            rank=traffic.priority - MAX_INTEGER,
        )
        for name, traffic in sorted(scenario.traffic.items())
        if traffic.shed_at_most_ppm
    )
    return Failure(loss.name, lost, shed)


def _plain(scenario: Scenario, table: CandidateTable) -> Program:
    """The program of one situation. Columns are candidates x groups with that GPU and large enough nodes."""
    groups = pool_groups(scenario)
    pools, spot_rows = pool_nodes(groups)
    demands, local = _demands_of(table), local_classes(scenario)
    survived = [loss for loss in losses(scenario) if loss.nodes is not None]
    now = today(scenario)
    found = [
        (column, key)
        for candidate in table.candidates
        for column, key in _columns(scenario, table, candidate, groups, demands, survived, local, now)
    ]
    columns = tuple(column for column, _ in found)
    program = Program(
        items=tuple(Item(item.name, item.model) for item in table.items),
        demands=tuple(Demand(demand.name, demand.items) for demand in table.demands),
        columns=columns,
        groups=tuple(Group(g.name, g.gpus_per_node, scenario.reserve.spare_nodes, g.region) for g in groups),
        pools=pools,
        node_limits=(*_node_limits(scenario, pools), *spot_rows),
        share_limits=_share_limits(scenario, table, columns),
        models=tuple(
            ModelLimit(m.name, m.replicas.min, m.replicas.max, m.max_configurations)
            for _, m in sorted(scenario.models.items())
        ),
        spare_replicas=scenario.reserve.spare_replicas,
        objective=tuple(scenario.objective),
    )
    return with_today(program, scenario, now, [key for _, key in found])


def column_name(candidate: Candidate, group: PoolGroup) -> str:
    """The name of a candidate on a group: unique and stable."""
    return f"{candidate.config.name}@{group.kind.place}x{group.gpus_per_node}"


def _columns(
    scenario: Scenario,
    table: CandidateTable,
    candidate: Candidate,
    groups: tuple[PoolGroup, ...],
    demands: Mapping[int, Sequence[int]],
    survived: Sequence[Loss],
    local: frozenset[str],
    now: Today,
) -> Iterator[tuple[Column, Start]]:
    """A candidate on every group that can hold it and is near enough for something, or runs there today; each with what
    its replicas are started with."""
    config = candidate.config
    fitting = [(index, g) for index, g in enumerate(groups) if g.gpu == config.gpu and config.gpus <= g.gpus_per_node]
    known: dict[tuple[int, ...], _Rows] = {}
    near: dict[str, _Rows] = {}
    for index, group in fitting:
        region = group.region if local else ""
        if region not in near:
            served = loads_in(scenario, table.items, candidate, region, local)
            own = tuple(k for k, _ in served)
            near[region] = known[own] if own in known else _rows(table, candidate, served, demands)
            known[own] = near[region]
        rows = near[region]
        nodes = sum(most_counted(pool) for pool in group.pools) - scenario.reserve.spare_nodes
        stock = nodes * (group.gpus_per_node // config.gpus)
        key = start_of(candidate, group)
        if stock <= 0 or not now.offers(key) or not (rows.quality or now.runs(key)):
            continue
        lost = [loss.replicas(group, config.gpus, stock) for loss in survived]
        spared = max(scenario.reserve.spare_replicas, *lost, 0)
        needed = max(rows.need, scenario.models[config.model].replicas.min, 1) + spared
        column = Column(
            name=column_name(candidate, group),
            model=config.model,
            config=config.name,
            group=index,
            gpus=config.gpus,
            upper=min(stock, max(needed, now.replicas(key))),
            loads=rows.loads,
            losses=rows.quality,
        )
        yield column, key


@dataclass(frozen=True)
class _Rows:
    """Rows of a candidate where it serves the same items: one object on all groups, there are many."""

    loads: tuple[Load, ...]
    quality: tuple[tuple[int, Fraction], ...]
    need: int


def _rows(
    table: CandidateTable,
    candidate: Candidate,
    served: Sequence[tuple[int, ItemLoad]],
    demands: Mapping[int, Sequence[int]],
) -> _Rows:
    names = ROW_NAMES if candidate.memory else ROW_NAMES[:1]
    loads = tuple(Load(name, candidate.capacity, tuple((k, load.amount(name)) for k, load in served)) for name in names)
    quality = tuple((k, table.items[k].output_tokens_per_s * load.loss_ppm) for k, load in served)
    return _Rows(loads, quality, max(_most(table, dict(row.use), row.capacity, demands) for row in loads))


def _demands_of(table: CandidateTable) -> dict[int, list[int]]:
    """The demands that each item covers."""
    found: dict[int, list[int]] = {}
    for d, demand in enumerate(table.demands):
        for k in demand.items:
            found.setdefault(k, []).append(d)
    return found


def _most(
    table: CandidateTable, amounts: Mapping[int, int], capacity: int, demands: Mapping[int, Sequence[int]]
) -> int:
    """Replicas that carry everything that may run on a column: no plan needs more of it.

    Each band counts with the heaviest item that contains it, by the band's part of that item.
    """
    heaviest: dict[int, Fraction | int] = {}
    for k, amount in amounts.items():
        whole = table.items[k].weight_ppm
        for d in demands[k]:
            own = table.demands[d].weight_ppm
            part = amount if own == whole else Fraction(amount * own, whole)
            heaviest[d] = max(part, heaviest.get(d, part))
    return -int(-sum(heaviest.values()) // capacity)


def _node_limits(scenario: Scenario, pools: tuple[PoolNodes, ...]) -> tuple[NodeLimit, ...]:
    budget, rows = scenario.budget, []
    if budget.monthly_micro is not None:
        use = [(p, Fraction(pool.cost * HOURS_PER_MONTH)) for p, pool in enumerate(pools)]
        rows.append(_integers("budget.monthly", Fraction(budget.monthly_micro), use))
    if budget.total_micro is not None:
        use = [(p, pool.cost * scenario.horizon_h) for p, pool in enumerate(pools)]
        rows.append(_integers("budget.total", Fraction(budget.total_micro), use))
    if budget.power_mw is not None:
        own = [scenario.inventory[pool_of(p.name)] for p in pools]
        tdp = [pool.gpu.tdp_w * pool.gpus_per_node for pool in own]
        use = [(p, Fraction(w * 1_000 * budget.pue_ppm, 1_000_000)) for p, w in enumerate(tdp)]
        rows.append(_integers("budget.power", Fraction(budget.power_mw), use))
    for name, limit in sorted(scenario.limits.items()):
        per_node = dict(limit.per_node)
        use = [(p, per_node[pool_of(pool.name)]) for p, pool in enumerate(pools) if pool_of(pool.name) in per_node]
        rows.append(_integers(f"limits.{name}", limit.max, use))
    return tuple(rows)


def _integers(name: str, most: Fraction, use: list[tuple[int, Fraction]]) -> NodeLimit:
    scale = lcm(most.denominator, *(amount.denominator for _, amount in use))
    return NodeLimit(name, int(most * scale), tuple((p, int(amount * scale)) for p, amount in use if amount))


def _share_limits(scenario: Scenario, table: CandidateTable, columns: tuple[Column, ...]) -> tuple[ShareLimit, ...]:
    """Promised shares: sum over bands and columns of band share x part rejected (or cut short) x routed share."""
    loads = {candidate.config.name: dict(candidate.loads) for candidate in table.candidates}
    used: dict[tuple[str, str], list[tuple[int, int, Fraction]]] = {}
    for c, column in enumerate(columns):
        for k, _ in column.losses:
            item, load = table.items[k], loads[column.config][k]
            for key, part in (("rejected", load.rejected), ("cut_short", load.cut_short)):
                if part:
                    used.setdefault((item.class_name, key), []).append((k, c, part * item.weight_ppm))
    rows = []
    for (name, key), use in sorted(used.items(), key=lambda entry: (entry[0][0], entry[0][1] != "rejected")):
        traffic = scenario.traffic[name]
        limit = traffic.rejected_at_most_ppm if key == "rejected" else traffic.cut_short_at_most_ppm
        scale = lcm(*(part.denominator for _, _, part in use))
        ints = tuple((k, c, int(part * scale)) for k, c, part in use)
        rows.append(ShareLimit(f"traffic.{name}.{key}_at_most", limit * scale, ints))
    return tuple(rows)
