"""The public Python API: load a scenario, plan it, check a plan. Everything that solves starts here.

from planner import pipeline
scenario = pipeline.load("scenarios/prod.yaml", sets=["traffic.chat.peak=36 req/s"])
plan = pipeline.plan(scenario)
findings = pipeline.check("plan.json")
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from planner import __version__
from planner.attach import attach, preset_names
from planner.scenario.resolve import load_scenario
from planner.scenario.types import Scenario

if TYPE_CHECKING:
    from planner.candidates import CandidateTable
    from planner.plan.as_is import AsIs
    from planner.plan.check import Finding
    from planner.plan.diff_types import Diff
    from planner.plan.document import Decision, Verdict
    from planner.plan.types import Conflict, Plan, Run
    from planner.scenario.fleet import Running
    from planner.simulate.session import Answer, Question
    from planner.solver.program import Solution
    from planner.solver.session import BackendName
    from planner.verify.session import Answer as VerifyAnswer
    from planner.verify.session import Question as VerifyQuestion

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How to solve. The time limit is wall clock; a plan that it cut short says that it is not reproducible."""

    time_limit_s: float = 300.0
    backend: BackendName = "auto"
    progress: Progress | None = None
    preset_value: bool = False
    """Whether to solve again with 16-bit KV, for what compression saves."""
    band_edge: bool = False
    """Whether to solve again at the other edge of the latency band, for the choices that hang on it."""
    judge_fleet: bool = True
    """Whether to judge the fleet that runs, left as it is; a plan without it passes no check where one runs."""


def load(path: str | Path, sets: Sequence[str] = (), what_if: Sequence[str] = ()) -> Scenario:
    """A resolved scenario with its presets checked, its capacity tables and measured latencies attached.

    Raises:
        InputError: every mistake in the file, its parents, its `what_if` blocks and the overrides, sorted.
    """
    scenario = attach(load_scenario(path, sets, what_if, preset_names()))
    if not scenario.performance.measured:
        return scenario
    from planner.calculator.measured import with_measured

    return with_measured(scenario)


def table(scenario: Scenario) -> CandidateTable:
    """The candidate table: all the physics, no solver."""
    from planner.candidates import build_table

    return build_table(scenario)


def plan(scenario: Scenario, options: Options | None = None, file: str = "") -> Plan:
    """Solves a scenario: a sealed plan document, whatever its status.

    A model whose architecture is only bounded stands at its upper end; the scenario is solved again with each such
    model at its lower end, and the plan says whether that changes it. A plan on presets that only `compression.allow`
    admits is solved again without them: what it costs if they do not hold.
    """
    from planner.plan.bounds import bound_plan
    from planner.plan.io import seal

    options = options or Options()
    upper = _with_second_solves(_solved(scenario, options, file), options, file)
    bounded = [name for name, model in sorted(scenario.models.items()) if model.low_facts is not None]
    if not bounded:
        return seal(upper.document())
    start = time.perf_counter()
    lower = {name: _solved(_at_lower_end(scenario, name), options, file).document() for name in bounded}
    bounds = {name: bound_plan(upper.document(), plan) for name, plan in lower.items()}
    seconds = {**upper.run.seconds, "bounds": round(time.perf_counter() - start, 3)}
    again = replace(upper, verdict=replace(upper.verdict, bounds=bounds), run=replace(upper.run, seconds=seconds))
    return seal(again.document())


def _with_second_solves(first: _Solved, options: Options, file: str) -> _Solved:
    """The plan with what it hangs on: solved again at the other edge of the latency band, without presets that are
    only allowed, without compression, without prefix hits that need room, for the traffic as written, and of the fleet
    that runs."""
    from planner.plan.document import evidence_debt
    from planner.plan.edge import edge_of
    from planner.plan.hits import WithoutHits
    from planner.plan.robustness import Robustness
    from planner.plan.value import IfWrong, PresetValue, compressed

    start = time.perf_counter()
    edge = edge_of(_solved(_at_other_edge(first.scenario), options, file).document()) if options.band_edge else None
    wrong, values = None, []
    if first.decision is not None and evidence_debt(first.decision):
        plan = _solved(_supported_only(first.scenario), options, file).document()
        wrong = IfWrong(plan.status, plan.totals.cost_per_month if plan.totals else None)
    for model in compressed(first.document().deployments) if first.decision and options.preset_value else ():
        plan = _solved(_uncompressed(first.scenario, model), options, file).document()
        cost, own = (plan.totals.cost_per_month, plan.models[model].cost_per_month) if plan.totals else (None, None)
        values.append(PresetValue(model, (), plan.status, cost, own))
    dry = None
    if first.decision is not None and any(traffic.prefix for traffic in first.scenario.traffic.values()):
        plan = _solved(_without_hits(first.scenario), options, file).document()
        dry = WithoutHits(plan.status, plan.totals.cost_per_month if plan.totals else None)
    band = None
    if first.scenario.robust is not None:
        plan = _solved(replace(first.scenario, robust=None), options, file).document()
        totals = plan.totals
        band = Robustness(plan.status, totals.cost_per_month if totals else None, totals.gpus if totals else None)
    standing = _standing(first, options, file) if options.judge_fleet else None
    if all(each is None for each in (edge, wrong, dry, band, standing)) and not values:
        return first
    seconds = {**first.run.seconds, "second solves": round(time.perf_counter() - start, 3)}
    verdict = replace(
        first.verdict,
        if_wrong=wrong,
        preset_value=tuple(values),
        band_edge=edge,
        without_hits=dry,
        robustness=band,
        as_is=standing,
    )
    return replace(first, verdict=verdict, run=replace(first.run, seconds=seconds))


def _without_hits(scenario: Scenario) -> Scenario:
    """The scenario with empty prefix caches."""
    traffic = {name: replace(each, reusable_prefix_ppm=0, prefix=None) for name, each in scenario.traffic.items()}
    return replace(scenario, traffic=traffic)


def _at_other_edge(scenario: Scenario) -> Scenario:
    """The scenario at the other edge of the latency band."""
    from planner.plan.edge import OTHER_EDGE

    reserve = scenario.reserve
    return replace(scenario, reserve=replace(reserve, confidence=OTHER_EDGE[reserve.confidence]))


def _supported_only(scenario: Scenario) -> Scenario:
    """The scenario without the presets that `compression.allow` names; 16-bit KV is always a choice."""
    models = {
        name: replace(model, kv_presets=tuple(dict.fromkeys((*model.kv_presets, "bf16")))) if model.facts else model
        for name, model in scenario.models.items()
    }
    return replace(scenario, models=models, compression=replace(scenario.compression, allow=()))


def _uncompressed(scenario: Scenario, name: str) -> Scenario:
    """The scenario with 16-bit KV for one model."""
    return replace(scenario, models={**scenario.models, name: replace(scenario.models[name], kv_presets=("bf16",))})


def _at_lower_end(scenario: Scenario, name: str) -> Scenario:
    """The scenario with one model's memory at the least that its architecture may keep."""
    models = {**scenario.models, name: replace(scenario.models[name], memory_at="low")}
    return replace(scenario, models=models)


@dataclass(frozen=True)
class _Solved:
    """Everything that a plan document is built from."""

    scenario: Scenario
    table: CandidateTable
    decision: Decision | None
    verdict: Verdict
    run: Run

    def document(self) -> Plan:
        """The plan, not sealed."""
        from planner.plan.document import build_plan

        return build_plan(self.scenario, self.table, self.decision, self.verdict, self.run)


def _solved(scenario: Scenario, options: Options, file: str) -> _Solved:
    """Candidates, decision and verdict of one scenario."""
    from planner.decision import bounds_of, decided
    from planner.plan.document import Verdict
    from planner.solver.build import build_program
    from planner.solver.objective import solve

    clock = [time.perf_counter()]
    candidates = table(scenario)
    clock.append(time.perf_counter())
    program = build_program(scenario, candidates)
    tell = options.progress
    solution = solve(
        program,
        time_limit_s=options.time_limit_s,
        backend=options.backend,
        progress=(lambda step: tell(str(step))) if tell else None,
    )
    conflicts: tuple[Conflict, ...] = ()
    if solution.status == "infeasible" and not scenario.as_is:
        conflicts = _conflicts(scenario, candidates)
    clock.append(time.perf_counter())
    seconds = {
        "candidates": round(clock[1] - clock[0], 3),
        "solve": round(clock[2] - clock[1], 3),
    }
    verdict = Verdict(solution.status, bounds_of(program, solution), conflicts)
    decision = decided(scenario, candidates, program, solution)
    return _Solved(scenario, candidates, decision, verdict, _run(scenario, solution, seconds, file))


def as_is(scenario: Scenario, options: Options | None = None, file: str = "") -> Plan:
    """The fleet that runs today under every promise of its scenario: nothing is decided but the routing."""
    return judge(scenario, scenario.current, options, file)


def judge(scenario: Scenario, fleet: Mapping[str, Running], options: Options | None = None, file: str = "") -> Plan:
    """A fixed fleet under a scenario, its own or another: a plan of exactly these replicas, or `infeasible`.

    `planner.plan.moves.fleet_of` gives the fleet of a plan. Its replicas stand in pools of the scenario by name. The
    plan's `as_is` says what the fleet keeps and breaks, and what it costs.
    """
    return plan(fixed(scenario, fleet), options, file)


def fixed(scenario: Scenario, fleet: Mapping[str, Running]) -> Scenario:
    """A scenario with nothing to decide but the routing over a fleet."""
    from planner.scenario.fleet import Change

    return replace(scenario, current=dict(fleet), change=Change(), near={}, as_is=True)


def _standing(first: _Solved, options: Options, file: str) -> AsIs | None:
    """What the running fleet keeps and breaks of a scenario, left as it is; None where none runs."""
    from planner.as_is import broken
    from planner.plan.standing import kept

    scenario = first.scenario
    if not scenario.current:
        return None
    solved = first if scenario.as_is else _solved(fixed(scenario, scenario.current), options, file)
    if solved.decision is not None:
        return kept(solved.document())
    return broken(solved.scenario, solved.verdict.status, lambda version: _solved(version, options, file).document())


def check(path: str | Path, *, use_hash: bool = True) -> list[Finding]:
    """Everything in a plan file that does not hold; empty when the plan stands.

    Raises:
        InputError: the file is not a plan.
    """
    from planner.plan.check import check_tree
    from planner.plan.io import read_tree

    plan, findings = check_tree(read_tree(str(path)), str(path), use_hash=use_hash)
    return [*findings, *_recalibrated(plan.scenario)]


def _recalibrated(scenario: Scenario) -> list[Finding]:
    """Calibrations that do not follow from the measured runs that the plan carries."""
    performance = scenario.performance
    if not performance.runs and not performance.calibrations:
        return []
    from planner.calculator.calibrate import calibrations
    from planner.plan.check import Finding
    from planner.scenario.source import Findings

    again = calibrations(performance.runs, performance.provider, Findings())
    if again == performance.calibrations:
        return []
    stored, derived = (
        ", ".join(f"{float(c.tpot.p50):.6g}" for c in each) for each in (performance.calibrations, again)
    )
    return [Finding("scenario.performance.calibrations", stored, f"{derived} from the measured runs")]


def certify(
    scenario: Scenario,
    question: Question,
    options: Options | None = None,
    file: str = "",
    report: Progress | None = None,
) -> Plan:
    """Solves a scenario, replays the plan, and solves again with what the replay taught until every promise holds.

    The plan's `certificate` says what was replayed, by what margins the promises held, and each round; where no plan
    keeps them, which ones. `report` takes a line a round.
    """
    from planner.plan.io import seal
    from planner.simulate.certify import certify as rounds

    def solve(told: Scenario) -> Plan:
        return plan(told, options, file)

    found = rounds(scenario, solve, question, file, report or (lambda line: None))
    return seal(replace(found.plan, certificate=found.certificate))


def simulate(plan: Plan, question: Question, source: str = "plan", progress: Progress | None = None) -> Answer:
    """Replays requests against a plan, step by step of its engines, and holds its promises against what happened.

    Raises:
        InputError: a trace cannot be read, a class or node is not in the plan, or there is nothing to replay.
    """
    from planner.simulate import session

    return session.simulate(plan, question, source, progress)


def verify(
    plan: Plan, question: VerifyQuestion, source: str = "plan", progress: Progress | None = None
) -> VerifyAnswer:
    """Holds a plan against request logs and metrics of its fleet: what is off, by what factor, and why.

    Raises:
        InputError: log or metrics cannot be read or are not of this plan, or nothing in it can be held against them.
    """
    from planner.verify import session

    return session.verify(plan, question, source, progress)


def calibration(plan: Plan, answer: VerifyAnswer, source: str = "plan") -> str:
    """The speeds that a look back measured, as a table for `performance.measured`.

    Raises:
        InputError: none was measured.
    """
    from planner.verify.calibration import calibration_csv

    return calibration_csv(plan, answer.speeds, source)


def diff(base: Plan, head: Plan) -> Diff:
    """Two plan documents side by side; nothing is solved. `planner.sweep.compare` also reads files and finds causes."""
    from planner.plan.diff import Explained, diff_plans, side_of

    sides = side_of(base, base.run.file or "base", "plan"), side_of(head, head.run.file or "head", "plan")
    return diff_plans(base, head, sides, Explained(), "")


def _run(scenario: Scenario, solution: Solution, seconds: dict[str, float], file: str) -> Run:
    from importlib.metadata import version

    from planner.catalog import catalog_version
    from planner.plan.types import Run

    return Run(
        kvplan=__version__,
        python=platform.python_version(),
        ortools=version("ortools"),
        catalog=catalog_version(),
        file=file,
        seconds=seconds,
        places={path: str(place) for path, place in sorted(scenario.places.items())},
        proof=solution.proof,
        reproducible=solution.reproducible,
    )


def _conflicts(scenario: Scenario, candidates: CandidateTable) -> tuple[Conflict, ...]:
    """What stands in the way: bands that nothing serves, replicas that cannot stay, else the limits that leave no
    plan."""
    from planner.plan.conflicts import stands_in_the_way, unkept, unserved
    from planner.solver.diagnose import diagnose

    return (
        unserved(scenario, candidates)
        or unkept(scenario, candidates)
        or tuple(
            stands_in_the_way(scenario, found.path, found.kind, found.needed)
            for found in diagnose(scenario, candidates)
        )
    )
