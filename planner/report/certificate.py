"""What a replay said of a plan, in lines that every page shows."""

from __future__ import annotations

from planner.plan.certificate import Margin
from planner.plan.types import Plan
from planner.report import numbers

METRICS = {
    "ttft_p95": "TTFT p95",
    "tpot_p95": "TPOT p95",
    "finish_within": "finish within",
    "rejected": "rejected",
    "cut_short": "cut short",
}
"""Promises as pages call them."""


def certificate_lines(plan: Plan) -> list[str]:
    """The verdict, each promise with its margin, what was replayed, and the rounds; nothing without a replay."""
    found = plan.certificate
    if found.status == "not_simulated":
        return []
    lines = [f"{'certified: simulated' if found.status == 'certified' else 'REFUTED'}; {found.reason}"]
    lines += [margin_text(margin) for margin in found.margins]
    seeds = ", ".join(map(str, found.seeds))
    for name, source in sorted(found.sources.items()):
        digest = f", SHA-256 {found.traces[name][:12]}" if name in found.traces else f", seeds {seeds}"
        lines.append(f"{name} replayed from {source}{digest}")
    for number, done in enumerate(found.rounds, start=1):
        cost = done.cost_per_month
        money = f"{numbers.money(cost, plan.scenario.currency)} / month" if cost is not None else done.status
        said = f"failed {'; '.join(done.failed)}" if done.failed else "every promise held" if cost is not None else ""
        learned = f"; learned that {'; '.join(done.learned)}" if done.learned else ""
        lines.append(f"round {number}: {money}, {said}{learned}" if said else f"round {number}: {money}")
    return lines


def margin_text(margin: Margin) -> str:
    """One promise in the replay."""
    name = f"{METRICS[margin.metric]} of {margin.class_name}"
    if margin.metric in ("rejected", "cut_short"):
        figures = f"{numbers.exact_percent(margin.measured)}/{numbers.exact_percent(margin.limit)}"
    else:
        figures = numbers.time_pair(margin.measured, margin.limit)
    return f"{name} {figures}, {numbers.signed_percent(margin.margin_ppm)} left{'' if margin.kept else ': FAILED'}"
