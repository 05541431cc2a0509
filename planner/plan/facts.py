"""Facts that a plan carries against where they come from: the catalog, and the defaults of the scenario language.

Whoever changes a GPU, a model or an engine by hand is found here, and so is a default that is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import get_args

from planner import catalog
from planner.catalog.checkpoint_types import CheckpointKind
from planner.catalog.models import user_source
from planner.catalog.types import EngineRules, GpuFacts, ModelFacts
from planner.scenario.traffic import QualityFloor
from planner.scenario.types import HOURS_PER_MONTH, ModelSpec, Scenario

Broken = tuple[str, str, str]
"""The row's name, what the plan has, what the catalog says."""

ENDS = ("kv_layers", "kv_heads", "head_dim", "v_head_dim", "bound", "note")
"""Facts in which the two ends of an interval may differ: what layers keep."""

Facts = GpuFacts | ModelFacts | EngineRules


def broken_facts(scenario: Scenario) -> list[Broken]:
    """Facts that differ from the catalog's row of the same id. A model from the user's own `config.json` has no row."""
    rows: list[Broken] = []
    for name, pool in sorted(scenario.inventory.items()):
        rows += _against(f"scenario.inventory.{name}.gpu", pool.gpu, catalog.load_gpu(pool.gpu.id))
    for name, model in sorted(scenario.models.items()):
        if model.facts is not None:
            rows += _model(f"scenario.models.{name}.facts", model.facts)
            rows += _interval(f"scenario.models.{name}", model)
        if model.low_facts is not None:
            rows += _model(f"scenario.models.{name}.low_facts", model.low_facts)
        if model.engine is not None:
            known = catalog.load_engine(model.engine.requested)
            rows += _against(f"scenario.models.{name}.engine", model.engine, known)
    return rows


def _interval(path: str, model: ModelSpec) -> Iterator[Broken]:
    """Only an architecture that is not understood has two ends, and the plan stands at the upper one."""
    assert model.facts is not None
    wanted = "high" if model.low_facts is not None else ""
    if model.facts.bound != wanted:
        yield f"{path}.facts.bound", repr(model.facts.bound), f"{wanted!r}, the end that the plan stands at"
    if model.low_facts is not None and model.low_facts.bound != "low":
        yield f"{path}.low_facts.bound", repr(model.low_facts.bound), "'low'"
    for field in fields(model.facts) if model.low_facts is not None else ():
        least, most = getattr(model.low_facts, field.name), getattr(model.facts, field.name)
        if field.name not in ENDS and least != most:
            yield f"{path}.low_facts.{field.name}", str(least)[:60], f"{str(most)[:60]}, as at the upper end"
    if model.low_facts is not None and len(model.low_facts.kv_layers) != len(model.facts.kv_layers):
        read = f"{len(model.low_facts.kv_layers)} layers"
        yield f"{path}.low_facts.kv_layers", read, f"{len(model.facts.kv_layers)}, as at the upper end"
    if model.memory_at != "high":
        yield f"{path}.memory_at", model.memory_at, "'high', the end that the plan stands at"


def _model(path: str, facts: ModelFacts) -> Iterator[Broken]:
    if facts.id in catalog.model_ids():
        yield from _against(path, facts, _load(facts))
    elif facts.source not in [user_source(facts.id, kind) for kind in get_args(CheckpointKind)]:
        yield f"{path}.id", facts.id, "a model of the catalog, or one whose source is its own files"


def _load(facts: ModelFacts) -> ModelFacts | str:
    """The catalog's row of a model, at the same end of its interval where it is not understood."""
    if facts.bound:
        return catalog.load_model(facts.id, Path(), bound=facts.bound)
    return catalog.load_model(facts.id, Path())


def _against(path: str, own: Facts, known: Facts | str | None) -> Iterator[Broken]:
    if known is None or isinstance(known, str):
        yield path, getattr(own, "id", getattr(own, "requested", "")), "no row of the catalog"
        return
    for field in fields(own):
        mine, theirs = getattr(own, field.name), getattr(known, field.name)
        if mine != theirs:
            yield f"{path}.{field.name}", str(mine)[:60], f"{str(theirs)[:60]} in the catalog"


def broken_defaults(scenario: Scenario) -> list[Broken]:
    """Values that the scenario lists as defaults taken, and that are not the default."""
    rows = []
    known = _defaults(scenario)
    for path, text in scenario.defaults:
        if path not in known:
            rows.append((f"scenario.defaults.{path}", text, "no such default"))
            continue
        value, default, wanted = known[path]
        if value != default:
            rows.append((f"scenario.{path}", str(value), f"{default}: the plan says that the default was taken"))
        if text != wanted:
            rows.append((f"scenario.defaults.{path}", text, wanted))
    return rows


def _defaults(scenario: Scenario) -> dict[str, tuple[object, object, str]]:
    """Every value that may be left out of a scenario: what it is, what its default is, and how that is written."""
    reserve, compression, budget = scenario.reserve, scenario.compression, scenario.budget
    found: dict[str, tuple[object, object, str]] = {
        "owner": (scenario.owner, "", "nobody"),
        "horizon": (scenario.horizon_h, HOURS_PER_MONTH, "1mo"),
        "objective": (scenario.objective, ("cost", "gpus", "quality_loss"), "[cost, gpus, quality_loss]"),
        "reserve.utilization": (reserve.utilization_ppm, 1_000_000, "100%"),
        "reserve.kv_headroom": (reserve.kv_headroom_ppm, 0, "0%"),
        "reserve.confidence": (reserve.confidence, "p50", "p50"),
        "reserve.spare": ((reserve.spare_nodes, reserve.spare_replicas, reserve.spare_zones), (0, 0, 0), "{nodes: 0}"),
        "performance.provider": (scenario.performance.provider, "roofline", "roofline"),
        "compression.policy": (compression.policy, "supported", "supported"),
        "compression.allow": (compression.allow, (), "[]"),
        "compression.allow_proxy": (compression.allow_proxy, False, "false"),
        "budget.monthly": (budget.monthly_micro, None, "no limit"),
        "budget.power": (budget.power_mw, None, "no limit"),
        "budget.pue": (budget.pue_ppm, 1_000_000, "1"),
    }
    for name, model in scenario.models.items():
        path, args, engine = f"models.{name}", model.engine_args, "the engine's default"
        found |= {
            f"{path}.max_batch.min": (model.max_batch_min, 1, "1"),
            f"{path}.max_batch.max": (model.max_batch_max, None, engine),
            f"{path}.engine_args.gpu_memory_utilization": (args.gpu_memory_utilization_ppm, None, engine),
            f"{path}.engine_args.max_num_batched_tokens": (args.max_num_batched_tokens, None, engine),
            f"{path}.replicas.min": (model.replicas.min, 0, "0"),
            f"{path}.max_configurations": (model.max_configurations, None, "unlimited"),
        }
    for name, pool in scenario.inventory.items():
        if pool.terms is not None:
            path = f"inventory.{name}.spot"
            found |= {
                f"{path}.availability": (pool.terms.availability_ppm, 1_000_000, "100%"),
                f"{path}.confidence": (pool.terms.confidence_ppm, 990_000, "99%"),
                f"{path}.reclaim": (pool.terms.reclaim_nodes, 0, "0 nodes"),
            }
    for name, traffic in scenario.traffic.items():
        found |= {
            f"traffic.{name}.mean": (traffic.mean_rps, traffic.peak_rps, "the peak"),
            f"traffic.{name}.prefix.reusable": (traffic.reusable_prefix_ppm, 0, "0%"),
            f"traffic.{name}.rejected_at_most": (traffic.rejected_at_most_ppm, 0, "0%"),
            f"traffic.{name}.cut_short_at_most": (traffic.cut_short_at_most_ppm, 0, "0%"),
            f"traffic.{name}.quality": (traffic.quality, QualityFloor(), "no floor"),
            f"traffic.{name}.priority": (traffic.priority, 1, "1"),
        }
        if traffic.prefix is not None:
            found[f"traffic.{name}.prefix.routing"] = (traffic.prefix.routing, "random", "random")
        if traffic.trace is not None:
            use = traffic.trace
            found |= {
                f"traffic.{name}.scale": (use.scale, 1, "1"),
                f"traffic.{name}.peak_window": (use.peak_window_us, 60_000_000, "1min"),
                f"traffic.{name}.window": ((use.start_us, use.end_us), (0, None), "the whole trace"),
            }
    return found
