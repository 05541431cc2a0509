"""One plan of many that cost the same: the simplest, then the lexicographically smallest.

After the objectives come two more: the fewest busy GPUs, then the fewest deployments, since people run them. Then
every integer is minimized in a fixed order, nodes before replicas, replicas by model and hash of the column's name (no
alphabet decides what is run). That decides every integer, so no second plan is left. A variable that stands at its
lower bound in the incumbent, given all before it, needs no solve; runs of variables are minimized by their sum first.
"""

from __future__ import annotations

from hashlib import sha256

from planner.solver.master import Row, Terms
from planner.solver.session import Session, Unproved
from planner.solver.situations import plain


def name_hash(name: str) -> str:
    """Where a column stands among plans that cost the same: SHA-256 of its name.

    Source: FIPS 180-4, whose example for "abc" starts with ba7816.

    >>> name_hash("abc")[:6]
    'ba7816'
    """
    return sha256(name.encode()).hexdigest()


def settle_on_one(session: Session) -> None:
    """Moves to the only plan of its order, with proof; raises Unproved or OutOfTime otherwise."""
    program, master = session.program, session.master
    _settle(session, "busy GPUs", tuple((y, program.columns[c].gpus) for c, y in master.replicas.items()))
    _settle(session, "deployments", _switches(session))
    order = sorted(master.replicas, key=lambda c: (program.columns[c].model, name_hash(plain(program.columns[c].name))))
    nodes = sorted(range(len(program.pools)), key=lambda p: program.pools[p].name)
    for p in nodes:
        _smallest(session, [master.nodes[p]])
    _smallest(session, [master.replicas[c] for c in order])


def _switches(session: Session) -> Terms:
    """One switch per column that runs; their sum counts deployments. A column that runs in several situations is one
    deployment, so that little is restarted when one follows the other."""
    switches: dict[str, int] = {}
    for c, y in session.master.replicas.items():
        name = session.program.columns[c].name
        on = switches.get(plain(name))
        if on is None:
            on = switches[plain(name)] = session.master.variable(f"deployed[{plain(name)}]", 0, 1)
        upper = session.master.variables[y].upper
        session.backend.add(Row(f"deployed[{name}]", ((y, 1), (on, -upper)), None, 0))
        if session.best is not None and session.best.values:  # a hint without its switches would be worth nothing
            session.best.values[f"deployed[{name}]"] = int(_now(session, y) > 0)
    return tuple((on, 1) for on in switches.values())


def _settle(session: Session, name: str, terms: Terms) -> None:
    """Minimizes an expression and fixes it at its least value."""
    if not session.minimize(name, terms):
        raise Unproved
    value = sum(a * _now(session, v) for v, a in terms)
    session.backend.add(Row(f"fixed[{name}]", terms, None, value))


def _now(session: Session, v: int) -> int:
    """A variable's value in the best plan."""
    assert session.best is not None
    return session.best.values[session.master.variables[v].name]


def _smallest(session: Session, variables: list[int]) -> None:
    """Fixes variables at their lexicographically smallest values, in order."""
    known = session.master.variables
    while variables:
        first = next((i for i, v in enumerate(variables) if _now(session, v) > known[v].lower), len(variables))
        for v in variables[:first]:
            _pin(session, v)
        variables = variables[first:]
        if variables and not (len(variables) > 1 and _dropped(session, variables)):
            _minimize(session, ((variables[0], 1),))
            _pin(session, variables[0])
            variables = variables[1:]


def _dropped(session: Session, variables: list[int]) -> bool:
    """Looks for a plan with less of the first half of the variables; True if the first one is at its bound in it."""
    _minimize(session, tuple((v, 1) for v in variables[: (len(variables) + 1) // 2]))
    return _now(session, variables[0]) == session.master.variables[variables[0]].lower


def _minimize(session: Session, terms: Terms) -> None:
    if not session.minimize("one plan of equals", terms):
        raise Unproved


def _pin(session: Session, v: int) -> None:
    """Fixes a variable at its value in the best plan for all later solves."""
    value, name = _now(session, v), session.master.variables[v].name
    session.backend.add(Row(f"fixed[{name}]", ((v, 1),), value, value))
