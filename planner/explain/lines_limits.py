"""Lines that limit nodes: stock, quotas, budget, and what is kept in reserve."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

from planner.explain.ladders import counted, counts_down, counts_up, higher, number, plain
from planner.explain.lines import Exact, Level, Line, Rung, one
from planner.explain.source import Source
from planner.scenario.source import child_map
from planner.scenario.types import HOURS_PER_MONTH, Budget, Pool, Reserve, Robust, Scenario, SpotTerms
from planner.scenario.written import flow, money, share
from planner.units import MICRO

ENOUGH_NODES = 10_000
"""Nodes of a pool where its stock is not the question."""

MORE_NODES = 1_024
"""How many nodes a repair may ask for beyond those of a pool."""

MORE_MOVES = 1_024
"""How many more replicas a repair may move."""

FINE = Fraction(101, 100)
"""Ratio of the steps by which money, power and quotas are raised."""

CENT = 10_000
"""Micro-units of currency in one cent."""


def limit_lines(source: Source) -> Iterator[Line]:
    """Stock of every pool, limits, budget, reserve."""
    for name, pool in source.scenario.inventory.items():
        yield from _stock(source, name, pool)
    for name in source.scenario.limits:
        yield _limit(source, name)
    yield from _budget(source, source.scenario.budget)
    yield from _reserve(source, source.scenario.reserve)
    if source.scenario.robust is not None:
        yield from _robust(source, source.scenario.robust)
    yield from _moves(source)


def _stock(source: Source, name: str, pool: Pool) -> Iterator[Line]:
    """Nodes that can be had, and those of a contract, which are paid and all there are."""
    offered = pool.available_nodes or not pool.committed_nodes
    if offered:
        yield _available(source, name, pool)
    if pool.committed_nodes:
        yield _committed(source, name, pool, alone=not offered)


def _available(source: Source, name: str, pool: Pool) -> Line:
    path, have = f"inventory.{name}.available", pool.available_nodes

    def endless(scenario: Scenario) -> Scenario:
        return _with_pool(scenario, replace(scenario.inventory[name], available_nodes=ENOUGH_NODES, terms=None))

    def needed(nodes: Fraction) -> Rung:
        return ((path, counted(max(have, int(nodes) - pool.committed_nodes), " node")),)

    steps = one(path, counts_up(have, have + MORE_NODES, " node"))
    value = source.written(path) or counted(have, " node")
    exact = Exact(lambda other: Fraction(other.name == name), needed)
    return Line(path, "stock", value, source.place(path), endless, steps, exact=exact)


def _committed(source: Source, name: str, pool: Pool, *, alone: bool) -> Line:
    """Nodes of a contract, which may be too many to pay or, where no others can be had, too few.

    Loosened, they are paid only where they are used. One node fewer is tried as one that is paid where it is used, one
    more as one that can be had: so no step takes away what the last one gave. With the least step that gives a plan,
    every plan uses exactly what is still committed, so it is written as that alone.
    """
    path, offered = f"inventory.{name}.committed", f"inventory.{name}.available"
    have, more = pool.committed_nodes, pool.available_nodes

    def free(scenario: Scenario) -> Scenario:
        own = scenario.inventory[name]
        nodes = ENOUGH_NODES if alone else own.available_nodes + have
        terms = None if alone else own.terms
        return _with_pool(
            scenario, replace(own, committed_nodes=0, available_nodes=nodes, notice_months=None, terms=terms)
        )

    def tried(rung: Rung) -> Rung:
        fewer = have - int(number(rung[0][1]))
        kept = () if fewer < 0 else rung
        return (*kept, (offered, counted(more + abs(fewer), " node")))

    def needed(nodes: Fraction) -> Rung:
        return ((path, counted(int(nodes), " node")),) if nodes > have else ()

    exact = Exact(lambda other: Fraction(other.name == name), needed) if alone else None
    up = counts_up(have, have + MORE_NODES, " node") if alone else ()
    value = source.written(path) or counted(have, " node")
    back = one(path, counts_down(have, 0, " node"))
    return Line(path, "stock", value, source.place(path), free, one(path, up), back=back, tried=tried, exact=exact)


def _with_pool(scenario: Scenario, pool: Pool) -> Scenario:
    return replace(scenario, inventory={**scenario.inventory, pool.name: pool})


def _limit(source: Source, name: str) -> Line:
    path = f"limits.{name}.max"
    amounts = dict(source.scenario.limits[name].per_node)

    def without(scenario: Scenario) -> Scenario:
        return replace(scenario, limits={n: limit for n, limit in scenario.limits.items() if n != name})

    value = source.written(path) or ""
    exact = Exact(lambda pool: amounts.get(pool.name, Fraction(0)), lambda sum_: ((path, plain(_up(sum_, 9))),))
    return Line(path, "limits", value, source.place(path), without, one(path, higher(value, FINE)), exact=exact)


def _up(value: Fraction, decimals: int) -> Fraction:
    """Rounded up to so many decimals."""
    return Fraction(-int(-value * 10**decimals // 1), 10**decimals)


def _budget(source: Source, budget: Budget) -> Iterator[Line]:
    scenario = source.scenario
    currency, horizon_h = scenario.currency, scenario.horizon_h

    def cents(micro: Fraction) -> str:
        return money(-int(-micro // CENT) * CENT, currency)

    if budget.monthly_micro is not None:
        monthly = Exact(
            lambda pool: Fraction(pool.price_micro_per_node_h * HOURS_PER_MONTH),
            lambda micro: (("budget.monthly", cents(micro)),),
        )
        yield _money(source, "monthly", lambda b: replace(b, monthly_micro=None), monthly)
    if budget.total_micro is not None:
        total = Exact(
            lambda pool: pool.price_micro_per_node_h * horizon_h, lambda micro: (("budget.total", cents(micro)),)
        )
        yield _money(source, "total", lambda b: replace(b, total_micro=None), total)
    if budget.power_mw is not None:
        power = Exact(
            lambda pool: Fraction(pool.gpu.tdp_w * pool.gpus_per_node * budget.pue_ppm, 1_000),
            lambda mw: (("budget.power", f"{plain(_up(mw / MICRO, 6))}kW"),),
        )
        yield _money(source, "power", lambda b: replace(b, power_mw=None), power)


def _money(source: Source, key: str, none: Callable[[Budget], Budget], exact: Exact) -> Line:
    path = f"budget.{key}"

    def unlimited(scenario: Scenario) -> Scenario:
        return replace(scenario, budget=none(scenario.budget))

    value = source.written(path) or ""
    return Line(path, "budget", value, source.place(path), unlimited, one(path, higher(value, FINE)), exact=exact)


def _reserve(source: Source, reserve: Reserve) -> Iterator[Line]:
    if reserve.spare_nodes or reserve.spare_replicas:
        yield _spare(source, reserve)
    if reserve.spare_zones:
        yield _zones(source)
    for where, nodes in reserve.survive:
        yield _survive(source, where, nodes)
    for name, pool in sorted(source.scenario.inventory.items()):
        if pool.terms is not None and pool.terms.reclaim_nodes:
            yield _reclaim(source, name, pool.terms)
    if reserve.utilization_ppm < 1_000_000:
        grid = range(0, 1_000_001, 10_000)
        yield _share(
            source, "utilization", reserve.utilization_ppm, grid, lambda r: replace(r, utilization_ppm=1_000_000)
        )
    if reserve.kv_headroom_ppm:
        grid = range(990_000, -1, -10_000)
        line = _share(source, "kv_headroom", reserve.kv_headroom_ppm, grid, lambda r: replace(r, kv_headroom_ppm=0))
        yield replace(line, level="physics")
    if reserve.confidence == "p90":
        path = "reserve.confidence"

        def middle(scenario: Scenario) -> Scenario:
            return replace(scenario, reserve=replace(scenario.reserve, confidence="p50"))

        yield Line(path, "reserve", "p90", source.place(path), middle, one(path, ("p50",)), level="physics")


def _spare(source: Source, reserve: Reserve) -> Line:
    key, count = ("nodes", reserve.spare_nodes) if reserve.spare_nodes else ("replicas", reserve.spare_replicas)

    def none(scenario: Scenario) -> Scenario:
        return replace(scenario, reserve=replace(scenario.reserve, spare_nodes=0, spare_replicas=0))

    steps = one(f"reserve.spare.{key}", counts_down(count))
    return Line("reserve.spare", "reserve", f"{{{key}: {count}}}", source.place("reserve.spare"), none, steps)


def _zones(source: Source) -> Line:
    path = "reserve.spare.zones"

    def none(scenario: Scenario) -> Scenario:
        return replace(scenario, reserve=replace(scenario.reserve, spare_zones=0))

    return Line(path, "reserve", "1", source.place(path), none, one(path, counts_down(1)))


def _reclaim(source: Source, name: str, terms: SpotTerms) -> Line:
    path = f"inventory.{name}.spot.reclaim"

    def never(scenario: Scenario) -> Scenario:
        pool = replace(scenario.inventory[name], terms=replace(terms, reclaim_nodes=0))
        return replace(scenario, inventory={**scenario.inventory, name: pool})

    value = source.written(path) or counted(terms.reclaim_nodes, " node")
    steps = one(path, counts_down(terms.reclaim_nodes, 0, " node"))
    return Line(path, "reserve", value, source.place(path), never, steps)


def _survive(source: Source, where: str, nodes: int | None) -> Line:
    path = f"reserve.survive.{where}"

    def unscathed(scenario: Scenario) -> Scenario:
        rest = tuple(loss for loss in scenario.reserve.survive if loss[0] != where)
        return replace(scenario, reserve=replace(scenario.reserve, survive=rest))

    most = sum(
        pool.committed_nodes + pool.available_nodes
        for pool in source.scenario.inventory.values()
        if where in (pool.name, pool.region, pool.zone)
    )
    fewer = counts_down(most + 1 if nodes is None else nodes, 1, " node")

    def steps() -> tuple[Rung, ...]:
        return (*(((path, value),) for value in fewer), _without_loss(source, where))

    value = source.written(path) or ("all" if nodes is None else counted(nodes, " node"))
    return Line(path, "reserve", value, source.place(path), unscathed, steps)


def _without_loss(source: Source, where: str) -> Rung:
    """No loss there: the block that holds it, written again without it."""
    reserve = child_map(source.root, "reserve")
    losses = {name: flow(entry.node) for name, entry in child_map(source.root, "reserve", "survive").items()}
    rest = ", ".join(f"{name}: {nodes}" for name, nodes in losses.items() if name != where)
    if rest:
        return (("reserve.survive", f"{{{rest}}}"),)
    others = [f"{key}: {flow(entry.node)}" for key, entry in reserve.items() if key != "survive"]
    return (("reserve", f"{{{', '.join(others) or 'spare: {nodes: 0}'}}}"),)


def _share(source: Source, key: str, ppm: int, grid: range, full: Callable[[Reserve], Reserve]) -> Line:
    path = f"reserve.{key}"

    def loosened(scenario: Scenario) -> Scenario:
        return replace(scenario, reserve=full(scenario.reserve))

    steps = one(path, tuple(share(value) for value in grid if (value - ppm) * grid.step > 0))
    return Line(path, "reserve", source.written(path) or share(ppm), source.place(path), loosened, steps)


def _robust(source: Source, robust: Robust) -> Iterator[Line]:
    """The band that a plan must hold in: by how much traffic and long prompts may be off."""
    edits: dict[str, tuple[int, Callable[[Robust], Robust], Level]] = {
        "traffic": (robust.traffic_ppm, lambda r: replace(r, traffic_ppm=0), "rows"),
        "context_tail": (robust.context_tail_ppm, lambda r: replace(r, context_tail_ppm=0), "physics"),
    }
    for key, (ppm, none, level) in edits.items():
        if ppm:
            yield _band(source, f"robust.{key}", ppm, none, level)


def _band(source: Source, path: str, ppm: int, none: Callable[[Robust], Robust], level: Level) -> Line:
    def certain(scenario: Scenario) -> Scenario:
        return replace(scenario, robust=none(scenario.robust or Robust()))

    steps = one(path, tuple(f"+{share(value)}" for value in range((ppm - 1) // 10_000 * 10_000, -1, -10_000)))
    return Line(path, "reserve", source.written(path) or f"+{share(ppm)}", source.place(path), certain, steps, level)


def _moves(source: Source) -> Iterator[Line]:
    """How much of the running fleet may change, and what of it must stay."""
    for name, running in source.scenario.current.items():
        if running.keep:
            yield _kept(source, name)
    most, path = source.scenario.change.max_replicas_moved, "change.max_replicas_moved"
    if most is None:
        return

    def free(scenario: Scenario) -> Scenario:
        return replace(scenario, change=replace(scenario.change, max_replicas_moved=None))

    steps = one(path, counts_up(most, most + MORE_MOVES))
    yield Line(path, "limits", source.written(path) or str(most), source.place(path), free, steps)


def _kept(source: Source, name: str) -> Line:
    path = f"current.{name}.keep"

    def free(scenario: Scenario) -> Scenario:
        loose = replace(scenario.current[name], keep=())
        return replace(scenario, current={**scenario.current, name: loose})

    return Line(path, "limits", source.written(path) or "", source.place(path), free, one(path, ("[]",)))
