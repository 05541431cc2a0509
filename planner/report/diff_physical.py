"""What changes in production, in words: deployments, pools, and the order of the change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from planner.plan.diff_types import (
    DeploymentChange,
    DeploymentState,
    Diff,
    FieldChange,
    PoolChange,
    PoolState,
)
from planner.report import numbers
from planner.report.diff_words import ARROW, NONE, counted

LABELS = {
    "gpu": "GPU",
    "region": "region",
    "zone": "zone",
    "nodes_counted": "nodes counted on",
    "gpus_per_node": "GPUs a node",
    "weights": "weights",
    "parallel": "shape",
    "replicas": "replicas",
    "gpus": "GPUs",
    "context_limit_tokens": "context",
    "max_batch": "batch",
    "max_num_batched_tokens": "batched tokens",
    "gpu_memory_utilization_ppm": "GPU memory",
    "kv_preset": "KV",
    "pools": "pools",
    "nodes": "nodes",
    "nodes_offered": "nodes offered",
    "nodes_committed": "nodes committed",
    "gpus_busy": "busy GPUs",
    "gpus_spare": "spare GPUs",
    "gpus_idle": "idle GPUs",
    "price_per_gpu_h": "price/GPU/h",
}
"""Fields as readers know them; one that a later format adds keeps its own name."""

TOKENS = ("context_limit_tokens", "max_num_batched_tokens")

Sign = Literal[" ", "+", "-"]


@dataclass(frozen=True)
class Physical:
    """One thing that changes: its name, and what about it."""

    name: str
    text: str


def value(field: str, raw: str | int | None, currency: str) -> str:
    """A field's value as it is shown."""
    if raw is None or raw == "":
        return NONE
    if isinstance(raw, int):
        if field in TOKENS:
            return numbers.tokens(raw) if raw else NONE
        if field == "gpu_memory_utilization_ppm":
            return numbers.exact_percent(raw)
        return f"{raw:,}"
    return numbers.price(raw, currency) if field == "price_per_gpu_h" and _is_decimal(raw) else raw


def _is_decimal(text: str) -> bool:
    return text.isascii() and text.replace(".", "", 1).isdigit()


def field_text(change: FieldChange, currency: str) -> str:
    """One field, before and after."""
    base, head = (value(change.field, raw, currency) for raw in (change.base, change.head))
    return f"{LABELS.get(change.field, change.field)} {base} {ARROW} {head}"


def deployments(document: Diff) -> list[Physical]:
    """Every deployment that is new, gone or changed."""
    return [_deployment(row, document.currency) for row in document.deployments if row.kind != "same"]


def _deployment(row: DeploymentChange, currency: str) -> Physical:
    if row.base is None or row.head is None:
        state = row.head or row.base
        assert state is not None
        kind = "new" if row.kind == "added" else "gone"
        return Physical(row.name, f"{kind}: {state_text(state)}")
    name = row.name if row.base.name == row.head.name else f"{row.name} (was {row.base.name})"
    return Physical(name, ", ".join(field_text(change, currency) for change in row.fields))


def state_text(state: DeploymentState) -> str:
    """A deployment in one line."""
    parts = [
        counted(state.replicas, "replica") + f" ({counted(state.gpus, 'GPU')})",
        f"{state.parallel} {state.weights}".strip(),
        f"on {state.gpu}",
        f"context {numbers.tokens(state.context_limit_tokens)}" if state.context_limit_tokens else "",
        f"batch {state.max_batch}" if state.max_batch else "",
        f"KV {state.kv_preset}" if state.kv_preset else "",
        "in " + ", ".join(f"{pool} {count}" for pool, count in sorted(state.pools.items())) if state.pools else "",
    ]
    return ", ".join(part for part in parts if part)


def pools(document: Diff) -> list[Physical]:
    """Every pool of which more or less is bought, or that is offered otherwise."""
    return [Physical(row.name, _pool(row, document.currency)) for row in document.pools if row.kind != "same"]


def _pool(row: PoolChange, currency: str) -> str:
    if row.base is None or row.head is None:
        state = row.head or row.base
        assert state is not None
        kind = "new in the inventory" if row.base is None else "gone from the inventory"
        return f"{kind}: {pool_text(state, currency)}{_pool_cost(row, currency)}"
    return ", ".join(field_text(change, currency) for change in row.fields) + _pool_cost(row, currency)


def _pool_cost(row: PoolChange, currency: str) -> str:
    change = row.cost.change
    if change is None or not change.strip("-0."):
        return ""
    return f", {numbers.signed_money(change, currency)} / month"


def pool_text(state: PoolState, currency: str) -> str:
    """A pool in one line."""
    price = numbers.price(state.price_per_gpu_h, currency)
    return f"{state.nodes}/{state.nodes_offered} nodes of {state.gpu} at {price}/GPU/h"


def rollout_line(document: Diff) -> str:
    """How the change is made, in a sentence; empty without steps."""
    if not document.rollout:
        return ""
    down = sum(step.replicas_down for step in document.rollout)
    extra = document.peak_extra_gpus
    beside = f"{counted(extra, 'GPU')} more than the larger of the two plans at its peak" if extra else "no extra GPUs"
    safety = (
        f"{counted(down, 'replica')} down before a successor runs"
        if down
        else "no replica goes down before its successor runs"
    )
    return f"{counted(len(document.rollout), 'step')}, {beside}, {safety}"


def diff_lines(document: Diff) -> list[tuple[str, ...]]:
    """The full plans as a diff: for each deployment and pool its lines, what did not change included."""
    groups = [_deployment_lines(row, document.currency) for row in document.deployments]
    return groups + [_pool_lines(row, document.currency) for row in document.pools]


def _deployment_lines(row: DeploymentChange, currency: str) -> tuple[str, ...]:
    if row.base is not None and row.head is not None:
        if row.kind == "same":
            return (f" {row.name}  {state_text(row.head)}",)
        renamed = () if row.base.name == row.head.name else (f"-{row.base.name}", f"+{row.head.name}")
        return (*(renamed or (f" {row.name}",)), *_field_lines(row.fields, currency))
    sign = "+" if row.base is None else "-"
    state = row.head or row.base
    assert state is not None
    return (f"{sign}{row.name}", f"{sign}  {state_text(state)}")


def _pool_lines(row: PoolChange, currency: str) -> tuple[str, ...]:
    if row.base is not None and row.head is not None:
        if row.kind == "same":
            return (f" {row.name}  {pool_text(row.head, currency)}, {_cost(row.head, currency)}",)
        lines = list(_field_lines(row.fields, currency))
        if row.cost.base != row.cost.head:
            costs = zip("-+", (row.base, row.head), strict=True)
            lines += [f"{sign}  {_cost(state, currency)}" for sign, state in costs]
        return (f" {row.name}", *lines)
    sign = "+" if row.base is None else "-"
    state = row.head or row.base
    assert state is not None
    return (f"{sign}{row.name}", f"{sign}  {pool_text(state, currency)}, {_cost(state, currency)}")


def _cost(state: PoolState, currency: str) -> str:
    return f"{numbers.money(state.cost_per_month, currency)} / month"


def _field_lines(changes: tuple[FieldChange, ...], currency: str) -> tuple[str, ...]:
    """The fields that differ, all before on one line and all after on the next."""
    if not changes:
        return ()
    lines = []
    for sign, side in (("-", "base"), ("+", "head")):
        shown = [f"{LABELS.get(c.field, c.field)} {value(c.field, getattr(c, side), currency)}" for c in changes]
        lines.append(f"{sign}  {', '.join(shown)}")
    return tuple(lines)
