"""Facts that a plan carries against the catalog: whoever changes a GPU, a model or an engine by hand is found here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from planner import catalog
from planner.catalog.types import EngineRules, GpuFacts, ModelFacts
from planner.scenario.types import Scenario

Broken = tuple[str, str, str]
"""The row's name, what the plan has, what the catalog says."""

Facts = GpuFacts | ModelFacts | EngineRules


def broken_facts(scenario: Scenario) -> list[Broken]:
    """Facts that differ from the catalog's row of the same id. A model from the user's own `config.json` has no row."""
    rows: list[Broken] = []
    for name, pool in sorted(scenario.inventory.items()):
        rows += _against(f"scenario.inventory.{name}.gpu", pool.gpu, catalog.load_gpu(pool.gpu.id))
    for name, model in sorted(scenario.models.items()):
        if model.facts is not None:
            rows += _model(f"scenario.models.{name}.facts", model.facts)
        if model.engine is not None:
            known = catalog.load_engine(model.engine.requested)
            rows += _against(f"scenario.models.{name}.engine", model.engine, known)
    return rows


def _model(path: str, facts: ModelFacts) -> Iterator[Broken]:
    if facts.id in catalog.model_ids():
        yield from _against(path, facts, catalog.load_model(facts.id, Path()))
    elif facts.source != user_source(facts.id):
        yield f"{path}.id", facts.id, "a model of the catalog, or one whose source is its own config.json"


def user_source(ref: str) -> str:
    """The source of a model that was read from a file of the user's."""
    return f"{ref} (config.json given by the user)"


def _against(path: str, own: Facts, known: Facts | str | None) -> Iterator[Broken]:
    if known is None or isinstance(known, str):
        yield path, getattr(own, "id", getattr(own, "requested", "")), "no row of the catalog"
        return
    for field in fields(own):
        mine, theirs = getattr(own, field.name), getattr(known, field.name)
        if mine != theirs:
            yield f"{path}.{field.name}", str(mine)[:60], f"{str(theirs)[:60]} in the catalog"
