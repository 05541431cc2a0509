"""The running fleet in words: what moves on the way to the plan, and what doing nothing means."""

from __future__ import annotations

from fractions import Fraction

from planner.plan.as_is import AsIs, Judged
from planner.plan.moves import Move, Moves
from planner.plan.types import Plan
from planner.report import numbers

MOST_NAMED = 3
"""Broken promises that one line names; tables have them all."""

JUDGED_HEADS = ("promise or limit", "as it is", "what")
MOVES_HEADS = ("replicas", "runs", "planned", "from")


def moves_lines(plan: Plan) -> list[str]:
    """How many replicas start and stop, against the limit, and what that costs once."""
    first = f" in {next(iter(plan.time.situations))}" if plan.time is not None else ""
    return [_moves(each, plan.scenario.currency) + first for each in plan.moves]


def _moves(each: Moves, currency: str) -> str:
    since = "the fleet that runs" if each.since == "current" else "the plan to stay near"
    if not each.moved:
        return f"no replica starts or stops: {since} stays"
    most = "" if each.most is None else f" of at most {each.most:,}"
    cost = "" if not Fraction(each.cost) else f", {numbers.money(each.cost, currency)} once"
    many = "1 replica moves" if each.moved == 1 else f"{each.moved:,} replicas move"
    return f"{many}{most} from {since}: {each.started:,} start, {each.stopped:,} stop{cost}"


def moves_rows(plan: Plan) -> list[tuple[str, str, str, str]]:
    """Every configuration whose replicas change: how many run, how many are planned, from which fleet."""
    return [
        (_start(row), f"{row.before:,}", f"{row.after:,}", each.since)
        for each in plan.moves
        for row in each.rows
        if row.before != row.after
    ]


def _start(row: Move) -> str:
    start = row.start
    words = [start.model, f"on {start.gpu} in {start.region}"]
    if start.weights:
        words += [start.parallel, start.weights, f"context {numbers.tokens(start.context_limit_tokens)}"]
        words += [f"batch {start.max_batch:,}", f"KV {start.kv_preset}"]
    return " ".join(words)


def as_is_line(standing: AsIs, currency: str) -> str:
    """What doing nothing costs and breaks, in one line."""
    cost = numbers.money(standing.cost_per_month, currency)
    gpus = f"{standing.gpus:,} GPU{'' if standing.gpus == 1 else 's'}"
    lead = f"the fleet that runs, left as it is: {cost} / month, {gpus}"
    broken = standing.broken
    if standing.holds:
        return f"{lead}; it keeps everything"
    if not broken:
        return f"{lead}; not known whether it keeps everything"
    named = "; ".join(f"{row.path}: {row.sentence(currency)}" for row in broken[:MOST_NAMED])
    more = f"; and {len(broken) - MOST_NAMED} more" if len(broken) > MOST_NAMED else ""
    return f"{lead}; it breaks {len(broken)} of {len(standing.rows)}: {named}{more}"


def judged_rows(standing: AsIs, currency: str) -> list[tuple[str, str, str]]:
    """Every promise and limit, broken ones first."""
    rows = sorted(standing.rows, key=lambda row: (row.holds, -(row.factor or Fraction(0)), row.path))
    return [(row.path, _state(row), row.sentence(currency)) for row in rows]


def _state(row: Judged) -> str:
    if row.holds or row.factor is None:
        return "kept" if row.holds else "broken"
    return f"broken, {float(row.factor):.2f}x"
