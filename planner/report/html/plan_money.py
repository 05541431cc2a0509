"""Money: what is bought of each pool, who it is for, and what a budget round asks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from planner.plan.money import decimal, money
from planner.plan.types import Plan
from planner.report import numbers
from planner.report.html.blocks import Align, Cell, Datum, Section, Table, plural, table
from planner.scenario.types import HOURS_PER_MONTH, Pool

STALE_DAYS = 90
"""Prices read longer ago are marked; a judgement, since list prices move a few times a year."""

MICRO = 1_000_000
NONE = "-"

USES = (("busy", "var(--c1)"), ("spare", "var(--c4)"), ("idle", "var(--c2)"))


@dataclass(frozen=True)
class Split:
    """A pool's GPUs and cost a month by contract and use, in micro-units. Committed nodes are filled first."""

    committed_used: int
    committed_stranded: int
    on_demand_used: int
    on_demand_idle: int


def split(pool: Pool, nodes: int, used_gpus: int) -> Split:
    """Where a pool's money goes: committed nodes are filled first, what nothing runs on there is stranded."""
    committed = pool.committed_nodes * pool.gpus_per_node
    bought = nodes * pool.gpus_per_node
    on_committed = min(used_gpus, committed)
    on_demand = used_gpus - on_committed
    month = pool.price_micro_per_gpu_h * HOURS_PER_MONTH
    return Split(
        on_committed * month,
        (committed - on_committed) * month,
        on_demand * month,
        max(0, bought - committed - on_demand) * month,
    )


def cost(plan: Plan, most: int) -> Section:
    """Cost by pool and by model, with the owner's total."""
    from planner.report.html import charts

    assert plan.totals is not None
    currency = plan.scenario.currency
    bought = [(name, pool) for name, pool in plan.pools.items() if pool.nodes]
    data: list[Datum] = []
    for name, pool in bought[: charts.MOST_BARS]:
        month = plan.scenario.inventory[name].price_micro_per_gpu_h * HOURS_PER_MONTH
        for part, gpus in (("busy", pool.gpus_busy), ("spare", pool.gpus_spare), ("idle", pool.gpus_idle)):
            text = f"{_shown(gpus * month, currency)} ({plural(gpus, 'GPU')})"
            data.append({"row": name, "part": part, "value": gpus * month / MICRO, "text": text})
    shown = (
        [
            charts.stacked_bars(
                "chart-pools",
                "Cost a month by pool",
                f"Stacked bars of the monthly cost of {plural(len(bought), 'pool')} by what the GPUs do.",
                data,
                series=USES,
                axis=f"{currency} a month",
                label="pool",
            )
        ]
        if bought
        else []
    )
    models = _by_model(plan)
    if any(micro for _, micro, _, _ in models):
        parts: list[Datum] = [
            {"row": name, "part": "cost", "value": float(micro / MICRO), "text": _shown(micro, currency)}
            for name, micro, _, _ in models[: charts.MOST_BARS]
        ]
        shown.append(
            charts.stacked_bars(
                "chart-models",
                "Cost a month by model",
                f"Bars of the monthly cost of {plural(len(models), 'row')}: each model's share of the busy GPUs, "
                "and what no model uses.",
                parts,
                series=(("cost", "var(--c1)"),),
                axis=f"{currency} a month",
                label="model",
            )
        )
    return Section(
        "cost",
        "Cost by pool and by owner",
        charts=tuple(shown),
        tables=(_pools(plan, most), _models(plan, models, most)),
        origin="Prices are the scenario's, with their sources under Origin; cost is what is bought, used or not.",
    )


def _shown(micro: Fraction | int, currency: str) -> str:
    return numbers.money(decimal(Fraction(micro, MICRO)), currency)


def _pools(plan: Plan, most: int) -> Table:
    currency = plan.scenario.currency
    heads: list[tuple[str, Align]] = [
        ("pool", "left"), ("GPU", "left"), ("region", "left"), ("nodes", "right"),
        ("busy + spare + idle GPUs", "right"), ("price/GPU/h", "right"), ("per month", "right"),
    ]  # fmt: skip
    rows: list[Sequence[Cell | str]] = [
        (
            name, pool.gpu, pool.place, numbers.nodes(pool),
            f"{pool.gpus_busy} + {pool.gpus_spare} + {pool.gpus_idle}" if pool.nodes else NONE,
            numbers.price(pool.price_per_gpu_h, currency), numbers.money(pool.cost_per_month, currency),
        )
        for name, pool in plan.pools.items()
    ]  # fmt: skip
    assert plan.totals is not None
    total = f"{plan.totals.gpus_busy} + {plan.totals.gpus_spare} + {plan.totals.gpus_idle}"
    rows.append((Cell("all pools"), "", "", "", total, "", numbers.money(plan.totals.cost_per_month, currency)))
    return table("Pools", heads, rows, most)


def _by_model(plan: Plan) -> list[tuple[str, Fraction, str, str | None]]:
    """(name, micro-units a month, tokens a month, cost per million tokens), then what no model uses."""
    assert plan.totals is not None
    rows = [
        (name, Fraction(c.cost_per_month) * MICRO, c.tokens_per_month, c.cost_per_million_tokens)
        for name, c in plan.models.items()
    ]
    rest = Fraction(plan.totals.cost_per_month) * MICRO - sum((row[1] for row in rows), Fraction(0))
    if abs(rest) >= MICRO // 100:
        rows.append(("pools that no model runs on", rest, "", None))
    return rows


def _models(plan: Plan, rows: list[tuple[str, Fraction, str, str | None]], most: int) -> Table:
    assert plan.totals is not None
    currency, owner = plan.scenario.currency, plan.scenario.owner or NONE
    heads: list[tuple[str, Align]] = [
        ("model", "left"), ("owner", "left"), ("per month", "right"), ("tokens a month", "right"),
        ("per million tokens", "right"),
    ]  # fmt: skip
    cells: list[Sequence[Cell | str]] = [
        (
            name, owner, _shown(micro, currency), f"{round(Fraction(tokens)):,}" if tokens else NONE,
            numbers.money(each, currency) if each is not None else NONE,
        )
        for name, micro, tokens, each in rows
    ]  # fmt: skip
    each = plan.totals.cost_per_million_tokens
    total = numbers.money(plan.totals.cost_per_month, currency)
    cells.append(("all", owner, total, "", numbers.money(each, currency) if each is not None else NONE))
    note = "A scenario has one owner; a pool's cost goes to models by their share of its busy GPUs."
    return table("Models and their owner", heads, cells, most, note=note)


def budget_round(plan: Plan, as_of: date, most: int) -> Section:
    """Committed, on-demand and stranded money apart; prices, their age, and what a commitment must run to pay."""
    points = (
        "A month is 730 hours (8,760 / 12) everywhere on this page.",
        "Taxes, network, storage and people are not included.",
        "Stranded: committed GPUs on which nothing runs and that no spare rule asks for; they are paid all the same.",
        "Contract terms, notice periods and upfront payments are not in this plan.",
    )
    return Section(
        "budget-round",
        "For the budget round",
        tables=(_apart(plan, most), _prices(plan, as_of, most), _break_even(plan, most)),
        points=points,
        origin="Pools, prices and sources of the scenario; hours by the convention above.",
    )


def _apart(plan: Plan, most: int) -> Table:
    currency = plan.scenario.currency
    heads: list[tuple[str, Align]] = [
        ("pool", "left"), ("committed, used", "right"), ("committed, stranded", "right"),
        ("on demand, used", "right"), ("on demand, idle", "right"), ("per month", "right"),
    ]  # fmt: skip
    rows: list[Sequence[Cell | str]] = []
    sums = [0, 0, 0, 0]
    for name, pool in plan.pools.items():
        parts = split(plan.scenario.inventory[name], pool.nodes, pool.gpus_busy + pool.gpus_spare)
        values = [parts.committed_used, parts.committed_stranded, parts.on_demand_used, parts.on_demand_idle]
        sums = [total + value for total, value in zip(sums, values, strict=True)]
        rows.append((name, *_amounts(values, currency), numbers.money(pool.cost_per_month, currency)))
    assert plan.totals is not None
    rows.append(("all pools", *_amounts(sums, currency), numbers.money(plan.totals.cost_per_month, currency)))
    return table("Committed, on-demand and stranded money a month", heads, rows, most)


def _amounts(values: Sequence[int], currency: str) -> list[Cell]:
    """Money cells; stranded money is marked."""
    return [
        Cell(_shown(value, currency), "bad" if position == 1 and value else "") for position, value in enumerate(values)
    ]


def _prices(plan: Plan, as_of: date, most: int) -> Table:
    currency = plan.scenario.currency
    heads: list[tuple[str, Align]] = [
        ("pool", "left"), ("net price/GPU/h", "right"), ("list price", "left"), ("discount", "left"),
        ("price age", "left"), ("source", "left"),
    ]  # fmt: skip
    rows: list[Sequence[Cell | str]] = []
    for name, pool in plan.pools.items():
        source = plan.scenario.inventory[name].source
        price = numbers.price(pool.price_per_gpu_h, currency)
        rows.append((name, price, "not in this plan", "not in this plan", _age(source, as_of), source))
    note = (
        f"Net is the price that the scenario states and the plan pays. Ages are to {as_of.isoformat()}, from the last "
        f"date in the source; more than {STALE_DAYS} days is marked."
    )
    return table("List, discount, net, and how old prices are", heads, rows, most, note=note)


def price_date(source: str) -> date | None:
    """The last ISO date in a price's source.

    >>> price_date("contract of 2025-01-31, read 2026-11-22")
    datetime.date(2026, 11, 22)
    """
    found = []
    for text in re.findall(r"(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)", source):
        try:
            found.append(date.fromisoformat(text))
        except ValueError:  # 2026-13-40 is no date
            continue
    return max(found, default=None)


def _age(source: str, as_of: date) -> Cell:
    read = price_date(source)
    if read is None:
        return Cell("unknown: the source names no date", "warn")
    days = (as_of - read).days
    if days < 0:
        return Cell(f"dated {read.isoformat()}, after this page", "warn")
    stale = days > STALE_DAYS
    return Cell(f"{plural(days, 'day')}{', old' if stale else ''}", "warn" if stale else "")


def _break_even(plan: Plan, most: int) -> Table:
    currency = plan.scenario.currency
    heads: list[tuple[str, Align]] = [
        ("commitment", "left"), ("committed price", "right"), ("on-demand pool", "left"),
        ("its price", "right"), ("break-even hours a month", "right"), ("share of the month", "right"),
    ]  # fmt: skip
    rows: list[Sequence[Cell | str]] = []
    for pool in plan.scenario.inventory.values():
        if not pool.committed_nodes:
            continue
        mine = numbers.price(money(pool.price_micro_per_gpu_h), currency)
        other = _on_demand(plan, pool)
        if other is None:
            rows.append((pool.name, mine, "none in this scenario", NONE, NONE, NONE))
            continue
        hours = break_even_hours(pool, other)
        theirs = numbers.price(money(other.price_micro_per_gpu_h), currency)
        where = other.name if other.region == pool.region else f"{other.name} ({other.region})"
        shown = "never: not cheaper" if hours is None else f"{decimal(hours, 1, 1)} h"
        share = NONE if hours is None else numbers.percent(round(hours / HOURS_PER_MONTH * MICRO))
        rows.append((pool.name, mine, where, theirs, Cell(shown, "warn" if hours is None else ""), share))
    note = (
        "The cheapest on-demand pool of the same GPU. A committed GPU is paid 730 h a month; used for more hours than "
        "break-even, it is cheaper than on demand."
    )
    if not rows:
        rows.append(("no pool is committed", NONE, NONE, NONE, NONE, NONE))
    return table("Break-even hours of commitments", heads, rows, most, note=note)


def break_even_hours(committed: Pool, on_demand: Pool) -> Fraction | None:
    """Hours of use a month from which a commitment is cheaper: 730 x committed price / on-demand price.

    None where that is the whole month or more.
    """
    if on_demand.price_micro_per_gpu_h <= committed.price_micro_per_gpu_h:
        return None
    return Fraction(HOURS_PER_MONTH * committed.price_micro_per_gpu_h, on_demand.price_micro_per_gpu_h)


def _on_demand(plan: Plan, pool: Pool) -> Pool | None:
    """The cheapest pool of the same GPU that is bought by the hour and not reclaimed, the same region first."""
    others = [
        other
        for other in plan.scenario.inventory.values()
        if other.gpu.id == pool.gpu.id and not other.committed_nodes and other.available_nodes and not other.spot
    ]
    return min(others, key=lambda o: (o.region != pool.region, o.price_micro_per_gpu_h, o.name), default=None)
