"""Time and failure in a stored plan: what could not be added up, or would take forever, is refused by name."""

from __future__ import annotations

from collections.abc import Iterator

from planner.candidates.losses import losses
from planner.candidates.situations import situations
from planner.plan.types import AfterLoss, Deployment, Plan, PoolPlan
from planner.scenario.calendar import WEEK_MINUTES, missing
from planner.scenario.types import HOURS_PER_MONTH, Pool, Scenario
from planner.units import MAX_INTEGER, MAX_MONTHS, MAX_NODES, MAX_SPOT_NODES, PPM

Broken = tuple[str, str, str]
"""The row's name, what the plan has, what the row allows."""

MOST_PERIODS = 100


def impossible_times(scenario: Scenario) -> list[Broken]:
    """Calendars, months and losses that no scenario file has."""
    return [*_calendar(scenario), *_months(scenario), *_losses(scenario)]


def _calendar(scenario: Scenario) -> Iterator[Broken]:
    calendar = scenario.calendar
    names = [name for name, _ in calendar.periods] if calendar else []
    spans = [span for _, own in calendar.periods for span in own] if calendar else []
    if calendar is not None:
        inside = all(0 <= start < end <= WEEK_MINUTES for start, end in spans)
        apart = inside and len(spans) <= 10 * MOST_PERIODS and sum(end - start for start, end in spans) == WEEK_MINUTES
        if not apart or missing(spans) or len(set(names)) != len(names) or not all(own for _, own in calendar.periods):
            yield "scenario.calendar.periods", ", ".join(names)[:80], "every minute of the week once"
    for name, traffic in scenario.traffic.items():
        at, batch = traffic.arrives_minute, traffic.slo.finish_within_us is not None
        if at is not None and not (batch and calendar is not None and 0 <= at < 24 * 60):
            yield f"scenario.traffic.{name}.arrives_minute", str(at), "a minute of the day of a batch in a calendar"
        if traffic.rates and [rate.period for rate in traffic.rates] != names:
            yield f"scenario.traffic.{name}.rates", str(len(traffic.rates)), "one rate for every period"
        for rate in traffic.rates:
            if not 0 <= rate.mean_rps <= rate.peak_rps:
                yield f"scenario.traffic.{name}.rates.{rate.period}", str(rate.peak_rps), "a peak of at least the mean"
        if traffic.rates and traffic.peak_rps != max(rate.peak_rps for rate in traffic.rates):
            yield f"scenario.traffic.{name}.peak_rps", str(traffic.peak_rps), "the highest rate of its periods"


def _months(scenario: Scenario) -> Iterator[Broken]:
    months = scenario.horizon_h / HOURS_PER_MONTH
    if scenario.monthly and (months.denominator != 1 or not 1 <= months <= MAX_MONTHS):
        yield "scenario.horizon_h", str(scenario.horizon_h)[:60], f"1 to {MAX_MONTHS} months of {HOURS_PER_MONTH} h"
    for name, traffic in scenario.traffic.items():
        path = f"scenario.traffic.{name}"
        table = traffic.growth_table_ppm
        if table and (len(table) != months or traffic.growth_ppm):
            yield f"{path}.growth_table_ppm", f"{len(table)} entries", "one a month, and no growth beside it"
        if any(not 0 <= part <= 100 * PPM for part in table):
            yield f"{path}.growth_table_ppm", "a share outside its range", f"0 to {100 * PPM}"
        if not -PPM // 2 <= traffic.growth_ppm <= PPM // 2:
            yield f"{path}.growth_ppm", str(traffic.growth_ppm), f"{-PPM // 2} to {PPM // 2}"
    for name, pool in scenario.inventory.items():
        for key, nodes in (("term_months", pool.available_nodes), ("notice_months", pool.committed_nodes)):
            value = getattr(pool, key)
            if value is not None and (not 1 <= value <= MAX_MONTHS or not nodes):
                yield (
                    f"scenario.inventory.{name}.{key}",
                    str(value),
                    f"1 to {MAX_MONTHS} months of nodes that there are",
                )


def _losses(scenario: Scenario) -> Iterator[Broken]:
    regions = {place for pool in scenario.inventory.values() for place in (pool.region, pool.zone) if place}
    seen = set()
    for where, nodes in scenario.reserve.survive:
        path = f"scenario.reserve.survive.{where}"
        if where in seen or (where in scenario.inventory) == (where in regions):
            yield path, where, "one pool, zone or region"
        elif nodes is None and where in scenario.inventory:
            pool = scenario.inventory[where]
            same = [p for p in scenario.inventory.values() if p.kind == pool.kind]
            if len(same) > 1:
                yield path, "all", "nodes of a pool that shares its kind"
        elif nodes is not None and (where in regions or not 1 <= nodes <= MAX_NODES):
            yield path, str(nodes), "1 or more nodes of a pool"
        seen.add(where)
    for name, pool in scenario.inventory.items():
        yield from _spot(f"scenario.inventory.{name}", pool)
    if scenario.reserve.spare_zones not in (0, 1):
        yield "scenario.reserve.spare_zones", str(scenario.reserve.spare_zones), "0 or 1"
    elif scenario.reserve.spare_zones and not all(pool.zone for pool in scenario.inventory.values()):
        yield "scenario.reserve.spare_zones", "pools without a zone", "a zone of every pool"
    for name, traffic in scenario.traffic.items():
        path = f"scenario.traffic.{name}"
        if not 0 <= traffic.shed_at_most_ppm <= (PPM if losses(scenario) else 0):
            yield f"{path}.shed_at_most_ppm", str(traffic.shed_at_most_ppm), f"0 to {PPM}, and 0 without a loss"
        if not 1 <= traffic.priority <= (MAX_INTEGER if traffic.shed_at_most_ppm else 1):
            yield f"{path}.priority", str(traffic.priority), "1 or more, and 1 where nothing is shed"


def _spot(path: str, pool: Pool) -> Iterator[Broken]:
    """Terms of spot nodes within what a file may say: they end the search for what can be counted on."""
    terms = pool.terms
    if terms is None:
        return
    if not pool.spot or pool.committed_nodes or pool.term_months:
        yield f"{path}.terms", "committed or bought nodes", "nodes of a spot pool, by the hour"
    if not 1 <= terms.availability_ppm <= PPM:
        yield f"{path}.terms.availability_ppm", str(terms.availability_ppm), f"1 to {PPM}"
    if not PPM // 2 <= terms.confidence_ppm < PPM:
        yield f"{path}.terms.confidence_ppm", str(terms.confidence_ppm), f"{PPM // 2} to {PPM - 1}"
    if terms.availability_ppm < PPM and pool.available_nodes > MAX_SPOT_NODES:
        yield f"{path}.available_nodes", str(pool.available_nodes), f"at most {MAX_SPOT_NODES} nodes"
    if not 0 <= terms.reclaim_nodes <= pool.available_nodes:
        yield f"{path}.terms.reclaim_nodes", str(terms.reclaim_nodes), f"0 to {pool.available_nodes} nodes"


def running_parts(plan: Plan) -> Iterator[tuple[str, dict[str, Deployment], dict[str, PoolPlan]]]:
    """(path, deployments, pools) of every situation of a plan over time."""
    for name, part in plan.time.situations.items() if plan.time is not None else ():
        yield f"time.situations.{name}.", part.deployments, part.pools


def impossible_blocks(plan: Plan) -> Iterator[Broken]:
    """A time block and losses that do not belong to the scenario."""
    if not plan.deployments and not plan.pools:
        return
    names = {situation.name for situation in situations(plan.scenario)} if plan.scenario.timed else set()
    stored = set(plan.time.situations) if plan.time else set()
    for name in sorted(names ^ stored):
        read, wanted = ("absent", "present") if name in names else ("present", "absent")
        yield f"time.situations.{name}", read, f"{wanted} by {_words_of_time(plan.scenario)}"
    if plan.time is not None and plan.scenario.timed:
        for name in sorted(set(plan.time.commitments) - set(plan.scenario.inventory)):
            yield f"time.commitments.{name}", "a pool", "no such pool in the scenario"
        for name, part in plan.time.situations.items():
            yield from _after(f"time.situations.{name}.", part.losses, part.deployments)
    yield from _after("", plan.losses, plan.deployments)


def _words_of_time(scenario: Scenario) -> str:
    """The lines of the scenario that make plans change over time."""
    words = ["calendar"] if scenario.calendar else []
    for name, traffic in scenario.traffic.items():
        words += [f"traffic.{name}.{key}" for key in ("growth_ppm", "growth_table_ppm") if getattr(traffic, key)]
    for name, pool in scenario.inventory.items():
        words += [f"inventory.{name}.{key}" for key in ("term_months", "notice_months") if getattr(pool, key)]
    return ", ".join(words) or "a scenario without a calendar and months"


def _after(path: str, losses: tuple[AfterLoss, ...], deployments: dict[str, Deployment]) -> Iterator[Broken]:
    for after in losses:
        if set(after.deployments) != set(deployments):
            yield f"{path}losses.{after.path}", ", ".join(after.deployments)[:80], "one row for every deployment"
