"""The certificate of a plan: solve, replay, learn, solve again until every promise holds, or say which cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from planner.plan.certificate import NOT_SIMULATED, Certificate, Margin, Round, cut_text
from planner.plan.types import Plan
from planner.scenario.types import Cut, Scenario
from planner.simulate.cuts import cuts_of
from planner.simulate.session import Answer, Question, simulate
from planner.simulate.types import Simulation, Verdict

MOST_ROUNDS = 12

METRICS = {"ttft_p95": "TTFT p95", "tpot_p95": "TPOT p95", "finish_within": "finish within", "rejected": "rejected",
           "cut_short": "cut short"}  # fmt: skip

Solve = Callable[[Scenario], Plan]
Report = Callable[[str], None]


@dataclass(frozen=True)
class Certified:
    """The last plan, with its certificate, and the rounds that led there."""

    plan: Plan
    certificate: Certificate


def certify(scenario: Scenario, solve: Solve, question: Question, source: str, report: Report) -> Certified:
    """Solves and replays until every promise holds, no plan is left, or nothing more can be learned.

    Args:
        solve: the plan of a scenario.
        report: takes a line a round.
    """
    rounds: list[Round] = []
    last: Answer | None = None
    while True:
        plan = solve(scenario)
        if plan.totals is None and last is None:
            return Certified(plan, NOT_SIMULATED)
        if plan.totals is None:
            rounds.append(_round(plan, (), (), scenario.cuts))
            report(_line(len(rounds), rounds[-1]))
            return Certified(plan, _refuted(last, question, rounds, plan))
        last = simulate(plan, question, source)
        failed = tuple(_text(verdict) for verdict in last.simulation.verdicts if not verdict.kept)
        cuts = cuts_of(plan, last.runs, last.simulation) if failed and len(rounds) + 1 < MOST_ROUNDS else scenario.cuts
        rounds.append(_round(plan, failed, cuts, scenario.cuts))
        report(_line(len(rounds), rounds[-1]))
        if not failed:
            return Certified(plan, _certificate("certified", _held(last.simulation), last, question, rounds))
        if cuts == scenario.cuts:
            return Certified(plan, _refuted(last, question, rounds, plan))
        scenario = replace(scenario, cuts=cuts)


def _round(plan: Plan, failed: tuple[str, ...], cuts: tuple[Cut, ...], before: tuple[Cut, ...]) -> Round:
    totals = plan.totals
    learned = tuple(cut_text(cut) for cut in cuts if cut not in before)
    return Round(plan.status, totals.cost_per_month if totals else None, totals.gpus if totals else 0, failed, learned)


def _line(number: int, done: Round) -> str:
    """A round for people."""
    if done.cost_per_month is None:
        return f"round {number}: {done.status}: no plan is left"
    cost = f"round {number}: {done.gpus} GPUs, {done.cost_per_month} a month"
    if not done.failed:
        return f"{cost}: every promise held"
    return f"{cost}: failed {'; '.join(done.failed)}" + (
        f"; learned: {'; '.join(done.learned)}" if done.learned else ""
    )


def _text(verdict: Verdict) -> str:
    """A promise that failed, in words."""
    name = f"{METRICS[verdict.metric]} of {verdict.class_name}"
    if not verdict.limit:
        return f"{name} {verdict.measured / 10_000:.3g}%, none allowed"
    times = verdict.measured / verdict.limit
    return f"{name} {times:.3g} times its limit" if times >= 2 else f"{name} {100 * (times - 1):.2g}% above its limit"


def _held(simulation: Simulation) -> str:
    least = min(simulation.verdicts, key=lambda verdict: verdict.margin_ppm)
    left = f"{max(0, least.margin_ppm) / 10_000:.3g}%"
    return f"every promise held in replay; the tightest is {METRICS[least.metric]} of {least.class_name}, {left} left"


def _refuted(last: Answer | None, question: Question, rounds: list[Round], plan: Plan) -> Certificate:
    failed = next((one.failed for one in reversed(rounds) if one.failed), ())
    why = "no plan of the inventory is left that would keep" if plan.totals is None else "more replicas do not help"
    return _certificate("refuted", f"in replay {why}: {'; '.join(failed)}", last, question, rounds)


def _certificate(status: str, reason: str, last: Answer | None, question: Question, rounds: list[Round]) -> Certificate:
    simulation = last.simulation if last is not None else None
    return Certificate(
        status="certified" if status == "certified" else "refuted",
        reason=reason,
        sources=dict(simulation.sources) if simulation else {},
        traces=dict(simulation.traces) if simulation else {},
        seeds=question.seeds,
        router=question.policy,
        margins=tuple(
            Margin(one.class_name, one.metric, one.measured, one.limit, one.margin_ppm, one.kept)
            for one in (simulation.verdicts if simulation else ())
        ),
        rounds=tuple(rounds),
    )
