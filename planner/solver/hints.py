"""A plan as a hint: every integer of a master that replicas and nodes decide, so that no hint is stale or half."""

from __future__ import annotations

from collections.abc import Sequence

from planner.solver.fleet import moves_by_start
from planner.solver.master import Master
from planner.solver.program import Program


def integer_hint(program: Program, master: Master, replicas: Sequence[int], nodes: Sequence[int]) -> dict[int, int]:
    """Values of the master's integer variables, by place. Shares and node patterns are left to the solver."""
    hint = {v: replicas[c] for c, v in master.replicas.items()}
    hint |= dict(zip(master.nodes, nodes, strict=True))
    for g, total in enumerate(master.totals):
        if total is not None:
            hint[total] = sum(count for count, pool in zip(nodes, program.pools, strict=True) if pool.group == g)
    switches = {}
    for c, column in enumerate(program.columns):
        own = c if column.of is None else column.of
        lost = program.spare_replicas if column.of is None else column.lost
        left = 0 if column.always else max(0, replicas[own] - lost)
        if c in master.serving and master.serving[c] not in hint:
            hint[master.serving[c]] = 1 if column.always else left
            switches[f"serves[{column.name}]"] = int(left > 0)
        if c in master.replicas and replicas[c]:
            switches[f"used[{program.groups[column.group].name}]"] = 1
            switches[f"runs[{column.model},{column.config}]"] = 1
    switches |= moves_by_start(program, replicas)
    for v, variable in enumerate(master.variables):
        kind = variable.name.partition("[")[0]
        if v not in hint and kind in ("serves", "used", "runs", "moved"):
            hint[v] = switches.get(variable.name, 0)
    return hint
