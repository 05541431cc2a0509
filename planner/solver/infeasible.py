"""Infeasible, and why to believe it: one solver's word is not enough.

The first opinion beside the search is arithmetic: from the duals of a linear relaxation, made exact, follows how much
the nodes would have to carry, and that no nodes within stock and limits carry as much. Where the relaxation has a
solution and only whole replicas and nodes fail, CP-SAT must agree. The quality loss never makes a program infeasible
and stays out.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from planner.solver.cuts import Duals, ServingCut, serving_cut
from planner.solver.master import Master, build
from planner.solver.nodes import nodes_reach
from planner.solver.program import Program, Solution
from planner.solver.session import BackendName, Session, make_backend

OPINION_LIMIT_S = 60.0
"""Time for each second opinion of a solver."""

FLEET_ROWS = ("start", "moves", "started", "stopped")
"""Rows that say what stays of a fleet: the arithmetic proof is of demand and nodes, and leaves them out."""

DENOMINATOR_MAX = 10**9
"""Float duals become fractions of at most this denominator; any duals give a valid proof or none."""


def infeasible(session: Session) -> Solution:
    """The answer when the search ends without any plan: infeasible if a second opinion agrees, else unknown."""
    first = session.backend.name
    program = session.program
    cuts = [cut for cut in session.cuts if not cut.loss]
    if ruled_out(program):
        return Solution("infeasible", proof=f"{first}, confirmed by exact duals, {len(cuts)} cuts")
    opinions: tuple[tuple[BackendName, bool], ...] = (("cpsat", True),)
    if first == "cpsat":
        opinions = (("cpsat", False), ("mathopt", True))
    for name, presolve in opinions:
        limit_s = min(OPINION_LIMIT_S, session.left_s())
        if limit_s <= 0:
            break
        master = build(program, with_loss=False)
        opinion = make_backend(name, master, session.seed, presolve=presolve)
        for index, cut in enumerate(cuts):
            opinion.add(master.cut_row(cut, f"cut[{index}]"))
        if opinion.minimize((), hint=None, time_limit_s=limit_s).status == "infeasible":
            confirmed = name if presolve else f"{name} without presolve"
            return Solution("infeasible", proof=f"{first}, confirmed by {confirmed}, {len(cuts)} cuts")
    return Solution("unknown", reproducible=session.left_s() > 0, proof=f"{first} alone says infeasible")


def ruled_out(program: Program) -> bool:
    """Whether exact arithmetic rules out every plan: demand asks for more than any nodes within the limits carry.

    Duals of the demand and share rows give prices p[c] and a bound with `sum p[c] * serving[c] >= bound` for every
    plan. A group's nodes hold replicas worth at most max over its columns of p[c] / gpus for each GPU.
    """
    demands, shares = _duals(program)
    cut = serving_cut(program, Duals(demands, shares, {}), {}, with_loss=False) if sum(demands.values()) > 0 else None
    if cut is None or cut.bound <= 0:
        return False
    prices, bound = _prices(program, cut)
    worth = [Fraction(0)] * len(program.groups)
    for c, column in enumerate(program.columns):
        group = program.groups[column.group]
        if column.own and prices.get(c, 0) and column.gpus <= group.gpus_per_node:
            worth[column.group] = max(worth[column.group], Fraction(prices[c] * group.gpus_per_node, column.gpus))
    weights = [Fraction(0) if pool.group is None else worth[pool.group] for pool in program.pools]
    return nodes_reach(program, weights, Fraction(bound)) is False


def _prices(program: Program, cut: ServingCut) -> tuple[dict[int, int], int]:
    """What a replica of each column is worth in a cut, after every failure too, and the bound beyond what is shed."""
    prices: dict[int, int] = {}
    bound = cut.bound
    for c, price in cut.coefficients:
        column = program.columns[c]
        if column.always:
            bound -= price
        else:
            base = c if column.of is None else column.of
            prices[base] = prices.get(base, 0) + price
    return prices, bound


def _duals(program: Program) -> tuple[dict[int, Fraction], dict[int, Fraction]]:
    """Duals of demands and share limits where the least demand goes unserved and everything else is continuous."""
    from planner.solver.mathopt import MathOpt

    master = build(program, with_loss=False)
    relaxed = Master(
        variables=[replace(variable, whole=False, share=True) for variable in master.variables],
        rows=[row for row in master.rows if row.name.partition("[")[0] not in FLEET_ROWS],
    )
    unserved = []
    for index, row in enumerate(relaxed.rows):
        if row.name.startswith("demand["):
            missing = relaxed.variable(f"unserved[{index}]", 0, 1, share=True)
            relaxed.rows[index] = replace(row, terms=(*row.terms, (missing, 1)))
            unserved.append((missing, 1))
    duals = MathOpt(relaxed, seed=0).duals(tuple(unserved))
    names = {row.name: _fraction(dual) for row, dual in zip(relaxed.rows, duals, strict=False)}
    demands = {d: names.get(f"demand[{demand.name}]", Fraction(0)) for d, demand in enumerate(program.demand_rows)}
    limits = enumerate(program.share_limits)
    shares = {r: max(Fraction(0), -names.get(f"promise[{limit.name}]", Fraction(0))) for r, limit in limits}
    return demands, shares


def _fraction(dual: float) -> Fraction:
    return Fraction(dual).limit_denominator(DENOMINATOR_MAX)
