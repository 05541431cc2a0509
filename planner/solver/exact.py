"""The exact judge: routing as a rational linear program, and every row of the program checked without a float.

Given replicas, is there a routing? Shares f >= 0 with sum f = 1 per demand, `sum amount * f <= capacity * serving` per
load row of a used column, and the share limits. Items fall into independent components (a model's items meet on
its columns), each a tiny program. The answer is the routing, lexicographically smallest by (rank, shorter runs first,
item name, column name) and first of least quality loss if asked, or a Farkas cut that no choice of replicas without a
routing satisfies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

from planner.solver.cuts import Duals, ServingCut, serving_cut
from planner.solver.fleet import broken_starts
from planner.solver.packing import fits
from planner.solver.program import Column, Program, Solution
from planner.solver.simplex import Tableau


@dataclass(frozen=True)
class Routing:
    """A routing: shares above 0 as (item, column, share) in order, their quality loss, the duals that prove it least.

    Without `minimize_loss` there are no duals.
    """

    shares: tuple[tuple[int, int, Fraction], ...]
    loss: Fraction
    duals: Duals | None = None


@dataclass(frozen=True)
class FarkasCut:
    """No routing exists; `cut` holds for every choice of replicas that has one, and fails for this one."""

    cut: ServingCut


@dataclass(frozen=True)
class _Part:
    """One component as a tableau in the making: pairs are the shares, then come slacks, then artificials."""

    demands: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]
    tableau: Tableau
    loads: tuple[tuple[int, int], ...]
    shares: tuple[int, ...]

    @property
    def artificial(self) -> int:
        """The first artificial variable; the i-th demand owns `artificial + i`."""
        return len(self.pairs) + len(self.loads) + len(self.shares)


def serving(program: Program, replicas: Sequence[int]) -> dict[int, int]:
    """Replicas that serve, for the columns that do: what is left once `spare_replicas` are lost, or a failure's."""
    counts = {}
    for c, column in enumerate(program.columns):
        if column.always:
            left = 1
        elif column.of is None:
            left = replicas[c] - program.spare_replicas
        else:
            left = replicas[column.of] - column.lost
        if left > 0:
            counts[c] = left
    return counts


def route(
    program: Program, replicas: Sequence[int], *, minimize_loss: bool, smallest: bool = True
) -> Routing | FarkasCut:
    """The lexicographically smallest routing for these replicas, or why there is none; exact.

    Args:
        program: The program.
        replicas: Replicas per column.
        minimize_loss: Only routings of least quality loss count; the routing then carries its duals.
        smallest: Whether it must be the smallest; any takes a third of the time.

    Returns:
        The routing, or the Farkas cut of the first component without one.
    """
    if any(limit.max < 0 for limit in program.share_limits):
        return FarkasCut(ServingCut((), 1))
    used = serving(program, replicas)
    shares: list[tuple[int, int, Fraction]] = []
    duals = Duals({}, {}, {})
    for demands, columns, limits in _components(program, used):
        part = _build(program, {c: used[c] for c in columns}, demands, limits)
        line = part.tableau.minimize({part.artificial + i: 1 for i in range(len(demands))})
        if line[-1]:
            found = _duals(program, used, part, line, artificial_cost=1)
            return FarkasCut(serving_cut(program, found, used, with_loss=False))
        _seal(part)
        if minimize_loss:
            more = _least_loss(program, used, part)
            duals = Duals(*({**a, **b} for a, b in zip(_maps(duals), _maps(more), strict=True)))
        if smallest:
            _smallest(program, part)
        for index, (item, column) in enumerate(part.pairs):
            share = part.tableau.value(index)
            if share:
                shares.append((item, column, share))
    losses = {c: dict(program.columns[c].losses) for _, c, _ in shares}
    loss = sum((share * losses[column][item] for item, column, share in shares), Fraction(0))
    return Routing(tuple(sorted(shares)), loss, duals if minimize_loss else None)


def loss_cut(program: Program, replicas: Sequence[int], routing: Routing) -> ServingCut:
    """What every choice of replicas loses at least; exact for the replicas of this routing of least loss.

    Raises:
        ValueError: the routing was not made with `minimize_loss`.
    """
    if routing.duals is None:
        raise ValueError("Expected a routing of least quality loss.")
    return serving_cut(program, routing.duals, serving(program, replicas), with_loss=True)


def _maps(duals: Duals) -> tuple[Mapping[int, Fraction], Mapping[int, Fraction], Mapping[int, Fraction]]:
    return duals.demands, duals.shares, duals.paid


def _components(
    program: Program, used: Mapping[int, int]
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
    """Independent groups of demands, each with its columns in use and the share limits that bind its items to them."""
    leader = list(range(len(program.items)))

    def find(item: int) -> int:
        while leader[item] != item:
            leader[item] = leader[leader[item]]
            item = leader[item]
        return item

    def join(items: Iterable[int]) -> None:
        roots = sorted({find(item) for item in items})
        for root in roots[1:]:
            leader[root] = roots[0]

    limits = [sorted({i for i, c, a in limit.use if c in used and a}) for limit in program.share_limits]
    rows = program.demand_rows
    for demand in rows:
        join(demand.items)
    for column in used:
        join(item for item, _ in program.columns[column].losses)
    for members in limits:
        join(members)
    demands: dict[int, list[int]] = {find(row.items[0]): [] for row in rows}
    columns: dict[int, list[int]] = {root: [] for root in demands}
    bound: dict[int, list[int]] = {root: [] for root in demands}
    for d, row in enumerate(rows):
        demands[find(row.items[0])].append(d)
    for column in used:
        items = program.columns[column].losses
        if items and (root := find(items[0][0])) in columns:
            columns[root].append(column)
    for r, members in enumerate(limits):
        if members and (root := find(members[0])) in bound:
            bound[root].append(r)
    for root in sorted(demands):
        yield tuple(demands[root]), tuple(columns[root]), tuple(bound[root])


def _build(program: Program, used: Mapping[int, int], demands: tuple[int, ...], limits: tuple[int, ...]) -> _Part:
    """The starting tableau of a component: slacks are basic on load and share rows, artificials on demand rows."""
    members = [frozenset(program.demand_rows[d].items) for d in demands]
    items = frozenset().union(*members)
    spans = {item: sum(item in own for own in members) for item in items}
    order = sorted(
        ((item, c) for c in used for item, _ in program.columns[c].losses if item in items),
        key=lambda pair: (
            program.columns[pair[1]].rank,
            spans[pair[0]],
            program.items[pair[0]].name,
            program.columns[pair[1]].name,
        ),
    )
    position = {pair: index for index, pair in enumerate(order)}
    rows: list[tuple[dict[int, int], int]] = []
    loads: list[tuple[int, int]] = []
    for column in sorted({column for _, column in order}):
        for index, load in enumerate(program.columns[column].loads):
            entries = {position[item, column]: a for item, a in load.use if (item, column) in position and a}
            if entries:
                rows.append((entries, load.capacity * used[column]))
                loads.append((column, index))
    for limit in limits:
        shares: dict[int, int] = {}
        for item, column, amount in program.share_limits[limit].use:
            if (item, column) in position:
                shares[position[item, column]] = shares.get(position[item, column], 0) + amount
        rows.append((shares, program.share_limits[limit].max))
    slack, artificial = len(order), len(order) + len(rows)
    width = artificial + len(demands) + 1
    lines = []
    for index, (entries, right) in enumerate(rows):
        lines.append(_line(width, {**entries, slack + index: 1}, right))
    for i, own in enumerate(members):
        ones = {position[pair]: 1 for pair in order if pair[0] in own}
        lines.append(_line(width, {**ones, artificial + i: 1}, 1))
    tableau = Tableau(lines, [slack + i for i in range(len(rows))] + [artificial + i for i in range(len(demands))])
    return _Part(demands, tuple(order), tableau, tuple(loads), limits)


def _line(width: int, entries: Mapping[int, int], right: int) -> list[int]:
    line = [0] * width
    for column, value in entries.items():
        line[column] = value
    line[-1] = right
    return line


def _seal(part: _Part) -> None:
    """Ends phase 1: artificials leave the basis and never come back."""
    artificials = set(range(part.artificial, part.artificial + len(part.demands)))
    part.tableau.locked |= artificials
    part.tableau.expel(artificials)


def _least_loss(program: Program, used: Mapping[int, int], part: _Part) -> Duals:
    """Minimizes the quality loss, stays on the optimal face, and returns the duals in loss units."""
    losses = {pair: dict(program.columns[pair[1]].losses)[pair[0]] for pair in part.pairs}
    scale = lcm(*(loss.denominator for loss in losses.values())) if losses else 1
    costs = {index: int(losses[pair] * scale) for index, pair in enumerate(part.pairs)}
    line = part.tableau.minimize(costs)
    found = _duals(program, used, part, line, artificial_cost=0)
    part.tableau.lock_positive(line)
    return Duals(*({key: value / scale for key, value in m.items()} for m in _maps(found)))


def _duals(program: Program, used: Mapping[int, int], part: _Part, line: list[int], *, artificial_cost: int) -> Duals:
    """Reads the multipliers off the reduced costs of slacks (`v`, `w`) and artificials (`cost - u`)."""
    den, slack = part.tableau.den, len(part.pairs)
    demands = {d: artificial_cost - Fraction(line[part.artificial + i], den) for i, d in enumerate(part.demands)}
    paid: dict[int, Fraction] = {column: Fraction(0) for _, column in part.pairs}
    for index, (column, load) in enumerate(part.loads):
        paid[column] += program.columns[column].loads[load].capacity * Fraction(line[slack + index], den)
    first = slack + len(part.loads)
    shares = {limit: Fraction(line[first + i], den) for i, limit in enumerate(part.shares)}
    return Duals(demands, shares, paid)


def _smallest(program: Program, part: _Part) -> None:
    """Moves to the lexicographically smallest solution of the face: each share in turn as small as it can be."""
    tableau = part.tableau
    for index in range(len(part.pairs)):
        if index not in tableau.basis:
            tableau.locked.add(index)
            continue
        tableau.lock_positive(tableau.minimize({index: 1}))


def violations(program: Program, solution: Solution) -> list[str]:
    """Every row of the program in exact arithmetic: the names of the rows that the solution breaks."""
    replicas, nodes = solution.replicas, solution.nodes
    if len(replicas) != len(program.columns) or len(nodes) != len(program.pools):
        return ["the solution has the wrong number of replicas or nodes"]
    return [
        *broken_integer_rows(program, replicas, nodes),
        *_broken_shares(program, replicas, solution.routing),
    ]


def broken_integer_rows(program: Program, replicas: Sequence[int], nodes: Sequence[int]) -> list[str]:
    """Names of the rows over replicas and nodes alone that are broken."""
    return [
        *_broken_integers(program, replicas, nodes),
        *broken_models(program, replicas),
        *broken_starts(program, replicas, nodes),
    ]


def _broken_integers(program: Program, replicas: Sequence[int], nodes: Sequence[int]) -> Iterator[str]:
    """Bounds, packing and node limits."""
    for column, count in zip(program.columns, replicas, strict=True):
        if not 0 <= count <= column.upper:
            yield f"replicas {column.name}: {count} not in 0..{column.upper}"
    for pool, count in zip(program.pools, nodes, strict=True):
        if not pool.lower <= count <= pool.upper:
            yield f"nodes {pool.name}: {count} not in {pool.lower}..{pool.upper}"
    running: dict[int, list[tuple[int, int]]] = {}
    for column, count in zip(program.columns, replicas, strict=True):
        if count:
            running.setdefault(column.group, []).append((column.gpus, count))
    totals = [0] * len(program.groups)
    for pool, count in zip(program.pools, nodes, strict=True):
        if pool.group is not None:
            totals[pool.group] += count
    for index, group in enumerate(program.groups):
        used, bought = running.get(index, []), totals[index]
        if used and not fits(used, group.gpus_per_node, bought - group.spare_nodes):
            yield f"packing {group.name}: the replicas do not fit into {bought - group.spare_nodes} nodes"
    for limit in program.node_limits:
        total = sum(amount * nodes[pool] for pool, amount in limit.use)
        if total > limit.max:
            yield f"limit {limit.name}: {total} > {limit.max}"


def broken_models(program: Program, replicas: Sequence[int]) -> Iterator[str]:
    """Replica bounds and the number of configurations per model."""
    running: dict[str, list[tuple[str, int]]] = {}
    for column, count in zip(program.columns, replicas, strict=True):
        if count:
            running.setdefault(column.model, []).append((column.config, count))
    for limit in program.models:
        used = running.get(limit.model, [])
        total, configurations = sum(n for _, n in used), len({config for config, _ in used})
        if total < limit.replicas_min:
            yield f"replicas {limit.model}: {total} < {limit.replicas_min}"
        if limit.replicas_max is not None and total > limit.replicas_max:
            yield f"replicas {limit.model}: {total} > {limit.replicas_max}"
        if limit.max_configurations is not None and configurations > limit.max_configurations:
            yield f"configurations {limit.model}: {configurations} > {limit.max_configurations}"


def _broken_shares(
    program: Program, replicas: Sequence[int], routing: Sequence[tuple[int, int, Fraction]]
) -> Iterator[str]:
    """Demand, eligibility, load rows and share limits."""
    used = serving(program, replicas)
    at: dict[tuple[int, int], Fraction] = {}
    for item, column, share in routing:
        at[item, column] = at.get((item, column), Fraction(0)) + share
        name = f"{program.items[item].name} on {program.columns[column].name}"
        if share < 0:
            yield f"share {name}: {share} < 0"
        if share and column not in used:
            yield f"share {name}: no replica serves"
        if item not in {k for k, _ in program.columns[column].losses}:
            yield f"share {name}: not eligible"
    by_item: dict[int, Fraction] = {}
    for (item, _), share in at.items():
        by_item[item] = by_item.get(item, Fraction(0)) + share
    for demand in program.demand_rows:
        total = sum((by_item.get(item, Fraction(0)) for item in demand.items), Fraction(0))
        if total != 1:
            yield f"demand {demand.name}: {total} != 1"
    for index in sorted({column for _, column in at}):
        yield from _broken_loads(index, program.columns[index], used.get(index, 0), at)
    for limit in program.share_limits:
        share_total = sum((amount * at.get((item, c), Fraction(0)) for item, c, amount in limit.use), Fraction(0))
        if share_total > limit.max:
            yield f"share limit {limit.name}: {share_total} > {limit.max}"


def _broken_loads(index: int, column: Column, replicas: int, at: Mapping[tuple[int, int], Fraction]) -> Iterator[str]:
    for load in column.loads:
        total = sum((amount * at.get((item, index), Fraction(0)) for item, amount in load.use), Fraction(0))
        if total > load.capacity * replicas:
            yield f"load {column.name} {load.name}: {total} > {load.capacity * replicas}"
