"""The lines of a scenario, and a small step of each: what one more node, request, millisecond or point would be.

A step changes one line by an amount that its reader thinks in. `loosen` steps leave every plan possible that was
possible before, `tighten` steps add none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from planner.explain.edits import Edit, put
from planner.explain.trials import Direction
from planner.plan.costs import power_mw
from planner.scenario.traffic import TrafficClass
from planner.scenario.types import HOURS_PER_MONTH, Scenario
from planner.scenario.written import duration, money, rate, share

POINT_PPM = 10_000
TENTH = Fraction(1, 10)
MS_US = 1_000
MICRO = 1_000_000


@dataclass(frozen=True)
class Step:
    """A line with another value. `before` and `after` are texts as a scenario writes them; `amount` says the step in
    words."""

    path: str
    direction: Direction
    amount: str
    before: str
    after: str
    edit: Edit


def steps(scenario: Scenario) -> Iterator[Step]:
    """A step in each direction of every line that has one, in the order stock, traffic, promises, quality, money,
    limits, models, reserve."""
    yield from _stock(scenario)
    yield from _all_rates(scenario)
    for name in sorted(scenario.traffic):
        yield from _rate(scenario.traffic[name])
    for name in sorted(scenario.traffic):
        yield from _promises(scenario.traffic[name])
    for name in sorted(scenario.traffic):
        yield from _shares(scenario.traffic[name])
    yield from _money(scenario)
    yield from _limits(scenario)
    yield from _models(scenario)
    yield from _reserve(scenario)


def _nodes(count: int) -> str:
    return f"{count} node{'' if count == 1 else 's'}"


def _stock(scenario: Scenario) -> Iterator[Step]:
    for name, each in sorted(scenario.inventory.items()):
        path, now, gpus = f"inventory.{name}.available", each.available_nodes, _gpus(each.gpus_per_node)
        more = put("inventory", name, "available_nodes", value=now + 1)
        yield Step(path, "loosen", f"one more node{gpus}", _nodes(now), _nodes(now + 1), more)
        if now:
            fewer = put("inventory", name, "available_nodes", value=now - 1)
            yield Step(path, "tighten", f"one node fewer{gpus}", _nodes(now), _nodes(now - 1), fewer)
        held = each.committed_nodes
        if held:
            edit = put("inventory", name, "committed_nodes", value=held - 1)
            path = f"inventory.{name}.committed"
            yield Step(path, "either", f"one node fewer{gpus}", _nodes(held), _nodes(held - 1), edit)


def _gpus(count: int) -> str:
    return f" ({count} GPUs)" if count > 1 else ""


def _all_rates(scenario: Scenario) -> Iterator[Step]:
    """A tenth more and less of everything that is asked."""
    for direction, factor, word in (("tighten", 1 + TENTH, "more"), ("loosen", 1 - TENTH, "less")):
        each = [_rate_step(traffic, "", "either", factor, "").edit for _, traffic in sorted(scenario.traffic.items())]
        way: Direction = "tighten" if direction == "tighten" else "loosen"
        edit = tuple(part for edits in each for part in edits)
        yield Step("traffic.*.peak", way, f"10% {word} of all traffic", "100%", f"{int(factor * 100)}%", edit)


def _rate(each: TrafficClass) -> Iterator[Step]:
    """One request per second more and less; a tenth where a class asks for one a second or less, or for so many a
    day."""
    peak, path = each.peak_rps, f"traffic.{each.name}.peak"
    if each.slo.finish_within_us is not None:
        yield _rate_step(each, f"traffic.{each.name}.requests", "tighten", Fraction(11, 10), "10% more requests")
        yield _rate_step(each, f"traffic.{each.name}.requests", "loosen", Fraction(9, 10), "10% fewer requests")
        return
    path = f"traffic.{each.name}.rate" if each.rates else path
    yield _rate_step(each, path, "tighten", (peak + 1) / peak, "1 req/s more")
    less = (peak - 1) / peak if peak > 1 else 1 - TENTH
    yield _rate_step(each, path, "loosen", less, "1 req/s less" if peak > 1 else "10% less")


def _rate_step(each: TrafficClass, path: str, direction: Direction, factor: Fraction, amount: str) -> Step:
    if each.slo.finish_within_us is not None:
        before, after = (f"{_plain(each.mean_rps * part * 86_400)}/day" for part in (Fraction(1), factor))
    else:
        before, after = (_rate_text(each.peak_rps * part) for part in (Fraction(1), factor))
    rates = tuple(
        replace(r, peak_rps=r.peak_rps * factor, mean_rps=min(r.mean_rps, r.peak_rps * factor)) for r in each.rates
    )
    # What a class asks on average prices its tokens and sizes nothing: it stays as far as the peak allows.
    peak = each.peak_rps * factor
    mean = each.mean_rps * factor if each.slo.finish_within_us is not None else min(each.mean_rps, peak)
    edit = tuple(
        part
        for field, value in (("peak_rps", peak), ("mean_rps", mean), ("rates", rates))
        for part in put("traffic", each.name, field, value=value)
    )
    return Step(path, direction, amount, before, after, edit)


def _rate_text(value: Fraction) -> str:
    return rate(Fraction(round(value * 1_000_000), 1_000_000))


def _plain(value: Fraction) -> str:
    return f"{float(value):,.6g}" if value.denominator != 1 else f"{int(value):,}"


def _promises(each: TrafficClass) -> Iterator[Step]:
    for field, name, now in (
        ("ttft_p95_us", "ttft_p95", each.slo.ttft_p95_us),
        ("tpot_p95_us", "tpot_p95", each.slo.tpot_p95_us),
    ):
        if now is None:
            continue
        path = f"traffic.{each.name}.slo.{name}"
        for change, amount in ((MS_US, "1 ms"), (now // 10 // MS_US * MS_US, "10%")):
            if amount == "10%" and change <= MS_US:
                continue
            more = put("traffic", each.name, "slo", field, value=now + change)
            yield Step(path, "loosen", f"{amount} more", duration(now), duration(now + change), more)
            if now > change:
                less = put("traffic", each.name, "slo", field, value=now - change)
                yield Step(path, "tighten", f"{amount} less", duration(now), duration(now - change), less)


def _shares(each: TrafficClass) -> Iterator[Step]:
    """Quality floors by a point, promised shares by a tenth of one."""
    floor, tenth = each.quality, POINT_PPM // 10
    for keys, now, change in (
        (("quality", "max_accuracy_drop"), floor.max_accuracy_drop_ppm, POINT_PPM),
        (("quality", "max_ppl_increase"), floor.max_ppl_increase_ppm, POINT_PPM),
        (("rejected_at_most",), each.rejected_at_most_ppm or None, tenth),
        (("cut_short_at_most",), each.cut_short_at_most_ppm or None, tenth),
    ):
        if now is None:
            continue
        path, last = ".".join(("traffic", each.name, *keys)), f"{keys[-1]}_ppm"
        more = put("traffic", each.name, *keys[:-1], last, value=now + change)
        yield _share_step(path, "loosen", now, now + change, more)
        if now:
            less = put("traffic", each.name, *keys[:-1], last, value=max(0, now - change))
            yield _share_step(path, "tighten", now, max(0, now - change), less)


def _share_step(path: str, direction: Direction, now: int, value: int, edit: Edit) -> Step:
    points = Fraction(abs(value - now), POINT_PPM)
    amount = f"{float(points):g} {'point' if points == 1 else 'points'} {'more' if value > now else 'less'}"
    return Step(path, direction, amount, share(now), share(value), edit)


def _money(scenario: Scenario) -> Iterator[Step]:
    """What one node takes more: the cheapest for money, the smallest for power."""
    now, least = scenario.budget, min(pool.price_micro_per_node_h for pool in scenario.inventory.values())
    for field, name, value, node in (
        ("monthly_micro", "budget.monthly", now.monthly_micro, least * HOURS_PER_MONTH),
        ("total_micro", "budget.total", now.total_micro, int(least * scenario.horizon_h)),
    ):
        if value is not None and node:
            amount = f"{_money_text(scenario, node).replace('_', ',')} more"
            before, after = _money_text(scenario, value), _money_text(scenario, value + node)
            yield Step(name, "loosen", amount, before, after, put("budget", field, value=value + node))
    if now.power_mw is not None:
        node = int(min(power_mw(scenario, {name: 1}) for name in scenario.inventory))
        before, after = (f"{value / MICRO:g}kW" for value in (now.power_mw, now.power_mw + node))
        edit = put("budget", "power_mw", value=now.power_mw + node)
        yield Step("budget.power", "loosen", f"{node / 1000:,g} W more", before, after, edit)


def _money_text(scenario: Scenario, micro: int) -> str:
    return money(micro, scenario.currency)


def _limits(scenario: Scenario) -> Iterator[Step]:
    for name, each in sorted(scenario.limits.items()):
        node = min((amount for _, amount in each.per_node if amount > 0), default=Fraction(0))
        if node:
            edit = put("limits", name, "max", value=each.max + node)
            before, after = _plain(each.max), _plain(each.max + node)
            yield Step(f"limits.{name}.max", "loosen", f"{_plain(node)} more", before, after, edit)


def _models(scenario: Scenario) -> Iterator[Step]:
    for name, each in sorted(scenario.models.items()):
        least, most, kinds = each.replicas.min, each.replicas.max, each.max_configurations
        if least:
            edit = put("models", name, "replicas", "min", value=least - 1)
            yield Step(f"models.{name}.replicas.min", "loosen", "one replica fewer", str(least), str(least - 1), edit)
        if most is not None:
            edit = put("models", name, "replicas", "max", value=most + 1)
            yield Step(f"models.{name}.replicas.max", "loosen", "one replica more", str(most), str(most + 1), edit)
        if kinds is not None:
            edit = put("models", name, "max_configurations", value=kinds + 1)
            path = f"models.{name}.max_configurations"
            yield Step(path, "loosen", "one more", str(kinds), str(kinds + 1), edit)


def _reserve(scenario: Scenario) -> Iterator[Step]:
    now = scenario.reserve
    for field, word, value in (
        ("spare_nodes", "nodes", now.spare_nodes),
        ("spare_replicas", "replicas", now.spare_replicas),
    ):
        for count in (value + 1, value - 1) if value else ():
            edit = put("reserve", field, value=count)
            way: Direction = "tighten" if count > value else "loosen"
            amount = f"one {'more' if count > value else 'fewer'} of the {word}"
            yield Step("reserve.spare", way, amount, f"{{{word}: {value}}}", f"{{{word}: {count}}}", edit)
    if now.utilization_ppm + POINT_PPM <= MICRO:
        value = now.utilization_ppm + POINT_PPM
        edit = put("reserve", "utilization_ppm", value=value)
        yield _share_step("reserve.utilization", "loosen", now.utilization_ppm, value, edit)
    if now.kv_headroom_ppm >= POINT_PPM:
        value = now.kv_headroom_ppm - POINT_PPM
        edit = put("reserve", "kv_headroom_ppm", value=value)
        yield _share_step("reserve.kv_headroom", "loosen", now.kv_headroom_ppm, value, edit)
