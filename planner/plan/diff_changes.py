"""What physically differs between two plans: deployments matched by what they run, and pools by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from fractions import Fraction

from planner.candidates.fleet import Start
from planner.plan.diff_types import (
    ChangeKind,
    CountChange,
    DecimalChange,
    DeploymentChange,
    DeploymentState,
    FieldChange,
    MoneyChange,
    PoolChange,
    PoolState,
)
from planner.plan.money import decimal, ppm
from planner.plan.types import Deployment, Plan, PoolPlan

CONFIG_FIELDS = tuple(field.name for field in fields(Start))
"""What a replica is started with: two replicas that agree on all of these need no restart."""

_LIKENESS = (CONFIG_FIELDS, CONFIG_FIELDS[:7], ("model", "gpu", "weights"), ("model",))
"""Keys by which deployments are matched, the closest first."""


def cents(amount: str | None) -> Fraction | None:
    """An amount of the plan, rounded once to the cent.

    >>> cents("6670.448")
    Fraction(133409, 20)
    """
    return None if amount is None else Fraction(decimal(Fraction(amount), places=2))


def cent_text(amount: Fraction | None) -> str | None:
    """Whole cents as a decimal string."""
    return None if amount is None else decimal(amount, places=2)


def money_change(base: str | Fraction | None, head: str | Fraction | None) -> MoneyChange:
    """Both amounts to the cent, and their difference.

    >>> money_change("69379.2", "88592.80")
    MoneyChange(base='69379.20', head='88592.80', change='19213.60', percent_ppm=276936)
    """
    old, new = (cents(str(amount)) if amount is not None else None for amount in (base, head))
    if old is None or new is None:
        return MoneyChange(cent_text(old), cent_text(new), None, None)
    percent = ppm(abs(new - old) / old) * (-1 if new < old else 1) if old else None
    return MoneyChange(cent_text(old), cent_text(new), cent_text(new - old), percent)


def count_change(base: int | None, head: int | None) -> CountChange:
    """Two whole numbers and their difference."""
    return CountChange(base, head, None if base is None or head is None else head - base)


def decimal_change(base: str | None, head: str | None, places: int) -> DecimalChange:
    """Two decimal strings as they stand in the plans, and their difference."""
    if base is None or head is None:
        return DecimalChange(base, head, None)
    return DecimalChange(base, head, decimal(Fraction(head) - Fraction(base), places=places, at_least=min(places, 2)))


def deployment_changes(base: Plan, head: Plan) -> tuple[DeploymentChange, ...]:
    """Every deployment of either side once, by model and name."""
    found = [_deployment_change(old, new) for old, new in matched(base.deployments, head.deployments)]
    return tuple(sorted(found, key=lambda change: (change.model, change.name, change.kind)))


def matched(
    base: Mapping[str, Deployment], head: Mapping[str, Deployment]
) -> Iterator[tuple[DeploymentState | None, DeploymentState | None]]:
    """Pairs of deployments: the same configuration first, then ever less alike, at last each alone."""
    old = {name: _deployment_state(name, deployment) for name, deployment in base.items()}
    new = {name: _deployment_state(name, deployment) for name, deployment in head.items()}
    for key in _LIKENESS:
        waiting: dict[tuple[object, ...], list[str]] = {}
        for name, state in old.items():
            waiting.setdefault(_key(state, key), []).append(name)
        for names in waiting.values():
            names.reverse()
        for name, state in list(new.items()):
            partners = waiting.get(_key(state, key))
            if partners:
                yield old.pop(partners.pop()), new.pop(name)
    yield from ((state, None) for state in old.values())
    yield from ((None, state) for state in new.values())


def _key(state: DeploymentState, names: tuple[str, ...]) -> tuple[object, ...]:
    return tuple(getattr(state, name) for name in names)


def _deployment_state(name: str, deployment: Deployment) -> DeploymentState:
    known = {field.name: getattr(deployment, field.name) for field in fields(DeploymentState) if field.name != "name"}
    return DeploymentState(name=name, **known)


def _deployment_change(base: DeploymentState | None, head: DeploymentState | None) -> DeploymentChange:
    state = head or base
    assert state is not None
    differ = _field_changes(base, head, ("name", "model"))
    return DeploymentChange(state.name, state.model, _kind(base, head, differ), base, head, differ)


def pool_changes(base: Plan, head: Plan) -> tuple[PoolChange, ...]:
    """Every pool of either inventory, by name."""
    return tuple(
        _pool_change(name, base.pools.get(name), head.pools.get(name)) for name in sorted({*base.pools, *head.pools})
    )


def _pool_change(name: str, base: PoolPlan | None, head: PoolPlan | None) -> PoolChange:
    old, new = (None if pool is None else _pool_state(pool) for pool in (base, head))
    differ = _field_changes(old, new, ("cost_per_month",))
    cost = money_change(old.cost_per_month if old else "0", new.cost_per_month if new else "0")
    return PoolChange(name, _kind(old, new, differ), old, new, cost, differ)


def _pool_state(pool: PoolPlan) -> PoolState:
    return PoolState(**{field.name: getattr(pool, field.name) for field in fields(PoolState)})


def _kind(base: object, head: object, differ: tuple[FieldChange, ...]) -> ChangeKind:
    if base is None or head is None:
        return "added" if base is None else "removed"
    return "changed" if differ else "same"


def _field_changes(
    base: DeploymentState | PoolState | None, head: DeploymentState | PoolState | None, hidden: tuple[str, ...]
) -> tuple[FieldChange, ...]:
    """The fields in which two states differ; all of them where one side is missing. Pools of replicas are one text."""
    names = [field.name for field in fields(base or head or DeploymentState) if field.name not in hidden]
    pairs = ((name, _field(base, name), _field(head, name)) for name in names)
    return tuple(FieldChange(name, old, new) for name, old, new in pairs if old != new)


def _field(state: DeploymentState | PoolState | None, name: str) -> str | int | None:
    value = getattr(state, name, None)
    if isinstance(value, dict):
        return ", ".join(f"{pool} {count}" for pool, count in sorted(value.items()))
    return value if isinstance(value, str | int) else None
