"""The fleet that runs, judged: what it keeps of a scenario, what it breaks and by how much, and what it costs.

A plan of exactly the running replicas keeps everything: then its own limits are the judgement
(`planner.plan.standing`). Where there is none, each promise and limit is held against the fleet by itself: money and
quotas on the nodes that it takes, traffic by the least load that its replicas can share (`planner.solver.overload`),
promises by what the overloaded ones could keep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from planner.candidates import CandidateTable, build_table
from planner.candidates.fleet import running_start
from planner.candidates.groups import pool_groups
from planner.candidates.losses import Loss, losses
from planner.candidates.regions import may_run
from planner.candidates.situations import situations, table_at
from planner.candidates.spot import asked_for, counted, most_counted
from planner.plan.as_is import AsIs, Judged
from planner.plan.conflicts import unserved
from planner.plan.limits import limit_rows
from planner.plan.money import money
from planner.plan.standing import PERCENT, held, loads
from planner.scenario.types import HOURS_PER_MONTH, Budget, ReplicaLimits, Scenario
from planner.solver.build import build_program
from planner.solver.overload import LeastLoad, least_load
from planner.solver.program import Program
from planner.solver.today import nodes_taken

if TYPE_CHECKING:
    from planner.plan.types import Plan

LOOSER = Fraction(115, 100)
STEPS_MAX = 12
"""Promises are loosened in steps of 15 %, up to five times what they are, to find what an overloaded fleet keeps."""

Solve = Callable[[Scenario], "Plan"]
"""The plan document of a scenario, not sealed."""


def broken(scenario: Scenario, status: str, solve: Solve) -> AsIs:
    """The judgement of a fleet that no plan keeps everything with."""
    nodes, spare = _nodes(scenario)
    per_h = sum(scenario.inventory[name].price_micro_per_node_h * count for name, count in nodes.items())
    gpus = sum(scenario.inventory[name].gpus_per_node * count for name, count in nodes.items())
    judge = _Judge(scenario, solve)
    rows = [*judge.traffic(), *judge.losses(), *spare, *_counts(scenario), *_limits(scenario, nodes)]
    if status == "infeasible" and all(row.holds for row in rows):
        text = "each promise and limit can be kept by itself, and no routing over whole replicas keeps all at once"
        rows.append(Judged("current", False, None, None, "", text))
    taken = {name: count for name, count in nodes.items() if count}
    return AsIs(False, status == "infeasible", taken, gpus, money(per_h * HOURS_PER_MONTH), tuple(rows))


def _nodes(scenario: Scenario) -> tuple[dict[str, int], list[Judged]]:
    """Nodes of every pool: those that are paid anyway, those that replicas stand on, and spare ones where the group
    still offers some, the cheapest first."""
    nodes, rows = {}, []
    for pool in scenario.inventory.values():
        taken, most = nodes_taken(scenario, pool), most_counted(pool)
        asked = asked_for(pool, taken) if taken <= most else pool.committed_nodes + pool.available_nodes
        nodes[pool.name] = max(pool.committed_nodes, asked)
        if taken > most:
            text = "that replicas stand on, of those that can be counted on"
            rows.append(Judged(f"inventory.{pool.name}", False, Fraction(taken), Fraction(most), "nodes", text))
    for group in pool_groups(scenario) if scenario.reserve.spare_nodes else ():
        taken = sum(nodes_taken(scenario, pool) for pool in group.pools)
        free = sum(counted(pool, nodes[pool.name]) for pool in group.pools) - taken
        for pool in sorted(group.pools, key=lambda each: (each.price_micro_per_gpu_h, each.name)) if taken else ():
            most = pool.committed_nodes + pool.available_nodes
            while free < scenario.reserve.spare_nodes and nodes[pool.name] < most:
                before = counted(pool, nodes[pool.name])
                nodes[pool.name] += 1
                free += counted(pool, nodes[pool.name]) - before
        if taken:
            wanted = Fraction(scenario.reserve.spare_nodes)
            text = f"of {group.gpu} in {group.region}, beyond the {taken} that replicas take"
            holds = free >= wanted
            rows.append(Judged("reserve.spare", holds, Fraction(free), wanted, "spare nodes", text))
    return nodes, rows


def _limits(scenario: Scenario, nodes: dict[str, int]) -> Iterator[Judged]:
    """Budgets and quotas on the nodes that the fleet takes."""
    for row in limit_rows(scenario, nodes, {}):
        if row.path.startswith(("budget.", "limits.")):
            yield held(row)


def _counts(scenario: Scenario) -> Iterator[Judged]:
    """Replicas and configurations of every model against its own limits."""
    for name, model in sorted(scenario.models.items()):
        own = [each for each in scenario.current.values() if each.model == name]
        count = Fraction(sum(each.replicas for each in own))
        if model.replicas.min:
            least = Fraction(model.replicas.min)
            yield Judged(f"models.{name}.replicas.min", count >= least, count, least, "replicas", "")
        if model.replicas.max is not None:
            most = Fraction(model.replicas.max)
            yield Judged(f"models.{name}.replicas.max", count <= most, count, most, "replicas", "")
        if model.max_configurations is not None:
            starts = {replace(running_start(scenario, each), region="", gpus_per_node=0) for each in own}
            most = Fraction(model.max_configurations)
            holds = len(starts) <= most
            yield Judged(f"models.{name}.max_configurations", holds, Fraction(len(starts)), most, "", "")


@dataclass
class _Judge:
    """Traffic against a fixed fleet, in every situation of the scenario."""

    scenario: Scenario
    solve: Solve

    def traffic(self) -> list[Judged]:
        """Promises of every class: what they are at the fleet's load where it carries it, else how far it is off."""
        bare = _bare(self.scenario)
        plan = self.solve(bare)
        if plan.deployments:
            return [*loads(plan), *(held(row) for row in plan.limits if row.path.startswith("traffic."))]
        rows: dict[str, Judged] = {}
        over: dict[str, int] = {}
        for name, situation, table in _moments(bare):
            program = build_program(situation, table)
            for row in self._asked(name, situation, table, program):
                _worst(rows, row)
            for model in sorted(situation.models):
                if (least := self._least(program, model)).load is not None and least.load > 1:
                    over[model] = 0
        could = list(self._could_keep(bare, tuple(over)))
        for row in could:
            _worst(rows, row)
        if over and not could:
            promised = [each for each in bare.traffic.values() if each.slo.ttft_p95_us or each.slo.tpot_p95_us]
            hopeless = [f"traffic.{each.name}." for each in promised if each.model in over]
            return [_hopeless(row) if row.path.startswith(tuple(hopeless)) else row for row in rows.values()]
        return list(rows.values())

    def losses(self) -> Iterator[Judged]:
        """What is asked after every loss, and with the spare replicas gone."""
        reserve = self.scenario.reserve
        found: dict[str, Judged] = {}
        for name, situation, table in _moments(_bare(self.scenario)):
            program = build_program(situation, table)
            for model in sorted(situation.models):
                if reserve.spare_replicas:
                    left = {i: start.least - reserve.spare_replicas for i, start in enumerate(program.starts)}
                    row = _after(name, "reserve.spare", model, least_load(program, model, left))
                    _worst(found, row)
                for loss in losses(self.scenario):
                    left = self._left(program, situation, loss)
                    shed = _shed(situation, table, model)
                    _worst(found, _after(name, loss.path, model, least_load(program, model, left, shed)))
        yield from found.values()

    def _least(self, program: Program, model: str) -> LeastLoad:
        return least_load(program, model, {i: start.least for i, start in enumerate(program.starts)})

    def _left(self, program: Program, situation: Scenario, loss: Loss) -> dict[int, int]:
        """Replicas of every start after a loss."""
        groups, left = pool_groups(situation), {}
        for index, start in enumerate(program.starts):
            column = program.columns[start.columns[0]] if start.columns else None
            gone = loss.replicas(groups[column.group], column.gpus, start.least) if column else 0
            left[index] = start.least - gone
        return left

    def _asked(self, name: str, situation: Scenario, table: CandidateTable, program: Program) -> Iterator[Judged]:
        """What the traffic of one situation asks of the replicas of its model, and shares that cannot be kept."""
        nowhere = set()
        for conflict in unserved(situation, table):
            nowhere.add(conflict.path)
            text = conflict.message + (f"; nearest: {conflict.repair}" if conflict.repair else "")
            yield Judged(conflict.path, False, None, None, "", _in(name, text))
        for model in sorted(situation.models):
            least = self._least(program, model)
            for place, used in least.shares:
                limit = program.share_limits[place]
                whole = Fraction(limit.max or 1)
                asked = _promised(situation, limit.name)
                used_percent = used / whole * asked if limit.max else used
                yield Judged(limit.name, False, used_percent, asked, "%", _in(name, "at the least"))
            without = {program.demand_rows[d].name.partition("[")[0] for d in least.unserved}
            for class_name in sorted(without - {path.split(".")[1] for path in nowhere}):
                if (row := _too_far(name, situation, class_name)) is not None:
                    yield row
            if least.load is None:
                continue
            for traffic in situation.traffic.values():
                if traffic.model == model and traffic.name not in without:
                    used = least.load * PERCENT
                    text = f"of what the replicas of {model} carry within their promises, shared as well as can be"
                    path = f"traffic.{traffic.name}.{_rate_word(self.scenario, traffic.name)}"
                    yield Judged(path, used <= PERCENT, used, PERCENT, "%", _in(name, text))

    def _could_keep(self, bare: Scenario, models: tuple[str, ...]) -> Iterator[Judged]:
        """TTFT and TPOT that overloaded replicas could keep, from the least loosening at which they carry the load."""
        looser = bare
        for model in models:
            step = self._loosened(bare, model)
            if step is None:
                return
            looser = _looser(looser, model, step)
        plan = self.solve(looser) if models else None
        for row in plan.limits if plan is not None and plan.deployments else ():
            word = row.path.rpartition(".")[2]
            if ".slo." in row.path and self.scenario.traffic[row.path.split(".")[1]].model in models:
                slo = self.scenario.traffic[row.path.split(".")[1]].slo
                limit = Fraction(getattr(slo, f"{word}_us"), 1_000)
                text = "what the fleet could promise at this load" if row.used > limit else ""
                yield Judged(row.path, row.used <= limit, row.used, limit, row.unit, text)

    def _loosened(self, bare: Scenario, model: str) -> int | None:
        """The fewest steps of loosening at which the replicas of a model carry its traffic."""

        def carries(step: int) -> bool:
            looser = _looser(bare, model, step)
            table = build_table(looser)
            loads = [self._least(build_program(now, at), model) for _, now, at in _moments(looser, table)]
            return all(least.load is not None and least.load <= 1 and not least.unserved for least in loads)

        low, high = 0, STEPS_MAX
        if not carries(high):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if carries(middle) else (middle, high)
        return high


def _bare(scenario: Scenario) -> Scenario:
    """Nothing but traffic on the running replicas: no limits on nodes, nothing to spare, nothing lost."""
    models = {
        name: replace(model, replicas=ReplicaLimits(), max_configurations=None)
        for name, model in scenario.models.items()
    }
    reserve = replace(scenario.reserve, spare_nodes=0, spare_replicas=0, spare_zones=0, survive=())
    budget = Budget(pue_ppm=scenario.budget.pue_ppm)
    pools = {
        name: replace(pool, terms=replace(pool.terms, reclaim_nodes=0)) if pool.terms else pool
        for name, pool in scenario.inventory.items()
    }
    return replace(scenario, models=models, inventory=pools, reserve=reserve, budget=budget, limits={})


def _moments(scenario: Scenario, table: CandidateTable | None = None) -> Iterator[tuple[str, Scenario, CandidateTable]]:
    """Every situation: its name, the scenario then, and the candidate table then."""
    table = table or build_table(scenario)
    for situation in situations(scenario):
        yield situation.name, situation.scenario, table_at(table, scenario, situation)


def _looser(scenario: Scenario, model: str, step: int) -> Scenario:
    """The scenario with promises of a model loosened by so many steps."""
    factor = LOOSER**step
    traffic = {
        name: replace(
            each,
            slo=replace(
                each.slo,
                ttft_p95_us=int(each.slo.ttft_p95_us * factor) if each.slo.ttft_p95_us else None,
                tpot_p95_us=int(each.slo.tpot_p95_us * factor) if each.slo.tpot_p95_us else None,
            ),
        )
        if each.model == model
        else each
        for name, each in scenario.traffic.items()
    }
    return replace(scenario, traffic=traffic)


def _shed(situation: Scenario, table: CandidateTable, model: str) -> list[tuple[tuple[int, ...], tuple[int, ...], int]]:
    """What may go unserved after a loss, by class."""
    found = []
    for traffic in situation.traffic.values():
        demands = [d for d, demand in enumerate(table.demands) if demand.class_name == traffic.name]
        if traffic.model == model and traffic.shed_at_most_ppm:
            weights = tuple(table.demands[d].weight_ppm for d in demands)
            found.append((tuple(demands), weights, traffic.shed_at_most_ppm))
    return found


def _after(name: str, path: str, model: str, least: LeastLoad) -> Judged:
    """What is asked of the replicas of a model that are left."""
    if least.load is None:
        return Judged(path, False, None, None, "", _in(name, f"no replica of {model} is left to serve its traffic"))
    used = least.load * PERCENT
    holds = used <= PERCENT and not least.unserved and not least.shares
    text = f"of what the replicas of {model} that are left carry, shared as well as can be"
    return Judged(path, holds, used, PERCENT, "%", _in(name, text))


def _promised(situation: Scenario, path: str) -> Fraction:
    """The promised share of a row `traffic.NAME.rejected_at_most`, in percent."""
    _, name, word = path.split(".")
    return Fraction(getattr(situation.traffic[name], f"{word}_ppm"), 10_000)


def _too_far(name: str, situation: Scenario, class_name: str) -> Judged | None:
    """A class that its model's replicas could serve, but not from where they stand; None where nothing stands there."""
    traffic = situation.traffic[class_name]
    pools = {each.pool for each in situation.current.values() if each.model == traffic.model}
    offered = [
        pool for pool in map(situation.inventory.__getitem__, pools) if pool.committed_nodes + pool.available_nodes
    ]
    here = sorted({pool.region for pool in offered})
    stand = f"the replicas of {traffic.model} stand in {', '.join(here)}"
    if not pools:
        return Judged(f"traffic.{class_name}", False, None, None, "", _in(name, f"no replica of {traffic.model} runs"))
    if not here:
        return None
    if not any(may_run(traffic, region) for region in here):
        text = f"{stand}, and the class may run in {', '.join(traffic.regions)} only"
        return Judged(f"traffic.{class_name}.regions", False, None, None, "", _in(name, text))
    if not traffic.latency_us:
        return None
    text = f"{stand}: none leaves it enough of its promise after the network"
    return Judged(f"traffic.{class_name}.slo.ttft_p95", False, None, None, "", _in(name, text))


def _hopeless(row: Judged) -> Judged:
    """A load that no promise up to five times as loose brings down."""
    if row.holds or row.used is None:
        return row
    return replace(row, text=f"{row.text}; looser promises would not help")


def _rate_word(scenario: Scenario, name: str) -> str:
    """The key that says how much a class asks."""
    traffic = scenario.traffic[name]
    if traffic.trace is not None:
        return "trace"
    if traffic.slo.finish_within_us is not None:
        return "requests"
    return "rate" if traffic.rates else "peak"


def _in(name: str, text: str) -> str:
    """What is said of one situation."""
    return f"{text}, in {name}" if name else text


def _worst(rows: dict[str, Judged], row: Judged) -> None:
    """Keeps of several rows on one line the one that is furthest off."""
    known = rows.get(row.path)
    if known is None or (_badness(row) > _badness(known)):
        rows[row.path] = row


def _badness(row: Judged) -> tuple[bool, bool, Fraction]:
    return not row.holds, row.factor is None, row.factor or Fraction(0)
