"""Lock files: what a plan rested on and what came out, small enough to review, so that a change is never silent.

A lock holds hashes of every block that the user wrote, of the facts that these blocks name (models, GPUs, engine rule
sets, presets, the catalog as a whole), the prices with their sources, and the plan's hash. `kvplan solve --lock` writes
it beside the scenario; `--locked` compares. The version of kvplan is recorded but not compared: an upgrade that changes
a plan is found by the plan's hash.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planner import __version__
from planner.catalog import catalog_version
from planner.catalog.files import read_json_object
from planner.errors import Diagnostic, InputError
from planner.plan.money import decimal, money

if TYPE_CHECKING:
    from planner.catalog.types import EngineRules, GpuFacts, ModelFacts
    from planner.compression.table import Preset
    from planner.plan.types import Plan
    from planner.scenario.types import ModelSpec, Pool, Scenario

LOCK_FORMAT_VERSION = "1.0"
"""Minor versions add keys, major versions break readers."""

SUFFIX = ".lock.json"
NAMED_BLOCKS = ("models", "traffic", "inventory", "limits", "guardrails")
NOT_INPUT = ("places", "defaults", "what_if")
"""Parts of a scenario that decide nothing about its plan: where lines stand, which defaults were taken (their values
stand in the blocks), and names of overrides."""

_HASH = re.compile(r"sha256:[0-9a-f]{64}|none")


@dataclass(frozen=True)
class LockedPrice:
    """What a pool costs and who says so."""

    price_per_gpu_h: str
    source: str


@dataclass(frozen=True)
class LockedPlan:
    """The result: its hash, and for the reader its verdict and cost."""

    status: str
    hash: str
    cost_per_month: str | None
    gpus: int | None


@dataclass(frozen=True)
class Lock:
    """The lock file. Keys of the maps are scenario paths, catalog ids, and pool names."""

    format_version: str
    scenario: str
    kvplan: str
    input_hash: str
    inputs: dict[str, str]
    catalog: str
    models: dict[str, str]
    gpus: dict[str, str]
    engines: dict[str, str]
    presets: dict[str, str]
    prices: dict[str, LockedPrice]
    plan: LockedPlan | None


@dataclass(frozen=True)
class Mismatch:
    """One thing that is not as it was locked."""

    what: str
    locked: str
    now: str

    def __str__(self) -> str:
        return f"{self.what}: locked {self.locked}, now {self.now}"


def lock_path(scenario_file: str) -> str:
    """Where a scenario's lock stands: beside it.

    >>> lock_path("scenarios/prod.yaml")
    'scenarios/prod.yaml.lock.json'
    """
    return scenario_file + SUFFIX


def scenario_path(lock_file: str) -> str:
    """The scenario that a lock belongs to."""
    return lock_file.removesuffix(SUFFIX)


def inputs_lock(scenario: Scenario) -> Lock:
    """The lock of a scenario that is not solved yet."""
    from planner.compression.table import load_presets

    inputs = dict(_inputs(scenario))
    specs, pools = scenario.models.values(), scenario.inventory.values()
    models = {spec.facts.id: _facts_hash(spec.facts) for spec in specs if spec.facts}
    engines = {spec.engine.requested: _facts_hash(spec.engine) for spec in specs if spec.engine}
    used = {preset for spec in specs for preset in spec.kv_presets}
    prices = {pool.name: LockedPrice(money(pool.price_micro_per_gpu_h), pool.source) for pool in pools}
    return Lock(
        format_version=LOCK_FORMAT_VERSION,
        scenario=scenario.name,
        kvplan=__version__,
        input_hash=_digest(inputs),
        inputs=inputs,
        catalog=catalog_version(),
        models=models,
        gpus={pool.gpu.id: _facts_hash(pool.gpu) for pool in pools},
        engines=engines,
        presets={row.name: _facts_hash(row) for row in load_presets().values() if row.id in used},
        prices=prices,
        plan=None,
    )


def with_plan(lock: Lock, plan: Plan) -> Lock:
    """The lock with the plan that came out."""
    totals = plan.totals
    cost, gpus = (totals.cost_per_month, totals.gpus) if totals else (None, None)
    return replace(lock, plan=LockedPlan(plan.status, plan.hash, cost, gpus))


def mismatches(locked: Lock, now: Lock) -> tuple[Mismatch, ...]:
    """Everything that differs. Without a plan on one side, plans are not compared."""
    return tuple(_mismatches(locked, now))


def _mismatches(locked: Lock, now: Lock) -> Iterator[Mismatch]:
    yield from _against("input", locked.inputs, now.inputs)
    if locked.input_hash != _digest(locked.inputs):
        yield Mismatch("the lock's own input hash", _short(locked.input_hash), _short(_digest(locked.inputs)))
    yield from _against("price of", _prices(locked), _prices(now))
    for kind in ("models", "gpus", "engines", "presets"):
        yield from _against(f"catalog, {kind}", getattr(locked, kind), getattr(now, kind))
    if locked.catalog != now.catalog:
        yield Mismatch("catalog", _catalog(locked.catalog), _catalog(now.catalog))
    if locked.plan and now.plan and locked.plan != now.plan:
        yield Mismatch("result", _result(locked.plan), _result(now.plan))


def _prices(lock: Lock) -> dict[str, str]:
    return {name: f"{price.price_per_gpu_h}/gpu/h, {price.source}" for name, price in lock.prices.items()}


def _against(what: str, locked: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Mismatch]:
    for name in sorted({*locked, *now}):
        old, new = locked.get(name), now.get(name)
        if old != new:
            yield Mismatch(f"{what} {name}", _short(old), _short(new))


def _short(text: str | None) -> str:
    if text is None:
        return "nothing"
    return text[:19] if _HASH.fullmatch(text) else text


def _catalog(version: str) -> str:
    date, _, digest = version.partition("/")
    return f"{date}/{digest[:12]}"


def _result(plan: LockedPlan) -> str:
    cost = ""
    if plan.cost_per_month is not None:
        cost = f", {decimal(Fraction(plan.cost_per_month), places=2)} a month, {plan.gpus} GPUs"
    return f"{plan.status}{cost} ({_short(plan.hash)})"


def to_json(lock: Lock) -> str:
    """The lock as text: keys sorted, two spaces, one final newline."""
    return json.dumps(asdict(lock), sort_keys=True, indent=2, ensure_ascii=False) + "\n"


def read_lock(path: str) -> Lock:
    """The lock in a file.

    Raises:
        InputError: there is none, or it is not one of ours.
    """
    tree = read_json_object(Path(path))
    if isinstance(tree, str):
        message = f"the lock {tree}; write it with `kvplan solve {scenario_path(path)} --lock`"
        raise InputError([Diagnostic(path, 0, 0, "KV810", message)])
    version = tree.get("format_version")
    if not isinstance(version, str) or version.split(".")[0] != LOCK_FORMAT_VERSION.split(".")[0]:
        message = f"lock format {version!r} is not understood: this kvplan reads {LOCK_FORMAT_VERSION.split('.')[0]}.x"
        raise InputError([Diagnostic(path, 0, 0, "KV810", message)])
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Lock).validate_python({f.name: tree[f.name] for f in fields(Lock) if f.name in tree})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        message = f"this is not a lock: {where}: {first['msg']}; write it anew with `kvplan solve --lock`"
        raise InputError([Diagnostic(path, 0, 0, "KV810", message)]) from None


def _inputs(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Scenario path -> hash of what stands there, with ids in the place of facts."""
    for field in fields(scenario):
        value = getattr(scenario, field.name)
        if field.name in NOT_INPUT:
            continue
        if field.name not in NAMED_BLOCKS:
            yield field.name, _digest(_tree(value))
            continue
        for name in sorted(value):
            yield f"{field.name}.{name}", _digest(_tree(_written(value[name])))


def _written(block: ModelSpec | Pool | object) -> object:
    """A block without the facts that the catalog put into it: their ids stay."""
    tree: dict[str, Any] = _tree(block)
    for key in ("facts", "engine", "gpu"):
        if isinstance(tree.get(key), dict):
            tree[key] = tree[key].get("requested") or tree[key].get("id")
    return tree


def _facts_hash(facts: ModelFacts | GpuFacts | EngineRules | Preset) -> str:
    return _digest(_tree(facts))


def _tree(value: object) -> Any:
    """Plain JSON values of a frozen record."""
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value, fallback=str)


def _digest(tree: object) -> str:
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
