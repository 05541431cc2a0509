"""The master: the whole program as named linear rows over integers, with shares kept continuous.

Both backends and the dump that people read are made from these rows. Variables are replicas y, serving replicas s
(only where replicas are spared; else s is y), nodes z, node totals, patterns and switches, all integer, and the
shares f in [0, 1]. `in_grid` turns a row into integers for a solver without continuous variables, as a relaxation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from planner.solver.cuts import ServingCut
from planner.solver.fleet import add_starts
from planner.solver.packing import counts_suffice, patterns
from planner.solver.program import Column, Load, Program

GRID = 1 << 14
"""Units per share in the integer master: so fine that few incumbents fail the exact test, small enough to search."""

ROW_SIZE = 1 << 20
"""Largest coefficient of a share after scaling: rounding then loses less than one millionth of a row."""

LOSS_SIZE = 1 << 40
"""Size of the quality-loss row before scaling to the grid: rounding coefficients down loses far less than a unit."""

ROW_TOTAL = 1 << 51
"""Largest sum of coefficient * bound of a scaled row: sums below 2**53 are exact in CP-SAT's doubles too."""

Terms = tuple[tuple[int, int], ...]
"""(variable, coefficient) pairs of a linear expression."""


@dataclass(frozen=True)
class Variable:
    """An integer variable with its bounds, or a share: continuous between 0 and 1.

    A variable that is not `whole` may be continuous in a backend that has such; its value is then rounded up.
    """

    name: str
    lower: int
    upper: int
    share: bool = False
    whole: bool = True


@dataclass(frozen=True)
class Row:
    """lower <= sum of coefficient * variable <= upper; None is no bound.

    `widen` marks rows whose shares must be loosened when shares become multiples of 1 / GRID. The others (demand, and
    shares bounded by whole replicas or nodes) hold for some rounding of every routing as they stand: an item covers
    adjacent demands, so the demand rows are an interval matrix, which is totally unimodular.
    """

    name: str
    terms: Terms
    lower: int | None = None
    upper: int | None = None
    widen: bool = False


@dataclass
class Master:
    """Variables and rows, with the places of what the rest of the solver talks about.

    `serving[c]` is the variable of serving replicas of a usable column, `loss` the quality loss (or None), `moved`
    the replicas that start or stop.
    """

    variables: list[Variable] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    replicas: dict[int, int] = field(default_factory=dict)
    serving: dict[int, int] = field(default_factory=dict)
    nodes: list[int] = field(default_factory=list)
    totals: list[int | None] = field(default_factory=list)
    shares: dict[tuple[int, int], int] = field(default_factory=dict)
    loss: int | None = None
    moved: Terms = ()

    def variable(self, name: str, lower: int, upper: int, *, share: bool = False, whole: bool = True) -> int:
        """Adds a variable and returns its place."""
        self.variables.append(Variable(name, lower, upper, share, whole and not share))
        return len(self.variables) - 1

    def row(
        self,
        name: str,
        terms: Iterable[tuple[int, int]],
        *,
        lower: int | None = None,
        upper: int | None = None,
        widen: bool = False,
    ) -> None:
        """Adds a row; terms with coefficient 0 are dropped."""
        self.rows.append(Row(name, tuple((v, a) for v, a in terms if a), lower, upper, widen))

    def cut_row(self, cut: ServingCut, name: str) -> Row:
        """A cut over serving replicas (and the quality loss) as a row of this master."""
        terms = [(self.serving[c], a) for c, a in cut.coefficients if c in self.serving]
        if cut.loss and self.loss is not None:
            terms.append((self.loss, cut.loss))
        return Row(name, tuple(terms), lower=cut.bound)


def usable_replicas(program: Program) -> list[int]:
    """The most replicas of each column that stock and limits could ever hold; 0 if it cannot be used at all."""
    nodes = [-group.spare_nodes for group in program.groups]
    for pool in program.pools:
        if pool.group is not None:
            nodes[pool.group] += pool.upper
    limits = {m.model: m.replicas_max for m in program.models if m.replicas_max is not None}
    most = []
    for column in program.columns:
        own = column if column.of is None else program.columns[column.of]
        stock = max(0, nodes[own.group]) * (program.groups[own.group].gpus_per_node // own.gpus)
        most.append(max(0, min(own.upper, stock, limits.get(own.model, stock))))
    return most


def share_pairs(program: Program) -> dict[int, list[int]]:
    """Items that may run on each column that can serve: not those of which a promised share of 0 forbids any."""
    closed = {(k, c) for limit in program.share_limits for k, c, a in limit.use if a > limit.max == 0}
    pairs = {}
    for c, (column, upper) in enumerate(zip(program.columns, usable_replicas(program), strict=True)):
        lost = program.spare_replicas if column.of is None else column.lost
        if column.always or upper > lost:
            pairs[c] = [k for k, _ in sorted(column.losses) if (k, c) not in closed]
    return pairs


def build(program: Program, *, with_loss: bool) -> Master:
    """The master of a program; the quality loss is a variable of it when it is an objective."""
    master = Master()
    _add_nodes(program, master)
    for index, (column, upper) in enumerate(zip(program.columns, usable_replicas(program), strict=True)):
        _add_column(program, master, index, column, upper)
    _add_shares(program, master)
    _add_loads(program, master)
    _add_packing(program, master)
    _add_limits(program, master)
    _add_models(program, master)
    add_starts(program, master)
    if with_loss:
        _add_loss(program, master)
    return master


def _add_nodes(program: Program, master: Master) -> None:
    """Nodes per pool, and one total per group: branching on totals closes gaps that price tiers leave open."""
    for pool in program.pools:
        master.nodes.append(master.variable(f"nodes[{pool.name}]", pool.lower, pool.upper))
    for index, group in enumerate(program.groups):
        pools = [p for p, pool in enumerate(program.pools) if pool.group == index]
        if not pools:
            master.totals.append(None)
        elif len(pools) == 1:
            master.totals.append(master.nodes[pools[0]])
        else:
            lower, upper = (sum(getattr(program.pools[p], side) for p in pools) for side in ("lower", "upper"))
            total = master.variable(f"total[{group.name}]", lower, upper)
            terms = [(master.nodes[p], 1) for p in pools]
            master.row(f"total[{group.name}]", [*terms, (total, -1)], lower=0, upper=0)
            master.totals.append(total)


def _add_column(program: Program, master: Master, index: int, column: Column, upper: int) -> None:
    """Replicas of a column; where some are spared or lost also how many of them serve: max(0, y - N)."""
    if column.always:
        master.serving[index] = master.variable(f"always[{column.name}]", 1, 1)
        return
    if upper == 0:
        return
    if column.of is None:
        spare, y = program.spare_replicas, master.variable(f"replicas[{column.name}]", 0, upper)
        master.replicas[index] = y
    else:
        spare, y = column.lost, master.replicas[column.of]
    if spare == 0:
        master.serving[index] = y
    elif upper > spare:
        s = master.variable(f"serving[{column.name}]", 0, upper - spare)
        on = master.variable(f"serves[{column.name}]", 0, 1)
        master.row(f"spare_replicas[{column.name}]", [(s, 1), (on, spare), (y, -1)], upper=0)
        master.row(f"serves[{column.name}]", [(s, 1), (on, spare - upper)], upper=0)
        master.serving[index] = s


def _add_shares(program: Program, master: Master) -> None:
    """Shares, demand rows, and the two strong rows: no share without a replica, none without a node."""
    by_item: dict[int, list[tuple[int, int]]] = {k: [] for k in range(len(program.items))}
    for c, items in share_pairs(program).items():
        for k in items:
            name = f"share[{program.items[k].name},{program.columns[c].name}]"
            master.shares[k, c] = master.variable(name, 0, 1, share=True)
            by_item[k].append((c, master.shares[k, c]))
    for demand in program.demand_rows:
        entries = [entry for k in demand.items for entry in by_item[k]]
        master.row(f"demand[{demand.name}]", [(f, 1) for _, f in entries], lower=1, upper=1)
        by_group: dict[int, list[tuple[int, int]]] = {}
        for c, f in entries:
            if not program.columns[c].always:
                by_group.setdefault(program.columns[c].group, []).append((f, 1))
        for g, here in sorted(by_group.items()):
            total = master.totals[g]
            if total is not None:
                master.row(f"node[{demand.name},{program.groups[g].name}]", [*here, (total, -1)], upper=0)


def _add_loads(program: Program, master: Master) -> None:
    """Load rows, and strong row 1 where one replica could take a whole demand (else the load row says more)."""
    demands: list[list[int]] = [[] for _ in program.items]
    for d, demand in enumerate(program.demand_rows):
        for k in demand.items:
            demands[k].append(d)
    rows = program.demand_rows
    for c, s in master.serving.items():
        column = program.columns[c]
        for load in binding_loads(column):
            terms = [(master.shares[k, c], a) for k, a in load.use if (k, c) in master.shares]
            if terms:
                name = f"load[{column.name},{load.name}]"
                master.row(name, [*terms, (s, -load.capacity)], upper=0, widen=True)
        heavy = {k for load in column.loads for k, a in load.use if a >= load.capacity}
        for demand in (rows[d] for d in sorted({d for k, _ in column.losses for d in demands[k]})):
            own = [k for k in demand.items if (k, c) in master.shares]
            if any(k not in heavy for k in own):
                name = f"replica[{demand.name},{column.name}]"
                master.row(name, [*((master.shares[k, c], 1) for k in own), (s, -1)], upper=0)


def binding_loads(column: Column) -> list[Load]:
    """The load rows of a column that no other row implies by asking, per unit of capacity, no less of any item."""
    kept: list[Load] = []
    for load in column.loads:
        if any(_implies(other, load) for other in kept):
            continue
        kept = [*(other for other in kept if not _implies(load, other)), load]
    return kept


def _implies(strong: Load, weak: Load) -> bool:
    """Whether every routing that keeps `strong` keeps `weak`: amount / capacity is at least as high for every item."""
    amounts = dict(strong.use)
    return all(amounts.get(k, 0) * weak.capacity >= a * strong.capacity for k, a in weak.use)


def _add_packing(program: Program, master: Master) -> None:
    """Replicas into nodes: by counting GPUs where that is exact, else with one variable per way to fill a node."""
    by_group: dict[int, dict[int, int]] = {}
    for c, y in master.replicas.items():
        by_group.setdefault(program.columns[c].group, {})[c] = y
    for g, group in enumerate(program.groups):
        columns = by_group.get(g, {})
        total = master.totals[g]
        if not columns or total is None:
            continue
        kept: list[tuple[int, int]] = []
        if group.spare_nodes:
            on = master.variable(f"used[{group.name}]", 0, 1)
            kept = [(on, group.spare_nodes)]
            for c, y in columns.items():
                upper = master.variables[y].upper
                master.row(f"used[{program.columns[c].name}]", [(y, 1), (on, -upper)], upper=0)
        sizes = sorted({program.columns[c].gpus for c in columns})
        gpus = [(y, program.columns[c].gpus) for c, y in columns.items()]
        unit = group.gpus_per_node
        spared = [(v, unit * a) for v, a in kept]
        master.row(f"packing[{group.name}]", [*gpus, *spared, (total, -unit)], upper=0)
        if not counts_suffice(sizes, unit):
            _add_patterns(program, master, g, columns, kept)


def _add_patterns(
    program: Program, master: Master, g: int, columns: Mapping[int, int], kept: list[tuple[int, int]]
) -> None:
    """Node patterns: each node is filled in one of the maximal ways, and every replica finds a place."""
    group, total = program.groups[g], master.totals[g]
    assert total is not None
    sizes = sorted({program.columns[c].gpus for c in columns})
    upper = master.variables[total].upper
    fillings = patterns(sizes, group.gpus_per_node)
    variables = []
    for filling in fillings:
        label = "+".join(f"{n}x{size}" for size, n in zip(sizes, filling, strict=True) if n)
        variables.append(master.variable(f"pattern[{group.name},{label}]", 0, upper))
    master.row(f"patterns[{group.name}]", [*((v, 1) for v in variables), *kept, (total, -1)], upper=0)
    for position, size in enumerate(sizes):
        placed = [(y, 1) for c, y in columns.items() if program.columns[c].gpus == size]
        places = [(v, -filling[position]) for v, filling in zip(variables, fillings, strict=True)]
        master.row(f"places[{group.name},{size}]", [*placed, *places], upper=0)


def _add_limits(program: Program, master: Master) -> None:
    """Rows over nodes (budget, power, quotas) and over shares (promised shares)."""
    for limit in program.node_limits:
        master.row(f"limit[{limit.name}]", [(master.nodes[p], a) for p, a in limit.use], upper=limit.max)
    for share in program.share_limits:
        terms = [(master.shares[k, c], a) for k, c, a in share.use if (k, c) in master.shares]
        if terms or share.max < 0:
            master.row(f"promise[{share.name}]", terms, upper=share.max, widen=True)


def _add_models(program: Program, master: Master) -> None:
    """Replica bounds of a model, and its number of distinct configurations."""
    by_model: dict[str, dict[int, int]] = {}
    for c, y in master.replicas.items():
        by_model.setdefault(program.columns[c].model, {})[c] = y
    for limit in program.models:
        columns = by_model.get(limit.model, {})
        ones = [(y, 1) for y in columns.values()]
        if limit.replicas_min > 0:
            master.row(f"replicas_min[{limit.model}]", ones, lower=limit.replicas_min)
        if limit.replicas_max is not None:
            master.row(f"replicas_max[{limit.model}]", ones, upper=limit.replicas_max)
        configurations = sorted({program.columns[c].config for c in columns})
        if limit.max_configurations is None or len(configurations) <= limit.max_configurations:
            continue
        on = {name: master.variable(f"runs[{limit.model},{name}]", 0, 1) for name in configurations}
        for c, y in columns.items():
            column, upper = program.columns[c], master.variables[y].upper
            master.row(f"runs[{column.name}]", [(y, 1), (on[column.config], -upper)], upper=0)
        terms = [(v, 1) for v in on.values()]
        master.row(f"configurations[{limit.model}]", terms, upper=limit.max_configurations)


def _add_loss(program: Program, master: Master) -> None:
    """The quality loss in whole units, rounded up: never below what the shares lose (coefficients rounded down)."""
    most = [Fraction(0)] * len(program.items)
    for c in master.serving:
        for k, loss in program.columns[c].losses:
            most[k] = max(most[k], loss)
    upper = int(sum(most)) + 1
    scale = max(1, LOSS_SIZE // upper)
    master.loss = master.variable("quality_loss", 0, upper, whole=False)
    terms = []
    for (k, c), f in master.shares.items():
        loss = dict(program.columns[c].losses)[k]
        terms.append((f, int(loss * scale)))
    master.row("quality_loss", [*terms, (master.loss, -scale)], upper=0, widen=True)


def _named(master: Master, terms: Iterable[tuple[int, int]]) -> Iterable[tuple[Variable, int]]:
    return ((master.variables[v], a) for v, a in terms)


def in_grid(master: Master, row: Row) -> Row:
    """A row over integers only, shares being multiples of 1 / GRID; every routing has a point that satisfies it.

    Rounding a routing to the grid moves each share by less than one unit, so a widened row gains the sum of its
    coefficients; scaling to ROW_SIZE rounds coefficients down and right sides up.
    """
    shares = [a for v, a in row.terms if master.variables[v].share]
    if not shares:
        return row
    terms = [(v, a if master.variables[v].share else a * GRID) for v, a in row.terms]
    if not row.widen:
        lower = None if row.lower is None else row.lower * GRID
        return Row(row.name, tuple(terms), lower, None if row.upper is None else row.upper * GRID)
    assert row.lower is None and row.upper is not None
    upper = row.upper * GRID + sum(abs(a) for a in shares)
    size = sum(abs(a) * (GRID if v.share else max(abs(v.lower), abs(v.upper))) for v, a in _named(master, terms))
    divisor = max(1, max(abs(a) for a in shares) // ROW_SIZE, size // ROW_TOTAL)
    scaled = tuple((v, a // divisor) for v, a in terms if a // divisor)
    return Row(row.name, scaled, None, -(-upper // divisor))
