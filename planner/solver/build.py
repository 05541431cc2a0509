"""From the candidate table to the constraint program: every row is linear and comes from one scenario line."""

from __future__ import annotations

from fractions import Fraction
from math import lcm

from planner.candidates import Candidate, CandidateTable
from planner.candidates.groups import PoolGroup, pool_groups
from planner.candidates.types import ROW_NAMES
from planner.scenario.types import HOURS_PER_MONTH, Scenario
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


def build_program(scenario: Scenario, table: CandidateTable) -> Program:
    """The program of a scenario. Columns are candidates x groups with that GPU and large enough nodes."""
    groups = pool_groups(scenario)
    pools = tuple(
        PoolNodes(
            name=pool.name,
            group=index,
            lower=pool.committed_nodes,
            upper=pool.committed_nodes + pool.available_nodes,
            cost=pool.price_micro_per_node_h,
        )
        for index, group in enumerate(groups)
        for pool in group.pools
    )
    columns = tuple(
        column
        for candidate in table.candidates
        for index, group in enumerate(groups)
        if (column := _column(scenario, table, candidate, index, group)) is not None
    )
    return Program(
        items=tuple(Item(item.name, item.model) for item in table.items),
        demands=tuple(Demand(demand.name, demand.items) for demand in table.demands),
        columns=columns,
        groups=tuple(Group(g.name, g.gpus_per_node, scenario.reserve.spare_nodes, g.region) for g in groups),
        pools=pools,
        node_limits=_node_limits(scenario, pools),
        share_limits=_share_limits(scenario, table, columns),
        models=tuple(
            ModelLimit(m.name, m.replicas.min, m.replicas.max, m.max_configurations)
            for _, m in sorted(scenario.models.items())
        ),
        spare_replicas=scenario.reserve.spare_replicas,
        objective=tuple(scenario.objective),
    )


def column_name(candidate: Candidate, group: PoolGroup) -> str:
    """The name of a candidate on a group: unique and stable."""
    return f"{candidate.config.name}@{group.region}x{group.gpus_per_node}"


def _column(
    scenario: Scenario, table: CandidateTable, candidate: Candidate, index: int, group: PoolGroup
) -> Column | None:
    config = candidate.config
    if config.gpu != group.gpu or config.gpus > group.gpus_per_node:
        return None
    nodes = sum(pool.committed_nodes + pool.available_nodes for pool in group.pools) - scenario.reserve.spare_nodes
    stock = nodes * (group.gpus_per_node // config.gpus)
    if stock <= 0:
        return None
    rows = ROW_NAMES if candidate.memory else ROW_NAMES[:1]
    loads = tuple(
        Load(name, candidate.capacity, tuple((k, load.amount(name)) for k, load in candidate.loads)) for name in rows
    )
    need = max(_most(table, dict(row.use), row.capacity) for row in loads)
    wanted = max(need, scenario.models[config.model].replicas.min, 1) + scenario.reserve.spare_replicas
    return Column(
        name=column_name(candidate, group),
        model=config.model,
        config=config.name,
        group=index,
        gpus=config.gpus,
        upper=min(stock, wanted),
        loads=loads,
        losses=tuple((k, table.items[k].output_tokens_per_s * load.loss_ppm) for k, load in candidate.loads),
    )


def _most(table: CandidateTable, amounts: dict[int, int], capacity: int) -> int:
    """Replicas that carry everything that may run on a column: no plan needs more of it.

    Each band counts with the heaviest item that contains it, by the band's part of that item.
    """
    total = Fraction(0)
    for demand in table.demands:
        parts = [
            Fraction(amounts[k] * demand.weight_ppm, table.items[k].weight_ppm) for k in demand.items if k in amounts
        ]
        total += max(parts, default=Fraction(0))
    return -int(-total // capacity)


def _node_limits(scenario: Scenario, pools: tuple[PoolNodes, ...]) -> tuple[NodeLimit, ...]:
    budget, rows = scenario.budget, []
    if budget.monthly_micro is not None:
        use = [(p, Fraction(pool.cost * HOURS_PER_MONTH)) for p, pool in enumerate(pools)]
        rows.append(_integers("budget.monthly", Fraction(budget.monthly_micro), use))
    if budget.power_mw is not None:
        tdp = [scenario.inventory[p.name].gpu.tdp_w * scenario.inventory[p.name].gpus_per_node for p in pools]
        use = [(p, Fraction(w * 1_000 * budget.pue_ppm, 1_000_000)) for p, w in enumerate(tdp)]
        rows.append(_integers("budget.power", Fraction(budget.power_mw), use))
    position = {pool.name: index for index, pool in enumerate(pools)}
    for name, limit in sorted(scenario.limits.items()):
        use = [(position[pool], amount) for pool, amount in limit.per_node]
        rows.append(_integers(f"limits.{name}", limit.max, use))
    return tuple(rows)


def _integers(name: str, most: Fraction, use: list[tuple[int, Fraction]]) -> NodeLimit:
    scale = lcm(most.denominator, *(amount.denominator for _, amount in use))
    return NodeLimit(name, int(most * scale), tuple((p, int(amount * scale)) for p, amount in use if amount))


def _share_limits(scenario: Scenario, table: CandidateTable, columns: tuple[Column, ...]) -> tuple[ShareLimit, ...]:
    """Promised shares: sum over bands and columns of band share x part rejected (or cut short) x routed share."""
    loads = {candidate.config.name: dict(candidate.loads) for candidate in table.candidates}
    rows = []
    for name, traffic in sorted(scenario.traffic.items()):
        own = [k for k, item in enumerate(table.items) if item.class_name == name]
        for key, limit in (
            ("rejected", traffic.rejected_at_most_ppm),
            ("cut_short", traffic.cut_short_at_most_ppm),
        ):
            use = [
                (k, c, part)
                for c, column in enumerate(columns)
                for k in own
                if k in loads[column.config]
                and (part := getattr(loads[column.config][k], key) * table.items[k].weight_ppm)
            ]
            if not use:
                continue
            scale = lcm(*(part.denominator for _, _, part in use))
            ints = tuple((k, c, int(part * scale)) for k, c, part in use)
            rows.append(ShareLimit(f"traffic.{name}.{key}_at_most", limit * scale, ints))
    return tuple(rows)
