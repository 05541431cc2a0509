"""Why there is no plan, in the user's words."""

from __future__ import annotations

import re
from fractions import Fraction

from planner.candidates import CandidateTable, Rejection
from planner.candidates.fleet import running_start, start_of
from planner.candidates.groups import pool_groups
from planner.candidates.shortfall import shortfall
from planner.plan.money import MICRO, decimal
from planner.plan.types import Conflict
from planner.scenario.types import Scenario

MOST_REASONS = 4

_TIME = re.compile(r"t[tp][fo]t_p95 ([0-9]+)ms")


def unserved(scenario: Scenario, table: CandidateTable) -> tuple[Conflict, ...]:
    """Bands that no configuration may serve: the reasons, commonest first, and the nearest value that would do."""
    served = {k for candidate in table.candidates for k, _ in candidate.loads}
    lost: dict[str, list[str]] = {}
    for demand in table.demands:
        if not served.intersection(demand.items):
            lost.setdefault(demand.class_name, []).append(demand.name)
    return tuple(
        Conflict(
            path=f"traffic.{name}",
            message=f"no configuration of {scenario.traffic[name].model} serves {', '.join(bands)}: "
            + "; ".join(_with_shortfall(scenario, _reasons(table, scenario.traffic[name].model, name), name)),
            repair=_nearest(table, scenario.traffic[name].model, name),
        )
        for name, bands in sorted(lost.items())
    )


def unkept(scenario: Scenario, table: CandidateTable) -> tuple[Conflict, ...]:
    """Replicas that must stay and cannot run under this scenario: the reasons, and the nearest value that would do."""
    kept = {name: running_start(scenario, each) for name, each in scenario.current.items() if "replicas" in each.keep}
    if not kept or scenario.as_is:
        return ()
    groups = pool_groups(scenario)
    runs = {start_of(each, group) for each in table.candidates for group in groups if group.gpu == each.config.gpu}
    return tuple(
        Conflict(
            path=f"current.{name}.keep",
            message="replicas that must stay cannot run: " + "; ".join(f"{r.subject}: {r.message}" for r in own),
            repair=next((r.nearest for r in own if r.nearest), None),
        )
        for name, start in kept.items()
        if start not in runs and (own := [r for r in table.rejections if r.subject.split(" ")[0] == f"current.{name}"])
    )


def _with_shortfall(scenario: Scenario, reasons: list[str], class_name: str) -> list[str]:
    """The reasons, and first how much smaller KV would have to be where memory holds no request at all."""
    short = shortfall(scenario, scenario.traffic[class_name].model)
    return [short, *reasons] if short else reasons


def stands_in_the_way(scenario: Scenario, path: str, kind: str, needed: Fraction | None) -> Conflict:
    """A limit that leaves no plan, with what a plan would need; values are rounded up to what can be written."""
    if kind == "together":
        message = "no single line stands in the way, several do at once (stock, quotas, budget, power, spare, replicas)"
        if needed is not None:
            message += f"; with none of them a plan costs {_money_up(scenario, needed).replace('_', ',')} a month"
        return Conflict(path, message, None)
    if path.startswith("inventory.") and needed is None:
        return Conflict(path, "with more nodes of this pool there is a plan", None)
    if kind == "none" or needed is None:
        return Conflict(path, "without this line there is a plan", None)
    limit, value = _limit_and_need(scenario, path, kind, needed)
    spoken = value.replace("_", ",")
    return Conflict(path, f"any plan needs at least {spoken} (limit {limit.replace('_', ',')})", f"{path}: {value}")


def _limit_and_need(scenario: Scenario, path: str, kind: str, needed: Fraction) -> tuple[str, str]:
    if kind == "money":
        budget = scenario.budget
        limit = budget.total_micro if path == "budget.total" else budget.monthly_micro
        assert limit is not None
        return _money_up(scenario, Fraction(limit)), _money_up(scenario, needed)
    if kind == "power":
        assert scenario.budget.power_mw is not None
        return f"{decimal(Fraction(scenario.budget.power_mw, MICRO), 6, 0)}kW", f"{decimal(needed / MICRO, 6, 0)}kW"
    name = path.split(".")[1]
    if kind == "nodes":
        pool = scenario.inventory[name]
        extra = needed - (pool.committed_nodes if pool.available_nodes else 0)
        offered = pool.available_nodes or pool.committed_nodes
        return _nodes(Fraction(offered)), _nodes(extra)
    return decimal(scenario.limits[name].max, 6, 0), decimal(needed, 6, 0)


def _nodes(count: Fraction) -> str:
    return f"{count} node" if count == 1 else f"{count} nodes"


def _money_up(scenario: Scenario, micro: Fraction) -> str:
    """Whole cents, rounded up, as the scenario writes money."""
    cents = -(-micro // 10_000)
    return f"{scenario.currency}{int(cents) // 100:,}.{int(cents) % 100:02d}".replace(",", "_")


def _relevant(table: CandidateTable, model: str, class_name: str) -> list[Rejection]:
    own = [r for r in table.rejections if r.model == model and r.class_name in (None, class_name)]
    return sorted(own, key=lambda r: (r.class_name is None, -r.count, r.subject))


def _reasons(table: CandidateTable, model: str, class_name: str) -> list[str]:
    own = _relevant(table, model, class_name)
    texts = [f"{r.subject}: {r.message}" for r in own[:MOST_REASONS]]
    if len(own) > MOST_REASONS:
        texts.append(f"and {len(own) - MOST_REASONS} more reasons (--show-candidates)")
    return texts or ["no pool has a GPU that the scenario's choices fit on"]


def _nearest(table: CandidateTable, model: str, class_name: str) -> str | None:
    """What would do, by the commonest kind of reason; of several times the least."""
    own = [r for r in _relevant(table, model, class_name) if r.nearest]
    specific = [r for r in own if r.class_name == class_name] or own
    if not specific:
        return None
    texts = [r.nearest for r in specific if r.bottleneck is specific[0].bottleneck and r.nearest]
    times = {int(found[1]): text for text in texts if (found := _TIME.fullmatch(text))}
    return times[min(times)] if len(times) == len(set(texts)) else texts[0]
